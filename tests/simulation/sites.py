"""The sites of the histories: a fixed number of them, each drawn from its number, read from files as any other.

A site comes in several editions, for reloads: the first one, others that differ from it in a few things each, one that
has every destination of all of them (`FULL`), and one that cannot be taken up (`BAD`).
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from engine.adapters.sinks.mllp import MllpSink, MllpSinkSettings
from engine.config.base import ConfigModel
from engine.config.kinds import Kinds
from engine.config.site import LoadedSite, load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site
from tests.simulation.hours import RANGES

SITES = 96
FOLDERS = 24
"""So many more sites have their messages from a folder; no history comes to them by itself."""
PORT = 2575
FIRST_RECEIVER = 7000
ELSEWHERE = 100
"""So far away is the port of a receiver that has moved."""
OTHERS = 3
"""Editions beside the first."""
FULL = OTHERS + 1
BAD = OTHERS + 2
NOBODY = "Z"
LONGEST_WINDOW_S = 20
SHORT_JOIN_S = 1
FROM_A_FOLDER = "file: {folder: in, every: 50ms, stable: 100ms"
ANSWER_MS = 400
"""How long a sender waits for a destination's answer, before it is told so."""


class GroupSettings(ConfigModel):
    """What stands under `group:`: a destination that takes several at a time, as files and databases do."""

    at_once: int = Field(1, ge=1)
    linger: float = 0.0


class Group:
    """The kind of such a destination; a history puts its own sinks in place."""

    name = "group"
    model = GroupSettings


class SimulatedMllp:
    """The real kind, whose sinks a history watches."""

    name = "mllp"
    model = MllpSinkSettings
    forms = staticmethod(MllpSink.forms)


def settings_text() -> str:
    """Of segmill.yaml. The folder of data is there already: the site's own has gone when an engine starts on it."""
    return f"admin: off\nstore: 'memory:'\nshutdown: 2s\ndata: '{tempfile.gettempdir()}'\n"


@dataclass(slots=True, frozen=True)
class Target:
    """One destination as the model needs it. `text`: all of its settings; where it is the same, so is the lane."""

    name: str
    port: int
    """0: a group."""
    at_once: int
    window: int
    takes: str
    """Of which class its patients are: '' for any."""
    lanes: int
    """Connections over which its keys are spread; 0: it has no keys."""
    redirects_to: frozenset[str]
    text: str
    opens: str = ""
    """When it is open; '': always."""


@dataclass(slots=True, frozen=True)
class Site:
    """One edition of a site and what the model must know of it."""

    number: int
    edition: int
    loaded: LoadedSite
    targets: Mapping[str, Target]
    window_us: int
    when_stored: bool
    waits_for: str
    """Whose answer senders wait for; '' for nobody's."""
    mark: str
    """What its steps write into MSH-5."""
    wards: Mapping[str, str] | None
    """Its table; what is not in it is held. None: it has none."""
    max_message: str
    text: str
    most_retry_s: float
    joins: bool = False
    """Whether it makes one message of those that come in fragments."""
    gives_up: bool = False
    """Whether it waits for the rest of such a message for so short a time that it gives up at times."""

    @property
    def is_valid(self) -> bool:
        return self.edition != BAD

    @property
    def files(self) -> Mapping[str, bytes]:
        """As they are recorded with a version."""
        return self.loaded.channels[0].files


@cache
def kinds() -> Kinds:
    """Sinks that a history can put its own in place of."""
    known = load_kinds()
    own: dict[str, Any] = {"group": Group(), "mllp": SimulatedMllp()}
    return Kinds(steps=known.steps, sinks={**known.sinks, **own}, sources=known.sources)


# -- drawing ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class TargetPlan:
    """A destination before it is written down."""

    name: str
    port: int
    at_once: int
    linger: float
    keep_open: bool
    window: int
    takes: str
    actions: dict[str, str]
    lanes: int
    is_prioritised: bool
    rate: int
    first_ms: int
    limit: str
    opens: str = ""


