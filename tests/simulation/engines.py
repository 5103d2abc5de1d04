"""The engine on a simulated disk and network: its few doors to the machine lead into the simulation.

Of its own parts only the admin port is left out. Taps tell the model what goes through them, and change nothing.
"""

import asyncio
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import engine.adapters.sources.file
import engine.app
import engine.assembly
import engine.reloading
import engine.runtime.backlog
import engine.runtime.batch
import engine.runtime.committer
import engine.runtime.keyed_window
import engine.runtime.lookout
import engine.runtime.pace
import engine.runtime.queue_window
import engine.runtime.retention
import engine.wiring
from engine.app import Engine
from engine.config.changes import read_state
from engine.config.kinds import Kinds
from engine.config.site import LoadedSite
from engine.model.ids import ChannelName
from engine.pipeline.compile import compile_channel
from engine.pipeline.registry import load_steps
from engine.ports.clock import Clock
from engine.ports.reload import ReloadReport
from engine.ports.store import Store
from engine.reloading import Reloader
from engine.runtime.committer import Committer
from engine.runtime.intake import Receiver
from engine.runtime.lane import Lane
from engine.runtime.listener import Listener
from engine.runtime.retention import Ages, ages
from tests.runtime.parts import CountingMeter
from tests.simulation.disk import Disk, Executor
from tests.simulation.folders import AtOnce, SimulatedInbox
from tests.simulation.hours import QuickTimetable
from tests.simulation.loop import OWNER
from tests.simulation.model import Model
from tests.simulation.sites import Site

LOOKED_UP_WITHIN_S = 5.0
"""An engine's hour, where its window of a week is a second."""
KEYED_BOUNDS = ("MOST_PARKED", "MOST_PARKED_UNRECORDED", "PER_KEY", "PAGE", "ENOUGH_READY")

_compiled: dict[int, Any] = {}
_states: dict[int, Any] = {}


class SimulatedEngine(Engine):
    """One run of the engine. `reread`: the site as a reload finds it."""

    def __init__(
        self,
        site: Site,
        disk: Disk,
        clock: Clock,
        known: Kinds,
        reread: Callable[[], LoadedSite],
        *,
        prunes: bool,
    ) -> None:
        super().__init__(
            site.loaded,
            meter=CountingMeter(),  # type: ignore[arg-type]
            clock=clock,
            kinds=known,
            reread=reread,
        )
        self._disk = disk
        self._window_s = site.window_us / 1e6
        self._prunes = prunes

    def _make_store(self) -> Store:
        return self._disk.store()  # type: ignore[return-value]

    def _start_admin(self) -> None:
        """Nobody asks."""

    def _to_keep(self, loaded: LoadedSite) -> tuple[dict[ChannelName, Ages], int]:
        """Seconds, where a site says hours."""
        return ({ChannelName("adt"): ages((1.0, 1.5), self._window_s, LOOKED_UP_WITHIN_S)} if self._prunes else {}), 0


