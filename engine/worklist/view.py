"""The part of a message that one scheduled procedure step is made from, as plain text (dicom.md section 1.1)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from engine.hl7.delimiters import NOT_IN_USE
from engine.hl7.errors import PathError
from engine.hl7.escape import plain_text
from engine.hl7.grammar import Spec, parse_path
from engine.hl7.message import Message

Repetition = list[list[str]]
"""Components of one repetition, each with its subcomponents, unescaped."""

NULL: Final = '""'
MOST_REPETITIONS: Final = 100


class View:
    """Segments by name, and their fields by path. Values are unescaped; layout is rendered as line ends and blanks."""

    def __init__(self, message: Message, segments: Mapping[str, Sequence[int]]) -> None:
        """`segments`: for each name the indexes of the segments that belong here, in order."""
        self._message = message
        self._segments = segments
        self._read: dict[tuple[int, int], list[Repetition]] = {}

    def count(self, name: str) -> int:
        """How many segments of that name belong here."""
        return len(self._segments.get(name, ()))

    def repetitions(self, name: str, field: int, nth: int = 0) -> list[Repetition]:
        """All repetitions of a field of the `nth` segment of that name; [] where there is none."""
        indexes = self._segments.get(name, ())
        if nth >= len(indexes):
            return []
        key = (indexes[nth], field)
        found = self._read.get(key)
        if found is None:
            found = self._read[key] = self._split(*key)
        return found

    def _split(self, index: int, field: int) -> list[Repetition]:
        fields = self._message.fields(index)
        if field >= len(fields) or not fields[field]:
            return []
        marks, codec = self._message.delimiters, self._message.codec
        repetitions = fields[field].split(marks.cut_repetition, MOST_REPETITIONS)[:MOST_REPETITIONS]
        return [
            [
                [plain_text(part, marks, codec) for part in component.split(marks.cut_subcomponent)]
                for component in repetition.split(marks.cut_component)
            ]
            for repetition in repetitions
        ]

    def text(self, path: str, nth: int = 0) -> str:
        """The first repetition's value at a path such as `OBR-4.2`: its first part where the path names none; or ''."""
        return self.value(spec_of(path), nth)

    def value(self, spec: Spec, nth: int = 0) -> str:
        """The same, at a path that is read already."""
        if spec.segment not in self._segments:
            return ""
        return part_of(self.repetitions(spec.segment, spec.field, nth), spec.component, spec.subcomponent)

    def texts(self, path: str) -> list[str]:
        """The values at a path of all segments of its name, those without left out."""
        spec = spec_of(path)
        found = (
            part_of(self.repetitions(spec.segment, spec.field, nth), spec.component, spec.subcomponent)
            for nth in range(self.count(spec.segment))
        )
        return [text for text in found if text]

    def raw(self, name: str, field: int, nth: int = 0) -> str:
        """A field as it stands, with its delimiters and escapes; or ''."""
        indexes = self._segments.get(name, ())
        if nth >= len(indexes):
            return ""
        fields = self._message.fields(indexes[nth])
        return fields[field] if field < len(fields) else ""


@lru_cache(1024)
def spec_of(path: str) -> Spec:
    """A path without selectors that names a field. Raises PathError."""
    spec = parse_path(path)
    if not spec.field or spec.segment_selector is not None or spec.field_selector is not None:
        raise PathError("a source is a field or a part of one, such as OBR-4 or PID-5.1", 0)
    return spec


def part_of(repetitions: Sequence[Repetition], component: int, subcomponent: int = 0) -> str:
    """A part of the first repetition, from 1; 0 is the first one. '' where it is absent."""
    if not repetitions:
        return ""
    components = repetitions[0]
    place = component - 1 if component > 1 else 0
    if place >= len(components):
        return ""
    parts = components[place]
    inner = subcomponent - 1 if subcomponent > 1 else 0
    return parts[inner].strip(" ") if inner < len(parts) else ""


def flat(repetition: Repetition) -> list[str]:
    """The first subcomponent of each component."""
    return [parts[0] if parts else "" for parts in repetition]


assert NOT_IN_USE == "\r", "fields hold no CR, so a delimiter that is not in use cuts nothing"
