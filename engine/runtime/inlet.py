"""Intake for sources that are not MLLP ports: a payload goes in, what became of it comes out.

It is the same intake: channels by `accept` and `from`, resends, the pipeline, one commit, and only then a word to
the sender. What differs is the end: an MLLP connection needs the answer's bytes alone, while a source must know
whether the message is ours now, even where the message asked for no answer.
"""

import asyncio
from collections.abc import Awaitable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from engine.hl7.ack import read_ack
from engine.hl7.batch import split_batch
from engine.mllp.exchange import POSITIVE
from engine.mllp.framing import END, PREFIX_BYTES, VT, Oversize
from engine.model.envelope import Delivery
from engine.model.finding import Finding, load_findings
from engine.model.ids import MessageSeq
from engine.model.states import MessageState
from engine.ports.clock import Clock
from engine.ports.source import Fate, Taken
from engine.runtime.batch import BatchMember
from engine.runtime.intake import Receiver
from engine.runtime.room import Room
from engine.runtime.waiting import AnyReply, Waiting

_FATES: Final[dict[MessageState, Fate]] = {
    "received": "kept",
    "processed": "kept",
    "filtered": "kept",
    "held": "kept",
    "rejected": "rejected",
    "discarded": "kept",
    "waiting": "kept",
    "joined": "kept",
}
_WORST: Final[tuple[Fate | Literal[""], ...]] = ("", "kept", "rejected", "refused")


class Gate:
    """Whether a source may bring more: the sender that channels and the room hold and let go."""

    partial_bytes = 0
    mid_block_since = 0.0

    def __init__(self) -> None:
        self.unanswered = 0
        """Payloads in hand."""
        self.closing = False
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


@dataclass(slots=True, frozen=True)
class _Told:
    """What intake said of one payload, or of the worst of its messages; `fate` is '' until it has said anything."""

    fate: Fate | Literal[""] = ""
    findings: tuple[Finding, ...] = ()
    seq: MessageSeq | None = None

    def with_worse(self, told: "_Told") -> "_Told":
        return _Told(max(self.fate, told.fate, key=_WORST.index), self.findings + told.findings, told.seq)


class InletReply:
    """The place of one payload's answer: what `connection.Reply` is to a block."""

    __slots__ = ("_room", "done", "peer", "sender", "size", "started", "told")

    commits: ClassVar[bool] = False
    can_follow: ClassVar[bool] = False
    """A payload has one outcome, and all of its answer with it."""

    def __init__(self, room: Room, gate: Gate, size: int, peer: str, started: float) -> None:
        self._room = room
        self.size = size
        self.peer = peer
        self.sender = gate
        self.started = started
        self.told = _Told()
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        gate.unanswered += 1
        room.in_hand_bytes += size
        room.look()

    def settle(self, answer: bytes) -> None:
        """The answer as it would go over MLLP, b'' when none is due."""
        if not self.done.done():
            self.done.set_result(answer)
            self._free()

    def settle_first(self, answer: bytes) -> None:
        """Not here: `can_follow` says so."""
        raise TypeError("a payload has one answer")

    def follow(self, answer: bytes) -> None:
        """As settle_first."""
        raise TypeError("a payload has one answer")

    def not_kept(self, answer: bytes) -> None:
        """The store has no room for it, or for one of its messages: nothing of it counts as taken."""
        self._told_refused()
        self.settle(answer)

    def drop(self) -> None:
        """Nothing can be said of it: it counts as not taken, and may come again."""
        self._told_refused()
        self.settle(b"")

    def _told_refused(self) -> None:
        if not self.done.done():
            self.told = self.told.with_worse(_Told("refused", seq=self.told.seq))

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
        self.sender.unanswered -= 1
        self._room.in_hand_bytes -= self.size
        if self._room.is_full:
            self._room.look()


class TellingReceiver(Receiver):
    """Intake that also says what became of each message, before it settles the reply."""

    def committed(self, waiting: Waiting, seq: MessageSeq, deliveries: list[Delivery]) -> None:
        record = waiting.record
        _tell((waiting.reply, *waiting.also), _Told(_FATES[record.state], load_findings(record.findings), seq))
        super().committed(waiting, seq, deliveries)

    def told(
        self,
        reply: AnyReply,
        state: MessageState,
        findings: Sequence[Finding] = (),
        seq: MessageSeq | None = None,
    ) -> None:
        _tell((reply,), _Told(_FATES[state], tuple(findings), seq))


def _tell(replies: Iterable[object], told: _Told) -> None:
    for reply in replies:
        outer = reply.outermost if isinstance(reply, BatchMember) else reply
        if isinstance(outer, InletReply):
            outer.told = outer.told.with_worse(told)


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
        self.gate.closing = True
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
        answer = await asyncio.shield(self._reply.done)
        told = self._reply.told
        # What intake said nothing of, no sender may forget.
        return Taken(told.fate or "refused", unframed(answer), _code_of(answer), told.findings, told.seq)


def unframed(answer: bytes) -> bytes:
    """The acknowledgments without MLLP's frames, one behind the other."""
    return answer.replace(END, b"").replace(VT, b"")


def _code_of(answer: bytes) -> str:
    """MSA-1 of the first acknowledgment that says no, else of the last; '' without one. Also of those in a batch."""
    code = ""
    for block in answer.split(END):
        for one in split_batch(block.removeprefix(VT)):
            ack = read_ack(one)
            if ack is not None:
                if ack.code not in POSITIVE:
                    return ack.code
                code = ack.code
    return code
