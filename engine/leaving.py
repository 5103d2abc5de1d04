"""What the files no longer have, and what was accepted for it: that still goes its way, by the old settings.

A delivery keeps the destination it was accepted with (reliability.md E4; Mirth issue 3340 shows the opposite). So a
lane leaves when nothing waits in it, and a channel when nothing of it is to be processed or delivered any more. Held
messages and deliveries stay in the store: they wait for a person, not for us.
"""

import asyncio
import logging
from collections.abc import Sequence

from engine.assembly import Assembly
from engine.model.ids import DeliveryId, DestinationName, MessageSeq
from engine.ports.store import StoreError
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.channels import Isolated, RunningChannel, Turns
from engine.runtime.joining import end_fragments
from engine.runtime.lane import Lane

log = logging.getLogger("segmill")

LOOK_S = 0.5


class Leaving:
    """Sees to what leaves. Each of its coroutines ends when that is gone, or wanted again."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly

    async def lane(self, channel: RunningChannel, name: DestinationName, lane: Lane, before: Turns) -> None:
        """A destination's lane, when nothing waits in it. `before`: messages that may still be routed to it."""
        await before.over()
        await self._assembly.committer.settled()
        while channel.leaving.get(name) is lane and await self._waits(lane):  # noqa: ASYNC110 - the store says so
            await asyncio.sleep(LOOK_S)
        if channel.leaving.get(name) is not lane:
            return  # the files have it again, and another lane took over
        await self._assembly.ended(lane)
        if channel.leaving.get(name) is lane:
            del channel.leaving[name]
            log.info("%s: nothing waits for it any more; it is closed", lane.name)

    async def channel(self, channel: RunningChannel, ports: Sequence[asyncio.Task[None]]) -> None:
        """A channel: its ports answer what is in hand, and what it accepted goes its way."""
        assembly = self._assembly
        if ports:
            await asyncio.wait(ports)
        end_fragments(channel, assembly.committer)
        while assembly.leaving.get(channel.name) is channel and await self._owes(channel):  # noqa: ASYNC110 - the store says so
            await asyncio.sleep(LOOK_S)
        if assembly.leaving.get(channel.name) is not channel:
            return
        del assembly.leaving[channel.name]
        channel.line.drain()
        channel.backlog.drain()
        await asyncio.wait(assembly.line_tasks.pop(channel.name))
        for lane in (*channel.lanes.values(), *channel.leaving.values()):
            await assembly.ended(lane)
        if channel.delivered is not None:
            channel.delivered.close()
        if channel.isolated is not None:
            await channel.isolated.close()
        log.info("channel %s: nothing of it is in hand any more; it is closed", channel.name)

    async def worker(self, isolated: Isolated, before: Turns) -> None:
        """The process of code that is no longer the channel's, once the messages it began with are through."""
        await before.over()
        await isolated.close()

    async def answers(self, answers: DeliveredAnswers, lane: Lane) -> None:
        """A lane that need tell nobody any more, once those who wait have been told."""
        while len(answers):  # noqa: ASYNC110 - no hurry
            await asyncio.sleep(LOOK_S)
        await self._assembly.committer.settled()
        if lane.watcher is answers:
            lane.unwatch()
        answers.close()

    async def _owes(self, channel: RunningChannel) -> bool:
        assembly = self._assembly
        if channel.name in assembly.wanted_again:
            return True
        if len(channel.line) or channel.fragments is not None or (channel.delivered and len(channel.delivered)):
            return True
        try:
            if await assembly.committer.call(lambda store: store.unprocessed(channel.name, MessageSeq(0), 1)):
                return True
        except StoreError:
            return True
        await channel.quiet()
        await assembly.committer.settled()
        lanes = [*channel.lanes.values(), *channel.leaving.values()]
        return any([await self._waits(lane) for lane in lanes])

    async def _waits(self, lane: Lane) -> bool:
        """Whether something is queued for it; what cannot be found out may be."""
        settings = lane.settings
        read = self._assembly.queries.queued
        try:
            found = await asyncio.to_thread(read, settings.channel, settings.destination, DeliveryId(0), 1)
        except StoreError:
            return True
        return bool(found)
