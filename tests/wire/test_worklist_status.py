"""A scanner begins and ends, and the ordering system hears of it (dicom.md 1.9); a person moves a step by hand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from engine.hl7.message import Message
from engine.model.ids import ChannelName, DestinationName
from engine.model.outcome import Delivered, Refused, Unreachable
from engine.ports.control import By, Order, OrderRefused
from engine.ports.operations import StepMove
from engine.worklist.item import ItemKey, Status
from tests.runtime.engines import SiteUnderTest, codes
from tests.runtime.parts import until

SETTINGS = {"memory": "admin: off\nstore: 'memory:'\n", "sqlite": "admin: off\nshutdown: 5s\n"}
ORDERS = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01', 'OMG^O19', 'OMI^O23']
ack: {when: delivered(modalities)}
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {station: [{when: {Modality: CT}, ae: [CT1]}]}}
  ris: {kept: {}%s}
"""
STUDY = "1.2.826.0.1.99.1"
LANE = (ChannelName("orders"), DestinationName("ris"))


def order(number: int = 1, kind: str = "ORM^O01", name: str = "Muster^Anna") -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000+0000||{kind}|M{number}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||900001^^^HIS^MR||{name}||19800203|F",
        f"ORC|NW|P{number}^HIS^1.2.9^ISO|F{number}^RIS||SC||^^^20260102103000||20260101120000+0000",
        f"OBR|1|P{number}^HIS^1.2.9^ISO|F{number}^RIS|CTH^CT head^L||||||||||||||A{number}|R{number}|S{number}||||CT",
    ]
    if kind.startswith("OMI"):
        segments.append(f"IPC|A{number}|R{number}|1.2.826.0.1.99.{number}|S{number}|CT")
    else:
        segments.append(f"ZDS|1.2.826.0.1.99.{number}")
    return ("\r".join(segments) + "\r").encode()


def site_of(folder: Path, store: str = "memory", status: str = "{to: orders/ris}", more: str = "") -> SiteUnderTest:
    dicom = f"dicom: {{host: 127.0.0.1, port: 0, status: {status}}}\n"
    return SiteUnderTest(folder / "site", {"orders": ORDERS % more}, SETTINGS[store] + dicom)


@pytest.fixture(params=["memory", "sqlite"])
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SiteUnderTest]:
    made = site_of(tmp_path, request.param)
    async with made.running():
        yield made


async def send(site: SiteUnderTest, *payloads: bytes) -> None:
    wire = await site.wire("orders")
    await wire.send(*payloads)
    assert codes(await wire.answers(len(payloads))) == ["AA"] * len(payloads)


def _perform(port: int, number: int, statuses: tuple[str, ...], reason: str) -> list[int]:
    scheduled = Dataset()
    scheduled.StudyInstanceUID = f"1.2.826.0.1.99.{number}"
    scheduled.ScheduledProcedureStepID = f"S{number}"
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
            reply, _ = association.send_n_create(told, ModalityPerformedProcedureStep, f"1.2.3.{number}")
        else:
            if reason:
                code = Dataset()
                code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = reason, "DCM", "Incorrect entry"
                told.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
            reply, _ = association.send_n_set(told, ModalityPerformedProcedureStep, f"1.2.3.{number}")
        answered.append(reply.Status)
    association.release()
    return answered


async def perform(site: SiteUnderTest, *statuses: str, number: int = 1, reason: str = "") -> None:
    port = site.engine.dicom_port
    assert port is not None
    assert await asyncio.to_thread(_perform, port, number, statuses, reason) == [0] * len(statuses)


def status_of(site: SiteUnderTest, number: int = 1) -> str:
    with site.engine._queries.worklist("main") as view:
        found = view.item(ItemKey(f"1.2.826.0.1.99.{number}", f"S{number}"))
    assert found is not None
    return found.status


