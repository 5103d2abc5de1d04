"""Intake for sources that are not MLLP ports: a payload goes in, what became of it comes out.

It is the same intake: channels by `accept` and `from`, resends, the pipeline, one commit, and only then a word to
the sender. What differs is the end: an MLLP connection needs the answer's bytes alone, while a source must know
whether the message is ours now, even where the message asked for no answer.
"""

import asyncio
from collections.abc import Awaitable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from engine.hl7.ack import read_ack
from engine.mllp.framing import END, PREFIX_BYTES, VT, Oversize
from engine.model.envelope import Delivery
from engine.model.finding import Finding, load_findings
from engine.model.ids import MessageSeq
from engine.model.states import MessageState
from engine.ports.clock import Clock
from engine.ports.source import Fate, Taken
from engine.runtime.batch import BatchMember
from engine.runtime.channels import RunningChannel
from engine.runtime.intake import AnyReply, Key, Receiver, _Waiting
from engine.runtime.room import Room

_FATES: Final[dict[MessageState, Fate]] = {
    "received": "kept",
    "processed": "kept",
    "filtered": "kept",
    "held": "kept",
    "rejected": "rejected",
    "discarded": "kept",
}
_WORST: Final[tuple[Fate, ...]] = ("kept", "rejected", "refused")


class Gate:
    """Whether a source may bring more: the sender that channels and the room hold and let go."""

    partial_bytes = 0
    mid_block_since = 0.0

    def __init__(self) -> None:
        self._holds = 0
        self.open = asyncio.Event()
        self.open.set()

    def hold(self) -> None:
        self._holds += 1
        self.open.clear()

    def let_go(self) -> None:
        self._holds -= 1
        if self._holds <= 0:
            self.open.set()

    def crowded_out(self) -> None:
        """It never has half a message."""


@dataclass(slots=True)
class _Told:
    """What intake said of one payload, or of the worst of its messages."""

    fate: Fate = "kept"
    code: str = ""
    findings: tuple[Finding, ...] = ()
    seq: MessageSeq | None = None


class InletReply:
    """The place of one payload's answer: what `connection.Reply` is to a block."""

    __slots__ = ("_room", "done", "peer", "sender", "size", "started", "told")

    def __init__(self, room: Room, gate: Gate, size: int, peer: str, started: float) -> None:
        self._room = room
        self.size = size
        self.peer = peer
        self.sender = gate
        self.started = started
        self.told = _Told()
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        room.in_hand_bytes += size
        room.look()

    def settle(self, answer: bytes) -> None:
        """The answer as it would go over MLLP, b'' when none is due."""
        if not self.done.done():
            self.done.set_result(answer)
            self._free()

    def drop(self) -> None:
        """Nothing can be said of it: it counts as not taken, and may come again."""
        self.told.fate = "refused"
        self.settle(b"")

    def give_up(self) -> None:
        """Nobody waits any more."""
        if not self.done.done():
            self.done.cancel()
            self._free()

    def __enter__(self) -> None:
        """While intake has the payload in its hands: a defect there frees what it held."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.give_up()

    def _free(self) -> None:
        self._room.in_hand_bytes -= self.size
        if self._room.is_full:
            self._room.look()


class TellingReceiver(Receiver):
    """Intake that also says what became of each message, before it settles the reply."""

    def _committed(self, waiting: _Waiting, seq: MessageSeq, deliveries: list[Delivery]) -> None:
        record = waiting.record
        told = _Told(_FATES[record.state], waiting.answer.code, load_findings(record.findings), seq)
        _tell((waiting.reply, *waiting.also), told)
        super()._committed(waiting, seq, deliveries)

    def _refused(self, waiting: _Waiting, error: Exception) -> None:
        _tell((waiting.reply, *waiting.also), _Told("refused"))
        super()._refused(waiting, error)

    def _resend_of(
        self, channel: RunningChannel, key: Key, body_hash: bytes, reply: AnyReply, now_us: int
    ) -> tuple[Finding, ...] | None:
        is_on_its_way = (key, body_hash) in self._on_the_way
        found = super()._resend_of(channel, key, body_hash, reply, now_us)
        if found is None and not is_on_its_way:
            _tell((reply,), _Told("kept"))  # what is known was kept: a rejected message is not known
        return found


def _tell(replies: Iterable[object], told: _Told) -> None:
    for reply in replies:
        outer = reply.outermost if isinstance(reply, BatchMember) else reply
        if isinstance(outer, InletReply):
            before = outer.told
            worst = max(before.fate, told.fate, key=_WORST.index)
            code = told.code if worst != before.fate or not before.code else before.code
            outer.told = _Told(worst, code, before.findings + told.findings, told.seq)


class RoomyInlet:
    """`ports.source.Inlet` over a receiver, within the bounds that all ports share."""

    def __init__(self, receiver: Receiver, room: Room, clock: Clock, max_message: int) -> None:
        self.max_message = max_message
        self.gate = Gate()
        self._receiver = receiver
        self._room = room
        self._clock = clock
        self._open: set[InletReply] = set()
        room.admit(self.gate)

    def take(self, payload: bytes, peer: str) -> Awaitable[Taken]:
        if len(payload) > self.max_message:
            return self.take_oversize(payload[:PREFIX_BYTES], len(payload), peer)
        reply = self._reply(len(payload), peer)
        with reply:
            self._receiver.take(payload, reply)  # type: ignore[arg-type]  # a Reply by its shape
        return Outcome(reply)

    def take_oversize(self, prefix: bytes, size_bytes: int, peer: str) -> Awaitable[Taken]:
        reply = self._reply(len(prefix), peer)
        block = Oversize(prefix[:PREFIX_BYTES], size_bytes, self.max_message)
        with reply:
            self._receiver.take_oversize(block, reply)  # type: ignore[arg-type]  # a Reply by its shape
        return Outcome(reply)

    async def ready(self) -> None:
        await self.gate.open.wait()

    def close(self) -> None:
        """The source has ended, and nobody waits for what is in hand."""
        for reply in list(self._open):
            reply.give_up()
        self._room.leave(self.gate)

    @property
    def in_hand(self) -> int:
        """Payloads that wait for their commit."""
        return len(self._open)

    def _reply(self, size: int, peer: str) -> InletReply:
        reply = InletReply(self._room, self.gate, size, peer, self._clock.monotonic())
        self._open.add(reply)
        reply.done.add_done_callback(lambda _: self._open.discard(reply))
        return reply


class Outcome:
    """What `take` returns: await it once for what became of the payload, or let it be."""

    __slots__ = ("_reply",)

    def __init__(self, reply: InletReply) -> None:
        self._reply = reply

    def __await__(self) -> Generator[Any, None, Taken]:
        return self._taken().__await__()

    async def _taken(self) -> Taken:
        # What is in intake's hands goes its way, whoever stops waiting for it.
        answer = unframed(await asyncio.shield(self._reply.done))
        told = self._reply.told
        return Taken(told.fate, answer, _code_of(answer) or told.code, told.findings, told.seq)


def unframed(answer: bytes) -> bytes:
    """The acknowledgments without MLLP's frames, one behind the other."""
    return answer.replace(END, b"").replace(VT, b"")


def _code_of(answer: bytes) -> str:
    """MSA-1 of one acknowledgment; '' where there is none, or several in a batch."""
    ack = read_ack(answer) if answer.startswith(b"MSH") else None
    return ack.code if ack is not None else ""
