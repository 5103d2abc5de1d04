"""What of a Mirth channel's JavaScript expressions can say, and that the rest is refused and not bent."""

import pytest

from engine.config.expression import compile_condition, compile_value
from engine.config.mirth.javascript import Reader
from engine.config.mirth.terms import Names, NotExpressible, literal, place
from engine.hl7.message import Message

ORU = (
    b"MSH|^~\\&|LAB|NORTH|EPR|NORTH|20260102030405||ORU^R01^ORU_R01|M1|P|2.5.1\r"
    b"PID|1||900-001^^^NORTH&1.2.3&ISO^MR~77^^^NATION^NI||Testperson^Anna||19700101|F\r"
    b"OBR|1|P1|F1|HB\r"
    b"OBX|1|NM|HB||13.9|g/dL\rOBX|2|TX|REM||none|x\r"
)


@pytest.mark.parametrize(
    ("javascript", "expression", "value"),
    [
        ("msg['PID']['PID.3']['PID.3.1'].toString()", "PID-3.1", "900-001"),
        ('msg["PID"]["PID.3"]["PID.3.1"].toString()', "PID-3.1", "900-001"),
        ("msg.PID['PID.3'][1]['PID.3.1'].toString()", "PID-3[2].1", "77"),
        ("msg['PID'][0]['PID.3'][0]['PID.3.4']['PID.3.4.2'].toString()", "PID[1]-3.4.2", "1.2.3"),
        ("msg['OBX'][1]['OBX.5']['OBX.5.1'].toString()", "OBX[2]-5.1", "none"),
        ("String(msg['PID']['PID.8']['PID.8.1'])", "PID-8.1", "F"),
        ("msg['PID']['PID.5']['PID.5.1'].toString().toUpperCase().trim()", "trim(upper(PID-5.1))", "TESTPERSON"),
        ("msg['PID']['PID.7']['PID.7.1'].toString().substring(0, 4)", "substring(PID-7.1, 1, 4)", "1970"),
        ("msg['PID']['PID.7']['PID.7.1'].toString().substr(4, 2)", "substring(PID-7.1, 5, 2)", "01"),
        ("msg['PID']['PID.7']['PID.7.1'].toString().substring(4)", "substring(PID-7.1, 5)", "0101"),
        ("msg['PID']['PID.3']['PID.3.1'].toString().replace(/-/g, '')", 'replace(PID-3.1, "-", "")', "900001"),
        (
            "msg['PID']['PID.5']['PID.5.1'].toString() + ', ' + msg['PID']['PID.5']['PID.5.2'].toString()",
            'concat(concat(PID-5.1, ", "), PID-5.2)',
            "Testperson, Anna",
        ),
        ("msg['PID']['PID.9']['PID.9.1'].toString() || 'none'", 'coalesce(PID-9.1, "none")', "none"),
        ("'A' + \"B\"", '"AB"', "AB"),
        (r"'it\'s \u0041'", '"it\'s A"', "it's A"),
        ("$('mrn')", "PID-3.1", "900-001"),
        ("channelMap.get('mrn')", "PID-3.1", "900-001"),
        ("$c('mrn').toLowerCase()", "lower(PID-3.1)", "900-001"),
    ],
)
def test_a_value_is_an_expression_that_gives_the_same(javascript: str, expression: str, value: str):
    names = Names()
    names.put("mrn", place("PID-3.1", is_xml=False))
    found = Reader(javascript, names).value()
    assert found.text == expression
    assert compile_value(found.text).run(Message.parse(ORU)) == value


