"""Worklists in SQLite: what a decision looks up, what it changes, and what a query may find.

Changes are written in the transaction that records the delivery they came with (`WorklistRows.apply`). Each names the
revision of the item that it was decided on; where that is gone, `Stale` takes the whole transaction back, and the
decision is made anew.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from zlib import crc32

from engine.adapters.stores.attribute_text import Lazy, known
from engine.adapters.stores.sealed_shapes import WORKLIST
from engine.adapters.stores.sealed_statements import Rows, Statements
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import load_statements
from engine.ports.worklist import HistoryRow, Shelved
from engine.worklist.attributes import SPS
from engine.worklist.changes import Bury, Change, Demographics, Drop, Know, Merge, Put
from engine.worklist.item import STATUSES, Attributes, EntityId, Item, ItemKey, OrderKeys, Status, texts
from engine.worklist.json_form import from_dicom_json, to_dicom_json
from engine.worklist.matching import Query, name_prefix, names_of
from engine.worklist.mpps import Reference, names
from engine.worklist.overlay import MOST_MERGES

Execute = Callable[..., sqlite3.Cursor]
Encode = Callable[[Item], bytes]

CODES: Final = {status: code for code, status in enumerate(STATUSES)}
_LAST: Final = "~"
"""Sorts behind every time."""
_END: Final = "\U0010ffff"
"""Sorts behind every letter."""
_START_DATE: Final = "ScheduledProcedureStepStartDate"


class Stale(Exception):
    """Another change of an item came between a decision and its commit."""


class WorklistReading:
    """What is looked up, on any connection. One worklist by its name."""

    def __init__(self, execute: Execute, worklist: str, sealing: Sealing | None = None) -> None:
        self._run = statements(execute, sealing)
        found = self._run("worklist_id", (worklist,)).fetchone()
        self._id: int = found[0] if found is not None else 0
        self.epoch: int = found[1] if found is not None else 0
        """What the worklist was written to so far; a decision is right only as long as it stays so."""
        self.damaged = 0
        """Items that `candidates` left out, as their bytes are not what was written."""

    # -- changes.Known --------------------------------------------------------------------------

    def by_study(self, uid: str) -> Sequence[Item]:
        return self._items("items_by_study", uid)

    def by_placer(self, number: str) -> Sequence[Item]:
        return self._items("items_by_placer", number)

    def by_filler(self, number: str) -> Sequence[Item]:
        return self._items("items_by_filler", number)

    def by_accession(self, number: str) -> Sequence[Item]:
        return [item_of(row) for row in self._run("items_by_accession", (self._id, number) * 2)]

    def by_patient(self, patient: EntityId) -> Sequence[Item]:
        return self._items("items_by_patient", patient.id, patient.issuer)

    def survivor(self, patient: EntityId) -> EntityId:
        for _ in range(MOST_MERGES):
            further = self.merged_into(patient)
            if further is None:
                break
            patient = further
        return patient

    def merged_into(self, patient: EntityId) -> EntityId | None:
        found = self._run("survivor", (self._id, patient.id, patient.issuer)).fetchone()
        return EntityId(*found) if found is not None else None

    def demographics(self, patient: EntityId) -> Demographics | None:
        found = self._run("patient", (self._id, patient.id, patient.issuer)).fetchone()
        if found is None:
            return None
        return Demographics(from_dicom_json(json.loads(found[0])), bool(found[1]), found[2])

    def tombstone(self, keys: OrderKeys, step_id: str) -> str | None:
        return max(
            (
                str(at)
                for kind, number in _numbers(keys)
                for at, issuer in self._run("tombstone", (self._id, kind, number.id, step_id))
                if not issuer or not number.issuer or issuer == number.issuer
            ),
            default=None,
        )

    def in_progress(self, item: Item) -> bool:
        rows = self._run("in_progress", (item.key.study_uid, item.shown_accession, item.keys.accession.id))
        return names([Reference(*row) for row in rows], item)

    def _items(self, statement: str, *values: str) -> list[Item]:
        return [item_of(row) for row in self._run(statement, (self._id, *values))]

    # -- queries --------------------------------------------------------------------------------

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        """As WorklistReader.candidates: by the key that leaves fewest, of those that have an index."""
        shelved: list[Shelved] = []
        for row in self._candidate_rows(query, most):
            if crc32(row[21].encode() + row[22] + row[26].encode()) == row[23]:
                shelved.append(Shelved(item_of(row, known), row[22]))
            else:
                self.damaged += 1
        self.damaged += self._run.left_out
        self._run.left_out = 0
        return shelved

    def _candidate_rows(self, query: Query, most: int) -> Rows | Iterator[Any]:
        asked = query.requested
        inner = next((part for part in asked.get(SPS, ()) if isinstance(part, Mapping)), {})
        for statement, keyword, times in (
            ("candidates_of_study", "StudyInstanceUID", 1),
            ("candidates_of_accession", "AccessionNumber", 2),
            ("candidates_of_patient", "PatientID", 1),
        ):
            value = _single(asked, keyword)
            if value:
                return self._run(statement, ((self._id, value) * times) + (most,))
        low, high = _days(texts(inner, _START_DATE))
        has_all = query.names_status
        stations = _plain(inner, "ScheduledStationAETitle")
        name = name_prefix(query)
        if stations and (low or not name):
            return self._run("candidates_of_station", (json.dumps(stations), low, high, self._id, has_all, most))
        if name and self._run.sealing.is_on:
            return self._with_sealed_name(name, low, high, has_all, most)
        if name:
            return self._run("candidates_of_name", (name, name + _END, self._id, has_all, most))
        modalities = _plain(inner, "Modality")
        if modalities and not has_all:
            values = (self._id, json.dumps(modalities), low, high, most)
            return self._run("candidates_of_modality", values)
        return self._run("candidates_all" if has_all else "candidates_shown", (self._id, low, high, most))

    def _with_sealed_name(self, name: str, low: str, high: str, has_all: bool, most: int) -> Iterator[Any]:
        """Items with a name that begins so. Sealed names have no order that an index could find them by, and what made
        them so, such as hashes of what they begin with, would tell them by how often each comes: so each in the range
        of days is opened."""
        found: dict[int, None] = {}
        for group, item in self._run("all_names" if has_all else "shown_names", (self._id, low, high)):
            if group.startswith(name):
                found[item] = None
                if len(found) == most:
                    break
        return (row for id_ in found for row in self._run("candidate", (id_,)))

    def item(self, key: ItemKey) -> Item | None:
        """One item, whatever its status."""
        row = self._run("item", (self._id, key.study_uid, key.step_id)).fetchone()
        return item_of(row) if row is not None else None

    def history(self, key: ItemKey) -> list[HistoryRow]:
        """What happened to an item, in order."""
        rows = self._run("history", (self._id, key.study_uid, key.step_id))
        return [HistoryRow(at, seq, who, what, STATUSES[status]) for at, seq, who, what, status in rows]


def statements(execute: Execute, sealing: Sealing | None) -> Statements:
    """Those of worklists, on this connection."""
    return Statements(execute, _SQL, WORKLIST, sealing or Sealing())


def counts_of(execute: Execute) -> dict[tuple[str, Status], int]:
    """How many items there are by worklist and status."""
    names = [name for (name,) in execute(_SQL["names"])]
    if len(names) == 1:  # as nearly always: an index has it, without a look at the items
        return {(names[0], STATUSES[status]): count for status, count in execute(_SQL["counts_of_all"])}
    return {(name, STATUSES[status]): count for name, status, count in execute(_SQL["counts"])}


def without_station(execute: Execute) -> dict[str, int]:
    """How many items that are shown have no station, by worklist."""
    return dict(execute(_SQL["without_station"]))


class WorklistRows:
    """What is written, within a transaction of somebody else's."""

    def __init__(self, execute: Execute, encode: Encode, sealing: Sealing | None = None) -> None:
        self._run = statements(execute, sealing)
        self._encode = encode

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
        """Write all of them. Raises Stale where an item is not as it was when they were decided, or, with `seen`, where
        anything of the worklist was written since it had that epoch: then nothing may stay of what is written here.
        `then`: the epoch from now on, later than it was; None for the next.
        """
        list_id, epoch = self._worklist(worklist)
        if seen is not None and seen != epoch:
            raise Stale("the worklist was written to meanwhile")
        self._run("set_epoch", {"id": list_id, "epoch": epoch + 1 if then is None else then})
        # An item that is changed twice here is another revision the second time.
        revisions: dict[ItemKey, int] = {}
        for change in changes:
            match change:
                case Put(item=item, before=None, what=what):
                    self._insert(list_id, item, at_us, self._encoded(change))
                    revisions[item.key] = item.revision
                    self._note(list_id, item, at_us, seq, who, what)
                case Put(item=item, before=before, what=what):
                    assert before is not None
                    now = replace(item, revision=revisions.get(item.key, item.revision))
                    self._change(list_id, now, at_us, self._encoded(change))
                    revisions[item.key] = now.revision + 1
                    self._note(list_id, item, at_us, seq, who, what)
                case Drop(item=item, what=what):
                    self._drop(list_id, replace(item, revision=revisions.pop(item.key, item.revision)))
                    self._note(list_id, item, at_us, seq, who, what)
                case Bury(keys=keys, step_id=step_id, at=at):
                    for kind, number in _numbers(keys):
                        values = (list_id, kind, number.id, number.issuer, step_id, at, at_us)
                        self._run("put_tombstone", values)
                case Merge(prior=prior, survivor=survivor):
                    alias = (list_id, prior.id, prior.issuer, survivor.id, survivor.issuer, at_us)
                    self._run("put_alias", alias)
                case Know(patient=patient, demographics=known):
                    said = (_json(known.attributes), known.from_adt, known.at)
                    self._run("put_patient", (list_id, patient.id, patient.issuer, *said, at_us))

    def _encoded(self, put: Put) -> bytes:
        return put.encoded or self._encode(put.item)

    def _worklist(self, name: str) -> tuple[int, int]:
        found = self._run("worklist_id", (name,)).fetchone()
        if found is None:
            self._run("insert_worklist", (name,))
            found = self._run("worklist_id", (name,)).fetchone()
        return int(found[0]), int(found[1])

    def _insert(self, worklist: int, item: Item, at_us: int, encoded: bytes) -> None:
        values = _values(worklist, item, at_us, encoded)
        try:
            (id_,) = self._run("put_item", tuple(values.values())).fetchone()
        except sqlite3.IntegrityError:
            raise Stale(f"the step is there already: {item.key.study_uid}") from None
        self._found_by(id_, item)

    def _change(self, worklist: int, item: Item, at_us: int, encoded: bytes) -> None:
        found = self._run("change_item", _values(worklist, item, at_us, encoded)).fetchone()
        if found is None:
            raise Stale(f"the step is not as it was: {item.key.study_uid}")
        self._run("drop_stations", (found[0],))
        self._run("drop_names", (found[0],))
        self._found_by(found[0], item)

    def _drop(self, worklist: int, item: Item) -> None:
        values = (worklist, item.key.study_uid, item.key.step_id, item.revision)
        # Its stations and names first: they refer to it.
        row = self._run.as_stored("item", values[:3]).fetchone()
        if row is None or row[19] != item.revision:
            raise Stale(f"the step is not as it was: {item.key.study_uid}")
        self._run("drop_stations", (row[0],))
        self._run("drop_names", (row[0],))
        self._run("drop_item", values)

    def _found_by(self, id_: int, item: Item) -> None:
        for ae in item.stations:
            self._run("put_station", (ae, item.starts_at, id_))
        for name in names_of(item):
            self._run("put_name", (name, id_))

    def _note(self, worklist: int, item: Item, at_us: int, seq: int, who: str, what: str) -> None:
        key = item.key
        values = (worklist, key.study_uid, key.step_id, at_us, seq, who, what, CODES[item.status])
        self._run("put_history", values)


