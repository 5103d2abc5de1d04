"""Retention: what is old enough goes, a slice at a time, beside the traffic and never in its way.

Invariants:

- what waits, or is held for a person, stays whatever its age; the store sees to that in the same transaction;
- a slice is one short store call between two commits, and four times as long nothing is done after it;
- nothing goes while the clock cannot be trusted: after it jumped by more than a day, while the engine ran or since the
  last time, nothing is forgotten until a person says so, or the clock has gone on for a day without another jump
  (reliability.md E3: a wrong date must not empty the store).
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from engine.model.ids import ChannelName, MessageSeq
from engine.ports.clock import Clock
from engine.ports.control import RetentionReport
from engine.ports.store import CommitUnknown, Prune, Pruned, Store, StoreBusy, StoreError, StoreFull
from engine.runtime.committer import Committer

log = logging.getLogger("segmill.retention")

FIRST_PASS_S = 30.0
PASS_EVERY_S = 600.0
WHOLE_PASS_EVERY_S = 86_400.0
"""A pass goes on where the last one ended; once a day it begins at the oldest message, for those released since."""
SPAN = 256
REST = 4
LEAST_REST_S = 0.02
RETRY_S = 5.0
JUMP_S = 86_400.0
TRUST_AGAIN_S = 86_400.0
GIVE_BACK_BYTES = 1024 * 1024
SIZE_TARGET = 0.95
"""Past its bound, the store is brought down to this much of it, so that not every message begins a new pass."""


@dataclass(slots=True, frozen=True)
class Ages:
    """How long one channel's messages are kept, in seconds; None for ever."""

    bodies_s: float | None = None
    messages_s: float | None = None

    @property
    def keeps_all(self) -> bool:
        return self.bodies_s is None and self.messages_s is None


