"""When a channel joins messages in fragments: from its start, from a reload on, and no longer."""

import asyncio
import logging
from functools import partial

from engine.model.envelope import Reprocessed
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import MessageSeq
from engine.model.states import IllegalMove
from engine.ports.clock import Clock
from engine.ports.store import CommitUnknown, StoreBusy, StoreError, StoreFull, StoreQueries
from engine.runtime.channels import STORE_RETRY_S, Nobody, RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.fragments import FragmentKeeper
from engine.runtime.tasks import Tasks, describe
from engine.runtime.whole_messages import waiting_parts

log = logging.getLogger("segmill.fragments")


async def start_fragments(
    channel: RunningChannel, committer: Committer, queries: StoreQueries, clock: Clock, tasks: Tasks
) -> None:
    """Have the channel join fragments, if it does, and take up what the last run left; before its port opens."""
    continuation = channel.compiled.file.fragments.dsc
    if continuation is None:
        await _hold_left_over(channel, committer)
        return
    keeper = channel.fragments = FragmentKeeper(channel, continuation, committer, queries, clock)
    await keeper.load()
    tasks.spawn(keeper.run(), f"fragments {channel.name}")


def change_fragments(
    channel: RunningChannel, committer: Committer, queries: StoreQueries, clock: Clock, tasks: Tasks
) -> None:
    """As the channel's files say now, while it runs; what is in line for it is done first."""
    continuation, keeper = channel.compiled.file.fragments.dsc, channel.fragments
    if continuation is not None and keeper is not None:
        keeper.change(continuation)
    elif continuation is not None:
        keeper = channel.fragments = FragmentKeeper(channel, continuation, committer, queries, clock)
        channel.line.add(keeper.load, Nobody())  # before any fragment that comes from now on
        tasks.spawn(keeper.run(), f"fragments {channel.name}")
    elif keeper is not None:
        keeper.end(partial(_ended, channel, committer))


async def _ended(channel: RunningChannel, committer: Committer) -> None:
    # At once: files that join again meanwhile have a keeper of their own, which takes up what is left behind this.
    channel.fragments = None
    await _hold_left_over(channel, committer)


async def _hold_left_over(channel: RunningChannel, committer: Committer) -> None:
    """Fragments that wait in the store of a channel that no longer joins them: a person sees to them.

    Where the store has no room for that now, or cannot be read, it is done later, unless the channel joins again by
    then: until it is done they wait, and the channel does not leave. Where a commit's outcome is unknown the engine
    ends, and its next start does this.
    """
    is_first, channel.has_left_over = not channel.has_left_over, True
    try:
        await _hold_all(channel, committer)
        channel.has_left_over = False
    except CommitUnknown:
        raise
    except StoreError as error:
        if is_first:
            level = logging.WARNING if isinstance(error, (StoreFull, StoreBusy)) else logging.ERROR
            log.log(level, "channel %s: fragments that it joins no more are held later: %s", channel.name, error)
        asyncio.get_running_loop().call_later(STORE_RETRY_S, _hold_later, channel, committer)


def _hold_later(channel: RunningChannel, committer: Committer) -> None:
    async def again() -> None:
        if channel.fragments is None:
            await _hold_left_over(channel, committer)
        else:
            channel.has_left_over = False

    if not committer.dead:
        channel.line.add(again, Nobody())


async def _hold_all(channel: RunningChannel, committer: Committer) -> None:
    finding = Finding("E262", "error", "the channel no longer joins messages in fragments (fragments: {dsc: join})")
    after = MessageSeq(0)
    while found := await committer.call(partial(waiting_parts, channel, after)):
        held = 0
        for stored in found:
            findings = dump_findings((*load_findings(stored.findings), finding))
            try:
                await committer.reprocess(Reprocessed(stored.seq, stored.channel, channel.version, "held", findings))
                held += 1
            except (IllegalMove, ValueError) as error:  # somebody was quicker, or a defect: those behind it are held
                log.error("channel %s: fragment %d could not be held: %s", channel.name, stored.seq, describe(error))
        log.warning("channel %s: %d fragments are held, as it no longer joins them", channel.name, held)
        after = found[-1].seq


def end_fragments(channel: RunningChannel, committer: Committer) -> None:
    """The channel leaves: what waits for the rest of its message goes to a person."""
    if channel.fragments is not None:
        channel.fragments.end(partial(_ended, channel, committer))
