"""A lane: what goes to one destination, in order, at least once, over one connection or several.

Parts: what is in memory and what goes next is the window's (`queue_window`, `keyed_window`), what an attempt comes
to and how it is recorded is the endings' (`endings`), whether anything may leave at all is the gate's (`gate`), and
how fast is the rate's (`rate`). Here is the loop of each connection.

Invariants:

- one call of each sink at a time; two deliveries of one key are never in hand together, and what is first in its
  key goes first: in a lane without keys all are of one;
- a delivery is reported `delivered` only after the sink said Delivered for it;
- nothing is sent while the ends of `window` deliveries are not on stable storage yet: so many, less one, and
  one batch of each connection may be sent again after a crash, and are marked then (reliability.md section 0, row 7);
- what was set aside or redirected is so on stable storage before the sink gets what stood behind it: a crash must not
  bring it back behind something later that is there already;
- what does not fit in memory stays in the store and is read from there, in order.

A lane with one connection, whose sink can (`DirectSink`), begins what comes where it is offered, and the next where
that one ended: to wake a task twice for each message costs as much as the sending. The task rests meanwhile, and has
the lane again with the first thing that is not of this kind: a wait for some time, a drain, a defect, a connection to
be made. Cancelled meanwhile, it cuts off what is away.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Literal

from engine.model.envelope import Delivery
from engine.model.ids import DeliveryId, MessageSeq
from engine.model.outcome import Delivered, Outcome, Unanswered
from engine.ports.clock import Clock
from engine.ports.meter import LaneMeter
from engine.ports.sink import AnsweringSink, DirectSink, RecordedSink, Sink, UnreadySink
from engine.runtime.circuit import Circuit
from engine.runtime.committer import Committer
from engine.runtime.endings import Endings, LaneSettings, LaneWatcher
from engine.runtime.gate import Gate
from engine.runtime.keyed_window import KeyedWindow
from engine.runtime.policy import Done, Redirect, SetAside, Stop, word
from engine.runtime.queue_window import FifoWindow, KeyedQueue, QueueReader, Window
from engine.runtime.rate import Rate
from engine.runtime.tasks import describe

__all__ = ["Lane", "LaneSettings", "LaneWatcher", "QueueReader"]

log = logging.getLogger("segmill.lane")


class Lane:
    """Sends one destination's deliveries, and sees to it that each comes to a recorded end.

    `more` are the sinks of further connections, for a lane with keys.
    """

    def __init__(
        self,
        settings: LaneSettings,
        sink: Sink,
        queue: QueueReader,
        committer: Committer,
        clock: Clock,
        meter: LaneMeter,
        more: Sequence[Sink] = (),
    ) -> None:
        self.settings = settings
        self._sinks = (sink, *more)
        self._told = [one for one in self._sinks if isinstance(one, RecordedSink)]
        self._gate: Gate | None = None
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._tracing = committer.tracing
        self._ends = Endings(settings, committer, clock, meter, self._recorded, self._noted, self._stale)
        self._queue = queue
        self._window = self._make_window()
        self._rate = Rate(settings.per_s) if settings.per_s else None
        self._resting: list[asyncio.Event] = []
        """What wakes those connections that have nothing to do now."""
        is_single = not more and not settings.is_keyed and sink.max_batch == 1
        self._direct = sink if is_single and isinstance(sink, DirectSink) else None
        self._rests_until_woken = False
        self._away: list[Delivery] = []
        """What was begun directly, and has not ended."""
        self._defect: Exception | None = None
        """Of ours, beside the task: it ends with this."""
        self._draining = False
        self._stopped_at: Delivery | None = None
        self._passes_on = False
        """What waits goes elsewhere, untried: the destination is down, and its policy says so."""
        self.is_paused = False
        self._still = 0
        self._in_hand: dict[DeliveryId, Delivery] = {}
        self._let_go = asyncio.Event()
        self.predecessor: Lane | None = None
        """Who had its deliveries before, while the attempt that it has in hand has not come to its end."""
        self._rests = "idle"
        self._failure = ""

    def failed(self, failure: str) -> None:
        """Its task died: a defect of ours. What waits stays in the store, for the lane that takes its place."""
        self._failure = failure

    @property
    def has_failed(self) -> bool:
        """Whether its task died."""
        return bool(self._failure)

    @property
    def in_hand(self) -> Mapping[DeliveryId, Delivery]:
        """What it was sending, or had an answer for that it has not dealt with."""
        return dict(self._in_hand)

    def cut_off(self, delivery: Delivery, note: str) -> None:
        """The receiver may have it, and may get it again."""
        self._ends.cut_off(delivery, note)

    def let_go_of_all(self) -> None:
        """Nothing is in hand of a lane that failed any more."""
        self._in_hand.clear()
        self._let_go.set()

    def _make_window(self) -> Window:
        settings, queue, first = self.settings, self._queue, self._sinks[0]
        unrecorded = self._ends.unrecorded
        if settings.is_keyed:
            assert isinstance(queue, KeyedQueue), "a lane with keys reads them"
            return KeyedWindow(settings, queue, self._clock, unrecorded, first.max_batch, first.linger_s)
        return FifoWindow(settings, queue, self._clock, unrecorded, first.max_batch, first.linger_s)

    @property
    def name(self) -> str:
        """`channel/destination`."""
        return self.settings.name

    @property
    def state(self) -> str:
        """idle, sending, waiting (for its time), stopped (for a person), paused (by one), down (no peer), failed."""
        if self._failure:
            return "failed"
        if self.is_paused and not self._in_hand:
            return "paused"
        if self._stopped_at is not None:
            return "stopped"
        if self._in_hand or (self.predecessor is not None and self.predecessor.state == "sending"):
            return "sending"
        return self._rests

    @property
    def why_unready(self) -> str:
        """What of its own files keeps it from sending; '' for nothing."""
        return next((one.why_unready for one in self._sinks if isinstance(one, UnreadySink)), "")

    @property
    def is_stopped(self) -> bool:
        """Whether it stands still for a person, who need not have paused it."""
        return self._stopped_at is not None

    @property
    def head(self) -> MessageSeq | None:
        """The message that the lane stopped at, or that is to go next, as far as it is in memory."""
        head = self._stopped_at or self._window.head
        return head.seq if head is not None else None

    @property
    def attempts(self) -> int:
        """How often the head was tried."""
        head = self._stopped_at or self._window.head
        return head.attempts if head is not None else 0

    @property
    def last_note(self) -> str:
        """What the last attempt that failed came to, '' after one that did not; or why nothing may leave now."""
        why = self._failure or (self._gate.why if self._gate is not None else "")
        return why or self._ends.last_note

    @property
    def watcher(self) -> LaneWatcher | None:
        """Who is told of each end."""
        return self._ends.watcher

    def guard(self, gate: Gate, circuit: Circuit | None = None) -> None:
        """Ask `gate` before each send from now on. To be called before the lane runs.

        `circuit`: the part of it that knows for how long the destination has been down.
        """
        self._gate = self._ends.gate = gate
        self._ends.circuit = circuit

    def keyed_since(self, first: DeliveryId) -> None:
        """Deliveries from this one on were stored with keys of this lane's order. To be called before it runs."""
        self.settings = replace(self.settings, keyed_from=first)
        self._window = self._make_window()

    def unwatch(self) -> None:
        """Nobody is told of ends any more."""
        self._ends.watcher = None

    def watch(self, watcher: LaneWatcher) -> None:
        """Tell `watcher` of each end; where the receiver's application answers after its CA, wait for that, too."""
        self._ends.watcher = watcher
        for sink in self._sinks:
            if isinstance(sink, AnsweringSink):
                sink.await_application()

    # -- what comes in --------------------------------------------------------------------------

    def offer(self, delivery: Delivery) -> None:
        """A delivery was committed. Called in the order of the commits."""
        if self._window.offer(delivery):
            if self._rests_until_woken:
                self._committer.behind(self._go)
            else:
                self._wake_one()

    def reread(self, *, go_on: bool = True) -> None:
        """The store's queue changed beside us (release, resend): read it again from its start.

        Not `go_on`: a lane that stands still for a person stands still, as what it stands still for is as it was.
        """
        self._window.reread()
        if go_on:
            self.retry_now()
        else:
            self._wake_all()

    def retry_now(self) -> None:
        """End the waits of retries, or a stop, at once."""
        self._window.retry_now()
        if self._gate is not None:
            self._gate.retry_now()
        self._stopped_at = None
        self._meter.stopped(False)
        self._wake_all()

    # -- a person's hand ------------------------------------------------------------------------

    def pause(self) -> None:
        """Start no attempt until `resume`; those at hand come to their end."""
        self.is_paused = True
        self._meter.paused(True)
        self._wake_all()

    def resume(self) -> None:
        """Go on after `pause`."""
        self.is_paused = False
        self._meter.paused(False)
        self._wake_all()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """No attempt starts while this is open, so that what waits can be moved in the store."""
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1
            self._wake_all()

    async def let_go_of(self, ids: Set[DeliveryId]) -> None:
        """Wait until no attempt at one of `ids` is under way, and the ends of those that were are on stable storage."""
        if self.predecessor is not None:
            await self.predecessor.let_go_of(ids)
        while not (ids.isdisjoint(self._in_hand) and self._ends.unrecorded.isdisjoint(ids)):
            self._committer.hurry()
            self._let_go.clear()
            await self._let_go.wait()

    @property
    def is_settled(self) -> bool:
        """Whether each end that it reported is on stable storage."""
        return not self._ends.unrecorded

    @property
    def is_draining(self) -> bool:
        """Whether it begins nothing any more."""
        return self._draining

    def drain(self) -> None:
        """Finish the attempts at hand and start no other."""
        self._draining = True
        self._wake_all()

    def _wake_one(self) -> None:
        if self._resting:
            self._resting.pop().set()

    def _wake_all(self) -> None:
        while self._resting:
            self._resting.pop().set()

    def _recorded(self, delivery_id: DeliveryId) -> None:
        """Something of this delivery is on stable storage: its end, or a failed attempt."""
        for sink in self._told:
            sink.recorded()
        unrecorded = self._ends.unrecorded
        passed_by = self._ends.passed_by
        held_up = len(unrecorded) >= self.settings.window or bool(passed_by)
        unrecorded.discard(delivery_id)
        passed_by.discard(delivery_id)
        self._let_go.set()
        self._window.recorded(delivery_id)
        if held_up:
            if self._rests_until_woken:
                self._committer.behind(self._go)
            else:
                self._wake_all()

    def _stale(self, delivery_id: DeliveryId) -> None:
        """What was done with this delivery could not be written, as it was decided on what had changed: again, now."""
        for sink in self._told:
            sink.recorded()
        self._ends.unrecorded.discard(delivery_id)
        self._let_go.set()
        self._window.recorded(delivery_id)
        self._window.reread()
        self._wake_all()

    def _noted(self, delivery: Delivery) -> None:
        """A failed attempt is on stable storage."""
        self._window.noted(delivery)
        self._wake_one()

    # -- the lane's task ------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until drained or cancelled."""
        try:
            if len(self._sinks) == 1:
                await self._serve(self._sinks[0])
            else:
                async with asyncio.TaskGroup() as group:
                    for number, sink in enumerate(self._sinks, 1):
                        group.create_task(self._serve(sink), name=f"deliver {self.name}, connection {number}")
        finally:
            self._rests = "idle"

    async def _serve(self, sink: Sink) -> None:
        """One connection's life."""
        wake = asyncio.Event()
        try:
            while not self._draining:
                wait_s = self._wait_s()
                if wait_s == 0 and self._passes_on:
                    self._pass_on(self._window.take())
                elif wait_s == 0:
                    wake.clear()
                    begun = self._begin(wake)
                    if begun == "away":
                        await self._until_woken(wake)
                    elif begun == "no":
                        await self._send(sink, self._window.take())
                else:
                    await self._rest(wake, wait_s)
        finally:
            await sink.close()

    def _wait_s(self) -> float | None:
        """0: send now. None: until woken. Else: seconds after which to look again."""
        self._passes_on = False
        if self.is_paused or self._still or self._stopped_at is not None:
            self._rests = "waiting"
            return None
        window = self._window
        if not window.load():
            self._rests = "idle"
            return window.wait_s()
        if len(self._ends.unrecorded) >= self.settings.window:
            # The next one may leave only when an earlier end is durable, and now it is waited for.
            self._committer.hurry()
            return None
        wait_s = window.wait_s()
        if wait_s == 0 and (self._gate is not None or self._rate is not None):
            wait_s = self._held_back_s()
        if wait_s == 0 and self._ends.passed_by and not self._passes_on:
            self._committer.hurry()
            return None
        if wait_s != 0:
            self._rests = "down" if self._ends.is_down else "waiting"
        return wait_s

    def _held_back_s(self) -> float | None:
        """How long the gate and the rate hold back what could leave."""
        now_s = self._clock.monotonic()
        gate_s = self._gate.wait_s(now_s) if self._gate is not None else 0.0
        if gate_s != 0 and self._ends.passes_on():
            self._passes_on = True
            return 0.0
        if gate_s is None:
            return None
        return max(gate_s, self._rate.wait_s(now_s) if self._rate is not None else 0.0)

    async def _rest(self, wake: asyncio.Event, seconds: float | None) -> None:
        if self._draining:
            return
        wake.clear()
        self._resting.append(wake)
        if seconds is None:
            await self._until_woken(wake)
            return
        try:
            # Not wait_for: in Python 3.11 it can lose a cancellation that comes at the moment of the time-out.
            async with asyncio.timeout(seconds):
                await wake.wait()
        except TimeoutError:
            pass
        finally:
            if wake in self._resting:
                self._resting.remove(wake)

    async def _until_woken(self, wake: asyncio.Event) -> None:
        """Rest while nothing is there, or what was begun is away."""
        self._rests_until_woken = self._direct is not None
        try:
            await wake.wait()
        finally:
            self._rests_until_woken = False
            if wake in self._resting:
                self._resting.remove(wake)
            if self._away:  # cancelled
                self._cut_off_directly()
        if self._defect is not None:
            raise self._defect

    # -- without the task -----------------------------------------------------------------------

    def _go(self) -> None:
        """Something was offered while the connection rested."""
        if self._resting and self._rests_until_woken:
            self._go_on(self._resting.pop())
        else:
            self._wake_one()

    def _go_on(self, wake: asyncio.Event) -> None:
        """Begin what goes next, or let the connection rest on, or wake its task for what only that can do. No raise."""
        if not self._rests_until_woken:
            return  # cancelled meanwhile
        try:
            wait_s = None if self._draining else self._wait_s()
            if wait_s == 0 and not self._passes_on and self._begin(wake) == "away":
                return
        except Exception as error:  # noqa: BLE001 - the edge of the lane: its task dies of it
            self._defect = error
        else:
            if wait_s is None and not self._draining:
                self._resting.append(wake)
                return
        wake.set()

    def _begin(self, wake: asyncio.Event) -> Literal["away", "no", "ended"]:
        """Begin what goes next. "no": only `_send` can. "ended": it has failed already."""
        sink, delivery = self._direct, self._window.head
        if sink is None or delivery is None:
            return "no"
        started = self._clock.monotonic()
        failure: Exception | None = None
        self._in_hand[delivery.id] = delivery  # before: should anything here fail behind it, it may have been sent
        try:
            if not sink.begin(delivery, partial(self._ended, wake, started)):
                del self._in_hand[delivery.id]
                return "no"
        except Exception as error:  # noqa: BLE001 - as in `_send`
            failure = error
        if self._rate is not None:
            self._rate.take(1, started)
        if self._gate is not None:
            self._gate.leaving()
        self._away = self._window.take()
        if failure is not None:
            self._settle_away(failure, started)
            return "ended"
        return "away"

    def _ended(self, wake: asyncio.Event, started: float, outcome: Outcome | Exception) -> None:
        """What was begun has ended."""
        if not self._away:
            return  # the lane failed where it was begun
        try:
            self._settle_away(outcome, started)
            more = self._window.load()
        except Exception as error:  # noqa: BLE001 - as in `_go_on`
            self._defect = error
            wake.set()
            return
        if more:
            # Not at once: a receiver that hangs up after each answer is seen to do so if the loop looks first.
            asyncio.get_running_loop().call_soon(self._go_on, wake)
        else:
            self._go_on(wake)

    def _settle_away(self, outcome: Outcome | Exception, started: float) -> None:
        away, self._away = self._away, []
        if isinstance(outcome, Exception):
            outcome = self._failed_sink(outcome)
        self._settle(away, (outcome,), self._clock.monotonic() - started)

    def _cut_off_directly(self) -> None:
        away, self._away = self._away, []
        assert self._direct is not None, "it has begun these"
        self._direct.cut_off()
        if self._gate is not None:
            self._gate.cut_off()
        for delivery in away:
            self._ends.cut_off(delivery)
            del self._in_hand[delivery.id]

    def _failed_sink(self, error: Exception) -> Unanswered:
        """A sink's defect stops this lane only."""
        log.error("%s: the sink failed: %s", self.name, describe(error))
        return Unanswered(f"the sink failed with {type(error).__name__}")

    # -- by the task ----------------------------------------------------------------------------

    async def _send(self, sink: Sink, batch: list[Delivery]) -> None:
        started = self._clock.monotonic()
        if self._rate is not None:
            self._rate.take(len(batch), started)
        if self._gate is not None:
            self._gate.leaving()
        if self._resting and self._window.has_more:
            self._wake_one()  # one wakes the next, as long as there is something to do
        outcomes: Sequence[Outcome]
        for delivery in batch:
            self._in_hand[delivery.id] = delivery
        try:
            outcomes = await sink.send(batch)
        except asyncio.CancelledError:
            if self._gate is not None:
                self._gate.cut_off()
            for delivery in batch:
                self._ends.cut_off(delivery)
                del self._in_hand[delivery.id]
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the lane: a sink's defect stops this lane only
            outcomes = [self._failed_sink(error)] * len(batch)
        if len(outcomes) != len(batch):
            log.error("%s: the sink was given %d and answered for %d", self.name, len(batch), len(outcomes))
            outcomes = [Unanswered("the sink did not say what came of each delivery")] * len(batch)
        self._settle(batch, outcomes, self._clock.monotonic() - started)

    def _settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome], took_s: float) -> None:
        if self._gate is not None:
            self._gate.ended(outcomes[-1], self._clock.monotonic())
        more = self._window.has_more
        in_order = not self.settings.is_keyed
        back: list[Delivery] = []
        for delivery, outcome in zip(batch, outcomes, strict=True):
            self._meter.attempt(word(outcome), took_s)
            if self._tracing is not None:
                self._tracing.attempted(delivery, word(outcome), took_s)
            # Once one must be tried again, what came behind it in the batch keeps its place behind it,
            # but for what the sink did deliver: that is done. (In a lane with keys, a batch has each key once.)
            if back and in_order and not isinstance(outcome, Delivered):
                self._ends.tried(delivery, outcome)
                back.append(delivery)
                continue
            step = self._ends.settle(delivery, outcome, more=more)
            if not isinstance(step, (Done, SetAside, Redirect)):
                if isinstance(step, Stop):
                    self._stopped_at = delivery
                    self._meter.stopped(True)
                back.append(delivery)
        self._window.settled(batch, back)
        for delivery in batch:
            del self._in_hand[delivery.id]
        self._let_go.set()

    def _pass_on(self, batch: Sequence[Delivery]) -> None:
        """Give what waits for a destination that is down to another."""
        more = self._window.has_more
        for delivery in batch:
            self._ends.pass_on(delivery, more=more)
        self._window.settled(batch, [])