@dataclass(slots=True)
class Plan:
    """A site before it is written down."""

    mark: str
    window_s: int
    when: str
    """stored, processed, or the destination whose answer is waited for."""
    wards: dict[str, str] | None
    most_retry_s: float
    max_message: str = "1MB"
    joins: bool = False
    """Whether messages in fragments are joined: of those that can be, as no sender waits for another's answer."""
    join_s: int = 3600
    """How long the rest of one is waited for."""
    targets: list[TargetPlan] = field(default_factory=list)


def draw_actions(rng: Random, other: str) -> dict[str, str]:
    """What is done about each kind of failure. `other`: where it may be sent on to."""
    redirect = [f"redirect({other})"] if other else []
    return {
        "on_refused": rng.choice(["hold", "hold", "skip", "retry", "stop", "retry(2) then skip", *redirect]),
        "on_rejected": rng.choice(["retry", "retry", "retry", "hold", "stop", *redirect]),
        "on_unanswered": rng.choice(["retry", "retry", "retry", "hold", *redirect]),
        "on_unreachable": rng.choice(["retry", "retry", "retry", "retry(2)", *redirect]),
    }


def draw_target(rng: Random, name: str, port: int, other: str) -> TargetPlan:
    is_group = rng.random() < 0.3
    return TargetPlan(
        name,
        0 if is_group else port,
        rng.choice((1, 2, 5)) if is_group else 1,
        rng.choice((0.0, 0.05, 0.2)),
        rng.random() < 0.85,
        rng.choice((1, 1, 1, 2, 5)),
        "I" if rng.random() < 0.5 else "",
        draw_actions(rng, other),
        rng.choice((1, 2, 3, 4)) if rng.random() < 0.4 else 0,
        rng.random() < 0.5,
        rng.choice((20, 100)) if rng.random() < 0.15 else 0,
        rng.choice((20, 100)),
        rng.choice(("none", "none", "none", "3", "2s")),
    )


def draw_plan(rng: Random) -> Plan:
    """The first edition."""
    plan = Plan(
        "SIM",
        rng.choice((0, 1, 2, 5, 5, LONGEST_WINDOW_S)),
        "stored" if rng.random() < 0.3 else "processed",
        {"W1": "WARD1", "W2": "WARD2"} if rng.random() < 0.4 else None,
        rng.choice((0.2, 0.5, 1)),
    )
    count = rng.choice((1, 1, 2, 2, 3, 4))
    plan.joins = plan.when == "processed" and plan.window_s == LONGEST_WINDOW_S
    for at in range(count):
        other = f"d{rng.randrange(at + 1, count)}" if at + 1 < count else ""
        plan.targets.append(draw_target(rng, f"d{at}", FIRST_RECEIVER + at, other))
    if rng.random() < 0.3:
        plan.when = rng.choice(plan.targets).name
        plan.joins = False
    return plan


def _waits_for_nobody(plan: Plan) -> None:
    """Whoever puts files into a folder hears what became of them, and no answer."""
    plan.joins = False
    if plan.when not in ("stored", "processed"):
        plan.when = "processed"


def _one(rng: Random, plan: Plan) -> TargetPlan:
    return rng.choice(plan.targets)


def _remove(rng: Random, plan: Plan) -> None:
    if len(plan.targets) > 1:
        plan.targets.remove(_one(rng, plan))


def _add(rng: Random, plan: Plan) -> None:
    if all(target.name != "x0" for target in plan.targets):
        made = draw_target(rng, "x0", FIRST_RECEIVER + 50, rng.choice(("", plan.targets[-1].name)))
        plan.targets.insert(rng.randrange(len(plan.targets) + 1), made)


def _rename(rng: Random, plan: Plan) -> None:
    """To the files it is one that is gone, and another that came."""
    target = _one(rng, plan)
    if target.name.startswith("d"):
        target.name = f"r{target.name[1:]}"
        target.port = target.port + 60 if target.port else 0


