"""Performed procedure steps in SQLite: kept as scanners told them, and what they do to the items that they name.

One transaction: a scanner that is told Success finds the step as it said, and the items moved (dicom.md section 1.9).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from engine.adapters.stores.moved_steps import SqliteSteps, StepRows, tell_of
from engine.ports.worklist import MppsReply, PerformedOrder, Teller
from engine.worklist.changes import Change
from engine.worklist.item import Attributes, Item, ItemKey
from engine.worklist.mpps import (
    INVALID_VALUE,
    MISSING_VALUE,
    SUCCESS,
    Performed,
    change,
    create,
    effect,
    meant,
    names,
    performed_of,
    reason_of,
)

MOST_BYTES: Final = 1024 * 1024
STATUS: Final = "PerformedProcedureStepStatus"
REFERENCES: Final = "ScheduledStepAttributesSequence"


class PerformedRows(StepRows, Protocol):
    """Where performed steps are kept, and what is on the worklist."""

    def attributes(self, uid: str) -> Attributes | None: ...

    def keep(self, performed: Performed, attributes: Attributes, order: PerformedOrder) -> None: ...

    def items(self, study_uid: str, accession: str) -> Sequence[Item]: ...

    def naming(self, item: Item) -> Sequence[Performed]:
        """All that may name this item."""
        ...


def perform(order: PerformedOrder, rows: PerformedRows, tell: Teller | None = None) -> MppsReply:
    """Carry out an N-CREATE or N-SET; to be called within a transaction."""
    before = rows.attributes(order.uid)
    known = performed_of(order.uid, before) if before is not None else None
    status = next((value for value in order.attributes.get(STATUS, ()) if isinstance(value, str)), "")
    if order.is_new:
        new = performed_of(order.uid, order.attributes)
        if new is None and known is None:
            return MppsReply(INVALID_VALUE if status else MISSING_VALUE, "a performed step begins IN PROGRESS")
        answer = create(known, new if new is not None else Performed(order.uid, "IN PROGRESS"))
    else:
        answer = change(known, status, reason_of(order.attributes))
    if answer.status != SUCCESS or answer.performed is None:
        return MppsReply(answer.status, answer.text)
    attributes = _together(before or {}, order.attributes)
    if len(dump(attributes)) > MOST_BYTES:
        return MppsReply(INVALID_VALUE, "the performed step is larger than any real one")
    performed = performed_of(order.uid, attributes)
    assert performed is not None, "it has a status"
    items = _named(performed, rows)
    changes = _changes(performed, items, rows)
    _, lanes = tell_of(order.worklist, changes, order.at_us, rows, tell)
    rows.keep(performed, attributes, order)
    rows.move(changes, order.at_us, f"MPPS {order.calling}")
    return MppsReply(SUCCESS, grown=tuple(lanes), items=len(items))


def _together(before: Attributes, now: Attributes) -> Attributes:
    """What is known of a performed step. Which scheduled steps it is of is said once, and a status is one of its own:
    an N-SET that has them empty, as those of some scanners do, takes neither away (PS3.4 Table F.7.2-1)."""
    kept = {keyword for keyword in (STATUS, REFERENCES) if before.get(keyword) and not now.get(keyword)}
    return {**before, **{keyword: values for keyword, values in now.items() if keyword not in kept}}


def _named(performed: Performed, rows: PerformedRows) -> Sequence[Item]:
    """Every item that the performed step names."""
    named: dict[ItemKey, Item] = {}
    for reference in performed.references:
        for item in meant(reference, rows.items(reference.study_uid, reference.accession)):
            named[item.key] = item
    return list(named.values())


def _changes(performed: Performed, items: Sequence[Item], rows: PerformedRows) -> list[Change]:
    """Of each of the items, at most one."""
    changes: list[Change] = []
    for item in items:
        others = [other for other in rows.naming(item) if other.uid != performed.uid and names(other.references, item)]
        put = effect(performed, item, others)
        if put is not None:
            changes.append(put)
    return changes


class SqlitePerformed(SqliteSteps):
    """The rows of one worklist, on a connection with an open transaction."""

    def attributes(self, uid: str) -> Attributes | None:
        row = self._run("mpps", (uid,)).fetchone()
        return load(row[0]) if row is not None else None

    def keep(self, performed: Performed, attributes: Attributes, order: PerformedOrder) -> None:
        self._run(
            "put_mpps",
            {
                "uid": performed.uid,
                "status": performed.status,
                "calling": order.calling,
                "station": performed.station,
                "reason": performed.reason[0],
                "reason_scheme": performed.reason[1],
                "at_us": order.at_us,
                "attributes": dump(attributes),
            },
        )
        self._run("drop_mpps_references", (performed.uid,))
        for one in performed.references:
            self._run("put_mpps_reference", (performed.uid, one.study_uid, one.step_id, one.accession))

    def items(self, study_uid: str, accession: str) -> Sequence[Item]:
        found = [*self._reading.by_study(study_uid), *(self._reading.by_accession(accession) if accession else ())]
        return list({item.key: item for item in found}.values())

    def naming(self, item: Item) -> Sequence[Performed]:
        rows = self._run("mpps_naming", (item.key.study_uid, item.shown_accession, item.keys.accession.id)).fetchall()
        found = (performed_of(uid, load(attributes)) for uid, attributes in rows)
        return [performed for performed in found if performed is not None]


def dump(attributes: Attributes) -> str:
    """Attributes of a performed step as JSON."""

    def made(here: Attributes) -> dict[str, Any]:
        return {
            keyword: [value if isinstance(value, str) else made(value) for value in values]
            for keyword, values in here.items()
        }

    return json.dumps(made(attributes), ensure_ascii=False, separators=(",", ":"))


def load(text: str) -> Attributes:
    """The inverse of `dump`."""
    return _read(json.loads(text))


def _read(made: Mapping[str, Any]) -> Attributes:
    read: Callable[[Any], Any] = lambda value: value if isinstance(value, str) else _read(value)  # noqa: E731
    return {keyword: tuple(read(value) for value in values) for keyword, values in made.items()}