def set_status(to: Status, planned: Status, revision: int, *, force: bool = False, by: By | None = None) -> Order:
    move = StepMove("main", STUDY, "S1", planned, revision, to, force)
    return Order("set-status", by or By("anna (uid 1000)", "by hand"), step=move)


async def test_what_a_scanner_does_reaches_the_ordering_system_in_order(running: SiteUnderTest) -> None:
    await send(running, order())
    await perform(running, "IN PROGRESS", "COMPLETED")
    begun, ended = map(Message.parse, await running.delivered("orders/ris", 2))
    for message, status in ((begun, "IP"), (ended, "CM")):
        assert message.fields(message.first("ORC"))[1:6] == ["SC", "P1^HIS^1.2.9^ISO", "F1^RIS", "", status]
        assert message.fields(message.first("OBR"))[18:21] == ["A1", "R1", "S1"]
        assert message.get("ZDS-1.1") == STUDY
        assert message.fields(0)[3:7] == ["SEGMILL", "RAD", "HIS", "NORTH"]
    assert begun.get("MSH-10") != ended.get("MSH-10")


async def test_what_is_told_is_a_message_and_a_delivery_like_any_other(running: SiteUnderTest) -> None:
    await send(running, order())
    await perform(running, "IN PROGRESS")
    await running.delivered("orders/ris", 1)
    queries = running.engine._queries
    message = next(iter(queries.messages(newest_first=True, bodies=True)))
    assert (message.channel, message.state, message.sender, message.peer, message.message_type) == (
        "orders",
        "processed",
        "(worklist)",
        "worklist main",
        "ORM^O01",
    )
    assert "I448" in message.findings
    await until(lambda: [d.state for d in queries.deliveries(message.seq)] == ["delivered"])
    report = await running.engine.control.resend([message.seq], None)
    assert report.messages == 1
    first, again = await running.delivered("orders/ris", 2)
    assert first == again


async def test_a_receiver_that_is_away_or_refuses_is_asked_again_as_its_policy_says(running: SiteUnderTest) -> None:
    running.kept.sinks["orders/ris"].script = [Unreachable("refused"), Refused("AE", note="no"), Delivered()]
    await send(running, order())
    await perform(running, "IN PROGRESS")
    await running.delivered("orders/ris", 1)
    queries = running.engine._queries
    seq = next(iter(queries.messages(newest_first=True))).seq
    await until(lambda: [d.attempts for d in queries.deliveries(seq)] == [1])
    await running.engine.control.operate(Order("retry", By("anna"), lanes=[LANE]))
    await running.delivered("orders/ris", 2)
    await until(lambda: [d.state for d in queries.deliveries(seq)] == ["held"])
    assert status_of(running) == "STARTED", "what the receiver says changes no step"
    await running.engine.control.release([seq])
    await running.delivered("orders/ris", 3)
    await until(lambda: [d.state for d in queries.deliveries(seq)] == ["delivered"])


async def test_what_waits_outlives_a_new_start(tmp_path: Path) -> None:
    made = site_of(tmp_path, "sqlite")
    async with made.running() as engine:
        await send(made, order())
        await engine.control.operate(Order("pause", By("anna"), lanes=[LANE]))
        await perform(made, "IN PROGRESS", "DISCONTINUED")
    async with made.running() as engine:
        assert made.kept.bodies("orders/ris") == []
        await engine.control.operate(Order("resume", By("anna"), lanes=[LANE]))
        told = [Message.parse(body).get("ORC-5") for body in await made.delivered("orders/ris", 2)]
    assert told == ["IP", "DC"]


@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19^OMG_O19", "OMI^O23^OMI_O23"])
async def test_the_type_is_that_of_the_order(tmp_path: Path, kind: str) -> None:
    made = site_of(tmp_path)
    async with made.running():
        await send(made, order(kind=kind))
        await perform(made, "IN PROGRESS")
        (body,) = await made.delivered("orders/ris", 1)
    message = Message.parse(body)
    assert f"{message.get('MSH-9.1')}^{message.get('MSH-9.2')}" == kind[:7]
    assert message.get("IPC-3" if kind.startswith("OMI") else "ZDS-1.1") == STUDY


