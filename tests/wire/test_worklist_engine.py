"""The whole way: an order over MLLP is acknowledged, and dcmtk's findscu finds it (dicom.md sections 1 and 2)."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from engine.worklist.item import ItemKey
from tests.runtime.engines import SiteUnderTest, codes, msa
from tests.runtime.parts import until

pytestmark = pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")

DICOM = "dicom: {host: 127.0.0.1, port: 0}\n"
MEMORY = "admin: off\nstore: 'memory:'\n" + DICOM
SQLITE = "admin: off\nshutdown: 5s\n" + DICOM

ORDERS = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01', 'OMG^O19', 'OMI^O23', 'ADT^*', 'ORU^*']
ack: {when: %s}
routes: [{to: modalities}]
destinations:
  modalities:
    worklist:
      authority: HIS
      station:
        - {when: {Modality: CT}, ae: [CT1], name: CT_ONE}
        - {when: {Modality: MR}, ae: [MR1, MR2]}
"""


def order(
    control: str = "NW",
    status: str = "SC",
    *,
    id: str = "M1",
    number: str = "1",
    patient: str = "900001",
    modality: str = "CT",
    at: str = "20260101120000+0000",
) -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|{at}||ORM^O01|{id}|P|2.3.1||||||8859/1",
        f"PID|1||{patient}^^^HIS^MR||Müller^Eva||19800203|F",
        "PV1|1|O",
        f"ORC|{control}|P{number}^HIS|F{number}^RIS||{status}||^^^20260102103000||{at}",
        f"OBR|1|P{number}^HIS|F{number}^RIS|CTH^CT head^L^CTH^Head^L||||||||||||||"
        f"A{number}|R{number}|S{number}||||{modality}",
        f"ZDS|1.2.826.0.1.99.{number}^RIS^Application^DICOM",
    ]
    return ("\r".join(segments) + "\r").encode("latin-1")


def adt(event: str, *, id: str, patient: str = "900001", name: str = "Muller^Eva", prior: str = "") -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101130000+0000||ADT^{event}|{id}|P|2.5.1",
        f"EVN|{event}|20260101130000+0000",
        f"PID|1||{patient}^^^HIS^MR||{name}||19800203|F",
        *([f"MRG|{prior}^^^HIS^MR"] if prior else []),
    ]
    return ("\r".join(segments) + "\r").encode("latin-1")


@pytest.fixture(params=["memory", "sqlite"])
def settings(request: pytest.FixtureRequest) -> str:
    return MEMORY if request.param == "memory" else SQLITE


def site(folder: Path, settings: str, when: str = "delivered(modalities)") -> SiteUnderTest:
    return SiteUnderTest(folder / "site", {"orders": ORDERS % when}, settings)


