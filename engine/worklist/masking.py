"""Which attributes of a worklist item nobody is known by, and how the others are hidden."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.worklist.attributes import Attribute, attribute_in
from engine.worklist.item import Attributes

PLAIN: Final = frozenset(
    {
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepStatus",
        "ScheduledStationName",
        "ScheduledProcedureStepLocation",
        "ScheduledProtocolCodeSequence",
        "RequestedProcedureDescription",
        "RequestedProcedureCodeSequence",
        "RequestedProcedurePriority",
        "CodeValue",
        "CodingSchemeDesignator",
        "CodeMeaning",
        "LongCodeValue",
        "StudyInstanceUID",
        "TimezoneOffsetFromUTC",
    }
)
"""Attributes by which nobody is known: shown to all who may see the worklist."""


@dataclass(slots=True, frozen=True)
class Line:
    """One attribute as it is shown. `depth`: how many sequences it is in. `text` '' where it has no value.

    `is_plain`: nobody is known by it.
    """

    keyword: str
    tag: str
    vr: str
    depth: int
    text: str
    is_plain: bool


def lines_of(attributes: Attributes, sequence: str = "", depth: int = 0) -> Iterator[Line]:
    """Attributes as lines, by tag; those in the items of a sequence below it."""
    known = [(attribute_in(sequence, keyword), keyword, values) for keyword, values in attributes.items()]
    for attribute, keyword, values in sorted(known, key=lambda one: one[0].tag):
        texts = [value for value in values if isinstance(value, str)]
        yield Line(keyword, _tag(attribute), attribute.vr, depth, "\\".join(texts), keyword in PLAIN)
        for value in values:
            if not isinstance(value, str):
                yield from lines_of(value, keyword, depth + 1)


def _tag(attribute: Attribute) -> str:
    return f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})"