async def test_the_site_may_say_the_type_and_what_is_told(tmp_path: Path) -> None:
    made = site_of(tmp_path, status="{to: orders/ris, message: OMG^O19, tell: [CM]}")
    async with made.running():
        await send(made, order())
        await perform(made, "IN PROGRESS", "COMPLETED")
        (body,) = await made.delivered("orders/ris", 1)
        message = Message.parse(body)
        assert (message.get("MSH-9.1"), message.get("ORC-5")) == ("OMG", "CM")
        await until(lambda: sum(depth.queued for depth in made.engine._queries.depths()) == 0)
        assert len(made.kept.bodies("orders/ris")) == 1


@pytest.mark.parametrize(("tell", "told"), [("[IP, DC]", ["IP"]), ("[IP, DC, SC]", ["IP", "SC"])])
async def test_the_wrong_entry_is_told_as_scheduled_where_the_site_says_so(
    tmp_path: Path, tell: str, told: list[str]
) -> None:
    made = site_of(tmp_path, status=f"{{to: orders/ris, tell: {tell}}}")
    async with made.running():
        await send(made, order())
        await perform(made, "IN PROGRESS", "DISCONTINUED", reason="110514")
        assert status_of(made) == "SCHEDULED"
        found = await made.delivered("orders/ris", len(told))
        assert [Message.parse(body).get("ORC-5") for body in found] == told


async def test_without_the_setting_nobody_is_told(tmp_path: Path) -> None:
    settings = SETTINGS["memory"] + "dicom: {host: 127.0.0.1, port: 0}\n"
    made = SiteUnderTest(tmp_path / "site", {"orders": ORDERS % ""}, settings)
    async with made.running():
        await send(made, order())
        await perform(made, "IN PROGRESS", "COMPLETED")
        assert status_of(made) == "COMPLETED"
        assert len(made.messages()) == 1


async def test_it_is_written_as_its_destination_reads_and_is_ordered_by_its_key(tmp_path: Path) -> None:
    made = site_of(tmp_path, more=", charset: 8859/1, order_by: PID-3.1")
    async with made.running() as engine:
        await send(made, order(name="Müller^Eva"))
        await perform(made, "IN PROGRESS")
        (body,) = await made.delivered("orders/ris", 1)
        assert "Müller^Eva".encode("latin-1") in body
        assert b"|8859/1\r" in body
        seq = next(iter(engine._queries.messages(newest_first=True))).seq
        assert [delivery.key for delivery in engine._queries.deliveries(seq)] == ["900001"]


async def test_what_cannot_be_written_for_its_destination_is_held_and_the_step_moves(tmp_path: Path) -> None:
    made = site_of(tmp_path, more=", charset: ASCII, unencodable: hold")
    async with made.running() as engine:
        await send(made, order(name="Müller^Eva"))
        await perform(made, "IN PROGRESS")
        assert status_of(made) == "STARTED"
        message = next(iter(engine._queries.messages(newest_first=True)))
        assert (message.state, "E271" in message.findings) == ("held", True)
        assert engine.meter.dicom.told.values == {"queued": 0, "held": 1, "failed": 0, "other": 0}


