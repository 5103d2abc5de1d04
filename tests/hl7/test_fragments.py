"""Segments continued with ADD and messages continued with DSC come together as they were (spec items 65, 66)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.hl7.fragments import (
    Assembly,
    Bounds,
    Misplaced,
    is_fragment,
    join_additions,
    join_fragments,
    read_fragment,
    without_additions,
)
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.testing.fragments import cut_message, cut_segments

HEADER = b"MSH|^~\\&|A|B|C|D|20260102||ORU^R01|1|P|2.5\r"


def whole(raw: bytes) -> bytes | None:
    return join_additions(Message.parse(raw))


# -- ADD ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("came", "joined"),
    [
        (b"C|34\rADD|5|678|\rADD|90\r", b"C12|345|678|90\r"),
        (b"OBX|1|TX|||one\rADD| two\rNTE|1\r", b"OBX|1|TX|||one two\rNTE|1\r"),
        (b"OBX|1\rADD\rNTE|1\r", b"OBX|1\rNTE|1\r"),
        (b"OBX|1\rADD|\rADD||\rNTE|1\r", b"OBX|1|\rNTE|1\r"),
        (b"OBX|1|\rADD|2\rOBX|3\rADD|4\r", b"OBX|1|2\rOBX|34\r"),
    ],
)
def test_what_follows_add_is_appended_as_characters(came: bytes, joined: bytes) -> None:
    came = came.replace(b"C|34", b"C12|34")
    assert whole(HEADER + came) == HEADER + joined


def test_a_message_without_add_is_left_alone() -> None:
    assert whole(HEADER + b"OBX|1||ADD|x\rADE|1\rADDX|1\r") is None


def test_a_header_cannot_be_continued() -> None:
    assert whole(HEADER + b"ADD|x\rOBX|1\r") is None
    assert whole(HEADER + b"ADD|x\rOBX|1\rADD|2\r") == HEADER + b"ADD|x\rOBX|12\r"


def test_a_whole_message_is_read_through_as_one_and_knows_what_was_received() -> None:
    came = HEADER + b"PID|1||7\rADD|8^^^H\r"
    message = without_additions(Message.parse(came))
    assert message.get("PID-3.1") == "78"
    assert message.raw == came
    assert message.to_bytes() == HEADER + b"PID|1||78^^^H\r"


def test_a_thousand_additions_are_one_segment() -> None:
    assert whole(HEADER + b"OBX|" + b"\rADD|x" * 10_000 + b"\r") == HEADER + b"OBX|" + b"x" * 10_000 + b"\r"


@pytest.mark.parametrize(
    ("path", "came", "left"),
    [
        ("PID-3", b"PID|1|2|a^b\rADD|^c|9\r", b"PID|1|2|\rADD|^c|9\r"),
        ("PID-3.2", b"PID|1|2|a^b\rADD|^c|9\r", b"PID|1|2|a^\rADD|^c|9\r"),
        ("PID-3.2.2", b"PID|1|2|a^b&d\rADD|&c|9\r", b"PID|1|2|a^b&\rADD|&c|9\r"),
        ("PID-3[2]", b"PID|1|2|a~b\rADD|~c\r", b"PID|1|2|a~\rADD|~c\r"),
        ("PID-4", b"PID|1|2|a^b|x\rADD|9\r", b"PID|1|2|a^b|\rADD|9\r"),
        ("PID-3.2", b"PID|1|2|a^b|\rADD|9\r", b"PID|1|2|a|\rADD|9\r"),
        ("PID-3", b"PID|1|2|a\rNTE|1\r", b"PID|1|2\rNTE|1\r"),
        ("PID-3[2]", b"PID|1|2|a~b\rNTE|1\r", b"PID|1|2|a\rNTE|1\r"),
    ],
)
def test_a_deletion_at_the_end_of_a_segment_that_goes_on_keeps_what_separates(path, came, left) -> None:
    message = Message.parse(HEADER + came)
    assert compile_path(path).delete(message) == 1
    assert message.to_bytes() == HEADER + left


# -- any message, cut anywhere -------------------------------------------------------------------------

MARKS = st.sampled_from(["|^~\\&", "#@*!%", "|^~\\&#", "!$%/+", "\u00a7^~\\&"])
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x0b\x1c\x1b", exclude_categories=("Cs",)), max_size=12
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message under whatever delimiters, in UTF-8."""
    marks = draw(MARKS)
    field = marks[0]
    fields = [
        "MSH",
        marks[1:],
        "APP",
        "FAC",
        "",
        "",
        "2026",
        "",
        "ORU^R01",
        "1",
        "P",
        "2.5",
        "",
        "",
        "",
        "",
        "",
        "UNICODE UTF-8",
    ]
    names = st.sampled_from(["PID", "OBX", "NTE", "ZZZ"])
    segments = draw(st.lists(st.tuples(names, st.lists(TEXT, min_size=1, max_size=5)), min_size=1, max_size=5))
    lines = [field.join(fields), *(field.join([name, *values]) for name, values in segments)]
    return ("\r".join(lines) + "\r").encode()