def _retarget(rng: Random, plan: Plan) -> None:
    target = _one(rng, plan)
    if 0 < target.port < FIRST_RECEIVER + ELSEWHERE:
        target.port += ELSEWHERE


def _change_actions(rng: Random, plan: Plan) -> None:
    at = rng.randrange(len(plan.targets))
    later = [target.name for target in plan.targets[at + 1 :]]
    plan.targets[at].actions = draw_actions(rng, rng.choice(later) if later else "")


def _change_window(rng: Random, plan: Plan) -> None:
    _one(rng, plan).window = rng.choice((1, 2, 5))


def _change_order(rng: Random, plan: Plan) -> None:
    target = _one(rng, plan)
    target.lanes = 0 if target.lanes else rng.choice((1, 2, 4))


def _change_route(rng: Random, plan: Plan) -> None:
    target = _one(rng, plan)
    target.takes = "" if target.takes else "I"


def _change_table(rng: Random, plan: Plan) -> None:
    if plan.wards is None:
        plan.wards = {"W1": f"{plan.mark}1", "W2": f"{plan.mark}2"}
    elif rng.random() < 0.5:
        plan.wards |= {"W9": f"{plan.mark}9", "W1": f"{plan.mark}1"}
    else:
        plan.wards = None


def _change_answers(rng: Random, plan: Plan) -> None:
    ways = ("stored", "processed", *(target.name for target in plan.targets))
    plan.when = rng.choice([way for way in ways if way != plan.when])


def _change_port(rng: Random, plan: Plan) -> None:
    plan.max_message = "2MB"


CHANGES: Sequence[Callable[[Random, Plan], None]] = (
    _remove,
    _add,
    _rename,
    _retarget,
    _change_actions,
    _change_window,
    _change_order,
    _change_route,
    _change_table,
    _change_answers,
    _change_port,
)


@cache
def plans(number: int) -> Sequence[Plan]:
    """All editions of a site, but for the bad one."""
    rng, hours = Random(f"site {number}"), Random(f"hours {number}")
    first = draw_plan(rng)
    first.join_s = Random(f"time-out {number}").choice((SHORT_JOIN_S, 3600))
    has_hours = hours.random() < 0.3
    for target in first.targets if has_hours else ():
        target.opens = hours.choice(("", *RANGES))
    found = [first]
    for edition in range(1, OTHERS + 1):
        plan = deepcopy(first)
        plan.mark = f"SIM{edition}"
        for change in rng.sample(CHANGES, rng.choice((0, 1, 1, 2, 3))):
            change(rng, plan)
        if has_hours and hours.random() < 0.4:
            hours.choice(plan.targets).opens = hours.choice(("", *RANGES))
        found.append(plan)
    full = deepcopy(first)
    full.mark = f"SIM{FULL}"
    known = {target.name for target in full.targets}
    for target in [target for plan in found for target in plan.targets]:
        if target.name not in known:
            known.add(target.name)
            target = deepcopy(target)
            target.takes = NOBODY
            full.targets.append(target)
    found.append(full)
    for plan in found:
        plan.targets[0].takes = ""
        if number >= SITES:
            _waits_for_nobody(plan)
    return found


@cache
def names(number: int) -> Mapping[str, frozenset[int]]:
    """Every destination of all editions, with the ports that its receivers have."""
    found: dict[str, set[int]] = {}
    for plan in plans(number):
        for target in plan.targets:
            found.setdefault(target.name, set()).add(target.port)
    return {name: frozenset(ports - {0}) for name, ports in found.items()}


# -- writing it down --------------------------------------------------------------------------------