async def test_what_cannot_be_made_is_counted_and_the_step_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = site_of(tmp_path)
    async with made.running() as engine:
        await send(made, order())
        await perform(made, "IN PROGRESS")
        monkeypatch.setattr("engine.runtime.status_news.status_message", lambda *given: 1 // 0)
        await perform(made, "COMPLETED")
        assert status_of(made) == "COMPLETED"
        assert len(await made.delivered("orders/ris", 1)) == 1
        assert engine.meter.dicom.told.values == {"queued": 1, "held": 0, "failed": 1, "other": 0}


async def test_a_destination_that_a_reload_took_away_holds_what_would_be_told(tmp_path: Path) -> None:
    made = site_of(tmp_path)
    async with made.running() as engine:
        await send(made, order())
        del engine._channels[ChannelName("orders")].lanes[DestinationName("ris")]
        await perform(made, "IN PROGRESS")
        assert status_of(made) == "STARTED"
        message = next(iter(engine._queries.messages(newest_first=True)))
        assert (message.state, "E448" in message.findings) == ("held", True)


async def test_a_reload_says_who_is_told_from_then_on(tmp_path: Path) -> None:
    made = site_of(tmp_path, status="{to: orders/ris, tell: [CM]}", more="}\n  other: {kept: {}")
    async with made.running() as engine:
        await send(made, order())
        await perform(made, "IN PROGRESS")
        place = made.folder / "segmill.yaml"
        place.write_text(place.read_text().replace("orders/ris, tell: [CM]", "orders/other"))
        assert (await engine.control.reload()).outcome == "taken"
        await perform(made, "COMPLETED")
        (body,) = await made.delivered("orders/other", 1)
        assert Message.parse(body).get("ORC-5") == "CM"
        assert made.kept.bodies("orders/ris") == []
        place.write_text(place.read_text().replace("orders/other", "orders/nobody"))
        assert (await engine.control.reload()).outcome == "rejected", "all runs as before"


# -- by hand -------------------------------------------------------------------------------------


async def test_a_person_moves_a_step_and_the_ordering_system_hears_of_it(running: SiteUnderTest) -> None:
    await send(running, order())
    control = running.engine.control
    report = await control.operate(set_status("CANCELED", "SCHEDULED", 0))
    assert (report.steps, report.deliveries) == (1, 1)
    (body,) = await running.delivered("orders/ris", 1)
    assert Message.parse(body).get("ORC-5") == "CA"
    assert status_of(running) == "CANCELED"
    (row,) = running.engine._queries.audit()
    assert (row.action, row.reason) == ("set-status", "by hand")


async def test_under_one_key_a_step_is_moved_once(running: SiteUnderTest) -> None:
    await send(running, order())
    control = running.engine.control
    by = By("anna", "done", key="K1")
    assert not (await control.operate(set_status("COMPLETED", "SCHEDULED", 0, by=by))).done_before
    again = await control.operate(set_status("COMPLETED", "SCHEDULED", 0, by=by))
    assert (again.done_before, again.steps) == (True, 1)
    with pytest.raises(OrderRefused, match="key was used for something else"):
        await control.operate(set_status("CANCELED", "SCHEDULED", 0, by=by))
    assert len(running.engine._queries.audit()) == 1


async def test_a_step_that_a_scanner_took_meanwhile_is_not_moved(running: SiteUnderTest) -> None:
    await send(running, order())
    await perform(running, "IN PROGRESS")
    with pytest.raises(OrderRefused, match="it is STARTED now") as refused:
        await running.engine.control.operate(set_status("CANCELED", "SCHEDULED", 0))
    assert refused.value.is_temporary
    assert status_of(running) == "STARTED"


async def test_force_needs_a_reason(running: SiteUnderTest) -> None:
    await send(running, order())
    control = running.engine.control
    await control.operate(set_status("COMPLETED", "SCHEDULED", 0))
    back = set_status("SCHEDULED", "COMPLETED", 1, force=True, by=By("anna", " "))
    with pytest.raises(OrderRefused, match="needs a reason"):
        await control.operate(back)
    with pytest.raises(OrderRefused, match="stays so"):
        await control.operate(set_status("SCHEDULED", "COMPLETED", 1))
    assert (await control.operate(set_status("SCHEDULED", "COMPLETED", 1, force=True))).steps == 1
    assert status_of(running) == "SCHEDULED"
