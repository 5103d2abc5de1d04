"""Worklists in memory: what `engine.adapters.stores.worklist` does in SQLite, by looking at every item."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from engine.adapters.stores.effects import encoded
from engine.adapters.stores.worklist import Stale
from engine.model.envelope import Delivery, Intake
from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.worklist import Aged, HistoryRow, PerformedOrder, Shelved
from engine.worklist.changes import Bury, Change, Demographics, Drop, Know, Merge, Put
from engine.worklist.item import TERMINAL, Attributes, EntityId, Item, ItemKey, OrderKeys, Status
from engine.worklist.matching import Query
from engine.worklist.mpps import Performed, names, performed_of
from engine.worklist.overlay import MOST_MERGES, names_the_same
from engine.worklist.status import STATUS_MESSAGES, OrderReceived


@dataclass(slots=True)
class OneWorklist:
    """One worklist's items with their elements, what happened to them, and what it knows of patients and cancels."""

    items: dict[ItemKey, Shelved] = field(default_factory=dict)
    history: dict[ItemKey, list[HistoryRow]] = field(default_factory=dict)
    aliases: dict[EntityId, EntityId] = field(default_factory=dict)
    patients: dict[EntityId, Demographics] = field(default_factory=dict)
    buried: list[tuple[Bury, int]] = field(default_factory=list)
    epoch: int = 0

    def is_old(self, key: ItemKey, aged: Aged) -> bool:
        """Whether the item may be forgotten."""
        item = self.items[key].item
        if item.status in TERMINAL:
            return self.history[key][-1].at_us < aged.ended_before_us
        return item.starts_at < aged.open_before

    def know(self, changes: Sequence[Change], at_us: int) -> None:
        """From now on this is known."""
        for change in changes:
            match change:
                case Bury():
                    self.buried.append((change, at_us))
                case Merge(prior=prior, survivor=survivor):
                    self.aliases[prior] = survivor
                case Know(patient=patient, demographics=demographics):
                    self.patients[patient] = demographics


@dataclass(slots=True)
class MemoryWorklists:
    """All of them, and the performed steps, whatever worklist they are of."""

    lists: dict[str, OneWorklist] = field(default_factory=dict)
    performed: dict[str, Attributes] = field(default_factory=dict)
    performed_at: dict[str, int] = field(default_factory=dict)

    def apply(
        self,
        worklist: str,
        changes: Sequence[Change],
        *,
        at_us: int,
        seq: int,
        who: str = "",
        seen: int | None = None,
        then: int | None = None,
    ) -> None:
        """As WorklistRows.apply; everything is checked before anything is changed."""
        one = self.lists.get(worklist, OneWorklist())
        if seen is not None and seen != one.epoch:
            raise Stale("the worklist was written to meanwhile")
        items = dict(one.items)
        written: set[ItemKey] = set()
        notes: list[tuple[ItemKey, HistoryRow]] = []
        for change in changes:
            if not isinstance(change, Put | Drop):
                continue
            key = change.item.key
            before = items.get(key)
            is_new = isinstance(change, Put) and change.before is None
            if is_new != (before is None) or (
                before is not None and key not in written and before.item.revision != change.item.revision
            ):
                raise Stale(f"the step is not as it was: {key.study_uid}")
            if isinstance(change, Drop):
                del items[key]
            else:
                revision = before.item.revision + 1 if before is not None else change.item.revision
                items[key] = Shelved(replace(change.item, revision=revision), change.encoded or encoded(change.item))
            written.add(key)
            notes.append((key, HistoryRow(at_us, seq, who, change.what, change.item.status)))
        self.lists[worklist] = one
        one.items = items
        one.epoch = one.epoch + 1 if then is None else then
        for key, note in notes:
            one.history.setdefault(key, []).append(note)
        one.know(changes, at_us)

    def age(self, aged: Aged) -> int:
        """As Store.age_worklists."""
        gone = 0
        if aged.ended_before_us:
            for one in self.lists.values():
                one.buried = [(bury, at) for bury, at in one.buried if at >= aged.ended_before_us]
            for uid in [uid for uid, at in self.performed_at.items() if at < aged.ended_before_us]:
                performed = performed_of(uid, self.performed[uid])
                if performed is not None and performed.status != "IN PROGRESS":
                    del self.performed[uid], self.performed_at[uid]
        for one in self.lists.values():
            old = [key for key in one.items if one.is_old(key, aged)][: aged.most - gone]
            for key in old:
                del one.items[key]
                one.history.pop(key, None)
            gone += len(old)
            one.epoch += bool(old)
        return gone


