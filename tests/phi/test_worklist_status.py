"""No patient data outside the store, by way of what scanners and people do to steps, and of what is told of it."""

import asyncio
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from engine.model.finding import load_findings
from engine.model.ids import ChannelName, DestinationName
from engine.ports.control import By, Order, OrderRefused
from engine.ports.operations import StepMove
from engine.worklist.item import ItemKey
from tests.phi.test_worklist import MARKER, OBR, ORC, PID, message
from tests.runtime.engines import SiteUnderTest
from tests.runtime.parts import until

SETTINGS = "admin: off\nstore: 'memory:'\ndicom: {host: 127.0.0.1, port: 0, status: {to: orders/ris}}\n"
CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['*']
ack: {when: delivered(modalities)}
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {}}
  ris: {kept: {}, charset: ASCII, unencodable: hold, order_by: PID-5}
"""
STUDY = "1.2.826.0.1.99.1"


def perform(port: int) -> list[int]:
    """A scanner that fills in what it likes."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = STUDY
    scheduled.ScheduledProcedureStepID = "ZQ020QZ"
    scheduled.RequestedProcedureDescription = "ZQ501QZ"
    told = Dataset()
    told.PerformedProcedureStepStatus = "IN PROGRESS"
    told.ScheduledStepAttributesSequence = [scheduled]
    told.PatientName = "ZQ502QZ^ZQ503QZ"
    told.PatientID = "ZQ504QZ"
    told.PerformedStationAETitle = "CT1"
    told.OtherPatientIDs = "ZQ505QZ" * 12
    ae = AE("CT1")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    association = ae.associate("127.0.0.1", port, ae_title="SEGMILL")
    answers = []
    for uid, status in (("1.2.3.1", "IN PROGRESS"), ("1.2.3.1", "IN PROGRESS"), ("1.2.3.2", "ZQ506QZ")):
        told.PerformedProcedureStepStatus = status
        reply, _ = association.send_n_create(told, ModalityPerformedProcedureStep, uid)
        answers.append(reply.Status)
    association.release()
    return answers


@pytest.mark.parametrize("name", ["ZQ005QZ^ZQ005QZ", "ZQ005QZ^Zoë"])
async def test_no_marker_is_seen_outside_of_the_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, SETTINGS)
    async with site.running() as engine:
        order = message("M1", "ORM^O01", PID.replace("ZQ005QZ^ZQ005QZ", name), ORC, OBR, f"ZDS|{STUDY}")
        wire = await site.wire("orders")
        await wire.send(order.replace(b"|P|2.5.1", b"|P|2.5.1||||||UNICODE UTF-8"))
        assert b"MSA|AA|" in await wire.answer()
        assert engine.dicom_port is not None
        assert await asyncio.to_thread(perform, engine.dicom_port) == [0, 0x0111, 0x0106]
        move = StepMove("main", STUDY, "ZQ020QZ", "STARTED", 1, "COMPLETED")
        report = await engine.control.operate(Order("set-status", By("anna", "done"), step=move))
        assert report.steps == 1
        late = replace(move, to="CANCELED")
        with pytest.raises(OrderRefused) as refused:
            await engine.control.operate(Order("set-status", By("anna", "done"), step=late))
        queries = engine._queries
        with queries.worklist("main") as view:
            found = view.item(ItemKey(STUDY, "ZQ020QZ"))
        assert found is not None and found.status == "COMPLETED"
        is_ascii = name.isascii()
        states = [one.state for one in queries.messages(newest_first=False)]
        assert states == ["processed"] + (["processed"] * 2 if is_ascii else ["held"] * 2)
        lane = engine._channels[ChannelName("orders")].lanes[DestinationName("ris")]
        await until(lambda: all(depth.queued == 0 for depth in queries.depths()))
        deliveries = [d for one in queries.messages() for d in queries.deliveries(one.seq)]
        told = [
            str([load_findings(one.findings) for one in queries.messages()]),
            refused.value.sentence,
            lane.last_note,
        ]
        told += [f"{delivery.note} {delivery.code}" for delivery in deliveries]
        told += [engine.meter.render()[1].decode(), json.dumps([str(row) for row in await engine.control.status()])]
    told += [caplog.text, *(str(one.message) for one in recwarn)]
    for text in told:
        assert not MARKER.search(text), text
    assert re.search("ZQ", str(found.attributes)), "the markers were on the worklist"
