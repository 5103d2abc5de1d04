"""The sites of the histories: a fixed number of them, each drawn from its number, read from files as any other."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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

SITES = 96
PORT = 2575
FIRST_RECEIVER = 7000


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


@dataclass(slots=True, frozen=True)
class Target:
    """One destination as the model needs it."""

    name: str
    port: int
    """0: a group."""
    at_once: int
    window: int
    only_inpatients: bool
    lanes: int
    """Connections over which its keys are spread; 0: it has no keys."""
    redirects_to: frozenset[str]


@dataclass(slots=True, frozen=True)
class Site:
    """A site and what the model must know of it."""

    number: int
    loaded: LoadedSite
    targets: Sequence[Target]
    window_us: int
    when_stored: bool
    holds: bool
    text: str
    most_retry_s: float


@cache
def kinds() -> Kinds:
    """Sinks that a history can put its own in place of."""
    known = load_kinds()
    own: dict[str, Any] = {"group": Group(), "mllp": SimulatedMllp()}
    return Kinds(steps=known.steps, sinks={**known.sinks, **own}, sources=known.sources)


@cache
def site(number: int) -> Site:
    """The site of this number."""
    rng = Random(f"site {number}")
    window_s = rng.choice((0, 1, 2, 5, 5, 20))
    when_stored = rng.random() < 0.3
    holds = rng.random() < 0.4
    targets: list[Target] = []
    lines: list[str] = []
    most_retry_s = rng.choice((0.2, 0.5, 1))
    count = rng.choice((1, 1, 2, 2, 3, 4))
    for at in range(count):
        name = f"d{at}"
        other = f"d{rng.randrange(at + 1, count)}" if at + 1 < count else ""
        redirect = [f"redirect({other})"] if other else []
        is_group = rng.random() < 0.3
        window = rng.choice((1, 1, 1, 2, 5))
        on_refused = rng.choice(["hold", "hold", "skip", "retry", "stop", "retry(2) then skip", *redirect])
        on_rejected = rng.choice(["retry", "retry", "retry", "hold", "stop", *redirect])
        on_unanswered = rng.choice(["retry", "retry", "retry", "hold", *redirect])
        on_unreachable = rng.choice(["retry", "retry", "retry", "retry(2)", *redirect])
        is_keyed = rng.random() < 0.4
        limit = rng.choice(("none", "none", "none", "3", "2s"))
        at_once = rng.choice((1, 2, 5)) if is_group else 1
        target = Target(
            name,
            0 if is_group else FIRST_RECEIVER + at,
            at_once,
            window,
            at > 0 and rng.random() < 0.5,
            rng.choice((1, 2, 3, 4)) if is_keyed else 0,
            frozenset(
                [other] if redirect and redirect[0] in (on_refused, on_rejected, on_unanswered, on_unreachable) else ()
            ),
        )
        targets.append(target)
        if is_group:
            way = f"group: {{at_once: {at_once}, linger: {rng.choice((0.0, 0.05, 0.2))}}}"
        else:
            way = (
                f"mllp: {{host: r, port: {target.port}, ack_timeout: 300ms, connect_timeout: 200ms, "
                f"write_timeout: 300ms, keep_open: {'true' if rng.random() < 0.85 else 'false'}}}"
            )
        lines.append(f"  {name}:")
        lines.append(f"    {way}")
        lines.append(f"    on_refused: {on_refused}")
        lines.append(f"    on_rejected: {on_rejected}")
        lines.append(f"    on_unanswered: {on_unanswered}")
        lines.append(f"    on_unreachable: {on_unreachable}")
        if target.lanes:
            lines.append(f"    order_by: PID-3.1\n    lanes: {target.lanes}")
            if rng.random() < 0.5:
                lines.append('    priority: PV1-2 == "O"')
        if rng.random() < 0.15:
            lines.append(f"    rate: {rng.choice((20, 100))}/s")
        lines.append(
            f"    retry: {{first: {rng.choice((20, 100))}ms, most: {int(most_retry_s * 1000)}ms, limit: {limit}}}"
        )
        lines.append(f"    window: {window}")
    routes = [f"  - to: {t.name}" + ('\n    when: PV1-2 == "I"' if t.only_inpatients else "") for t in targets]
    steps = ['  - filter: PV1-2 != "X"', "  - set: {MSH-5: SIM}"]
    if holds:
        steps.append("  - map: {PV1-3.1: wards.csv, otherwise: hold}")
    text = "\n".join(
        [
            f"listen: {{mllp: {{host: e, port: {PORT}}}}}",
            "accept: ['ADT^A01']",
            f"ack: {{when: {'stored' if when_stored else 'processed'}}}",
            f"duplicates: {{window: {window_s}s}}" if window_s else "duplicates: {window: 0}",
            "steps:",
            *steps,
            "routes:",
            *routes,
            "destinations:",
            *lines,
            "",
        ]
    )
    with tempfile.TemporaryDirectory(prefix="segmill-simulation-") as folder:
        files: dict[str, str | bytes] = {"channel.yaml": text, "wards.csv": "from,to\nW1,WARD1\nW2,WARD2\n"}
        made = make_site(Path(folder), {"adt": files}, "admin: off\nstore: 'memory:'\nshutdown: 2s\n")
        loaded = load_site(made, kinds(), {})
    assert loaded.is_valid, loaded.findings
    return Site(number, loaded, tuple(targets), window_s * 1_000_000, when_stored, holds, text, most_retry_s)
