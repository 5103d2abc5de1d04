"""The one place that wires: a site's files become a running engine.

Order of the start: configuration, store (lock, recovery, checks), channel versions, lanes, control, listeners
last: nobody is answered before everything behind the answer stands. Order of the stop: no new connections and
no new messages, answers for what is in hand, pipelines that still owe, attempts at hand, results, store.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.adapters.admin import AdminServer, AdminUnavailable
from engine.adapters.admin_access import access_routes
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.stores.left_behind import left_behind
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.supervisor import Supervisor
from engine.assembly import Assembly
from engine.audit_export import AuditSending
from engine.certificates import show_certificates
from engine.collector import tune_collector
from engine.config.changes import NOT_LIVE, read_state
from engine.config.kinds import Kinds
from engine.config.settings import SiteSettings
from engine.config.site import LoadedSite, load_site
from engine.console import Console, Support, to_the_terminal
from engine.counting import counted
from engine.exit_codes import CONFIGURATION, DEFECT, GOOD, STORE_FAILED, TRY_AGAIN, UNREACHABLE
from engine.failures import ConfigurationError, EngineFailed
from engine.hand_offs import HandOffs
from engine.model.ids import ChannelName, DestinationName
from engine.orphans import report_orphans
from engine.pipeline.registry import load_kinds
from engine.ports.clock import Clock, SystemClock
from engine.ports.store import CommitUnknown, LaneDepth, Store, StoreError, StoreGone, StoreInUse, StoreTooNew, WrongKey
from engine.reloading import Reloader
from engine.runtime.allocator import keep_large_blocks_apart
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.control import EngineControl
from engine.runtime.feeds import Feeds
from engine.runtime.intake import Receiver
from engine.runtime.key_index import KeyIndex
from engine.runtime.listener import Listener
from engine.runtime.lookout import Lookout
from engine.runtime.past import PastChannels
from engine.runtime.retention import Ages, Retention, ages
from engine.runtime.sources import RunningSource
from engine.runtime.status_news import StatusNews
from engine.runtime.store_watch import watch_store
from engine.runtime.tasks import Tasks, describe
from engine.scanners import Scanners
from engine.traces import start_tracing
from engine.watched_feeds import watched_feeds
from engine.wiring import in_words, offering, show_depths, show_gone, show_hours, step_ages, within, worker_limits

__all__ = ["ConfigurationError", "Engine", "EngineFailed", "Listener", "load", "load_site", "moved", "run_site"]

log = logging.getLogger("segmill")

NO_ROOM = "the store's disk is nearly full: messages are refused, deliveries go on"


class Engine:
    """One running site. `start`, then `wait_closed` or `stop`; not to be started twice."""

    def __init__(
        self,
        site: LoadedSite,
        *,
        meter: PrometheusMeter | None = None,
        clock: Clock | None = None,
        kinds: Kinds | None = None,
        reread: Callable[[], LoadedSite] | None = None,
        announce: Callable[[str], None] = to_the_terminal,
        support: Support = None,
    ) -> None:
        """`reread`: the site at a reload, if not its folder as it stands. `announce`: gets the first password."""
        if not site.is_valid or site.site is None:
            raise ConfigurationError(site.findings)
        self._site = site
        self._settings: SiteSettings = site.site
        self._kinds = kinds or load_kinds()
        self._clock = clock or SystemClock()
        self.meter = meter or PrometheusMeter()
        self._reread = reread or (lambda: load_site(site.folder, self._kinds, os.environ))
        self._assembly: Assembly | None = None
        self._reloader: Reloader | None = None
        self._is_to_reload = False
        self._admin: AdminServer | None = None
        self._announce, self._support = announce, support
        self.console: Console | None = None
        self._scanners: Scanners | None = None
        self._hand_offs: HandOffs | None = None
        self._failed: EngineFailed | None = None
        self._ended = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopping = False
        self._shown: frozenset[tuple[ChannelName, DestinationName]] = frozenset()
        self._committer: Committer | None = None

    # -- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything, listeners last. Raises EngineFailed with what is in the way; nothing stays open then."""
        self._tasks = Tasks(self._task_failed)
        self._data = self._site.folder / self._settings.data
        try:
            assembly = self._open_store()
            await assembly.open_channels(self._site.channels)
            report_orphans(self._queries, assembly.channels)
            await self._lookout.look(counts=False)
            assembly.has_room = self._lookout.has_room
            await self._keeping.begin()
            await assembly.open_ports(self._site.channels)
            self.control.listening = assembly.listening
            await self._start_dicom(assembly.committer)
            await self._start_hand_offs(assembly.committer)
            self._reloader = await self._make_reloader(assembly)
            self.control.reloading = self._reloader
            self.console = Console(self.control, self._queries, self._clock, lambda: self._site, self.meter)
            self.console.sending = AuditSending(self._settings, self._site.folder, assembly.committer, self.meter)
            self.console.support = self._support
            self.control.recorded = self.console.recorded
            self.control.console_failure = self.console.why_not
            self._start_admin()
            await self.console.start(self._tasks, self._announce)
        except StoreError as error:
            await self._abandon()
            raise EngineFailed(str(error), STORE_FAILED) from error
        except BaseException:
            await self._abandon()
            raise
        self._tasks.spawn(self._lookout.run(), "look around")
        self._tasks.spawn(self._watch_feeds().run(), "watch feeds", self._feeds_failed)
        self._tasks.spawn(watch_store(self._store, self._store_failed), "watch the store")
        self._tasks.spawn(self._keeping.run(), "forget")
        self._tasks.spawn(self._key_index.run(), "index keys")
        self.control.not_ready = "" if self._lookout.has_room else NO_ROOM
        self.meter.is_ready = lambda: not self.control.not_ready
        show_certificates(self.meter, self._site)
        ports = ", ".join(f"{name} on {place.address}" for name, place in sorted(self.control.listening.items()))
        log.info("started: %s", ports)
        if self._is_to_reload:
            self.reload_soon()  # the files were read before that was asked

    def _open_store(self) -> Assembly:
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            self._store = self._make_store()
            self._store.read_keys_by(self._site.keys.of)
            self._store.open()
        except StoreInUse as error:
            raise EngineFailed(str(error), TRY_AGAIN) from error
        except (StoreTooNew, WrongKey) as error:
            raise EngineFailed(f"E584 {error}" if isinstance(error, WrongKey) else str(error), CONFIGURATION) from error
        except OSError as error:
            sentence = f"the data folder {error.filename or self._data} cannot be made: {in_words(error)}"
            raise EngineFailed(sentence, STORE_FAILED) from error
        self._queries = self._store.queries()
        self._lookout = self._make_lookout()
        committer = self._committer = Committer(self._store, self._clock, self.meter, self._store_failed)
        start_tracing(self._settings, self._site.folder, self._clock, self.meter, committer)
        self._key_index = KeyIndex(self._queries, committer, self._site.keys.of, self._clock)
        assembly = self._assembly = Assembly(
            self._site.folder,
            self._settings,
            self._kinds,
            self._clock,
            self.meter,
            committer,
            self._queries,
            self._tasks,
        )
        self.control = EngineControl(assembly.channels, committer, self._queries, self._clock)
        # Before the first message can come: from here on no jump of the clock goes by unseen.
        self.control.keeping = Retention(*self._to_keep(self._site), committer, self._clock, self.meter)
        self.control.keeping.steps = step_ages(self._settings)
        operator = self.control.operator
        operator.load_pauses(self._store.pauses())
        self._keep_past()
        self.control.leaving = assembly.leaving
        self.control.failed_lanes = assembly.restarts.failed
        assembly.apply_pauses = operator.apply_pauses
        operator.lanes_stay = assembly.lanes_stay
        operator.leaving = assembly.leaving
        self._news = operator.tell = StatusNews(
            assembly.channels, self._clock, self._settings.time_zone, self.meter.dicom.told_status
        )
        committer.on_redirected = offering(assembly.channels, assembly.leaving)
        return assembly

    @property
    def _keeping(self) -> Retention:
        assert self.control.keeping is not None, "it is made with the store"
        return self.control.keeping

    def _make_store(self) -> Store:
        if self._settings.store_kind == "memory":
            from engine.adapters.stores.memory import MemoryStore  # few sites have it, and each start would wait for it

            return MemoryStore(clock=self._clock)
        path = self._site.folder / self._settings.store_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            for other in left_behind(self._site.folder, path):
                log.warning(
                    "the store %s is new and empty, and something waits in %s, where nobody sends it: 'store' of "
                    "segmill.yaml says which is used, and 'data' does not move it",
                    path,
                    other,
                )
        return SqliteStore(path, clock=self._clock, keys=self._settings.store_keys, on_damage=self.meter.damaged)

    def _watch_feeds(self) -> Feeds:
        feeds = watched_feeds(self._queries, self._clock, self.meter, lambda: self._site)
        self.control.feeds_now = feeds.status
        return feeds

    def _feeds_failed(self, error: BaseException) -> None:
        """Messages come and go without it."""
        log.error("whether feeds are silent cannot be told until the next start, by a defect: %s", describe(error))

    def _keep_past(self) -> None:
        limits = worker_limits(self._settings.workers)
        self.control.operator.keep_past(PastChannels(self._queries, self._kinds, limits, self._substituted))

    def _substituted(self, channel: ChannelName) -> Mapping[str, str]:
        """What the `${...}` of a channel stand for now."""
        return next((loaded.substituted for loaded in self._site.channels if loaded.name == channel), {})

    async def _start_dicom(self, committer: Committer) -> None:
        """The port for scanners, if the site has one: pydicom and its kin are loaded only then."""
        self._scanners = Scanners(self._site.folder, self._queries, committer, self._clock, self.meter, self._news)
        self.control.queries_asked = self._scanners.asked
        await self._scanners.start(self._settings.dicom)

    async def _start_hand_offs(self, committer: Committer) -> None:
        """Those who get the steps of a worklist."""
        hand_offs = self._hand_offs = HandOffs(
            self._site.folder, self._queries, committer, self._clock, self.meter, self._tasks
        )
        self.control.hand_offs_now = lambda: hand_offs.status
        await hand_offs.start(self._settings.hand_offs)

    @property
    def dicom_port(self) -> int | None:
        """Where scanners connect; None where they cannot."""
        return self._scanners.port if self._scanners is not None else None

    def _start_admin(self) -> None:
        assert self.console is not None
        admin = self._settings.admin
        self._admin = AdminServer(
            self.meter,
            self.control,
            asyncio.get_running_loop(),
            host=admin.host if admin is not None else "127.0.0.1",
            port=admin.port if admin is not None else None,
            socket_path=self._data / "control.sock",
            socket_routes=access_routes(self.console.access_now, self._queries),
        )
        try:
            self._admin.start()
        except AdminUnavailable as error:
            raise EngineFailed(str(error), UNREACHABLE) from error

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each channel listens."""
        return self._assembly.addresses if self._assembly is not None else {}

    @property
    def _channels(self) -> dict[ChannelName, RunningChannel]:
        return self._assembly.channels if self._assembly is not None else {}

    @property
    def _listeners(self) -> list[Listener | RunningSource]:
        return self._assembly.listeners if self._assembly is not None else []

    @property
    def _receivers(self) -> list[Receiver]:
        return self._assembly.receivers if self._assembly is not None else []

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """Where metrics and probes are, None when they are off."""
        return self._admin.address if self._admin is not None else None

    # -- while it runs --------------------------------------------------------------------------

    def _to_keep(self, loaded: LoadedSite) -> tuple[dict[ChannelName, Ages], int]:
        """How long, for every channel the store knows, also those that the site's files no longer have; how much."""
        assert loaded.site is not None
        site = loaded.site.retention
        kept = {name: ages((site.bodies, site.messages), 0.0) for name, _ in self._queries.counts()}
        for channel in loaded.channels:
            own = channel.file.retention or site
            kept[channel.name] = ages((own.bodies, own.messages), channel.file.duplicates.window)
        return kept, site.size

    async def _make_reloader(self, assembly: Assembly) -> Reloader:
        assert self._scanners is not None and self._hand_offs is not None, "they come first"
        state = await asyncio.to_thread(read_state, self._site)
        return Reloader(assembly, self._scanners, self._hand_offs, state, self._reread, self._take_up)

    def _take_up(self, site: LoadedSite) -> None:
        """What of the site's own settings is not the assembly's, after a reload."""
        assert site.site is not None and self._assembly is not None
        settings = self._settings
        kept = {name: getattr(settings, name) for name in NOT_LIVE}
        self._site, self._settings = site, site.site.model_copy(update=kept)
        self.control.listening = self._assembly.listening
        show_certificates(self.meter, site)
        self._keep_past()
        self._news.time_zone = self._settings.time_zone
        self._store.read_keys_by(site.keys.of)
        self._key_index.change(site.keys.of)
        limits = self._settings.limits
        self._lookout.change(limits.free_disk, limits.low_disk)
        keeping = self.control.keeping
        assert keeping is not None
        was_on = keeping.is_on
        keeping.change(*self._to_keep(site))
        keeping.steps = step_ages(self._settings)
        if not keeping.is_on:
            self.meter.retention_passed_s = None  # there is no next pass that could be late
        if keeping.is_on and not was_on:
            self._tasks.spawn(keeping.run(), "forget")

    def watch(self) -> None:
        """Take up what the files say after each change of them."""
        from engine.watching import watch  # a compiled library that few ask for

        watch(self._site.folder, self.reload_soon, self._tasks)

    def reload_soon(self) -> None:
        """Take up what the files say, behind a start or reload that is under way; what comes of it is in the log."""
        reloader = self._reloader
        if reloader is None:
            self._is_to_reload = True
            return

        async def reload() -> None:
            try:
                await reloader.reload(wait=True)
            except Exception as error:  # noqa: BLE001 - before anything was exchanged: what runs goes on
                log.error("the files could not be taken up, and all runs as before: %s", describe(error))

        self._tasks.spawn(reload(), "reload")

    def _make_lookout(self) -> Lookout:
        is_file = self._settings.store_kind == "sqlite"
        store = self._site.folder / self._settings.store_path
        return Lookout(
            counted(self._queries, self.meter),
            self._show_depths,
            store.parent if is_file else None,
            self._settings.limits.free_disk,
            self._show_room,
            self._settings.limits.low_disk,
            self.meter.disk,
            [store.with_name(store.name + end) for end in ("", "-wal", "-shm")] if is_file else (),
        )

    def _show_depths(self, depths: Sequence[LaneDepth]) -> None:
        assert self._assembly is not None
        channels = {channel.name: channel for channel in self._assembly.everyone}
        self._shown = show_gone(self._shown, self._assembly.everyone, self.meter)
        show_hours(channels, self.meter, self._clock)
        show_depths(depths, channels, self.meter)

    def _show_room(self, has_room: bool) -> None:
        assert self._assembly is not None
        self._assembly.has_room = has_room
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
        self._fail(EngineFailed(f"the store failed: {kind}", STORE_FAILED))

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A task of ours died: a defect. Ending is safe at any time, and going on without it is not."""
        log.critical("task '%s' failed: %s; the engine ends", name, describe(error))
        self._fail(EngineFailed(f"task '{name}' failed: {describe(error)}", DEFECT))

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
        log.info("stopping: what is in hand has %g s", allowed)

        def left() -> float:
            return max(0.05, deadline - self._clock.monotonic())

        if self._reloader is not None:
            await within(self._reloader.ended(), left() / 2, "the reload under way")
        if self._scanners is not None:
            await self._scanners.stop()
        if self._committer is not None and not self._committer.dead and self._assembly is not None:
            self._assembly.restarts.end()
            everyone = self._assembly.everyone
            for channel in everyone:
                channel.backlog.drain()  # what waits there is in the store, and answered
            await asyncio.gather(*(listener.stop(left() / 2) for listener in self._listeners))
            for channel in everyone:
                channel.line.drain()
            for lane in list(self._assembly.lane_tasks):
                lane.drain()
            ends = [
                *self._assembly.lane_tasks.values(),
                *(task for tasks in self._assembly.line_tasks.values() for task in tasks),
            ]
            if ends:
                # A part is kept back: what is cut off then is still to be recorded.
                _, late = await asyncio.wait(ends, timeout=max(0.05, left() - allowed / 5))
                if late:
                    names = ", ".join(sorted(task.get_name() for task in late))
                    log.warning(
                        "stop: cut off after %g s: %s; what may have been sent is marked, and goes again",
                        allowed,
                        names,
                    )
        await self._abandon(left())
        log.info("stopped")
        self._ended.set()
        self._stopped.set()

    async def _abandon(self, record_s: float = 1.0) -> None:
        """Let go of everything, whatever state it is in; what was learned is recorded, if that takes no longer."""
        if self.console is not None:
            await self.console.stop()
        if self._admin is not None:
            await asyncio.to_thread(self._admin.stop)
        if self._scanners is not None:
            await self._scanners.stop()
        for listener in self._listeners:
            listener.abort_all()
        await self._tasks.cancel_all()
        everyone = self._assembly.everyone if self._assembly is not None else ()
        for channel in everyone:
            for answers in channel.all_answers:
                answers.close()
        await asyncio.gather(*(c.isolated.close() for c in everyone if c.isolated is not None))
        if self._committer is not None:
            committer, self._committer = self._committer, None
            is_all_recorded = await self._recorded(committer, record_s)
            has_failed = committer.dead
            if self.console is not None:
                await self.console.close()
            await asyncio.to_thread(committer.close)
            self._queries.close()
            if not has_failed:
                # What a lane that died had in hand may have been sent: the next start marks it so.
                lanes_failed = self._assembly is not None and bool(self._assembly.restarts.failed)
                self._close_store(clean=is_all_recorded and not lanes_failed)

    def _close_store(self, *, clean: bool) -> None:
        try:
            self._store.close(clean=clean)
        except StoreError as error:
            # Nothing is lost by it: the run counts as one that crashed, and what may have been sent is marked.
            sentence = f"the end of the run could not be recorded, and counts as a crash at the next start: {error}"
            log.error("%s", sentence)
            self._failed = self._failed or EngineFailed(sentence, STORE_FAILED)

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


async def run_site(folder: Path, *, data: Path | None = None, watch: bool = False, support: Support = None) -> int:
    """Run a site until SIGTERM or SIGINT, or until it fails; the process's exit code.

    SIGHUP takes up what the files say, and `watch` does so after each change of them.

    A second signal ends the process at once, which is safe at any time: what was acknowledged is stored.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def read() -> LoadedSite:
        found = load(folder)
        return moved(found, data) if data is not None and found.site is not None else found

    site = read()
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def on_signal() -> None:
        asked.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # by the system then: also where the loop waits for a disk that hangs

    # Before the start: whoever reads "started" may ask for the stop at once, and gets an orderly one.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        engine = Engine(site, reread=read, support=support)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, engine.reload_soon)
        await engine.start()
    except EngineFailed as failure:
        log.error("%s", failure.sentence)
        return failure.exit_code
    supervisor = Supervisor()
    supervisor.started("messages are taken in")
    alive = loop.create_task(supervisor.keep_alive(), name="tell the service manager")
    tune_collector()
    keep_large_blocks_apart()
    if watch:
        engine.watch()
    waits = [loop.create_task(engine.wait_closed()), loop.create_task(asked.wait())]  # both end below
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        supervisor.stopping()
        await engine.stop()
        await engine.wait_closed()
    except EngineFailed as failure:
        return failure.exit_code
    finally:
        for wait in (*waits, alive):
            wait.cancel()
        await asyncio.gather(*waits, alive, return_exceptions=True)
    return GOOD


def moved(site: LoadedSite, data: Path) -> LoadedSite:
    """The same site with its data folder and store elsewhere."""
    assert site.site is not None
    data = data.resolve()
    settings = site.site.model_copy(update={"data": data, "store": f"sqlite:{data / 'segmill.db'}"})
    return replace(site, site=settings)
