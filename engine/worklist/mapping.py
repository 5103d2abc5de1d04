"""Which HL7 field each attribute of an item comes from: IHE's table as data, and what a channel changes in it.

A row is `target: [source, source ...]`; the first source with a value counts. dicom.md section 1.2 is the default:
IHE RAD TF-2x Table B-1 with the fall-backs that the field needs. A source is

- a path, `OBR-18` or `ZDS-1.1`; several with blanks between them are joined: `PV1-3.1 PV1-3.2`;
- a path of a code: its first component there, and the two after it: `OBR-4.4` is (4.4, 4.5, 4.6);
- a path of a person's name, read as its data type there has it: XPN in PID-5, NDL in OBR-32 to OBR-35, else XCN;
  `xpn(ZPI-3)`, `xcn(ZPI-3)`, `ndl(ZPI-3)` and `text(ZPI-3)` say it;
- a text in quotes: `"NORTH"`; `none` leaves the attribute empty.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from engine.hl7.errors import PathError
from engine.hl7.grammar import Spec
from engine.worklist.attributes import ITEM, SPS, STEP, Attribute
from engine.worklist.item import Attributes, Problem
from engine.worklist.names import Name, from_ndl, from_xcn, from_xpn
from engine.worklist.text import TooLong, fit
from engine.worklist.view import NULL, View, flat, part_of, spec_of

Rows = Mapping[str, Sequence[str]]

DEFAULT: Final[Rows] = {
    # the step
    "ScheduledStationAETitle": [],
    "ScheduledProcedureStepStartDate": ["TQ1-7", "ORC-7.4", "OBR-27.4", "OBR-36"],
    "Modality": ["IPC-5", "OBR-24"],
    "ScheduledPerformingPhysicianName": ["OBR-34"],
    "ScheduledProcedureStepDescription": ["IPC-6.2", "OBR-4.5", "OBR-4.2"],
    "ScheduledProtocolCodeSequence": ["IPC-6", "OBR-4.4"],
    "ScheduledStationName": ["IPC-7"],
    "ScheduledProcedureStepLocation": ["IPC-8"],
    "ScheduledProcedureStepID": ["IPC-4", "OBR-20"],
    "PreMedication": [],
    "RequestedContrastAgent": [],
    "CommentsOnTheScheduledProcedureStep": [],
    # the requested procedure and its order
    "RequestedProcedureID": ["IPC-2", "OBR-19"],
    "RequestedProcedureDescription": ["OBR-44.2", "OBR-4.2"],
    "RequestedProcedureCodeSequence": ["OBR-44", "OBR-4"],
    "StudyInstanceUID": ["IPC-3", "ZDS-1.1"],
    "ReferencedStudySequence": [],
    "ReferencedPatientSequence": [],
    "RequestedProcedurePriority": ["TQ1-9", "ORC-7.6", "OBR-27.6", "OBR-5"],
    "PatientTransportArrangements": ["OBR-30.2", "OBR-30.1"],
    "ReasonForTheRequestedProcedure": ["OBR-31.2", "OBR-31.1"],
    "ReasonForRequestedProcedureCodeSequence": ["OBR-31"],
    "RequestedProcedureComments": ["NTE-3"],
    "ConfidentialityCode": ["ORC-28.2", "ORC-28.1"],
    "AccessionNumber": ["IPC-1", "OBR-18"],
    "IssuerOfAccessionNumberSequence": ["IPC-1", "OBR-18"],
    "RequestingPhysician": ["OBR-16", "ORC-12"],
    "ReferringPhysicianName": ["PV1-8"],
    "PlacerOrderNumberImagingServiceRequest": ["ORC-2", "OBR-2"],
    "OrderPlacerIdentifierSequence": ["ORC-2", "OBR-2"],
    "FillerOrderNumberImagingServiceRequest": ["ORC-3", "OBR-3"],
    "OrderFillerIdentifierSequence": ["ORC-3", "OBR-3"],
    "OrderEnteredBy": ["ORC-10"],
    "OrderEntererLocation": ["ORC-17.2", "ORC-17.1"],
    "OrderCallbackPhoneNumber": ["ORC-14"],
    "InstitutionName": ["ORC-21.1", "ORC-17.2", "MSH-4"],
    "InstitutionAddress": ["ORC-22.1 ORC-22.3 ORC-22.5"],
    "InstitutionalDepartmentName": ["ORC-13.9"],
    # the visit
    "AdmissionID": ["PV1-19", "PID-18"],
    "IssuerOfAdmissionIDSequence": ["PV1-19", "PID-18"],
    "CurrentPatientLocation": ["PV1-3.1 PV1-3.2 PV1-3.3"],
    "PatientState": ["OBR-12.2", "OBR-12.1"],
    "PregnancyStatus": ["PV1-15"],
    "MedicalAlerts": ["OBR-13.2", "OBR-13.1"],
    "Allergies": ["AL1-3.2", "AL1-3.1"],
    "SpecialNeeds": [],
    "PatientWeight": [],
    "PatientSize": [],
}
"""The attributes that an order has, without those of its patient: those are `demographics`."""

PATIENT: Final[Rows] = {
    "PatientName": ["PID-5"],
    "PatientBirthDate": ["PID-7"],
    "PatientSex": ["PID-8"],
    "PatientMotherBirthName": ["PID-6"],
    "PatientAddress": ["PID-11.1 PID-11.3 PID-11.5"],
    "PatientPrimaryLanguageCodeSequence": ["PID-15"],
    "EthnicGroup": ["PID-22.2", "PID-22.1"],
}

REPEATED: Final = frozenset({"MedicalAlerts", "Allergies", "RequestedProcedureComments"})
"""Of all segments, or all repetitions: an item has several allergies, and several notes."""

SPECIAL: Final = frozenset(
    {"StudyInstanceUID", "ScheduledProcedureStepStartDate", "ScheduledStationAETitle", "Modality", "PregnancyStatus"}
    | {"RequestedProcedurePriority", "PatientSex", "PatientBirthDate", "PatientName", "PatientWeight", "PatientSize"}
)
"""Targets whose values are made from the text of their sources by rules of their own."""

_XPN: Final = frozenset({"PID-5", "PID-6", "PID-9", "MRG-7", "NK1-2"})
_NDL: Final = frozenset({"OBR-32", "OBR-33", "OBR-34", "OBR-35"})
_TYPED: Final = re.compile(r"(xpn|xcn|ndl|text)\((.+)\)")
Kind = Literal["path", "xpn", "xcn", "ndl", "literal", "none"]


class BadRow(ValueError):
    """A row that cannot be one; `index` is the source at fault, -1 the target."""

    def __init__(self, message: str, index: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.hint = hint


@dataclass(slots=True, frozen=True)
class Source:
    """One source, compiled: `paths` are joined with blanks, as are their `specs`; `literal` is a text that stands for
    itself."""

    kind: Kind
    paths: tuple[str, ...] = ()
    literal: str = ""
    specs: tuple[Spec, ...] = ()


class MappingTable:
    """The rows of one destination, compiled."""

    def __init__(self, overrides: Rows | None = None) -> None:
        """`overrides`: rows that take the place of the default's. Raises BadRow."""
        rows = {**DEFAULT, **PATIENT}
        for target in overrides or {}:
            if target not in ITEM and target not in STEP:
                raise BadRow(f"'{target}' is no attribute of a worklist item", -1)
            if target in (
                SPS,
                "SpecificCharacterSet",
                "PatientID",
                "IssuerOfPatientID",
                "ScheduledProcedureStepStatus",
            ):
                raise BadRow(f"'{target}' is not mapped: it is made from others", -1)
        rows.update(overrides or {})
        self.order_targets = tuple(target for target in rows if target not in PATIENT)
        self.rows: dict[str, tuple[Source, ...]] = {
            target: tuple(_compiled(target, source, index) for index, source in enumerate(sources))
            for target, sources in rows.items()
        }

    def texts(self, target: str, view: View) -> tuple[str, str]:
        """The first value there is among a target's sources, as text, and where it stands; ('', '') for none."""
        for source in self.rows.get(target, ()):
            if source.kind == "none":
                return "", ""
            if source.kind == "literal":
                return source.literal, ""
            if len(source.specs) == 1:  # as nearly always
                joined = view.value(source.specs[0])
            else:
                joined = " ".join(filter(None, map(view.value, source.specs)))
            if joined:
                return joined, source.paths[0]
        return "", ""

    def all_texts(self, target: str, view: View) -> list[str]:
        """The values of the first source that has any, from every segment of its name and every repetition."""
        for source in self.rows.get(target, ()):
            if source.kind == "literal":
                return [source.literal]
            found = [text for path in source.paths for text in _every(view, path)]
            if found:
                return found
        return []

    def name(self, target: str, view: View, *, has_ideographs_alone: bool) -> Name:
        """The person of a target's first source that has one."""
        for source in self.rows.get(target, ()):
            if source.kind == "literal":
                return Name(source.literal)
            if source.kind == "none":
                break
            name = _name(source, view, has_ideographs_alone)
            if name.text or name.is_null:
                return name
        return Name("")

    def code(self, target: str, view: View) -> tuple[str, str, str]:
        """Value, meaning and scheme of a target's first source that has a code or a text."""
        for source in self.rows.get(target, ()):
            if source.kind != "path":
                return (source.literal, source.literal, "") if source.literal else ("", "", "")
            spec = spec_of(source.paths[0])
            repetitions = view.repetitions(spec.segment, spec.field)
            first = max(spec.component, 1)
            value, meaning, scheme = (part_of(repetitions, first + n) for n in range(3))
            if value or meaning:
                return value, meaning, scheme
        return "", "", ""

    def entity(self, target: str, view: View) -> tuple[str, str, str, str, str]:
        """An EI or CX: id, namespace, universal id, its type, and where it stands."""
        for source in self.rows.get(target, ()):
            if source.kind != "path":
                return source.literal, "", "", "", ""
            found = _entity(view, source.paths[0])
            if found[0]:
                return (*found, source.paths[0])
        return "", "", "", "", ""


