"""The one place that wires: a site's files become a running engine.

Order of the start: configuration, store (lock, recovery, checks), channel versions, lanes, control, listeners
last: nobody is answered before everything behind the answer stands. Order of the stop: no new connections and
no new messages, answers for what is in hand, pipelines that still owe, attempts at hand, results, store.
"""

import asyncio
import gc
import logging
import os
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.adapters.admin import AdminServer, AdminUnavailable
from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.sqlite import SqliteStore
from engine.config.entries import Destination
from engine.config.finding import ConfigFinding
from engine.config.fragments import Batches
from engine.config.kinds import Kinds
from engine.config.settings import SiteSettings
from engine.config.site import LoadedChannel, LoadedSite, load_site
from engine.model.ids import ChannelName, DestinationName
from engine.pipeline.answer import APP_ACK, AnswerSettings
from engine.pipeline.compile import CompiledChannel, compile_channel
from engine.pipeline.registry import load_kinds, load_steps
from engine.ports.clock import Clock, SystemClock
from engine.ports.source import SourceUnavailable
from engine.ports.store import CommitUnknown, LaneDepth, Store, StoreError, StoreGone, StoreInUse
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.app_acks import AppAcks
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.control import EngineControl
from engine.runtime.drift import channel_drift
from engine.runtime.fragments import start_fragments
from engine.runtime.inlet import TellingReceiver
from engine.runtime.intake import Receiver
from engine.runtime.lane import Lane
from engine.runtime.listener import Listener
from engine.runtime.lookout import Lookout
from engine.runtime.past import PastChannels
from engine.runtime.recent import Recent
from engine.runtime.retention import Retention, ages
from engine.runtime.room import Room
from engine.runtime.sequence import SequenceNumbers
from engine.runtime.sources import MakeReceiver, RunningSource, shared_places
from engine.runtime.store_watch import watch_store
from engine.runtime.tasks import Tasks, describe
from engine.runtime.worker import Worker, WorkerFailed, WorkerLimits
from engine.wiring import (
    StepTimer,
    back_to_the_sender,
    connections_possible,
    guard,
    in_doubt,
    in_words,
    lane_settings,
    listener_settings,
    offering,
    open_sinks,
    order_of,
    show_depths,
    show_hours,
)

log = logging.getLogger("segmill")

EXIT_OK = 0
EXIT_CONFIGURATION = 78
EXIT_STORE_IN_USE = 75
EXIT_CANNOT_LISTEN = 69
EXIT_STORE_FAILED = 74
EXIT_DEFECT = 70

NO_ROOM = "the store's disk is nearly full: messages are refused, deliveries go on"
LOAD_SLICE = 500
MOST_REMEMBERED_IDS = 200_000


class EngineFailed(Exception):
    """The engine cannot start, or cannot go on. `sentence` is for people, `exit_code` for the supervisor."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


class ConfigurationError(EngineFailed):
    """The site's files have errors; `findings` says all of them."""

    def __init__(self, findings: list[ConfigFinding]) -> None:
        errors = sum(finding.is_error for finding in findings)
        super().__init__(f"the site has {errors} error(s): segmill check shows them", EXIT_CONFIGURATION)
        self.findings = findings


