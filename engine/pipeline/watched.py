"""A message that remembers what was edited in it, so that a trace need not look at all of it after every step.

`each` runs its steps for every segment of a name: holding the whole message against a copy of itself each time would
cost the square of its length. Here each edit leaves the segment that stood there before, and what a step changed is
told from those alone.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from engine.hl7.delimiters import HEADERS
from engine.hl7.message import Message
from engine.hl7.output import segment_text
from engine.pipeline.compare import Change, changes_of_pairs
from engine.pipeline.pairs import Pair, Segment, pair_segments

Kept = str | list[str]
"""A segment as the message holds it: its text, or the fields that an edit put there."""


@dataclass(slots=True, frozen=True)
class _Replaced:
    index: int
    old: Kept


@dataclass(slots=True, frozen=True)
class _Inserted:
    index: int


@dataclass(slots=True, frozen=True)
class _Deleted:
    """One segment; its index is that before anything of the same deletion went."""

    index: int
    old: Kept


_Edit = _Replaced | _Inserted | _Deleted


class Watched(Message):
    """A copy of a message for steps to work on. Work is counted as in any other; telling changes costs none of it."""

    __slots__ = ("_edits", "_looked_for")

    _edits: list[_Edit]
    _looked_for: dict[str, list[int]]

    @classmethod
    def of(cls, message: Message) -> Self:
        self = cls()
        copied = message.copy()
        for name in Message.__slots__:
            if hasattr(copied, name):
                setattr(self, name, getattr(copied, name))
        self._edits = []
        self._looked_for = {}
        return self

    def mark(self) -> int:
        """A moment to tell changes since."""
        # Lists that were edited in place stay as they are from here on, as in `copy`.
        self.edited = set()
        return len(self._edits)

    def changes_since(self, mark: int) -> list[Change]:
        """Every leaf that differs from what stood there at a mark, as `compare.changes` tells it."""
        edits = self._edits[mark:]
        if not edits:
            return []
        replaced = [edit for edit in edits if isinstance(edit, _Replaced)]
        pairs = self._replaced(replaced) if len(replaced) == len(edits) else self._moved(edits)
        return changes_of_pairs(pairs, self.delimiters, self.delimiters)

    # -- every edit of a message comes by here

    def replace_fields(self, index: int, fields: list[str]) -> None:
        self._edits.append(_Replaced(index, self._segments[index]))
        super().replace_fields(index, fields)

    def edit_first(self, name: str) -> list[str]:
        index = self.first(name)
        self._edits.append(_Replaced(index, self._segments[index]))
        return super().edit_first(name)

    def insert_segment(self, index: int, text: str) -> None:
        super().insert_segment(index, text)
        self._edits.append(_Inserted(index))

    def delete_segments(self, indexes: Iterable[int]) -> None:
        segments = self._all()
        gone = sorted({i for i in indexes if 0 <= i < len(segments)})
        old = [_Deleted(i, segments[i]) for i in gone]
        super().delete_segments(gone)
        # The last one first: going back over the edits, each is put in where it stood.
        self._edits += reversed(old)

    def _places_moved(self, *names: str) -> None:
        super()._places_moved(*names)
        self._looked_for = {}

    # -- what became of it

    def _replaced(self, edits: list[_Replaced]) -> list[Pair]:
        """Of segments that all stand where they stood."""
        first: dict[int, Kept] = {}
        for edit in edits:
            first.setdefault(edit.index, edit.old)
        pairs: list[Pair] = []
        for index, old in sorted(first.items()):
            new = self._segment(self._segments[index])
            label = self._label(new.label, self._count_before(new.label, index), self._count(new.label))
            pairs.append((replace(self._segment(old), label=label), replace(new, label=label)))
        return pairs

    def _moved(self, edits: list[_Edit]) -> list[Pair]:
        """Of a stretch of the message: outside of it no segment came, went or was edited."""
        back = _Stretch(self._all())
        for edit in reversed(edits):
            back.undo(edit)
        new = [self._segment(segment) for segment in back.now]
        old = [self._segment(segment) for segment in back.before]
        return pair_segments(self._numbered(old, new, back.start), self._numbered(new, new, back.start))

    def _numbered(self, segments: list[Segment], now: list[Segment], start: int) -> list[Segment]:
        """With the numbers they have in a message that has these segments where `now` stands in this one."""
        seen: dict[str, int] = {}
        total: dict[str, int] = {}
        for name in {segment.label for segment in segments}:
            seen[name] = self._count_before(name, start)
            has = sum(segment.label == name for segment in segments)
            total[name] = self._count(name) - sum(segment.label == name for segment in now) + has
        found = []
        for segment in segments:
            name = segment.label
            found.append(replace(segment, label=self._label(name, seen[name], total[name])))
            seen[name] += 1
        return found

    def _label(self, name: str, before: int, total: int) -> str:
        return f"{name}[{before + 1}]" if total > 1 else name

    def _segment(self, kept: Kept) -> Segment:
        """With its name for a label."""
        separator = self.delimiters.field
        if isinstance(kept, list):
            fields = kept
        else:
            fields = kept.split(separator)
            if fields[0] in HEADERS:
                fields.insert(1, separator)
        return Segment(fields[0], segment_text(kept, separator), fields)

    def _count(self, name: str) -> int:
        return len(self._indexes(name))

    def _count_before(self, name: str, index: int) -> int:
        return bisect_left(self._indexes(name), index)

    def _indexes(self, name: str) -> list[int]:
        """As `indexes`; but nothing is spent, and nothing remembered that the steps would have to spend for."""
        found = self._places.get(name)
        if found is None:
            found = self._looked_for.get(name)
        if found is None:
            allowance, starts = self.allowance, self._starts
            found = self._looked_for[name] = self._find_all(name)
            self.allowance, self._starts = allowance, starts
        return found


class _Stretch:
    """A run of segments now, and what it was before the edits that were undone so far.

    Both begin at `start`; what is outside of it is the same now as before.
    """

    def __init__(self, segments: list[Kept]) -> None:
        self._segments = segments
        self.start = -1
        self._end = -1  # behind the last one, as it is now
        self.before: list[Kept] = []

    @property
    def now(self) -> list[Kept]:
        return self._segments[self.start : self._end]

    def undo(self, edit: _Edit) -> None:
        match edit:
            case _Replaced(index, old):
                self._reach(index, index + 1)
                self.before[index - self.start] = old
            case _Inserted(index):
                self._reach(index, index + 1)
                del self.before[index - self.start]
            case _Deleted(index, old):
                self._reach(index, index)
                self.before.insert(index - self.start, old)

    def _reach(self, first: int, end: int) -> None:
        """Let `before` hold what is from `first` to `end`, as it was numbered then."""
        if self.start < 0:
            self.start = self._end = first
        if first < self.start:
            self.before[:0] = self._segments[first : self.start]
            self.start = first
        more = end - (self.start + len(self.before))
        if more > 0:
            self.before += self._segments[self._end : self._end + more]
            self._end += more
