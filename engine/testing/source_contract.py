"""What every source keeps, as tests: subclass `SourceContract`, give it a `bench`, and run it with pytest.

class TestMySource(SourceContract):
    @pytest.fixture
    async def bench(self, tmp_path): ...  # a SourceBench; its source is closed at the end

The tests are coroutines: pytest-asyncio in its `auto` mode runs them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import pytest

from engine.config.listen import DEFAULT_MAX_MESSAGE, ListenOptions
from engine.model.finding import Finding
from engine.model.ids import MessageSeq
from engine.ports.clock import Clock, SystemClock
from engine.ports.source import Context, Fate, Place, Source, SourceKind, Taken
from engine.testing import messages

ACK = b"MSH|^~\\&|SEGMILL||HIS||20260102030405||ACK|ANSWER|P|2.5.1\rMSA|%s|%s\r"

Told = Literal["kept", "rejected", "later", "nothing"]
"""What a sender knows of its payload. `later`: told to bring it again; `nothing`: not told anything yet, or cut off."""


class ScriptedInlet:
    """An inlet that remembers what it was given, and answers as it is told.

    `fates` are taken one a payload, `kept` after their end. While `gate` is clear no outcome is known, and while
    `room` is clear nothing may be taken.
    """

    def __init__(self, *fates: Fate | Exception, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        self.max_message = max_message
        self.fates = list(fates)
        self.payloads: list[bytes] = []
        self.peers: list[str] = []
        self.oversize: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.room = asyncio.Event()
        self.room.set()

    def take(self, payload: bytes, peer: str) -> Awaitable[Taken]:
        if len(payload) > self.max_message:
            return self.take_oversize(payload[:100], len(payload), peer)
        assert self.room.is_set(), "a source waits for ready()"
        self.payloads.append(payload)
        self.peers.append(peer)
        fate = self.fates.pop(0) if self.fates else "kept"
        if isinstance(fate, Exception):
            raise fate
        return _Later(self, self._taken(fate, payload))

    def take_oversize(self, prefix: bytes, size_bytes: int, peer: str) -> Awaitable[Taken]:
        self.oversize.append(size_bytes)
        finding = Finding("E230", "error", "the message is too long", hl7_code="207")
        return _Later(self, Taken("rejected", ACK % (b"AE", b""), "AE", (finding,), MessageSeq(1)))

    async def ready(self) -> None:
        await self.room.wait()

    def _taken(self, fate: Fate, payload: bytes) -> Taken:
        code = {"kept": "AA", "rejected": "AE", "refused": "AR"}[fate]
        finding = Finding("E212", "error", "a value that is not allowed", "PV1-2", "103")
        header = payload.split(b"\r", 1)[0].split(b"|")
        control_id = header[9] if len(header) > 9 else b""
        seq = None if fate == "refused" else MessageSeq(len(self.payloads))
        return Taken(fate, ACK % (code.encode(), control_id), code, (finding,) if fate == "rejected" else (), seq)


class _Later:
    """An outcome that is known when the inlet's gate opens."""

    def __init__(self, inlet: ScriptedInlet, taken: Taken) -> None:
        self._inlet = inlet
        self._taken = taken

    def __await__(self):  # type: ignore[no-untyped-def]  # a generator of asyncio's own
        return self._wait().__await__()

    async def _wait(self) -> Taken:
        await self._inlet.gate.wait()
        return self._taken