class Engine:
    """One running site. `start`, then `wait_closed` or `stop`; not to be started twice."""

    def __init__(
        self,
        site: LoadedSite,
        *,
        meter: PrometheusMeter | None = None,
        clock: Clock | None = None,
        kinds: Kinds | None = None,
    ) -> None:
        if not site.is_valid or site.site is None:
            raise ConfigurationError(site.findings)
        self._site = site
        self._settings: SiteSettings = site.site
        self._kinds = kinds or load_kinds()
        self._clock = clock or SystemClock()
        self.meter = meter or PrometheusMeter()
        self.addresses: dict[str, tuple[str, int]] = {}
        """Where each channel listens."""
        self._channels: dict[ChannelName, RunningChannel] = {}
        self._listeners: list[Listener | RunningSource] = []
        self._receivers: list[Receiver] = []
        self._admin: AdminServer | None = None
        self._failed: EngineFailed | None = None
        self._ended = asyncio.Event()
        self._stopped = asyncio.Event()
        self._lane_tasks: list[asyncio.Task[None]] = []
        self._line_tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._committer: Committer | None = None

    # -- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything, listeners last. Raises EngineFailed with what is in the way; nothing stays open then."""
        self._tasks = Tasks(self._task_failed)
        self._data = self._site.folder / self._settings.data
        try:
            committer = self._open_store()
            await self._open_channels(committer)
            await self._lookout.look()
            await self._open_ports(committer)
        except StoreError as error:
            await self._abandon()
            raise EngineFailed(str(error), EXIT_STORE_FAILED) from error
        except BaseException:
            await self._abandon()
            raise
        self._tasks.spawn(self._lookout.run(), "look around")
        self._tasks.spawn(watch_store(self._store, self._store_failed), "watch the store")
        self.control.keeping = self._make_retention()
        self._tasks.spawn(self.control.keeping.run(), "forget")
        self.control.not_ready = "" if self._lookout.has_room else NO_ROOM
        ports = ", ".join(f"{name} on {place.address}" for name, place in sorted(self.control.listening.items()))
        log.info("started: %s", ports)

    def _open_store(self) -> Committer:
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            self._store = self._make_store()
            self._store.open()
        except StoreInUse as error:
            raise EngineFailed(str(error), EXIT_STORE_IN_USE) from error
        except OSError as error:
            sentence = f"the data folder {error.filename or self._data} cannot be made: {in_words(error)}"
            raise EngineFailed(sentence, EXIT_STORE_FAILED) from error
        self._queries = self._store.queries()
        self._lookout = self._make_lookout()
        committer = self._committer = Committer(self._store, self._clock, self.meter, self._store_failed)
        self.control = EngineControl(self._channels, committer, self._queries, self._clock)
        self.control.operator.load_pauses(self._store.pauses())
        self.control.operator.keep_past(PastChannels(self._queries, self._kinds, self._limits, self._substituted))
        committer.on_redirected = offering(self._channels)
        return committer

    def _make_store(self) -> Store:
        if self._settings.store_kind == "memory":
            return MemoryStore(clock=self._clock)
        path = self._site.folder / self._settings.store_path
        path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(path, clock=self._clock)

    async def _open_channels(self, committer: Committer) -> None:
        for loaded in self._site.channels:
            try:
                channel = self._open_channel(loaded, committer)
            except ConfigError as error:
                raise EngineFailed(f"channel {loaded.name}: {error}", EXIT_CONFIGURATION) from error
            self._channels[channel.name] = channel
        self._report_orphans()
        await self._start_workers()
        for channel in self._channels.values():
            self._line_tasks.append(self._tasks.spawn(channel.line.run(), f"line {channel.name}"))
            self._line_tasks.append(self._tasks.spawn(channel.backlog.run(), f"backlog {channel.name}"))
            for lane in channel.lanes.values():
                self._lane_tasks.append(self._tasks.spawn(lane.run(), f"deliver {lane.name}"))
            await start_fragments(channel, committer, self._queries, self._clock, self._tasks)

    def _open_channel(self, loaded: LoadedChannel, committer: Committer) -> RunningChannel:
        compiled = compile_channel(loaded, load_steps())
        version = self._store.channel_version(loaded.name, loaded.files)
        ack = loaded.file.ack
        lanes = [
            self._open_lane(loaded, name, destination, committer, compiled)
            for name, destination in loaded.file.destinations.items()
        ]
        if ack.connect_back is not None:
            lanes.append(self._open_lane(loaded, APP_ACK, back_to_the_sender(ack.connect_back), committer, compiled))
        isolated = Worker(loaded, self._limits) if compiled.isolated else None
        meter = self.meter.channel(loaded.name)
        asked = loaded.file.validation
        profile = loaded.profiles.get(asked.profile) if asked is not None else None
        answers = AnswerSettings.of(ack)
        channel = RunningChannel(
            compiled,
            version,
            answers,
            lanes,
            meter,
            ack_when_stored=ack.when == "stored",
            duplicates_window_us=int(loaded.file.duplicates.window * 1_000_000),
            isolated=isolated,
            committer=committer,
            timer=StepTimer(self._clock, meter),
            drift=channel_drift(loaded.name, profile, meter, wanted=asked is not None and asked.drift),
        )
        if answers.waits_for:
            channel.delivered = DeliveredAnswers(
                channel.name,
                compiled.fallback_charset,
                answers,
                ack.timeout,
                committer=committer,
                queries=self._queries,
                clock=self._clock,
                meter=meter,
            )
            channel.lanes[answers.waits_for].watch(channel.delivered)
        if ack.connect_back is not None:
            channel.app_ack = AppAcks(channel.name, committer, self._queries, channel.offer)
        if loaded.file.sequence == "on":
            channel.sequences = SequenceNumbers(self._store.last_sequences(loaded.name))
        self.control.operator.apply_pauses(channel)
        return channel

    @property
    def _limits(self) -> WorkerLimits:
        workers = self._settings.workers
        return WorkerLimits(deadline_s=workers.deadline, memory_bytes=workers.memory)

    def _substituted(self, channel: ChannelName) -> Mapping[str, str]:
        """What the `${...}` of a channel stand for now."""
        return next((loaded.substituted for loaded in self._site.channels if loaded.name == channel), {})

    async def _start_workers(self) -> None:
        """Own code that does not load is told of now, and no message waits for a process to start."""
        channels = [channel for channel in self._channels.values() if channel.isolated is not None]
        starts = [channel.isolated.start() for channel in channels if channel.isolated is not None]
        for channel, end in zip(channels, await asyncio.gather(*starts, return_exceptions=True), strict=True):
            if isinstance(end, WorkerFailed):
                raise EngineFailed(f"channel {channel.name}: {end}", EXIT_CONFIGURATION) from end
            if end is not None:
                raise end

    def _open_lane(
        self,
        loaded: LoadedChannel,
        name: str,
        destination: Destination,
        committer: Committer,
        compiled: CompiledChannel,
    ) -> Lane:
        policy = destination.policy
        sinks = open_sinks(self._kinds, loaded, name, destination, self._clock)
        doubt, order = in_doubt(policy, sinks), order_of(loaded, policy)
        first = self._store.lane_window(loaded.name, DestinationName(name), doubt, order)
        settings = lane_settings(compiled, name, policy, self._settings.time_zone, first)
        meter = self.meter.lane(loaded.name, name)
        lane = Lane(settings, sinks[0], self._queries, committer, self._clock, meter, sinks[1:])
        guard(lane, self._clock)
        return lane

    def _report_orphans(self) -> None:
        """What waits for a destination that no file names any more stays in the store, and is said at the start."""
        for depth in self._queries.depths():
            channel = self._channels.get(depth.channel)
            if depth.queued and (channel is None or depth.destination not in channel.lanes):
                log.warning(
                    "%d deliveries wait for %s/%s, which the site's files no longer have; they are kept",
                    depth.queued,
                    depth.channel,
                    depth.destination,
                )
        for (name, state), count in self._queries.counts().items():
            if state == "received" and count and name not in self._channels:
                log.warning(
                    "%d messages of channel %s were accepted and not processed, and the site's files no longer have it;"
                    " they are kept",
                    count,
                    name,
                )

    async def _open_ports(self, committer: Committer) -> None:
        now_us = self._clock.now_us()
        longest = max((c.duplicates_window_us for c in self._channels.values()), default=0)
        recent = Recent(*self._store.recent_ids(now_us - longest, MOST_REMEMBERED_IDS)) if longest else Recent((), True)
        room = self._make_room(committer)
        listening: dict[ChannelName, Listener | RunningSource] = {}
        for (host, port), names in self._ports().items():
            channels = [self._channels[name] for name in names]
            first = next(c for c in self._site.channels if c.name == names[0])
            mllp = first.file.listen.mllp
            assert mllp is not None, "_ports has MLLP alone"
            receiver = Receiver(channels, committer, self._queries, recent, self._clock, mllp.batch)
            receiver.has_room = self._lookout.has_room
            try:
                settings = listener_settings(mllp, first.folder, "+".join(names))
            except ConfigError as error:
                raise EngineFailed(f"channel {names[0]}: {error}", EXIT_CONFIGURATION) from error
            listener = Listener(settings, receiver, self._clock, self.meter, committer.soon, room)
            try:
                address = await listener.start()
            except OSError as error:
                reason = in_words(error)
                place = f"{host}:{port}" if port > 0 else f"a free port of {host}"
                raise EngineFailed(
                    f"channel {names[0]} cannot listen on {place}: {reason}", EXIT_CANNOT_LISTEN
                ) from error
            self._listeners.append(listener)
            self._receivers.append(receiver)
            for name in names:
                self.addresses[name] = address
                listening[name] = listener

        def telling(channels: Sequence[RunningChannel], batches: Batches) -> TellingReceiver:
            return TellingReceiver(channels, committer, self._queries, recent, self._clock, batches)

        listening.update(await self._open_sources(telling, room))
        self.control.listening = listening
        self._start_admin()

    async def _open_sources(self, receiver: MakeReceiver, room: Room) -> dict[ChannelName, RunningSource]:
        """Whatever is not an MLLP port, after all of those."""
        opened: dict[ChannelName, RunningSource] = {}
        site = self._site.folder
        for shared in shared_places(self._site.channels):
            first = shared.channels[0].name
            kind = self._kinds.sources[shared.source]
            try:
                source = RunningSource(
                    shared, kind, self._channels, receiver, room, self._clock, self.meter, site, self._tasks
                )
                self._listeners.append(source)
                for made in source.receivers:
                    made.has_room = self._lookout.has_room
                    self._receivers.append(made)
                await source.start()
            except ConfigError as error:
                raise EngineFailed(f"channel {first}: {error}", EXIT_CONFIGURATION) from error
            except SourceUnavailable as error:
                raise EngineFailed(f"channel {first}: {error}", EXIT_CANNOT_LISTEN) from error
            opened |= dict.fromkeys((channel.name for channel in shared.channels), source)
        return opened

    def _make_room(self, committer: Committer) -> Room:
        """The bounds of all ports together. The largest message a port takes must fit, and one behind it."""
        limits = self._settings.limits
        largest = max((channel.file.listen.max_message for channel in self._site.channels), default=0)
        return Room(
            min(limits.connections, connections_possible()),
            max(limits.intake_memory, 2 * largest),
            lambda: committer.waiting_bytes,
        )

    def _ports(self) -> dict[tuple[str, int], list[ChannelName]]:
        """Channels by the MLLP port they share, in order of their names; each port 0 is a port of its own."""
        ports: dict[tuple[str, int], list[ChannelName]] = defaultdict(list)
        free = 0
        for loaded in self._site.channels:
            mllp = loaded.file.listen.mllp
            if mllp is None:
                continue
            if mllp.port == 0:
                free -= 1
            ports[mllp.host, mllp.port or free].append(loaded.name)
        return ports

    def _start_admin(self) -> None:
        admin = self._settings.admin
        self._admin = AdminServer(
            self.meter,
            self.control,
            asyncio.get_running_loop(),
            host=admin.host if admin is not None else "127.0.0.1",
            port=admin.port if admin is not None else None,
            socket_path=self._data / "control.sock",
        )
        try:
            self._admin.start()
        except AdminUnavailable as error:
            raise EngineFailed(str(error), EXIT_CANNOT_LISTEN) from error

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """Where metrics and probes are, None when they are off."""
        return self._admin.address if self._admin is not None else None

    # -- while it runs --------------------------------------------------------------------------

    def _make_retention(self) -> Retention:
        """For every channel the store knows, also those that the site's files no longer have."""
        assert self._committer is not None
        site = self._settings.retention
        kept = {name: ages((site.bodies, site.messages), 0.0) for name, _ in self._queries.counts()}
        for loaded in self._site.channels:
            own = loaded.file.retention or site
            kept[loaded.name] = ages((own.bodies, own.messages), loaded.file.duplicates.window)
        return Retention(kept, site.size, self._committer, self._clock, self.meter)

    def _make_lookout(self) -> Lookout:
        is_file = self._settings.store_kind == "sqlite"
        return Lookout(
            self._queries.depths,
            self._show_depths,
            (self._site.folder / self._settings.store_path).parent if is_file else None,
            self._settings.limits.free_disk,
            self._show_room,
            self._settings.limits.low_disk,
            self.meter.disk,
        )

    def _show_depths(self, depths: Sequence[LaneDepth]) -> None:
        show_hours(self._channels, self.meter, self._clock)
        show_depths(depths, self._channels, self.meter)

    def _show_room(self, has_room: bool) -> None:
        for receiver in self._receivers:
            receiver.has_room = has_room
        if not self._stopping:
            self.control.not_ready = "" if has_room else NO_ROOM

    def _store_failed(self, error: BaseException) -> None:
        """A commit's outcome is unknown: say nothing more to anybody, and end for the supervisor."""
        unknown = "the outcome of a commit is unknown" if isinstance(error, CommitUnknown) else describe(error)
        kind = str(error) if isinstance(error, StoreGone) else unknown
        log.critical("the store failed (%s); the engine ends so that a new start can find out", kind)
        for listener in self._listeners:
            listener.abort_all()
        self._fail(EngineFailed(f"the store failed: {kind}", EXIT_STORE_FAILED))

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A task of ours died: a defect. Ending is safe at any time, and going on without it is not."""
        log.critical("task '%s' failed: %s; the engine ends", name, describe(error))
        self._fail(EngineFailed(f"task '{name}' failed: {describe(error)}", EXIT_DEFECT))

    def _fail(self, failure: EngineFailed) -> None:
        self._failed = self._failed or failure
        self.control.not_ready = failure.sentence
        self._ended.set()

    async def wait_closed(self) -> None:
        """Until `stop` has finished, or something failed. Raises EngineFailed then."""
        await self._ended.wait()
        if self._failed is not None:
            raise self._failed

    # -- stop -----------------------------------------------------------------------------------

    async def stop(self, *, deadline_s: float | None = None) -> None:
        """Finish what is in hand, within the deadline, and let go of everything. A second call waits for the first."""
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        self.control.not_ready = "the engine is stopping"
        allowed = self._settings.shutdown if deadline_s is None else deadline_s
        deadline = self._clock.monotonic() + allowed

        def left() -> float:
            return max(0.05, deadline - self._clock.monotonic())

        if self._committer is not None and not self._committer.dead:
            for channel in self._channels.values():
                channel.backlog.drain()  # what waits there is in the store, and answered
            await asyncio.gather(*(listener.stop(left() / 2) for listener in self._listeners))
            for channel in self._channels.values():
                channel.line.drain()
                for lane in channel.lanes.values():
                    lane.drain()
            ends = [*self._lane_tasks, *self._line_tasks]
            if ends:
                # A part is kept back: what is cut off then is still to be recorded.
                await asyncio.wait(ends, timeout=max(0.05, left() - allowed / 5))
        await self._abandon(left())
        log.info("stopped")
        self._ended.set()
        self._stopped.set()

    async def _abandon(self, record_s: float = 1.0) -> None:
        """Let go of everything, whatever state it is in; what was learned is recorded, if that takes no longer."""
        if self._admin is not None:
            await asyncio.to_thread(self._admin.stop)
        for listener in self._listeners:
            listener.abort_all()
        await self._tasks.cancel_all()
        for channel in self._channels.values():
            if channel.delivered is not None:
                channel.delivered.close()
            if channel.isolated is not None:
                await channel.isolated.close()
        if self._committer is not None:
            committer, self._committer = self._committer, None
            is_all_recorded = await self._recorded(committer, record_s)
            has_failed = committer.dead
            await asyncio.to_thread(committer.close)
            self._queries.close()
            if not has_failed:
                self._store.close(clean=is_all_recorded)

    async def _recorded(self, committer: Committer, within_s: float) -> bool:
        try:
            await asyncio.wait_for(committer.drained(), within_s)
        except TimeoutError:
            log.warning("not everything could be recorded in time; what may have been sent is marked and sent again")
            return False
        return True


def load(folder: Path, environment: Mapping[str, str] | None = None) -> LoadedSite:
    """The site in `folder`, with all findings."""
    return load_site(folder, load_kinds(), os.environ if environment is None else environment)


async def run_site(folder: Path, *, data: Path | None = None) -> int:
    """Run a site until SIGTERM or SIGINT, or until it fails; the process's exit code.

    A second signal ends the process at once, which is safe at any time: what was acknowledged is stored.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    site = load(folder)
    if data is not None and site.site is not None:
        site = moved(site, data)
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            os._exit(EXIT_OK)
        asked.set()

    # Before the start: whoever reads "started" may ask for the stop at once, and gets an orderly one.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        engine = Engine(site)
        await engine.start()
    except EngineFailed as failure:
        log.error("%s", failure.sentence)
        return failure.exit_code
    tune_collector()
    waits = [loop.create_task(engine.wait_closed()), loop.create_task(asked.wait())]  # both end below
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await engine.stop()
        await engine.wait_closed()
    except EngineFailed as failure:
        return failure.exit_code
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return EXIT_OK


def tune_collector() -> None:
    """What the start made stays for good, and messages make no cycles: look for cycles rarely, and only among the new.

    With the interpreter's defaults the collector walks everything that is alive thousands of times a minute.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def moved(site: LoadedSite, data: Path) -> LoadedSite:
    """The same site with its data folder and store elsewhere."""
    assert site.site is not None
    data = data.resolve()
    settings = site.site.model_copy(update={"data": data, "store": f"sqlite:{data / 'segmill.db'}"})
    return replace(site, site=settings)
