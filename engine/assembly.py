"""A site's channels, lanes and ports while they run: each made from its files, so that a reload can exchange it.

Order of the opening: channels with their lanes, then fragments that the last run left, then ports: nobody is answered
before everything behind the answer stands.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.waiting import tell_waiting
from engine.config.entries import Destination
from engine.config.fragments import Batches
from engine.config.isolate import Workers
from engine.config.kinds import Kinds
from engine.config.listen import ListenMllp
from engine.config.settings import SiteSettings
from engine.config.site import LoadedChannel
from engine.exit_codes import CONFIGURATION, UNREACHABLE
from engine.failures import EngineFailed
from engine.lane_restarts import LaneRestarts
from engine.model.ids import ChannelName, DeliveryId
from engine.pipeline.answer import APP_ACK, AnswerSettings
from engine.pipeline.compile import CompiledChannel, compile_channel
from engine.pipeline.registry import load_steps
from engine.ports.clock import Clock
from engine.ports.source import SourceUnavailable
from engine.ports.store import StoreQueries
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.app_acks import AppAcks
from engine.runtime.channels import Edition, RunningChannel, Turns
from engine.runtime.committer import Committer
from engine.runtime.drift import channel_drift
from engine.runtime.inlet import TellingReceiver
from engine.runtime.intake import Receiver
from engine.runtime.joining import start_fragments
from engine.runtime.lane import Lane
from engine.runtime.listener import Listener, ListenerSettings
from engine.runtime.recent import Recent, recent_keys
from engine.runtime.room import Room
from engine.runtime.sequence import SequenceNumbers
from engine.runtime.sources import RunningSource, SharedPlace, shared_places
from engine.runtime.tasks import Tasks
from engine.runtime.turnstile import Turnstile
from engine.runtime.worker import Worker, WorkerFailed
from engine.wiring import (
    StepTimer,
    back_to_the_sender,
    connections_possible,
    guard,
    in_doubt,
    lane_settings,
    listener_settings,
    open_sinks,
    order_of,
    why_no_port,
    worker_limits,
)

log = logging.getLogger("segmill")

ReceiverT = TypeVar("ReceiverT", bound=Receiver)

PortPlace = tuple[str, int, str]
"""Host, port, and the channel's name where the port is a free one: each of those is a port of its own."""


@dataclass(slots=True, eq=False)
class OpenPort:
    """One MLLP port with the channels that share it, in order of their names."""

    channels: list[LoadedChannel]
    listener: Listener
    receiver: Receiver
    address: tuple[str, int] = ("", 0)


@dataclass(slots=True, eq=False)
class OpenSource:
    """One source of another kind."""

    shared: SharedPlace
    source: RunningSource