class RetentionMeter(Protocol):
    """What is counted of it."""

    def pruned(self, bodies: int, messages: int) -> None: ...

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
        self.change(ages, most_bytes)
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._wait = asyncio.Event()
        self._after: dict[ChannelName, MessageSeq] = {}
        self._whole_at = 0.0
        self._wall_us = 0
        self._steady = 0.0
        self._trusted_at = 0.0
        self._paused = ""
        self._bodies = 0
        self._messages = 0
        self._last_pass_us = 0

    def change(self, ages: Mapping[ChannelName, Ages], most_bytes: int) -> None:
        """From the next pass on."""
        self._ages = {channel: kept for channel, kept in ages.items() if not kept.keeps_all}
        self._most_bytes = most_bytes

    @property
    def is_on(self) -> bool:
        """Whether anything is to be forgotten at all."""
        return bool(self._ages or self._most_bytes)

    def status(self) -> RetentionReport:
        """How it stands."""
        return RetentionReport(self.is_on, self._paused, self._bodies, self._messages, self._last_pass_us)

    def confirm(self) -> None:
        """The clock is right, says a person: go on, and at once."""
        self._trust()
        self._wait.set()

    async def run(self) -> None:
        """Pass after pass."""
        if not self.is_on:
            return
        self._wall_us, self._steady = self._clock.now_us(), self._clock.monotonic()
        await self._pause(FIRST_PASS_S)
        is_compared = False
        while True:
            wait_s = PASS_EVERY_S
            self._watch_clock()
            if self.is_on and not (self._paused and is_compared):
                try:
                    if not is_compared:
                        self._compare_with(await self._committer.call(lambda store: store.last_pruned_us()))
                        is_compared = True
                    if not self._paused:
                        await self.one_pass()
                except (StoreFull, StoreBusy):
                    wait_s = RETRY_S  # no room to forget in, or somebody has the file locked: again, soon
                except CommitUnknown:
                    return  # the engine ends, and has said so
                except StoreError as error:
                    log.error("what is old could not be forgotten, and is tried again: %s", error)
            await self._pause(wait_s)

    async def one_pass(self) -> None:
        """Forget all that is old enough now."""
        started = self._clock.monotonic()
        is_whole = started >= self._whole_at
        if is_whole:
            self._after.clear()
            self._whole_at = started + WHOLE_PASS_EVERY_S
        before = self._bodies, self._messages
        for channel, kept in list(self._ages.items()):
            await self._forget(channel, kept)
        await self._keep_size()
        while await self._committer.call(lambda store: store.give_back(GIVE_BACK_BYTES)):
            await self._pause(LEAST_REST_S)
        self._last_pass_us = self._clock.now_us()
        bodies, messages = self._bodies - before[0], self._messages - before[1]
        if bodies or messages:
            log.info("forgotten: the bytes of %d messages, and %d messages whole", bodies, messages)

    def _judged_us(self) -> int:
        """The time that was compared with the steady clock: a jump in the middle of a pass is not believed either."""
        return self._wall_us or self._clock.now_us()

    async def _forget(self, channel: ChannelName, kept: Ages) -> None:
        now_us = self._judged_us()
        after = self._after.get(channel, MessageSeq(0))
        while True:
            order = Prune(channel, _before(now_us, kept.bodies_s), _before(now_us, kept.messages_s), after, SPAN)
            pruned = await self._slice(order)
            if pruned.after is None:
                self._after[channel] = after
                return
            after = pruned.after

    async def _keep_size(self) -> None:
        """Over the bound, the oldest finished messages of all channels lose their bytes, however old they are."""
        if not self._most_bytes or await self._used() <= self._most_bytes:
            return
        now_us = self._judged_us()
        after: MessageSeq | None = MessageSeq(0)
        while after is not None:
            after = (await self._slice(Prune(None, now_us, 0, after, SPAN))).after
            if await self._used() <= self._most_bytes * SIZE_TARGET:
                return
        log.warning(
            "the store holds more than the %d bytes it may: what is left waits, is held, or is no bytes of messages",
            self._most_bytes,
        )

    async def _used(self) -> int:
        return await self._committer.call(lambda store: store.used_bytes())

    async def _slice(self, order: Prune) -> Pruned:
        started = self._clock.monotonic()
        pruned = await self._committer.call(partial(_prune, order=order))
        self._bodies += pruned.bodies
        self._messages += pruned.messages
        if pruned.bodies or pruned.messages:
            self._meter.pruned(pruned.bodies, pruned.messages)
        await self._pause(max(LEAST_REST_S, REST * (self._clock.monotonic() - started)))
        return pruned

    async def _pause(self, seconds: float) -> None:
        self._wait.clear()
        with contextlib.suppress(TimeoutError):
            # Not wait_for: in Python 3.11 it can lose a cancellation that comes at the moment of the time-out.
            async with asyncio.timeout(seconds):
                await self._wait.wait()

    # -- the clock ------------------------------------------------------------------------------

    def _compare_with(self, last_us: int) -> None:
        """At the start: the clock must not have gone back, nor on by more than a day, since the last pass."""
        if last_us:
            self._judge((self._clock.now_us() - last_us) / 1e6, 0.0)
        self._wall_us, self._steady = self._clock.now_us(), self._clock.monotonic()

    def _watch_clock(self) -> None:
        now_us, steady = self._clock.now_us(), self._clock.monotonic()
        self._judge((now_us - self._wall_us) / 1e6, steady - self._steady)
        self._wall_us, self._steady = now_us, steady
        if self._paused and steady >= self._trusted_at:
            self._trust()

    def _judge(self, gone_s: float, steady_s: float) -> None:
        jump_s = gone_s - steady_s
        if abs(jump_s) <= JUMP_S:
            return
        days = f"{abs(jump_s) / 86_400:.1f} days"
        self._paused = f"the clock is {days} {'ahead of' if jump_s > 0 else 'behind'} where it was"
        self._trusted_at = self._clock.monotonic() + TRUST_AGAIN_S
        self._meter.retention_paused(True)
        log.warning(
            "retention: %s; nothing is forgotten until `segmill retention --confirm`, or for a day from now",
            self._paused,
        )

    def _trust(self) -> None:
        if self._paused:
            self._paused = ""
            self._meter.retention_paused(False)
            log.warning("retention goes on")


def ages(own: tuple[float | None, float | None], duplicates_window_s: float) -> Ages:
    """One channel's ages from (bodies, messages), in seconds. A message is known for at least as long as a resend
    of it is to be recognised: forgotten sooner, it would be processed twice."""
    bodies_s, messages_s = own
    return Ages(bodies_s, None if messages_s is None else max(messages_s, duplicates_window_s))


def _before(now_us: int, age_s: float | None) -> int:
    """Messages received before this are older than that; 0: none are."""
    return 0 if age_s is None else max(0, now_us - int(age_s * 1_000_000))


def _prune(store: Store, *, order: Prune) -> Pruned:
    return store.prune(order)
