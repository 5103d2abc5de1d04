"""Two messages, field by field."""

import pytest

from engine.hl7.message import Message
from engine.pipeline.compare import changes

HEAD = "MSH|^~\\&|A|B\r"


def told(before: str, after: str) -> list[tuple[str, str | None, str | None]]:
    found = changes(Message.parse((HEAD + before).encode()), Message.parse((HEAD + after).encode()))
    return [(change.path, change.before, change.after) for change in found]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("PID|1|a\r", "PID|1|a\r", []),
        ("PID|1|a\r", "PID|1|b\r", [("PID-2", "a", "b")]),
        ("PID|1|a^b\r", "PID|1|a^c\r", [("PID-2.2", "b", "c")]),
        ("PID|1|a^b&c\r", "PID|1|a^b&d\r", [("PID-2.2.2", "c", "d")]),
        ("PID|1|a&b\r", "PID|1|a&c\r", [("PID-2.1.2", "b", "c")]),
        ("PID|1|a~b\r", "PID|1|a~c\r", [("PID-2[2]", "b", "c")]),
        ("PID|1|a\r", "PID|1|a~c\r", [("PID-2[2]", None, "c")]),
        ("PID|1|a^b\r", "PID|1\r", [("PID-2", "a^b", None)]),
        ("PID|1|a^b\r", "PID|1|a\r", [("PID-2.2", "b", None)]),
        ("PID|1\r", "PID|1||||x^y\r", [("PID-5", None, "x^y")]),
        ("PID|1|a\r", "PID|1|a||\r", [("PID", "PID|1|a", "PID|1|a||")]),
        ("PID|1|a\r", "PID|1|a^\r", [("PID-2", "a", "a^")]),
        ("NTE|1|a\rNTE|2|b\r", "NTE|1|a\rNTE|2|c\r", [("NTE[2]-2", "b", "c")]),
        ("NTE|1|a\rNTE|2|b\r", "NTE|1|a\r", [("NTE[2]", "NTE|2|b", None)]),
        ("PID|1\r", "PID|1\rZZZ|x\r", [("ZZZ", None, "ZZZ|x")]),
        ("PID|1\rPV1|1\r", "PV1|1\rPID|1\r", [("PID", "PID|1", None), ("PID", None, "PID|1")]),
        # An edited segment is that segment still, where its new text is the old one of its neighbour.
        ("PID|0|0||0\rPID|0|||0\r", "PID|0|||0\rPID|0|||0\r", [("PID[1]-2", "0", "")]),
        ("OBX|a\rNTE|1\rOBX|\r", "OBX|\rOBX|\r", [("OBX[1]-1", "a", ""), ("NTE", "NTE|1", None)]),
        ("NTE|1\r", "ZZZ|1\r", [("NTE", "NTE|1", None), ("ZZZ", None, "ZZZ|1")]),
    ],
)
def test_what_differs_is_named_as_deep_as_both_sides_go(before, after, found):
    assert told(before, after) == found


def test_a_segment_that_went_does_not_make_its_followers_differ():
    left = "".join(f"OBX|{n}|v{n}\r" for n in range(1, 6))
    assert told(left, left.replace("OBX|3|v3\r", "")) == [("OBX[3]", "OBX|3|v3", None)]


@pytest.mark.parametrize("number", [200, 1000])
def test_of_many_edited_segments_each_is_told(number):
    left = "".join(f"OBX|{n}|NM|{n % 7}|{n % 3}\r" for n in range(1, number + 1))
    found = told(left, left.replace("|NM|", "|ST|"))
    assert found == [(f"OBX[{n}]-2", "NM", "ST") for n in range(1, number + 1)]


def test_a_segment_that_went_among_many_edited_ones_is_the_only_one_told_as_gone():
    left = "".join(f"OBX|{n}|NM|{n % 7}|{n % 3}\r" for n in range(1, 201))
    found = told(left, left.replace("OBX|9|NM|2|0\r", "").replace("|NM|", "|ST|"))
    assert [change for change in found if change[2] is None] == [("OBX[9]", "OBX|9|NM|2|0", None)]
    assert len(found) == 200


def test_delimiters_are_compared_as_text_and_values_by_each_messages_own():
    left = Message.parse(b"MSH|^~\\&|A|B\rPID|a^b\r")
    right = Message.parse(b"MSH|$~\\&|A|B\rPID|a$c\r")
    assert [(c.path, c.before, c.after) for c in changes(left, right)] == [
        ("MSH-2", "^~\\&", "$~\\&"),
        ("PID-1.2", "b", "c"),
    ]


def test_a_message_of_very_many_segments_is_gone_through_once():
    rows = [f"OBX|{number}|NM|K||{number}\r" for number in range(200_000)]
    assert told("".join(rows), "".join(rows[:-1])) == [("OBX[200000]", rows[-1].rstrip("\r"), None)]
