"""The exchange of what runs for what the files say now: prepared as a whole, then done between two messages.

Invariants:

- what can fail is done first, beside what runs: compile, start own code, read certificates, take new ports. When any
  of it fails, all of it is given up, and everything runs on as before;
- then, in one turn of the loop, every changed channel works by its new files: a message goes through one state of
  them, and is recorded with that version; nothing that is in hand is dropped;
- a lane whose destination is the same is not touched. Another one takes over when what its predecessor had in hand has
  come to its end on stable storage, and then has all that waits, in order: nothing is sent twice or overtaken;
- a destination or channel that is gone keeps what was accepted for it until that has gone its way (reliability.md E4).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from engine.assembly import (
    Assembly,
    OpenPort,
    OpenSource,
    PortPlace,
    destinations_of,
    port_settings,
    ports_of,
    source_place,
)
from engine.config.changes import LISTEN, SiteState, is_other_dicom, is_same_destination, listen_change, other_hand_offs
from engine.config.site import LoadedChannel
from engine.exit_codes import UNREACHABLE
from engine.failures import EngineFailed
from engine.hand_offs import HandOffs, NextHandOffs
from engine.leaving import Leaving
from engine.model.ids import ChannelName, DestinationName
from engine.pipeline.answer import APP_ACK
from engine.ports.store import CommitUnknown
from engine.runtime.channels import Edition, Nobody, RunningChannel
from engine.runtime.joining import change_fragments
from engine.runtime.lane import Lane
from engine.runtime.listener import Listener
from engine.runtime.recent import recent_keys
from engine.runtime.sequence import SequenceNumbers
from engine.runtime.sources import RunningSource, shared_places
from engine.scanners import NextScanners, Scanners
from engine.wiring import in_words, order_of

SETTLE_S = 5.0
"""How long a reload waits for what ends by itself, before it reports that as pending."""


@dataclass(slots=True, eq=False)
class _Next:
    """What one changed channel gets. `lanes`: those that are new or other ones; `opened`: of which the store knows."""

    loaded: LoadedChannel
    edition: Edition
    channel: RunningChannel
    is_new: bool
    lanes: dict[DestinationName, Lane] = field(default_factory=dict)
    opened: set[Lane] = field(default_factory=set)
    sequences: SequenceNumbers | None = None


class Exchange:
    """One reload's work: `prepare`, then `carry_out` or `give_up`. `changed`: the channels that differ."""

    def __init__(
        self,
        assembly: Assembly,
        scanners: Scanners,
        hand_offs: HandOffs,
        before: SiteState,
        after: SiteState,
        changed: Sequence[ChannelName],
    ) -> None:
        self._assembly = assembly
        self._scanners = scanners
        self._dicom: NextScanners | None = None
        self._hand_offs = hand_offs
        self._next_hand_offs: NextHandOffs | None = None
        self._before = before
        self._after = after
        self._old = {channel.name: channel for channel in before.site.channels}
        self._new = {channel.name: channel for channel in after.site.channels}
        self._changed = changed
        self._editions: list[Edition] = []
        self._lanes: list[Lane] = []
        self._next: dict[ChannelName, _Next] = {}
        self._ports: dict[PortPlace, OpenPort] = {}
        self._handed: dict[PortPlace, Sequence[socket.socket]] = {}
        self._late: set[PortPlace] = set()
        self._certificates: dict[PortPlace, ssl.SSLContext] = {}
        self._sources: dict[tuple[str, str], OpenSource] = {}
        self._ends: list[asyncio.Task[None]] = []
        self.failures: list[str] = []

    # -- what may fail --------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make all that is new, beside what runs. Raises EngineFailed; `give_up` then."""
        for name in self._changed:
            if name in self._new:
                self._next[name] = await self._prepare(self._new[name])
        isolated = [(n.loaded.name, n.edition) for n in self._next.values() if n.edition.isolated is not None]
        await self._assembly.start_workers(isolated)
        channels = self._assembly.channels | {name: following.channel for name, following in self._next.items()}
        await self._prepare_ports(channels)
        for shared in shared_places(self._after.site.channels):
            place = source_place(shared)
            there = self._assembly.sources.get(place)
            if there is None or self._is_other_source(there, shared.channels):
                made = self._sources[place] = self._assembly.source(shared, channels)
                if there is None:
                    made.source.hold()
                    await self._assembly.start_source(made)
        if is_other_dicom(self._before, self._after):
            self._dicom = await self._scanners.prepare(self._after.settings.dicom)
        others = other_hand_offs(self._before, self._after)
        if others:
            self._next_hand_offs = await self._hand_offs.prepare(self._after.settings.hand_offs, others)

    async def _prepare(self, loaded: LoadedChannel) -> _Next:
        assembly = self._assembly
        edition = await assembly.edition(loaded, self._after.settings.workers)
        self._editions.append(edition)
        there = assembly.channels.get(loaded.name) or assembly.leaving.get(loaded.name)
        if there is None:
            channel = await assembly.channel(loaded, edition, self._after.settings)
            self._lanes += channel.lanes.values()
            return _Next(loaded, edition, channel, is_new=True)
        if loaded.name in assembly.leaving:
            assembly.wanted_again.add(loaded.name)
        following = _Next(loaded, edition, there, is_new=False)
        for name, destination in destinations_of(loaded).items():
            if not self._keeps_lane(loaded, name, there):
                lane = assembly.lane(loaded, name, destination, edition, self._after.settings)
                following.lanes[DestinationName(name)] = lane
                self._lanes.append(lane)
                running = there.lane(DestinationName(name))
                if running is None:
                    await assembly.open_window(lane)
                    following.opened.add(lane)
                else:
                    await assembly.order_ends(running, assembly.windows[lane][1])
        if loaded.file.sequence == "on":
            following.sequences = there.sequences or await assembly.sequences(loaded.name)
        return following

    def _keeps_lane(self, loaded: LoadedChannel, name: str, there: RunningChannel) -> bool:
        """Whether the lane that is there is what the files say. By which files one that was leaving ran is not kept."""
        old = self._old.get(loaded.name)
        before = destinations_of(old).get(name) if old is not None else None
        if before is None or DestinationName(name) not in there.lanes:
            return False
        assert old is not None
        now = destinations_of(loaded)
        # Where it may send a message on to is part of a destination: what that one gets depends on its own settings.
        names = [name, *(str(action.destination) for _, action in now[name].policy.actions if action.destination)]
        return all(self._is_same(old, loaded, one) for one in names)

    def _is_same(self, old: LoadedChannel, new: LoadedChannel, name: str) -> bool:
        before, after = destinations_of(old).get(name), destinations_of(new).get(name)
        if before is None or after is None or not is_same_destination(before, after):
            return False
        if order_of(old, before.policy) != order_of(new, after.policy):
            return False  # a table that the keys are made by
        has_hours = after.policy.open is not None
        if has_hours and self._before.settings.time_zone != self._after.settings.time_zone:
            return False
        return self._same_files("ack" if name == APP_ACK else name, old, new)

    def _same_files(self, part: str, old: LoadedChannel, new: LoadedChannel) -> bool:
        return self._before.outside.get((old.name, part)) == self._after.outside.get((new.name, part))

    async def _prepare_ports(self, channels: Mapping[ChannelName, RunningChannel]) -> None:
        wanted = ports_of(self._after.site.channels)
        for place, sharing in wanted.items():
            there = self._assembly.ports.get(place)
            if there is None:
                port = self._ports[place] = self._assembly.port(sharing, channels)
                await self._take(port, place, wanted)
            elif listen_change(there.channels[0], sharing[0], same_files=True) != "none":
                self._ports[place] = self._assembly.port(sharing, channels)
                try:
                    self._handed[place] = there.listener.hand_over()
                except OSError as error:  # no file descriptor is left
                    first = sharing[0].name
                    raise EngineFailed(
                        f"channel {first}: its port cannot be handed on: {in_words(error)}", UNREACHABLE
                    ) from error
            elif not self._same_files(LISTEN, there.channels[0], sharing[0]):
                tls = port_settings(sharing).tls
                if tls is not None:
                    self._certificates[place] = tls

    async def _take(self, port: OpenPort, place: PortPlace, wanted: Mapping[PortPlace, object]) -> None:
        """Take a new address. One that a port of ours is in the way of, which closes, is taken after that."""
        try:
            await self._assembly.listen(port, place, accept=False)
        except EngineFailed:
            if not any(held[1] == place[1] and held not in wanted for held in self._assembly.ports):
                raise
            self._late.add(place)

    def _is_other_source(self, there: OpenSource, channels: Sequence[LoadedChannel]) -> bool:
        before = there.shared.channels
        if [channel.name for channel in before] != [channel.name for channel in channels]:
            return True
        pairs = zip(before, channels, strict=True)
        return any(
            listen_change(old, new, same_files=self._same_files(LISTEN, old, new)) != "none" for old, new in pairs
        )

    async def give_up(self) -> None:
        """Let go of all that was made; nothing that runs was touched."""
        for port in self._ports.values():
            port.listener.abort_all()
        for sockets in self._handed.values():
            for held in sockets:
                held.close()
        for opened in self._sources.values():
            opened.source.abort_all()
        for edition in self._editions:
            if edition.isolated is not None:
                await edition.isolated.close()
        for lane in self._lanes:
            lane.drain()
            await lane.run()  # which does nothing but close its sink
            self._assembly.windows.pop(lane, None)
            self._assembly.restarts.forget(lane)
        self._assembly.wanted_again.clear()
        if self._dicom is not None:
            await self._dicom.give_up()
        if self._next_hand_offs is not None:
            await self._next_hand_offs.give_up()

    # -- the exchange ---------------------------------------------------------------------------

    async def carry_out(self) -> None:
        """Work by the new files from now on. `failures` says what could not be done all the same."""
        async with self._assembly.lanes_stay.alone():
            self._exchange()
        failures = self.failures
        for place, port in self._ports.items():
            try:
                if place in self._late:
                    await self._assembly.listen(port, place)
                elif place in self._handed:
                    port.address = await port.listener.start(self._handed[place])
                else:
                    port.listener.accept()
            except (EngineFailed, OSError) as error:
                failures.append(error.sentence if isinstance(error, EngineFailed) else f"port {place[1]}: {error}")
                del self._assembly.ports[place]  # the next reload tries again
        for place, tls in self._certificates.items():
            self._assembly.ports[place].listener.renew_tls(tls)
        if self._dicom is not None and (server := self._dicom.carry_out()) is not None:
            ending = self._scanners.end(server, self._before.settings.shutdown)
            self._ends.append(self._spawn(ending, "close the DICOM port that was"))
        if self._next_hand_offs is not None:
            self._next_hand_offs.carry_out()
        await self._exchange_sources(failures)

    def _exchange(self) -> None:
        """All in one turn of the loop, so that no message sees half of it."""
        assembly = self._assembly
        assembly.settings = self._after.settings
        assembly.wanted_again.clear()
        wanted = ports_of(self._after.site.channels)
        closing: list[asyncio.Task[None]] = []
        for place, port in list(assembly.ports.items()):
            if place not in wanted or place in self._ports:
                port.listener.stop_reading()
                closing.append(self._close(port.listener))
                del assembly.ports[place]
        longest = max((channel.duplicates_window_us for channel in assembly.channels.values()), default=0)
        for name in self._changed:
            if name not in self._new and (channel := assembly.channels.pop(name, None)) is not None:
                assembly.leaving[name] = channel
                self._spawn(Leaving(assembly).channel(channel, closing), f"leave {name}")
        for following in self._next.values():
            self._adopt(following)
        in_order = {name: assembly.channels[name] for name in sorted(assembly.channels)}
        assembly.channels.clear()
        assembly.channels.update(in_order)
        for place, sharing in wanted.items():
            port = self._ports.get(place) or assembly.ports[place]
            assembly.ports[place] = port
            port.channels = list(sharing)
            port.receiver.serve([assembly.channels[loaded.name] for loaded in sharing])
            port.listener.rename("+".join(loaded.name for loaded in sharing))
        for receiver in assembly.receivers:
            receiver.has_room = assembly.has_room
            receiver.serve()
        assembly.set_bounds(self._after.site.channels)
        if max((channel.duplicates_window_us for channel in assembly.channels.values()), default=0) > longest:
            assembly.recent.is_complete = False  # what came longer ago is not in it: the store is asked
            self._spawn(self._remember(), "remember")

    def _adopt(self, following: _Next) -> None:
        assembly, channel, loaded = self._assembly, following.channel, following.loaded
        leaving = Leaving(assembly)
        assembly.channels[channel.name] = channel
        assembly.leaving.pop(channel.name, None)
        if following.is_new:
            assembly.start(channel)
        else:
            worker, answers = channel.isolated, channel.delivered
            if channel.ack_when_stored and not following.edition.ack_when_stored:
                # What is on its way to the store has yet to be processed, and nothing may overtake it.
                channel.line.add(assembly.committer.settled, Nobody())
            before = channel.adopt(following.edition)
            if worker is not None:
                self._spawn(leaving.worker(worker, before), f"end the process of {channel.name}")
            for name, lane in following.lanes.items():
                predecessor = channel.lanes.get(name) or channel.leaving.pop(name, None)
                channel.lanes[name] = lane
                assembly.start_lane(lane, after=predecessor, is_open=lane in following.opened, before=before)
                if predecessor is not None and (task := assembly.lane_tasks.get(predecessor)) is not None:
                    self._ends.append(task)
            wanted = destinations_of(loaded)
            for name in [name for name in channel.lanes if name not in wanted]:
                gone = channel.leaving[name] = channel.lanes.pop(name)
                self._spawn(leaving.lane(channel, name, gone, before), f"leave {gone.name}")
            channel.lanes = {DestinationName(name): channel.lanes[DestinationName(name)] for name in wanted}
            channel.sequences = following.sequences
            assembly.set_answers(channel, loaded)
            assembly.apply_pauses(channel)
            if answers is not None and answers is not channel.delivered:
                self._spawn(leaving.answers(channel, answers), f"answers of {channel.name}/{answers.destination}")
        change_fragments(channel, assembly.committer, assembly.queries, assembly.clock, assembly.tasks)

    async def _exchange_sources(self, failures: list[str]) -> None:
        assembly = self._assembly
        wanted = {source_place(shared): shared for shared in shared_places(self._after.site.channels)}
        for place, opened in list(assembly.sources.items()):
            if place not in wanted:
                del assembly.sources[place]
                self._close(opened.source)
            elif place not in self._sources:
                opened.shared = wanted[place]
        for place, made in self._sources.items():
            there = assembly.sources.pop(place, None)
            if there is None:
                assembly.sources[place] = made
                made.source.let_go()
                continue
            await there.source.stop(self._before.settings.shutdown)
            try:
                await assembly.start_source(made)
                assembly.sources[place] = made
            except EngineFailed as failure:
                made.source.abort_all()
                failures.append(failure.sentence)

    # -- afterwards -----------------------------------------------------------------------------

    def _close(self, listener: Listener | RunningSource) -> asyncio.Task[None]:
        assembly = self._assembly

        async def close() -> None:
            await listener.stop(self._before.settings.shutdown)
            assembly.closing.remove(listener)

        assembly.closing.append(listener)
        name = listener.name if isinstance(listener, RunningSource) else listener.settings.name
        task = self._spawn(close(), f"close {name}")
        self._ends.append(task)
        return task

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        async def until_the_store_is_gone() -> None:
            with contextlib.suppress(CommitUnknown):  # the engine ends, and has said so
                await work

        return self._assembly.tasks.spawn(until_the_store_is_gone(), name)

    async def _remember(self) -> None:
        """What came before the window was longer, or began."""
        assembly = self._assembly
        await assembly.committer.settled()
        longest = max((channel.duplicates_window_us for channel in assembly.channels.values()), default=0)
        since_us = assembly.clock.now_us() - longest
        known = await assembly.committer.call(lambda store: recent_keys(store, since_us))
        assembly.recent.add_older(*known, since_us)

    async def settle(self) -> list[str]:
        """Wait a while for what ends by itself; the names of what has not."""
        ends = [task for task in self._ends if not task.done()]
        if not ends:
            return []
        _, pending = await asyncio.wait(ends, timeout=SETTLE_S)
        return sorted(task.get_name() for task in pending)
