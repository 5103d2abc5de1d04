"""What is really in a feed: how often each field is filled, how long it is, how often it repeats, which values it has.

Counted over segments, not messages: a field that is filled in three of four OBX is filled in 75 %. Values are kept for
the places that are asked for, at most `MOST_VALUES` different ones of each; of all others only how many differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.hl7 import NULL
from engine.hl7.dictionary import load, nearest_version
from engine.hl7.message import Message
from engine.hl7.path import Path

MOST_VALUES: Final = 10_000
MOST_KEPT: Final = 200
"""Longer texts are not kept to be told apart."""
MOST_DIFFERENT: Final = 1_000
"""Beyond so many it is only known that there are more."""


@dataclass(slots=True)
class FieldStats:
    """One field of one segment, over all of that name. Lengths are characters of the whole field as it stands."""

    filled: int = 0
    nulls: int = 0
    repeated: int = 0
    most_repetitions: int = 0
    shortest: int = 0
    longest: int = 0
    characters: int = 0
    different: set[str | int] = field(default_factory=set)

    @property
    def has_more_different(self) -> bool:
        """Whether there are more different values than were counted."""
        return len(self.different) >= MOST_DIFFERENT


@dataclass(slots=True)
class SegmentStats:
    """One segment: how many there are, in how many messages, and its fields by number."""

    count: int = 0
    messages: int = 0
    most: int = 0
    fields: dict[int, FieldStats] = field(default_factory=dict)


@dataclass(slots=True)
class PlaceStats:
    """One place that was asked for, over messages: each of its values with its count; None where it is absent."""

    path: Path
    messages: int = 0
    """With at least one value there."""
    values: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    """Values beyond MOST_VALUES different ones."""

    @property
    def total(self) -> int:
        return sum(self.values.values()) + self.left_out


class Stats:
    """Counts messages. `places` are those whose values are wanted."""

    def __init__(self, places: Sequence[Path] = ()) -> None:
        self.messages = 0
        self.types: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.segments: dict[str, SegmentStats] = {}
        self.places = [PlaceStats(path) for path in places]

    def add(self, message: Message) -> None:
        """One more message."""
        self.messages += 1
        kind = f"{message.get('MSH-9.1') or ''}^{message.get('MSH-9.2') or ''}"
        self.types[kind] = self.types.get(kind, 0) + 1
        version = message.get("MSH-12.1") or ""
        self.versions[version] = self.versions.get(version, 0) + 1
        seen: dict[str, int] = {}
        repetition = message.delimiters.cut_repetition
        for index, name in enumerate(message.names()):
            if not name:
                continue
            seen[name] = seen.get(name, 0) + 1
            segment = self.segments.get(name)
            if segment is None:
                segment = self.segments[name] = SegmentStats()
            segment.count += 1
            fields = segment.fields
            for number, text in enumerate(message.fields(index)):
                if text and number:
                    of_field = fields.get(number)
                    if of_field is None:
                        of_field = fields[number] = FieldStats(shortest=len(text))
                    _count(of_field, text, repetition if name != "MSH" or number > 2 else "")
        for name, number in seen.items():
            segment = self.segments[name]
            segment.messages += 1
            if number > segment.most:
                segment.most = number
        for place in self.places:
            _count_values(place, place.path.all(message))

    def rows(self) -> Iterator[tuple[str, SegmentStats, int, FieldStats]]:
        """Every field with something in it: its segment's name, that segment, its number, and what was counted."""
        for name, segment in self.segments.items():
            for number in sorted(segment.fields):
                yield name, segment, number, segment.fields[number]

    def title(self, name: str, number: int) -> str:
        """What the standard calls a field, in the version that most messages have; '' for what it does not know."""
        version = max(self.versions, key=lambda one: self.versions[one], default="")
        known = load(nearest_version(version)).segment(name)
        found = known.field(number) if known is not None else None
        return found.name if found is not None else ""


def _count(stats: FieldStats, text: str, repetition: str) -> None:
    stats.filled += 1
    if text == NULL:
        stats.nulls += 1
    size = len(text)
    stats.characters += size
    if size > stats.longest:
        stats.longest = size
    elif size < stats.shortest:
        stats.shortest = size
    if repetition and repetition in text:
        stats.repeated += 1
        number = text.count(repetition) + 1
    else:
        number = 1
    if number > stats.most_repetitions:
        stats.most_repetitions = number
    if len(stats.different) < MOST_DIFFERENT:
        # Of a long text its number stands for it: a thousand documents would fill the memory.
        stats.different.add(text if size <= MOST_KEPT else hash(text))


def _count_values(place: PlaceStats, found: list[str]) -> None:
    if found:
        place.messages += 1
    values = place.values
    for value in found:
        if value in values:
            values[value] += 1
        elif len(values) < MOST_VALUES:
            values[value] = 1
        else:
            place.left_out += 1
