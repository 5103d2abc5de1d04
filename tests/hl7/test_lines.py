"""Looking at the starts of lines: the same as a search for each, with work by the number of lines and not of bytes."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.hl7 import lines
from engine.hl7.batch import may_be_several, read_batch
from engine.hl7.errors import UnencodableText, UnreadableMessage
from engine.hl7.lines import has_few_segments, has_line
from engine.hl7.message import STEP_BYTES, Message
from engine.testing import messages
from tests.work import calls_of

STARTS = (b"MSH", b"BTS", b" ", b"\xef")
texts = st.lists(st.sampled_from([b"MSH|", b"BTS", b"\r", b"\r", b" ", b"\xefx", b"\n", b"OBX|a", b"x"])).map(b"".join)


@given(texts, st.booleans())
def test_it_finds_what_a_search_finds(raw, is_large):
    # As large: by the walk over the lines, which goes over to searching where there are too many of them.
    bound, lines._LARGE_BYTES = lines._LARGE_BYTES, 0 if is_large else 1 << 20
    try:
        assert has_line(raw, *STARTS) == any(b"\r" + start in raw for start in STARTS)
    finally:
        lines._LARGE_BYTES = bound


@pytest.mark.parametrize("count", [0, 1, 2046, 2047, 2048, 2049, 100_000])
@pytest.mark.parametrize("last", [b"MSH", b"OBX"])
def test_in_a_large_one_with_few_or_many_lines(count, last):
    raw = b"MSH|" + b"\rNTE" * count
    raw += b"x" * ((2 << 20) - len(raw) - 4) + b"\r" + last
    assert len(raw) == 2 << 20
    assert has_line(raw, *STARTS) == (last == b"MSH")
    assert has_few_segments(raw) == (raw.count(b"\r") < len(raw) >> 10)


def test_a_large_document_is_looked_at_by_its_lines():
    raw = messages.oru() + b"OBX|9|ED|PDF||" + b"A" * 20_000_000 + b"\r"
    assert calls_of(lambda: has_line(raw, *STARTS)) < 100


@settings(max_examples=300)
@given(texts, st.integers(0, 3))
def test_what_may_be_several_is_all_that_is_several(text, fill):
    assume(b" BTS" not in text)  # a trailer that is indented, and has no message but one before it
    raw = b"MSH|^~\\&|A\r" + text + b"y" * fill
    if not may_be_several(raw):
        assert read_batch(raw) is None


@pytest.mark.parametrize(
    "tail", [b"", b"\n", b"\x1b", "ü".encode(), "€".encode() * 400_000, b"\xff", b"\rMSH|^~\\&|B", b"\rNTE|" * 9000]
)
@pytest.mark.parametrize("size", [10, STEP_BYTES - 1, STEP_BYTES, 3 * STEP_BYTES + 17])
def test_a_message_read_in_steps_is_the_same_message(tail, size):
    raw = messages.oru() + b"OBX|9|ED|PDF||" + b"QUJD" * (size // 4) + b"A" * (size % 4) + tail + b"\rNTE|1||end"
    read, whole = in_steps(raw), Message.parse(raw)
    assert [read.segment(n) for n in range(len(read))] == [whole.segment(n) for n in range(len(whole))]
    assert (read.charset, read.warnings, read.raw) == (whole.charset, whole.warnings, raw)
    for message in (read, whole):
        message.set("MSH-5", "X")
    assert read.to_bytes() == whole.to_bytes()


HEADERS = [
    "MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1",
    "MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1||||||UNICODE UTF-8",
    "MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1||||||8859/15",
    "MSH#*~\\&#A#B#C#D#2026##ORU*R01#1#P#2.5",
]
TEXTS = [
    b"x",
    b"\xe4\xf6",
    "\u20ac".encode() * 400,
    b"\\X0D\\",
    b"\x1b$B",
    b"\x00",
    b"Q" * 699,
    b"Q" * 700,
    b"A^B|" * 500,
]
PLACES = ("OBX-5", "OBX[2]-5.1", "OBX[3]-5.2", "NTE-3", "NTE-3.1", "NTE-3.2", "NTE-3.1.1", "NTE[2]-3.2", "OBX[2]-6")
segment_lists = st.lists(st.tuples(st.sampled_from([b"OBX|1|ED|", b"NTE|1||", b"MSH|^~\\&|"]), st.sampled_from(TEXTS)))


@settings(max_examples=200)
@given(
    st.sampled_from(HEADERS), segment_lists, st.sampled_from([b"\r", b"\r", b"\r\n", b"\r\r"]), st.integers(3000, 5000)
)
def test_any_document_is_read_and_written_in_steps_as_in_one_go_and_as_a_small_one(header, segments, end, size):
    raw = end.join([header.encode(), *(name + text for name, text in segments), b"OBX|9|ED|PDF||" + b"A" * size]) + end
    small = Message.parse(raw)
    with pytest.MonkeyPatch.context() as patch:
        bounds = {"message._LARGE_BYTES": 3000, "message.STEP_BYTES": 700, "lines._LARGE_BYTES": 3000}
        bounds |= {"in_steps.STEP_BYTES": 700, "in_steps.MOST_FIELDS": 300, "output._PART_CHARS": 500}
        bounds |= {f"{module}.LARGE_CHARS": 600 for module in ("delimiters", "reading", "writing")}
        for place, bound in {**bounds, "writing._PART_CHARS": 250}.items():
            patch.setattr(f"engine.hl7.{place}", bound)
        every = [small, Message.parse(raw), in_steps(raw)]
        assert len({(m.charset, m.warnings, len(m), m.to_bytes()) for m in every}) == 1
        for message in every:
            message.set("MSH-5", "X")
            message.set("OBX-5", "new")
            message.set("NTE-3.2", "y")
            message.set("OBX[2]-5.1", "z" * 601 + "|")
        assert len({tuple(message.get(path) for path in PLACES) for message in every}) == 1
        assert len({written(message) for message in every}) == 1


def written(message):
    try:
        return message.to_bytes()
    except UnencodableText as error:
        return str(error)


def test_what_cannot_be_read_cannot_be_read_in_steps():
    with pytest.raises(UnreadableMessage):
        in_steps(b"\x00" * 2_000_000)


def test_a_document_takes_a_step_a_megabyte_to_be_read_and_one_for_the_room_to_write_it():
    steps = Message.parse_in_steps(messages.oru() + b"OBX|9|ED|PDF||" + b"A" * (20 * STEP_BYTES) + b"\r")
    assert sum(1 for _ in steps) in range(40, 50)


@pytest.mark.parametrize("longer", ["", "x", "x" * 3_000_000])
def test_the_room_is_written_over_whatever_is_written(longer):
    raw = messages.oru() + b"OBX|9|ED|PDF||" + b"A" * 2_000_000 + b"\r"
    read, whole = in_steps(raw), Message.parse(raw)
    first, second = read.copy(), read.copy()
    for message in (first, whole):
        message.set("OBX[1]-5", longer)
        message.set("MSH-5", longer)
    assert first.to_bytes() == whole.to_bytes()
    second.delete_segments([len(second) - 1])
    assert second.to_bytes() + raw[-2_000_015:] == raw, "the second of them has a room of its own"
    assert first.to_bytes() == whole.to_bytes()


def in_steps(raw):
    steps = Message.parse_in_steps(raw)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
