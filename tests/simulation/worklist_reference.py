"""What a worklist must be, in plain dicts: written from dicom.md 1.3, 1.8 and 1.9, with nothing of the engine's own.

As much of it as the simulation's messages use: orders of one study with steps, changes, cancels by the placer's
number, statuses, demographics, merges, and performed steps, one of each step at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

Key = tuple[str, str]
"""Study and step."""
MOVES: Final = {
    "SCHEDULED": {"STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"},
    "STARTED": {"COMPLETED", "DISCONTINUED"},
    "COMPLETED": set[str](),
    "DISCONTINUED": set[str](),
    "CANCELED": set[str](),
}
TERMINAL: Final = frozenset({"COMPLETED", "DISCONTINUED", "CANCELED"})


@dataclass(slots=True, frozen=True)
class Said:
    """What one message says. `what`: new, change, cancel, start, complete, name, merge. `at`: as it compares.

    `prior`: the identifier that ends in a merge.
    """

    what: str
    at: str
    patient: str
    name: str = ""
    study: str = ""
    placer: str = ""
    steps: tuple[str, ...] = ()
    description: str = ""
    prior: str = ""


@dataclass(slots=True)
class Step:
    """One item of the worklist. `changes`: how often it was written, `made`: how often it was made."""

    placer: str
    patient: str
    name: str
    description: str
    at: str
    status: str = "SCHEDULED"
    changes: int = 0
    made: int = 0


@dataclass(slots=True)
class Person:
    """A patient's name, where it is known. `at`: of the ADT message that said so; '' for an order."""

    name: str
    from_adt: bool
    at: str = ""


@dataclass(slots=True)
class Reference:
    """One worklist."""

    steps: dict[Key, Step] = field(default_factory=dict)
    gone: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Of steps that their order no longer names: how often they were written, and made."""
    people: dict[str, Person] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    """Placer's numbers whose cancel came first."""

    def hear(self, said: Said) -> bool:
        """Carry out a message; False where it must be refused, and nothing of it done."""
        match said.what:
            case "new" | "change":
                return self._order(said)
            case "cancel" | "start" | "complete":
                return self._move(said)
            case "name":
                self._name(said)
                return True
            case _:
                return self._merge(said)

    def perform(self, key: Key, status: str) -> None:
        """A scanner begins or ends a step."""
        step = self.steps.get(key)
        wanted = {"IN PROGRESS": "STARTED"}.get(status, status)
        if step is not None and wanted in MOVES[step.status]:
            step.status = wanted
            step.changes += 1

    # -- orders ---------------------------------------------------------------------------------

    def _order(self, said: Said) -> bool:
        patient = self.survivor(said.patient)
        own = {key: step for key, step in self.steps.items() if key[0] == said.study}
        if any(self.survivor(step.patient) != patient for step in own.values()):
            return False
        for id_ in said.steps:
            self._build(said, patient, (said.study, id_))
        if said.what == "change":
            for key, step in own.items():
                if key[1] not in said.steps and step.status == "SCHEDULED" and said.at >= step.at:
                    self.gone[key] = step.changes + 1, step.made
                    del self.steps[key]
        return True

    def _build(self, said: Said, patient: str, key: Key) -> None:
        step = self.steps.get(key)
        if step is None:
            if said.placer in self.cancelled:
                return
            changes, made = self.gone.pop(key, (0, 0))
            name = self._known(patient, said.name)
            self.steps[key] = Step(
                said.placer, patient, name, said.description, said.at, changes=changes + 1, made=made + 1
            )
        elif step.status not in TERMINAL and said.at >= step.at:
            name = self._known(self.survivor(step.patient), said.name)
            if (name, said.description) != (step.name, step.description):
                step.name, step.description, step.at = name, said.description, said.at
                step.changes += 1

    def _known(self, patient: str, name: str) -> str:
        """The name of an order's patient: ADT wins."""
        person = self.people.setdefault(patient, Person(name, from_adt=False))
        return person.name if person.from_adt else name

    def _move(self, said: Said) -> bool:
        patient = self.survivor(said.patient)
        meant = [step for step in self.steps.values() if step.placer == said.placer]
        if any(self.survivor(step.patient) != patient for step in meant):
            return False
        if not meant and said.what == "cancel":
            self.cancelled.add(said.placer)
        for step in meant:
            wanted = {"start": "STARTED", "complete": "COMPLETED"}.get(said.what)
            wanted = wanted or ("DISCONTINUED" if step.status == "STARTED" else "CANCELED")
            if said.at >= step.at and wanted in MOVES[step.status]:
                step.status, step.at = wanted, said.at
                step.changes += 1
        return True

    # -- patients -------------------------------------------------------------------------------

    def survivor(self, patient: str) -> str:
        while patient in self.aliases:
            patient = self.aliases[patient]
        return patient

    def _name(self, said: Said) -> None:
        own = self.survivor(said.patient)
        person = self.people.get(own)
        if person is not None and person.from_adt and said.at < person.at:
            return
        self._learn(own, said.name, said.at)
        self._rename(self._of(own, is_open=True), said.name)

    def _merge(self, said: Said) -> bool:
        own, ending = self.survivor(said.patient), self.survivor(said.prior)
        if own == said.prior:
            return False  # the other way round they were merged before
        person = self.people.get(own)
        is_older = person is not None and person.from_adt and said.at < person.at
        name = person.name if person is not None and is_older else said.name
        self._learn(own, name, said.at)
        if ending == own:
            return True
        for step in self._of(ending, is_open=False):
            step.patient, step.name = own, name
            step.changes += 1
        self._rename(self._of(own, is_open=True), name)
        self.aliases[ending] = own
        if said.prior != ending:
            self.aliases[said.prior] = own
        return True

    def _learn(self, patient: str, name: str, at: str) -> None:
        person = self.people.get(patient)
        if person is None or (person.name, person.from_adt) != (name, True):
            self.people[patient] = Person(name, True, max(at, person.at) if person is not None else at)

    def _of(self, patient: str, *, is_open: bool) -> Sequence[Step]:
        own = [step for step in self.steps.values() if step.patient == patient]
        return [step for step in own if not is_open or step.status not in TERMINAL]

    def _rename(self, steps: Sequence[Step], name: str) -> None:
        for step in steps:
            if step.name != name:
                step.name = name
                step.changes += 1