@pytest.mark.parametrize(
    ("javascript", "expression", "holds"),
    [
        ("msg['MSH']['MSH.9']['MSH.9.1'].toString() == 'ORU'", 'MSH-9.1 == "ORU"', True),
        ("'ORU' === msg['MSH']['MSH.9']['MSH.9.1'].toString()", 'MSH-9.1 == "ORU"', True),
        ("msg['MSH']['MSH.9']['MSH.9.1'] != 'ORU'", 'MSH-9.1 != "ORU"', False),
        ("!(msg['PID']['PID.8']['PID.8.1'].toString() == 'F')", 'PID-8.1 != "F"', False),
        ("msg['PID']['PID.8']['PID.8.1'].toString() == ''", "PID-8.1 is empty", False),
        ("msg['PID']['PID.8']['PID.8.1'].toString().length > 0", "PID-8.1 is not empty", True),
        ("msg['PID']['PID.3']['PID.3.1'].toString().length == 7", "length(PID-3.1) == 7", True),
        ("msg['PID']['PID.3']['PID.3.1'].toString()", "PID-3.1 is not empty", True),
        ("msg['PID']['PID.5']['PID.5.1'].toString().indexOf('TEST') == -1", 'PID-5.1 not contains "TEST"', True),
        ("msg['PID']['PID.5']['PID.5.1'].toString().indexOf('Test') == 0", 'PID-5.1 starts with "Test"', True),
        ("msg['PID']['PID.8']['PID.8.1'].toString().equalsIgnoreCase('f')", 'lower(PID-8.1) == "f"', True),
        (
            "msg['PID']['PID.8']['PID.8.1'] == 'M' || msg['OBR']['OBR.4']['OBR.4.1'] == 'HB' && true",
            'PID-8.1 == "M" or OBR-4.1 == "HB"',
            True,
        ),
        (
            "(msg['PID']['PID.8']['PID.8.1'] == 'M' || $('mrn') == '1') && msg['OBR']['OBR.4']['OBR.4.1'] == 'HB'",
            '(PID-8.1 == "M" or PID-3.1 == "1") and OBR-4.1 == "HB"',
            False,
        ),
    ],
)
def test_a_condition_is_true_of_the_same_messages(javascript: str, expression: str, holds: bool):
    names = Names()
    names.put("mrn", place("PID-3.1", is_xml=False))
    found = Reader(javascript, names).condition()
    assert found.text == expression
    assert compile_condition(found.text).run(Message.parse(ORU)) is holds


@pytest.mark.parametrize(
    ("script", "expression"),
    [
        ("return msg['PID']['PID.8']['PID.8.1'].toString() == 'F';", 'PID-8.1 == "F"'),
        ("// only women\nif (msg['PID']['PID.8']['PID.8.1'] == 'F') { return true; }\nreturn false;", 'PID-8.1 == "F"'),
        ("if (msg['PID']['PID.8']['PID.8.1'] == 'F') return false; else return true;", 'PID-8.1 != "F"'),
        (
            "var sex = msg['PID']['PID.8']['PID.8.1'].toString();\n"
            "if (sex == 'F') { return true; } else if (sex == 'M') { return false; }\n"
            "return $('a') == 'x';",
            'PID-8.1 == "F" or PID-8.1 != "M" and PID-3.1 == "x"',
        ),
    ],
)
def test_a_filter_script_is_what_it_returns(script: str, expression: str):
    names = Names()
    names.put("a", place("PID-3.1", is_xml=False))
    assert Reader(script, names).filter_script().text == expression


def test_a_filter_script_that_always_says_the_same_is_known_as_such():
    assert Reader("return true;", Names()).filter_script().constant is True
    assert Reader("if (msg['PID']['PID.8']['PID.8.1'] == 'F') return true; return true;", Names()).filter_script() == (
        Reader("return true", Names()).filter_script()
    )


