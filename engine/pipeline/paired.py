"""Two heaps of messages held against each other: which belong together, where they differ, and how often.

What another engine made of a feed and what we make of it should be the same message by message; so messages are paired
by what they have in common, the control id (MSH-10) as a rule, and every difference is put to its place: `OBX-5`
for the fifth field of each OBX. Holds values: for the terminal of the analyst who may see them.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.pipeline.compare import Change, changes

_NUMBER = re.compile(r"\[\d+\]")


@dataclass(slots=True, frozen=True)
class One:
    """A message of either heap. `name` is how people call it."""

    name: str
    message: Message


@dataclass(slots=True, frozen=True)
class Pair:
    """Two messages that belong together, and what differs; None where the other heap has none for it."""

    key: str
    left: One | None
    right: One | None
    changes: tuple[Change, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether both are there and nothing differs."""
        return self.left is not None and self.right is not None and not self.changes


@dataclass(slots=True)
class Place:
    """A place at which pairs differ. `messages` counts pairs, `first` is the first pair with its change."""

    path: str
    messages: int = 0
    changes: int = 0
    first: tuple[Pair, Change] | None = None


@dataclass(slots=True)
class Compared:
    """All of it, counted. `only_left` and `only_right` are the keys of messages without their like."""

    same: int = 0
    differing: int = 0
    only_left: list[str] = field(default_factory=list)
    only_right: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def note(self, pair: Pair) -> None:
        """Count one pair."""
        if pair.left is None or pair.right is None:
            (self.only_left if pair.right is None else self.only_right).append(pair.key)
        elif pair.is_same:
            self.same += 1
        else:
            self.differing += 1
            seen = set()
            for change in pair.changes:
                path = plain(change.path)
                place = self.places.setdefault(path, Place(path))
                place.changes += 1
                place.messages += path not in seen
                place.first = place.first or (pair, change)
                seen.add(path)

    @property
    def is_same(self) -> bool:
        """Whether every message has its like on the other side."""
        return not (self.differing or self.only_left or self.only_right)


def paired(left: Iterable[One], right: Iterable[One], by: Path, ignored: Sequence[str] = ()) -> Iterator[Pair]:
    """Every message of both once, those that belong together as a pair.

    `by` says what they have in common; of several with the same value the first belongs to the first, the second to the
    second. Messages without a value there are paired in order too. `ignored`: places that may differ, with all below.
    """
    waiting: dict[str, deque[One]] = defaultdict(deque)
    for one in right:
        waiting[by.get(one.message) or ""].append(one)
    for one in left:
        key = by.get(one.message) or ""
        others = waiting.get(key)
        if not others:
            yield Pair(key or one.name, one, None)
            continue
        other = others.popleft()
        yield Pair(key or one.name, one, other, tuple(_counting(one, other, ignored)))
    for key, others in waiting.items():
        for other in others:
            yield Pair(key or other.name, None, other)


def _counting(left: One, right: One, ignored: Sequence[str]) -> Iterator[Change]:
    for change in changes(left.message, right.message):
        if not any(_covers(place, plain(change.path)) for place in ignored):
            yield change


def _covers(place: str, path: str) -> bool:
    return path == place or path.startswith((f"{place}-", f"{place}."))


def plain(path: str) -> str:
    """A path without the numbers of segments and repetitions."""
    return _NUMBER.sub("", path)
