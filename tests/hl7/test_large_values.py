"""Who reads or edits beside a value of megabytes makes no copy of it; who edits in its own field makes one.

Copies are counted in bytes of memory: what is taken for a copy that is let go of at once counts, too.
"""

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from engine.hl7.delimiters import STANDARD
from engine.hl7.escape import escape
from engine.hl7.message import Message
from engine.testing import messages
from tests.work import calls_of

SIZE = 8 << 20
FREE = 200_000
"""What anything may take that is no copy."""
PLACE = 1_500_000
"""What a place takes that is written part by part."""


def document(steps: Callable[[], None] = lambda: None) -> Message:
    reading = Message.parse_in_steps(
        messages.adt()
        + b"OBX|1|ED|PDF^Report||^application^pdf^Base64^"
        + b"JVBERi0x" * (SIZE // 8)
        + b"||||||F\rNTE|1||x\r"
    )
    while True:
        try:
            next(reading)
            steps()
        except StopIteration as end:
            return end.value.copy()


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    """Memory is followed from before the message is made: what only becomes shorter is not taken anew."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def taken(work: Callable[[], object]) -> int:
    """The most bytes that `work` had at a time, beyond what was there before."""
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    kept = work()
    most = tracemalloc.get_traced_memory()[1] - before
    del kept
    return most


BESIDE: dict[str, Callable[[Message], object]] = {
    "read a field of its segment": lambda m: m.get("OBX-3.1"),
    "read a component of its field": lambda m: m.get("OBX-5.3"),
    "read of its field what is not there": lambda m: m.get("OBX-5.6"),
    "filter by its segment": lambda m: m.get('OBX[2 == "ED"]-3.2'),
    "filter by its field": lambda m: m.get('OBX-5[3 == "pdf"].4'),
    "set a field of its segment": lambda m: m.set("OBX-3.2", "x"),
    "set one behind it": lambda m: m.set("OBX-14", "2026"),
    "set elsewhere": lambda m: m.set("PID-8", "F"),
    "delete it": lambda m: m.set("OBX-5", ""),
    "delete its segment": lambda m: m.delete_segments(m.indexes("OBX")),
}


@pytest.mark.parametrize("what", BESIDE)
def test_beside_it_no_copy_is_made(what: str) -> None:
    message = document()
    assert taken(lambda: BESIDE[what](message)) < FREE


def test_one_copy_is_made_to_read_it() -> None:
    message = document()
    assert SIZE <= taken(lambda: message.get("OBX-5.5")) < SIZE + FREE


def test_one_copy_is_made_to_edit_another_component_of_its_field() -> None:
    message = document()
    assert SIZE <= taken(lambda: message.set("OBX-5.2", "x")) < SIZE + PLACE
    assert (message.get("OBX-5.2"), message.get("OBX-5.3")) == ("x", "pdf")


def test_it_is_set_elsewhere_without_a_copy() -> None:
    message = document()
    value = message.get("OBX-5.5")
    assert value is not None
    assert taken(lambda: message.set("NTE-3", value)) < FREE
    assert message.get("NTE-3") == value


def test_an_edited_segment_is_written_from_the_bytes_of_what_was_not_edited() -> None:
    message = document()
    message.set("OBX-3.2", "x")
    assert taken(message.to_bytes) < FREE, "the room for it was made in steps"
    assert message.copy().to_bytes() == message.raw.replace(b"PDF^Report|", b"PDF^x|")


def test_its_segment_is_cut_into_fields_in_steps() -> None:
    turns: list[int] = []
    message = document(lambda: turns.append(1))
    assert len(turns) >= 2 * SIZE >> 20
    assert calls_of(lambda: message.get("OBX-3.1")) < 40


@pytest.mark.parametrize("mark", ["", "|", "^", "&", "~", "\\", "\r", "\n", "\x0b", "\x1c"])
def test_a_large_value_is_escaped_as_a_small_one(mark: str) -> None:
    large = "A" * 300_000 + mark
    assert escape(large, STANDARD) == "A" * 300_000 + escape(mark, STANDARD)