class MemoryWorklistReading:
    """As WorklistReading."""

    def __init__(self, worklists: MemoryWorklists, name: str) -> None:
        one = worklists.lists.get(name, OneWorklist())
        self._one = one
        self.epoch = one.epoch
        self.damaged = 0
        self._items = dict(one.items)
        self._history = one.history
        self._performed = dict(worklists.performed)

    def _where(self, wanted: Callable[[Item], bool]) -> Sequence[Item]:
        return [shelved.item for shelved in self._items.values() if wanted(shelved.item)]

    def by_study(self, uid: str) -> Sequence[Item]:
        return self._where(lambda item: item.key.study_uid == uid)

    def by_placer(self, number: str) -> Sequence[Item]:
        return self._where(lambda item: item.keys.placer.id == number != "")

    def by_filler(self, number: str) -> Sequence[Item]:
        return self._where(lambda item: item.keys.filler.id == number != "")

    def by_accession(self, number: str) -> Sequence[Item]:
        return self._where(lambda item: number != "" and number in (item.keys.accession.id, item.shown_accession))

    def by_patient(self, patient: EntityId) -> Sequence[Item]:
        return self._where(lambda item: item.patient == patient)

    def survivor(self, patient: EntityId) -> EntityId:
        for _ in range(MOST_MERGES):
            if patient not in self._one.aliases:
                break
            patient = self._one.aliases[patient]
        return patient

    def merged_into(self, patient: EntityId) -> EntityId | None:
        return self._one.aliases.get(patient)

    def demographics(self, patient: EntityId) -> Demographics | None:
        return self._one.patients.get(patient)

    def tombstone(self, keys: OrderKeys, step_id: str) -> str | None:
        found = [
            bury.at for bury, _ in self._one.buried if bury.step_id in ("", step_id) and names_the_same(bury.keys, keys)
        ]
        return max(found, default=None)

    def in_progress(self, item: Item) -> bool:
        found = (performed_of(uid, attributes) for uid, attributes in self._performed.items())
        return any(one.status == "IN PROGRESS" and names(one.references, item) for one in found if one is not None)

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        shown = [one for one in self._items.values() if query.names_status or one.item.is_shown]
        return sorted(shown, key=lambda one: one.item.starts_at)[:most]

    def item(self, key: ItemKey) -> Item | None:
        found = self._items.get(key)
        return found.item if found is not None else None

    def history(self, key: ItemKey) -> Sequence[HistoryRow]:
        return list(self._history.get(key, ()))


class MemorySteps:
    """As SqliteSteps. `message_of`: the type of a stored message, and its bytes as far as they are kept."""

    def __init__(
        self,
        worklists: MemoryWorklists,
        worklist: str,
        message_of: Callable[[MessageSeq], OrderReceived | None],
        add: Callable[[Intake], tuple[MessageSeq, Sequence[Delivery]]],
    ) -> None:
        self._all = worklists
        self._worklist = worklist
        self._reading = MemoryWorklistReading(worklists, worklist)
        self._message_of = message_of
        self._add = add

    def item(self, key: ItemKey) -> Item | None:
        return self._reading.item(key)

    def order_of(self, key: ItemKey) -> OrderReceived | None:
        for row in reversed(self._reading.history(key)):
            found = self._message_of(MessageSeq(row.seq)) if row.seq else None
            if found is not None and found.message_type in STATUS_MESSAGES:
                return found
        return None

    def add(self, intake: Intake) -> tuple[MessageSeq, Sequence[tuple[ChannelName, DestinationName]]]:
        seq, deliveries = self._add(intake)
        return seq, [(delivery.channel, delivery.destination) for delivery in deliveries]

    def move(self, changes: Sequence[Change], at_us: int, who: str) -> None:
        if changes:
            self._all.apply(self._worklist, changes, at_us=at_us, seq=0, who=who)


class MemoryPerformed(MemorySteps):
    """As SqlitePerformed."""

    def attributes(self, uid: str) -> Attributes | None:
        return self._all.performed.get(uid)

    def keep(self, performed: Performed, attributes: Attributes, order: PerformedOrder) -> None:
        self._all.performed[performed.uid] = attributes
        self._all.performed_at[performed.uid] = order.at_us

    def items(self, study_uid: str, accession: str) -> Sequence[Item]:
        found = [*self._reading.by_study(study_uid), *self._reading.by_accession(accession)]
        return list({item.key: item for item in found}.values())

    def naming(self, item: Item) -> Sequence[Performed]:
        found = (performed_of(uid, attributes) for uid, attributes in self._all.performed.items())
        return [performed for performed in found if performed is not None]


def counts_of(worklists: MemoryWorklists) -> dict[tuple[str, Status], int]:
    """How many items there are by worklist and status."""
    found: dict[tuple[str, Status], int] = {}
    for name, one in worklists.lists.items():
        for shelved in one.items.values():
            found[name, shelved.item.status] = found.get((name, shelved.item.status), 0) + 1
    return found


def without_station(worklists: MemoryWorklists) -> dict[str, int]:
    """How many items that are shown have no station, by worklist."""
    found = {
        name: sum(shelved.item.is_shown and not shelved.item.stations for shelved in one.items.values())
        for name, one in worklists.lists.items()
    }
    return {name: count for name, count in found.items() if count}
