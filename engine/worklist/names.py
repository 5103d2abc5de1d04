"""HL7 names as DICOM person names: XPN, XCN and CN to PN, with three component groups (dicom.md 1.5).

HL7 writes family, given, middle, suffix, prefix, degree; DICOM family, given, middle, prefix, suffix (PS3.5 section
6.2.1). XPN-8 says how a repetition is written: alphabetic, ideographic, phonetic, which are the groups of a PN.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.worklist.attributes import ITEM
from engine.worklist.text import clean

_PN: Final = ITEM["PatientName"]
MOST_IN_GROUP: Final = 64
_TYPES: Final = ("L", "", "D", "M", "C", "B", "N", "P", "U", "R", "I", "V")
"""HL7 table 0200, best first: the legal name, one without a type, the display name. A and S are aliases."""
_ALIASES: Final = frozenset({"A", "S"})
_GROUPS: Final = {"A": 0, "I": 1, "P": 2}
_IDEOGRAPHS: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA_AND_HANGUL: Final = re.compile(r"[\u3040-\u30ff\uac00-\ud7a3\u1100-\u11ff]")
_HALF_WIDTH: Final = re.compile(r"[\uff66-\uff9f]")
"""Katakana of JIS X 0201, which has one byte a character: Japanese names have it in the first group (PS3.5 H.3.2)."""

Components = Sequence[str]
"""Components of one repetition, unescaped, each with its first subcomponent only; '' where there is none."""


@dataclass(slots=True, frozen=True)
class Name:
    """A PN. `is_shortened`: parts were left out to fit; `is_null`: HL7's null, which deletes."""

    text: str
    is_shortened: bool = False
    is_null: bool = False


NO_NAME: Final = Name("")
NULL: Final = '""'


def from_xpn(repetitions: Sequence[Components], *, has_ideographs_alone: bool = True) -> Name:
    """The PN of PID-5 and its like.

    `has_ideographs_alone`: whether ideographs may stand in the first group, as with GB18030 and UTF-8 (PS3.5 annex J).
    """
    named = [parts for parts in repetitions if any(parts)]
    if not named:
        return NO_NAME
    if all(_at(parts, 0) == NULL for parts in named):
        return Name("", is_null=True)
    own = [parts for parts in named if _at(parts, 6).upper() not in _ALIASES] or named
    kind = min((_at(parts, 6).upper() for parts in own), key=_rank)
    return _grouped([parts for parts in own if _at(parts, 6).upper() == kind], has_ideographs_alone)


def aliases(repetitions: Sequence[Components]) -> tuple[str, ...]:
    """The PNs of aliases (types A and S), for Other Patient Names, where another name is the patient's own."""
    found = [parts for parts in repetitions if _at(parts, 6).upper() in _ALIASES and any(parts[:6])]
    if len(found) == len([parts for parts in repetitions if any(parts)]):
        return ()
    names = (_group(parts)[0] for parts in found)
    return tuple(name for name in names if name)


def from_xcn(repetitions: Sequence[Components], *, has_ideographs_alone: bool = True) -> Name:
    """The PN of the first person: OBR-16, PV1-8 and their like. One that is only an id has none."""
    for parts in repetitions:
        if not any(parts):
            continue
        name = [*parts[1:7], *[""] * (6 - len(parts[1:7])), "", _at(parts, 14)]
        return _grouped([name], has_ideographs_alone) if any(name[:6]) else NO_NAME
    return NO_NAME


def from_ndl(subcomponents: Components, *, has_ideographs_alone: bool = True) -> Name:
    """The PN of OBR-32 to OBR-35: their first component has the person in its subcomponents, id first."""
    name = [*subcomponents[1:7], *[""] * (6 - len(subcomponents[1:7]))]
    return _grouped([name], has_ideographs_alone) if any(name) else NO_NAME


def _grouped(repetitions: Sequence[Components], has_ideographs_alone: bool) -> Name:
    groups = ["", "", ""]
    is_shortened = False
    for parts in repetitions:
        text, cut = _group(parts)
        if not text:
            continue
        place = _GROUPS.get(_at(parts, 7).upper())
        if place is None:
            place = _place(text, len(repetitions) > 1 and any(_is_latin(_group(other)[0]) for other in repetitions))
            if place and len(repetitions) == 1 and has_ideographs_alone:
                place = 0
        if not groups[place]:
            groups[place] = text
            is_shortened |= cut
    return Name("=".join(groups).rstrip("="), is_shortened)


def _place(text: str, has_latin: bool) -> int:
    """The group of a repetition that does not say how it is written."""
    if _IDEOGRAPHS.search(text):
        return 1
    if _KANA_AND_HANGUL.search(text):
        return 2 if has_latin else 1
    return 2 if has_latin and _HALF_WIDTH.search(text) else 0


def _is_latin(text: str) -> bool:
    return bool(text) and not any(found.search(text) for found in (_IDEOGRAPHS, _KANA_AND_HANGUL, _HALF_WIDTH))


def _group(parts: Components) -> tuple[str, bool]:
    """One component group, within its 64 characters, and whether something was left out for that."""
    family, given, middle, suffix, prefix, degree = (clean(_at(parts, n), _PN) for n in range(6))
    if family == NULL:
        family = ""
    attempts = (
        (family, given, middle, prefix, f"{suffix} {degree}".strip()),
        (family, given, middle, prefix, suffix),
        (family, given, middle, "", ""),
        (family, given, "".join(word[:1] for word in middle.split()), "", ""),
        (family, given, "", "", ""),
        (family, given[:1], "", "", ""),
    )
    for number, attempt in enumerate(attempts):
        text = "^".join(attempt).rstrip("^")
        if len(text) <= MOST_IN_GROUP:
            return text, number > 0
    return family[:MOST_IN_GROUP].rstrip(" "), True


def _rank(kind: str) -> int:
    return _TYPES.index(kind) if kind in _TYPES else len(_TYPES)


def _at(parts: Components, index: int) -> str:
    return parts[index] if index < len(parts) else ""
