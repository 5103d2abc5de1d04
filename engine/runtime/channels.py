"""A channel that runs: its compiled files, its lanes, and the work that must wait its turn."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from engine.hl7.message import Message
from engine.model.envelope import Delivery, Known, Reprocessed
from engine.model.finding import Finding, dump_findings
from engine.model.ids import ChannelName, DestinationName, MessageSeq, VersionId
from engine.model.states import IllegalMove
from engine.pipeline.answer import AnswerSettings
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.run import Result
from engine.pipeline.step import Timer
from engine.ports.clock import from_us
from engine.ports.meter import ChannelMeter
from engine.ports.store import CommitUnknown, StoreBusy, StoredMessage, StoreFull
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.app_acks import AppAcks
from engine.runtime.backlog import Backlog
from engine.runtime.committer import Committer
from engine.runtime.drift import ChannelDrift
from engine.runtime.lane import Lane
from engine.runtime.recorded_answers import AnyReply
from engine.runtime.senders import Senders
from engine.runtime.sequence import SequenceNumbers
from engine.runtime.tasks import describe

if TYPE_CHECKING:
    from engine.runtime.fragments import FragmentKeeper

log = logging.getLogger("segmill.channel")

STORE_RETRY_S = 0.5
MOST_IN_LINE = 2000
"""Messages of one channel that wait for their turn in memory; past that its senders are not read from."""


@dataclass(slots=True, frozen=True)
class Edition:
    """A channel by one state of its files: what a reload exchanges between two messages."""

    compiled: CompiledChannel
    version: VersionId
    answers: AnswerSettings
    ack_when_stored: bool
    duplicates_window_us: int
    isolated: "Isolated | None"
    drift: ChannelDrift | None


class Turns:
    """Messages that are between their pipeline and the store, by one state of the channel's files.

    `before`: those by the state before it, of which some may still be there.
    """

    def __init__(self, before: "Turns | None" = None) -> None:
        self._before = before
        self._count = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def begin(self) -> None:
        """One more."""
        self._count += 1
        self._quiet.clear()

    def end(self) -> None:
        """One less."""
        self._count -= 1
        if not self._count:
            self._quiet.set()

    @property
    def is_over(self) -> bool:
        """Whether none is left, nor of any state before."""
        if self._before is not None and self._before.is_over:
            self._before = None
        return self._before is None and self._quiet.is_set()

    async def over(self) -> None:
        """Wait until none is left, nor of any state before."""
        if self._before is not None:
            await self._before.over()
        await self._quiet.wait()


class Isolated(Protocol):
    """Runs a channel's pipeline outside the engine's process."""

    async def start(self) -> None: ...

    async def run(self, raw: bytes, now: datetime) -> Result: ...

    async def close(self) -> None: ...


class RunningChannel:
    """What intake, control and start-up need of one channel."""

    def __init__(
        self,
        compiled: CompiledChannel,
        version: VersionId,
        answers: AnswerSettings,
        lanes: Sequence[Lane],
        meter: ChannelMeter,
        *,
        ack_when_stored: bool,
        duplicates_window_us: int,
        isolated: Isolated | None,
        committer: Committer,
        timer: Timer,
        drift: ChannelDrift | None = None,
    ) -> None:
        self.name: ChannelName = compiled.name
        self.adopt(
            Edition(compiled, version, answers, ack_when_stored, duplicates_window_us, isolated, drift),
        )
        self.leaving: dict[DestinationName, Lane] = {}
        """Of destinations that the files no longer have, while something waits in them."""
        self.lanes: dict[DestinationName, Lane] = {lane.settings.destination: lane for lane in lanes}
        self.meter = meter
        self.senders = Senders(meter)
        self.received = 0
        self.outcomes: dict[str, int] = {}
        self.line = Line(self.name)
        self.backlog = Backlog(self.name, self._unprocessed, self._process_stored)
        self.timer = timer
        self.fragments: FragmentKeeper | None = None
        """Where the channel joins messages that come in fragments."""
        self.has_left_over = False
        """Whether fragments that it joins no more have yet to be given to a person."""
        self.delivered: DeliveredAnswers | None = None
        """Who waits for a destination's answer, where the channel says so."""
        self.answers_before: dict[DestinationName, DeliveredAnswers] = {}
        """Those of files before, while somebody waits in them; and taken up again, where the files are changed back."""
        self.sequences: SequenceNumbers | None = None
        """The links of senders that number their messages, where the channel says so."""
        self.app_ack: AppAcks | None = None
        """Application acknowledgements over a connection of our own, where the channel says so."""
        self.is_intake_paused = False
        """By a person: its senders are told to send again later."""
        self._committer = committer
        self.tracing = committer.tracing

    def adopt(self, edition: Edition) -> Turns:
        """From the next message on, work by these files; those in hand by the ones before, until theirs are over."""
        self.compiled = edition.compiled
        self.version = edition.version
        self.answers = edition.answers
        self.ack_when_stored = edition.ack_when_stored
        self.duplicates_window_us = edition.duplicates_window_us
        self.isolated = edition.isolated
        self.drift = edition.drift
        before = getattr(self, "_turns", None) or Turns()
        self._turns = Turns(None if before.is_over else before)
        return before

    @contextmanager
    def turn(self) -> Iterator[VersionId]:
        """Around a run of the pipeline that others may come between, up to its record; gives the version it is by."""
        turns = self._turns
        turns.begin()
        try:
            yield self.version
        finally:
            turns.end()

    async def quiet(self) -> None:
        """Wait until no message is between its pipeline and the store."""
        await self._turns.over()

    @property
    def joins_fragments(self) -> bool:
        """Whether messages that come in fragments are joined here."""
        return self.fragments is not None and not self.fragments.is_ending

    @property
    def answers_at_once(self) -> bool:
        """Whether the pipeline runs in the engine's own process before the commit."""
        return self.isolated is None and not self.ack_when_stored and not self.is_in_turn

    @property
    def is_in_turn(self) -> bool:
        """Whether something is at work that what comes behind it must not overtake.

        Fragments, a process of the channel's, and after a reload that changed `ack`, what was answered when stored.
        """
        return len(self.line) > 0 or (self.backlog.is_pending and not self.ack_when_stored)

    @property
    def all_answers(self) -> Sequence[DeliveredAnswers]:
        """All in which senders may wait for a destination's answer."""
        now = () if self.delivered is None else (self.delivered,)
        return [*now, *self.answers_before.values()]

    def waits_for_another(self, seq: MessageSeq) -> bool:
        """Whether the sender of a message waits by files before, for the destination that these named."""
        return any(seq in before for before in self.answers_before.values())

    def rejoin(self, known: Known, again: Message, reply: AnyReply) -> bool:
        """As DeliveredAnswers.rejoin, by the files of now. While an earlier copy of the message waits by files before,
        this one waits with it: two destinations would each give an answer to the same message.

        Not where a yes is on record, as files in between waited for nobody: what the earlier copy hears may be a no.
        """
        if self.delivered is None or known.ack_code == "AA":
            return False
        if any(before.join(known.seq, reply) for before in self.answers_before.values()):
            return True
        return self.delivered.rejoin(known, again, reply)

    def lane(self, destination: DestinationName) -> Lane | None:
        """The lane of a destination, also of one that is leaving."""
        return self.lanes.get(destination) or self.leaving.get(destination)

    def count(self, outcome: str) -> None:
        """One more message of this outcome."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.meter.outcome(outcome)

    def count_findings(self, findings: Iterable[Finding]) -> None:
        """Findings by code, and breaches of rules by rule."""
        for finding in findings:
            self.meter.finding(finding.code)
            if finding.rule:
                self.meter.breach(finding.rule, finding.severity)

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Committed deliveries to their lanes."""
        for delivery in deliveries:
            lane = self.lane(delivery.destination)
            if lane is not None:
                lane.offer(delivery)

    async def process(self, raw: bytes, now: datetime) -> Result:
        """Run the channel's pipeline over stored bytes, in its own process where the channel asks for that.

        Never raises for what is in a message, nor for a defect of ours: the message is held then.
        """
        try:
            if self.isolated is not None:
                return await self.isolated.run(raw, now)
            return self.compiled.run(Message.parse(raw, fallback=self.compiled.fallback_charset), now)
        except Exception as error:  # noqa: BLE001 - the edge of a channel
            log.error("channel %s: a message is held, as its pipeline failed: %s", self.name, describe(error))
            return Result("held", [], (Finding("E201", "error", f"the channel failed with {type(error).__name__}"),))

    async def _unprocessed(self, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        return await self._committer.call(lambda store: store.unprocessed(self.name, after, limit))

    async def _process_stored(self, seq: MessageSeq, raw: bytes, received_at_us: int) -> None:
        """A message was acknowledged when stored, and now it is its turn."""
        tracing = self.tracing
        began_s = tracing.monotonic() if tracing is not None else 0.0
        with self.turn() as version:
            result = kept(await self.process(raw, from_us(received_at_us)))
            deliveries = await self._durably(seq, result, version)
        if deliveries is None:
            return
        if tracing is not None:
            tracing.processed(seq, self.name, received_at_us, result.state, dump_findings(result.findings), began_s)
        self.count(result.state)
        self.count_findings(result.findings)
        self.offer(deliveries)

    async def _durably(self, seq: MessageSeq, result: Result, version: VersionId) -> Sequence[Delivery] | None:
        """Record the run; while the store has no room, wait: nothing behind this message may overtake it.

        None when it cannot be recorded: it stays as it was received, for the next start.
        """
        while True:
            try:
                return await self._committer.reprocess(self.reprocessed(seq, result, version))
            except (StoreFull, StoreBusy):
                await asyncio.sleep(STORE_RETRY_S)
            except CommitUnknown:
                return None  # the engine ends, and has said so
            except (IllegalMove, ValueError) as error:
                log.error("channel %s: message %d could not be recorded: %s", self.name, seq, describe(error))
                return None

    def reprocessed(self, seq: MessageSeq, result: Result, version: VersionId) -> Reprocessed:
        """The record of a stored message's run through this channel, as `turn` gave its version."""
        return Reprocessed(seq, self.name, version, result.state, dump_findings(result.findings), result.deliveries)


def kept(result: Result) -> Result:
    """The result of a message whose sender was told that we have it: what the channel rejects is held for a person.

    A rejected message is its sender's to keep, and nobody here looks at it again; this one's sender has let go of it.
    """
    return replace(result, state="held") if result.state == "rejected" else result


class Waiter(Protocol):
    """A sender that can be made to wait."""

    def hold(self) -> None: ...

    def let_go(self) -> None: ...


class Nobody:
    """Stands for a sender where nobody waits."""

    def hold(self) -> None:
        """Nothing is read from nobody."""

    def let_go(self) -> None:
        """Nor is it ever again."""


class Line:
    """Work of one channel that is done one piece after the other, in the order it came.

    A piece that raises is reported, and the line goes on. A sender that adds to a full line is not read from
    until half of the line is worked off.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._held: dict[Waiter, None] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._busy = False

    def __len__(self) -> int:
        return len(self._waiting) + self._busy

    def add(self, work: Callable[[], Awaitable[None]], sender: Waiter) -> None:
        """Do `work` when its turn comes."""
        self._waiting.append(work)
        self._wake.set()
        if len(self._waiting) >= MOST_IN_LINE and sender not in self._held:
            self._held[sender] = None
            sender.hold()

    async def run(self) -> None:
        """Do what comes until drained."""
        while not (self._draining and not self._waiting):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            work = self._waiting.popleft()
            if self._held and len(self._waiting) <= MOST_IN_LINE // 2:
                held, self._held = self._held, {}
                for sender in held:
                    sender.let_go()
            self._busy = True
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the edge of a channel: its neighbours keep running
                log.error("channel %s: a message failed: %s", self._name, describe(error))
            finally:
                self._busy = False
                del work  # and with it its message, which may be large: the next one may be long in coming

    def drain(self) -> None:
        """End when what waits now is done."""
        self._draining = True
        self._wake.set()