def _entity(view: View, path: str) -> tuple[str, str, str, str]:
    spec = spec_of(path)
    repetitions = view.repetitions(spec.segment, spec.field)
    if spec.component > 1:
        return part_of(repetitions, spec.component, spec.subcomponent), "", "", ""
    number = part_of(repetitions, 1)
    if f"{spec.segment}-{spec.field}" in CX_FIELDS:
        return number, part_of(repetitions, 4, 1), part_of(repetitions, 4, 2), part_of(repetitions, 4, 3)
    return number, part_of(repetitions, 2), part_of(repetitions, 3), part_of(repetitions, 4)


CX_FIELDS: Final = frozenset({"PID-2", "PID-3", "PID-4", "PID-18", "PV1-19", "PV1-50", "MRG-1", "MRG-3", "MRG-5"})
"""Fields of type CX, whose authority is their fourth component; an EI has its own in the second to fourth."""


def _every(view: View, path: str) -> list[str]:
    spec = spec_of(path)
    return [
        text
        for nth in range(view.count(spec.segment))
        for repetition in view.repetitions(spec.segment, spec.field, nth)
        if (text := part_of([repetition], spec.component, spec.subcomponent))
    ]


def _name(source: Source, view: View, has_ideographs_alone: bool) -> Name:
    path = source.paths[0]
    spec = spec_of(path)
    repetitions = view.repetitions(spec.segment, spec.field)
    kind = source.kind
    if kind == "path":
        field = f"{spec.segment}-{spec.field}"
        kind = "xpn" if field in _XPN else "ndl" if field in _NDL else "xcn"
    match kind:
        case "xpn":
            return from_xpn([flat(one) for one in repetitions], has_ideographs_alone=has_ideographs_alone)
        case "ndl":
            return from_ndl(repetitions[0][0] if repetitions else [], has_ideographs_alone=has_ideographs_alone)
        case _:
            return from_xcn([flat(one) for one in repetitions], has_ideographs_alone=has_ideographs_alone)


