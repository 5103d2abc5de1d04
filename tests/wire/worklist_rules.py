"""dicom.md section 2 as one table: what is on the worklist, what a C-FIND asks for, and which items it must find.

`wlmscpfs` and `orthanc` say what DCMTK 3.6.7 and Orthanc 1.10.1 answer to the same query on the same items where that
is known not to be it; `REFUSED` is a failure status in the place of answers.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import ModalityWorklistInformationFind

from engine.worklist.attributes import SPS
from engine.worklist.item import Attributes, EntityId, Item, ItemKey, OrderKeys, Status

STEP: Final = "ScheduledProcedureStepSequence[0]"
AE, MODALITY = f"{STEP}.ScheduledStationAETitle", f"{STEP}.Modality"
DATE, TIME = f"{STEP}.ScheduledProcedureStepStartDate", f"{STEP}.ScheduledProcedureStepStartTime"
SYNTAXES: Final = {
    "LittleEndianImplicit": ImplicitVRLittleEndian,
    "LittleEndianExplicit": ExplicitVRLittleEndian,
    "BigEndianExplicit": ExplicitVRBigEndian,
}
"""By the names that DCMTK gives them."""
REFUSED: Final = "refused"
Found = tuple[int, ...] | str


def item(
    number: int,
    name: str = "Muster^Anna",
    *,
    aes: tuple[str, ...] = ("CT1",),
    modality: str = "CT",
    date: str = "20261015",
    time: str = "090000",
    status: Status = "SCHEDULED",
    performer: str = "",
    procedure: str = "",
    sex: str = "",
) -> Item:
    """An item whose numbers all come of `number`, complete enough for wlmscpfs to take it."""
    step: Attributes = {
        "ScheduledStationAETitle": aes,
        "Modality": (modality,),
        "ScheduledProcedureStepStartDate": (date,),
        "ScheduledProcedureStepStartTime": (time,),
        "ScheduledProcedureStepID": (f"S{number}",),
        "ScheduledProcedureStepDescription": ("CT head",),
        "ScheduledProtocolCodeSequence": (
            {"CodeValue": ("C1",), "CodingSchemeDesignator": ("L",), "CodeMeaning": ("Head",)},
        ),
        "ScheduledPerformingPhysicianName": (performer,) if performer else (),
    }
    attributes: Attributes = {
        "PatientName": (name,),
        "PatientID": (f"9000{number}",),
        "AccessionNumber": (f"A{number}",),
        "StudyInstanceUID": (f"1.2.{number}",),
        "RequestedProcedureID": (procedure or f"R{number}",),
        "RequestedProcedureDescription": ("Head",),
        "RequestedProcedureCodeSequence": (
            {"CodeValue": ("C1",), "CodingSchemeDesignator": ("L",), "CodeMeaning": ("Head",)},
        ),
        "PatientSex": (sex,) if sex else (),
        "PatientBirthDate": (),
        "ReferencedStudySequence": (),
        "ReferencedPatientSequence": (),
        SPS: (step,),
    }
    keys = OrderKeys(f"1.2.{number}", accession=EntityId(f"A{number}"))
    key = ItemKey(f"1.2.{number}", f"S{number}")
    clock, _, fraction = time.partition(".")
    starts = f"{date}{clock.ljust(6, '0')}.{fraction.ljust(6, '0')}"
    return Item(key, EntityId(f"9000{number}", "HIS"), keys, attributes, starts, "zds", status)


ITEMS: Final = [
    item(1),
    item(2, "MÜLLER^Eva", aes=("MR1",), modality="MR", date="20261016", time="0900"),
    item(3, "YAMADA^TARO=山田^太郎=やまだ^たろう", aes=("CT1", "CT2"), date="20261016", time="170000"),
    item(4, "Muster^Bert", aes=("US1",), modality="US", date="20261017", time="100000.000", performer="Doe^Jane"),
    item(5, "Ended^Otto", status="COMPLETED"),
    item(6, "Smith^John", aes=("DX_1",), modality="DX", date="20261016", time="083000", sex="M", procedure="50% [a_b]"),
]
"""Kept in the order of their numbers, which is not the order of their starts: 1, 6, 2, 3, 4."""


@dataclass(slots=True, frozen=True)
class Rule:
    """One query. `number`: of dicom.md section 2. `found`: numbers of items, in the order of the answers."""

    number: int
    keys: tuple[str, ...]
    found: Found
    wlmscpfs: Found | None = None
    orthanc: Found | None = None

    def __str__(self) -> str:
        return f"rule {self.number}: {', '.join(self.keys).replace(STEP, 'SPS') or 'no key'}"


ALL: Final = (1, 6, 2, 3, 4)
RULES: Final = (
    # 1: the required keys; all of them combine with AND.
    Rule(1, (f"{MODALITY}=CT",), (1, 3)),
    Rule(1, (f"{MODALITY}=CT", f"{AE}=CT2"), (3,), orthanc=()),
    Rule(1, (f"{MODALITY}=CT", f"{AE}=CT1", f"{DATE}=20261015", "PatientName=muster*"), (1,), wlmscpfs=()),
    Rule(1, (f"{MODALITY}=MR", f"{AE}=CT1"), ()),
    Rule(1, (f"{STEP}.ScheduledPerformingPhysicianName=Doe^Jane",), (4,)),
    Rule(1, ("PatientID=90003",), (3,)),
    # 2: a single value is exact, and its case counts, but for names.
    Rule(2, (f"{AE}=ct1",), ()),
    Rule(2, ("AccessionNumber=A4",), (4,)),
    Rule(2, ("AccessionNumber=a4",), ()),
    Rule(2, ("PatientID=9000",), ()),
    # 3: any AE title of several.
    Rule(3, (f"{AE}=CT1",), (1, 3), orthanc=(1,)),
    Rule(3, (f"{AE}=CT2",), (3,), orthanc=()),
    # 4: wildcards, where the VR has them.
    Rule(4, (f"{AE}=CT?",), (1, 3), wlmscpfs=(), orthanc=(1,)),
    Rule(4, (f"{MODALITY}=?R",), (2,), wlmscpfs=()),
    Rule(4, ("RequestedProcedureID=R?",), (1, 2, 3, 4)),
    Rule(4, ("PatientID=9000?",), ALL, wlmscpfs=()),
    Rule(4, ("PatientName=M?ster^*",), (1, 4)),
    Rule(4, ("StudyInstanceUID=1.2.*",), (), wlmscpfs=ALL, orthanc=REFUSED),
    Rule(4, (f"{DATE}=2026*",), REFUSED),
    # 5: universal keys match what has no value, too.
    Rule(5, (), ALL),
    Rule(5, (f"{MODALITY}=*",), ALL),
    Rule(5, (f"{MODALITY}=", f"{DATE}=", "PatientName="), ALL),
    Rule(5, ("PatientSex=*",), ALL),
    Rule(5, ("PatientBirthDate=",), ALL),
    Rule(5, ("ScheduledProcedureStepSequence",), ALL),
    Rule(5, (STEP,), ALL),
    # 6: no value, no match.
    Rule(6, ("PatientSex=M",), (6,)),
    Rule(6, ("PatientSex=F",), ()),
    Rule(6, ("PatientBirthDate=19000101-20991231",), ()),
    Rule(6, (f"{STEP}.ScheduledPerformingPhysicianName=D*",), (4,)),
    # 7: ranges with their ends, times as times.
    Rule(7, (f"{DATE}=20261015",), (1,)),
    Rule(7, (f"{DATE}=20261015-20261016",), (1, 6, 2, 3)),
    Rule(7, (f"{DATE}=20261016-",), (6, 2, 3, 4)),
    Rule(7, (f"{DATE}=-20261016",), (1, 6, 2, 3)),
    Rule(7, (f"{TIME}=090000",), (1, 2), orthanc=(1,)),
    Rule(7, (f"{TIME}=0900",), (1, 2), orthanc=(2,)),
    Rule(7, (f"{TIME}=1000",), (4,), orthanc=()),
    Rule(7, (f"{TIME}=0900-1000",), (1, 2, 4), orthanc=(1, 2)),
    # 8: a range of dates and a range of times are one period.
    Rule(8, (f"{DATE}=20261015-20261016", f"{TIME}=1000-1800"), (6, 2, 3), orthanc=(3,)),
    Rule(8, (f"{DATE}=20261016-", f"{TIME}=0900-"), (2, 3, 4)),
    # 9: a day with a range of times; a range of days with one time.
    Rule(9, (f"{DATE}=20261016", f"{TIME}=0800-0900"), (6, 2)),
    Rule(9, (f"{DATE}=20261015-20261016", f"{TIME}=0900"), (1, 2), orthanc=(2,)),
    # 10: names without regard to case.
    Rule(10, ("PatientName=smith*",), (6,), wlmscpfs=()),
    Rule(10, ("PatientName=müller^eva",), (2,), wlmscpfs=()),
    Rule(10, (f"{STEP}.ScheduledPerformingPhysicianName=DOE^JANE",), (4,), wlmscpfs=()),
    # 11: one group of a name finds it in any group.
    Rule(11, ("PatientName=YAMADA^TARO",), (3,), wlmscpfs=(), orthanc=()),
    Rule(11, ("PatientName=山田*",), (3,), wlmscpfs=(), orthanc=()),
    Rule(11, ("PatientName=やまだ^たろう",), (3,), wlmscpfs=(), orthanc=()),
    Rule(11, ("PatientName=YAMADA*=山田*",), (3,)),
    Rule(11, ("PatientName=*=鈴木*",), ()),
    # 13: any UID of a list. 14: any value of a list.
    Rule(13, ("StudyInstanceUID=1.2.1\\1.2.4",), (1, 4), wlmscpfs=ALL),
    Rule(13, ("StudyInstanceUID=1.2.99",), (), wlmscpfs=ALL),
    Rule(14, (f"{MODALITY}=MR\\US",), (2, 4), wlmscpfs=REFUSED),
    Rule(14, (f"{AE}=CT2\\US1",), (3, 4), orthanc=(4,)),
    # 15: a key that nothing is matched by restricts nothing.
    Rule(15, ("PatientComments=zzz",), ALL, orthanc=()),
    Rule(15, ("PatientComments=zzz", f"{MODALITY}=MR"), (2,), orthanc=()),
    # 17: no match is a success (of all rows: their status).
    Rule(17, (f"{DATE}=19990101",), ()),
    # 19: a key that is no value is not one that everybody matches.
    Rule(19, (f"{DATE}=2026-10-15",), REFUSED, orthanc=()),
    Rule(19, (f"{TIME}=9 a.m.",), REFUSED, orthanc=()),
    # 20: what SQL has for wildcards is none here.
    Rule(20, ("PatientID=9%",), ()),
    Rule(20, ("PatientID=9000_",), ()),
    Rule(20, ("PatientID=[9]0001",), ()),
    Rule(20, (f"{AE}=DX_1",), (6,)),
    Rule(20, ("RequestedProcedureID=50% [a_b]",), (6,)),
    Rule(20, ("RequestedProcedureID=*[a?b]",), (6,)),
    # 21: what is no key of a worklist is ignored.
    Rule(21, ("QueryRetrieveLevel=PATIENT",), ALL, orthanc=()),
    Rule(21, ("0009,0010=ACME",), ALL, orthanc=()),
    # 22: keys of the step in the wrong place restrict nothing.
    Rule(22, ("Modality=MR",), ALL, orthanc=()),
    Rule(22, ("ScheduledStationAETitle=MR1",), ALL, orthanc=()),
    # 25: accents count.
    Rule(25, ("PatientName=MULLER*",), ()),
    # dicom.md 1.9: who names a status sees it.
    Rule(2, (f"{STEP}.ScheduledProcedureStepStatus=COMPLETED",), (5,)),
)


def put(port: int, folder: Path, rules: Sequence[Rule] = RULES) -> dict[Rule, Found]:
    """What findscu gets for each of them, one query after the other on one association."""
    files = []
    for number, rule in enumerate(rules):
        files.append(folder / f"query{number:03}.dcm")
        write_part_10(query_of(rule), files[-1])
    command = ["findscu", "-v", "-W", "-aet", "CT1", "-aec", "SEGMILL", "127.0.0.1", str(port)]
    run = subprocess.run([*command, *map(str, files)], capture_output=True, timeout=300, check=False)
    said = re.split(r"Received Final Find Response \(([^)]*)\)", (run.stdout + run.stderr).decode("utf-8", "replace"))
    ended = list(zip(said[0::2], said[1::2], strict=False))
    assert len(ended) == len(rules), f"{len(ended)} of {len(rules)} queries came to an end: {said[-1]}"
    return {rule: outcome(text, final) for rule, (text, final) in zip(rules, ended, strict=True)}


def write_part_10(dataset: Dataset, path: Path) -> None:
    """A DICOM file of it, in Explicit VR Little Endian."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.99"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def query_of(rule: Rule) -> Dataset:
    made = Dataset()
    if not all(key.isascii() for key in rule.keys):
        made.SpecificCharacterSet = "ISO_IR 192"
    made.AccessionNumber = ""
    for key in rule.keys:
        path, _, value = key.partition("=")
        *outer, name = path.removesuffix("[0]").split("[0].")
        inner = made
        if path.endswith("[0]"):
            outer, name = [name], ""
        for sequence in outer:
            if sequence not in inner:
                setattr(inner, sequence, [Dataset()])
            inner = getattr(inner, sequence)[0]
        if name:
            tag = Tag(name.split(",")) if "," in name else Tag(name)
            vr = dictionary_VR(tag) if not tag.is_private else "LO"
            inner.add(DataElement(tag, vr, value if vr != "SQ" else [], validation_mode=IGNORE))
    return made


def answered(text: str) -> list[int]:
    """The numbers of findscu's answers, which stand behind its own request."""
    _, _, answers = text.partition("Find Response")
    return [int(number) for number in re.findall(r"\(0008,0050\) SH \[A(\d+)", answers)]


def outcome(text: str, final: str) -> Found:
    """What a query came to: numbers of items, or REFUSED for a failure without any."""
    numbers = tuple(answered(text))
    if final == "Success":
        return numbers
    return f"{final} after {numbers}" if numbers else REFUSED