def _values(worklist: int, item: Item, at_us: int, encoded: bytes) -> dict[str, object]:
    attributes = _json(item.attributes)
    keys = item.keys
    shown = item.shown_accession
    originals = json.dumps(dict(item.originals), ensure_ascii=False, sort_keys=True) if item.originals else ""
    return {
        "worklist": worklist,
        "study_uid": item.key.study_uid,
        "step_id": item.key.step_id,
        "status": CODES[item.status],
        "is_held": item.is_held,
        "patient": item.patient.id,
        "patient_issuer": item.patient.issuer,
        "placer": keys.placer.id,
        "placer_issuer": keys.placer.issuer,
        "filler": keys.filler.id,
        "filler_issuer": keys.filler.issuer,
        "accession": keys.accession.id,
        "accession_issuer": keys.accession.issuer,
        "visit": item.visit.id,
        "visit_issuer": item.visit.issuer,
        "starts_at": item.starts_at,
        "ordered_at": item.ordered_at,
        "uid_origin": item.uid_origin,
        "revision": item.revision,
        "changed_at_us": at_us,
        "attributes": attributes,
        "encoded": encoded,
        "crc": crc32(attributes.encode() + encoded + originals.encode()),
        "modality": next(iter(texts(item.step, "Modality")), ""),
        "shown_accession": shown if shown != keys.accession.id else "",
        "originals": originals,
    }


