"""Retention: what is old enough goes, a slice at a time, beside the traffic and never in its way.

Invariants:

- what waits, or is held for a person, stays whatever its age; the store sees to that in the same transaction;
- a slice is one store call when no message waits for a commit, of a millisecond or so (`strides`): what comes meanwhile
  waits no longer than that; and after it nothing is done for many times as long while messages come (ADR 62). A large
  message goes alone, and on the writer's thread;
- nothing goes while the clock cannot be trusted: after it jumped by more than a day, while the engine ran or since the
  last time, nothing is forgotten until a person says so, or the clock has gone on for a day without another jump
  (reliability.md E3: a wrong date must not empty the store);
- before anybody can send, what the clock says is on record: so the next start has something to compare its own with,
  even where this run ends before its first pass, or forgets nothing;
- all of a pass goes by one reading that was judged; each slice asks again, on the thread that deletes, and a jump ends
  the pass, as does a clock that was set back by however little. What was received by a clock that was wrong is as old
  as its place among the others says (`Prune`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from engine.model.ids import ChannelName, MessageSeq
from engine.ports.clock import Clock, from_us
from engine.ports.control import RetentionReport
from engine.ports.judged_clock import JudgedClock
from engine.ports.store import (
    WRONG_AHEAD_US,
    CommitUnknown,
    Prune,
    Pruned,
    Store,
    StoreBusy,
    StoreError,
    StoreFull,
)
from engine.ports.worklist import Aged
from engine.runtime.committer import Committer
from engine.runtime.strides import BUDGET_S, Stride

log = logging.getLogger("segmill.retention")

T = TypeVar("T")

FIRST_PASS_S = 30.0
PASS_EVERY_S = 600.0
WHOLE_PASS_EVERY_S = 86_400.0
"""A pass goes on where the last one ended; once a day it begins at the oldest message, for those released since."""
LEAST_SPAN, MOST_SPAN = 32, 256
REST = 19
"""So many times as long as a slice took, nothing is done after it: a twentieth of the time, thousands of messages a
second."""
MOST_BYTES = 256 * 1024
"""Of bodies, that go in a slice: they are overwritten, which takes 5 ms a megabyte, or more."""
LEAST_REST_S = 0.02
QUIET_REST, LEAST_QUIET_REST_S = 4, 0.005
"""The same while no messages come."""
RETRY_S = 5.0
PAGE_BYTES = 4096
LEAST_PAGES, MOST_PAGES = 16, 256
"""That are given back to the disk in a slice."""
SIZE_TARGET = 0.95
"""Past its bound, the store is brought down to this much of it, so that not every message begins a new pass."""
LOOKED_UP_WITHIN_S = 3600.0
"""So long after it came, at most, a message is looked for among those that came before it: a long batch waits."""


@dataclass(slots=True, frozen=True)
class Ages:
    """How long one channel's messages are kept, in seconds; None for ever."""

    bodies_s: float | None = None
    messages_s: float | None = None

    @property
    def keeps_all(self) -> bool:
        return self.bodies_s is None and self.messages_s is None


@dataclass(slots=True, frozen=True)
class StepAges:
    """How long steps stay on worklists, in seconds; None for ever. `ended` and `open` as the settings have them."""

    ended_s: float | None = None
    open_s: float | None = None

    @property
    def keeps_all(self) -> bool:
        return self.ended_s is None and self.open_s is None


class RetentionMeter(Protocol):
    """What is counted of it."""

    def pruned(self, bodies: int, messages: int) -> None: ...

    def retention_pass(self, at_s: float) -> None: ...

    def retention_paused(self, paused: bool) -> None: ...


