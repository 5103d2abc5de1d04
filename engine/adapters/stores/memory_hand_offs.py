"""What others have of worklists, in memory: what `engine.adapters.stores.hand_offs` does in SQLite."""

from collections.abc import Mapping, Sequence

from engine.adapters.stores.memory_rows import MemoryRows
from engine.adapters.stores.memory_worklist import OneWorklist
from engine.ports.hand_off import Backlog, Handed, WaitingStep
from engine.worklist.item import ItemKey


class MemoryHandOffs:
    """A HandOffView on the rows of a store, whose lock is held."""

    def __init__(self, rows: MemoryRows) -> None:
        self._rows = rows

    def epoch(self, worklist: str) -> int:
        """As HandOffView.epoch."""
        return self._list(worklist).epoch

    def waiting(self, hand_off: str, worklist: str, most: int) -> Sequence[WaitingStep]:
        """As HandOffView.waiting."""
        one = self._list(worklist)
        handed = self._rows.handed.get(hand_off, {})
        hidden: list[WaitingStep] = []
        for key, had in sorted(handed.items()):
            shelved = one.items.get(key)
            if shelved is None:
                hidden.append(WaitingStep(key, "", None, had))
            elif not shelved.item.is_shown and had.mark != _mark(one, key):
                hidden.append(WaitingStep(key, _mark(one, key), shelved, had))
        shown = [
            WaitingStep(key, _mark(one, key), shelved, handed.get(key))
            for key, shelved in one.items.items()
            if shelved.item.is_shown and (key not in handed or handed[key].mark != _mark(one, key))
        ]
        shown.sort(key=lambda step: step.shelved.item.starts_at if step.shelved is not None else "")
        return hidden[:most] + shown[:most]

    def backlog(self, hand_off: str, worklist: str) -> Backlog:
        """As HandOffView.backlog."""
        found = self.waiting(hand_off, worklist, 1 << 62)
        history = self._list(worklist).history
        written = [history[step.key][-1].at_us for step in found if step.is_shown]
        return Backlog(len(found), min(written, default=0))

    def handed(self, hand_off: str) -> Sequence[Handed]:
        """As HandOffView.handed."""
        return [one for _, one in sorted(self._rows.handed.get(hand_off, {}).items())]

    def known(self) -> Mapping[str, int]:
        """As HandOffView.known."""
        return {
            name: sum(one.is_shown for one in handed.values())
            for name, handed in sorted(self._rows.handed.items())
            if handed
        }

    def _list(self, worklist: str) -> OneWorklist:
        return self._rows.worklists.lists.get(worklist) or OneWorklist()


def _mark(one: OneWorklist, key: ItemKey) -> str:
    history = one.history[key]
    return f"{len(history)}.{one.items[key].item.revision}.{history[-1].at_us}"
