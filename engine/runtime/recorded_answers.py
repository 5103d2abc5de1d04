"""An answer to a resend that is new: it is the stored one from then on, or it is not given.

Invariants:

- a yes leaves when it is on record, and not otherwise: what is told later is then never another answer;
- who asks while another copy's yes is on its way to the record has that one, and waits for no later answer;
- what is stored may be a yes that was recorded since somebody looked, as of several resends at a time each has an
  answer of its own: it is what this one is told, too;
- a store that is busy or full for a moment is asked again meanwhile, and its sender waits no longer than that. Then it
  is told what it is told where nothing can be stored (`on_store_failure`), at application level, as what it was told at
  accept level is true; it keeps the message, and its next resend is answered. A no needs no record: a later yes is none
  that it contradicts.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from engine.hl7.ack import AckError, Decision, application_code, build_ack, read_ack
from engine.hl7.message import Message
from engine.mllp.exchange import POSITIVE
from engine.model.envelope import AckUpdate
from engine.model.finding import Finding
from engine.model.ids import MessageSeq
from engine.pipeline.answer import BETWEEN, AnswerSettings, refuse
from engine.ports.clock import Clock, from_us
from engine.ports.meter import ChannelMeter
from engine.ports.store import CommitUnknown, StoreBusy, StoreError, StoreFull, StoreQueries
from engine.runtime.amendments import Stored
from engine.runtime.batch import BatchMember
from engine.runtime.committer import Committer
from engine.runtime.connection import Reply
from engine.runtime.received import framed
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.answers")

TRIES, TRY_AGAIN_S = 5, 0.1
"""How often, and how far apart, a busy or full store is asked to take a resend's answer."""

NOT_RECORDED = Finding(
    "E598", "error", "the answer cannot be recorded now; send the message again later", hl7_code="207"
)

AnyReply = Reply | BatchMember


@dataclass(slots=True, frozen=True)
class Resent:
    """A resend that is owed a new answer. `accept`: what it was told at accept level, and is told again."""

    message: Message
    accept: bytes
    reply: AnyReply
    settings: AnswerSettings
    next_id: Callable[[], str]


class RecordedAnswers:
    """Gives resends of one channel answers that are on record."""

    def __init__(self, committer: Committer, queries: StoreQueries, clock: Clock, meter: ChannelMeter) -> None:
        self._committer = committer
        self._queries = queries
        self._clock = clock
        self._meter = meter

    def settle(self, update: AckUpdate, resent: Resent) -> None:
        """Answer `resent` with `update`, or what is stored in its place."""
        if update.ack_code in POSITIVE:
            self._committer.amendments.owe(update)
        self._try(update, resent, TRIES)

    def due(self, seq: MessageSeq) -> AckUpdate | None:
        """The yes that another resend of this message is told once it is on record."""
        return self._committer.amendments.owed(seq)

    def _try(self, update: AckUpdate, resent: Resent, tries: int) -> None:
        self._committer.amendments.record(update, partial(self._ended, update, resent, tries))

    def _ended(self, update: AckUpdate, resent: Resent, tries: int, stored: Stored) -> None:
        if isinstance(stored, (StoreBusy, StoreFull)) and tries > 1:
            asyncio.get_running_loop().call_later(TRY_AGAIN_S, self._try, update, resent, tries - 1)
            return
        self._committer.amendments.settled(update)
        if isinstance(stored, AckUpdate):
            self._tell(resent, stored.ack_code, stored.ack)
        elif not isinstance(stored, CommitUnknown):  # after that, nothing more is said to anybody
            if not isinstance(stored, (StoreBusy, StoreFull)):
                log.error("the answer to a resend could not be recorded: %s", describe(stored))
            self._unrecorded(update, resent)

    def _unrecorded(self, update: AckUpdate, resent: Resent) -> None:
        """The store does not take it. Whether a yes is on record by now, it can be asked all the same."""
        try:
            stored = self._queries.message(update.seq)
        except StoreError as error:
            log.error("what the sender of message %d was told cannot be read: %s", update.seq, error)
            resent.reply.drop()
            return
        if stored is not None and stored.ack_code == "AA":
            self._tell(resent, stored.ack_code, stored.ack)
        elif update.ack_code not in POSITIVE:
            self._tell(resent, update.ack_code, update.ack)
        else:
            self._not_now(resent)

    def _not_now(self, resent: Resent) -> None:
        self._meter.finding(NOT_RECORDED.code)
        settings, message = resent.settings, resent.message
        if settings.on_store_failure == "close":
            resent.reply.drop()
            return
        decision: Decision = "error" if settings.on_store_failure == "AE" else "reject"
        now = from_us(self._clock.now_us())
        if resent.accept:
            code, no = application_code(message, decision, settings.mode), b""
            if code:
                errors = (AckError("207", "error", "", NOT_RECORDED.text),)
                no = build_ack(message, code, errors=errors, now=now, control_id=resent.next_id(), own=settings.own)
        else:
            answer = refuse(message, [NOT_RECORDED], decision, settings, now, resent.next_id)
            code, no = answer.code, answer.payload or answer.apart
        self._meter.acknowledged(code, self._clock.monotonic() - resent.reply.started)
        _not_now_over(resent.reply, framed(joined(resent.accept, no)))

    def _tell(self, resent: Resent, code: str, ack: bytes) -> None:
        self._meter.acknowledged(code, self._clock.monotonic() - resent.reply.started)
        resent.reply.settle(framed(ack))


def _not_now_over(reply: AnyReply, answer: bytes) -> None:
    """Its message is kept: only the answer is not. MLLP Release 2 commits the block, or it would be written again.

    A source that is no MLLP port has one word for both, and brings it again.
    """
    whole = reply.outermost if isinstance(reply, BatchMember) else reply
    (reply.settle if whole.commits else reply.not_kept)(answer)


def joined(accept: bytes, application: bytes) -> bytes:
    """Two answers as they are stored and sent: blocks, one behind the other."""
    return BETWEEN.join(part for part in (accept, application) if part)


def accept_level(stored: bytes) -> bytes:
    """The accept level of a stored answer, b'' where it has none."""
    first = stored.partition(BETWEEN)[0]
    told = read_ack(first) if first else None
    return first if told is not None and told.code[:1] == "C" else b""
