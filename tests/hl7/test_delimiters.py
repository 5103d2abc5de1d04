"""Delimiters are those that a message defines for itself (spec items 38 to 42)."""

import pytest

from engine.hl7.delimiters import STANDARD, read_delimiters
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message


def test_the_usual_four_need_no_notice():
    assert read_delimiters("MSH|^~\\&|A") == (STANDARD, ())


def test_five_encoding_characters_are_read_in_any_version():
    found, notices = read_delimiters("MSH|^~\\&#|A")
    assert (found.component, found.repetition, found.escape, found.subcomponent, found.truncation) == tuple("^~\\&#")
    assert notices == ()
    message = Message.parse(b"MSH|^~\\&#|A||||||ADT^A01|1|P|2.3\rPID|1||A^B~C&D\r")
    assert message.get("PID-3[2].1.2") == "D"
    assert message.get("MSH-2") == "^~\\&#"
    assert message.get("MSH-3") == "A"


def test_delimiters_that_are_left_out_are_not_in_use():
    message = Message.parse(b"MSH|^|A||||||ADT^A01|1|P|2.3\rPID|1||A~B^C&D\\F\\\r")
    assert message.get("PID-3.1") == "A~B"
    assert message.get("PID-3.2") == "C&D\\F\\"
    assert message.get("PID-3.2.2") is None
    assert message.get("PID-3[2]") is None
    assert [n.code for n in message.warnings] == ["W312"]


@pytest.mark.parametrize("written", ["^~&", "^~\\\\&"])
def test_two_known_mistakes_are_repaired_and_sent_on_as_they_came(written):
    raw = f"MSH|{written}|A||||||ADT^A01|1|P|2.3\rPID|1||A^B&C~D\\F\\E\r".encode()
    message = Message.parse(raw)
    assert message.get("MSH-3") == "A"
    assert message.get("PID-3.2.2") == "C"
    assert message.get("PID-3[2].1") == "D|E"
    assert [n.code for n in message.warnings] == ["W310"]
    message.set("PID-8", "M")
    assert message.to_bytes().startswith(f"MSH|{written}|A|".encode())


@pytest.mark.parametrize(
    ("written", "text", "values"),
    [
        ("^&~\\", "A^Y&B", {"PID-3.1": "A", "PID-3.2": "Y", "PID-3[2].1": "B"}),
        ("@~\\&", "A^B@C&D", {"PID-3.1": "A^B", "PID-3.2": "C", "PID-3.2.2": "D"}),
        ("!@%*", "A^B!C*D@E%S%", {"PID-3.1": "A^B", "PID-3.2.2": "D", "PID-3[2].1": "E!"}),
    ],
)
def test_permuted_and_unusual_delimiters_count_by_position(written, text, values):
    message = Message.parse(f"MSH|{written}|X||||||ADT|1|P|2.3\rPID|1||{text}\r".encode())
    assert {path: message.get(path) for path in values} == values


def test_another_field_separator():
    message = Message.parse(b"MSH#^~\\&#LAB######ADT^A01#1\rPID#1##4711|5^^^X\r")
    assert message.get("MSH-1") == "#"
    assert message.get("MSH-9.2") == "A01"
    assert message.get("PID-3.1") == "4711|5"


def test_a_repetition_separator_of_two_bytes_is_one_character():
    message = Message.parse("MSH|^˜\\&|A||||||ADT^A01|1|P|2.3\rPID|1||A^B˜C\r".encode())
    assert message.get("PID-3[2].1") == "C"


def test_a_field_separator_outside_ascii():
    message = Message.parse("MSH¦^~\\&¦LAB¦¦¦¦¦¦ADT^A01¦1\rPID¦1¦¦4711\r".encode("cp1252"))
    assert (message.get("MSH-3"), message.get("PID-3"), message.charset.codec) == ("LAB", "4711", "cp1252")


def test_a_delimiter_given_twice_is_an_error_of_msh_2_and_counts_once():
    found, notices = read_delimiters("MSH|&&&&|A")
    assert (found.component, found.repetition, found.escape, found.subcomponent) == ("&", "", "", "")
    assert [(n.code, n.location, n.hl7_code) for n in notices] == [("W311", "MSH-2", "102")]


def test_letters_are_no_delimiters():
    found, notices = read_delimiters("MSH|SENDAPP|A")
    assert "".join((found.component, found.repetition, found.escape, found.subcomponent)) == ""
    assert notices[0].hl7_code == "102"


@pytest.mark.parametrize("raw", [b"MSH", b"MSH\r", b"MSHX^~\\&|", b"MSH ^~\\&|A", b"MSH\x00^~"])
def test_a_fourth_character_that_cannot_separate_makes_the_message_unreadable(raw):
    with pytest.raises(UnreadableMessage) as caught:
        Message.parse(raw)
    assert caught.value.hl7_code in ("100", "102")


def test_msh_2_alone_is_read_whole():
    message = Message.parse(b"MSH|^~\\&")
    assert message.get("MSH-2") == "^~\\&"
    assert message.get("MSH-3") is None
    assert message.to_bytes() == b"MSH|^~\\&\r"
