"""The DICOM attributes of a worklist item: tag, VR, type of the key, and what becomes of a value that is too long.

PS3.4 Table K.6-1 says which keys are matched and returned; PS3.6 has tags and VRs; dicom.md section 1.2 is this table
with the HL7 fields beside it. Items hold attributes by keyword, so nothing above this module knows a tag.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["identifier", "text", "enumeration", "name", "code", "date", "time", "number", "uid", "sequence"]
"""What a value is, which says what may be done to it: an identifier is never cut, a text may be (dicom.md 1.6)."""

Level = Literal["item", "step", "code", "issuer", "patient-id"]
"""Where an attribute stands: the item itself, its one scheduled procedure step, a code or an issuer in a sequence."""


@dataclass(slots=True, frozen=True)
class Attribute:
    """One attribute. `most`: characters a value may have, of a PN a component group; 0: as the VR has it.

    `multiple`: several values, separated by a backslash in DICOM. `matched`: whether a query can match by it here.
    `return_type`: PS3.4's type of a return key: 1 has a value, 2 is there and may be empty, 3 may be left out.
    """

    keyword: str
    tag: int
    vr: str
    kind: Kind
    return_type: str
    level: Level = "item"
    multiple: bool = False
    matched: bool = False

    @property
    def most(self) -> int:
        """The most characters of one value (PS3.5 section 6.2); of PN, of one component group. 0: no limit to check."""
        return MOST_BY_VR.get(self.vr, 0)


MOST_BY_VR: Final = {
    "AE": 16,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "PN": 64,
    "SH": 16,
    "ST": 1024,
    "TM": 14,
    "UI": 64,
}

SPS: Final = "ScheduledProcedureStepSequence"

_ITEM: Final = (
    Attribute("SpecificCharacterSet", 0x00080005, "CS", "enumeration", "1C", multiple=True),
    Attribute("AccessionNumber", 0x00080050, "SH", "identifier", "2", matched=True),
    Attribute("IssuerOfAccessionNumberSequence", 0x00080051, "SQ", "sequence", "3"),
    Attribute("InstitutionName", 0x00080080, "LO", "text", "3"),
    Attribute("InstitutionAddress", 0x00080081, "ST", "text", "3"),
    Attribute("ReferringPhysicianName", 0x00080090, "PN", "name", "2"),
    Attribute("TimezoneOffsetFromUTC", 0x00080201, "SH", "enumeration", "3"),
    Attribute("InstitutionalDepartmentName", 0x00081040, "LO", "text", "3"),
    Attribute("ReferencedStudySequence", 0x00081110, "SQ", "sequence", "2"),
    Attribute("ReferencedPatientSequence", 0x00081120, "SQ", "sequence", "2"),
    Attribute("PatientName", 0x00100010, "PN", "name", "1", matched=True),
    Attribute("PatientID", 0x00100020, "LO", "identifier", "1", matched=True),
    Attribute("IssuerOfPatientID", 0x00100021, "LO", "identifier", "3", matched=True),
    Attribute("IssuerOfPatientIDQualifiersSequence", 0x00100024, "SQ", "sequence", "3"),
    Attribute("PatientBirthDate", 0x00100030, "DA", "date", "2", matched=True),
    Attribute("PatientSex", 0x00100040, "CS", "enumeration", "2", matched=True),
    Attribute("PatientPrimaryLanguageCodeSequence", 0x00100101, "SQ", "sequence", "3"),
    Attribute("OtherPatientNames", 0x00101001, "PN", "name", "3", multiple=True),
    Attribute("OtherPatientIDsSequence", 0x00101002, "SQ", "sequence", "3"),
    Attribute("PatientSize", 0x00101020, "DS", "number", "3"),
    Attribute("PatientWeight", 0x00101030, "DS", "number", "2"),
    Attribute("PatientAddress", 0x00101040, "LO", "text", "3"),
    Attribute("PatientMotherBirthName", 0x00101060, "PN", "name", "3"),
    Attribute("MedicalAlerts", 0x00102000, "LO", "text", "2", multiple=True),
    Attribute("Allergies", 0x00102110, "LO", "text", "2", multiple=True),
    Attribute("EthnicGroup", 0x00102160, "SH", "text", "3"),
    Attribute("PregnancyStatus", 0x001021C0, "US", "number", "2"),
    Attribute("StudyInstanceUID", 0x0020000D, "UI", "uid", "1", matched=True),
    Attribute("RequestingPhysician", 0x00321032, "PN", "name", "2"),
    Attribute("RequestedProcedureDescription", 0x00321060, "LO", "text", "1C"),
    Attribute("RequestedProcedureCodeSequence", 0x00321064, "SQ", "sequence", "1C"),
    Attribute("AdmissionID", 0x00380010, "LO", "identifier", "2", matched=True),
    Attribute("IssuerOfAdmissionIDSequence", 0x00380014, "SQ", "sequence", "3"),
    Attribute("SpecialNeeds", 0x00380050, "LO", "text", "2"),
    Attribute("CurrentPatientLocation", 0x00380300, "LO", "text", "2"),
    Attribute("PatientState", 0x00380500, "LO", "text", "2"),
    Attribute(SPS, 0x00400100, "SQ", "sequence", "1", matched=True),
    Attribute("RequestedProcedureID", 0x00401001, "SH", "identifier", "1", matched=True),
    Attribute("ReasonForTheRequestedProcedure", 0x00401002, "LO", "text", "3"),
    Attribute("RequestedProcedurePriority", 0x00401003, "SH", "enumeration", "2"),
    Attribute("PatientTransportArrangements", 0x00401004, "LO", "text", "2"),
    Attribute("ConfidentialityCode", 0x00401008, "LO", "text", "3"),
    Attribute("ReasonForRequestedProcedureCodeSequence", 0x0040100A, "SQ", "sequence", "3"),
    Attribute("RequestedProcedureComments", 0x00401400, "LT", "text", "3"),
    Attribute("OrderEnteredBy", 0x00402008, "PN", "name", "3"),
    Attribute("OrderEntererLocation", 0x00402009, "SH", "text", "3"),
    Attribute("OrderCallbackPhoneNumber", 0x00402010, "SH", "text", "3"),
    Attribute("PlacerOrderNumberImagingServiceRequest", 0x00402016, "LO", "identifier", "3", matched=True),
    Attribute("FillerOrderNumberImagingServiceRequest", 0x00402017, "LO", "identifier", "3", matched=True),
    Attribute("OrderPlacerIdentifierSequence", 0x00400026, "SQ", "sequence", "3"),
    Attribute("OrderFillerIdentifierSequence", 0x00400027, "SQ", "sequence", "3"),
)

_STEP: Final = (
    Attribute("Modality", 0x00080060, "CS", "enumeration", "1", "step", matched=True),
    Attribute("RequestedContrastAgent", 0x00321070, "LO", "text", "2", "step"),
    Attribute("ScheduledStationAETitle", 0x00400001, "AE", "identifier", "1", "step", multiple=True, matched=True),
    Attribute("ScheduledProcedureStepStartDate", 0x00400002, "DA", "date", "1", "step", matched=True),
    Attribute("ScheduledProcedureStepStartTime", 0x00400003, "TM", "time", "1", "step", matched=True),
    Attribute("ScheduledPerformingPhysicianName", 0x00400006, "PN", "name", "2", "step", matched=True),
    Attribute("ScheduledProcedureStepDescription", 0x00400007, "LO", "text", "1C", "step"),
    Attribute("ScheduledProtocolCodeSequence", 0x00400008, "SQ", "sequence", "1C", "step"),
    Attribute("ScheduledProcedureStepID", 0x00400009, "SH", "identifier", "1", "step", matched=True),
    Attribute("ScheduledStationName", 0x00400010, "SH", "text", "2", "step", multiple=True),
    Attribute("ScheduledProcedureStepLocation", 0x00400011, "SH", "text", "2", "step"),
    Attribute("PreMedication", 0x00400012, "LO", "text", "2", "step"),
    Attribute("ScheduledProcedureStepStatus", 0x00400020, "CS", "enumeration", "3", "step", matched=True),
    Attribute("CommentsOnTheScheduledProcedureStep", 0x00400400, "LT", "text", "3", "step"),
)

_PARTS: Final = (
    Attribute("CodeValue", 0x00080100, "SH", "code", "1C", "code"),
    Attribute("CodingSchemeDesignator", 0x00080102, "SH", "code", "1C", "code"),
    Attribute("CodeMeaning", 0x00080104, "LO", "text", "1", "code"),
    Attribute("LongCodeValue", 0x00080119, "UC", "code", "1C", "code"),
    Attribute("LocalNamespaceEntityID", 0x00400031, "UT", "identifier", "1C", "issuer"),
    Attribute("UniversalEntityID", 0x00400032, "UT", "identifier", "1C", "issuer"),
    Attribute("UniversalEntityIDType", 0x00400033, "CS", "enumeration", "1C", "issuer"),
    Attribute("PatientID", 0x00100020, "LO", "identifier", "1", "patient-id"),
    Attribute("IssuerOfPatientID", 0x00100021, "LO", "identifier", "3", "patient-id"),
    Attribute("TypeOfPatientID", 0x00100022, "CS", "enumeration", "3", "patient-id"),
)

ITEM: Final = {attribute.keyword: attribute for attribute in _ITEM}
"""Attributes of the item itself, by keyword."""

STEP: Final = {attribute.keyword: attribute for attribute in _STEP}
"""Attributes of the one item in the scheduled procedure step sequence, by keyword."""

PARTS: Final = {(attribute.level, attribute.keyword): attribute for attribute in _PARTS}
"""Attributes of items in the other sequences, by level and keyword."""

CODE_SEQUENCES: Final = frozenset(
    {
        "RequestedProcedureCodeSequence",
        "ScheduledProtocolCodeSequence",
        "ReasonForRequestedProcedureCodeSequence",
        "PatientPrimaryLanguageCodeSequence",
    }
)
ISSUER_SEQUENCES: Final = frozenset(
    {
        "IssuerOfAccessionNumberSequence",
        "IssuerOfPatientIDQualifiersSequence",
        "IssuerOfAdmissionIDSequence",
        "OrderPlacerIdentifierSequence",
        "OrderFillerIdentifierSequence",
    }
)


def attribute_in(sequence: str, keyword: str) -> Attribute:
    """The attribute `keyword` in an item of `sequence`; '' is the worklist item itself. Raises KeyError."""
    if not sequence:
        return ITEM[keyword]
    if sequence == SPS:
        return STEP[keyword]
    if sequence in CODE_SEQUENCES:
        return PARTS["code", keyword]
    if sequence in ISSUER_SEQUENCES:
        return PARTS["issuer", keyword]
    if sequence == "OtherPatientIDsSequence":
        return PARTS["patient-id", keyword]
    raise KeyError(sequence)
