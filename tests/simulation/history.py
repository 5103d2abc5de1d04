"""One history: a site, its peers, a disk and a series of engines, all drawn from one number.

The parameters are drawn first, and each history leaves most faults out altogether (swarm testing): what never happens
in one history makes room for what is rare elsewhere. Then messages come in while things go wrong; then all is well
again, and everything that was promised must come about by itself.
"""

import asyncio
import gc
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from engine.adapters.sinks.mllp import MllpSink
from engine.app import EngineFailed
from engine.config.kinds import Kinds
from engine.config.site import LoadedSite
from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.control import By, Order, OrderRefused
from engine.ports.operations import ACT_FROM, INTAKE
from engine.ports.store import StoreError
from tests.simulation.disk import Disk, SqliteDisk
from tests.simulation.engines import SimulatedEngine, set_memory
from tests.simulation.focus import Focus, on_folders, on_fragments
from tests.simulation.folders import Folder, Writer
from tests.simulation.hours import DAY_US
from tests.simulation.loop import OWNER, START_US, Clock, Loop, Process, Stuck
from tests.simulation.model import Model
from tests.simulation.network import Network
from tests.simulation.peers import (
    GOOD,
    AnsweringTap,
    GroupSink,
    Receiver,
    Sender,
    Tap,
    in_fragments,
    make_item,
    some_of,
)
from tests.simulation.records import Item
from tests.simulation.sites import BAD, FULL, SITES, Site, Target, kinds, names, site
from tests.simulation.swarm import draw_blocks, draw_swarm, draw_unamended

MOST_STEPS = 1_000_000
TROUBLE_US = 6_000_000
"""How long things go wrong, at most, before all is well."""
JUMPS_US = {"small": 3_600_000_000, "big": 400 * 86_400_000_000}
COMPANY_US = 100_000
"""How long before and after a reload people move deliveries, where they do so at about the same time."""
MOVES = ("release", "hold", "skip", "redirect")
IN_FRAGMENTS = 0.06
"""Of all histories: in these, people and clocks leave alone what is not one message yet."""
FROM_FOLDERS = 0.05
"""Of all histories: in these, messages come in files."""
REST_US = 60_000_000
"""How long it may take from then until nothing waits any more."""
EACH_US, EACH_CLOSED_US = 200_000, DAY_US // 2
"""So much more for each message, and where destinations are closed at times: one with a rate takes 20 in a second, and
two in a day at least. Messages are stored a hundred times where none is a duplicate and senders ask on and on."""


@dataclass(slots=True)
class Outcome:
    """What came of a history."""

    seed: int
    breaches: list[str]
    counts: Counter[str]
    steps: int
    virtual_s: float
    trace: list[str] = field(default_factory=list)


Draw = Callable[[Random, list[str], Model, Sequence[str]], Order]


def draw_order(rng: Random, actions: list[str], model: Model, targets: Sequence[str]) -> Order:
    """What a person asks for, wisely or not."""
    action: Any = rng.choice(actions)
    key = By(key=f"key {rng.randrange(4)}") if rng.random() < 0.2 else By()
    rows = list(model.by_seq.values())
    if action in ("release", "resend", "reprocess", "discard") and (
        (rows and rng.random() < 0.8) or action == "resend"
    ):
        if action == "release" and rng.random() < 0.7:
            aside = {owed.seq for owed in model.owed.values() if owed.state in ACT_FROM["release"]}
            rows = [row for row in rows if row.seq in aside] or rows
        seqs = [MessageSeq(row.seq) for row in rng.sample(rows, min(len(rows), rng.choice((1, 1, 3, 10))))]
        to = None
        if action == "resend" and rng.random() < 0.5:
            to = [DestinationName(rng.choice(targets))]
        return Order(action, key, messages=seqs, destinations=to)
    if action in ("pause", "resume", "reprocess", "discard"):
        action = action if action in ("pause", "resume") else "retry"
        names = [INTAKE] if action != "retry" and rng.random() < 0.2 else [DestinationName(rng.choice(targets))]
        return Order(action, key, lanes=[(ChannelName("adt"), name) for name in names])
    known = [owed for owed in model.owed.values() if owed.state in ACT_FROM[action]]
    picked = sorted(rng.sample(known, min(len(known), rng.choice((1, 2, 8)))), key=lambda owed: owed.id)
    redirected = DestinationName(rng.choice(targets)) if action == "redirect" else None
    return Order(action, key, deliveries=[(owed.id, owed.state) for owed in picked], to=redirected)


