"""A channel that runs: its compiled files, its lanes, and the work that must wait its turn."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from engine.hl7.message import Message
from engine.model.envelope import Delivery, Reprocessed
from engine.model.finding import dump_findings
from engine.model.ids import ChannelName, DestinationName, MessageSeq, VersionId
from engine.pipeline.answer import AnswerSettings
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.run import Result
from engine.pipeline.step import Timer
from engine.ports.clock import from_us
from engine.ports.meter import ChannelMeter
from engine.ports.store import StoreBusy, StoreFull
from engine.runtime.committer import Committer
from engine.runtime.lane import Lane

log = logging.getLogger("segmill.channel")

STORE_RETRY_S = 0.5
MOST_IN_LINE = 2000
"""Messages of one channel that wait for their turn in memory; past that its senders are not read from."""


class Isolated(Protocol):
    """Runs a channel's pipeline outside the engine's process."""

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
    ) -> None:
        self.name: ChannelName = compiled.name
        self.compiled = compiled
        self.version = version
        self.answers = answers
        self.lanes: dict[DestinationName, Lane] = {lane.settings.destination: lane for lane in lanes}
        self.meter = meter
        self.ack_when_stored = ack_when_stored
        self.duplicates_window_us = duplicates_window_us
        self.isolated = isolated
        self.received = 0
        self.outcomes: dict[str, int] = {}
        self.line = Line(self.name)
        self.timer = timer
        self._committer = committer

    @property
    def answers_at_once(self) -> bool:
        """Whether the pipeline runs in the engine's own process before the commit."""
        return self.isolated is None and not self.ack_when_stored

    def count(self, outcome: str) -> None:
        """One more message of this outcome."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.meter.outcome(outcome)

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Committed deliveries to their lanes."""
        for delivery in deliveries:
            lane = self.lanes.get(delivery.destination)
            if lane is not None:
                lane.offer(delivery)

    async def process(self, raw: bytes, now: datetime) -> Result:
        """Run the channel's pipeline over stored bytes, in its own process where the channel asks for that."""
        if self.isolated is not None:
            return await self.isolated.run(raw, now)
        return self.compiled.run(Message.parse(raw, fallback=self.compiled.fallback_charset), now)

    def process_in_turn(self, seq: MessageSeq, raw: bytes, received_at_us: int) -> None:
        """A message was acknowledged when stored: its pipeline runs behind those that came before it."""

        async def work() -> None:
            result = await self.process(raw, from_us(received_at_us))
            self.count(result.state)
            for finding in result.findings:
                self.meter.finding(finding.code)
            self.offer(await self._durably(seq, result))

        self.line.add(work)

    async def _durably(self, seq: MessageSeq, result: Result) -> Sequence[Delivery]:
        """Record the run; while the store has no room, wait: nothing behind this message may overtake it."""
        while True:
            try:
                return await self._committer.reprocess(self.reprocessed(seq, result))
            except (StoreFull, StoreBusy):
                await asyncio.sleep(STORE_RETRY_S)

    def reprocessed(self, seq: MessageSeq, result: Result) -> Reprocessed:
        """The record of a stored message's run through this channel."""
        return Reprocessed(
            seq, self.name, self.version, result.state, dump_findings(result.findings), result.deliveries
        )


class Line:
    """Work of one channel that is done one piece after the other, in the order it came.

    A piece that raises is reported by its own handler; the line goes on.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._wake = asyncio.Event()
        self._draining = False
        self._busy = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def is_full(self) -> bool:
        """Whether its senders should be made to wait."""
        return len(self._waiting) >= MOST_IN_LINE

    def __len__(self) -> int:
        return len(self._waiting) + self._busy

    def add(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` when its turn comes."""
        self._waiting.append(work)
        self._empty.clear()
        self._wake.set()

    async def run(self) -> None:
        """Do what comes until drained."""
        while not (self._draining and not self._waiting):
            if not self._waiting:
                self._empty.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            work = self._waiting.popleft()
            self._busy = True
            try:
                await work()
            finally:
                self._busy = False
        self._empty.set()

    async def emptied(self) -> None:
        """Wait until nothing waits and nothing is being done."""
        await self._empty.wait()

    def drain(self) -> None:
        """End when what waits now is done."""
        self._draining = True
        self._wake.set()
