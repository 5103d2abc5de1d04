"""What each attempt at a delivery comes to: decided by the policy, put on record, told to those who wait for it.

Invariants:

- a delivery is recorded as `delivered` only after the sink said Delivered for it;
- each end is recorded once, in the order of the ends, and never dropped (`committer`);
- a watcher's defect undoes nothing of what the receiver has done.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

from engine.config.hours import Timetable
from engine.model.envelope import Delivery, DeliveryResult, DraftDelivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import Clock, from_us
from engine.ports.meter import LaneMeter
from engine.runtime.circuit import Circuit
from engine.runtime.committer import Committer
from engine.runtime.gate import Gate
from engine.runtime.policy import (
    MOST_REDIRECTS,
    Done,
    Next,
    Policy,
    Redirect,
    Retry,
    SetAside,
    Stop,
    after,
    passes_on,
    unreachable_action,
    word,
)
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.lane")

MOST_NOTE = 300
MOST_ANSWER_BYTES = 4096

DONE = Done()
FROM_THE_START = DeliveryId(0)


class LaneWatcher(Protocol):
    """Who must know how deliveries of a lane end: senders may wait for it."""

    def ending(self, delivery: Delivery, outcome: Outcome, result: DeliveryResult) -> bool:
        """A delivery ends, and `result` will say so; may add to it. True: somebody waits for its record."""
        ...

    def recorded(self, delivery_id: DeliveryId) -> None:
        """That is on stable storage."""
        ...


class CannotTakeOver(Exception):
    """Another destination cannot be given the message. The text is for people and holds nothing of the message."""


Redirecting = Callable[[Delivery, DestinationName], DraftDelivery]
"""What another destination of the channel is to get in place of a delivery; raises CannotTakeOver."""


def the_same_bytes(delivery: Delivery, to: DestinationName) -> DraftDelivery:
    """For destinations that are written to alike."""
    return DraftDelivery(to, None)


@dataclass(slots=True, frozen=True)
class LaneSettings:
    """A destination's settings as its lane needs them.

    `is_keyed`: order is kept within the key that each delivery was stored with, else over the whole destination.
    `keyed_from`: deliveries with a smaller id were stored under another order, and go first, one by one.
    `per_s`: how many messages may leave in a second, 0 for as many as can. `table`: when it is open; a retry's limit
    does not run while it is closed. `redirected`: what the destinations that its policy names are to get.
    """

    channel: ChannelName
    destination: DestinationName
    policy: Policy
    window: int = 1
    is_keyed: bool = False
    keyed_from: DeliveryId = FROM_THE_START
    per_s: float = 0.0
    table: Timetable | None = None
    redirected: Redirecting = the_same_bytes

    @property
    def name(self) -> str:
        """`channel/destination`."""
        return f"{self.channel}/{self.destination}"


class Endings:
    """Decides on the outcomes of one lane's attempts and has them recorded.

    `recorded` is told of each delivery's end once that is on stable storage, and in a lane with keys `noted` of each
    failed attempt. `unrecorded` holds the ended deliveries of which that cannot be said yet. `stale` is told of those
    that are to be tried again: what they did was decided on something that had changed when it was to be written.
    """

    def __init__(
        self,
        settings: LaneSettings,
        committer: Committer,
        clock: Clock,
        meter: LaneMeter,
        recorded: Callable[[DeliveryId], None],
        noted: Callable[[Delivery], None],
        stale: Callable[[DeliveryId], None],
    ) -> None:
        self._settings = settings
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._on_recorded = recorded
        self._on_noted = noted
        self._on_stale = stale
        self.unrecorded: set[DeliveryId] = set()
        self.passed_by: set[DeliveryId] = set()
        """Those of them that what was behind may overtake: set aside, or given to another destination."""
        self._tried: dict[DeliveryId, tuple[float, float]] = {}
        """Of those that are tried again: when we first saw them so (monotonic), and how old their first try was."""
        self.watcher: LaneWatcher | None = None
        self.gate: Gate | None = None
        self.circuit: Circuit | None = None
        self.is_down = False
        # One lane may follow another that ended while its receiver was down, as after a reload with another address.
        meter.connected(True)
        meter.stopped(False)
        self._goes_elsewhere = False
        """Whether it is in the log that what comes while it is down is given to another."""
        self.last_note = ""

    def settle(self, delivery: Delivery, outcome: Outcome, *, more: bool) -> Next:
        """Record what an attempt came to. `more`: something behind it waits for the record.

        Done, SetAside and Redirect are the delivery's end; after Retry and Stop it is still the lane's.
        """
        if isinstance(outcome, Delivered) and not self.is_down:
            # Nearly always: nothing to decide and nobody to tell.
            delivery_id = delivery.id
            if self._tried:
                self._tried.pop(delivery_id, None)
            self.last_note = ""
            result = DeliveryResult(
                delivery_id,
                "delivered",
                delivery.attempts + 1,
                self._clock.now_us(),
                0,
                "delivered",
                outcome.note,
                outcome.answer[:MOST_ANSWER_BYTES],
            )
            if delivery.maybe_sent:
                result.maybe_sent = True
            if outcome.effects is not None:
                result.effects = outcome.effects
            self._end(result, self.watcher is not None and self._somebody_waits(delivery, outcome, result), more)
            return DONE
        attempts = delivery.attempts + 1
        now_us = self._clock.now_us()
        is_first = not delivery.since_us
        if is_first:
            delivery.since_us, delivery.counted_from = now_us, delivery.attempts
        jitter = int.from_bytes(self._clock.random_bytes(2)) / 65536 if not isinstance(outcome, Delivered) else 0.0
        step = after(
            outcome,
            self._settings.policy,
            attempts - delivery.counted_from,
            self._age_s(delivery, now_us),
            jitter,
            redirects=delivery.redirects,
            down_s=self._down_s(),
            failures=self.circuit.failures if self.circuit is not None else 0,
        )
        self._note(outcome)
        result = DeliveryResult(delivery.id, "queued", attempts, now_us, code=_code(outcome), note=self.last_note)
        result.maybe_sent = delivery.maybe_sent
        if isinstance(outcome, (Delivered, Refused, Unanswered)):
            result.answer = outcome.answer[:MOST_ANSWER_BYTES]
        if isinstance(outcome, Delivered):
            result.effects = outcome.effects
        return self._carry_out(step, delivery, outcome, result, is_first=is_first, more=more)

    def passes_on(self) -> bool:
        """Whether what waits for a destination that is down goes elsewhere now, untried."""
        if self.circuit is None or not self.circuit.is_down:
            return False
        table = self._settings.table
        if table is not None and not table.is_open(from_us(self._clock.now_us())):
            return False  # it waits for the hours, not for the destination
        return passes_on(unreachable_action(self._settings.policy), self._down_s(), self.circuit.failures)

    def pass_on(self, delivery: Delivery, *, more: bool) -> Next:
        """A delivery that is not tried, as its destination is down: what the policy says of that."""
        outcome = Unreachable(f"not tried: {self.last_note or 'the destination is down'}"[:MOST_NOTE])
        action = unreachable_action(self._settings.policy)
        step: Next = SetAside("held")
        if action.to is not None and delivery.redirects < MOST_REDIRECTS:
            step = Redirect(action.to)
        result = DeliveryResult(
            delivery.id, "queued", delivery.attempts, self._clock.now_us(), code="unreachable", note=outcome.note
        )
        result.maybe_sent = delivery.maybe_sent
        return self._carry_out(step, delivery, outcome, result, is_first=False, more=more)

    def _down_s(self) -> float:
        """For how long the destination has been down, without the time in which it was closed."""
        down_s = self.circuit.down_s(self._clock.monotonic()) if self.circuit is not None else 0.0
        if self._settings.table is None or not down_s:
            return down_s
        now = from_us(self._clock.now_us())
        return min(down_s, self._settings.table.open_s(now - timedelta(seconds=down_s), now))

    def _age_s(self, delivery: Delivery, now_us: int) -> float:
        """How long the delivery has been tried, as its limits count it.

        The wall clock says it over a restart, and else the monotonic one: a wall clock that jumps must not use a
        limit up (reliability.md R13). Time in which the destination was closed does not count.
        """
        now_s = self._clock.monotonic()
        seen_s, age_s = self._tried.setdefault(delivery.id, (now_s, max(0, now_us - delivery.since_us) / 1_000_000))
        age_s += now_s - seen_s
        if self._settings.table is None:
            return age_s
        return min(age_s, self._settings.table.open_s(from_us(delivery.since_us), from_us(now_us)))

    def _carry_out(
        self, step: Next, delivery: Delivery, outcome: Outcome, result: DeliveryResult, *, is_first: bool, more: bool
    ) -> Next:
        """Put the step into the record of the attempt, and say what people should know of it."""
        attempts, now_us, not_before = result.attempts, result.at_us, 0.0
        if isinstance(step, Redirect):
            step = self._redirect(step.to, delivery, result)
        match step:
            case Done():
                result.state = "delivered"
            case SetAside(state=state):
                result.state = state
                log.warning(
                    "%s: message %d %s after %d attempt(s): %s",
                    self._settings.name,
                    delivery.seq,
                    state,
                    attempts,
                    result.note,
                )
            case Redirect():
                result.state = "redirected"
                self._meter.redirected()
                if self.is_down and not self._goes_elsewhere:
                    self._goes_elsewhere = True
                    log.warning("%s is still down: what comes for it goes to %s instead", self._settings.name, step.to)
            case Retry(delay_s=delay_s):
                # A peer that cannot be reached is no fault of this key: it waits at the gate with all the others.
                if not (self._settings.is_keyed and isinstance(outcome, Unreachable)):
                    result.next_at_us = now_us + int(delay_s * 1_000_000)
                    not_before = self._clock.monotonic() + delay_s
            case Stop():
                log.error(
                    "%s stopped at message %d: %s; what comes for it waits. Once that is put right: "
                    "segmill queue retry %s. To go on without it: segmill queue skip --delivery %d",
                    self._settings.name,
                    delivery.seq,
                    result.note,
                    self._settings.name,
                    delivery.id,
                )
        if result.state == "queued":
            delivery.attempts = attempts
            delivery.next_at_us = result.next_at_us
            delivery.not_before = not_before
            if is_first:
                result.since_us = delivery.since_us
            done = partial(self._on_noted, delivery) if self._settings.is_keyed else None
            self._committer.record(result, done, urgent=False)
            return step
        self._tried.pop(delivery.id, None)
        if not isinstance(step, Done):
            self.passed_by.add(delivery.id)
        tell = self.watcher is not None and not isinstance(step, Redirect)
        self._end(result, tell and self._somebody_waits(delivery, outcome, result), more)
        return step

    def tried(self, delivery: Delivery, outcome: Outcome) -> None:
        """It goes again behind another that is tried again; what may have reached its receiver is on record."""
        if isinstance(outcome, (Unreachable, Unsendable)):
            return
        delivery.attempts += 1
        result = DeliveryResult(
            delivery.id,
            "queued",
            delivery.attempts,
            self._clock.now_us(),
            code=_code(outcome),
            note=outcome.note[:MOST_NOTE],
            answer=outcome.answer[:MOST_ANSWER_BYTES],
        )
        self._committer.record(result, None, urgent=False)

    def _redirect(self, to: DestinationName, delivery: Delivery, result: DeliveryResult) -> Redirect | SetAside:
        """Make what the other destination gets; where that cannot be, a person must look."""
        try:
            result.redirect = self._settings.redirected(delivery, to)
        except CannotTakeOver as error:
            result.note = f"{result.note}; it cannot go to {to}: {error}"[:MOST_NOTE]
            return SetAside("held")
        result.note = f"{result.note}; sent to {to} instead"[:MOST_NOTE] if result.note else f"sent to {to} instead"
        return Redirect(to)

    def cut_off(self, delivery: Delivery, note: str = "the engine stopped before the answer came") -> None:
        """Nobody waits for the answer any more: the receiver may have it, and may get it again."""
        now_us = self._clock.now_us()
        result = DeliveryResult(delivery.id, "queued", delivery.attempts + 1, now_us, code="unanswered", note=note)
        self._committer.record(result, None, urgent=False)

    def _somebody_waits(self, delivery: Delivery, outcome: Outcome, result: DeliveryResult) -> bool:
        """Tell the watcher. Its defect must not undo what the receiver has done: the end is recorded without it."""
        assert self.watcher is not None
        try:
            return self.watcher.ending(delivery, outcome, result)
        except Exception as error:  # noqa: BLE001 - the edge of one message: its sender is not told, its delivery is done
            log.error(
                "%s: the sender of message %d cannot be told: %s", self._settings.name, delivery.seq, describe(error)
            )
            result.ack_code, result.ack = "", b""
            return False

    def _end(self, result: DeliveryResult, urgent: bool, more: bool) -> None:
        """A delivery has come to its end: record that, at once if the next one must wait for it."""
        unrecorded = self.unrecorded
        unrecorded.add(result.delivery_id)
        urgent = urgent or (more and len(unrecorded) >= self._settings.window)
        self._committer.record(result, partial(self._recorded, result), urgent=urgent)

    def _recorded(self, result: DeliveryResult) -> None:
        """The end of one delivery is on stable storage; or it is none, as what it was decided on had changed."""
        delivery_id = result.delivery_id
        if result.is_stale:
            self._on_stale(delivery_id)
            return
        self._on_recorded(delivery_id)
        if self.watcher is not None:
            try:
                self.watcher.recorded(delivery_id)
            except Exception as error:  # noqa: BLE001 - it must not silence what the same commit recorded for others
                log.error("%s: the sender of a message cannot be told: %s", self._settings.name, describe(error))

    def _note(self, outcome: Outcome) -> None:
        """Log when the destination goes down and when it is back; in between only that another takes over."""
        self.last_note = "" if isinstance(outcome, Delivered) else outcome.note[:MOST_NOTE]
        down = isinstance(outcome, (Unreachable, Unanswered)) if self.gate is None else self.gate.is_down
        if down != self.is_down:
            self.is_down = down
            self._goes_elsewhere = False
            self._meter.connected(not down)
            if down:
                log.warning("%s is down: %s; what comes for it waits", self._settings.name, self.last_note)
            else:
                log.warning("%s is back", self._settings.name)


def _code(outcome: Outcome) -> str:
    """The word kept with the attempt: the ACK code where there was one."""
    if isinstance(outcome, Refused):
        return f"{outcome.ack_code} {outcome.hl7_code}".rstrip()
    return word(outcome)