def set_memory(most: int) -> None:
    """How much is kept in memory: little, so that short histories come to its ends as well. Within `simulated()`."""
    for module in (engine.runtime.queue_window, engine.runtime.keyed_window, engine.runtime.backlog):
        module.MOST_IN_MEMORY = most  # type: ignore[attr-defined]
    for module in (engine.runtime.queue_window, engine.runtime.backlog):
        module.LOAD_LIMIT = max(2, most // 2)  # type: ignore[attr-defined]
    for name in KEYED_BOUNDS:
        setattr(engine.runtime.keyed_window, name, max(2, most // 3))


def _model() -> Model:
    """Of the history that runs now."""
    return asyncio.get_running_loop().model  # type: ignore[attr-defined, no-any-return]


async def _bind(self: Listener) -> list[Any]:
    network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
    return [network.bind(OWNER.get(), self.settings.host, self.settings.port)]


def _executor(*args: Any, **options: Any) -> Executor:
    return Executor(asyncio.get_running_loop().disk)  # type: ignore[attr-defined]


def _compile(loaded: Any, steps: Any) -> Any:
    """Once for each of the sites, which stay."""
    found = _compiled.get(id(loaded))
    if found is None:
        found = _compiled[id(loaded)] = compile_channel(loaded, steps)
    return found


def _read_state(loaded: LoadedSite) -> Any:
    found = _states.get(id(loaded))
    if found is None:
        found = _states[id(loaded)] = read_state(loaded)
    return found


def _taps() -> Iterator[Any]:
    """Each tells the model, and goes on."""
    record, reread, pause, resume = Committer.record, Lane.reread, Lane.pause, Lane.resume
    take_block, take_one, committed = Receiver._take_block, Receiver.take_one, Receiver.committed
    reload = Reloader._reload

    def recording(self: Committer, result: Any, recorded: Any, *, urgent: bool) -> None:
        _model().recording(result)
        record(self, result, recorded, urgent=urgent)

    def rereading(self: Lane, **options: Any) -> None:
        _model().told(str(self.settings.destination), is_over=self._draining)
        reread(self, **options)

    def pausing(self: Lane) -> None:
        _model().lanes[str(self.settings.destination)].is_paused = True
        pause(self)

    def resuming(self: Lane) -> None:
        _model().lanes[str(self.settings.destination)].is_paused = False
        resume(self)

    def taking_block(self: Receiver, payload: bytes, reply: Any, now_us: int, seen: Any = None) -> None:
        _model().take_block(reply.peer, now_us)
        take_block(self, payload, reply, now_us, seen)

    def taking(self: Receiver, raw: bytes, reply: Any, now_us: int, *args: Any) -> None:
        _model().take(reply.peer, raw, now_us)
        take_one(self, raw, reply, now_us, *args)

    def hearing(self: Receiver, waiting: Any, seq: Any, deliveries: Any) -> None:
        _model().learned(seq)
        committed(self, waiting, seq, deliveries)

    async def reloading(self: Reloader, done: Any) -> ReloadReport:
        editions = _model().editions
        try:
            report = await reload(self, done)
        except BaseException:
            editions.given_up()
            raise
        editions.is_stopping = self.is_stopping
        _model().reloaded(report)
        return report

    yield patch.object(Reloader, "_reload", reloading)
    yield patch.object(Committer, "record", recording)
    yield patch.object(Lane, "reread", rereading)
    yield patch.object(Lane, "pause", pausing)
    yield patch.object(Lane, "resume", resuming)
    yield patch.object(Receiver, "_take_block", taking_block)
    yield patch.object(Receiver, "take_one", taking)
    yield patch.object(Receiver, "committed", hearing)


def _doors() -> Iterator[Any]:
    steady = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    yield patch.object(Listener, "_bind", _bind)
    yield patch.object(engine.runtime.committer, "ThreadPoolExecutor", _executor)
    yield patch.object(engine.runtime.pace, "LOOK_BACK", 4)
    yield patch.object(engine.assembly, "compile_channel", _compile)
    yield patch.object(engine.assembly, "load_steps", cache(load_steps))
    yield patch.object(engine.app, "read_state", _read_state)
    yield patch.object(engine.reloading, "read_state", _read_state)
    yield patch.object(engine.runtime.lookout, "time", steady)
    yield patch.multiple(engine.runtime.queue_window, MOST_IN_MEMORY=1000, LOAD_LIMIT=256)
    yield patch.multiple(engine.runtime.keyed_window, MOST_IN_MEMORY=1000, **dict.fromkeys(KEYED_BOUNDS, 256))
    yield patch.multiple(engine.runtime.backlog, MOST_IN_MEMORY=1000, LOAD_LIMIT=16)
    yield patch.object(engine.runtime.batch, "MOST_UNSETTLED", 2)
    yield patch.object(engine.adapters.sources.file, "Inbox", SimulatedInbox)
    yield patch.object(engine.adapters.sources.file, "ThreadPoolExecutor", AtOnce)
    yield patch.object(engine.wiring, "Timetable", QuickTimetable)
    yield patch.multiple(engine.runtime.retention, FIRST_PASS_S=0.5, PASS_EVERY_S=1.0)


@contextmanager
def simulated() -> Iterator[None]:
    """Histories may run."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with ExitStack() as stack, warnings.catch_warnings():
            # What a killed engine had only just called is never awaited: that is what being killed means.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            for door in (*_doors(), *_taps()):
                stack.enter_context(door)
            yield
    finally:
        logging.disable(before)
