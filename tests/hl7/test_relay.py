"""A functional answer on its way back is the one that was given, with the control id that the asking system knows."""

import pytest

from engine.hl7.message import Message
from engine.hl7.relay import functional_answer

ASKED = Message.parse(b"MSH|^~\\&|HIS|N|RIS|N|2026||ORM^O01|ID 1|P|2.3\r")


def answer(kind: str, msa: str = "MSA|AA|ID 1", end: str = "\r") -> bytes:
    return f"MSH|^~\\&|RIS|N|HIS|N|2026||{kind}|R1|P|2.3{end}{msa}{end}ORC|OK|1{end}".encode()


@pytest.mark.parametrize("kind", ["ORR^O02", "RSP^K11^RSP_K11", "ORL^O22", "MFK^M01", "ADR^A19", "ZZZ^Z01"])
def test_what_is_more_than_an_acknowledgement_is_passed_on_as_it_is(kind):
    raw = answer(kind)
    assert functional_answer(raw, ASKED) is raw


@pytest.mark.parametrize(
    "raw", [answer("ACK"), answer("ACK^O01"), answer("MCF"), answer(""), b"", b"text", b"MSA|AA|1\r"]
)
def test_an_acknowledgement_is_not(raw):
    assert functional_answer(raw, ASKED) == b""


def test_a_message_without_msa_is_no_answer():
    assert functional_answer(answer("ORR^O02", "ZZZ|1"), ASKED) == b""


@pytest.mark.parametrize("end", ["\r", "\n"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [("MSA|AE|INNER|text", "MSA|AE|ID 1|text"), ("MSA|AA|INNER", "MSA|AA|ID 1"), ("MSA|AA", "MSA|AA|ID 1")],
)
def test_its_control_id_is_the_one_that_the_asking_system_knows(given, expected, end):
    assert functional_answer(answer("ORR^O02", given, end), ASKED) == answer("ORR^O02", expected, end)


def test_a_control_id_keeps_its_bytes():
    asked = Message.parse("MSH|^~\\&|HIS|N|RIS|N|2026||ORM^O01|ID\xfc|P|2.3\r".encode("cp1252"))
    assert b"MSA|AA|ID\xfc\r" in functional_answer(answer("ORR^O02"), asked)
