"""Synthetic messages, as bytes on the wire: invented people, every value plainly made up.

Each builder gives CR-terminated segments with the final CR, encoded in `charset`, and no MLLP frame.
What a test does not name has a default that never changes, so the same call gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# MSH-18 (table 0211) to the codec that encodes it; HL7 v2.5.1 section 2.15.9.18.
CODECS = {
    "": "ascii",
    "ASCII": "ascii",
    "8859/1": "iso8859_1",
    "8859/15": "iso8859_15",
    "UNICODE UTF-8": "utf_8",
    "GB 18030-2000": "gb18030",
    "~ISO IR87": "iso2022_jp",
    "BIG-5": "big5",
    "KS X 1001": "euc_kr",
}


class Observation(NamedTuple):
    """One OBX: what was observed, its value, and how it reads."""

    code: str
    text: str
    value: str
    value_type: str = "NM"
    units: str = ""
    reference_range: str = ""
    flags: str = ""
    status: str = "F"
    coding_system: str = "L"


HAEMOGLOBIN = Observation("HB", "Haemoglobin", "13.9", units="g/dL", reference_range="12.0-16.0", flags="N")


def message(segments: Iterable[str], *, charset: str = "") -> bytes:
    """Segments, one string each, as they go over the wire: CR after every one, in the codec of MSH-18 `charset`."""
    text = "".join(f"{segment}\r" for segment in segments)
    return text.encode(CODECS[charset])


def msh(
    message_type: str,
    *,
    control_id: str,
    version: str = "2.5.1",
    sender: tuple[str, str] = ("HIS", "NORTH"),
    receiver: tuple[str, str] = ("SEGMILL", "NORTH"),
    at: str = "20260102030405+0100",
    processing_id: str = "P",
    accept_ack: str = "",
    application_ack: str = "",
    charset: str = "",
) -> str:
    """The header segment. `message_type` is MSH-9 as it stands, `sender` is MSH-3 and MSH-4."""
    fields = ["MSH", "^~\\&", *sender, *receiver, at, "", message_type, control_id, processing_id, version]
    fields += ["", "", accept_ack, application_ack, "", charset]
    while not fields[-1]:
        fields.pop()
    return "|".join(fields)


def pid(
    *,
    mrn: str = "900001",
    national_id: str = "",
    family: str = "Testperson",
    given: str = "Anna",
    birth_date: str = "19700101",
    sex: str = "F",
) -> str:
    """An invented patient. PID-3 holds the hospital's number (type MR) after the national one (NI), if there is one."""
    identifiers = [f"{national_id}^^^NATION^NI"] if national_id else []
    if mrn:
        identifiers.append(f"{mrn}^^^NORTH^MR")
    address = "1 Example Street^^Testville^^00000"
    return f"PID|1||{'~'.join(identifiers)}||{family}^{given}||{birth_date}|{sex}|||{address}||555-0100"


def pv1(*, patient_class: str = "I", ward: str = "3W", room: str = "12", bed: str = "A", visit: str = "V800001") -> str:
    """The visit: class (table 0004), ward^room^bed, visit number."""
    return f"PV1|1|{patient_class}|{ward}^{room}^{bed}^NORTH||||DOC1^Testdoctor^Tilda{'|' * 12}{visit}^^^NORTH^VN"


def adt(
    *,
    trigger: str = "A01",
    control_id: str = "ADT00001",
    version: str = "2.5.1",
    mrn: str = "900001",
    national_id: str = "",
    family: str = "Testperson",
    given: str = "Anna",
    sex: str = "F",
    patient_class: str = "I",
    ward: str = "3W",
    sender: tuple[str, str] = ("HIS", "NORTH"),
    at: str = "20260102030405+0100",
    processing_id: str = "P",
    accept_ack: str = "",
    application_ack: str = "",
    charset: str = "",
    more: Sequence[str] = (),
) -> bytes:
    """ADT^`trigger`: MSH, EVN, PID, PV1, then the segments of `more` as they stand."""
    head = msh(
        f"ADT^{trigger}",
        control_id=control_id,
        version=version,
        sender=sender,
        at=at,
        processing_id=processing_id,
        accept_ack=accept_ack,
        application_ack=application_ack,
        charset=charset,
    )
    person = pid(mrn=mrn, national_id=national_id, family=family, given=given, sex=sex)
    visit = pv1(patient_class=patient_class, ward=ward)
    return message([head, f"EVN|{trigger}|{at}", person, visit, *more], charset=charset)


