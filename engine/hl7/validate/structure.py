"""A message's segments held against its structure: groups, order, how often each stands there.

The structure is a tree of places. One segment after the other is led from the place of the one before to the nearest
place that can take it: the same again, further on in the same group, the group again, then the same in the group
around. Where several can take it, the nearest is taken from which the segments after it can follow. What is missing or
too many is told when a group ends, by counting. Steps are remembered, so that most segments cost a look-up.

HL7 v2.5.1 section 2.12 (message construction), hl7.md items 48, 66 and 72.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.hl7.dictionary import ANY_SEGMENT, Group, SegmentRef, StructureDef
from engine.hl7.profile import Part
from engine.hl7.validate.rules import Breach, Judge, profile_breach
from engine.hl7.validate.run import Found, Run

_LOOK_AHEAD: Final = 8
_START: Final = ""
"""Names the place before the first segment. Blank lines have that name too, and are led nowhere."""


@dataclass(slots=True, eq=False)
class Place:
    """A segment's or group's place in the structure, with what is said when it is missing or too many there.

    `part` is what the profile says of it beyond `least` and `most`: a usage that hangs on a condition. `counted` are
    the parts that are counted in each instance of this group, wherever in it they stand.
    """

    name: str
    least: int
    most: int | None
    parent: "Place | None" = None
    index: int = -1
    is_group: bool = False
    is_choice: bool = False
    missing: Breach | None = None
    repeated: Breach | None = None
    part: Part | None = None
    counted: tuple[Part, ...] = ()
    groups: frozenset[str] = frozenset()
    children: "list[Place]" = field(default_factory=list)
    steps: "dict[str, tuple[Step, ...]]" = field(default_factory=dict)
    followers: "dict[str, Place | None]" = field(default_factory=dict)

    def first_segment(self) -> str:
        """The name of the segment to ask for where this is missing."""
        for child in self.children:
            if child.least or self.is_choice:
                return child.first_segment()
        return self.children[0].first_segment() if self.children else self.name

    @property
    def repeats(self) -> bool:
        """Whether it may stand there more than once."""
        return self.most is None or self.most > 1

    def may_be_empty(self) -> bool:
        """Whether nothing needs to stand in its place."""
        if not self.least:
            return True
        if not self.is_group:
            return False
        each = [child.may_be_empty() for child in self.children]
        return any(each) if self.is_choice else all(each)


@dataclass(slots=True, frozen=True)
class Step:
    """Where a segment leads: in the instance of `inside`, which goes on, one more of `enter`, the last its own place.

    `is_back`: the place is before the one reached, so that nothing moves. No `inside`: no such place can be reached.
    """

    inside: Place | None = None
    enter: tuple[Place, ...] = ()
    is_back: bool = False


class _Instance:
    """One occurrence of a group (or the message): how many of each child there are, and where the last one stands."""

    __slots__ = ("begin", "counts", "extra", "lasts", "place")

    def __init__(self, place: Place, begin: int) -> None:
        self.place = place
        self.begin = begin
        self.counts = [0] * len(place.children)
        self.lasts = [-1] * len(place.children)
        self.extra = [0] * len(place.counted)

    def gap(self, index: int) -> int:
        """Before which segment the child with that index would stand."""
        return max(self.lasts[:index], default=self.begin - 1) + 1 or self.begin


class Structure:
    """One structure, compiled for one profile."""

    def __init__(self, definition: StructureDef, judge: Judge, parts: Sequence[Part]) -> None:
        self._names = definition.segment_names()
        self._takes_any = ANY_SEGMENT in self._names
        self._judge = judge
        self._parts = parts
        self._root = Place(definition.id, 1, 1, is_group=True)
        self._start = Place(_START, 0, 1, self._root)
        self._breaches: dict[tuple[str, str], Breach | None] = {}
        self._counts_extra = False
        self._root.children = list(self._places(definition.children, self._root))
        for part in parts:
            if not part.within and part.name not in self._places_named:
                self._count(self._root, part)

    def walk(self, run: Run, names: Sequence[str], known: frozenset[str]) -> list[frozenset[str]]:
        """Note what is wrong with order and number of the segments; returns the groups that each stands in.

        `names` are the message's segments, '' for blank lines. Segments that are not `known` to the version, and
        Z-segments, stand wherever they like and are no concern of the structure.
        """
        groups: list[frozenset[str]] = []
        stack = [_Instance(self._root, 0)]
        here = self._start
        for index, name in enumerate(names):
            if name in self._names or (self._takes_any and name):
                steps = here.steps.get(name)
                if steps is None:
                    steps = _steps(here, name)
                    if name in known:  # so that what senders make up does not fill the memory
                        here.steps[name] = steps
                step = steps[0] if len(steps) == 1 else self._best(steps, names, index)
                here = self._take(run, stack, here, step, name, index)
            else:
                if name in known:
                    _note(run, self._of("structure.unexpected", name), index)
                if self._counts_extra:
                    _count_extra(stack, name)
            groups.append(stack[-1].place.groups)
        while stack:
            self._close(run, stack, len(names))
        return groups

    def _best(self, steps: tuple[Step, ...], names: Sequence[str], index: int) -> Step:
        """Of several steps the nearest from which the most of the next segments can follow."""
        coming = [name for name in names[index + 1 : index + 1 + 4 * _LOOK_AHEAD] if name in self._names][:_LOOK_AHEAD]
        return max(steps, key=lambda step: _count_following(step.enter[-1], coming))  # the first of equals

    def _take(self, run: Run, stack: list[_Instance], here: Place, step: Step, name: str, index: int) -> Place:
        """Put a segment in its place; returns the place reached."""
        if step.inside is None:
            _note(run, self._of("structure.order", name), index)
            return here
        if step.is_back:
            self._take_back(run, stack, step, name, index)
            return here
        while stack[-1].place is not step.inside:
            self._close(run, stack, index)
        for place in step.enter:
            _enter(run, stack[-1], place, index)
            if self._counts_extra:
                _count_extra(stack, place.name)
            if place.is_group:
                stack.append(_Instance(place, index))
        return step.enter[-1]

    def _take_back(self, run: Run, stack: list[_Instance], step: Step, name: str, index: int) -> None:
        """A segment whose place is behind the one reached: counted there, so that it is not missed as well."""
        instance = next(each for each in stack if each.place is step.inside)
        place = step.enter[0]
        is_many = place.most is not None and instance.counts[place.index] >= place.most
        if not is_many and instance.lasts[place.index] != index - 1:  # of several in a row, the first is enough
            _note(run, self._of("structure.order", name), index)
        _enter(run, instance, place, index)
        if self._counts_extra:
            _count_extra(stack, name)

    def _close(self, run: Run, stack: list[_Instance], index: int) -> None:
        """A group is over: note what of it is missing."""
        instance = stack.pop()
        group = instance.place
        if stack:
            stack[-1].lasts[group.index] = index - 1
        if not group.is_choice:
            for child, count in zip(group.children, instance.counts, strict=True):
                if count < child.least and child.missing is not None:
                    at = instance.gap(child.index)
                    run.note(Found(child.missing, at, missing=child.first_segment()))
                if child.part is not None:
                    _judge_part(run, child.part, count, max(instance.lasts[child.index], 0), instance.gap(child.index))
        for part, count in zip(group.counted, instance.extra, strict=True):
            _judge_part(run, part, count, instance.begin, index)

    def _of(self, rule: str, name: str) -> Breach | None:
        key = (rule, name)
        if key not in self._breaches:
            self._breaches[key] = self._judge.breach(rule, name, "")
        return self._breaches[key]

    @property
    def _places_named(self) -> frozenset[str]:
        return frozenset(place.name for place in _all(self._root))

    def _places(self, children: Sequence[Group | SegmentRef], parent: Place) -> Iterator[Place]:
        for index, child in enumerate(children):
            place = Place(child.name, child.minimum, child.maximum, parent, index)
            shown = child.name
            if isinstance(child, Group):
                place.is_group, place.is_choice = True, child.is_choice
                place.groups = parent.groups if child.is_choice else parent.groups | {child.name}
                place.children = list(self._places(child.children, place))
                shown = place.first_segment()
            name = f"group {child.name}" if isinstance(child, Group) else ""
            if not place.may_be_empty():  # a group of which every part is optional is there without any
                place.missing = self._judge.breach("structure.missing", shown, name)
            place.repeated = self._judge.breach("structure.repeated", shown, name)
            self._apply_parts(place, parent)
            yield place

    def _apply_parts(self, place: Place, parent: Place) -> None:
        """What the profile says of this place: of its number here, or of its number in a group around."""
        for part in self._parts:
            if part.name != place.name or (part.within and part.within not in parent.groups):
                continue
            around = parent
            while around.parent is not None and (around.is_choice or (part.within and around.name != part.within)):
                around = around.parent
            if around is parent:
                _override(place, part)
            else:
                self._count(around, part)

    def _count(self, group: Place, part: Part) -> None:
        if part not in group.counted:
            group.counted += (part,)
            self._counts_extra = True


def judge_parts(run: Run, names: Sequence[str], parts: Sequence[Part]) -> None:
    """Where no structure is known: parts that are asked for anywhere, counted in the whole message."""
    for part in parts:
        if not part.within:
            at = names.index(part.name) if part.name in names else 0
            _judge_part(run, part, names.count(part.name), at, len(names))


def _override(place: Place, part: Part) -> None:
    """The profile's usage and number in the place of the standard's."""
    usage, times = part.usage, part.cardinality
    if usage is not None:
        place.least = 0
        if usage.is_conditional:
            place.part = Part(part.name, part.within, usage)
        elif usage.code == "R":
            place.least, place.missing = 1, _missing(part)
        elif usage.code == "X":
            place.most = 0
            place.repeated = profile_breach(usage.rule, "100", part.name, "", "stands here and may not")
    if times is not None:
        breach = profile_breach(times.rule, "100", part.name, "", f"does not stand here {times} times")
        place.most, place.repeated = times.most, breach
        if times.least > place.least:
            place.least, place.missing = times.least, breach
        elif usage is None:
            place.least = times.least


def _missing(part: Part) -> Breach:
    assert part.usage is not None
    return profile_breach(part.usage.rule, "100", part.name, "", "is required here and missing")


def _judge_part(run: Run, part: Part, count: int, at: int, gap: int) -> None:
    """What the profile asks of a number that was counted: `at` is where one stands, `gap` where one would."""
    usage = part.usage.of(run.message) if part.usage is not None else None
    if usage == "R" and not count:
        run.note(Found(_missing(part), gap, missing=part.name))
        return
    if usage == "X" and count and part.usage is not None:
        run.note(Found(profile_breach(part.usage.rule, "100", part.name, "", "stands here and may not"), at))
        return
    times = part.cardinality
    if times is None or (times.least <= count and (times.most is None or count <= times.most)):
        return
    breach = profile_breach(times.rule, "100", part.name, "", f"does not stand here {times} times")
    run.note(Found(breach, at) if count else Found(breach, gap, missing=part.name))


def _note(run: Run, breach: Breach | None, index: int) -> None:
    if breach is not None:
        run.note(Found(breach, index))


def _enter(run: Run, instance: _Instance, place: Place, index: int) -> None:
    count = instance.counts[place.index] = instance.counts[place.index] + 1
    instance.lasts[place.index] = index
    if place.most is not None and count > place.most and count == place.most + 1:
        _note(run, place.repeated, index)


def _count_extra(stack: list[_Instance], name: str) -> None:
    for instance in stack:
        for number, part in enumerate(instance.place.counted):
            if part.name == name:
                instance.extra[number] += 1


def _all(place: Place) -> Iterator[Place]:
    for child in place.children:
        yield child
        yield from _all(child)


def _steps(here: Place, name: str) -> tuple[Step, ...]:
    """Where a segment of that name can lead from a place; what the structure names goes before its `any segment`.

    More than one only where all leave nothing out, and the segments that come next must decide.
    """
    for wanted in (name, ANY_SEGMENT):
        by_place: dict[int, Step] = {}
        for step in _onward(here, wanted, first=True, again=True):
            by_place.setdefault(id(step.enter[-1]), step)  # the same place by another way lets the same follow
        if by_place:
            return tuple(by_place.values())
        rest = (
            *_onward(here, wanted, first=False, again=False),
            *_back(here, wanted),
            *_onward(here, wanted, first=False, again=True),
        )
        if rest:
            return rest[:1]
    return (Step(),)


def _count_following(here: Place, coming: Sequence[str]) -> int:
    """How many of the names can follow one after the other without anything being left out."""
    count = 0
    for name in coming:
        if name not in here.followers:
            here.followers[name] = _follower(here, name)
        after = here.followers[name]
        if after is None:
            break
        here = after
        count += 1
    return count


def _onward(here: Place, name: str, *, first: bool, again: bool) -> Iterator[Step]:
    """To the same place once more, further on in the group, or (`again`) the group once more; then in the group around.

    `first`: without leaving out what a group that is entered must begin with.
    """
    if here.name == name and here.repeats and here.parent is not None:
        yield Step(here.parent, (here,))
    child, group = here, here.parent
    while group is not None:
        if not group.is_choice:
            for sibling in group.children[child.index + 1 :]:
                if path := _path(sibling, name, first=first):
                    yield Step(group, path)
        if again and group.parent is not None and group.repeats and (path := _path(group, name, first=first)):
            yield Step(group.parent, path)
        child, group = group, group.parent


def _follower(here: Place, name: str) -> Place | None:
    """The place of a segment of that name that can come next without anything being left out."""
    if here.name == name and here.repeats:
        return here
    child, group = here, here.parent
    while group is not None:
        if not group.is_choice:
            for sibling in group.children[child.index + 1 :]:
                if path := _path(sibling, name, first=True):
                    return path[-1]
                if not sibling.may_be_empty():
                    return None
        if group.parent is not None and group.repeats and (path := _path(group, name, first=True)):
            return path[-1]
        child, group = group, group.parent
    return None


def _back(here: Place, name: str) -> Iterator[Step]:
    """To a place that was passed, or that is full: in the group, then in the groups around."""
    child, group = here, here.parent
    while group is not None:
        for sibling in reversed(group.children[: child.index + 1]):
            if sibling is child and sibling.is_group:
                continue  # its own places were looked at
            if path := _path(sibling, name, first=False):
                yield Step(group, path, is_back=True)
        child, group = group, group.parent


def _path(place: Place, name: str, *, first: bool) -> tuple[Place, ...] | None:
    """The places from here down to a segment of that name; `first`: one that can be the first in each group."""
    if not place.is_group:
        return (place,) if place.name == name else None
    for child in place.children:
        if path := _path(child, name, first=first):
            return (place, *path)
        if first and not place.is_choice and not child.may_be_empty():
            return None
    return None