class Retention:
    """One engine's forgetting. `run` until cancelled; `confirm` is a person's word that the clock is right."""

    def __init__(
        self,
        ages: Mapping[ChannelName, Ages],
        most_bytes: int,
        committer: Committer,
        clock: Clock,
        meter: RetentionMeter,
    ) -> None:
        self.steps = StepAges()
        self.change(ages, most_bytes)
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._wait = asyncio.Event()
        self._after: dict[ChannelName, MessageSeq] = {}
        self._whole_at = 0.0
        self._judged = JudgedClock(clock)
        self._is_compared = False
        self._is_running = False
        self._doubted = ""
        self._bodies = 0
        self._messages = 0
        self._last_pass_us = 0
        self._taken = 0
        self._span, self._pages = Stride(LEAST_SPAN, MOST_SPAN), Stride(LEAST_PAGES, MOST_PAGES)
        self._steps_span = Stride(LEAST_SPAN, MOST_SPAN)

    def change(self, ages: Mapping[ChannelName, Ages], most_bytes: int) -> None:
        """From the next pass on."""
        self._ages = {channel: kept for channel, kept in ages.items() if not kept.keeps_all}
        self._most_bytes = most_bytes

    @property
    def is_on(self) -> bool:
        """Whether anything is to be forgotten at all."""
        return bool(self._ages or self._most_bytes) or not self.steps.keeps_all

    def status(self) -> RetentionReport:
        """How it stands."""
        return RetentionReport(self.is_on, self._judged.doubt, self._bodies, self._messages, self._last_pass_us)

    def confirm(self) -> None:
        """The clock is right, says a person: go on, and at once."""
        self._judged.believe()
        self._is_compared = True
        self._tell()
        self._wait.set()

    async def begin(self) -> None:
        """Before anybody can send, and whether anything is to be forgotten or not: judge the clock, and note it."""
        await self._compare()
        now_us = self._look() if self.is_on else self._judged.look()
        if now_us is None:
            return
        try:
            await self._committer.call(lambda store: store.note_time(now_us))
        except (StoreFull, StoreBusy) as error:
            log.warning("what the clock says could not be noted, which the first pass does: %s", error)

    async def run(self) -> None:
        """Pass after pass; nothing where nothing is to be forgotten, or another call is at it."""
        if not self.is_on or self._is_running:
            return
        self._is_running = True
        await self._pause(FIRST_PASS_S)
        while True:
            wait_s = PASS_EVERY_S
            if self.is_on:
                try:
                    await self._compare()
                    await self.one_pass()
                except (StoreFull, StoreBusy):
                    wait_s = RETRY_S  # no room to forget in, or somebody has the file locked: again, soon
                except CommitUnknown:
                    return  # the engine ends, and has said so
                except StoreError as error:
                    log.error("what is old could not be forgotten, and is tried again: %s", error)
            await self._pause(wait_s)

    async def one_pass(self) -> None:
        """Forget all that is old enough now, if the clock can be believed."""
        now_us = self._look()
        if now_us is None:
            return
        started = self._clock.monotonic()
        is_whole = started >= self._whole_at
        if is_whole:
            self._after.clear()
            self._whole_at = started + WHOLE_PASS_EVERY_S
        before = self._bodies, self._messages
        try:
            for channel, kept in list(self._ages.items()):
                await self._forget(channel, kept, now_us)
            if not self.steps.keeps_all:
                await self._forget_steps(self.steps, now_us)
            await self._keep_size(now_us)
        except _Doubted:
            self._look()
            return
        while await self._work(self._give_back, self._pages):
            pass
        # What empties the log waits for the disk more than once, and so is no work for the loop's thread.
        await self._committer.call(lambda store: store.give_back(LEAST_PAGES * PAGE_BYTES))
        self._last_pass_us = now_us
        self._meter.retention_pass(now_us / 1e6)
        bodies, messages = self._bodies - before[0], self._messages - before[1]
        if bodies or messages:
            log.info("forgotten: the bytes of %d messages, and %d messages whole", bodies, messages)

    async def _forget(self, channel: ChannelName, kept: Ages, now_us: int) -> None:
        bodies_us, messages_us = _before(now_us, kept.bodies_s), _before(now_us, kept.messages_s)
        after = self._after.get(channel, MessageSeq(0))
        while True:
            pruned = await self._slice(Prune(channel, bodies_us, messages_us, after, self._span.amount, now_us))
            if pruned.after is None:
                self._after[channel] = after
                return
            after = pruned.after

    async def _forget_steps(self, kept: StepAges, now_us: int) -> None:
        """Steps of worklists. Their starts are local to the scanners, so a day more makes sure of every time zone."""
        open_before = ""
        if kept.open_s is not None:
            open_before = (from_us(now_us) - timedelta(seconds=kept.open_s, days=1)).strftime("%Y%m%d%H%M%S.%f")
        total = 0
        while True:
            aged = Aged(_before(now_us, kept.ended_s), open_before, self._steps_span.amount)
            gone = await self._work(partial(_age, aged=aged, judged=self._judged, now_us=now_us), self._steps_span)
            total += gone
            if gone < aged.most:
                break
        if total:
            log.info("forgotten: %d steps of worklists", total)

    async def _keep_size(self, now_us: int) -> None:
        """Over the bound, the oldest finished messages of all channels lose their bytes, however old they are."""
        if not self._most_bytes or await self._used() <= self._most_bytes:
            return
        after: MessageSeq | None = MessageSeq(0)
        while after is not None:
            order = Prune(None, now_us + WRONG_AHEAD_US, 0, after, self._span.amount, now_us)
            after = (await self._slice(order)).after
            if await self._used() <= self._most_bytes * SIZE_TARGET:
                return
        log.warning(
            "the store holds more than the %d bytes it may: what is left waits, is held, or is no bytes of messages",
            self._most_bytes,
        )

    async def _used(self) -> int:
        return await self._committer.when_quiet(lambda store: store.used_bytes())

    def _give_back(self, store: Store) -> bool:
        return store.give_back(self._pages.amount * PAGE_BYTES, empty_log=False)

    async def _slice(self, order: Prune) -> Pruned:
        order = replace(order, most_bytes=MOST_BYTES)
        pruned = await self._work(partial(_prune, order=order, judged=self._judged), self._span)
        if pruned.is_large and pruned.after is not None:
            alone = replace(order, after=pruned.after, span=1, most_bytes=None)
            pruned = await self._work_aside(partial(_prune, order=alone, judged=self._judged))
        self._bodies += pruned.bodies
        self._messages += pruned.messages
        if pruned.bodies or pruned.messages:
            self._meter.pruned(pruned.bodies, pruned.messages)
        return pruned

    async def _work(self, work: Callable[[Store], T], stride: Stride) -> T:
        """One slice, and the rest after it. What it took decides on the next one."""
        found, took_s = await self._committer.when_quiet(partial(self._timed, work))
        stride.learn(took_s, self._committer.budget_s(BUDGET_S))
        await self._rest(took_s)
        return found

    async def _work_aside(self, work: Callable[[Store], T]) -> T:
        """What takes longer than the loop may be held, and the rest after it."""
        found, took_s = await self._committer.call(partial(self._timed, work))
        await self._rest(took_s)
        return found

    async def _rest(self, took_s: float) -> None:
        if self._committer.taken == self._taken:
            await self._pause(max(LEAST_QUIET_REST_S, QUIET_REST * took_s))
        else:
            await self._pause(max(LEAST_REST_S, REST * took_s))
        self._taken = self._committer.taken

    def _timed(self, work: Callable[[Store], T], store: Store) -> tuple[T, float]:
        started = self._clock.monotonic()
        found = work(store)
        return found, self._clock.monotonic() - started

    async def _pause(self, seconds: float) -> None:
        self._wait.clear()
        with contextlib.suppress(TimeoutError):
            # Not wait_for: in Python 3.11 it can lose a cancellation that comes at the moment of the time-out.
            async with asyncio.timeout(seconds):
                await self._wait.wait()

    # -- the clock ------------------------------------------------------------------------------

    async def _compare(self) -> None:
        """Once: with what the store remembers of the time before this engine."""
        if self._is_compared:
            return
        last_us = await self._committer.call(lambda store: store.last_pruned_us())
        if last_us and not self._is_compared:
            self._judged.compare(last_us)
        self._is_compared = True

    def _look(self) -> int | None:
        now_us = self._judged.look()
        self._tell()
        return now_us

    def _tell(self) -> None:
        """What changed since it was last told."""
        doubt, before = self._judged.doubt, self._doubted
        if doubt == before:
            return
        self._doubted = doubt
        if bool(doubt) != bool(before):
            self._meter.retention_paused(bool(doubt))
        if doubt:
            log.warning(
                "retention: %s; nothing is forgotten until `segmill retention --confirm`, or for a day from now", doubt
            )
        else:
            log.warning("retention goes on")


