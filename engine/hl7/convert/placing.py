"""Which group of its structure each segment of a message belongs to: the levels that XML shows and ER7 does not.

Segments are placed in order. Each goes to the next place that fits: a repetition of the place before it, a later place
of the same group, a repetition of that group, then the same in the group around it. What fits nowhere, a Z-segment or
one out of order, stays in the group that is open, so that no order is ever changed (spec items 44, 48 and 72).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from engine.hl7.dictionary import ANY_SEGMENT, Group, SegmentRef, StructureDef


@dataclass(slots=True)
class Placed:
    """One repetition of a group, or the message: its segments by index and the groups inside of it, in order."""

    name: str
    children: "list[int | Placed]" = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class _Level:
    """A group of a structure without its choices: HL7 leaves those unnamed, and HAPI has no level for them."""

    name: str
    minimum: int
    maximum: int | None
    children: "tuple[_Level | SegmentRef, ...]"
    begins: frozenset[str]
    """Segments that may be the first of it."""
    holds: frozenset[str]
    """All that may stand in it, at any depth."""


@dataclass(slots=True)
class _Open:
    """A group that is being filled. `at` is the child that was filled last, -1 for none; `count` how often."""

    level: _Level
    placed: Placed
    at: int = -1
    count: int = 0


def place(names: Sequence[str], structure: StructureDef | None) -> Placed:
    """The segments of a message, named in order, in the groups of its structure; all at the top without one."""
    if structure is None:
        return Placed("", list(range(len(names))))
    placer = _Placer(_root(structure))
    for index, name in enumerate(names):
        placer.put(index, name)
    return placer.root


class _Placer:
    """Puts segments into an open structure, one after the other."""

    def __init__(self, root: _Level) -> None:
        self.root = Placed("")
        self._open = [_Open(root, self.root)]

    def put(self, index: int, name: str) -> None:
        """The next segment: where everything required before it is there, else wherever it may stand, else here."""
        if not (self._try(index, name, strict=True) or self._try(index, name, strict=False)):
            self._open[-1].placed.children.append(index)

    def _try(self, index: int, name: str, *, strict: bool) -> bool:
        for depth in range(len(self._open) - 1, -1, -1):
            group = self._open[depth]
            if (at := _next_place(group, name, strict=strict)) is not None:
                del self._open[depth + 1 :]
                self._enter(group, at, index, name)
                return True
            if depth and strict and name in group.level.begins and self._may_repeat(depth):
                del self._open[depth:]
                parent = self._open[-1]
                self._enter(parent, parent.at, index, name)
                return True
        return False

    def _may_repeat(self, depth: int) -> bool:
        most = self._open[depth].level.maximum
        return most is None or self._open[depth - 1].count < most

    def _enter(self, group: _Open, at: int, index: int, name: str) -> None:
        """Put the segment into child `at` of a group, and open every group on the way down to it."""
        while True:
            group.count = group.count + 1 if at == group.at else 1
            group.at = at
            child = group.level.children[at]
            if isinstance(child, SegmentRef):
                group.placed.children.append(index)
                return
            inner = _Open(child, Placed(child.name))
            group.placed.children.append(inner.placed)
            self._open.append(inner)
            group = inner
            found = _next_place(inner, name, strict=True)
            at = found if found is not None else _anywhere(inner, name)


def _next_place(group: _Open, name: str, *, strict: bool) -> int | None:
    """The child of an open group that the segment goes to, at the last filled one or behind it; None for none."""
    children = group.level.children
    if group.at >= 0:
        last = children[group.at]
        if isinstance(last, SegmentRef):
            is_full = last.maximum is not None and group.count >= last.maximum
            if last.name == name and not is_full:
                return group.at
    for at in range(group.at + 1, len(children)):
        child = children[at]
        if isinstance(child, SegmentRef):
            if child.name == name or (not strict and child.name == ANY_SEGMENT and not name.startswith("Z")):
                return at
        elif name in (child.begins if strict else child.holds):
            return at
        if strict and child.minimum > 0:
            return None
    return None


def _anywhere(group: _Open, name: str) -> int:
    found = _next_place(group, name, strict=False)
    assert found is not None, "the group was entered as it holds the segment"
    return found


@lru_cache(maxsize=256)
def _root(structure: StructureDef) -> _Level:
    return _level(Group("", 1, 1, False, structure.children))


def _level(group: Group) -> _Level:
    children = tuple(_without_choices(group.children))
    begins: set[str] = set()
    for child in children:
        begins |= {child.name} if isinstance(child, SegmentRef) else child.begins
        if child.minimum > 0:
            break
    holds: set[str] = set()
    for child in children:
        holds |= {child.name} if isinstance(child, SegmentRef) else child.holds
    return _Level(group.name, group.minimum, group.maximum, children, frozenset(begins), frozenset(holds))


def _without_choices(children: Sequence[Group | SegmentRef]) -> Iterator[_Level | SegmentRef]:
    for child in children:
        if isinstance(child, SegmentRef):
            yield child
        elif child.is_choice:
            for alternative in _without_choices(child.children):
                if isinstance(alternative, SegmentRef):
                    yield SegmentRef(alternative.name, 0, alternative.maximum)
                else:
                    yield _Level(
                        alternative.name,
                        0,
                        alternative.maximum,
                        alternative.children,
                        alternative.begins,
                        alternative.holds,
                    )
        else:
            yield _level(child)
