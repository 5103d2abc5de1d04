"""A C-FIND identifier as keys: decoded by its own character set, by keyword where an item has it (dicom.md 2, 12)."""

from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from engine.worklist.attributes import CODE_SEQUENCES, ISSUER_SEQUENCES, ITEM, PARTS, SPS, STEP
from engine.worklist.item import Attributes

_IGNORED: Final = frozenset({0x00080052})
"""Query/Retrieve Level: no key of a worklist (rule 21)."""


@dataclass(slots=True, frozen=True)
class Identifier:
    """`keys`: by keyword, or `(gggg,eeee)` for what no item has. `extras`: those tags with their VR."""

    keys: Attributes
    extras: dict[int, str]


def identifier_of(dataset: Dataset) -> Identifier:
    """The keys of a decoded identifier. Private tags and group lengths are keys that nothing is matched by."""
    extras: dict[int, str] = {}
    keys = _keys(dataset, "", extras)
    return Identifier(keys, extras)


def _keys(dataset: Dataset, sequence: str, extras: dict[int, str]) -> Attributes:
    found: dict[str, tuple[str, ...] | tuple[Attributes, ...]] = {}
    for element in dataset:
        tag = int(element.tag)
        if tag in _IGNORED or tag & 0xFFFF == 0:
            continue
        keyword = _KEYWORDS[_level(sequence)].get(tag)
        if keyword is None:
            if not sequence:
                extras[tag] = str(element.VR)
            found[f"({tag >> 16:04X},{tag & 0xFFFF:04X})"] = () if element.VR == "SQ" else _texts(element.value)
        elif element.VR == "SQ":
            found[keyword] = tuple(_keys(item, keyword, extras) for item in element.value or ())
        else:
            found[keyword] = _texts(element.value)
    return found


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == "" or isinstance(value, bytes):
        return ()
    if isinstance(value, MultiValue | list):
        return tuple(str(one) for one in value)
    return (str(value),)


def _level(sequence: str) -> str:
    if not sequence or sequence == SPS:
        return sequence
    if sequence in CODE_SEQUENCES:
        return "code"
    return "issuer" if sequence in ISSUER_SEQUENCES else "patient-id"


_KEYWORDS: Final[dict[str, dict[int, str]]] = {
    "": {one.tag: one.keyword for one in ITEM.values()},
    SPS: {one.tag: one.keyword for one in STEP.values()},
    **{
        level: {one.tag: one.keyword for (own, _), one in PARTS.items() if own == level}
        for level in ("code", "issuer", "patient-id")
    },
}