class _Doubted(Exception):
    """The clock jumped since the pass began, or was set back: the next pass goes by another reading."""


def ages(
    own: tuple[float | None, float | None], duplicates_window_s: float, looked_up_within_s: float = LOOKED_UP_WITHIN_S
) -> Ages:
    """One channel's ages from (bodies, messages), in seconds. A message is known for at least as long as a resend
    of it is to be recognised: forgotten sooner, it would be processed twice. And for longer by as much as a resend may
    wait before it is looked up: the last member of a batch came with the first."""
    bodies_s, messages_s = own
    if messages_s is not None and duplicates_window_s:
        messages_s = max(messages_s, duplicates_window_s + looked_up_within_s)
    return Ages(bodies_s, messages_s)


def _before(now_us: int, age_s: float | None) -> int:
    """Messages received before this are older than that; 0: none are."""
    return 0 if age_s is None else max(0, now_us - int(age_s * 1_000_000))


def _prune(store: Store, *, order: Prune, judged: JudgedClock) -> Pruned:
    if not judged.agrees(order.now_us):
        raise _Doubted
    return store.prune(order)


def _age(store: Store, *, aged: Aged, judged: JudgedClock, now_us: int) -> int:
    if not judged.agrees(now_us):
        raise _Doubted
    return store.age_worklists(aged)
