"""Sites with worklists for simulated histories: their editions, and the messages that senders have for them."""

import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site
from tests.simulation.records import Item, Made
from tests.simulation.sites import BAD, FULL, PORT, Site, Target, settings_text
from tests.simulation.worklist_reference import Said

WORKLISTS: Final = {"modalities": "main", "twin": "main", "second": "second"}
"""Destinations, and the worklist of each: two of them write to the same one."""
_THERE: Final = {
    0: ("modalities",),
    1: ("modalities", "second"),
    2: ("second",),
    3: ("twin", "modalities"),
    FULL: ("modalities", "twin", "second"),
    BAD: ("modalities",),
}
_WINDOW_S: Final = 2
_NONE = Made("processed", [])


@cache
def worklist_site(number: int, edition: int) -> Site:
    """One edition of a site. `number`: even ones answer when a message is processed, odd ones when it is stored."""
    when = "stored" if number % 2 else "processed"
    there = _THERE[edition]
    lines = [
        f"description: edition {edition}",
        f"listen: {{mllp: {{host: e, port: {PORT}, max_message: {'2MB' if edition == 3 else '1MB'}}}}}",
        "accept: ['ORM^O01', 'ADT^A08', 'ADT^A40']",
        f"ack: {{when: {when}}}",
        f"duplicates: {{window: {_WINDOW_S}s}}",
        *(["steps: [{mapp: {}}]"] if edition == BAD else []),
        "routes:",
        *(f"  - to: {name}" for name in there),
        "destinations:",
        *(
            f"  {name}: {{worklist: {{name: {WORKLISTS[name]}}}, retry: {{first: 20ms, most: 500ms, limit: none}}}}"
            for name in there
        ),
        "",
    ]
    text = "\n".join(lines)
    with tempfile.TemporaryDirectory(prefix="segmill-simulation-") as folder:
        made = make_site(Path(folder), {"adt": {"channel.yaml": text}}, settings_text())
        loaded = load_site(made, load_kinds(), {})
    assert loaded.is_valid == (edition != BAD), loaded.findings
    targets = {name: Target(name, 0, 1, 1, "", 0, frozenset(), f"{name} {WORKLISTS[name]}") for name in there}
    max_message = "2MB" if edition == 3 else "1MB"
    return Site(
        number, edition, loaded, targets, _WINDOW_S * 1_000_000, when == "stored", "", "", None, max_message, text, 0.5
    )


class Script:
    """What one sender has to say, in its order: orders of its own patients and studies, and what becomes of them."""

    def __init__(self, sender: int, rng: Random) -> None:
        self._sender = sender
        self._rng = rng
        self._count = 0
        self._orders = 0
        self._people = [f"{sender}00{n}" for n in range(3)]

    def next(self) -> tuple[Item, Said]:
        """One message, and what it says. Now and then one that is older than those before it."""
        rng = self._rng
        self._count += 1
        at_s = self._count if rng.random() < 0.9 else max(1, self._count - rng.randrange(4))
        at = f"20260101{at_s // 3600:02}{at_s // 60 % 60:02}{at_s % 60:02}"
        patient, name = rng.choice(self._people), f"N{rng.randrange(3)}"
        drawn = rng.random()
        if drawn < 0.08:
            said = Said("name", at, patient, name)
        elif drawn < 0.14:
            prior = rng.choice([one for one in self._people if one != patient])
            said = Said("merge", at, patient, name, prior=prior)
        else:
            said = self._order(at, name, drawn)
        control_id = f"S{self._sender}-{self._count}"
        return Item("good", control_id, _payload(control_id, said, self._sender), lambda edition: _NONE), said

    def _order(self, at: str, name: str, drawn: float) -> Said:
        rng = self._rng
        if drawn < 0.45 or not self._orders:
            self._orders += 1
            number, what = self._orders, "new"
        else:
            # Also one that has yet to come: its cancel may be first.
            number = rng.randint(max(1, self._orders - 3), self._orders + (rng.random() < 0.15))
            what = rng.choice(("new", "change", "change", "cancel", "start", "complete"))
        study, placer = f"1.2.826.0.1.99.{self._sender}.{number}", f"P{self._sender}N{number}"
        # An order is of the same patient each time, but for a mistake now and then.
        own = self._people[number % len(self._people)]
        patient = rng.choice(self._people) if rng.random() < 0.05 else own
        steps = rng.choice((("S1",), ("S1", "S2"), ("S2",))) if what in ("new", "change") else ()
        return Said(what, at, patient, name, study, placer, steps, f"T{rng.randrange(3)}")

    def step(self) -> tuple[str, str] | None:
        """One that a scanner may begin: not told to be there."""
        number = self._rng.randint(1, self._orders) if self._orders else 0
        return (f"1.2.826.0.1.99.{self._sender}.{number}", self._rng.choice(("S1", "S2"))) if number else None


_CONTROLS: Final = {
    "new": "NW||SC",
    "change": "XO||SC",
    "cancel": "CA||CA",
    "start": "SC||IP",
    "complete": "SC||CM",
}


def _payload(control_id: str, said: Said, sender: int) -> bytes:
    kind = {"name": "ADT^A08", "merge": "ADT^A40"}.get(said.what, "ORM^O01")
    lines = [
        f"MSH|^~\\&|S{sender}|F|RCV|F|{said.at}||{kind}|{control_id}|P|2.3.1",
        f"PID|1||{said.patient}^^^HIS^MR||{said.name}^Anna||19800203|F",
    ]
    if said.what in ("name", "merge"):
        lines.insert(1, f"EVN|{kind[4:]}|{said.at}")
    if said.what == "merge":
        lines.append(f"MRG|{said.prior}^^^HIS^MR")
    elif said.what in _CONTROLS:
        control, _, status = _CONTROLS[said.what].partition("||")
        number = said.placer.partition("N")[2]
        for id_ in said.steps or ("",):
            lines.append(f"ORC|{control}|{said.placer}^HIS|||{status}||^^^20260102103000")
            if id_:
                fields = {
                    1: "1",
                    2: f"{said.placer}^HIS",
                    4: f"CTH^{said.description}^L",
                    18: f"A{said.placer}",
                    19: f"R{number}",
                    20: id_,
                    24: "CT",
                }
                lines.append("OBR|" + "|".join(fields.get(n, "") for n in range(1, 25)))
        if said.steps:
            lines.append(f"ZDS|{said.study}")
    return ("\r".join(lines) + "\r").encode()
