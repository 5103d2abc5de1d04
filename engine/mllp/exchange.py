"""The sender's side of one MLLP connection: a message goes out, its own answer is waited for.

Invariant: a message counts as answered only by a whole block whose MSA-2 is its MSH-10, byte for
byte, and which came while it was outstanding. Nothing else is ever credited to it: not a late answer
to the message before, not a second answer, not text, not silence (hl7.md items 19, 23, 32;
reliability.md S2, S5, S6, S7, S9).

After anything that should not have come, the connection is no longer trusted: a late answer might
follow, and look like the answer to what is sent next. The caller then closes it::

    idle         --start-->                         outstanding
    outstanding  --own answer--> Answered           idle
    outstanding  --any other--> Foreign | Broken    distrusted
    outstanding  --time-out, close--> Broken        distrusted
    idle         --bytes--> Broken                  distrusted
    idle         --application answer to a message that was answered CA--> Late   idle

With `awaits_application` the receiver's CA is not the end: the application's own answer is waited for, and only
where none comes the CA is what the message got::

    outstanding  --CA--> Accepted                   outstanding
    outstanding  --application answer--> Answered   idle
    outstanding  --time-out, close, any other--> Answered, with the CA

Pure: bytes and calls in, events out. Reading an ACK is given as a callable, so this package needs no
HL7 parser.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, assert_never

from engine.mllp.framing import Block, BlockDecoder, CommitByte, Fault, Oversize

DEFAULT_MAX_ANSWER_BYTES = 64 * 1000
POSITIVE = frozenset({"AA", "CA"})
CODES = frozenset({"AA", "AE", "AR", "CA", "CE", "CR"})
_MOST_AWAITED = 64


class Answer(Protocol):
    """What the exchange needs of an ACK that was read: MSA-1 and, as raw bytes, MSA-2."""

    @property
    def code(self) -> str: ...

    @property
    def control_id(self) -> bytes: ...


BreakCode = Literal[
    "timeout",
    "stalled",
    "closed",
    "closed-mid-answer",
    "unreadable",
    "unknown-code",
    "bytes-outside",
    "truncated",
    "too-long",
    "framing",
    "too-early",
    "unasked",
    "uncommitted",
]

BREAK_TEXTS: dict[BreakCode, str] = {
    "timeout": "no answer within the time-out",
    "stalled": "the receiver stopped taking the message off the wire",
    "closed": "the connection was closed before an answer came",
    "closed-mid-answer": "the connection was closed in the middle of an answer",
    "unreadable": "what came back is not an acknowledgment",
    "unknown-code": "the answer's MSA-1 is none of AA, AE, AR, CA, CE, CR",
    "bytes-outside": "bytes came back outside an MLLP block",
    "truncated": "an answer was cut off by the start of another",
    "too-long": "the answer is longer than the limit",
    "framing": "the answer is not framed as MLLP says",
    "too-early": "a positive answer came before the message was sent completely",
    "unasked": "an answer came that no message had asked for",
    "uncommitted": "the receiver did not commit the message, however often it was written (MLLP Release 2)",
}


A = TypeVar("A", bound=Answer)


@dataclass(slots=True, frozen=True)
class Answered(Generic[A]):
    """The outstanding message's own answer, good or bad. `raw` is the block's payload."""

    answer: A
    raw: bytes


@dataclass(slots=True, frozen=True)
class Foreign(Generic[A]):
    """A well-formed answer to another message: the outstanding one counts as unanswered (S5)."""

    answer: A
    raw: bytes


@dataclass(slots=True, frozen=True)
class Late(Generic[A]):
    """The application's answer to a message that was answered CA before (hl7.md item 23). Credited to nothing."""

    answer: A
    raw: bytes


@dataclass(slots=True, frozen=True)
class Accepted(Generic[A]):
    """CA for the outstanding message, whose application's answer is still waited for."""

    answer: A
    raw: bytes


@dataclass(slots=True, frozen=True)
class Committed:
    """The receiver's transport has the block, or not (MLLP Release 2); given where `commits` says so (item 14)."""

    positive: bool


@dataclass(slots=True, frozen=True)
class Broken:
    """No answer that counts, and the stream is no longer trusted. `raw`: the block that broke it, if it was one."""

    code: BreakCode
    raw: bytes = b""

    @property
    def reason(self) -> str:
        """A sentence without values."""
        return BREAK_TEXTS[self.code]


Event = Answered[A] | Foreign[A] | Late[A] | Accepted[A] | Committed | Broken


