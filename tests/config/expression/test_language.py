"""What an analyst's expression means, over one result message."""

import pytest

from engine.config.expression import ValueTooLong, compile_condition, compile_value
from engine.config.table import Table
from engine.hl7 import Message

ORU = (
    b"MSH|^~\\&|LAB|SITE|EPR|HOSP|20261122103015.5+0100||ORU^R01^ORU_R01|42|P|2.5.1\r"
    b'PID|1||4711^^^HOSP^MR~0815^^^LAB^PI||O\\T\\Hara^Maeve||19800102|F|""\r'
    b"PV1|1|I|W1^12^A\r"
    b"OBX|1|NM|718-7^Hb||13.5|g/dL||H|||F\r"
    b"OBX|2|NM|777-3^Plt||+0290|10*9/L|||||F\r"
    b"OBX|3|ST|X^Note||see below~line 2|||HH~A\r"
)

SEXES, _ = Table.load("from,to\nF,female\nM,male\nI,\n", "tables/sex.csv")
TABLES = {"tables/sex.csv": SEXES}


@pytest.fixture
def message():
    return Message.parse(ORU)


TRUE = [
    'MSH-9.1 == "ORU"',
    'PID-8 == "F" and PV1-2 == "I"',
    'PID-8 == "M" or PV1-2 == "I"',
    'not PID-8 == "M"',
    'not PID-8 == "M" and PV1-2 == "I"',
    'PID-8 == "M" and PV1-2 == "X" or PV1-2 == "I"',
    'not (PID-8 == "F" and PV1-2 == "O")',
    "PID-8 == 'F'",
    'PID-5.1 == "O&Hara"',
    'PID-5.1 != "O"',
    'PID-7 < "19810101"',
    'PID-7 >= "19800102"',
    '"A" < PID-8',
    "PID-5.2 == PID-5.2",
    'PID-8 in ["M", "F"]',
    'PID-8 not in ["M", "O"]',
    'PID-3[2].1 == "0815"',
    'PID-3[5 == "PI"].1 == "0815"',
    'OBX[2]-3.1 == "777-3"',
    'OBX[3.1 == "777-3"]-5 == 290',
    '(PID-8) == "F"',
    '(((PID-8 == "F")))',
    # numbers
    "OBX-5 == 13.50",
    "OBX-5 > 13",
    "number(OBX-5) > number(OBX[2]-8) or number(OBX[2]-5) == 290",
    "OBX[2]-5 == 290",
    "OBX[2]-5 in [1, 290]",
    'OBX[2]-5 in ["x", 290]',
    'OBX[2]-5 in ["+0290", 1]',
    'OBX[2]-5 != "290"',
    "13.5 == OBX-5",
    "not PID-8 > 5 and not PID-8 < 5 and not PID-8 == 5 and PID-8 != 5",
    "number(PID-8) != number(PID-8)",
    "length(PID-8) == 1",
    "length(PID-5.1) > length(PID-5.2)",
    "-1 < OBX-1",
    "OBX-5 <= 13.5 and OBX-5 >= 13.5 and not OBX-5 < 13.5 and not OBX-5 > 13.5",
    "OBX-5 <= 13.6 and not OBX-5 <= 13.4 and OBX-5 >= 13.4 and not OBX-5 >= 13.6",
    "number(PID-8) is empty",
    "number(OBX-5) is not empty",
    # tests of text
    'PID-5.1 contains "Har"',
    'PID-5.1 not contains "har"',
    'PID-5.1 contains ""',
    'PID-5.1 starts with "O&"',
    'PID-5.1 ends with "ara"',
    'PID-5.1 not ends with "O"',
    "MSH-9.3 starts with MSH-9.1",
    r'PID-3 matches "\d+"',
    r'PID-3 not matches "\d"',
    'PID-5.1 matches "O.Har."',
    # nothing, empty, NULL
    "PID-9 is null",
    "PID-9 is not empty",
    "PID-9 exists",
    "PID-9 == '\"\"'",
    'PID-9 == "\\"\\""',
    "PID-8 is not null",
    "PID-4 is empty",
    'PID-4 == ""',
    "PID-400 is empty",
    "ZDS-1 is empty",
    "ZDS not exists",
    "not ZDS exists",
    "ZDS-1 not exists",
    "PV1 exists",
    "PID-8 exists",
    "PID-4 not exists",
    'OBX[3.1 == "777-3"] exists',
    "OBX[4] not exists",
    # any and all
    'any OBX-8 in ["HH", "LL"]',
    'not any OBX-8 == "LL"',
    "any OBX-8 is empty",
    'any OBX-5 == "line 2"',
    'any PID-3.5 == "PI"',
    'any PID-3[*].5 == "PI"',
    'all PID-3[*].5 != ""',
    'all OBX-2 in ["NM", "ST"]',
    'not all OBX-11 == "F"',
    'all OBX[2 == "NM"]-11 == "F"',
    'all OBX[1]-11 == "F"',
    'all ZDS-1 == "x"',
    'not any ZDS-1 != "x"',
    'any PID-3[5 == "MR"].1 == "4711"',
    "any OBX-8 exists",
    "any OBX-8 not exists",
    'any OBX (OBX-8 == "H" and OBX-2 == "NM")',
    'not any OBX (OBX-8 == "HH" and OBX-2 == "NM")',
    'all OBX (OBX-2 == "ST" or OBX-11 == "F")',
    'any OBX (OBX-2 == "ST" and any OBX-8 == "A")',
    'all OBX (OBX-1 is not empty and PID-8 == "F")',
    "all ZDS (ZDS-1 is empty)",
    'not any OBX (OBX-2.2 == "NM" or OBX-2.1.2 == "NM")',
    'all OBX (OBX-2.1.1 in ["NM", "ST"] and OBX-3.2 is not empty)',
    'any OBX[2 == "NM"] (OBX-5 == 290)',
    'any OBX (OBX[1]-8 == "H" and OBX-8 == "HH")',
    "any OBX (OBX-3.1 == PID-3 or OBX-5 > 200)",
    # constants
    '"a" == "a"',
    "1 < 2",
    'upper("a") in ["A"]',
    'PID-8 == "F" or 1 == 2',
]