@lru_cache(512)
def _compiled(target: str, text: str, index: int) -> Source:
    text = text.strip()
    if text == "none":
        return Source("none")
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return Source("literal", literal=text[1:-1])
    typed = _TYPED.fullmatch(text)
    kind: Kind = "path"
    if typed is not None:
        if typed[1] != "text" and (ITEM.get(target) or STEP[target]).kind != "name":
            raise BadRow(f"'{target}' is no name", index, f"write {typed[2]}")
        kind, text = ("path" if typed[1] == "text" else typed[1]), typed[2]  # type: ignore[assignment]
    paths = tuple(text.split())
    if not paths:
        raise BadRow("an empty source", index, "write a path such as OBR-18, a text in quotes, or none")
    specs: list[Spec] = []
    for path in paths:
        try:
            specs.append(spec_of(path))
        except PathError as error:
            raise BadRow(f"'{path[:40]}': {error.message}", index, "such as OBR-18 or ZDS-1.1") from None
    return Source(kind, paths, specs=tuple(specs))


def attribute_of(target: str) -> Attribute:
    """The attribute of a row's target."""
    return STEP[target] if target in STEP else ITEM[target]


def plain_value(target: str, text: str, location: str, found: list[Problem]) -> tuple[str, ...]:
    """The value of an attribute that is text, number or code string: () for HL7's null or none.

    What is too long is cut with a warning, or refused, by the kind of value (dicom.md 1.6).
    """
    if not text or text == NULL:
        return ()
    attribute = attribute_of(target)
    try:
        value, was_cut = fit(text, attribute)
    except TooLong as error:
        found.append(Problem("E420", str(error), location, "102"))
        return ()
    if was_cut:
        found.append(Problem("W429", f"{target} is cut at {attribute.most} characters", location, is_refusal=False))
    return (value,) if value else ()


