"""Worklists while the engine runs: two lanes on one of them, decisions that come too late, and answers that wait."""

import socket
from pathlib import Path

import pytest

from engine.failures import EngineFailed
from engine.model.ids import ChannelName
from engine.model.outcome import Delivered, Effects
from engine.worklist.item import EntityId
from tests.runtime.engines import SiteUnderTest, channel, codes
from tests.runtime.parts import until

SQLITE = "admin: off\nshutdown: 5s\n"
MEMORY = "admin: off\nstore: 'memory:'\n"
WORKLIST = "{modalities: {worklist: {authority: HIS}}}"
LATE = Effects("main", (), 99)
IN_TIME = Effects("main", (), 0)


def order(number: int, patient: str = "900001") -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000+0000||ORM^O01|O{number}|P|2.3.1",
        f"PID|1||{patient}^^^HIS^MR||Muster^Anna||19800203|F",
        f"ORC|NW|P{number}^HIS|F{number}^RIS||SC||^^^20260102103000",
        f"OBR|1|P{number}^HIS|F{number}^RIS|CTH^CT head^L||||||||||||||A{number}|R{number}|S{number}||||CT",
    ]
    return ("\r".join(segments) + "\r").encode()


def adt(number: int, name: str) -> bytes:
    at = f"20260101130{number // 60:01}{number % 60:02}+0000"
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|{at}||ADT^A08|D{number}|P|2.5.1",
        f"EVN|A08|{at}",
        f"PID|1||900001^^^HIS^MR||{name}||19800203|F",
    ]
    return ("\r".join(segments) + "\r").encode()


def two_feeds(folder: Path, settings: str) -> SiteUnderTest:
    """Orders and ADT by channels of their own, onto one worklist."""
    orders = channel(accept="ORM^O01", routes="[{to: modalities}]", destinations=WORKLIST)
    patients = channel(accept="ADT^*", routes="[{to: modalities}]", destinations=WORKLIST)
    return SiteUnderTest(folder / "site", {"orders": orders, "adt": patients}, settings)


def waiting(site: SiteUnderTest) -> int:
    return sum(depth.queued + depth.held for depth in site.engine._queries.depths())


@pytest.mark.parametrize("settings", [MEMORY, SQLITE], ids=["memory", "sqlite"])
async def test_two_feeds_of_one_worklist_lose_nothing_to_each_other(tmp_path: Path, settings: str) -> None:
    site = two_feeds(tmp_path, settings)
    async with site.running() as engine:
        orders, patients = await site.wire("orders"), await site.wire("adt")
        await orders.send(*(order(number) for number in range(40)))
        await patients.send(*(adt(number, f"Muster^Anna{number}") for number in range(40)))
        assert codes(await orders.answers(40)) == ["AA"] * 40
        assert codes(await patients.answers(40)) == ["AA"] * 40
        await until(lambda: waiting(site) == 0)
        with engine._queries.worklist("main") as view:
            items = view.by_patient(EntityId("900001", "HIS"))
            assert len(items) == 40
            assert {item.attributes["PatientName"] for item in items} == {("Muster^Anna39",)}
            assert all(view.history(item.key)[0].what == "created" for item in items)


async def test_what_was_decided_too_late_is_tried_again_at_once_and_before_what_is_behind_it(site) -> None:
    sink = site.kept.sinks["adt/out"]
    sink.script = [Delivered(effects=LATE), Delivered(effects=IN_TIME)]
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(1, "A"), adt(2, "B"))
        assert codes(await wire.answers(2)) == ["AA", "AA"]
        await until(lambda: site.delivery_states() == ["delivered"] * 2)
        first, second = sink.sent[0], sink.sent[2]
        assert sink.sent == [first, first, second]
        queries = site.store.queries()
        (delivery,) = queries.deliveries(site.messages()[0].seq)
        assert delivery.attempts == 1, "an attempt that came to nothing by no fault of anybody is not counted"


async def test_in_a_lane_with_keys_only_that_key_is_tried_again(tmp_path: Path) -> None:
    keyed = channel(destinations="{out: {kept: {}, order_by: MSH-10}}")
    site = SiteUnderTest(tmp_path / "site", {"adt": keyed})
    sink = site.kept.sinks["adt/out"]
    sink.script = [Delivered(effects=LATE), Delivered(effects=IN_TIME)]
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(1, "A"))
        assert codes(await wire.answers(1)) == ["AA"]
        await until(lambda: site.delivery_states() == ["delivered"])
        await wire.send(adt(2, "B"))
        await until(lambda: site.delivery_states() == ["delivered"] * 2)
        assert sink.sent[0] == sink.sent[1] != sink.sent[2]