class Assembly:
    """What runs for a site, by name and place. `site` is its folder."""

    def __init__(
        self,
        site: Path,
        settings: SiteSettings,
        kinds: Kinds,
        clock: Clock,
        meter: PrometheusMeter,
        committer: Committer,
        queries: StoreQueries,
        tasks: Tasks,
    ) -> None:
        self.site = site
        self.settings = settings
        self.kinds = kinds
        self._steps = load_steps()  # once: each look reads what all packages say they have
        self.clock = clock
        self.meter = meter
        self.committer = committer
        self.queries = queries
        self.tasks = tasks
        self.channels: dict[ChannelName, RunningChannel] = {}
        self.leaving: dict[ChannelName, RunningChannel] = {}
        """Those that the files no longer have, while they still owe something."""
        self.wanted_again: set[ChannelName] = set()
        """Of those that are leaving, what a reload that is being prepared will keep."""
        self.ports: dict[PortPlace, OpenPort] = {}
        self.sources: dict[tuple[str, str], OpenSource] = {}
        self.closing: list[Listener | RunningSource] = []
        """Ports that no longer listen, while they answer what is in hand."""
        self.lane_tasks: dict[Lane, asyncio.Task[None]] = {}
        self.restarts = LaneRestarts(self)
        """Of lanes whose task died; what they had in hand may have been sent."""
        self.line_tasks: dict[ChannelName, list[asyncio.Task[None]]] = {}
        self.windows: dict[Lane, tuple[int, str]] = {}
        """Of each lane: what is in doubt when the engine dies, and what makes its keys; for the store."""
        self._ends_of_orders = count(1)
        self.apply_pauses: Callable[[RunningChannel], None] = lambda channel: None
        """What people have paused stays so, whatever the files say."""
        self.lanes_stay = Turnstile()
        self.turns: dict[str, asyncio.Lock] = {}
        """Of the lanes that write to one worklist, by its name."""
        self.has_room = True
        self.recent = Recent((), True)
        self.room = Room()
        meter.tls.sources.append(self._unready)

    def _unready(self) -> dict[str, str]:
        """Lanes that wait for their TLS files."""
        found: dict[str, str] = {}
        for channel in self.everyone:
            for name, lane in list(channel.lanes.items()):
                if lane.why_unready:
                    found[f"{channel.name}/{'ack' if name == APP_ACK else name}"] = lane.why_unready
        return found

    # -- all of it ------------------------------------------------------------------------------

    async def open_channels(self, site_channels: Sequence[LoadedChannel]) -> None:
        """Channels and lanes; nobody can send yet. Raises EngineFailed."""
        for loaded in site_channels:
            edition = await self.edition(loaded, self.settings.workers)
            self.channels[loaded.name] = await self.channel(loaded, edition, may_wait=True)
        await self.start_workers([channel for channel in self.channels.values() if channel.isolated is not None])
        for channel in self.channels.values():
            self.start(channel)
            await start_fragments(channel, self.committer, self.queries, self.clock, self.tasks)

    async def open_ports(self, site_channels: Sequence[LoadedChannel]) -> None:
        """Where senders connect. Raises EngineFailed."""
        longest = max((c.duplicates_window_us for c in self.channels.values()), default=0)
        if longest:
            since_us = self.clock.now_us() - longest
            known = await self.committer.call(lambda store: recent_keys(store, since_us))
            self.recent = Recent(*known, since_us)
        self.room = Room(waiting=lambda: self.committer.waiting_bytes)
        self.set_bounds(site_channels)
        for place, sharing in ports_of(site_channels).items():
            port = self.port(sharing, self.channels)
            await self.listen(port, place)
            self.ports[place] = port
        for shared in shared_places(site_channels):
            opened = self.source(shared, self.channels)
            self.sources[source_place(shared)] = opened
            await self.start_source(opened)

    def set_bounds(self, site_channels: Sequence[LoadedChannel]) -> None:
        """Of all ports together. The largest message a port takes must fit, and one behind it."""
        limits = self.settings.limits
        largest = max((channel.file.listen.max_message for channel in site_channels), default=0)
        self.room.most_connections = min(limits.connections, connections_possible())
        self.room.most_bytes = max(limits.intake_memory, 2 * largest)

    @property
    def listeners(self) -> list[Listener | RunningSource]:
        """Every way in, also those that are being closed."""
        return [
            *(port.listener for port in self.ports.values()),
            *(opened.source for opened in self.sources.values()),
            *self.closing,
        ]

    @property
    def receivers(self) -> list[Receiver]:
        """Intake of every way in."""
        return [
            *(port.receiver for port in self.ports.values()),
            *(receiver for opened in self.sources.values() for receiver in opened.source.receivers),
        ]

    @property
    def listening(self) -> dict[ChannelName, Listener | RunningSource]:
        """Where each channel's messages come from."""
        found: dict[ChannelName, Listener | RunningSource] = {}
        for port in self.ports.values():
            found |= dict.fromkeys((channel.name for channel in port.channels), port.listener)
        for opened in self.sources.values():
            found |= dict.fromkeys((channel.name for channel in opened.shared.channels), opened.source)
        return found

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each channel with an MLLP port listens."""
        return {channel.name: port.address for port in self.ports.values() for channel in port.channels}

    @property
    def everyone(self) -> Iterable[RunningChannel]:
        """All channels, also those that are leaving."""
        return [*self.channels.values(), *self.leaving.values()]

    # -- channels -------------------------------------------------------------------------------

    async def edition(self, loaded: LoadedChannel, workers: Workers) -> Edition:
        """A channel's files, compiled and recorded; a worker of it has yet to start. Raises EngineFailed."""
        try:
            compiled = await asyncio.to_thread(compile_channel, loaded, self._steps)
        except ConfigError as error:
            raise EngineFailed(f"channel {loaded.name}: {error}", CONFIGURATION) from error
        version = await self.committer.call(lambda store: store.channel_version(loaded.name, loaded.files))
        isolated = None
        if compiled.isolated:
            isolated = Worker(loaded, worker_limits(workers, loaded.file.isolate), self.meter.channel(loaded.name))
        asked = loaded.file.validation
        profile = loaded.profiles.get(asked.profile) if asked is not None else None
        return Edition(
            compiled,
            version,
            AnswerSettings.of(loaded.file.ack),
            loaded.file.ack.when == "stored",
            int(loaded.file.duplicates.window * 1_000_000),
            isolated,
            channel_drift(
                loaded.name, profile, self.meter.channel(loaded.name), wanted=asked is not None and asked.drift
            ),
        )

    async def channel(
        self,
        loaded: LoadedChannel,
        edition: Edition,
        settings: SiteSettings | None = None,
        *,
        may_wait: bool = False,
    ) -> RunningChannel:
        """A channel that is not there yet, with its lanes; nothing of it runs. `may_wait` as `lane`'s. EngineFailed."""
        settings = self.settings if settings is None else settings
        lanes: list[Lane] = []
        for name, destination in destinations_of(loaded).items():
            lane = self.lane(loaded, name, destination, edition, settings, may_wait=may_wait)
            await self.open_window(lane)
            lanes.append(lane)
        meter = self.meter.channel(loaded.name)
        channel = RunningChannel(
            edition.compiled,
            edition.version,
            edition.answers,
            lanes,
            meter,
            ack_when_stored=edition.ack_when_stored,
            duplicates_window_us=edition.duplicates_window_us,
            isolated=edition.isolated,
            committer=self.committer,
            timer=StepTimer(self.clock, meter),
            drift=edition.drift,
        )
        if loaded.file.sequence == "on":
            channel.sequences = await self.sequences(loaded.name)
        self.set_answers(channel, loaded)
        self.apply_pauses(channel)
        return channel

    async def sequences(self, name: ChannelName) -> SequenceNumbers:
        """The links of a channel's senders, as the store has them."""
        return SequenceNumbers(await self.committer.call(lambda store: store.last_sequences(name)))

    def set_answers(self, channel: RunningChannel, loaded: LoadedChannel) -> None:
        """Who gives the answers that do not leave with the commit, by the channel's edition and its lanes now."""
        waits_for, ack = channel.answers.waits_for, loaded.file.ack
        before = channel.delivered
        if before is not None and before.destination == waits_for:
            before.change(channel.version, channel.compiled.fallback_charset, channel.answers, ack.timeout)
        else:
            if before is not None:
                before.is_retired = True
                channel.answers_before[before.destination] = before
            channel.delivered = channel.answers_before.pop(waits_for, None) if waits_for else None
            if channel.delivered is not None:
                channel.delivered.is_retired = False
                channel.delivered.change(
                    channel.version, channel.compiled.fallback_charset, channel.answers, ack.timeout
                )
            elif waits_for:
                channel.delivered = self._delivered_answers(channel, ack.timeout)
        for name, waiting in channel.answers_before.items():
            # Another lane may have taken over, and those who wait are told what that one hears.
            if (lane := channel.lane(name)) is not None and lane.watcher is None:
                lane.watch(waiting)
        if channel.delivered is not None and channel.lanes[waits_for].watcher is not channel.delivered:
            channel.lanes[waits_for].watch(channel.delivered)
        if ack.connect_back is None:
            channel.app_ack = None
        elif channel.app_ack is None:
            channel.app_ack = AppAcks(channel.name, self.committer, self.queries, channel.offer)

    def _delivered_answers(self, channel: RunningChannel, timeout_s: float) -> DeliveredAnswers:
        return DeliveredAnswers(
            channel.name,
            channel.version,
            channel.compiled.fallback_charset,
            channel.answers,
            timeout_s,
            committer=self.committer,
            queries=self.queries,
            clock=self.clock,
            meter=channel.meter,
            waits_elsewhere=channel.waits_for_another,
        )

    async def start_workers(self, channels: Sequence[RunningChannel | tuple[ChannelName, Edition]]) -> None:
        """Own code that does not load is told of now, and no message waits for a process to start. EngineFailed."""
        named = [(c.name, c.isolated) if isinstance(c, RunningChannel) else (c[0], c[1].isolated) for c in channels]
        starts = [isolated.start() for _, isolated in named if isolated is not None]
        for (name, _), end in zip(named, await asyncio.gather(*starts, return_exceptions=True), strict=True):
            if isinstance(end, WorkerFailed):
                raise EngineFailed(f"channel {name}: {end}", CONFIGURATION) from end
            if end is not None:
                raise end

    def start(self, channel: RunningChannel) -> None:
        """Let a new channel work; its port comes later."""
        self.line_tasks[channel.name] = [
            self.tasks.spawn(channel.line.run(), f"line {channel.name}"),
            self.tasks.spawn(channel.backlog.run(), f"backlog {channel.name}"),
        ]
        for lane in channel.lanes.values():
            self.start_lane(lane)

    # -- lanes ----------------------------------------------------------------------------------

    def lane(
        self,
        loaded: LoadedChannel,
        name: str,
        destination: Destination,
        edition: Edition,
        settings: SiteSettings,
        *,
        may_wait: bool = False,
    ) -> Lane:
        """A lane that does not run yet. `may_wait`: also one that cannot send before its TLS files are put right: at
        a start messages are taken all the same (ADR 58). Raises EngineFailed for settings that cannot be used.
        """
        policy = destination.policy
        by = self.clock, self.queries, self.turns, self.meter.dicom.refusal
        try:
            sinks = open_sinks(self.kinds, loaded, name, destination, *by, may_wait=may_wait)
        except ConfigError as error:
            raise EngineFailed(f"channel {loaded.name}: {error}", CONFIGURATION) from error
        now = partial(self._in_force, loaded.name, edition.compiled)
        of_lane = lane_settings(edition.compiled, name, policy, settings.time_zone, DeliveryId(0), now)
        meter = self.meter.lane(loaded.name, name)
        lane = Lane(of_lane, sinks[0], self.queries, self.committer, self.clock, meter, sinks[1:])
        guard(lane, self.clock)
        self.windows[lane] = in_doubt(policy, sinks), order_of(loaded, policy)
        self.restarts.keep(lane, lambda: self.lane(loaded, name, destination, edition, settings, may_wait=True))
        if lane.why_unready:
            tell_waiting(lane.name, lane.why_unready)
        return lane

    def _in_force(self, name: ChannelName, otherwise: CompiledChannel) -> CompiledChannel:
        """A channel by the files that it works by now; `otherwise` where it has not begun to, or is gone."""
        channel = self.channels.get(name) or self.leaving.get(name)
        return channel.compiled if channel is not None else otherwise

    async def open_window(self, lane: Lane) -> None:
        """Tell the store of a lane before it starts, and when nothing of one before it is in hand any more."""
        settings = lane.settings
        doubt, order = self.windows[lane]
        first = await self.committer.call(
            lambda store: store.lane_window(settings.channel, settings.destination, doubt, order)
        )
        lane.keyed_since(first)

    async def order_ends(self, lane: Lane, order: str) -> None:
        """Files with this order for its destination are about to be in force, before it has let go of its queue.

        The store knows from now on that keys may be of either: if the engine ends before the lane of the new order has
        opened, what is queued then is of another order to every run that follows, whatever its files say. Where the
        lane that is there has yet to open itself, it does so with an order that has ended: those files may come back,
        and what is stored between has no key of theirs. No two ends are the same: each is a change to the store.
        """
        doubt, before = self.windows.get(lane, (0, ""))
        if before and before != order:
            settings = lane.settings
            of = before.partition(" (ended ")[0]  # where those files were rejected it has ended before, and runs on
            ended = f"{of} (ended {next(self._ends_of_orders)})"
            self.windows[lane] = doubt, f"{of} (ended {next(self._ends_of_orders)})"
            await self.committer.call(
                lambda store: store.lane_window(settings.channel, settings.destination, doubt, ended)
            )

    def start_lane(
        self, lane: Lane, after: Lane | None = None, *, is_open: bool = True, before: Turns | None = None
    ) -> None:
        """Let it deliver; behind `after`, which had its deliveries until now, once nothing of that is in hand.

        Not `is_open`: the store has yet to be told of it. `before`: messages that are still routed by the files before.
        """
        work = lane.run() if after is None and is_open else self._succeed(after, lane, before)
        lane.predecessor = after
        task = self.lane_tasks[lane] = self.tasks.spawn(work, f"deliver {lane.name}", partial(self.restarts.died, lane))
        task.add_done_callback(lambda _: self._forget(lane))

    def _forget(self, lane: Lane) -> None:
        self.lane_tasks.pop(lane, None)
        if not lane.has_failed:
            self.windows.pop(lane, None)
            self.restarts.forget(lane)

    async def _succeed(self, before: Lane | None, lane: Lane, turns: Turns | None) -> None:
        """What the one before had in hand ends first, on stable storage: else it would go twice, or out of order.

        Where the order changes, what is still routed by the files before is stored first: it has a key of that order,
        or none, and its place is before all that has one of the new.
        """
        order = self.windows[lane][1]
        changes = before is None or self.windows.get(before, (0, None))[1] != order
        if before is not None:
            await self.ended(before)
            await self.restarts.hand_over(before)
            self.windows.pop(before, None)
        lane.predecessor = None
        if changes and turns is not None:
            await turns.over()
            await self.committer.settled()
        if not lane.is_draining:  # else another has its place already, which the store is told of then
            await self.open_window(lane)
        await lane.run()

    async def ended(self, lane: Lane) -> None:
        """Have a lane finish the attempt at hand, and wait until its end is on stable storage."""
        lane.drain()
        task = self.lane_tasks.get(lane)
        if task is not None:
            await asyncio.wait({task})
        while True:
            await self.committer.settled()
            if lane.is_settled or lane.has_failed:
                return

    # -- ports ----------------------------------------------------------------------------------

    def port(self, sharing: Sequence[LoadedChannel], channels: Mapping[ChannelName, RunningChannel]) -> OpenPort:
        """A port that is not open yet. Raises EngineFailed for TLS files that cannot be used."""
        settings = port_settings(sharing)
        receiver = self._receiver(Receiver, [channels[c.name] for c in sharing], _mllp(sharing).batch)
        listener = Listener(settings, receiver, self.clock, self.meter, self.committer.soon, self.room)
        return OpenPort(list(sharing), listener, receiver)

    async def listen(self, port: OpenPort, place: PortPlace, *, accept: bool = True) -> None:
        """Open it; not `accept`: take the address, and let nobody in yet. Raises EngineFailed."""
        try:
            port.address = await port.listener.start(accept=accept)
        except OSError as error:
            host, number, _ = place
            where = f"{host}:{number}" if number > 0 else f"a free port of {host}"
            first = port.channels[0].name
            raise EngineFailed(
                f"channel {first} cannot listen on {where}: {why_no_port(error)}", UNREACHABLE
            ) from error

    def source(self, shared: SharedPlace, channels: Mapping[ChannelName, RunningChannel]) -> OpenSource:
        """A source that is not open yet. Raises EngineFailed for settings that cannot be used."""
        try:
            source = RunningSource(
                shared,
                self.kinds.sources[shared.source],
                channels,
                partial(self._receiver, TellingReceiver),
                self.room,
                self.clock,
                self.meter,
                self.site,
                self.tasks,
            )
        except ConfigError as error:
            raise EngineFailed(f"channel {shared.channels[0].name}: {error}", CONFIGURATION) from error
        return OpenSource(shared, source)

    async def start_source(self, opened: OpenSource) -> None:
        """Open it. Raises EngineFailed."""
        try:
            await opened.source.start()
        except ConfigError as error:
            raise EngineFailed(f"channel {opened.shared.channels[0].name}: {error}", CONFIGURATION) from error
        except SourceUnavailable as error:
            raise EngineFailed(f"channel {opened.shared.channels[0].name}: {error}", UNREACHABLE) from error

    def _receiver(self, kind: type[ReceiverT], channels: Sequence[RunningChannel], batches: Batches) -> ReceiverT:
        receiver = kind(channels, self.committer, self.queries, self.recent, self.clock, batches)
        receiver.has_room = self.has_room
        return receiver