def is_whole(row: Sequence[Any]) -> bool:
    """Whether a row of worklist_item is as it was written."""
    return bool(crc32(row[21].encode() + row[22] + row[26].encode()) == row[23])


def item_of(row: Sequence[Any], read: Callable[[str], Attributes] | None = None) -> Item:
    """An item of a row of worklist_item. `read`: its attributes out of their JSON."""
    key = ItemKey(row[2], row[3])
    keys = OrderKeys(row[2], EntityId(row[8], row[9]), EntityId(row[10], row[11]), EntityId(row[12], row[13]))
    return Item(
        key,
        EntityId(row[6], row[7]),
        keys,
        (read or Lazy)(row[21]),
        row[16],
        row[18],
        STATUSES[row[4]],
        bool(row[5]),
        row[17],
        EntityId(row[14], row[15]),
        row[19],
        json.loads(row[26]) if row[26] else {},
    )


def _numbers(keys: OrderKeys) -> Iterator[tuple[str, EntityId]]:
    if keys.study_uid:
        yield "study", EntityId(keys.study_uid)
    for kind, number in (("placer", keys.placer), ("filler", keys.filler), ("accession", keys.accession)):
        if number:
            yield kind, number


def _json(attributes: Attributes) -> str:
    return json.dumps(to_dicom_json(attributes), ensure_ascii=False, separators=(",", ":"))


def _single(attributes: Attributes, keyword: str) -> str:
    """The one value of a key that is matched as it stands; '' where it is a list or has wildcards."""
    values = [value.strip(" ") for value in texts(attributes, keyword)]
    if len(values) != 1 or "*" in values[0] or "?" in values[0]:
        return ""
    return values[0]


def _plain(attributes: Attributes, keyword: str) -> list[str]:
    """The values of a key, any of which may match, where all are matched as they stand; else none."""
    values = [value.strip(" ") for value in texts(attributes, keyword)]
    return values if all(values) and not any("*" in value or "?" in value for value in values) else []


def _days(values: Sequence[str]) -> tuple[str, str]:
    """Bounds on the start that no match of a date key is outside of."""
    if len(values) != 1:
        return "", _LAST
    low, mark, high = values[0].strip(" ").replace(".", "").partition("-")
    if not low.strip(" *") and not high.strip(" *"):
        return "", _LAST
    if not mark:
        high = low
    return low.strip(" "), (high.strip(" ") + _LAST if high.strip(" ") else _LAST)


_SQL: Final = load_statements("worklist.sql")
