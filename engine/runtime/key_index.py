"""Keys are put in order behind the traffic: blocks that are full, blocks that retention went over, old stores.

A commit writes each message's keys with its row and nothing else. This task makes searches quick afterwards: what it
has not come to yet is found all the same, by looking through the rows. It reads beside the writer, and what it has the
writer do is one short transaction a block, with a rest behind each, as for retention. Messages that were stored before
keys were kept are read a few at a time, the newest first, until none is left.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Final

from engine.model.ids import ChannelName, MessageSeq
from engine.ports.clock import Clock
from engine.ports.search import KeyBlock, KeysOf
from engine.ports.store import CommitUnknown, StoreBusy, StoreError, StoreFull, StoreQueries
from engine.runtime.committer import Committer

log = logging.getLogger("segmill.keys")

LOOK_EVERY_S: Final = 2.0
RETRY_S: Final = 5.0
REST: Final = 4
LEAST_REST_S: Final = 0.02
OLD_MESSAGES: Final = 128
"""Of those stored without keys, so many are read at a time."""


class KeyIndex:
    """One engine's. `run` until cancelled."""

    def __init__(self, queries: StoreQueries, committer: Committer, keys_of: KeysOf, clock: Clock) -> None:
        self._queries = queries
        self._committer = committer
        self._keys_of = keys_of
        self._clock = clock
        self._is_filling = False

    def change(self, keys_of: KeysOf) -> None:
        """From now on, old messages are read for these."""
        self._keys_of = keys_of

    async def run(self) -> None:
        """Round after round."""
        while True:
            wait_s = LOOK_EVERY_S
            try:
                while await self.one_round():
                    pass
            except (StoreFull, StoreBusy):
                wait_s = RETRY_S
            except CommitUnknown:
                return  # the engine ends, and has said so
            except StoreError as error:
                wait_s = RETRY_S
                log.error("keys could not be put in order, and are tried again: %s", error)
            await asyncio.sleep(wait_s)

    async def one_round(self) -> bool:
        """Everything that is to be done now, but for old messages, of which a few; whether there is more."""
        work = await asyncio.to_thread(self._queries.key_work)
        for number in work.blocks:
            await self._rested(self._make(number))
        if work.unread:
            await self._rested(self._fill(work.unread))
        return bool(work.blocks or work.unread)

    async def _rested(self, work: Coroutine[object, object, None]) -> None:
        started = self._clock.monotonic()
        await work
        await asyncio.sleep(max(LEAST_REST_S, REST * (self._clock.monotonic() - started)))

    async def _make(self, number: int) -> None:
        block: KeyBlock = await asyncio.to_thread(self._queries.draft_keys, number)
        await self._committer.call(lambda store: store.keep_key_block(block))

    async def _fill(self, unread: MessageSeq) -> None:
        if not self._is_filling:
            log.info("messages from before keys were kept are read for them, the newest first, beside the traffic")
            self._is_filling = True
        keys_of = self._keys_of

        def read() -> tuple[Sequence[tuple[MessageSeq, Sequence[tuple[str, str]]]], MessageSeq]:
            old: Sequence[tuple[MessageSeq, ChannelName, bytes]]
            old = self._queries.bodies_without_keys(unread, OLD_MESSAGES)
            left = old[-1][0] - 1 if old else 0
            return [(seq, keys_of(channel, raw)) for seq, channel, raw in old], MessageSeq(left)

        keys, left = await asyncio.to_thread(read)
        await self._committer.call(lambda store: store.fill_in_keys(keys, left))
        if not left:
            self._is_filling = False
            log.info("every message that is stored is found by its keys now")
