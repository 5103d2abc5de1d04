"""What the files no longer have, and what was accepted for it: that still goes its way, by the old settings.

A delivery keeps the destination it was accepted with (reliability.md E4; Mirth issue 3340 shows the opposite). So a
lane leaves when nothing waits in it, and a channel when nothing of it is to be processed or delivered any more. Held
messages and deliveries stay in the store: they wait for a person, not for us.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from engine.assembly import Assembly
from engine.model.ids import DeliveryId, DestinationName, MessageSeq
from engine.ports.store import CommitUnknown, StoreError
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
        """A destination's lane, when nothing waits in it. `before`: messages that may still be routed to it.

        Nor in other lanes that are leaving, and in those that have only an attempt in hand: it may be sent on to here.
        """
        assembly = self._assembly
        await before.over()
        stay = {*channel.lanes.values(), *channel.leaving.values()}
        for ending in [one for one in assembly.lane_tasks if one.settings.channel == channel.name and one not in stay]:
            await assembly.ended(ending)
        await assembly.committer.settled()
        while channel.leaving.get(name) is lane:
            if not await self._any_waits(channel.leaving.values()):
                async with assembly.lanes_stay.alone():  # nobody is about to put something into it
                    if channel.leaving.get(name) is not lane:
                        return
                    if not await self._any_waits([lane]):
                        del channel.leaving[name]
                        break
            await asyncio.sleep(LOOK_S)
        else:
            return  # the files have it again, and another lane took over
        await assembly.ended(lane)
        log.info("%s: nothing waits for it any more; it is closed", lane.name)

    async def channel(self, channel: RunningChannel, ports: Sequence[asyncio.Task[None]]) -> None:
        """A channel: its ports answer what is in hand, and what it accepted goes its way."""
        assembly = self._assembly
        if ports:
            await asyncio.wait(ports)
        if assembly.leaving.get(channel.name) is channel:
            end_fragments(channel, assembly.committer)
        while assembly.leaving.get(channel.name) is channel:
            if not await self._owes(channel):
                async with assembly.lanes_stay.alone():  # nobody is about to put something into it
                    if assembly.leaving.get(channel.name) is not channel:
                        return
                    if not await self._any_waits(_lanes_of(channel)) and channel.name not in assembly.wanted_again:
                        del assembly.leaving[channel.name]
                        break
            await asyncio.sleep(LOOK_S)
        else:
            return
        channel.line.drain()
        channel.backlog.drain()
        await asyncio.wait(assembly.line_tasks.pop(channel.name))
        for lane in _lanes_of(channel):
            await assembly.ended(lane)
        for answers in channel.all_answers:
            answers.close()
        if channel.isolated is not None:
            await channel.isolated.close()
        log.info("channel %s: nothing of it is in hand any more; it is closed", channel.name)

    async def worker(self, isolated: Isolated, before: Turns) -> None:
        """The process of code that is no longer the channel's, once the messages it began with are through."""
        await before.over()
        await isolated.close()

    async def answers(self, channel: RunningChannel, answers: DeliveredAnswers) -> None:
        """A lane that need tell nobody any more, once those who wait have been told, or the files want it again."""
        before, name = channel.answers_before, answers.destination
        while before.get(name) is answers:
            if not len(answers):
                await self._assembly.committer.settled()  # what is on its way to the store may be one that waits
                if not len(answers):
                    break
            await asyncio.sleep(LOOK_S)
        if before.get(name) is not answers:
            return
        del before[name]
        if (lane := channel.lane(name)) is not None and lane.watcher is answers:
            lane.unwatch()
        answers.close()

    async def _owes(self, channel: RunningChannel) -> bool:
        assembly = self._assembly
        if channel.name in assembly.wanted_again:
            return True
        joins = channel.fragments is not None or channel.has_left_over
        if len(channel.line) or joins or any(map(len, channel.all_answers)):
            return True
        try:
            if await assembly.committer.call(lambda store: store.unprocessed(channel.name, MessageSeq(0), 1)):
                return True
        except StoreError:
            return True
        await channel.quiet()
        await assembly.committer.settled()
        return await self._any_waits(_lanes_of(channel))

    async def _any_waits(self, lanes: Iterable[Lane]) -> bool:
        """Whether something is queued for one of them; what cannot be found out may be.

        Asked of all of them between two commits: what one sends on to another must not slip through.
        """
        places = [(lane.settings.channel, lane.settings.destination) for lane in lanes]
        try:
            return await self._assembly.committer.call(
                lambda store: any(store.queued(*place, DeliveryId(0), 1) for place in places)
            )
        except CommitUnknown:
            raise
        except StoreError:
            return True


def _lanes_of(channel: RunningChannel) -> list[Lane]:
    return [*channel.lanes.values(), *channel.leaving.values()]