async def find(site: SiteUnderTest, *keys: str, calling: str = "CT1") -> str:
    """What findscu prints for these keys."""
    asked = [part for key in ("PatientName", "PatientID", "AccessionNumber", *keys) for part in ("-k", key)]
    command = [
        "findscu",
        "-v",
        "-W",
        "-aet",
        calling,
        "-aec",
        "SEGMILL",
        *asked,
        "127.0.0.1",
        str(site.engine.dicom_port),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode("utf-8", "replace")


def answers(output: str) -> int:
    return output.count("Find Response:") and output.count("(Pending)")


STEP = "ScheduledProcedureStepSequence[0]"


@pytest.fixture
async def running(tmp_path: Path, settings: str) -> AsyncIterator[SiteUnderTest]:
    made = site(tmp_path, settings)
    async with made.running():
        yield made


async def send(site: SiteUnderTest, *payloads: bytes) -> list[str]:
    wire = await site.wire("orders")
    await wire.send(*payloads)
    return codes(await wire.answers(len(payloads)))


async def test_an_order_that_was_acknowledged_is_found_by_findscu(running: SiteUnderTest) -> None:
    assert await send(running, order()) == ["AA"]
    found = await find(running, f"{STEP}.ScheduledStationAETitle=CT1", f"{STEP}.Modality=CT")
    assert answers(found) == 1, found
    assert "Müller^Eva" in found and "900001" in found
    assert answers(await find(running, f"{STEP}.Modality=MR")) == 0


async def test_a_cancel_takes_it_off_and_a_repeat_does_not_bring_it_back(running: SiteUnderTest) -> None:
    later = "20260101123000+0000"
    assert await send(running, order(), order("CA", "CA", id="M2", at=later), order(id="M3")) == ["AA"] * 3
    assert answers(await find(running, "PatientID=900001")) == 0


async def test_an_order_that_cannot_become_an_item_is_refused_with_its_place(running: SiteUnderTest) -> None:
    wire = await running.wire("orders")
    await wire.send(order(modality="NOSUCH"))
    answer = await wire.answer()
    assert msa(answer)[0] == "AE"
    assert b"OBR^1^24" in answer
    assert answers(await find(running)) == 0


async def test_orders_of_two_patients_in_one_message_are_refused(running: SiteUnderTest) -> None:
    second = order(number="2", patient="900002").split(b"\r", 1)[1]
    wire = await running.wire("orders")
    await wire.send(order() + second)
    answer = await wire.answer()
    assert msa(answer)[0] == "AE" and b"PID^2" in answer
    assert answers(await find(running)) == 0


async def test_another_patients_number_is_refused_by_what_is_stored(running: SiteUnderTest) -> None:
    assert await send(running, order()) == ["AA"]
    wire = await running.wire("orders")
    await wire.send(order("XO", "SC", id="M2", patient="900002"))
    answer = await wire.answer()
    assert msa(answer)[0] == "AE"
    assert b"ERR|PID^1^3^204" in answer and b"ORC 1 is of an order of another patient" in answer
    assert answers(await find(running, "PatientID=900001")) == 1
    assert states(running) == ["delivered", "held"]


async def test_a_merge_moves_the_items_and_late_orders_follow_it(running: SiteUnderTest) -> None:
    assert await send(running, order()) == ["AA"]
    merge = adt("A40", id="M2", patient="900009", prior="900001")
    assert await send(running, merge, order(id="M3", number="2")) == ["AA", "AA"]
    assert answers(await find(running, "PatientID=900001")) == 0
    assert answers(await find(running, "PatientID=900009")) == 2


@pytest.mark.parametrize("event", ["A18", "A34", "A35", "A36", "A39", "A40", "A41"])
async def test_every_merge_moves_the_items_also_where_mrg_names_no_authority(
    tmp_path: Path, settings: str, event: str
) -> None:
    made = site(tmp_path, settings)
    async with made.running():
        assert await send(made, order(), order(id="M2", number="2", patient="900005")) == ["AA", "AA"]
        bare = adt(event, id="M3", patient="900009", prior="900001").replace(b"MRG|900001^^^HIS^MR", b"MRG|900001")
        assert await send(made, bare) == ["AA"]
        assert answers(await find(made, "PatientID=900001")) == 0
        assert answers(await find(made, "PatientID=900009")) == 1
        assert answers(await find(made, "PatientID=900005")) == 1, "nobody else's"


@pytest.mark.parametrize(
    ("survivor", "prior"), [("900009", "900009"), ("900001", "900009")], ids=["with itself", "the other way round"]
)
async def test_a_merge_that_cannot_be_is_refused_and_moves_nothing(
    running: SiteUnderTest, survivor: str, prior: str
) -> None:
    first = adt("A40", id="M2", patient="900009", prior="900001")
    assert await send(running, order(), first) == ["AA", "AA"]
    assert await send(running, adt("A40", id="M3", patient=survivor, prior=prior)) == ["AE"]
    assert answers(await find(running, "PatientID=900009")) == 1


def perform(port: int, number: str, uid: str, *statuses: str) -> list[int]:
    """A scanner's performed step of that order, through these statuses; what it was answered."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = f"1.2.826.0.1.99.{number}"
    scheduled.ScheduledProcedureStepID = f"S{number}"
    scheduled.AccessionNumber = f"A{number}"
    ae = AE("CT1")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    association = ae.associate("127.0.0.1", port, ae_title="SEGMILL")
    assert association.is_established
    answered = []
    for status in statuses:
        told = Dataset()
        told.PerformedProcedureStepStatus = status
        if status == "IN PROGRESS":
            told.ScheduledStepAttributesSequence = [scheduled]
            told.PerformedStationAETitle = "CT1"
            reply, _ = association.send_n_create(told, ModalityPerformedProcedureStep, uid)
        else:
            reply, _ = association.send_n_set(told, ModalityPerformedProcedureStep, uid)
        answered.append(reply.Status)
    association.release()
    return answered


async def test_a_scanner_that_begins_and_ends_takes_the_step_off_the_list(running: SiteUnderTest) -> None:
    assert await send(running, order(), order(id="M2", number="2")) == ["AA", "AA"]
    port = running.engine.dicom_port
    assert port is not None
    assert await asyncio.to_thread(perform, port, "1", "1.2.3.1", "IN PROGRESS") == [0]
    assert answers(await find(running)) == 1
    assert answers(await find(running, f"{STEP}.ScheduledProcedureStepStatus=STARTED")) == 1
    assert await asyncio.to_thread(perform, port, "1", "1.2.3.1", "COMPLETED", "COMPLETED") == [0, 0x0110]
    assert answers(await find(running, f"{STEP}.ScheduledProcedureStepStatus=COMPLETED")) == 1
    assert await send(running, order(id="M3")) == ["AA"]
    assert answers(await find(running)) == 1, "what was done is not to be done again"
    with running.engine._queries.worklist("main") as view:
        told = [(row.who, row.what) for row in view.history(ItemKey("1.2.826.0.1.99.1", "S1"))]
    assert told == [
        ("orders/modalities", "created"),
        ("MPPS CT1", "performed step in progress"),
        ("MPPS CT1", "performed step completed"),
    ]


async def test_a_performed_step_twice_or_unknown_is_refused_as_the_standard_says(running: SiteUnderTest) -> None:
    assert await send(running, order()) == ["AA"]
    port = running.engine.dicom_port
    assert port is not None
    assert await asyncio.to_thread(perform, port, "1", "1.2.3.2", "IN PROGRESS", "IN PROGRESS") == [0, 0x0111]
    assert await asyncio.to_thread(perform, port, "1", "1.2.3.9", "COMPLETED") == [0x0112]
    assert answers(await find(running, f"{STEP}.ScheduledProcedureStepStatus=STARTED")) == 1


async def test_an_examination_that_is_on_no_worklist_is_kept_and_told(
    running: SiteUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    assert await send(running, order()) == ["AA"]
    port = running.engine.dicom_port
    assert port is not None
    assert await asyncio.to_thread(perform, port, "7", "1.2.3.7", "IN PROGRESS", "COMPLETED") == [0, 0]
    told = [record.getMessage() for record in caplog.records if record.name == "segmill.dicom"]
    said = "a performed step of CT1 names no step of worklist main: it is kept, and moves nothing"
    assert told.count(said) == 1, "when it begins"
    assert answers(await find(running)) == 1


async def test_what_was_acknowledged_when_the_engine_stopped_is_there_after_the_next_start(tmp_path: Path) -> None:
    made = site(tmp_path, SQLITE, "processed")
    payloads = [order(id=f"M{n}", number=str(n)) for n in range(1, 41)]
    async with made.running(deadline_s=0.2):
        wire = await made.wire("orders")
        await wire.send(*payloads)
        assert codes(await wire.answers(40)) == ["AA"] * 40
    async with made.running():
        await until(lambda: queued(made) == 0)
        assert answers(await find(made)) == 40


def states(site: SiteUnderTest) -> list[str]:
    """Of all deliveries, in order."""
    queries = site.engine._queries
    messages = queries.messages(newest_first=False)
    return [delivery.state for message in messages for delivery in queries.deliveries(message.seq)]


def queued(site: SiteUnderTest) -> int:
    return sum(depth.queued for depth in site.engine._queries.depths())
