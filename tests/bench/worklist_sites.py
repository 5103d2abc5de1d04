"""Sites with many worklist items, made for benches and long tests; and the engine that serves them, as a process."""

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

from engine.adapters.dicom.encode import Encoded, encode, joined
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.worklist import WorklistRows
from engine.worklist.attributes import SPS
from engine.worklist.changes import Put
from engine.worklist.item import Attributes, EntityId, Item, ItemKey, OrderKeys
from tests.wire.dicom_raw import query

NUMBER, DAY, CLOCK = "7777777", "20990908", "212223"
"""They stand in a template for what differs from item to item, and are as long as that."""
OTHERS: Final = ("MR", "US", "DX", "XA", "MG", "NM", "PT", "RF")
QUERIES: Final = {
    0: query(station="NOBODY", modality="CT", dates="20261115"),
    10: query(station="CT_Q", modality="CT", dates="20261115"),
    100: query(station="CT_Q", dates="20261101-20261130"),
    500: query(modality="CT", dates="20261101-20261130"),
}
"""By how many answers they have, on every worklist of 1,000 items and more."""
SETTINGS: Final = "admin: off\nstore: 'sqlite:data/segmill.db'\ndicom: {host: 127.0.0.1, port: 0}\n"
CHANNEL: Final = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {authority: HIS, station: [{ae: [CT1]}]}}
"""


def items(count: int) -> Iterator[tuple[Item, bytes]]:
    """Items of 40 attributes, and each as it is encoded."""
    templates: dict[tuple[str, str], tuple[Item, bytes]] = {}
    for number in range(count):
        station, modality, day = _place(number)
        if (station, modality) not in templates:
            made = _item(NUMBER, station, modality, DAY, CLOCK)
            templates[station, modality] = made, encode(made).dump()
        _, encoded = templates[station, modality]
        own, clock = f"{number:07}", f"{number % 24:02}{number % 60:02}00"
        for mark, value in ((NUMBER, own), (DAY, day), (CLOCK, clock)):
            encoded = encoded.replace(mark.encode(), value.encode())
        yield _item(own, station, modality, day, clock), encoded


def _place(number: int) -> tuple[str, str, str]:
    """Station, modality and day, so that the queries find what they are to find."""
    november = f"202611{1 + number % 14:02}"
    if number < 10:
        return "CT_Q", "CT", "20261115"
    if number < 100:
        return "CT_Q", "CT", november
    if number < 500:
        return f"CT_{number % 4}", "CT", november
    modality = OTHERS[number % len(OTHERS)]
    return f"{modality}_{number % 5}", modality, f"2026{10 + number % 3}{1 + number % 28:02}"


def _item(number: str, station: str, modality: str, day: str, clock: str) -> Item:
    code: Attributes = {
        "CodeValue": (f"{modality}01",),
        "CodingSchemeDesignator": ("L",),
        "CodeMeaning": (f"{modality} of the whole",),
    }
    step: Attributes = {
        "ScheduledStationAETitle": (station,),
        "Modality": (modality,),
        "ScheduledProcedureStepStartDate": (day,),
        "ScheduledProcedureStepStartTime": (clock,),
        "ScheduledPerformingPhysicianName": ("Röntgen^Wilhelm",),
        "ScheduledProcedureStepDescription": (f"{modality} of the whole",),
        "ScheduledProtocolCodeSequence": (code,),
        "ScheduledStationName": (station,),
        "ScheduledProcedureStepLocation": ("R12",),
        "ScheduledProcedureStepID": (f"S{number}",),
        "PreMedication": (),
        "RequestedContrastAgent": (),
    }
    uid = f"1.2.826.0.1.99.1{number}"
    attributes: Attributes = {
        "AccessionNumber": (f"A{number}",),
        "InstitutionName": ("Klinikum Süd",),
        "ReferringPhysicianName": ("Größer^Ägidius",),
        "ReferencedStudySequence": (),
        "ReferencedPatientSequence": (),
        "PatientName": (f"Müller{number}^Eva",),
        "PatientID": (f"9{number}",),
        "IssuerOfPatientID": ("HIS",),
        "PatientBirthDate": ("19800203",),
        "PatientSex": ("F",),
        "PatientWeight": ("70",),
        "MedicalAlerts": (),
        "Allergies": (),
        "PregnancyStatus": ("4",),
        "StudyInstanceUID": (uid,),
        "RequestingPhysician": ("Größer^Ägidius",),
        "RequestedProcedureDescription": (f"{modality} of the whole",),
        "RequestedProcedureCodeSequence": (code,),
        "AdmissionID": (f"V{number}",),
        "SpecialNeeds": (),
        "CurrentPatientLocation": ("Station 3",),
        "PatientState": (),
        SPS: (step,),
        "RequestedProcedureID": (f"R{number}",),
        "ReasonForTheRequestedProcedure": ("Kontrolle",),
        "RequestedProcedurePriority": ("ROUTINE",),
        "PatientTransportArrangements": (),
        "PlacerOrderNumberImagingServiceRequest": (f"P{number}",),
        "FillerOrderNumberImagingServiceRequest": (f"F{number}",),
        "ConfidentialityCode": (),
    }
    keys = OrderKeys(uid, EntityId(f"P{number}", "HIS"), EntityId(f"F{number}", "RIS"), EntityId(f"A{number}"))
    starts = f"{day}{clock}.000000"
    return Item(ItemKey(uid, f"S{number}"), EntityId(f"9{number}", "HIS"), keys, attributes, starts, "zds")


def make_worklist_site(folder: Path, count: int, settings: str = SETTINGS) -> Path:
    """A site whose worklist `main` has so many items."""
    (folder / "channels" / "orders").mkdir(parents=True)
    (folder / "channels" / "orders" / "channel.yaml").write_text(CHANNEL)
    (folder / "segmill.yaml").write_text(settings)
    store = SqliteStore(folder / "data" / "segmill.db")
    store.open()
    store.close()
    db = sqlite3.connect(folder / "data" / "segmill.db", isolation_level=None)
    rows = WorklistRows(db.execute, lambda item: encode(item).dump())
    db.execute("BEGIN")
    puts: list[Put] = []
    for item, encoded in items(count):
        puts.append(replace(Put(item, None, "created"), encoded=encoded))
        if len(puts) == 1000:
            rows.apply("main", puts, at_us=1, seq=1)
            puts.clear()
    rows.apply("main", puts, at_us=1, seq=1)
    db.execute("COMMIT")
    db.close()
    return folder


def write_wl_files(folder: Path, count: int) -> None:
    """The same items as a folder of files, for servers that read one."""
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.31"
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.99.2"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head = BytesIO()
    write_file_meta_info(head, meta)
    start = bytes(128) + b"DICM" + head.getvalue()
    for number, (item, encoded) in enumerate(items(count)):
        whole: Attributes = dict.fromkeys(item.attributes, ())
        data = joined(Encoded.load(encoded), whole, item, {}, is_implicit=False)
        (folder / f"{number:07}.wl").write_bytes(start + data)


class Engine:
    """`segmill run` on a site, with its DICOM port."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port

    @property
    def threads(self) -> int:
        """Now."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    @property
    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def resident_mb(self) -> float:
        """Memory that it has."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) / 1024


@contextmanager
def serving(site: Path) -> Iterator[Engine]:
    """The engine, once scanners may connect."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(site)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stderr is not None
    port = 0
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"scanners reach worklist main on port (\d+)", line):
            port = int(found[1])
            break
    assert port, "".join(said)
    drain = threading.Thread(target=process.stderr.read)  # or its log would fill the pipe, and it would wait for us
    drain.start()
    try:
        yield Engine(process, port)
    finally:
        process.terminate()
        process.wait(60)
        drain.join()
        process.stderr.close()


def own_query(number: int) -> Dataset:
    """One station's of one day: of no two numbers below 16 the same, with some 120 answers among 100,000 items."""
    station, modality, day = _place(500 + number)
    return query(station=station, modality=modality, dates=day)


def asked_for(number: int) -> Dataset:
    """The query with so many answers."""
    return QUERIES[number]