CHARSETS = st.sampled_from(
    [
        ("8859/1", "iso8859_1", "aäöüß|\u00b6"),
        ("GB 18030-2000", "gb18030", "a亅乛乗亊测试"),
        ("BIG-5", "big5", "a吜乞么吘測試"),
        ("~ISO IR87", "iso2022_jp", "a試験万次"),
        ("KS X 1001", "euc_kr", "a시험견본"),
    ]
)


@st.composite
def messages_of_the_world(draw: st.DrawFn) -> bytes:
    """A message in a declared character set, some of whose characters have the bytes of delimiters."""
    declared, codec, letters = draw(CHARSETS)
    text = st.text(st.sampled_from(letters.replace("|", "")), max_size=8)
    lines = [f"MSH|^~\\&|APP|FAC|||2026||ORU^R01|1|P|2.5||||||{declared}"]
    lines += [
        "|".join(["OBX", *values])
        for values in draw(st.lists(st.lists(text, min_size=1, max_size=4), min_size=1, max_size=4))
    ]
    return ("\r".join(lines) + "\r").encode(codec)


OFFSETS = st.lists(st.integers(0, 400), max_size=6)


@given(messages(), OFFSETS)
@example(HEADER + b"OBX|1\r", [len(HEADER) + 5])
def test_segments_cut_anywhere_under_any_delimiters_come_together_as_they_were(raw: bytes, at: list[int]) -> None:
    cut = cut_segments(raw, at)
    joined = join_additions(Message.parse(cut))
    assert (cut if joined is None else joined) == raw


@given(messages(), OFFSETS)
@example(HEADER + b"OBX|1|\xc3\xbc\r", [len(HEADER) + 7])
def test_messages_cut_anywhere_under_any_delimiters_come_together_as_they_were(raw: bytes, at: list[int]) -> None:
    parts = cut_message(raw, at)
    read = [Message.parse(part) for part in parts]
    assert join_fragments(read) == raw
    assembly: Assembly[Message] = Assembly(Bounds(100, 1 << 20, 4))
    found = None
    for message in read:
        fragment = read_fragment(message)
        assert (fragment is None) == (len(parts) == 1)
        if fragment is not None:
            found = assembly.add("S", assembly.place("S", fragment), fragment, message, 0.0)
    if found is not None:
        assert found.is_complete and not assembly
        assert join_fragments(found.parts) == raw


@given(messages_of_the_world(), OFFSETS, OFFSETS)
def test_in_any_charset_a_cut_in_the_middle_of_a_character_heals(
    raw: bytes, first: list[int], second: list[int]
) -> None:
    cut = cut_segments(raw, first)
    joined = join_additions(Message.parse(cut))
    assert (cut if joined is None else joined) == raw
    assert join_fragments([Message.parse(part) for part in cut_message(raw, second)]) == raw


@given(messages(), OFFSETS, OFFSETS)
def test_a_message_with_cut_segments_may_be_cut_again(raw: bytes, first: list[int], second: list[int]) -> None:
    twice = cut_message(cut_segments(raw, first), second)
    together = join_fragments([Message.parse(part) for part in twice])
    joined = join_additions(Message.parse(together))
    assert (together if joined is None else joined) == raw


# -- what a fragment says ------------------------------------------------------------------------------


def test_fragments_as_the_standard_shows_them() -> None:
    """HL7 v2.5.1 section 2.10.2.2, with ANY for any segment."""
    first = b"MSH|^~\\&||||||ANY|1001|P|2.4|123||\rAAA|1\rBBB|1\rDSC|W4xy\r"
    second = b"MSH|^~\\&||||||ANY|2106|P|2.4|124|W4xy|\rCCC|1\rANY|12\rADD|\rDSC|V292\r"
    third = b"MSH|^~\\&||||||ANY|2401|P|2.4|125|V292\rADD|345|678|\rEEE|1\r"
    joined = join_fragments([Message.parse(raw) for raw in (first, second, third)])
    assert joined == b"MSH|^~\\&||||||ANY|1001|P|2.4|123||\rAAA|1\rBBB|1\rCCC|1\rANY|12345|678|\rEEE|1\r"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"OBX|1\r", None),
        (b"DSC|P1\rOBX|1\r", None),
        (b"OBX|1\rDSC|\r", None),
        (b'OBX|1\rDSC|""\r', None),
        (b"QPD|1\rDSC|P1|I\r", None),
        (b"OBX|1\rDSC|P1\r", ("", "P1", False, False)),
        (b"OBX|1\rDSC|P1|F\r\r \r", ("", "P1", False, False)),
        (b"OBX|1\rADD\rDSC|P1\r", ("", "P1", False, True)),
        (b"OBX|1\rADD|\rDSC|P1\r", ("", "P1", False, True)),
        (b"OBX|1\rADD||\rDSC|P1\r", ("", "P1", False, False)),
        (b"OBX|1\rADD|2\rDSC|P1\r", ("", "P1", False, False)),
    ],
)
def test_what_a_first_fragment_is(body: bytes, expected) -> None:
    message = Message.parse(HEADER + body)
    found = read_fragment(message)
    assert is_fragment(message) == (expected is not None)
    assert expected == (found and (found.pointer, found.next, found.begins_in_add, found.ends_in_add))