def port_settings(sharing: Sequence[LoadedChannel]) -> ListenerSettings:
    """A port's settings, with its certificates as they are now. Raises EngineFailed."""
    first = sharing[0]
    try:
        return listener_settings(_mllp(sharing), first.folder, "+".join(channel.name for channel in sharing))
    except ConfigError as error:
        raise EngineFailed(f"channel {first.name}: {error}", CONFIGURATION) from error


def _mllp(sharing: Sequence[LoadedChannel]) -> ListenMllp:
    mllp = sharing[0].file.listen.mllp
    assert mllp is not None, "ports_of has MLLP alone"
    return mllp


def destinations_of(loaded: LoadedChannel) -> dict[str, Destination]:
    """A channel's lanes: its destinations, and where its application acknowledgements go."""
    found = dict(loaded.file.destinations)
    if loaded.file.ack.connect_back is not None:
        found[APP_ACK] = back_to_the_sender(loaded.file.ack.connect_back)
    return found


def ports_of(channels: Sequence[LoadedChannel]) -> dict[PortPlace, list[LoadedChannel]]:
    """Channels by the MLLP port they share, in order of their names."""
    ports: dict[PortPlace, list[LoadedChannel]] = {}
    for loaded in channels:
        mllp = loaded.file.listen.mllp
        if mllp is not None:
            ports.setdefault(port_place(loaded, mllp), []).append(loaded)
    return ports


def port_place(loaded: LoadedChannel, mllp: ListenMllp) -> PortPlace:
    """Which port is meant."""
    return mllp.host, mllp.port, loaded.name if mllp.port == 0 else ""


def source_place(shared: SharedPlace) -> tuple[str, str]:
    """Which source is meant."""
    place = shared.channels[0].file.listen.options.place
    return shared.source, place or f"for {shared.channels[0].name} alone"