class CountingSourceMeter:
    """Counts what a source counts."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waiting = 0
        self.failed = 0
        self.open_count = 0

    def connections(self, open_count: int) -> None:
        self.open_count = open_count

    def event(self, event: str) -> None:
        self.events.append(event)

    def files(self, waiting: int, failed: int) -> None:
        self.waiting, self.failed = waiting, failed


class Running:
    """One source between start and stop, as the engine would run it."""

    def __init__(
        self,
        kind: SourceKind,
        options: ListenOptions,
        inlet: ScriptedInlet,
        site: Path,
        *,
        name: str = "lab",
        clock: Clock | None = None,
        others: Sequence[Place] = (),
    ) -> None:
        self.inlet = inlet
        self.meter = CountingSourceMeter()
        context = Context(name, site, site / "channels" / name, self.meter, clock or SystemClock())
        self.source: Source = kind.open([Place(options, inlet), *others], context)
        self._task: asyncio.Future[tuple[None]] | None = None

    async def start(self) -> None:
        """Raises SourceUnavailable."""
        await self.source.start()
        self._task = asyncio.gather(self.source.run())

    async def stop(self, within_s: float = 5.0) -> None:
        """In order, as at SIGTERM."""
        assert self._task is not None
        async with asyncio.timeout(within_s):
            await self.source.stop(within_s)
            await self._task
        self.source.abort()

    async def kill(self) -> None:
        """At once, as when the store failed; what it was doing ends nowhere."""
        self.source.abort()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


class SourceBench(Protocol):
    """One source under test with its senders."""

    inlet: ScriptedInlet
    """Where its payloads go; a restart may set another."""

    async def start(self, inlet: ScriptedInlet) -> None:
        """A source that brings to this inlet."""
        ...

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...

    async def bring(self, *payloads: bytes) -> None:
        """As its senders do, one behind the other, each a sending of its own; does not wait for what comes of it."""
        ...

    def told(self, number: int) -> Told:
        """What the sender of the n-th payload, from 0, knows now."""
        ...

    async def again(self) -> None:
        """What a sender does that was told nothing: sends again, where it is the one to do so."""
        ...


async def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until it holds. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of its being watched
            await asyncio.sleep(0.005)


def adt(number: int, family: str = "Testperson") -> bytes:
    """The n-th of messages that differ."""
    return messages.adt(control_id=f"C{number}", family=family)


class SourceContract:
    """A payload is brought as it came, and its sender hears `kept` only when it is."""

    async def test_a_payload_is_brought_as_it_came(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        await bench.start(inlet)
        payload = adt(1)
        await bench.bring(payload)
        await until(lambda: bench.told(0) == "kept")
        assert inlet.payloads == [payload]

    async def test_its_sender_is_told_nothing_before_the_outcome_is_known(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        await bench.start(inlet)
        await bench.bring(adt(1))
        await until(lambda: inlet.payloads)
        await asyncio.sleep(0.05)
        assert bench.told(0) == "nothing"
        inlet.gate.set()
        await until(lambda: bench.told(0) == "kept")

    async def test_payloads_come_in_the_order_of_their_sending(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        await bench.start(inlet)
        payloads = [adt(number) for number in range(20)]
        await bench.bring(*payloads)
        await until(lambda: bench.told(19) == "kept")
        assert inlet.payloads == payloads

    async def test_what_is_rejected_is_told_and_does_not_stop_the_next(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet("rejected")
        await bench.start(inlet)
        await bench.bring(adt(1), adt(2))
        await until(lambda: bench.told(0) == "rejected" and bench.told(1) == "kept")

    async def test_what_the_store_refuses_comes_again(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet("refused")
        await bench.start(inlet)
        await bench.bring(adt(1))
        await until(lambda: inlet.payloads)
        assert bench.told(0) in ("later", "nothing")
        await bench.again()
        await until(lambda: bench.told(0) == "kept")
        assert inlet.payloads == [adt(1), adt(1)]

    async def test_what_was_in_hand_at_a_kill_comes_again(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        await bench.start(inlet)
        await bench.bring(adt(1))
        await until(lambda: inlet.payloads)
        await bench.kill()
        assert bench.told(0) == "nothing"
        after = ScriptedInlet()
        await bench.start(after)
        await bench.again()
        await until(lambda: bench.told(0) == "kept")
        assert after.payloads == [adt(1)]

    async def test_a_stop_sees_what_is_in_hand_to_its_end(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        await bench.start(inlet)
        await bench.bring(adt(1))
        await until(lambda: inlet.payloads)
        inlet.gate.set()
        await bench.stop()
        await until(lambda: bench.told(0) == "kept")

    async def test_after_a_stop_nothing_is_taken(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        await bench.start(inlet)
        await bench.stop()
        await bench.bring(adt(1))
        await asyncio.sleep(0.1)
        assert not inlet.payloads
        assert bench.told(0) == "nothing"

    async def test_a_payload_that_is_too_long_is_refused_by_name_and_does_not_stop_the_next(
        self, bench: SourceBench
    ) -> None:
        inlet = ScriptedInlet(max_message=2000)
        await bench.start(inlet)
        await bench.bring(adt(1) + b"NTE|1||" + b"x" * 10_000 + b"\r", adt(2))
        await until(lambda: bench.told(0) == "rejected" and bench.told(1) == "kept")
        assert inlet.payloads == [adt(2)]

    @pytest.mark.parametrize(
        "payload",
        [b"", b"\r\n", b"MSH", b"\x00" * 300, b"\xff\xfe" + "MSH|^~\\&|".encode("utf-16-le"), b"\x0b\x1c\r" * 5],
        ids=["empty", "blank", "short", "zeros", "utf-16", "frames"],
    )
    async def test_whatever_a_sender_brings_does_no_harm(self, bench: SourceBench, payload: bytes) -> None:
        inlet = ScriptedInlet()
        await bench.start(inlet)
        await bench.bring(payload, adt(2))
        await until(lambda: bench.told(1) == "kept")
        await until(lambda: bench.told(0) != "nothing")

    async def test_a_defect_behind_the_inlet_harms_its_payload_alone(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet(ValueError("a defect"))
        await bench.start(inlet)
        await bench.bring(adt(1), adt(2))
        await until(lambda: bench.told(1) == "kept")
        assert bench.told(0) != "kept"

    async def test_nothing_is_taken_while_the_engine_has_no_room(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        inlet.room.clear()
        await bench.start(inlet)
        await bench.bring(adt(1))
        await asyncio.sleep(0.1)
        assert not inlet.payloads
        inlet.room.set()
        await until(lambda: bench.told(0) == "kept")

    async def test_a_long_payload_is_brought_whole(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        await bench.start(inlet)
        payload = adt(1) + b"OBX|1|ED|PDF||" + b"QUJD" * 500_000 + b"\r"
        await bench.bring(payload)
        await until(lambda: bench.told(0) == "kept")
        assert inlet.payloads == [payload]

    async def test_where_a_payload_came_from_tells_nothing_of_a_patient(self, bench: SourceBench) -> None:
        inlet = ScriptedInlet()
        await bench.start(inlet)
        await bench.bring(adt(1, family="Zzyzx"))
        await until(lambda: inlet.peers)
        assert inlet.peers[0]
        assert "zzyzx" not in inlet.peers[0].lower()

    async def test_it_can_be_let_go_of_twice(self, bench: SourceBench) -> None:
        await bench.start(ScriptedInlet())
        await bench.kill()
        await bench.kill()
