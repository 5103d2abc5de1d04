"""What others have of worklists, in SQLite."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.adapters.stores.sealed_shapes import HAND_OFF
from engine.adapters.stores.sealed_statements import Statements
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import load_statements
from engine.adapters.stores.worklist import Execute, WorklistReading, is_whole, item_of
from engine.ports.hand_off import Backlog, Handed, HandedOver, WaitingStep
from engine.ports.worklist import Shelved
from engine.worklist.item import ItemKey


class SqliteHandOffs:
    """A HandOffView on a connection within a read transaction."""

    def __init__(self, execute: Execute, sealing: Sealing | None = None) -> None:
        self._execute = execute
        self._sealing = sealing
        self._run = _statements(execute, sealing)

    def epoch(self, worklist: str) -> int:
        """As HandOffView.epoch."""
        return WorklistReading(self._execute, worklist, self._sealing).epoch

    def waiting(self, hand_off: str, worklist: str, most: int) -> Sequence[WaitingStep]:
        """As HandOffView.waiting. An item that is damaged is left as it is."""
        asked = {"hand_off": hand_off, "worklist": self._id(worklist), "most": most}
        found: list[WaitingStep] = []
        for study, step, had, is_shown, token, mark, id_ in self._run("handed_and_not_shown", asked):
            shelved = None
            if id_ is not None and (shelved := _shelved(self._run("item_by_id", (id_,)).fetchone())) is None:
                continue
            key = ItemKey(study, step)
            found.append(WaitingStep(key, mark or "", shelved, Handed(key, had, bool(is_shown), token)))
        for row in self._run("shown_and_not_handed", asked):
            shelved = _shelved(row)
            if shelved is None:
                continue
            mark, had, is_shown, token = row[27:31]
            key = shelved.item.key
            handed = Handed(key, had, bool(is_shown), token) if had is not None else None
            found.append(WaitingStep(key, mark, shelved, handed))
        return found

    def backlog(self, hand_off: str, worklist: str) -> Backlog:
        """As HandOffView.backlog."""
        asked = {"hand_off": hand_off, "worklist": self._id(worklist)}
        count, oldest_us = self._run("count_not_handed", asked).fetchone()
        (more,) = self._run("count_not_shown", asked).fetchone()
        return Backlog(count + more, oldest_us)

    def handed(self, hand_off: str) -> Sequence[Handed]:
        """As HandOffView.handed."""
        rows = self._run("handed", (hand_off,))
        return [Handed(ItemKey(study, step), mark, bool(shown), token) for study, step, mark, shown, token in rows]

    def known(self) -> Mapping[str, int]:
        """As HandOffView.known."""
        return {name: count for name, count, _ in self._run("hand_offs")}

    def _id(self, worklist: str) -> int:
        found = self._execute(_WORKLIST["worklist_id"], (worklist,)).fetchone()
        return found[0] if found is not None else 0


def hand_over(execute: Execute, order: HandedOver, sealing: Sealing | None = None) -> None:
    """As Store.hand_over, within a transaction."""
    run = _statements(execute, sealing)
    for key in order.gone:
        run("drop_handed", (order.hand_off, key.study_uid, key.step_id))
    for one in order.kept:
        key = one.key
        values = (order.hand_off, key.study_uid, key.step_id, one.mark, one.is_shown, one.token, order.at_us)
        run("put_handed", values)


def _statements(execute: Execute, sealing: Sealing | None) -> Statements:
    return Statements(execute, _SQL, HAND_OFF, sealing or Sealing())


def _shelved(row: Sequence[Any] | None) -> Shelved | None:
    if row is None or not is_whole(row):
        return None
    return Shelved(item_of(row), row[22])


_SQL: Final = load_statements("hand_off.sql")
_WORKLIST: Final = load_statements("worklist.sql")
