"""The sources beside MLLP ports while they run: opened by the place they share, and kept running.

A source is somebody's code at the edge: what it raises is logged by kind and place, and it is started again after
a while; its channels' neighbours do not notice.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from engine.config.fragments import Batches
from engine.config.kinds import SourceKind as KnownKind
from engine.config.listen import ListenOptions
from engine.config.site import LoadedChannel
from engine.model.ids import ChannelName
from engine.ports.clock import Clock
from engine.ports.meter import Meter
from engine.ports.source import Context, Place, Source, SourceKind
from engine.runtime.channels import RunningChannel
from engine.runtime.inlet import RoomyInlet, TellingReceiver
from engine.runtime.room import Room
from engine.runtime.tasks import Tasks, describe

log = logging.getLogger("segmill.source")

FIRST_RESTART_S = 1.0
MOST_RESTART_S = 60.0

MakeReceiver = Callable[[Sequence[RunningChannel], Batches], TellingReceiver]


@dataclass(slots=True)
class SharedPlace:
    """Channels that share one source, in order of their names."""

    source: str
    channels: list[LoadedChannel]

    @property
    def name(self) -> str:
        """How logs and metrics call it."""
        return "+".join(channel.name for channel in self.channels)


def shared_places(channels: Sequence[LoadedChannel]) -> list[SharedPlace]:
    """The sources that a site needs beside its MLLP ports."""
    found: dict[tuple[str, str], SharedPlace] = {}
    for channel in channels:
        listen = channel.file.listen
        if listen.mllp is not None:
            continue
        place = listen.options.place or f"for {channel.name} alone"
        found.setdefault((listen.source, place), SharedPlace(listen.source, [])).channels.append(channel)
    return list(found.values())


class RunningSource:
    """One open source with its inlets; to the engine it is what a `Listener` is."""

    def __init__(
        self,
        shared: SharedPlace,
        kind: KnownKind,
        channels: Mapping[ChannelName, RunningChannel],
        receiver: MakeReceiver,
        room: Room,
        clock: Clock,
        meter: Meter,
        site: Path,
        tasks: Tasks,
    ) -> None:
        """Raises ConfigError for settings that cannot be used."""
        self.name = shared.name
        self.receivers: list[TellingReceiver] = []
        self._inlets: list[RoomyInlet] = []
        self._tasks = tasks
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        by_apart: dict[tuple[object, ...], list[LoadedChannel]] = {}
        for channel in shared.channels:
            by_apart.setdefault(channel.file.listen.options.apart, []).append(channel)
        places: list[Place] = []
        for group in by_apart.values():
            options: ListenOptions = group[0].file.listen.options
            made = receiver([channels[channel.name] for channel in group], options.batches)
            inlet = RoomyInlet(made, room, clock, options.max_message)
            self.receivers.append(made)
            self._inlets.append(inlet)
            places.append(Place(options, inlet))
        self._meter = NamedMeter(meter, self.name)
        context = Context(self.name, site, shared.channels[0].folder, self._meter, clock)
        self._source: Source = cast(SourceKind, kind).open(places, context)

    def hold(self) -> None:
        """Let it bring nothing yet."""
        for inlet in self._inlets:
            inlet.gate.hold()

    def let_go(self) -> None:
        """Now it may."""
        for inlet in self._inlets:
            inlet.gate.let_go()

    async def start(self) -> None:
        """Open it, and keep it running. Raises SourceUnavailable."""
        await self._source.start()
        self._task = self._tasks.spawn(self._run(), f"source {self.name}")

    async def stop(self, deadline_s: float) -> None:
        """Take no more; what is in hand comes to its end, or is cut off at the deadline."""
        self._stopping = True
        if self._task is None:
            return
        try:
            async with asyncio.timeout(deadline_s):
                await self._source.stop(deadline_s)
                await asyncio.wait({self._task})
        except TimeoutError:
            log.warning("source %s: what was in hand is cut off; it comes again", self.name)
        except Exception as error:  # noqa: BLE001 - somebody's code: the stop goes on without it
            log.error("source %s could not be stopped in order: %s", self.name, describe(error))
        self.abort_all()

    def abort_all(self) -> None:
        """At once, without a word."""
        self._stopping = True
        try:
            self._source.abort()
        except Exception as error:  # noqa: BLE001 - somebody's code: the others are to be let go of, too
            log.error("source %s could not be let go of: %s", self.name, describe(error))
        if self._task is not None:
            self._task.cancel()
        self._meter.gone()
        for inlet in self._inlets:
            inlet.close()

    @property
    def address(self) -> str:
        return self._source.address

    @property
    def connection_count(self) -> int:
        return self._source.connection_count

    async def _run(self) -> None:
        wait_s = FIRST_RESTART_S
        while not self._stopping:
            try:
                await self._source.run()
                return
            except Exception as error:  # noqa: BLE001 - the edge of a source: its neighbours keep running
                log.error("source %s failed, and is started again in %g s: %s", self.name, wait_s, describe(error))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_RESTART_S)


class NamedMeter:
    """`ports.source.SourceMeter` of one source."""

    def __init__(self, meter: Meter, name: str) -> None:
        self._meter = meter
        self._name = name
        self._has_files = False

    def connections(self, open_count: int) -> None:
        self._meter.connections(self._name, open_count)

    def event(self, event: str) -> None:
        self._meter.connection_event(self._name, event)

    def files(self, waiting: int, failed: int) -> None:
        self._has_files = True
        self._meter.source_files(self._name, waiting, failed)

    def gone(self) -> None:
        """Nobody looks there any more, as after a reload: what was there last must not be told of for ever."""
        if self._has_files:
            self.files(0, 0)
