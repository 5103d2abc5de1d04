"""Segments and fields that a channel names, beside what any version of the standard has: a slip reads nothing."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from engine.config.base import nearest
from engine.config.finding import ConfigFinding, Position, at
from engine.config.node import SourceText
from engine.hl7.dictionary import VERSIONS, SegmentDef, load
from engine.hl7.path import Path

NEWEST_FIRST = tuple(reversed(VERSIONS))
COMMON = (
    "MSH",
    "PID",
    "PV1",
    "OBR",
    "OBX",
    "ORC",
    "EVN",
    "NTE",
    "NK1",
    "PD1",
    "PV2",
    "AL1",
    "DG1",
    "IN1",
    "MRG",
    "TXA",
)
"""Of several segments that are as near, one of these was meant."""


def check_names(text: SourceText, paths: Iterable[Path]) -> Iterator[ConfigFinding]:
    """Of the paths that stand in `text`: a warning for each segment or field that no version of the standard has."""
    told: set[str] = set()
    for path in paths:
        segment, field = path.segment, path.field or 0
        if segment not in told:
            told.add(segment)
            yield from _of_segment(text, segment)
        if f"{segment}-{field}" not in told:
            told.add(f"{segment}-{field}")
            yield from _of_field(text, segment, field)
        component = path.component or 0
        if component > 1 and f"{segment}-{field}.{component}" not in told:
            told.add(f"{segment}-{field}.{component}")
            yield from _of_component(text, segment, field, component)


def check_segment(text: SourceText) -> list[ConfigFinding]:
    """Of a text that is a segment's name."""
    return _of_segment(text, str(text))


def _of_segment(text: SourceText, segment: str) -> list[ConfigFinding]:
    if segment.startswith("Z") or any(_definitions(segment)):
        return []
    names = sorted({name for version in VERSIONS for name in load(version).segment_names()})
    # Few letters, so that many are near: those that messages nearly always have go first.
    close = nearest(segment, COMMON) or nearest(segment, names)
    hint = f"did you mean {close}? " if close else ""
    return [
        at(
            _place(text, segment, len(segment)),
            "W131",
            f"no version of HL7 has a segment {segment}",
            f"{hint}a segment of your own begins with Z",
        )
    ]


def _of_field(text: SourceText, segment: str, field: int) -> list[ConfigFinding]:
    if not field or segment.startswith("Z"):
        return []
    most = _most_fields(segment)
    if not most or field <= most:
        return []
    name = f"{segment}-{field}"
    message = f"{segment} has no field {field} in any version of HL7; its last is {segment}-{most}"
    return [at(_place(text, name, len(name)), "W131", message, "right only if both sides have agreed on it")]


def _of_component(text: SourceText, segment: str, field: int, component: int) -> list[ConfigFinding]:
    """Of a field that is of a composite type in some version; what one version has is right."""
    most = 0
    for version in VERSIONS:
        dictionary = load(version)
        definition = dictionary.segment(segment)
        found = definition.field(field) if definition is not None else None
        data_type = dictionary.data_type(found.data_type) if found is not None else None
        if found is not None and data_type is None:
            return []  # of any type, as OBX-5
        most = max(most, len(data_type.components) if data_type is not None else 0)
    if most < 2 or component <= most:
        return []
    name = f"{segment}-{field}.{component}"
    message = (
        f"{segment}-{field} has no component {component} in any version of HL7; its last is {segment}-{field}.{most}"
    )
    return [at(_place(text, name, len(name)), "W131", message, "right only if both sides have agreed on it")]


@lru_cache(maxsize=512)
def _most_fields(segment: str) -> int:
    """In any version; 0 where none has the segment."""
    return max((len(definition.fields) for definition in _definitions(segment)), default=0)


def _definitions(segment: str) -> Iterator[SegmentDef]:
    for version in NEWEST_FIRST:
        if (found := load(version).segment(segment)) is not None:
            yield found


def _place(text: SourceText, name: str, length: int) -> Position:
    """Where `name` first stands in the text; the whole text where it is written otherwise, as PID[1]-99."""
    found = re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![0-9])", text)
    place = text.position(found.start(), length) if found else text.position()
    return place or Position("", 0, 0)
