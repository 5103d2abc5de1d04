"""The mapping table, row by row and source by source (dicom.md section 1.2): each source alone gives the attribute."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from engine.hl7.message import Message
from engine.worklist.attributes import ITEM, SPS, STEP
from engine.worklist.build import Settings, order_event
from engine.worklist.item import Attributes
from engine.worklist.mapping import DEFAULT, PATIENT

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
Fields = Mapping[str, Mapping[int, str]]
BARE: Fields = {
    "MSH": {4: "NORTH"},
    "PID": {3: "900001^^^HIS^MR", 5: "Muster^Anna"},
    "ORC": {1: "NW", 7: "^^^20260102"},
    "OBR": {4: "CTH^CT head^L", 18: "A1", 24: "CT"},
}
"""What makes a step, and no more."""
ORDER = ("MSH", "PID", "PV1", "AL1", "ORC", "TQ1", "OBR", "NTE", "IPC", "ZDS")


def code(value: str, scheme: str, meaning: str) -> tuple[Attributes, ...]:
    return ({"CodeValue": (value,), "CodingSchemeDesignator": (scheme,), "CodeMeaning": (meaning,)},)


def issuer(namespace: str) -> tuple[Attributes, ...]:
    return ({"LocalNamespaceEntityID": (namespace,)},)


# attribute, source, what stands there, what comes of it
CASES: Sequence[tuple[str, str, str, object]] = (
    ("ScheduledProcedureStepStartDate", "TQ1-7", "20260105093000", ("20260105",)),
    ("ScheduledProcedureStepStartDate", "ORC-7.4", "^^^20260105093000", ("20260105",)),
    ("ScheduledProcedureStepStartDate", "OBR-27.4", "^^^20260105093000", ("20260105",)),
    ("ScheduledProcedureStepStartDate", "OBR-36", "20260105093000", ("20260105",)),
    ("Modality", "IPC-5", "MR", ("MR",)),
    ("Modality", "OBR-24", "US", ("US",)),
    ("ScheduledPerformingPhysicianName", "OBR-34", "9004&Performer&Petra&&Jr&Dr", ("Performer^Petra^^Dr^Jr",)),
    ("ScheduledProcedureStepDescription", "IPC-6.2", "P1^Plain^L", ("Plain",)),
    ("ScheduledProcedureStepDescription", "OBR-4.5", "CTH^CT head^L^P1^Plain^PRO", ("Plain",)),
    ("ScheduledProcedureStepDescription", "OBR-4.2", "CTH^CT head^L", ("CT head",)),
    ("ScheduledProtocolCodeSequence", "IPC-6", "P1^Plain^L", code("P1", "L", "Plain")),
    ("ScheduledProtocolCodeSequence", "OBR-4.4", "CTH^CT head^L^P1^Plain^PRO", code("P1", "PRO", "Plain")),
    ("ScheduledStationName", "IPC-7", "CT_X", ("CT_X",)),
    ("ScheduledProcedureStepLocation", "IPC-8", "Room 5", ("Room 5",)),
    ("ScheduledProcedureStepID", "IPC-4", "S9", ("S9",)),
    ("ScheduledProcedureStepID", "OBR-20", "S9", ("S9",)),
    ("RequestedProcedureID", "IPC-2", "RP9", ("RP9",)),
    ("RequestedProcedureID", "OBR-19", "RP9", ("RP9",)),
    ("RequestedProcedureDescription", "OBR-44.2", "C9^Brain^L", ("Brain",)),
    ("RequestedProcedureDescription", "OBR-4.2", "CTH^CT head^L", ("CT head",)),
    ("RequestedProcedureCodeSequence", "OBR-44", "C9^Brain^L", code("C9", "L", "Brain")),
    ("RequestedProcedureCodeSequence", "OBR-4", "CTH^CT head^L", code("CTH", "L", "CT head")),
    ("StudyInstanceUID", "IPC-3", "1.2.3.4", ("1.2.3.4",)),
    ("StudyInstanceUID", "ZDS-1.1", "1.2.3.4^RIS^Application^DICOM", ("1.2.3.4",)),
    ("RequestedProcedurePriority", "TQ1-9", "S", ("STAT",)),
    ("RequestedProcedurePriority", "ORC-7.6", "^^^20260102^^A", ("HIGH",)),
    ("RequestedProcedurePriority", "OBR-27.6", "^^^^^T", ("MEDIUM",)),
    ("RequestedProcedurePriority", "OBR-5", "R", ("ROUTINE",)),
    ("PatientTransportArrangements", "OBR-30.2", "W^Walking^L", ("Walking",)),
    ("PatientTransportArrangements", "OBR-30.1", "WALK", ("WALK",)),
    ("ReasonForTheRequestedProcedure", "OBR-31.2", "H^Headache^L", ("Headache",)),
    ("ReasonForTheRequestedProcedure", "OBR-31.1", "Headache", ("Headache",)),
    ("ReasonForRequestedProcedureCodeSequence", "OBR-31", "H^Headache^L", code("H", "L", "Headache")),
    ("RequestedProcedureComments", "NTE-3", "Careful", ("Careful",)),
    ("ConfidentialityCode", "ORC-28.2", "V^Very^L", ("Very",)),
    ("ConfidentialityCode", "ORC-28.1", "V", ("V",)),
    ("AccessionNumber", "IPC-1", "A9", ("A9",)),
    ("AccessionNumber", "OBR-18", "A9", ("A9",)),
    ("IssuerOfAccessionNumberSequence", "IPC-1", "A9^SOUTH", issuer("SOUTH")),
    ("IssuerOfAccessionNumberSequence", "OBR-18", "A9^SOUTH", issuer("SOUTH")),
    ("RequestingPhysician", "OBR-16", "9003^Doctor^Dora", ("Doctor^Dora",)),
    ("RequestingPhysician", "ORC-12", "9002^Orderer^Otto", ("Orderer^Otto",)),
    ("ReferringPhysicianName", "PV1-8", "8001^Referrer^Rita", ("Referrer^Rita",)),
    ("PlacerOrderNumberImagingServiceRequest", "ORC-2", "P9^HIS", ("P9",)),
    ("PlacerOrderNumberImagingServiceRequest", "OBR-2", "P9^HIS", ("P9",)),
    ("OrderPlacerIdentifierSequence", "ORC-2", "P9^HIS", issuer("HIS")),
    ("OrderPlacerIdentifierSequence", "OBR-2", "P9^HIS", issuer("HIS")),
    ("FillerOrderNumberImagingServiceRequest", "ORC-3", "F9^RIS", ("F9",)),
    ("FillerOrderNumberImagingServiceRequest", "OBR-3", "F9^RIS", ("F9",)),
    ("OrderFillerIdentifierSequence", "ORC-3", "F9^RIS", issuer("RIS")),
    ("OrderFillerIdentifierSequence", "OBR-3", "F9^RIS", issuer("RIS")),
    ("OrderEnteredBy", "ORC-10", "9001^Entry^Ed", ("Entry^Ed",)),
    ("OrderEntererLocation", "ORC-17.2", "W3^Ward 3", ("Ward 3",)),
    ("OrderEntererLocation", "ORC-17.1", "W3", ("W3",)),
    ("OrderCallbackPhoneNumber", "ORC-14", "555-1", ("555-1",)),
    ("InstitutionName", "ORC-21.1", "North Clinic", ("North Clinic",)),
    ("InstitutionName", "ORC-17.2", "W3^Ward 3", ("Ward 3",)),
    ("InstitutionName", "MSH-4", "SOUTH", ("SOUTH",)),
    ("InstitutionAddress", "ORC-22.1 ORC-22.3 ORC-22.5", "Street 1^^Town^^123", ("Street 1 Town 123",)),
    ("InstitutionalDepartmentName", "ORC-13.9", "^^^^^^^^RADIO", ("RADIO",)),
    ("AdmissionID", "PV1-19", "V1^^^ADM", ("V1",)),
    ("AdmissionID", "PID-18", "V7^^^HIS", ("V7",)),
    ("IssuerOfAdmissionIDSequence", "PV1-19", "V1^^^ADM", issuer("ADM")),
    ("IssuerOfAdmissionIDSequence", "PID-18", "V7^^^HIS", issuer("HIS")),
    ("CurrentPatientLocation", "PV1-3.1 PV1-3.2 PV1-3.3", "3W^12^A^NORTH", ("3W 12 A",)),
    ("PatientState", "OBR-12.2", "D^Diabetic^L", ("Diabetic",)),
    ("PatientState", "OBR-12.1", "Diabetic", ("Diabetic",)),
    ("PregnancyStatus", "PV1-15", "B6", ("3",)),
    ("MedicalAlerts", "OBR-13.2", "P^Pacemaker", ("Pacemaker",)),
    ("MedicalAlerts", "OBR-13.1", "Pacemaker", ("Pacemaker",)),
    ("Allergies", "AL1-3.2", "C^Cats^L", ("Cats",)),
    ("Allergies", "AL1-3.1", "Cats", ("Cats",)),
    ("PatientName", "PID-5", "Muster^Eva^^Jr^Dr", ("Muster^Eva^^Dr^Jr",)),
    ("PatientBirthDate", "PID-7", "19800203120000", ("19800203",)),
    ("PatientSex", "PID-8", "A", ("O",)),
    ("PatientMotherBirthName", "PID-6", "Mother^Mia", ("Mother^Mia",)),
    ("PatientAddress", "PID-11.1 PID-11.3 PID-11.5", "Street 1^^Town^^123", ("Street 1 Town 123",)),
    ("PatientPrimaryLanguageCodeSequence", "PID-15", "de^German^ISO639", code("de", "ISO639", "German")),
    ("EthnicGroup", "PID-22.2", "E1^First^L", ("First",)),
    ("EthnicGroup", "PID-22.1", "E1", ("E1",)),
)


def place(source: str) -> tuple[str, int]:
    found = re.match(r"([A-Z][A-Z0-9]{2})-(\d+)", source)
    assert found is not None, source
    return found[1], int(found[2])


def built(type: str, keyword: str, source: str, value: str) -> object:
    """The attribute of a bare order of that type with `value` at `source`, and nothing at the sources before it."""
    fields = {name: dict(own) for name, own in BARE.items()}
    sources = {**DEFAULT, **PATIENT}[keyword]
    for earlier in sources[: sources.index(source)]:
        name, number = place(earlier)
        if (name, number) != place(source) and name in fields:
            fields[name].pop(number, None)
    name, number = place(source)
    if name == "IPC":
        fields["OBR"].pop(24)
        fields["IPC"] = {1: "A1", 5: "CT"}
    fields.setdefault(name, {})[number] = value
    lines = []
    for segment in ORDER:
        if segment in fields:
            own = fields[segment]
            lines.append("|".join([segment, *(own.get(n, "") for n in range(1, max(own) + 1))]))
    lines[0] = f"MSH|^~\\&|RIS|{fields['MSH'][4]}|SEGMILL|RAD|20260101120000+0000||{type}|1|P|2.5.1"
    event = order_event(Message.parse(("\r".join(lines) + "\r").encode()), Settings("north", UTC), NOW)
    ((step,),) = (order.steps for order in event.orders)
    (inner,) = step.attributes[SPS]
    assert isinstance(inner, Mapping)
    return {**step.attributes, **inner, **event.patient.attributes}[keyword]


def types(source: str) -> tuple[str, ...]:
    return ("OMI^O23",) if source.startswith("IPC") else ("ORM^O01", "OMG^O19", "OMI^O23")


@pytest.mark.parametrize(
    ("type", "keyword", "source", "value", "expected"),
    [pytest.param(type, *case, id=f"{case[0]} {case[1]} {type[:3]}") for case in CASES for type in types(case[1])],
)
def test_each_source_alone_gives_its_attribute(
    type: str, keyword: str, source: str, value: str, expected: object
) -> None:
    assert built(type, keyword, source, value) == expected


def test_every_source_of_every_row_is_tried() -> None:
    rows = {**DEFAULT, **PATIENT}
    assert {case[:2] for case in CASES} == {(keyword, source) for keyword, own in rows.items() for source in own}


def test_what_no_row_gives_is_there_and_empty_or_made_of_others() -> None:
    """Keys that a scanner may ask for and no message has (type 2), and those that are not mapped."""
    empty = {keyword for keyword, sources in {**DEFAULT, **PATIENT}.items() if not sources}
    assert empty == {
        *("ScheduledStationAETitle", "PreMedication", "RequestedContrastAgent", "CommentsOnTheScheduledProcedureStep"),
        *("ReferencedStudySequence", "ReferencedPatientSequence", "SpecialNeeds", "PatientWeight", "PatientSize"),
    }
    made = {"SpecificCharacterSet", SPS, "ScheduledProcedureStepStatus", "ScheduledProcedureStepStartTime"}
    made |= {"TimezoneOffsetFromUTC", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"}
    made |= {"OtherPatientIDsSequence", "OtherPatientNames"}
    assert set(ITEM) | set(STEP) == {*DEFAULT, *PATIENT, *made}