def later(pointer: bytes, body: bytes, marks: bytes = b"|^~\\&") -> Message:
    field = marks[:1]
    header = b"MSH|^~\\&|A|B|C|D|20260102||ORU^R01|2|P|2.5||%s" % pointer
    return Message.parse(b"MSH" + marks + header[8:].replace(b"|", field) + b"\r" + body.replace(b"|", field))


def test_lf_and_a_missing_end_make_no_difference() -> None:
    first = Message.parse((HEADER + b"OBX|1\rDSC|P1").replace(b"\r", b"\n"))
    second = later(b"P1", b"OBX|2")
    assert join_fragments([first, second]) == HEADER + b"OBX|1\rOBX|2\r"


# -- which belongs to which ----------------------------------------------------------------------------


class Sending:
    """An assembly, and senders."""

    def __init__(self, **bounds: int) -> None:
        self.assembly: Assembly[bytes] = Assembly(
            Bounds(**{"most_fragments": 3, "most_bytes": 500, "most_open": 2, **bounds})
        )

    def send(self, message: Message, sender: str = "S"):
        fragment = read_fragment(message)
        assert fragment is not None
        return self.assembly.add(sender, self.assembly.place(sender, fragment), fragment, message.raw, 0.0)


def first(pointer: bytes, body: bytes = b"OBX|1\r") -> Message:
    return Message.parse(HEADER + body + b"DSC|%s\r" % pointer)


def test_sets_of_several_senders_with_the_same_pointer_do_not_mix() -> None:
    sending = Sending()
    for sender in "ST":
        sending.send(first(b"P1"), sender)
    assert sending.send(later(b"P1", b"OBX|2\r"), "T").is_complete
    assert len(sending.assembly) == 1
    assert sending.assembly.expects("S", "P1") is not None


def test_a_sender_may_use_one_pointer_all_through_a_message() -> None:
    sending = Sending()
    sending.send(first(b"X"))
    assert not sending.send(later(b"X", b"OBX|2\rDSC|X\r")).is_complete
    assert sending.send(later(b"X", b"OBX|3\r")).is_complete


@pytest.mark.parametrize(
    ("before", "message", "kind"),
    [
        ([], later(b"P1", b"OBX|2\r"), "unknown"),
        ([first(b"P1")], later(b"P2", b"OBX|2\r"), "unknown"),
        ([first(b"P1")], later(b"P1", b"OBX|2\r", b"#^~\\&"), "fit"),
        ([first(b"P1", b"OBX|1\rADD\r")], later(b"P1", b"OBX|2\r"), "fit"),
        (
            [first(b"P1"), later(b"P1", b"O|\rDSC|P2\r"), later(b"P2", b"O|\rDSC|P3\r")],
            later(b"P3", b"OBX|2\r"),
            "too much",
        ),
        ([first(b"P1")], later(b"P1", b"OBX|" + b"x" * 450 + b"\r"), "too much"),
        ([], first(b"P1", b"OBX|" + b"x" * 500 + b"\r"), "too much"),
        ([first(b"P1"), first(b"P2")], first(b"P3"), "too much"),
    ],
)
def test_what_has_no_place_is_told_why(before: list[Message], message: Message, kind: str) -> None:
    sending = Sending()
    for one in before:
        sending.send(one)
    with pytest.raises(Misplaced) as told:
        sending.send(message)
    assert told.value.kind == kind


def test_a_fragment_that_begins_in_add_may_follow_one_that_did_not_say_so() -> None:
    sending = Sending()
    sending.send(first(b"P1", b"OBX|1\r"))
    done = sending.send(later(b"P1", b"ADD|2\r"))
    assert join_fragments([Message.parse(raw) for raw in done.parts]) == HEADER + b"OBX|12\r"


def test_a_pointer_that_is_taken_again_is_seen() -> None:
    sending = Sending()
    older = sending.send(first(b"P1"))
    newer = read_fragment(first(b"P1", b"OBX|9\r"))
    assert newer is not None
    assert sending.assembly.rival("S", newer, None) is older
    assert sending.assembly.rival("T", newer, None) is None