FALSE = [
    'PID-8 == "f"',
    'PID-8 == "M"',
    "OBX[2]-8 > 0",
    'PID-3 matches "4"',
    'PID-3 matches "471"',
    "PID-9 is empty",
    "PID-4 is null",
    'all OBX-8 == "H"',
    "any ZDS (ZDS-1 is empty)",
    'any PID-3 == "PI"',
    '"a" == "b"',
    'PID-8 == "F" and 1 == 2',
]


@pytest.mark.parametrize("text", TRUE)
def test_is_true(text, message):
    assert compile_condition(text)(message) is True


@pytest.mark.parametrize("text", FALSE)
def test_is_false(text, message):
    assert compile_condition(text)(message) is False


VALUES = {
    "PID-8": "F",
    "PID-400": "",
    "ZDS-1": "",
    "PID-9": '""',
    '"text"': "text",
    r'"a\"b\\c\u00e9"': 'a"b\\cé',
    "upper(PID-5.2)": "MAEVE",
    "lower(PID-5.1)": "o&hara",
    'trim("  a b ")': "a b",
    "substring(MSH-7, 1, 4)": "2026",
    "substring(MSH-7, 5)": "1122103015.5+0100",
    "substring(PID-8, 2, 3)": "",
    "substring(PID-8, 1, 0)": "",
    'replace(PID-5.1, "&", "+")': "O+Hara",
    'replace(PID-5.1, "Hara", "")': "O&",
    'concat(PID-5.2, " ", PID-5.1)': "Maeve O&Hara",
    'coalesce(ZDS-1, PID-4, PV1-3.1, "none")': "W1",
    "coalesce(ZDS-1, PID-4)": "",
    "coalesce(PID-9, PID-8)": '""',
    'pad(PID-8, 3, "0")': "00F",
    'pad(PID-8, 3, "0", "right")': "F00",
    "pad(PID-8, 3)": "  F",
    'pad("long", 2)': "long",
    "date(MSH-7)": "2026-11-22",
    "date(PID-7)": "1980-01-02",
    'date("198001")': "1980-01",
    'date("1980")': "1980",
    'date("1980-01-02")': "",
    'date("19800231")': "",
    'date("202611222400")': "",
    "date(PID-8)": "",
    "date(ZDS-1)": "",
    'date(MSH-7, "%d.%m.%Y %H:%M:%S")': "22.11.2026 10:30:15",
    'date(PID-7, "%d.%m.%y, day %j, 100%%")': "02.01.80, day 002, 100%",
    'date(PID-7, "%H")': "",
    'date("1980", "%Y-%m")': "",
    "number(OBX[2]-5)": "290",
    'number("-007.50")': "-7.50",
    'number("-0")': "0",
    'number(".5")': "0.5",
    "number(PID-8)": "",
    "length(PID-5.1)": "6",
    'table("tables/sex.csv", PID-8)': "female",
    'table("tables/sex.csv", PV1-2)': "",
    'table("tables/sex.csv", PV1-2, "kept")': "",
    'table("tables/sex.csv", PV1-3)': "",
    'table("tables/sex.csv", PV1-3, "unknown")': "unknown",
    'table("tables/sex.csv", PV1-3, concat(PID-8, "?"))': "F?",
    'upper(table("tables/sex.csv", "M"))': "MALE",
    "(PID-8)": "F",
}


