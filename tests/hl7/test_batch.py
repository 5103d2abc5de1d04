"""A payload with several messages is cut into them, and none is lost or merged (spec item 67)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.message import Message, split_batch

ONE = b"MSH|^~\\&|A||||||ADT^A01|1\rPID|1||x\r"
TWO = b"MSH#^~\\&#B######ADT^A02#2\rPID#1##y\r"
FHS, BHS, BTS, FTS = b"FHS|^~\\&|A\r", b"BHS|^~\\&|A\r", b"BTS|2\r", b"FTS|1\r"


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (ONE, [ONE]),
        (ONE + TWO, [ONE, TWO]),
        (FHS + BHS + ONE + TWO + BTS + FTS, [ONE, TWO]),
        (BHS + ONE + BTS + BHS + TWO + BTS, [ONE, TWO]),
        (FHS + ONE + FTS, [ONE]),
        (ONE + b"BTS|1", [ONE]),
        (FHS + BHS + BTS + FTS, []),
        (BHS, []),
        (ONE + b"\r\r" + TWO + b"\r\n", [ONE, TWO]),
        ((ONE + b"\n" + TWO).replace(b"\r", b"\n"), [ONE.replace(b"\r", b"\n"), TWO.replace(b"\r", b"\n")]),
        ((ONE + TWO).replace(b"\r", b"\r\n"), [ONE.replace(b"\r", b"\r\n"), TWO.replace(b"\r", b"\r\n")]),
        (ONE[:-1] + b"\n" + TWO, [ONE[:-1] + b"\n", TWO]),
        (b"\xef\xbb\xbf" + FHS + b"\xef\xbb\xbf" + ONE, [b"\xef\xbb\xbf" + ONE]),
        (b"banner\r" + ONE + TWO, [b"banner\r" + ONE, TWO]),
        (b"banner\r" + ONE, [b"banner\r" + ONE]),
        (b"no message", [b"no message"]),
        (b"", [b""]),
        (b"MSH", [b"MSH"]),
    ],
)
def test_cutting(raw, messages):
    assert split_batch(raw) == messages


@pytest.mark.parametrize(
    "text",
    [b"NTE|1||MSH and MSH| again\r", b"NTE|1||a\nMSHx\r", b"MSHX|1\r", b"NTE|1||BTS|2 FTS\r", b"BTSX|1\r", b"MSH\r"],
)
def test_the_letters_of_a_header_inside_a_message_are_text(text):
    assert split_batch(ONE + text) == [ONE + text]


def test_one_message_is_the_same_object():
    assert split_batch(ONE)[0] is ONE


@given(st.lists(st.sampled_from([ONE, TWO]), max_size=6), st.booleans(), st.sampled_from([b"", b"\r", b"\r\n", b"\n"]))
def test_every_message_comes_out_whole_and_in_order(messages, wrapped, between):
    raw = between.join(messages)
    raw = FHS + BHS + raw + BTS + FTS if wrapped else raw
    found = split_batch(raw)
    if messages:
        assert [Message.parse(m).to_bytes() for m in found] == messages
