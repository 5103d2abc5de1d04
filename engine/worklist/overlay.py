"""What is known of a worklist once the decisions before this one are written: so that several go into one commit.

`Overlay` answers as the store will after the changes that it was given, revision by revision (`WorklistRows.apply`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from engine.worklist.changes import Bury, Change, Demographics, Drop, Know, Known, Merge, Put, is_same
from engine.worklist.item import EntityId, Item, ItemKey, OrderKeys

MOST_MERGES = 100
"""A chain of merged identifiers is followed so far; a ring, which no decision makes, ends there."""


class Stored(Known, Protocol):
    """What is stored, with single steps of a chain of merges."""

    def merged_into(self, patient: EntityId) -> EntityId | None:
        """Whom the identifier was merged into, which may have been merged itself; None where it was not."""
        ...


class Overlay:
    """What is stored, and on top of it what was decided and is not written yet: a `Known`."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._items: dict[ItemKey, Item | None] = {}
        self._aliases: dict[EntityId, EntityId] = {}
        self._patients: dict[EntityId, Demographics] = {}
        self._buried: list[Bury] = []

    def apply(self, changes: Sequence[Change]) -> None:
        """From now on these are written as well."""
        for change in changes:
            match change:
                case Put(item=item, before=None):
                    self._items[item.key] = item
                case Put(item=item):
                    before = self._items.get(item.key) or item
                    self._items[item.key] = replace(item, revision=before.revision + 1)
                case Drop(item=item):
                    self._items[item.key] = None
                case Bury():
                    self._buried.append(change)
                case Merge(prior=prior, survivor=survivor):
                    self._aliases[prior] = survivor
                case Know(patient=patient, demographics=demographics):
                    self._patients[patient] = demographics

    # -- changes.Known --------------------------------------------------------------------------

    def by_study(self, uid: str) -> Sequence[Item]:
        return self._with(self._stored.by_study(uid), lambda item: item.key.study_uid == uid)

    def by_placer(self, number: str) -> Sequence[Item]:
        return self._with(self._stored.by_placer(number), lambda item: item.keys.placer.id == number != "")

    def by_filler(self, number: str) -> Sequence[Item]:
        return self._with(self._stored.by_filler(number), lambda item: item.keys.filler.id == number != "")

    def by_accession(self, number: str) -> Sequence[Item]:
        return self._with(
            self._stored.by_accession(number),
            lambda item: number != "" and number in (item.keys.accession.id, item.shown_accession),
        )

    def by_patient(self, patient: EntityId) -> Sequence[Item]:
        return self._with(self._stored.by_patient(patient), lambda item: item.patient == patient)

    def survivor(self, patient: EntityId) -> EntityId:
        for _ in range(MOST_MERGES):
            further = self._aliases.get(patient) or self._stored.merged_into(patient)
            if further is None:
                break
            patient = further
        return patient

    def demographics(self, patient: EntityId) -> Demographics | None:
        return self._patients.get(patient) or self._stored.demographics(patient)

    def tombstone(self, keys: OrderKeys, step_id: str) -> str | None:
        found = [bury.at for bury in self._buried if bury.step_id in ("", step_id) and names_the_same(bury.keys, keys)]
        if (stored := self._stored.tombstone(keys, step_id)) is not None:
            found.append(stored)
        return max(found, default=None)

    def in_progress(self, item: Item) -> bool:
        # No change that a message decides on is of a performed step.
        return self._stored.in_progress(item)

    def _with(self, stored: Sequence[Item], fits: Callable[[Item], bool]) -> Sequence[Item]:
        if not self._items:
            return stored
        found = {item.key: item for item in stored if item.key not in self._items}
        found |= {key: item for key, item in self._items.items() if item is not None and fits(item)}
        return list(found.values())


def names_the_same(one: OrderKeys, other: OrderKeys) -> bool:
    """Whether any number of an order is a number of the other."""
    if one.study_uid and one.study_uid == other.study_uid:
        return True
    pairs = ((one.placer, other.placer), (one.filler, other.filler), (one.accession, other.accession))
    return any(bool(mine) and is_same(mine, theirs) for mine, theirs in pairs)
