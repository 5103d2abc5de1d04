"""The fuzz targets over their seeds, over what once broke, and over each other's seeds; and that they can fail."""

from pathlib import Path

import pytest

from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.mllp import framing
from tests.fuzz import fuzz, targets
from tests.fuzz.targets import TARGETS

BROKEN = sorted(path for path in fuzz.REGRESSIONS.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for seed in seeds:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_the_seeds_of_the_others(name: str) -> None:
    for other in TARGETS.values():
        for seed in other.seeds()[::7]:
            TARGETS[name].run(seed)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_does_not(path: Path) -> None:
    TARGETS[path.parent.name].run(path.read_bytes())


def test_a_target_sees_two_messages_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = b"\x05\x05\x05\x05\0\x0bMSH|^~\\&|1\x1c\x0bMSH|^~\\&|2\x1c\r"
    TARGETS["framing"].run(seed)
    decide = framing.BlockDecoder._decide

    def careless(self: framing.BlockDecoder, data: bytes, at: int, items: list) -> int:
        if data[at] == 11:  # as a receiver does that waits for FS CR
            self._state = framing._INSIDE
            self._buffer.write(b"\x1c\x0b")
            return at + 1
        return decide(self, data, at, items)

    monkeypatch.setattr(framing.BlockDecoder, "_decide", careless)
    with pytest.raises(AssertionError):
        TARGETS["framing"].run(seed)


def test_a_target_sees_an_exception_and_a_changed_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = TARGETS["message"].seeds()[5]
    TARGETS["message"].run(seed)
    with monkeypatch.context() as patch:
        patch.setattr(Message, "to_bytes", lambda self: self.raw.replace(b"A", b"B"))
        with pytest.raises(AssertionError):
            TARGETS["message"].run(seed)
    with monkeypatch.context() as patch:
        patch.setattr(targets, "build_ack", lambda *args, **kwargs: b"")
        with pytest.raises((AssertionError, UnreadableMessage)):
            TARGETS["message"].run(seed)


def test_a_slow_input_is_one_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr(fuzz.time, "process_time", lambda: float(next(seconds)))
    with pytest.raises(fuzz.SlowInput):
        fuzz.guarded(lambda data: None)(b"x")


def test_words_of_the_dictionary_are_written_as_the_fuzzer_reads_them() -> None:
    assert fuzz._quoted(b'a"\\\r\x0b|') == "a\\x22\\x5C\\x0D\\x0B|"