@pytest.mark.parametrize(("text", "expected"), VALUES.items())
def test_gives(text, expected, message):
    assert compile_value(text, tables=TABLES)(message) == expected


@pytest.mark.parametrize(
    "text", ["1e5", "nan", "Infinity", "1_0", "１２", " 1", "1 ", "", "+", ".", "1,5", ">5", "0x1"]
)
def test_only_what_hl7_calls_a_number_is_one(text):
    condition = compile_condition("OBX-5 == OBX-5 and number(OBX-5) is empty")
    assert condition(Message.parse(f"MSH|^~\\&|||||||||||2.5\rOBX|1|NM|||{text}\r".encode()))


def test_in_a_loop_over_a_segment_its_fields_are_those_of_the_segment_at_hand(message):
    high = compile_condition('OBX-8 == "HH"', focus="OBX")
    either = compile_condition('any OBX-8 == "A"', focus="OBX")
    somewhere = compile_condition('any OBX (OBX-8 == "HH")', focus="OBX")
    first = compile_condition('OBX[1]-8 == "H" and PID-8 == "F"', focus="OBX")
    outcomes = []
    for index in message.indexes("OBX"):
        message.focus = index
        outcomes.append((high(message), either(message), somewhere(message), first(message)))
    assert outcomes == [(False, False, True, True), (False, False, True, True), (True, True, True, True)]


def test_delimiters_are_those_of_the_message():
    message = Message.parse(b"MSH#*+\\$#LAB#########2.5\rPID#1##1*2+3*4$5##^&~|\r")
    assert compile_value("PID-5")(message) == "^&~|"
    assert compile_value("PID-3[2].2.2")(message) == "5"
    assert compile_condition('any PID-3.1 == "3"')(message)
    assert compile_value("MSH-2")(message) == "*+\\$"


def test_bytes_that_no_charset_knows_can_still_be_matched():
    message = Message.parse(b"MSH|^~\\&|||||||||||2.5||||||UNICODE UTF-8\rPID|1||a\x81b\r", fallback="utf-8")
    assert compile_condition('PID-3 matches "a.b"')(message)
    assert compile_condition('PID-3 starts with "a" and length(PID-3) == 3')(message)