def code_items(target: str, code: tuple[str, str, str], location: str, found: list[Problem]) -> tuple[Attributes, ...]:
    """The item of a code sequence; () where there is neither code nor meaning.

    A code of more than 16 characters goes into Long Code Value (PS3.3 section 8.1).
    """
    value, meaning, scheme = (part if part != NULL else "" for part in code)
    if not value:
        return ()
    made: dict[str, tuple[str, ...]] = {}
    made["CodeValue" if len(value) <= 16 else "LongCodeValue"] = (value.replace("\\", "/"),)
    if scheme and len(scheme) > 16:
        found.append(
            Problem("E420", f"a coding scheme of {len(scheme)} characters; DICOM has room for 16", location, "102")
        )
        return ()
    made["CodingSchemeDesignator"] = (scheme.replace("\\", "/") or "L",)
    text = (meaning or value).replace("\\", "/")
    if len(text) > 64:
        found.append(Problem("W429", f"a meaning in {target} is cut at 64 characters", location, is_refusal=False))
    made["CodeMeaning"] = (text[:64].rstrip(" "),)
    return (made,)


def issuer_items(namespace: str, universal: str, kind: str) -> tuple[Attributes, ...]:
    """The item of an issuer's sequence; () where nobody is named."""
    made: dict[str, tuple[str, ...]] = {}
    if namespace:
        made["LocalNamespaceEntityID"] = (namespace,)
    if universal and kind:
        made["UniversalEntityID"] = (universal,)
        made["UniversalEntityIDType"] = (kind.upper(),)
    return (made,) if made else ()
