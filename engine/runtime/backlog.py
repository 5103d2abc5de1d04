"""Messages of one channel that were acknowledged when stored, and whose pipeline has yet to run, in their order.

Invariants:

- the pipeline runs over one message at a time, in the order of their receipt;
- what does not fit in memory stays in the store and is read from there, and so is what the last run left;
- a stop ends it behind the message at hand: the others are in the store.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from engine.model.ids import MessageSeq
from engine.ports.store import CommitUnknown, StoredMessage, StoreError
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.channel")

MOST_IN_MEMORY = 1000
MOST_BYTES_IN_MEMORY = 16 * 1024 * 1024
LOAD_LIMIT = 16
STORE_RETRY_S = 0.5

Process = Callable[[MessageSeq, bytes, int], Awaitable[None]]
"""Run the pipeline over (seq, bytes, time of receipt in microseconds) and make what comes of it durable."""

Read = Callable[[MessageSeq, int], Awaitable[Sequence[StoredMessage]]]
"""The unprocessed messages after a seq, at most so many. Raises StoreError."""


class Backlog:
    """The queue, and the task that works it off."""

    def __init__(self, name: str, read: Read, process: Process) -> None:
        self._name = name
        self._read = read
        self._process = process
        self._ready: deque[tuple[MessageSeq, bytes, int]] = deque()
        self._ready_bytes = 0
        self._last = MessageSeq(0)
        self._behind = True
        self._wake = asyncio.Event()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._draining = False

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._ready)

    @property
    def is_pending(self) -> bool:
        """Whether something waits here, or may wait in the store."""
        return not self._none_left.is_set()

    async def caught_up(self) -> bool:
        """Wait until nothing waits any more. False: it was drained before that."""
        while self.is_pending and not self._draining:
            await self._none_left.wait()
        return not self.is_pending

    def offer(self, seq: MessageSeq, raw: bytes, received_at_us: int) -> None:
        """A message was stored and acknowledged. Called in the order of the commits."""
        if self._behind or seq <= self._last:
            return
        if len(self._ready) >= MOST_IN_MEMORY or self._ready_bytes > MOST_BYTES_IN_MEMORY:
            self._behind = True
            self._none_left.clear()
            return
        self._append(seq, raw, received_at_us)
        self._wake.set()

    def drain(self) -> None:
        """End behind the message at hand."""
        self._draining = True
        self._wake.set()
        if self.is_pending:  # those who wait for it look again
            self._none_left.set()
            self._none_left.clear()

    async def run(self) -> None:
        """Work off what comes, until drained."""
        self._none_left.clear()  # the last run may have left some
        while not self._draining:
            if self._ready:
                seq, raw, received_at_us = self._ready.popleft()
                self._ready_bytes -= len(raw)
                try:
                    await self._process(seq, raw, received_at_us)
                except Exception as error:  # noqa: BLE001 - the edge of a channel: its neighbours keep running
                    # It stays as it was received, and the next start reads it again.
                    log.error("channel %s: message %d failed: %s", self._name, seq, describe(error))
            elif self._behind:
                await self._load()
            else:
                self._wake.clear()
                self._none_left.set()
                await self._wake.wait()

    async def _load(self) -> None:
        """The next from the store. Nothing is committed between the read and what follows it here."""
        try:
            found = await self._read(self._last, LOAD_LIMIT)
        except CommitUnknown:
            self._draining = True  # the engine ends; a new start reads them again
            return
        except StoreError as error:
            log.error("channel %s: stored messages cannot be read now, and are tried again: %s", self._name, error)
            await asyncio.sleep(STORE_RETRY_S)
            return
        self._behind = bool(found)
        for message in found:
            if message.raw is not None:
                self._append(message.seq, message.raw, message.received_at_us)

    def _append(self, seq: MessageSeq, raw: bytes, received_at_us: int) -> None:
        self._last = seq
        self._none_left.clear()
        self._ready.append((seq, raw, received_at_us))
        self._ready_bytes += len(raw)