@pytest.mark.parametrize(
    ("javascript", "reason"),
    [
        ("lookup(msg['PID'])", "'lookup'"),
        ("new Date()", "a new object"),
        ("$g('x')", "the global map"),
        ("globalMap.get('x')", "the global map"),
        ("$('unknown')", "the variable unknown, which nothing in this channel puts before"),
        ("msg['PID']['PID.3']['PID.4.1'].toString()", "a place that is none of HL7's"),
        ("msg['PID'][i]['PID.3'].toString()", "worked out by a variable"),
        ("msg['PID']['PID.5']['PID.5.1'].toString().replace('a', 'b')", "of the first only"),
        ("msg['PID']['PID.5']['PID.5.1'].toString().replace(/a+/g, 'b')", "a regular expression"),
        ("msg['PID']['PID.5']['PID.5.1'].toString().split(',')", ".split()"),
        ("msg['PID']['PID.5']['PID.5.1'].trim()", "add .toString() before it"),
        ("1 + 2", "arithmetic"),
        ("msg['PID']['PID.1']['PID.1.1'].toString() - 1", "arithmetic"),
        ("a ? b : c", "'a'"),
        ("msg['PID']['PID.8']['PID.8.1'].toString() == 'F' ? 'W' : 'M'", "a choice"),
        ("'unfinished", "a character that JavaScript does not know there"),
        ("", "ends too early"),
        ("(" * 200, "nested too deep"),
        ("'x' * 3", "arithmetic"),
        ("msg['PID']['PID.5']['PID.5.1'].toString() < 'B'", "a comparison by size"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(javascript: str, reason: str):
    with pytest.raises(NotExpressible, match=reason.replace("(", r"\(").replace(")", r"\)").replace(".", r"\.")):
        Reader(javascript, Names()).value()


def test_a_node_of_the_message_is_no_condition_as_it_is_always_true():
    with pytest.raises(NotExpressible, match="always true"):
        Reader("msg['PID']['PID.8']['PID.8.1']", Names()).condition()


def test_a_script_of_plain_statements_is_a_list_of_actions():
    script = """
        var number = msg['PID']['PID.3']['PID.3.1'].toString();   // as it came
        msg['PID']['PID.2']['PID.2.1'] = number;
        $c('number', number);
        if (number == '') {
            msg['PID']['PID.4']['PID.4.1'] = 'none';
        }
        delete msg['NTE'];
        logger.info('number ' + number.length());
    """
    names = Names()
    found = Reader(script, names).script()
    assert [(a.path, a.condition.text) for a in found.actions] == [
        ("PID-2.1", ""),
        ("PID-4.1", "PID-3.1 is empty"),
        ("NTE", ""),
    ]
    assert found.skipped == 1
    assert names.get("number").text == "PID-3.1"


def test_an_if_that_changes_what_it_asks_for_before_it_is_done_is_refused():
    """Each action becomes a step that asks again."""
    script = "if (msg['PID']['PID.8']['PID.8.1'] == 'F') { msg['PID']['PID.8']['PID.8.1'] = 'W'; delete msg['NTE']; }"
    with pytest.raises(NotExpressible, match="changes PID-8"):
        Reader(script, Names()).script()
    last = "if (msg['PID']['PID.8']['PID.8.1'] == 'F') { delete msg['NTE']; msg['PID']['PID.8']['PID.8.1'] = 'W'; }"
    assert len(Reader(last, Names()).script().actions) == 2


def test_a_variable_of_a_field_that_was_changed_since_can_no_longer_be_said():
    names = Names()
    script = "var sex = msg['PID']['PID.8']['PID.8.1'].toString(); msg['PID']['PID.8']['PID.8.1'] = 'X';"
    Reader(script, names).script()
    with pytest.raises(NotExpressible, match="as PID-8 is changed after it was put"):
        Reader("msg['PID']['PID.9']['PID.9.1'] = sex;", names).script()
    names.put("fixed", literal("A"))
    assert Reader("$('fixed')", names).value().text == '"A"'


def test_a_variable_that_is_put_under_a_condition_is_refused():
    with pytest.raises(NotExpressible, match="put only if"):
        Reader("if (msg['PID']['PID.8']['PID.8.1'] == 'F') { $c('a', 'b'); }", Names()).script()


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "!" * 5000 + "true",
        "{" * 5000,
        "if (true) " * 5000,
        "delete " * 5000,
        "msg" + "[0]" * 5000,
        "if(true){}" * 900,
    ],
)
@pytest.mark.parametrize("reading", ["value", "condition", "target", "loop", "filter_script", "script"])
def test_what_is_nested_without_end_is_refused_and_ends_nothing(source: str, reading: str):
    try:
        getattr(Reader(source, Names()), reading)()
    except NotExpressible as refused:
        assert str(refused)
