"""A batch is cut without loss, its counts are checked, and it is answered in its own shape (spec items 40, 41, 67)."""

import re
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.batch import Batch, read_batch, split_batch
from engine.hl7.batch_answer import answer_batch, says_no

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ONE = b"MSH|^~\\&|A||||||ADT^A01|1\rPID|1||x\r"
TWO = b"MSH#^~\\&#B######ADT^A02#2\rPID#1##y\r"
YES = b"MSH|^~\\&|S|||||ACK|Y|P|2.5\rMSA|AA|1\r"
NO = b"MSH|^~\\&|S|||||ACK|N|P|2.5\rMSA|AE|2\r"


def batch(raw: bytes) -> Batch:
    found = read_batch(raw)
    assert found is not None
    return found


def answered(raw: bytes, *answers: list[bytes], answer_with="all", fallback: str = "cp1252") -> list[bytes]:
    numbers = count(1)
    found = answer_batch(
        batch(raw).files, answers, answer_with, now=NOW, next_id=lambda: f"OUR{next(numbers)}", fallback=fallback
    )
    assert found.endswith(b"\r")
    return found.split(b"\r")[:-1]


def header(name: str, own: str, field: str = "|", marks: str = "^~\\&") -> bytes:
    fields = [name, marks, "APP", "FAC", "US", "HERE", "2026", "", "file", "", own]
    return (field.join(fields) + "\r").encode()


# -- shape ----------------------------------------------------------------------------------------


def test_files_and_batches_are_seen_as_they_are_nested() -> None:
    raw = (
        header("FHS", "F1") + header("BHS", "B1") + ONE + b"BTS|1\r" + header("BHS", "B2") + TWO + ONE + b"BTS|2\r"
        + b"FTS|2\r" + header("FHS", "F2") + TWO + b"FTS|1\r"
    )  # fmt: skip
    found = batch(raw)
    assert [[group.members for group in file.groups] for file in found.files] == [[[0], [1, 2]], [[3]]]
    assert [group.header[-3:] for group in found.files[0].groups] == [b"|B1", b"|B2"]
    assert [file.trailer for file in found.files] == [b"FTS|2", b"FTS|1"]
    assert list(found) == [ONE, TWO, ONE, TWO]
    assert found.has_header and not found.miscounts()


def test_a_batch_header_without_a_trailer_ends_at_the_next() -> None:
    found = batch(header("BHS", "B1") + ONE + header("BHS", "B2") + TWO)
    assert [group.members for group in found.files[0].groups] == [[0], [1]]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_line_ends_boms_and_blank_lines_change_nothing(end: bytes) -> None:
    raw = b"\xef\xbb\xbf" + (header("BHS", "B1") + b"\r" + ONE + b"\r" + TWO + b"BTS|2\r").replace(b"\r", end)
    found = batch(raw)
    assert [group.header.endswith(b"|B1") for group in found.files[0].groups] == [True]
    assert [group.trailer for group in found.files[0].groups] == [b"BTS|2"]
    assert len(found) == 2


def test_one_message_is_no_batch() -> None:
    assert read_batch(ONE) is None
    assert read_batch(b"no message") is None


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"BHS|^~\\&\r" + ONE + b"BTS|2\r", [("BTS-1", 2, 1, [0])]),
        (b"BHS|^~\\&\r" + ONE + b"BTS|x\r", [("BTS-1", None, 1, [0])]),
        (b"BHS|^~\\&\r" + ONE + b"BTS| 1 |all\r", []),
        (b"BHS|^~\\&\r" + ONE + b"BTS\r", []),
        (b"BHS|^~\\&\r" + ONE + b"BTS||all\r", []),
        (b"BHS#^~\\&\r" + ONE + b"BTS#3#all\r", [("BTS-1", 3, 1, [0])]),
        ("BHS\u00a7^~\\&\r".encode() + ONE + "BTS\u00a73\r".encode(), [("BTS-1", 3, 1, [0])]),
        (b"BHS|^~\\&\r" + ONE + b"BTS|1\rBHS|^~\\&\r" + TWO + b"BTS|2\r", [("BTS-1", 2, 1, [1])]),
        (b"FHS|^~\\&\r" + ONE + TWO + b"FTS|2\r", [("FTS-1", 2, 1, [0, 1])]),
        (b"FHS|^~\\&\rBHS|^~\\&\rBTS|2\rFTS|2\r", [("BTS-1", 2, 0, []), ("FTS-1", 2, 1, [])]),
        (b"FHS|^~\\&\rFTS|0\r", []),
    ],
)
def test_counts_that_are_not_true_are_found(raw: bytes, told: list) -> None:
    assert [(w.place, w.said, w.found, members) for w, members in batch(raw).miscounts()] == told


# -- nothing is lost, and nothing is made of two ----------------------------------------------------------

PLAIN = st.text(st.sampled_from("aM5HSB|^~& MSH"), max_size=20).map(str.encode)
SEGMENTS = st.lists(st.tuples(st.sampled_from([b"PID", b"NTE", b"ZZZ"]), PLAIN), max_size=3)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    field = draw(st.sampled_from([b"|", b"#", b"!"]))
    lines = [field.join([b"MSH", b"^~\\&", draw(PLAIN)])]
    lines += [name + field + text for name, text in draw(SEGMENTS)]
    return b"\r".join(lines) + b"\r"


EDGES = st.sampled_from([b"", b"BHS|^~\\&|A\r", b"FHS|^~\\&|A\r", b"BTS|1\r", b"FTS|1\r", b"BTS\r", b"\r", b"\r \r\r"])


