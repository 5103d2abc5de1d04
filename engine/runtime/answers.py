"""Answers that wait for a destination's: `ack: {when: delivered(x)}` (hl7.md items 22 to 24).

A message that is routed to x is stored and delivered as any other; what its sender is told at application level is
what x says. The accept level (CA) does not wait for x, and leaves after the commit.

Invariants:

- nothing positive leaves before the message is committed, and x's answer with it: the answer that the sender gets is
  written to the store in the transaction that records the delivery's end, and leaves after that;
- each message that waits is answered once: with what x said, or with a time-out after `timeout_s`;
- what x says is the answer to a message whose sender waits for x, or was promised x's answer when it was accepted, and
  to no other: by other files than those, it was another destination's answer that was promised (`promised`);
- a resend is never processed again. While the delivery is under way it waits, too; afterwards it gets the stored
  answer, also when the engine was started anew in between;
- a positive answer is never followed by a negative one for the same message.

A message here is in one of these states::

    waiting   --x answers, recorded-->     answered
    waiting   --timeout_s-->               told of it; the delivery goes on
    told      --resend, not delivered yet--> waiting
    told      --x answers, recorded-->     answered: the stored answer is x's, and a resend gets it
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

from engine.hl7.ack import AckError, Decision, application_code, build_ack, read_ack
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.relay import functional_answer
from engine.mllp.framing import END, VT
from engine.model.envelope import AckUpdate, Delivery, DeliveryResult, Known
from engine.model.finding import Finding
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.pipeline.answer import BETWEEN, Answer, AnswerSettings
from engine.ports.clock import Clock, from_us
from engine.ports.meter import ChannelMeter
from engine.ports.store import CommitUnknown, Store, StoredDelivery, StoredMessage, StoreError, StoreQueries
from engine.runtime.committer import Committer
from engine.runtime.connection import Connection
from engine.runtime.endings import MOST_ANSWER_BYTES
from engine.runtime.promised import Promised
from engine.runtime.recorded_answers import AnyReply, RecordedAnswers, Resent, accept_level, joined
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.answers")

SWEEP_S = 0.1
MOST_WAITING = 20_000
"""Messages of one channel that wait for x in memory; past that their senders are not read from."""

_KINDS: dict[str, Decision] = {"AA": "accept", "CA": "accept", "AE": "error", "CE": "error", "CR": "reject"}


class _Waiting:
    """One message whose sender waits. `replies`: whom to tell, and whether a first part was given already."""

    __slots__ = ("accept", "deadline", "message", "replies", "seq")

    def __init__(self, seq: MessageSeq, message: Message, accept: bytes, deadline: float) -> None:
        self.seq = seq
        self.message = message
        self.accept = accept
        self.deadline = deadline
        self.replies: list[tuple[AnyReply, bool]] = []


class DeliveredAnswers:
    """The messages of one channel that wait for the answer of `destination`. Watches that destination's lane."""

    def __init__(
        self,
        channel: ChannelName,
        version: VersionId,
        fallback_charset: str,
        settings: AnswerSettings,
        timeout_s: float,
        *,
        committer: Committer,
        queries: StoreQueries,
        clock: Clock,
        meter: ChannelMeter,
        waits_elsewhere: Callable[[MessageSeq], bool] = lambda seq: False,
    ) -> None:
        """`waits_elsewhere`: whether the sender of a message waits for another destination, by files before."""
        self.destination: DestinationName = settings.waits_for
        self._channel = channel
        self._promised = Promised(queries)
        self.is_retired = False
        """Whether the channel's files no longer say so: only those that wait already are told."""
        self._committer = committer
        self._queries = queries
        self._clock = clock
        self._meter = meter
        self._waits_elsewhere = waits_elsewhere
        self._recorded = RecordedAnswers(committer, queries, clock, meter)
        self._run_id = clock.random_bytes(4).hex().upper()
        self._count = 0
        self._waiting: dict[MessageSeq, _Waiting] = {}  # in the order of their deadlines
        self._ended: dict[DeliveryId, tuple[MessageSeq, str, bytes]] = {}
        self._held: dict[Connection, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self.change(version, fallback_charset, settings, timeout_s)

    def change(self, version: VersionId, fallback_charset: str, settings: AnswerSettings, timeout_s: float) -> None:
        """From the next message on, by this version of the files; who waits does so no longer than they say."""
        self._promised.is_now(version, settings.waits_for)
        self._fallback = fallback_charset
        self._settings = settings
        self._timeout_s = timeout_s
        latest = self._clock.monotonic() + timeout_s
        for waiting in self._waiting.values():  # or those behind would wait for the deadlines of those before them
            waiting.deadline = min(waiting.deadline, latest)

    def __contains__(self, seq: MessageSeq) -> bool:
        """Whether the sender of this message waits."""
        return seq in self._waiting

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    # -- what intake calls ----------------------------------------------------------------------

    def committed(self, seq: MessageSeq, message: Message, answer: Answer, replies: Sequence[AnyReply]) -> None:
        """A message that waits for x is on stable storage; its deliveries are offered after this call."""
        header = Message.parse(message.raw_header + b"\r", fallback=self._fallback)
        waiting = self._wait(seq, header, answer.payload)
        for reply in replies:
            self._add(waiting, reply)

    def is_routed(self, seq: MessageSeq) -> bool:
        """Whether a stored message goes, or went, to the destination. Raises StoreError when the store cannot say."""
        return self._last_delivery(seq) is not None

    def join(self, seq: MessageSeq, reply: AnyReply) -> bool:
        """A resend of a message that somebody waits for here: it gets the same answer. False: nobody does."""
        waiting = self._waiting.get(seq)
        if waiting is not None:
            self._add(waiting, reply)
        return waiting is not None

    def rejoin(self, known: Known, again: Message, reply: AnyReply) -> bool:
        """A resend of a stored message. False: its stored answer is final, and is the one to give.

        `again` is what came now: the same bytes, where those in the store are forgotten or damaged.

        Raises StoreError when the store cannot say.
        """
        if self.join(known.seq, reply):
            return True
        last = self._last_delivery(known.seq)
        if last is None or known.ack_code == "AA":
            return False
        found = self._to_answer(self._queries.message(known.seq), again)
        if found is None:
            return False
        message, accept = found
        if last.state != "queued":
            return self._from_row(last, message, accept, known, reply)
        if (yes := self._recorded.due(known.seq)) is not None:
            # Another copy is about to be told that, by what the destination said before or by other files: what it
            # says to the delivery that waits now would be another answer than the stored one.
            self._recorded.settle(yes, Resent(message, accept, reply, self._settings, self._next_id))
            return True
        self._add(self._wait(known.seq, message, accept), reply)
        return True

    def _wait(self, seq: MessageSeq, message: Message, accept: bytes) -> _Waiting:
        waiting = _Waiting(seq, message, accept, self._clock.monotonic() + self._timeout_s)
        self._waiting[seq] = waiting
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        return waiting

    def _add(self, waiting: _Waiting, reply: AnyReply) -> None:
        """The accept level, or the commit of MLLP Release 2, leaves now; the application's answer follows."""
        accept = waiting.accept
        has_first = reply.can_follow and (bool(accept) or reply.commits)
        if has_first:
            reply.settle_first(VT + accept + END if accept else b"")
            if accept:
                self._meter.acknowledged("CA", self._clock.monotonic() - reply.started)
        waiting.replies.append((reply, has_first))
        if len(self._waiting) >= MOST_WAITING and reply.sender not in self._held:
            self._held[reply.sender] = None
            reply.sender.hold()

    # -- what the lane calls --------------------------------------------------------------------

    def ending(self, delivery: Delivery, outcome: Outcome, result: DeliveryResult) -> bool:
        """A delivery has come to its end: put what the sender is told into its record. True: somebody waits."""
        waiting = self._waiting.get(delivery.seq)
        if waiting is None and (self.is_retired or self._waits_elsewhere(delivery.seq)):
            return False  # a person had it processed again by these files: the answer stays the other's to give
        try:
            found = (waiting.message, waiting.accept) if waiting is not None else self._promised_to(delivery.seq)
        except StoreError as error:
            log.error(
                "%s: what the sender of message %d was told cannot be read: %s", self._channel, delivery.seq, error
            )
            found = None
        if found is None:
            return False
        message, accept = found
        code, application = self._application(message, outcome)
        if code:
            result.ack_code = code
            result.ack = joined(accept, application)
            self._ended[delivery.id] = (delivery.seq, code, application)
        elif waiting is not None:
            self._ended[delivery.id] = (delivery.seq, "", b"")
        return waiting is not None

    def recorded(self, delivery_id: DeliveryId) -> None:
        """That end is on stable storage: now its sender may be told."""
        ended = self._ended.pop(delivery_id, None)
        if ended is None:
            return
        seq, code, application = ended
        waiting = self._waiting.pop(seq, None)
        if waiting is not None:
            self._tell(waiting, code, application)
            self._let_go()

    # -- answers --------------------------------------------------------------------------------

    def _tell(self, waiting: _Waiting, code: str, application: bytes) -> None:
        now = self._clock.monotonic()
        for reply, has_first in waiting.replies:
            if code:
                self._meter.acknowledged(code, now - reply.started)
            if has_first:
                reply.follow(VT + application + END if application else b"")
            else:
                whole = joined(waiting.accept, application)
                reply.settle(VT + whole + END if whole else b"")

    def _application(self, message: Message, outcome: Outcome) -> tuple[str, bytes]:
        """What x's end of the delivery is to the sender: its functional answer, or an ACK of ours with its code."""
        raw = b""
        match outcome:
            case Delivered(answer=raw):
                decision: Decision = "accept"
                errors: tuple[AckError, ...] = ()
            case Refused(ack_code=ack_code, hl7_code=hl7_code, answer=raw, location=location, text=why):
                decision = _KINDS.get(ack_code, "reject")
                text = f"destination {self.destination} answered {ack_code}"
                text += f": {why}" if why else ""
                errors = (AckError(hl7_code or "207", "error", location, text),)
            case Unsendable():
                decision = "error"
                errors = (self._told("the message cannot be sent to it"),)
            case Unreachable() | Unanswered():
                decision = "reject"
                errors = (self._told("it does not answer, and the message was set aside"),)
            case _:
                assert_never(outcome)
        code = application_code(message, decision, self._settings.mode)
        if not code:
            return "", b""
        functional = functional_answer(raw, message)
        if functional:
            # As x said it: its own AE, where it has one, is what the sender gets.
            told = read_ack(functional)
            return (told.code if told is not None else code), functional
        return code, self._own(message, code, errors)

    def _told(self, text: str) -> AckError:
        return AckError("207", "error", "", f"destination {self.destination}: {text}")

    def _own(self, message: Message, code: str, errors: Sequence[AckError]) -> bytes:
        now = from_us(self._clock.now_us())
        return build_ack(message, code, errors=errors, now=now, control_id=self._next_id(), own=self._settings.own)

    def _next_id(self) -> str:
        """MSH-10 of an answer, of a series of its own beside intake's (hl7.md item 25)."""
        self._count += 1
        return f"{self._run_id}{self._count:X}"

    # -- from the store -------------------------------------------------------------------------

    def _promised_to(self, seq: MessageSeq) -> tuple[Message, bytes] | None:
        """As `_to_answer`, of a message that nobody waits for now; None, too, where x's answer was never promised.

        After a start nobody waits, but the sender may ask again: so what it is to be told is stored all the same.
        """
        stored = self._queries.message(seq)
        if stored is None or self._promised.by(stored.version) != self.destination:
            return None
        return self._to_answer(stored)

    def _to_answer(self, stored: StoredMessage | None, again: Message | None = None) -> tuple[Message, bytes] | None:
        """A stored message, and the accept level that its sender got; None: it is not waited for."""
        if stored is None or stored.ack_code == "AA":
            return None
        message = again
        if stored.raw is not None:
            try:
                message = Message.parse(stored.raw, fallback=self._fallback)
            except UnreadableMessage:
                return None
        if message is None:
            return None
        return message, accept_level(stored.ack)

    def _last_delivery(self, seq: MessageSeq) -> StoredDelivery | None:
        found = [row for row in self._queries.deliveries(seq) if row.destination == self.destination]
        return found[-1] if found else None

    def _from_row(self, row: StoredDelivery, message: Message, accept: bytes, known: Known, reply: AnyReply) -> bool:
        """A resend of a message whose delivery ended, and nobody was there to make its sender's answer of that.

        It was damaged, or discarded, or it ended while other files were in force, or after its version had become
        theirs. Where it was delivered, what the sender was told before is a time-out's no, and not the end of it.
        """
        is_delivered = row.state == "delivered"
        if known.ack_code[:1] == "A" and not (is_delivered and self._is_ours(known.ack, message)):
            return False
        if is_delivered:
            whole = row.answer if len(row.answer) < MOST_ANSWER_BYTES else b""
            code, application = self._application(message, Delivered(answer=whole))
        else:
            code, application = application_code(message, "error", self._settings.mode), b""
            if code:
                application = self._own(message, code, (self._told("the message was set aside"),))
        if not code:
            return False
        resent = Resent(message, accept, reply, self._settings, self._next_id)
        self._recorded.settle(AckUpdate(known.seq, code, joined(accept, application)), resent)
        return True

    @staticmethod
    def _is_ours(ack: bytes, message: Message) -> bool:
        """Whether a stored answer is an ACK of ours, and not what a destination answered itself."""
        return not functional_answer(ack.rpartition(BETWEEN)[2], message)

    # -- time -----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Tell those who have waited long enough; their messages stay, and their deliveries go on."""
        self._sweeper = None
        now = self._clock.monotonic()
        late: list[_Waiting] = []
        for waiting in self._waiting.values():
            if waiting.deadline > now:
                break
            late.append(waiting)
        updates = [self._too_late(waiting) for waiting in late]
        if late:
            log.warning(
                "%s: %d sender(s) were told that %s did not answer in time", self._channel, len(late), self.destination
            )
            self._let_go()
            self._committer.call(partial(_amend, updates=updates)).add_done_callback(self._amended)
        if self._waiting:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _too_late(self, waiting: _Waiting) -> AckUpdate:
        del self._waiting[waiting.seq]
        text = f"destination {self.destination} did not answer within {self._timeout_s:g} s; its delivery goes on"
        finding = Finding("E238", "error", text, hl7_code="207")
        self._meter.finding(finding.code)
        decision: Decision = "error" if self._settings.on_timeout == "AE" else "reject"
        code = application_code(waiting.message, decision, self._settings.mode)
        application = self._own(waiting.message, code, (AckError("207", "error", "", text),)) if code else b""
        self._tell(waiting, code, application)
        told = code or accept_of(waiting.accept)
        return AckUpdate(waiting.seq, told, joined(waiting.accept, application), [finding])

    def _amended(self, saved: "asyncio.Future[Sequence[AckUpdate]]") -> None:
        """What was told is only for people to see: a resend waits for x all the same."""
        error = None if saved.cancelled() else saved.exception()
        if error is not None and not isinstance(error, CommitUnknown):
            log.error("%s: time-outs could not be recorded: %s", self._channel, describe(error))

    def _let_go(self) -> None:
        if self._held and len(self._waiting) <= MOST_WAITING // 2:
            held, self._held = self._held, {}
            for sender in held:
                sender.let_go()

    def close(self) -> None:
        """Look at no clock any more."""
        if self._sweeper is not None:
            self._sweeper.cancel()


def accept_of(accept: bytes) -> str:
    """MSA-1 of the accept level that was given, '' for none."""
    told = read_ack(accept) if accept else None
    return told.code if told is not None else ""


def _amend(store: Store, *, updates: Sequence[AckUpdate]) -> Sequence[AckUpdate]:
    return store.amend_acks(updates)
