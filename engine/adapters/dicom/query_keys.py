"""Keys of a query as people write them: `PatientID=123`, `ScheduledProcedureStepSequence.Modality=CT`, `(0010,0020)=1`.

An attribute of a scheduled procedure step may stand without its sequence: at the root a worklist has no use for it
(dicom.md section 2, rule 22).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from engine.worklist.attributes import ITEM, SPS, STEP

RETURNED: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    *(
        f"{SPS}.{keyword}"
        for keyword in (
            "ScheduledStationAETitle",
            "ScheduledProcedureStepStartDate",
            "ScheduledProcedureStepStartTime",
            "Modality",
            "ScheduledProcedureStepDescription",
            "ScheduledProcedureStepID",
        )
    ),
)
"""What a query asks for beside its keys: what people know a step by."""

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_INDEX: Final = re.compile(r"\[0\]$")
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_NUMBERS: Final = {"US": int, "SS": int, "UL": int, "SL": int, "UV": int, "SV": int, "FL": float, "FD": float}


class BadQueryKey(ValueError):
    """A key that is none; the sentence says why."""


def identifier(words: Sequence[str], returned: Iterable[str] = RETURNED, charset: str = "ISO_IR 192") -> Dataset:
    """The identifier of a query. `charset`: said of it where a value is not ASCII. Raises BadQueryKey."""
    made = Dataset()
    given: set[tuple[int, ...]] = set()
    for word in words:
        path, mark, value = word.partition("=")
        tags = _tags(path)
        if tags in given:
            raise BadQueryKey(f"'{_shown(path)}' is given twice")
        given.add(tags)
        _set(made, tags, value if mark else "", path)
    for path in returned:
        tags = _tags(path)
        if tags not in given:
            _set(made, tags, "", path)
    if not all(word.isascii() for word in words):
        made.SpecificCharacterSet = charset.split("\\")
    return made


def _tags(path: str) -> tuple[int, ...]:
    parts = [_INDEX.sub("", part.strip()) for part in path.strip().split(".")]
    tags = tuple(_tag(part, path) for part in parts)
    is_of_step = keyword_for_tag(tags[0]) in STEP and keyword_for_tag(tags[0]) not in ITEM
    return (_tag(SPS, path), *tags) if is_of_step else tags


def _tag(part: str, path: str) -> int:
    if found := _TAG.fullmatch(part):
        return int(found[1] + found[2], 16)
    tag = tag_for_keyword(part) if part else None
    if tag is None:
        raise BadQueryKey(f"'{_shown(path)}' names no attribute: write KEYWORD=VALUE, such as PatientID=123")
    return tag


def _set(made: Dataset, tags: tuple[int, ...], value: str, path: str) -> None:
    here = made
    for tag in tags[:-1]:
        if _vr(tag) != "SQ":
            raise BadQueryKey(f"'{_shown(path)}' goes into an attribute that is no sequence")
        if tag not in here or not here[tag].value:
            here.add_new(tag, "SQ", DicomSequence([Dataset()]))
        here = here[tag].value[0]
    vr = _vr(tags[-1])
    if vr == "SQ":
        if value:
            raise BadQueryKey(f"'{_shown(path)}' is a sequence: give a value to an attribute of it")
        if tags[-1] not in here:
            here.add_new(tags[-1], "SQ", DicomSequence())
        return
    if vr in _BINARY and value:
        raise BadQueryKey(f"'{_shown(path)}' holds bytes, and nothing is found by them")
    here.add_new(tags[-1], vr, _value(vr, value, path))


def _value(vr: str, value: str, path: str) -> object:
    """As pydicom takes it. Ranges, wildcards and lists are text in every VR that has text."""
    if vr in _NUMBERS:
        try:
            return _NUMBERS[vr](value) if value else None
        except ValueError:
            raise BadQueryKey(f"'{_shown(path)}' is a number") from None
    return value


def _vr(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "UN"


def _shown(path: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in path[:60])