@given(st.lists(st.tuples(EDGES, members()), max_size=6), EDGES)
def test_every_message_comes_out_byte_for_byte_whatever_stands_between(
    given_: list[tuple[bytes, bytes]], end: bytes
) -> None:
    raw = b"".join(edge + message for edge, message in given_) + end
    found = split_batch(raw)
    if not given_:
        assert found in ([], [raw])
        return
    assert found == [message for _, message in given_] or (len(given_) == 1 and found == [raw])
    parsed = read_batch(raw)
    if parsed is not None:
        numbers = [number for file in parsed.files for number in file.members]
        assert numbers == list(range(len(given_)))


LINE_OF_A_MESSAGE = re.compile(rb"(?:\A|[\r\n])(?:\xef\xbb\xbf)?[ \t]*MSH[^0-9A-Za-z\x00-\x20\x7f]")


@given(st.binary(max_size=200) | st.text(st.sampled_from("MSHBFT|\r\n \ufeff"), max_size=80).map(str.encode))
def test_whatever_comes_no_message_is_lost_and_no_two_are_one(raw: bytes) -> None:
    found = read_batch(raw)
    if found is None:
        assert split_batch(raw) == [raw]
        return
    at = 0
    for number, message in enumerate(found):
        body = message.rstrip(b" \t\r\n")
        first = LINE_OF_A_MESSAGE.search(body)
        assert first is not None and not LINE_OF_A_MESSAGE.search(body, first.end())
        body = body[first.start() :].lstrip(b"\r\n") if number == 0 else body
        start = raw.index(body, at)
        assert not LINE_OF_A_MESSAGE.search(raw[at:start])
        at = start + len(body)
    assert not LINE_OF_A_MESSAGE.search(raw[at:])


# -- the answer -------------------------------------------------------------------------------------


def test_an_answer_mirrors_its_batch() -> None:
    raw = header("FHS", "F1") + header("BHS", "B1") + ONE + b"BTS|1\r" + header("BHS", "B2") + TWO + b"BTS|1\rFTS|2\r"
    lines = answered(raw, [YES], [NO])
    assert [line[:3] for line in lines] == [
        b"FHS", b"BHS", b"MSH", b"MSA", b"BTS", b"BHS", b"MSH", b"MSA", b"BTS", b"FTS",
    ]  # fmt: skip
    assert lines[0] == b"FHS|^~\\&|US|HERE|APP|FAC|20260102030405+0000||||OUR1|F1"
    assert lines[1].split(b"|")[10:] == [b"OUR2", b"B1"] and lines[5].split(b"|")[10:] == [b"OUR3", b"B2"]
    assert (lines[4], lines[8], lines[9]) == (b"BTS|1", b"BTS|1", b"FTS|2")


def test_a_header_is_answered_in_its_own_delimiters() -> None:
    lines = answered(header("BHS", "B1", "#", "*!%+") + ONE + b"BTS#1\r", [YES])
    assert lines[0] == b"BHS#*!%+#US#HERE#APP#FAC#20260102030405+0000####OUR1#B1"
    assert lines[-1] == b"BTS#1"


def test_a_header_is_answered_in_its_own_character_set() -> None:
    raw = "BHS|^~\\&|\u30dd|B|C|D|2026||||\u30dd\r".encode("shift_jis")
    assert raw.count(b"|") == 12  # two of them are the second bytes of a character
    lines = answered(raw + ONE + b"BTS|1\r", [YES], fallback="shift_jis")
    assert lines[0].decode("shift_jis") == "BHS|^~\\&|C|D|\u30dd|B|20260102030405+0000||||OUR1|\u30dd"


@pytest.mark.parametrize(
    ("answer_with", "left", "trailer"),
    [
        ("all", [YES, NO, YES, NO], b"BTS|4"),
        ("errors", [NO, NO], b"BTS|2"),
        ("report", [], b"BTS|0|3 messages: 2 accepted, 1 refused"),
    ],
)
def test_an_answer_has_what_the_port_is_set_to(answer_with, left: list[bytes], trailer: bytes) -> None:
    """The third message is answered twice: CA and AA, or what stands for them."""
    raw = header("BHS", "B1") + ONE + TWO + ONE + b"BTS|3\r"
    lines = answered(raw, [YES], [], [NO, YES, NO], answer_with=answer_with)
    assert lines[1:-1] == b"".join(left).split(b"\r")[:-1]
    assert lines[-1] == trailer


def test_a_false_count_is_told_in_the_trailer() -> None:
    raw = header("FHS", "F1") + header("BHS", "B1") + ONE + b"BTS|7\r" + header("BHS", "B2") + b"BTS|0\rFTS|1\r"
    lines = answered(raw, [YES])
    assert lines[4] == b"BTS|1|BTS-1 says 7 messages, and there are 1"
    assert lines[6] == b"BTS|0"
    assert lines[7] == b"FTS|2|FTS-1 says 1 batches, and there are 2"


def test_a_comment_does_not_break_odd_delimiters() -> None:
    lines = answered(header("BHS", "B1", ",", "-~\\&") + ONE + b"BTS,7\r", [YES])
    assert lines[-1].count(b",") == 2


def test_empty_batches_are_answered() -> None:
    assert [line[:5] for line in answered(header("FHS", "F1") + b"FTS|0\r")] == [b"FHS|^", b"FTS|0"]
    assert answered(header("BHS", "B1") + b"BTS|0\r")[1] == b"BTS|0"


def test_what_no_header_can_be_read_of_is_answered_all_the_same() -> None:
    lines = answered(b'BHS"^~\\&\r' + ONE + b"BTS|1\r", [YES])
    assert lines[0].startswith(b"BHS|^~\\&|") and lines[-1] == b"BTS|1"


def test_answers_that_say_no_are_told_from_others() -> None:
    assert says_no(NO) and says_no(NO.replace(b"AE", b"CR")) and not says_no(YES) and not says_no(b"garbage")