def orm(
    *,
    control_id: str = "ORM00001",
    version: str = "2.5.1",
    order_control: str = "NW",
    placer: str = "P700001",
    filler: str = "",
    procedure: tuple[str, str] = ("CTHEAD", "CT head"),
    priority: str = "R",
    mrn: str = "900001",
    family: str = "Testperson",
    given: str = "Anna",
    sex: str = "F",
    ward: str = "3W",
    sender: tuple[str, str] = ("HIS", "NORTH"),
    at: str = "20260102030405+0100",
    more: Sequence[str] = (),
) -> bytes:
    """ORM^O01 with one order: MSH, PID, PV1, ORC, OBR. `priority` is TQ.6 of ORC-7 and OBR-27."""
    code, text = procedure
    timing = f"^^^{at}^^{priority}"
    return message(
        [
            msh("ORM^O01^ORM_O01", control_id=control_id, version=version, sender=sender, at=at),
            pid(mrn=mrn, family=family, given=given, sex=sex),
            pv1(ward=ward),
            f"ORC|{order_control}|{placer}|{filler}||||{timing}||{at}|||DOC1^Testdoctor^Tilda",
            f"OBR|1|{placer}|{filler}|{code}^{text}^L{'|' * 12}DOC1^Testdoctor^Tilda{'|' * 11}{timing}",
            *more,
        ]
    )


def scheduled(
    *,
    control_id: str = "SCN00001",
    order_control: str = "NW",
    order_status: str = "SC",
    number: str = "700001",
    procedure: tuple[str, str] = ("CTHEAD", "CT head"),
    modality: str = "CT",
    start: str = "20260105093000+0100",
    priority: str = "R",
    mrn: str = "900001",
    family: str = "Testperson",
    given: str = "Anna",
    sex: str = "F",
    ward: str = "3W",
    sender: tuple[str, str] = ("RIS", "NORTH"),
    at: str = "20260102030405+0100",
    charset: str = "",
    more: Sequence[str] = (),
) -> bytes:
    """ORM^O01 from a RIS that has scheduled one procedure step (IHE RAD-4): MSH, PID, PV1, ORC, OBR, ZDS.

    `number` is in each of its numbers: placer P..., filler F..., accession A..., requested procedure R..., step S...,
    and last in the Study Instance UID. `start` is TQ.4 of ORC-7.
    """
    code, text = procedure
    placer, filler = f"P{number}^HIS", f"F{number}^RIS"
    ids = f"A{number}|R{number}|S{number}"
    coded = f"{code}^{text}^L"
    doctor = "DOC1^Testdoctor^Tilda"
    return message(
        [
            msh("ORM^O01^ORM_O01", control_id=control_id, sender=sender, at=at, charset=charset),
            pid(mrn=mrn, family=family, given=given, sex=sex),
            pv1(ward=ward),
            f"ORC|{order_control}|{placer}|{filler}||{order_status}||^^^{start}^^{priority}||{at}|||{doctor}",
            f"OBR|1|{placer}|{filler}|{coded}^{coded}{'|' * 12}{doctor}||{ids}||||{modality}",
            f"ZDS|1.2.826.0.1.3680043.99.{number}^RIS^Application^DICOM",
            *more,
        ],
        charset=charset,
    )


def oru(
    *,
    control_id: str = "ORU00001",
    version: str = "2.5.1",
    placer: str = "P700001",
    filler: str = "F600001",
    panel: tuple[str, str] = ("CBC", "Blood count"),
    status: str = "F",
    observations: Sequence[Observation] = (HAEMOGLOBIN,),
    mrn: str = "900001",
    family: str = "Testperson",
    given: str = "Anna",
    sex: str = "F",
    sender: tuple[str, str] = ("LAB", "NORTH"),
    at: str = "20260102030405+0100",
    charset: str = "",
    more: Sequence[str] = (),
) -> bytes:
    """ORU^R01 with one report: MSH, PID, PV1, ORC, OBR, an OBX for each of `observations`."""
    code, text = panel
    results = [
        f"OBX|{n}|{o.value_type}|{o.code}^{o.text}^{o.coding_system}||{o.value}|{o.units}|{o.reference_range}|{o.flags}|||{o.status}"
        for n, o in enumerate(observations, 1)
    ]
    return message(
        [
            msh("ORU^R01^ORU_R01", control_id=control_id, version=version, sender=sender, at=at, charset=charset),
            pid(mrn=mrn, family=family, given=given, sex=sex),
            pv1(),
            f"ORC|RE|{placer}|{filler}",
            f"OBR|1|{placer}|{filler}|{code}^{text}^L|||{at}{'|' * 15}{at}|||{status}",
            *results,
            *more,
        ],
        charset=charset,
    )