class Exchange(Generic[A]):
    """One connection's exchanges, one after the other; `read_ack` gives None for what is no ACK.

    Every `start` is followed by exactly one Answered, Foreign or Broken. Late, Committed, and Broken while
    nothing is outstanding, may come at any time.
    """

    __slots__ = (
        "_accepted",
        "_commits",
        "_decoder",
        "_last",
        "_outstanding",
        "_read_ack",
        "_so_far",
        "awaits_application",
        "is_trusted",
    )

    def __init__(
        self,
        read_ack: Callable[[bytes], A | None],
        *,
        max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES,
        commits: bool = False,
    ) -> None:
        self._read_ack = read_ack
        self._decoder = BlockDecoder(max_answer_bytes, max_skipped_bytes=max_answer_bytes)
        self._outstanding: bytes | None = None
        self._last: bytes | None = None
        # Answered CA: the application's own answer may follow. A dict, for its order.
        self._accepted: dict[bytes, None] = {}
        self._commits = commits
        self._so_far: Answered[A] | None = None
        """CA of the outstanding message, whose application is waited for."""
        self.awaits_application = False
        self.is_trusted = True

    @property
    def is_outstanding(self) -> bool:
        """Whether a message waits for its answer."""
        return self._outstanding is not None

    def fits(self, control_id: bytes) -> bool:
        """Whether a message with this MSH-10 can be told from all that this connection may still bring.

        Not so for the id that was answered last, or accepted with CA, on the same connection: a peer that
        answers twice would have its second answer credited to the wrong message. Messages that all have
        the same id, or none, go on a connection each.
        """
        return (
            self.is_trusted
            and self._outstanding is None
            and control_id != self._last
            and control_id not in self._accepted
            and not self._decoder.mid_block
        )

    def start(self, control_id: bytes) -> None:
        """A message with this MSH-10 (raw bytes, b'' for none) goes out now. Raises RuntimeError out of turn."""
        if not self.is_trusted or self._outstanding is not None:
            raise RuntimeError("a message is outstanding, or the stream is not trusted")
        self._outstanding = control_id

    def on_bytes(self, data: bytes | bytearray | memoryview, *, unsent_bytes: int = 0) -> list[Event[A]]:
        """Bytes came. `unsent_bytes`: how much of the outstanding message its receiver cannot have yet."""
        if not self.is_trusted:
            return []
        decoder = self._decoder
        items = decoder.feed(data)
        if decoder.awaits_cr:
            items += decoder.finish()  # an ACK holds no FS as data, so nobody need wait for the CR
        events: list[Event[A]] = []
        for item in items:
            if isinstance(item, Block):
                events.append(self._on_block(item, unsent_bytes))
            elif isinstance(item, CommitByte):
                if self._commits:
                    events.append(Committed(item.positive))
                continue  # the peer's transport speaks Release 2; the answer comes in a block of its own (item 15)
            elif isinstance(item, Oversize):
                events.append(self._break("too-long", item.prefix))
            elif isinstance(item, Fault):
                events.append(self._break("bytes-outside" if item.code == "garbage" else "framing"))
            else:
                assert_never(item)
            if self._ended():  # by a method, as the type checker holds that it is still as it was above
                return events
        if decoder.has_stray_bytes:
            events.append(self._break("bytes-outside"))
        return events

    def on_timeout(self, *, unsent_bytes: int = 0) -> list[Event[A]]:
        """The caller waited long enough, for the answer or for the rest to go out. Empty when idle."""
        if self._outstanding is None:
            return []
        if self._so_far is not None:
            return [self._accepted_only(self._so_far)]
        return [self._break("stalled" if unsent_bytes else "timeout")]

    def on_uncommitted(self, why: BreakCode = "uncommitted") -> list[Event[A]]:
        """The message was written as often as allowed, and its block never committed; or a commit came `too-early`."""
        return [] if self._outstanding is None else [self._break(why)]

    def on_close(self) -> list[Event[A]]:
        """The connection is gone. Empty when nothing is outstanding."""
        was_outstanding, mid_answer = self._outstanding is not None, self._decoder.mid_block
        self.is_trusted = False
        return [self._break("closed-mid-answer" if mid_answer else "closed")] if was_outstanding else []

    def _ended(self) -> bool:
        return not self.is_trusted

    def _on_block(self, block: Block, unsent_bytes: int) -> Event[A]:
        raw = block.payload
        if block.warnings:
            if "bytes-before" in block.warnings:
                return self._break("bytes-outside", raw)
            if "truncated-before" in block.warnings:
                return self._break("truncated", raw)
        answer = self._read_ack(raw)
        if answer is None:
            return self._break("unreadable", raw)
        code, control_id = answer.code, answer.control_id
        if code not in CODES:
            return self._break("unknown-code", raw)
        if control_id in self._accepted and code[0] == "A":
            del self._accepted[control_id]
            return Late(answer, raw)
        if self._outstanding is None:
            return self._break("unasked", raw)
        if control_id != self._outstanding:
            self.is_trusted = False
            if self._so_far is not None:
                return self._accepted_only(self._so_far)
            self._outstanding = None
            return Foreign(answer, raw)
        if unsent_bytes:
            # Whoever says yes before the end cannot mean this message (S6). A no is taken at its word: a
            # receiver may refuse a long message half-way. What it does with the rest is anybody's guess.
            if code in POSITIVE:
                return self._break("too-early", raw)
            self.is_trusted = False
        if code == "CA":
            if self.awaits_application:
                self._so_far = Answered(answer, raw)
                return Accepted(answer, raw)
            return self._accepted_only(Answered(answer, raw))
        self._last = control_id
        self._outstanding = None
        self._so_far = None
        return Answered(answer, raw)

    def _accepted_only(self, answered: Answered[A]) -> Answered[A]:
        """CA is what the message got; its application's answer may still come, and will be late."""
        control_id = answered.answer.control_id
        self._last = control_id
        self._outstanding = self._so_far = None
        self._accepted[control_id] = None
        if len(self._accepted) > _MOST_AWAITED:
            del self._accepted[next(iter(self._accepted))]
        return answered

    def _break(self, code: BreakCode, raw: bytes = b"") -> Broken | Answered[A]:
        self.is_trusted = False
        if self._so_far is not None:
            return self._accepted_only(self._so_far)
        self._outstanding = None
        return Broken(code, raw)