def test_a_line_break_inside_a_value_is_one_more_character():
    message = Message.parse(b"MSH|^~\\&|||||||||||2.5\rPID|1||a\\X0A\\b\r")
    assert compile_condition('PID-3 matches "a.b" and not PID-3 matches "a"')(message)


def test_a_condition_tells_what_it_reads():
    condition = compile_condition(
        'PID-8 == "F" and any OBX (OBX-2 == PID-8 and table("tables/sex.csv", OBX-5) is not empty)',
        tables=TABLES,
    )
    assert [str(path) for path in condition.paths] == ["PID-8", "OBX", "OBX-2", "OBX-5"]
    assert condition.tables == ("tables/sex.csv",)
    assert condition.source.startswith("PID-8")


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ('"a" == "a"', True),
        ('PID-8 == "F" or 1 < 2', True),
        ('PID-8 == "F" and length("abc") != 3', False),
        ('not ("a" in ["b"])', True),
        ('PID-8 == "F"', None),
        ('number(upper("x")) == 1', False),
    ],
)
def test_what_no_message_can_change_is_known_beforehand(text, constant, message):
    condition = compile_condition(text)
    assert condition.constant is constant
    assert constant is None or condition(message) is constant


def test_a_text_may_not_grow_without_bound(message):
    grow = 'replace(PID-3, "4", concat(' + ", ".join(['"' + "4" * 500 + '"'] * 8) + "))"
    text = f'replace({grow}, "4", concat({", ".join(["PID-5.1"] * 15)}, "{"4" * 900}"))'
    with pytest.raises(ValueTooLong) as caught:
        compile_value(text)(message)
    assert "4444" not in str(caught.value)
    assert "Hara" not in str(caught.value)


def test_a_long_value_that_does_not_grow_passes():
    long = "x" * 3_000_000
    message = Message.parse(f"MSH|^~\\&|||||||||||2.5\rOBX|1|ED|||{long}\r".encode())
    assert len(compile_value('replace(upper(OBX-5), "X", "y")')(message)) == len(long)


def test_explain_names_every_comparison_with_its_column_and_what_stood_there(message):
    condition = compile_condition('PID-8 == "M" and upper(PV1-2) in ["I"] or not OBX-5 > 20')
    assert [(e.column, e.text, e.value, e.depth) for e in condition.explain(message)] == [
        (0, 'PID-8 == "M"', False, 0),
        (0, "PID-8", "F", 1),
        (17, 'upper(PV1-2) in ["I"]', True, 0),
        (17, "upper(PV1-2)", "I", 1),
        (23, "PV1-2", "I", 2),
        (46, "OBX-5 > 20", False, 0),
        (46, "OBX-5", "13.5", 1),
    ]


def test_explain_shows_what_a_quantifier_went_over(message):
    condition = compile_condition('any OBX (OBX-2 == "ST" and any OBX-8 not in ["A"])')
    assert [(e.text, e.value, e.depth) for e in condition.explain(message)][-5:] == [
        ("OBX[3]", True, 1),
        ('OBX-2 == "ST"', True, 2),
        ("OBX-2", "ST", 3),
        ('any OBX-8 not in ["A"]', True, 2),
        ("OBX-8", ("HH", "A"), 3),
    ]


def test_explain_counts_a_negated_test_as_one(message):
    explained = compile_condition('PID-8 not in ["M"]').explain(message)
    assert [(e.text, e.value) for e in explained] == [('PID-8 not in ["M"]', True), ("PID-8", "F")]


def test_a_value_can_be_explained_too(message):
    explained = compile_value("coalesce(ZDS-1, PV1-3.1)").explain(message)
    assert [(e.text, e.value) for e in explained] == [
        ("coalesce(ZDS-1, PV1-3.1)", "W1"),
        ("ZDS-1", ""),
        ("PV1-3.1", "W1"),
    ]
