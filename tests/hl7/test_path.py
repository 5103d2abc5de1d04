"""Paths read and write one place and nothing beside it (spec items 41 to 46, 55)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7 import NULL
from engine.hl7.errors import EditError, PathError, UnencodableText
from engine.hl7.message import Message
from engine.hl7.path import compile_path

RAW = (
    b"MSH|^~\\&|LIS|LAB|EPR|MAIN|20260301||ORU^R01^ORU_R01|7|P|2.5.1\r"
    b"PID|1||4711^^^MAIN^MR~S&T^^^ST^PI~X99||Example^Eve&van&der^^^Ms||19700102|F|||\r"
    b"OBR|1|||24323-8\r"
    b"OBX|1|NM|718-7^Hb^LN||13.5|g/dL\r"
    b"NTE|1||a\\F\\b \\.br\\ c~second line\r"
    b'OBX|2|ST|XX-1^Other||""|||\r'
    b"OBX|3|FT|718-7^Hb^LN||5.5~6.5\r"
    b"ZPI|own|data\r"
)


@pytest.fixture
def message():
    return Message.parse(RAW)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("MSH-1", "|"),
        ("MSH-2", "^~\\&"),
        ("MSH-2.1", "^~\\&"),
        ("MSH-2.2", None),
        ("MSH-3", "LIS"),
        ("MSH-9.2", "R01"),
        ("MSH-9", "ORU"),
        ("MSH-20", None),
        ("PID-1", "1"),
        ("PID-2", ""),
        ("PID-2.1", ""),
        ("PID-2.2", None),
        ("PID-3", "4711"),
        ("PID-3.1.1", "4711"),
        ("PID-3.1.2", None),
        ("PID-3.2", ""),
        ("PID-3.5", "MR"),
        ("PID-3.6", None),
        ("PID-3[2]", "S"),
        ("PID-3[2].1.2", "T"),
        ("PID-3[4]", None),
        ('PID-3[5 == "PI"].1', "S"),
        ('PID-3[5=="PI"].1.2', "T"),
        ('PID-3[1.2 == "T"].5', "PI"),
        ('PID-3[5 != "MR"].1', "S"),
        ('PID-3[5 in ["XX", "PI"]].4', "ST"),
        ('PID-3[5 not in ["MR","PI"]].1', "X99"),
        ('PID-3[5 == ""].1', "X99"),
        ('PID-3[5 == "NN"].1', None),
        ("PID-5.2", "Eve"),
        ("PID-5.2.3", "der"),
        ("PID-5.2.4", None),
        ("PID-11", ""),
        ("PID-12", None),
        ("OBX-5", "13.5"),
        ("OBX[2]-5", NULL),
        ("OBX[3]-5[2]", "6.5"),
        ("OBX[4]-5", None),
        ('OBX[3.1 == "XX-1"]-5', NULL),
        ('OBX[3.1 == "718-7"]-5', "13.5"),
        ('OBX[2 == "FT"]-5[2]', "6.5"),
        ('OBX[99 == ""]-1', "1"),
        ("OBX[*]-5", "13.5"),
        ("NTE-3", "a|b \\.br\\ c"),
        ("ZPI-2", "data"),
        ("ZZZ-1", None),
        ("ZPI", "ZPI|own|data"),
        ("OBX[2]", 'OBX|2|ST|XX-1^Other||""|||'),
        ("ZZZ", None),
    ],
)
def test_get(message, path, value):
    assert message.get(path) == value
    assert compile_path(path).getter()(message) == value


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("OBX-5", ["13.5", NULL, "5.5", "6.5"]),
        ("OBX[*]-5[1]", ["13.5", NULL, "5.5"]),
        ('OBX[3.1 == "718-7"]-5', ["13.5", "5.5", "6.5"]),
        ("PID-3.5", ["MR", "PI"]),
        ("PID-3", ["4711", "S", "X99"]),
        ("NTE-3", ["a|b \\.br\\ c", "second line"]),
        ("MSH-2", ["^~\\&"]),
        ("ZZZ-1", []),
        ("OBX[2]", ['OBX|2|ST|XX-1^Other||""|||']),
    ],
)
def test_all(message, path, values):
    assert compile_path(path).all(message) == values


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("PID-3", "4711^^^MAIN^MR~S&T^^^ST^PI~X99"),
        ("PID-3[2]", "S&T^^^ST^PI"),
        ("PID-3[2].1", "S&T"),
        ("NTE-3.1", "a\\F\\b \\.br\\ c"),
        ("PID-3.9", None),
        ("OBX[3]", "OBX|3|FT|718-7^Hb^LN||5.5~6.5"),
    ],
)
def test_raw(message, path, text):
    assert compile_path(path).raw(message) == text


def test_a_focused_path_reads_and_writes_the_segment_in_focus(message):
    path = compile_path("OBX-5", focus="OBX")
    assert path.get(message) == "13.5"
    message.focus = 6
    assert path.get(message) == "5.5"
    assert path.all(message) == ["5.5", "6.5"]
    assert compile_path("OBX[2]-5", focus="OBX").get(message) == NULL
    assert compile_path("PID-3", focus="OBX").get(message) == "4711"
    assert compile_path("OBX-5.2", focus="OBX").get(message) is None
    assert compile_path("OBX-50", focus="OBX").get(message) is None
    path.set(message, "7")
    assert message.to_bytes() == RAW.replace(b"5.5~6.5", b"7")
    assert compile_path("OBX", focus="OBX").delete(message) == 1
    assert (message.focus, message.names().count("OBX")) == (None, 2)


def test_parts_of_a_path():
    path = compile_path("PID-3[2].1.4")
    assert (path.segment, path.field, path.component, path.subcomponent, str(path)) == ("PID", 3, 1, 4, "PID-3[2].1.4")
    assert (compile_path("NTE").field, compile_path("NTE-3").component) == (None, None)
    assert compile_path("PID-3") == compile_path("PID-3", focus="OBX") != compile_path("PID-3[1]")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 0),
        ("pid-3", 0),
        ("PI", 0),
        ("PID3", 3),
        ("PID-", 4),
        ("PID-0", 4),
        ("PID-3.0", 6),
        ("PID-3.", 6),
        ("PID-3.1.2.3", 9),
        ("PID-99999", 4),
        ("PID-3[", 6),
        ("PID-3[2", 5),
        ("PID-3[0]", 6),
        ("PID-3[5 = 2]", 8),
        ("PID-3[5 == MR]", 11),
        ('PID-3[5 in "MR"]', 11),
        ('PID-3[5 in ["MR" "PI"]]', 17),
        ('PID-3[5 not "MR"]', 12),
        ("PID-3[1.2]", 9),
        ("PID-3 ", 5),
        (".PID", 0),
        ("PID-" + "9" * 5000, 4),
    ],
)
def test_a_path_that_is_wrong_says_where(text, column):
    with pytest.raises(PathError) as caught:
        compile_path(text)
    assert caught.value.column == column
    assert caught.value.message


def test_quotes_and_backslashes_in_a_filter():
    message = Message.parse(b"MSH|^~\\&|\rPID|1||a\"b^x~c'd^y~e\\E\\f^z\r")
    assert message.get('PID-3[1 == "a\\"b"].2') == "x"
    assert message.get('PID-3[1 == "c\'d"].2') == "y"
    assert message.get("PID-3[1 == 'c\\'d'].2") == "y"
    assert message.get('PID-3[1 == "e\\\\f"].2') == "z"


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        ("MSH-5", "RIS", b"|LAB|EPR|MAIN|", b"|LAB|RIS|MAIN|"),
        ("PID-8", "M", b"19700102|F|", b"19700102|M|"),
        ("PID-3", "1", b"|4711^^^MAIN^MR~S&T^^^ST^PI~X99|", b"|1|"),
        ("PID-3.1", "1", b"|4711^^^MAIN", b"|1^^^MAIN"),
        ("PID-3[2].1", "1", b"~S&T^", b"~1^"),
        ("PID-3[2].1.2", "1", b"~S&T^", b"~S&1^"),
        ("PID-3[3].2", "1", b"~X99|", b"~X99^1|"),
        ("PID-3[5].2", "1", b"~X99|", b"~X99~~^1|"),
        ('PID-3[5 == "PI"].4', "NEW", b"^^^ST^", b"^^^NEW^"),
        ("PID-5.2.2", "von", b"Eve&van&der", b"Eve&von&der"),
        ("PID-5.1.2", "x", b"Example^Eve", b"Example&x^Eve"),
        ("PID-5.1", "a|b^c", b"Example^Eve", b"a\\F\\b\\S\\c^Eve"),
        ("PID-13", "x", b"|F|||\r", b"|F|||||x\r"),
        ("OBX[*]-6", "u", RAW, None),
        ("NTE-3.2", "x", b"\\.br\\ c~", b"\\.br\\ c^x~"),
        ("ZPI-5", "e", b"ZPI|own|data\r", b"ZPI|own|data|||e\r"),
        ("OBX[2]-5", "9", b'XX-1^Other||""|||', b"XX-1^Other||9|||"),
        ("ZZZ-2.2", "new", b"data\r", b"data\rZZZ||^new\r"),
        ("NTE[3]-1", "3", b"data\r", b"data\rNTE\rNTE|3\r"),
        ("PID-3", NULL, b"|4711^^^MAIN^MR~S&T^^^ST^PI~X99|", b'|""|'),
    ],
)
def test_set_changes_that_place_and_no_other_byte(message, path, value, before, after):
    count = compile_path(path).set(message, value)
    if after is None:
        assert count == 3
        assert compile_path(path).all(message) == ["u", "u", "u"]
        return
    assert count == 1
    assert RAW.count(before) == 1
    assert message.to_bytes() == RAW.replace(before, after)
    assert message.get(path) == value
    assert Message.parse(message.to_bytes()).get(path) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("PID-8", "F"),
        ("PID-3.1", "4711"),
        ("PID-40", ""),
        ("PID-3.9", ""),
        ("PID-3.1.7", ""),
        ("PID-3[7]", ""),
        ("ZZZ-1", ""),
        ('PID-3[5 == "NN"].1', "x"),
        ('OBX[3.1 == "NN"]-5', "x"),
        ("ZZZ[*]-5", "x"),
    ],
)
def test_setting_what_is_there_or_cannot_be_there_leaves_the_message_unchanged(message, path, value):
    message.set(path, value)
    assert not message.is_changed
    assert message.to_bytes() == RAW


def test_a_filter_writes_the_first_match_and_a_star_all(message):
    assert compile_path('OBX[3.1 == "718-7"]-5').set(message, "1") == 1
    assert compile_path("OBX[*]-5").all(message) == ["1", NULL, "5.5", "6.5"]
    assert compile_path("PID-3[*].4").set(message, "N") == 3
    assert compile_path("PID-3").raw(message) == "4711^^^N^MR~S&T^^^N^PI~X99^^^N"


def test_raw_text_is_written_as_it_stands(message):
    compile_path("PID-5").set_raw(message, "A^B~C\\F\\D")
    assert (message.get("PID-5.2"), message.get("PID-5[2].1")) == ("B", "C|D")
    compile_path("PID-5[2]").set_raw(message, "X^Y&Z")
    assert message.get("PID-5[2].2.2") == "Z"
    compile_path("ZPI").set_raw(message, "ZPI|1|2")
    compile_path("ZNW").set_raw(message, "ZNW|1")
    assert message.to_bytes().endswith(b"ZPI|1|2\rZNW|1\r")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("PID-5", "a|b"),
        ("PID-5", "a\rb"),
        ("PID-5[1]", "a~b"),
        ("PID-5.1", "a^b"),
        ("PID-5.1.1", "a&b"),
        ("NTE", "OBX|1"),
        ("NTE", "NTE|1\rOBX|1"),
        ("NTE", "NTEX|1"),
        ("MSH", "MSH|^~\\&|X"),
    ],
)
def test_raw_text_cannot_reach_beyond_its_place(message, path, text):
    with pytest.raises(EditError):
        compile_path(path).set_raw(message, text)
    assert message.to_bytes() == RAW


@pytest.mark.parametrize("path", ["MSH-1", "MSH-2", "MSH-2.1", "FHS-2"])
def test_the_delimiters_of_a_message_cannot_be_edited(message, path):
    with pytest.raises(EditError):
        message.set(path, "x")
    with pytest.raises(EditError):
        compile_path(path).delete(message)
    assert message.to_bytes() == RAW


def test_a_place_that_the_message_has_no_delimiter_for_cannot_be_set():
    message = Message.parse(b"MSH|^|A||||||ADT|1\rPID|1||x\r")
    for path, value in (("PID-3[2]", "x"), ("PID-3.1.2", "x"), ("PID-3", "a^b")):
        with pytest.raises(UnencodableText) as caught:
            message.set(path, value)
        assert caught.value.location == path
    message.set("PID-3", "a~b&c\\d")
    assert message.get("PID-3") == "a~b&c\\d"


def test_a_segment_can_only_be_set_raw(message):
    with pytest.raises(EditError):
        message.set("PID", "x")


@pytest.mark.parametrize(
    ("path", "count", "before", "after"),
    [
        ("PID-8", 1, b"|F|||", b"||||"),
        ("PID-3[2]", 1, b"~S&T^^^ST^PI", b""),
        ('PID-3[5 == "MR"]', 1, b"4711^^^MAIN^MR~", b""),
        ("PID-3[*]", 3, b"4711^^^MAIN^MR~S&T^^^ST^PI~X99", b""),
        ("PID-3", 1, b"4711^^^MAIN^MR~S&T^^^ST^PI~X99", b""),
        ("PID-3.5", 2, b"4711^^^MAIN^MR~S&T^^^ST^PI~X99", b"4711^^^MAIN~S&T^^^ST~X99"),
        ("PID-3[2].1.1", 1, b"S&T^", b"&T^"),
        ("PID-3[2].1.2", 1, b"S&T^", b"S^"),
        ("ZPI-2", 1, b"ZPI|own|data", b"ZPI|own"),
        ("NTE", 1, b"NTE|1||a\\F\\b \\.br\\ c~second line\r", b""),
        ("OBX[2]", 1, b'OBX|2|ST|XX-1^Other||""|||\r', b""),
        ("ZPI-9", 0, b"", b""),
        ("PID-2", 0, b"", b""),
        ("PID-3[7]", 0, b"", b""),
        ("ZZZ", 0, b"", b""),
        ("MSH-4", 1, b"|LAB|", b"||"),
    ],
)
def test_delete(message, path, count, before, after):
    assert compile_path(path).delete(message) == count
    assert message.to_bytes() == (RAW.replace(before, after) if before else RAW)


def test_delete_leaves_none_in_any_segment(message):
    assert compile_path("OBX-5").delete(message) == 3
    assert compile_path("OBX-5").all(message) == ["", ""]
    assert compile_path('OBX[3.1 == "718-7"]').delete(message) == 2
    assert message.names() == ["MSH", "PID", "OBR", "NTE", "OBX", "ZPI"]


def test_the_header_cannot_be_deleted(message):
    with pytest.raises(EditError):
        compile_path("MSH").delete(message)


names = st.sampled_from(["MSH", "PID", "OBX", "NTE", "ZZZ"])
parts = st.tuples(names, st.integers(3, 9), st.integers(0, 3), st.integers(0, 4), st.integers(0, 3))
values = st.text(
    st.one_of(st.sampled_from('|^~\\&F\r\n"#'), st.characters(codec="ascii", min_codepoint=32)), max_size=8
)


def path_text(part):
    segment, field, repetition, component, subcomponent = part
    text = f"{segment}-{field}"
    if repetition:
        text += f"[{repetition}]"
    if component:
        text += f".{component}" + (f".{subcomponent}" if subcomponent else "")
    return text


@given(st.lists(st.tuples(parts, values), max_size=6))
def test_what_is_set_is_read_back_and_survives_the_wire(edits):
    message = Message.parse(RAW)
    for part, value in edits:
        path = path_text(part)
        message.set(path, value)
        assert (message.get(path) or "") == value
        assert (Message.parse(message.to_bytes()).get(path) or "") == value
    again = Message.parse(message.to_bytes())
    assert [again.fields(i) for i in range(len(again))] == [message.fields(i) for i in range(len(message))]


@given(parts, values)
def test_an_edit_touches_nothing_else(part, value):
    message = Message.parse(RAW)
    message.set(path_text(part), value)
    before, after = RAW.split(b"\r"), message.to_bytes().split(b"\r")
    index = message.first(part[0])
    for i, segment in enumerate(before[:-1]):
        if i != index:
            assert after[i] == segment
    if index < len(before) - 1:
        number = part[1] - (1 if part[0] == "MSH" else 0)
        old, new = before[index].split(b"|"), after[index].split(b"|")
        assert old[:number] == new[: min(number, len(old))]
        assert old[number + 1 :] == new[number + 1 :]