async def test_a_sender_that_waits_hears_of_the_end_that_was_recorded(tmp_path: Path) -> None:
    waits = channel(more="ack: {when: delivered(out)}")
    site = SiteUnderTest(tmp_path / "site", {"adt": waits})
    site.kept.sinks["adt/out"].script = [Delivered(effects=LATE), Delivered(effects=LATE), Delivered(effects=IN_TIME)]
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(1, "A"))
        assert codes(await wire.answers(1)) == ["AA"]
        assert site.delivery_states() == ["delivered"]
        assert len(site.kept.sinks["adt/out"].sent) == 3


async def test_a_channel_with_a_process_of_its_own_feeds_a_worklist_as_well(tmp_path: Path) -> None:
    isolated = channel(accept="ORM^O01", more="isolate: process", routes="[{to: modalities}]", destinations=WORKLIST)
    site = SiteUnderTest(tmp_path / "site", {"orders": isolated}, SQLITE)
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(order(1), order(2).replace(b"||||CT", b"||||NOSUCH"))
        assert codes(await wire.answers(2)) == ["AA", "AE"]
        await until(lambda: waiting(site) == 0)
        assert engine._queries.worklist_counts() == {("main", "SCHEDULED"): 1}


async def test_what_was_accepted_before_it_was_looked_at_is_held_where_it_cannot_become_an_item(tmp_path: Path) -> None:
    stored = channel(accept="ORM^O01", more="ack: {when: stored}", routes="[{to: modalities}]", destinations=WORKLIST)
    site = SiteUnderTest(tmp_path / "site", {"orders": stored}, SQLITE)
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(order(1).replace(b"||||CT", b"||||NOSUCH"))
        assert codes(await wire.answers(1)) == ["AA"]
        await until(lambda: [one.state for one in engine._queries.messages()] == ["held"])


async def test_what_is_on_a_worklist_and_what_it_refused_is_counted(tmp_path: Path) -> None:
    site = two_feeds(tmp_path, SQLITE)
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(order(1), order(2), order(1, "900002").replace(b"|NW|", b"|XO|"))
        assert codes(await wire.answers(3)) == ["AA"] * 3
        dicom = engine.meter.dicom
        await until(lambda: dicom.refusals.values["E415"] == 1)
        await until(lambda: dicom.items == {("main", "SCHEDULED"): 2})
        assert dicom.without_station == {"main": 2}


def wrong(number: int, of: int) -> bytes:
    """A change of another patient's order."""
    return order(of, "900002").replace(b"|NW|", b"|XO|").replace(b"|O%d|" % of, b"|W%d|" % number)


@pytest.mark.parametrize("settings", [MEMORY, SQLITE], ids=["memory", "sqlite"])
@pytest.mark.parametrize("policy", ["hold", "stop"])
async def test_a_refusal_in_a_batch_keeps_its_place(tmp_path: Path, settings: str, policy: str) -> None:
    """What is behind it waits where the lane stops, and goes on where it is set aside; nothing is lost or doubled."""
    worklist = f"{{modalities: {{worklist: {{authority: HIS}}, on_refused: {policy}}}}}"
    orders = channel(accept="ORM^O01", routes="[{to: modalities}]", destinations=worklist)
    site = SiteUnderTest(tmp_path / "site", {"orders": orders}, settings)
    async with site.running() as engine:
        assert engine._assembly is not None
        async with engine._assembly.turns["main"]:  # as if another lane had its turn: a batch gathers meanwhile
            wire = await site.wire("orders")
            await wire.send(order(1), order(2), order(3), wrong(1, of=2), order(4), order(5))
            assert codes(await wire.answers(6)) == ["AA"] * 6
        (lane,) = engine._assembly.channels[ChannelName("orders")].lanes.values()
        if policy == "stop":
            await until(lambda: lane.state == "stopped")
            assert engine._queries.worklist_counts() == {("main", "SCHEDULED"): 3}
        else:
            await until(lambda: engine._queries.worklist_counts() == {("main", "SCHEDULED"): 5})
        states = [
            one.state
            for message in engine._queries.messages(newest_first=False)
            for one in engine._queries.deliveries(message.seq)
        ]
        after = ["queued", "queued", "queued"] if policy == "stop" else ["held", "delivered", "delivered"]
        assert states == ["delivered"] * 3 + after
        with engine._queries.worklist("main") as view:
            assert all(len(view.history(item.key)) == 1 for item in view.by_patient(EntityId("900001", "HIS")))


async def test_a_port_for_scanners_that_is_taken_is_named_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = SQLITE + f"dicom: {{host: 127.0.0.1, port: {port}}}\n"
        site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, settings)
        engine = site.make()
        with pytest.raises(EngineFailed, match=f"dicom cannot listen on 127.0.0.1:{port}") as failed:
            await engine.start()
        assert failed.value.exit_code == 69
    async with site.running():
        assert site.engine.dicom_port == port


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel()})