def _written(target: TargetPlan, plan: Plan) -> Target:
    there = {other.name for other in plan.targets}
    actions = {}
    sent_on = set()
    for key, action in target.actions.items():
        to = action.partition("(")[2].rstrip(")") if action.startswith("redirect") else ""
        if to and (to not in there or target.name in (to, plan.when)):
            action, to = "hold", ""
        actions[key] = action
        sent_on |= {to} - {""}
    if target.port:
        way = (
            f"mllp: {{host: r, port: {target.port}, ack_timeout: 300ms, connect_timeout: 200ms, "
            f"write_timeout: 300ms, keep_open: {'true' if target.keep_open else 'false'}}}"
        )
    else:
        way = f"group: {{at_once: {target.at_once}, linger: {target.linger}}}"
    lines = [f"  {target.name}:", f"    {way}", *(f"    {key}: {action}" for key, action in actions.items())]
    if target.lanes:
        lines.append(f"    order_by: PID-3.1\n    lanes: {target.lanes}")
        if target.is_prioritised:
            lines.append('    priority: PV1-2 == "O"')
    if target.rate:
        lines.append(f"    rate: {target.rate}/s")
    if target.opens:
        lines.append(f"    open: {{hours: ['{target.opens}'], zone: UTC}}")
    most = int(plan.most_retry_s * 1000)
    lines.append(f"    retry: {{first: {target.first_ms}ms, most: {most}ms, limit: {target.limit}}}")
    lines.append(f"    window: {target.window}")
    return Target(
        target.name,
        target.port,
        target.at_once if not target.port else 1,
        target.window,
        target.takes,
        target.lanes,
        frozenset(sent_on),
        "\n".join(lines),
        target.opens,
    )


@cache
def site(number: int, edition: int = 0) -> Site:
    """One edition of the site of this number."""
    plan = plans(number)[0 if edition == BAD else edition]
    targets = {target.name: _written(target, plan) for target in plan.targets}
    routes = [
        f"  - to: {target.name}" + (f'\n    when: PV1-2 == "{target.takes}"' if target.takes else "")
        for target in targets.values()
    ]
    waits_for = plan.when if plan.when in targets else ""
    joins = plan.joins and not waits_for
    answers = f"delivered({waits_for}), timeout: {ANSWER_MS}ms" if waits_for else "processed"
    if plan.when == "stored":
        answers = "stored"
    steps = ['  - filter: PV1-2 != "X"', f"  - set: {{MSH-5: {plan.mark}}}"]
    if plan.wards is not None:
        steps.append("  - map: {PV1-3.1: wards.csv, otherwise: hold}")
    if edition == BAD:
        steps.append("  - mapp: {PV1-3.1: wards.csv}")
    source = f"mllp: {{host: e, port: {PORT}" if number < SITES else FROM_A_FOLDER
    text = "\n".join(
        [
            f"listen: {{{source}, max_message: {plan.max_message}}}}}",
            "accept: ['ADT^A01']",
            f"ack: {{when: {answers}}}",
            f"duplicates: {{window: {plan.window_s}s}}" if plan.window_s else "duplicates: {window: 0}",
            *([f"fragments: {{dsc: {{timeout: {plan.join_s}s, answers: last}}}}"] if joins else []),
            "steps:",
            *steps,
            "routes:",
            *routes,
            "destinations:",
            *(target.text for target in targets.values()),
            "",
        ]
    )
    with tempfile.TemporaryDirectory(prefix="segmill-simulation-") as folder:
        rows = "".join(f"{ward},{to}\n" for ward, to in (plan.wards or {"W1": "WARD1"}).items())
        files: dict[str, str | bytes] = {"channel.yaml": text, "wards.csv": f"from,to\n{rows}"}
        made = make_site(Path(folder), {"adt": files}, settings_text())
        loaded = load_site(made, kinds(), {})
    assert loaded.is_valid == (edition != BAD), loaded.findings
    return Site(
        number,
        edition,
        loaded,
        targets,
        plan.window_s * 1_000_000,
        plan.when == "stored",
        waits_for,
        plan.mark,
        plan.wards,
        plan.max_message,
        text,
        plan.most_retry_s,
        joins,
        joins and plan.join_s == SHORT_JOIN_S,
    )