def draw_move(rng: Random, actions: list[str], model: Model, targets: Sequence[str]) -> Order:
    """What changes what a lane has to send; anything else where nothing can be moved."""
    by_action = {action: [owed for owed in model.owed.values() if owed.state in ACT_FROM[action]] for action in MOVES}
    action: Any = rng.choice([action for action in MOVES if by_action[action]] or [""])
    if not action:
        return draw_order(rng, actions, model, targets)
    known = by_action[action]
    # The first of those that wait is the next to leave.
    picked = known[: rng.choice((1, 3))] if rng.random() < 0.5 else rng.sample(known, min(len(known), 3))
    to = DestinationName(rng.choice(targets)) if action == "redirect" else None
    moved = sorted(((owed.id, owed.state) for owed in picked), key=lambda one: one[0])
    return Order(action, By(), deliveries=moved, to=to)


class History:
    """Runs one, and says what it came to."""

    def __init__(
        self, seed: int, *, trace: bool = False, sqlite: Path | None = None, focus: Focus | None = None
    ) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.swarm = draw_swarm(self.rng)
        draw_blocks(self.swarm, seed)
        draw_unamended(self.swarm, seed)
        if focus is not None:
            focus(self.swarm, seed)
        elif Random(f"fragments {seed}").random() < IN_FRAGMENTS:
            on_fragments(self.swarm, seed)
        elif Random(f"folders {seed}").random() < FROM_FOLDERS:
            on_folders(self.swarm, seed)
        swarm = self.swarm
        self.site: Site = site(swarm.site)
        self.editions = [self.site]
        if swarm.reloads:
            self.editions += [site(swarm.site, edition) for edition in (*swarm.editions, FULL, BAD)]
        self.on_disk = self.site
        """What the files say now; a run of the engine that starts begins with it."""
        has_hours = any(target.opens for edition in self.editions for target in edition.targets.values())
        self.each_us = EACH_CLOSED_US if has_hours else EACH_US
        self.targets = list(dict.fromkeys(name for edition in self.editions for name in edition.targets))
        self.loop = Loop(Random(self.rng.random()), most_tick_us=swarm.most_tick_us, trace=[] if trace else None)
        self.clock = Clock(self.loop, Random(self.rng.random()))
        self.model = Model(self.site, self.loop)
        self.model.wall_ahead_us = self.model.first_ahead_us = self.clock.wall_ahead_us
        self.model.prunes = swarm.prunes
        self.model.may_find_no_room = swarm.faults.full > 0 or swarm.faults.busy > 0
        self.model.jumps = swarm.jumps
        self.model.may_not_amend = self.model.may_find_no_room or swarm.faults.unamended > 0
        self.model.known = {tuple(sorted(e.files.items())): e for e in self.editions if e.is_valid}
        self.network = Network(self.loop, Random(self.rng.random()), swarm.weather)
        disk_rng = Random(self.rng.random())
        if sqlite is None:
            self.disk = Disk(self.loop, disk_rng, self.clock, swarm.faults, self.model)
        else:
            self.disk = SqliteDisk(sqlite, self.loop, disk_rng, self.clock, swarm.faults, self.model)
        self.loop.disk, self.loop.model = self.disk, self.model  # type: ignore[attr-defined]
        self.folder = self.loop.folder = Folder(self.model)  # type: ignore[attr-defined]
        self.loop.on_killed = self._killed
        self.engine: SimulatedEngine | None = None
        self.process: Process | None = None
        self.stop_asked = asyncio.Event()
        self.is_well = False
        self.is_over = False
        self.runs = 0
        self._groups: dict[tuple[str, int, float], GroupSink] = {}
        self._lanes = self._opened = 0
        self._opening: object = None
        self._jumped_us = 0
        self._kinds = self._own_kinds()
        self._receivers = self._make_receivers()
        self._senders = self._make_senders()

    # -- the parts ------------------------------------------------------------------------------

    def _own_kinds(self) -> Kinds:
        known = kinds()
        model = self.model

        def number_of(settings: Any, name: str) -> tuple[Target, int]:
            """The sinks of a lane are opened one after the other, and by the same settings."""
            edition = next(
                edition
                for edition in self.editions
                if edition.is_valid
                and edition.loaded.channels[0].file.destinations.get(name) is not None
                and edition.loaded.channels[0].file.destinations[name].options is settings
            )
            target = edition.targets[name]
            if self._opened >= max(1, target.lanes) or self._opening is not settings:
                self._opened, self._opening = 0, settings
                self._lanes += 1
            self._opened += 1
            return target, self._lanes

        def open_mllp(settings: Any, *, folder: Path, lane: str, clock: Any) -> Tap:
            sink = MllpSink.open(settings, folder=folder, lane=lane, clock=clock)
            return AnsweringTap(*number_of(settings, lane.partition("/")[2]), sink, model)

        def open_group(settings: Any, *, folder: Path, lane: str, clock: Any) -> Tap:
            name = lane.partition("/")[2]
            target, number = number_of(settings, name)
            group = self._groups.get((name, settings.at_once, settings.linger))
            if group is None:
                rng = Random(f"{self.seed} {name}")
                group = GroupSink(name, settings.at_once, settings.linger, self.loop, model, rng)
                group.mood = GOOD if self.is_well else self.swarm.moods[name][1]
                self._groups[name, settings.at_once, settings.linger] = group
            return Tap(target, number, group, model)

        own = {"mllp": SimpleNamespace(open=open_mllp), "group": SimpleNamespace(open=open_group)}
        return Kinds(steps=known.steps, sinks={**known.sinks, **own}, sources=known.sources)  # type: ignore[dict-item]

    def _make_receivers(self) -> list[Receiver]:
        made = []
        for name, ports in names(self.site.number).items():
            for port in sorted(ports):
                rng = Random(self.rng.random())
                receiver = Receiver(name, port, self.loop, self.network, self.model, rng)
                receiver.mood = self.swarm.moods[name][0]
                made.append(receiver)
        return made

    def _make_senders(self) -> list[Sender | Writer]:
        made: list[Sender | Writer] = []
        for at, habits in enumerate(self.swarm.habits):
            rng = Random(self.rng.random())
            name = f"S{at + 1}"
            items: list[Item] = []
            fragments = Random(f"fragments {self.seed} {at}")
            for number in range(max(1, self.swarm.messages // self.swarm.senders)):
                reused = items and rng.random() < 0.05 and not self.swarm.fragments
                control_id = rng.choice(items).control_id if reused else f"{name}-{number + 1}"
                item = make_item(name, control_id, rng, number)
                item.gives_up = rng.random() < 0.3
                sent = [item]
                if self.swarm.fragments and item.kind == "good" and fragments.random() < self.swarm.fragments:
                    sent = in_fragments(item, fragments)
                items += sent
                partial = some_of(item)
                for one in (item, *item.parts, *partial):
                    self.model.items[one.payload] = one
            if self.site.number >= SITES:
                made.append(Writer(name, self.loop, self.folder, self.model, rng, items, habits.pause_us))
            else:
                made.append(Sender(name, self.loop, self.network, self.model, rng, items, habits))
        return made

    # -- the engine's process -------------------------------------------------------------------

    def _start_engine(self) -> None:
        self.runs += 1
        process = self.process = Process(f"engine {self.runs}")
        if self.swarm.crashes and not self.is_well:
            process.left = self.swarm.crashes.pop()
        self.stop_asked = asyncio.Event()
        if not self.on_disk.is_valid:
            self._write(self.editions[0].edition)
        self.loop.note("-- %s starts with edition %d", process.name, self.on_disk.edition)
        self.loop.spawn(process, self._main(process, self.on_disk), process.name)

    async def _main(self, process: Process, files: Site) -> None:
        """What `segmill run` does."""
        self.engine = engine = SimulatedEngine(
            files, self.disk, self.clock, self._kinds, self._read_files, prunes=self.swarm.prunes
        )
        self.model.editions.started(files)
        try:
            await engine.start()
            ended = self.loop.create_task(engine.wait_closed(), name="wait closed")
            asked = self.loop.create_task(self.stop_asked.wait(), name="stop asked")
            await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            await engine.stop()
            await engine.wait_closed()
            self.loop.note("-- %s has stopped", process.name)
        except EngineFailed as failure:
            self.loop.note("-- %s failed: %s", process.name, failure.sentence)
            if failure.exit_code not in (74,) and not process.is_dead:
                self.model.breach(f"the engine failed: {failure.sentence}")
        except Exception as error:
            if process.is_dead:
                raise  # it is being buried
            self.model.breach(f"the engine raised {type(error).__name__}: {error}")
        self.loop.at(self.loop.now_us, self.loop.world, self.loop.kill, process)

    def _killed(self, process: Process) -> None:
        if process is not self.process:
            return
        self.engine = self.process = None
        self.model.counts["killed"] += process.was_killed
        self.network.killed(process)
        self.disk.died()
        self.folder.killed()
        self.model.run_ended()
        if not self.is_over:
            delay_us = 1000 + self.loop.draw_us(400_000)
            self.loop.at(self.loop.now_us + delay_us, self.loop.world, self._start_engine)

    # -- what goes wrong ------------------------------------------------------------------------

    def _plan(self) -> None:
        rng, loop, swarm = self.rng, self.loop, self.swarm

        def some_time() -> int:
            return START_US + int(rng.random() ** 2 * TROUBLE_US)

        for _ in range(swarm.stops):
            loop.at(some_time(), loop.world, self._stop_engine)
        company = Random(f"company {self.seed}")
        has_company = company.random() < 0.3
        for _ in range(swarm.reloads):
            at_us = some_time()
            loop.at(at_us, loop.world, self._reload)
            for _ in range(company.choice((1, 2, 4)) if has_company else 0):
                asked_us = at_us + int((company.random() - 0.6) * COMPANY_US)
                loop.at(max(START_US, asked_us), loop.world, self._control, draw_move)
        if swarm.jumps:
            for _ in range(rng.choice((1, 2, 5))):
                loop.at(some_time(), loop.world, self._jump)
        for _ in range(swarm.controls):
            loop.at(some_time(), loop.world, self._control)
        if self._receivers:
            for _ in range(swarm.downs):
                receiver = rng.choice(self._receivers)
                at_us = some_time()
                loop.at(at_us, loop.world, self._down, receiver, rng.choice(("refusing", "silent", "cut")))
                loop.at(at_us + int(rng.random() * 2_000_000), loop.world, self._up, receiver)
        for sender in self._senders:
            loop.at(START_US + int(rng.random() * 200_000), sender.process, sender.start)

    def _stop_engine(self) -> None:
        if self.process is not None:
            self.loop.note("-- SIGTERM")
            self.model.is_ending = True
            self.loop.at(self.loop.now_us, self.process, self.stop_asked.set)

    # -- other files ----------------------------------------------------------------------------

    def _read_files(self) -> LoadedSite:
        """The site as a reload finds it."""
        self.model.editions.read(self.on_disk)
        return self.on_disk.loaded

    def _reload(self) -> None:
        """A person writes other files, and asks for them to be taken up."""
        rng = self.rng
        if self.is_well:
            return
        self._write(BAD if rng.random() < 0.1 else rng.choice((0, *self.swarm.editions)))
        if self.process is not None and rng.random() < self.swarm.killed_in_reload:
            self.process.left = int(rng.random() ** 2 * 250)
        self._take_up(by_signal=rng.random() < 0.3)

    def _write(self, edition: int) -> None:
        self.on_disk = next(one for one in self.editions if one.edition == edition)
        self.loop.note("-- the files are edition %d", edition)

    def _take_up(self, *, by_signal: bool = False) -> None:
        engine, process = self.engine, self.process
        if engine is None or process is None:
            return
        if by_signal:
            self.loop.at(self.loop.now_us, process, engine.reload_soon)
        elif engine._reloader is not None:
            self.loop.spawn(process, self._ask(engine), "reload")

    async def _ask(self, engine: SimulatedEngine) -> None:
        process = OWNER.get()
        try:
            report = await engine.control.reload()
            self.loop.note("-- asked to reload: %s, still going on: %s", report.outcome, report.pending or "nothing")
        except StoreError as error:
            self.loop.note("-- not reloaded: %s", error)
        except Exception as error:
            if not process.is_dead:
                self.model.breach(f"a reload raised {type(error).__name__}: {error}")

    def _jump(self) -> None:
        """Somebody, or something, sets the wall clock."""
        most_us = JUMPS_US[self.swarm.jumps]
        by_us = self.rng.choice((-1, 1)) * int(most_us * self.rng.choice((0.001, 0.1, 1)))
        if self.swarm.jumps == "big":
            by_us = -self._jumped_us if self._jumped_us and self.rng.random() < 0.5 else most_us * (by_us // abs(by_us))
        self._jumped_us += by_us
        self.clock.wall_ahead_us += by_us
        self.model.wall_ahead_us = self.clock.wall_ahead_us
        self.model.jumped_us = self.loop.now_us
        self.model.first_jump_us = self.model.first_jump_us or self.loop.now_us
        self.loop.note("-- the clock jumps by %g s", by_us / 1e6)

    # -- people ---------------------------------------------------------------------------------

    def _down(self, receiver: Receiver, how: str) -> None:
        self.loop.note("receiver %s: %s", receiver.name, how)
        if how != "cut" and not self.is_well:
            receiver.port.mood = how
        receiver.process.context.copy().run(receiver.hang_up)

    def _up(self, receiver: Receiver) -> None:
        receiver.port.mood = "open"

    def _control(self, draw: Draw = draw_order) -> None:
        """A person does something to messages, wisely or not."""
        engine, process, rows = self.engine, self.process, list(self.model.by_seq.values())
        if engine is None or process is None or not rows or not hasattr(engine, "control"):
            return
        rng = self.rng
        order = draw(rng, self.swarm.actions, self.model, self.targets)
        self.loop.note("-- a person: %s", order)
        self.loop.spawn(process, self._act(engine, order), "person")

    async def _act(self, engine: SimulatedEngine, order: Order) -> None:
        process = OWNER.get()
        if not engine._channels or engine._committer is None:
            return
        try:
            await engine.control.operate(order)
        except OrderRefused as refused:
            self.loop.note("-- refused: %s", refused.sentence)
        except StoreError as error:
            self.loop.note("-- not done: %s", error)
        except Exception as error:
            if not process.is_dead:
                self.model.breach(f"{order.action} raised {type(error).__name__}: {error}")

    # -- and is well again ----------------------------------------------------------------------

    def _heal(self) -> None:
        """Nothing goes wrong any more."""
        self.loop.note("-- all is well from now on")
        self.is_well = True
        faults = self.swarm.faults
        faults.stall = faults.full = faults.busy = faults.unknown = faults.killed = faults.unamended = 0.0
        self.swarm.weather.cuts = 0.0
        for receiver in self._receivers:
            receiver.mood = GOOD
            receiver.port.mood = "open"
        for group in self._groups.values():
            group.mood = GOOD
        for sender in self._senders:
            sender.is_calm = True
        if not self.on_disk.is_valid:
            self._write(0)
        if self.process is not None:
            self.process.left = -1

    def _let_go_on(self) -> None:
        """A person lets go on what stands still for a person."""
        engine, process = self.engine, self.process
        if engine is None or process is None:
            return
        for channel in engine._channels.values():
            for lane in (*channel.lanes.values(), *channel.leaving.values()):
                if lane.state == "stopped" and lane.head is not None:
                    self.loop.spawn(process, self._act(engine, Order("release", messages=[lane.head])), "person")
        if paused := [(pause.channel, pause.destination) for pause in engine.control.operator.pauses]:
            self.loop.spawn(process, self._act(engine, Order("resume", lanes=paused)), "person")

    async def _direct(self) -> None:
        """From the beginning to the end."""
        model = self.model
        deadline_us = START_US + TROUBLE_US + self.site.window_us * 2
        while self.loop.now_us < deadline_us and not (all(s.is_done for s in self._senders) and not model.waits()):
            await asyncio.sleep(0.1)
        self._heal()
        since_us = self.loop.now_us
        while self.engine is None or not all(s.is_done for s in self._senders) or model.waits():
            if self._is_late(since_us):
                model.breach(f"all is well, and these still wait: {', '.join(model.waits()[:5])}")
                break
            self._let_go_on()
            await asyncio.sleep(0.1)
        await self._bring_all_back()
        self.is_over = True
        if self.process is not None:
            self._stop_engine()
            while self.process is not None:
                await asyncio.sleep(0.05)

    def _is_late(self, since_us: int) -> bool:
        """Whether nothing should wait any more."""
        return self.loop.now_us - since_us > REST_US + self.each_us * len(self.model.by_seq)

    async def _bring_all_back(self) -> None:
        """What waits for a destination that the files no longer have goes on when they have it again."""
        model = self.model
        if not model.orphans() or not model.is_whole:
            return
        self._write(FULL)
        since_us = self.loop.now_us
        while self.engine is None or model.orphans() or model.waits():
            if self._is_late(since_us):
                waits = ", ".join(model.waits()[:5])
                model.breach(f"every destination is back, and {model.orphans()} wait for one, beside: {waits}")
                break
            if model.editions.now.edition != FULL:
                self._take_up()
            self._let_go_on()
            await asyncio.sleep(0.5)

    def run(self) -> Outcome:
        try:
            return self._run()
        finally:
            self.disk.remove()
            self.folder.remove()

    def _run(self) -> Outcome:
        loop, model = self.loop, self.model
        set_memory(self.swarm.in_memory)
        loop.at(START_US, loop.world, self._start_engine)
        self._plan()
        director = loop.world.context.copy().run(lambda: loop.create_task(self._direct(), name="director"))
        try:
            loop.run_while(lambda: not director.done() and not model.breaches and not loop.defects, MOST_STEPS)
            if director.done() and (error := director.exception()) is not None:
                raise error
        except Stuck as stuck:
            model.breach(f"{stuck}; these wait: {', '.join(model.waits()[:5])}")
        for defect in loop.defects:
            model.breach(defect)
        if model.is_whole:
            self._compare()
        for process in (
            self.process,
            loop.world,
            *(s.process for s in self._senders),
            *(r.process for r in self._receivers),
        ):
            if process is not None:
                process.is_dead = True
                loop.bury(process)
        if model.is_whole and (left := self.folder.waits()):
            model.breach(f"all is over, and {left[0]} is not put away")
        model.counts["runs"] = self.runs
        model.counts["reloads"] = model.editions.reloads
        return Outcome(
            self.seed, model.breaches, model.counts, loop.steps, (loop.now_us - START_US) / 1e6, loop.trace or []
        )

    def _compare(self) -> None:
        """What the model believes, and what the store holds."""
        store = self.disk.store()
        store.open()
        queries = store.queries()

        def stored(seq: int) -> Any:
            message = queries.message(MessageSeq(seq))
            if message is None:
                return None
            return message.state, [(d.id, d.state) for d in queries.deliveries(MessageSeq(seq))]

        self.model.finish(stored)
        queries.close()
        store.close()


def run(seed: int, *, trace: bool = False, sqlite: bool = False, focus: Focus | None = None) -> Outcome:
    """One history. Within `simulated()`.

    What it leaves behind is collected after it: a collection in its midst would come at a moment of its own.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return _run(seed, trace=trace, sqlite=sqlite, focus=focus)
    finally:
        if was_on:
            gc.enable()


def _run(seed: int, *, trace: bool, sqlite: bool, focus: Focus | None) -> Outcome:
    if not sqlite:
        return History(seed, trace=trace, focus=focus).run()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="segmill-simulation-", dir=place) as folder:
        return History(seed, trace=trace, sqlite=Path(folder), focus=focus).run()
