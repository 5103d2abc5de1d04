"""What deliveries do to worklists, in the transaction that records their ends."""

from collections.abc import Sequence
from typing import Protocol, cast

from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.statements import load_statements
from engine.adapters.stores.worklist import Stale, WorklistRows
from engine.model.envelope import DeliveryResult
from engine.model.outcome import Effects
from engine.worklist.changes import Change
from engine.worklist.item import Item


class _Applies(Protocol):
    def __call__(self, effects: Effects, result: DeliveryResult) -> None: ...


def encoded(item: Item) -> bytes:
    """An item's DICOM elements. Raises what `encode` does."""
    from engine.adapters.dicom.encode import encode  # pydicom: only where there is a worklist

    return encode(item).dump()


def changes_of(effects: Effects) -> tuple[Change, ...]:
    """The changes, which the model knows nothing of."""
    return cast(tuple[Change, ...], effects.changes)


def without_stale(results: Sequence[DeliveryResult], apply: _Applies) -> Sequence[DeliveryResult]:
    """Write the effects of `results` one by one; those that are to be recorded, the others are marked as stale.

    `apply` raises Stale, and has written nothing then.
    """
    if not any(result.effects is not None for result in results):
        return results
    kept: list[DeliveryResult] = []
    for result in results:
        result.is_stale = False
        if result.effects is not None:
            try:
                apply(result.effects, result)
            except Stale:
                result.is_stale = True
                continue
        kept.append(result)
    return kept


class SqliteEffects:
    """Writes effects within a transaction that is open."""

    def __init__(self, db: WriteConnection) -> None:
        self._db = db
        self._rows = WorklistRows(db.execute, encoded, db.sealing)
        self._seq_of = load_statements("worklist.sql")["seq_of_delivery"]

    def __call__(self, effects: Effects, result: DeliveryResult) -> None:
        """All of them; or nothing, and Stale."""
        run = self._db.execute
        found = run(self._seq_of, (result.delivery_id,)).fetchone()
        if found is None:
            return  # no such delivery: the results say so
        run("SAVEPOINT effects")
        try:
            self._rows.apply(
                effects.worklist,
                changes_of(effects),
                at_us=result.at_us,
                seq=found[0],
                who=effects.who,
                seen=effects.seen,
                then=effects.then,
            )
        except Stale:
            run("ROLLBACK TO effects")
            run("RELEASE effects")
            raise
        # Any other failure takes the whole transaction back.
        run("RELEASE effects")
