"""A whole engine whose destination has keys: its channel file, its connections, and what people see of it."""

import asyncio
import json
import logging

import pytest

from engine.app import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.peers import ReceivingPeer
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, msa
from tests.runtime.parts import until


def a01(control_id: str, patient: str) -> bytes:
    return (
        f"MSH|^~\\&|HIS|MAIN|SEGMILL||20260102030405||ADT^A01|{control_id}|P|2.5\rPID|||{patient}^^^H||Doe^Jane\r"
    ).encode()


def to(peer: ReceivingPeer, *settings: str) -> str:
    host, port = peer.address
    keys = ", ".join([f"mllp: {{host: {host}, port: {port}}}", "order_by: PID-3.1", *settings])
    return f"{{out: {{{keys}}}}}"


def control_ids(peer: ReceivingPeer) -> list[str]:
    return [payload.split(b"|")[9].decode() for payload in peer.received]


async def test_keys_go_over_several_connections_and_each_in_its_order(tmp_path) -> None:
    async with ReceivingPeer() as peer:
        site = SiteUnderTest(tmp_path, {"adt": channel(destinations=to(peer, "lanes: 4", "window: 8"))}, MEMORY)
        async with site.running():
            wire = await site.wire()
            sent = [(f"M{n}", f"P{n % 5}") for n in range(60)]
            for control_id, patient in sent:
                await wire.send(a01(control_id, patient))
                assert msa(await wire.answer())[0] == "AA"
            await until(lambda: site.delivery_states().count("delivered") == 60)
            got = control_ids(peer)
            for patient in {p for _, p in sent}:
                mine = [c for c, p in sent if p == patient]
                assert [c for c in got if c in mine] == mine
            assert 1 <= peer.connections_seen <= 4


async def test_a_blocked_key_is_seen_and_named_by_its_message_only(tmp_path, caplog) -> None:
    """The key is a patient's number: status and log have the message's number in its place."""
    caplog.set_level(logging.DEBUG)
    async with ReceivingPeer("AR", "AA") as peer:
        destinations = to(peer, "retry: {first: 1h, most: 1h}")
        site = SiteUnderTest(tmp_path, {"adt": channel(destinations=destinations)}, MEMORY)
        async with site.running() as engine:
            wire = await site.wire()
            for number, patient in enumerate(["SECRET", "SECRET", "OTHER"]):
                await wire.send(a01(f"M{number}", patient))
                await wire.answer()
            await until(lambda: site.delivery_states() == ["queued", "queued", "delivered"])
            (status,) = await engine.control.status()
            (lane,) = status.lanes
            assert (lane.blocked, lane.blocked_by, lane.queued) == (1, (1,), 2)
            engine._show_depths(site.store.queries().depths())
            shown = engine.meter.render()[1].decode()
            assert 'segmill_blocked_keys{channel="adt",destination="out"} 1.0' in shown
            (delivery,) = site.store.queries().deliveries(1)
            assert delivery.key == "SECRET"
            assert "SECRET" not in caplog.text + shown + json.dumps(lane.last_note)


async def test_the_sender_waits_for_the_answer_of_a_destination_with_keys(tmp_path) -> None:
    async with ReceivingPeer() as peer:
        more = "ack: {when: delivered(out)}"
        text = channel(destinations=to(peer, "lanes: 3"), more=more)
        site = SiteUnderTest(tmp_path, {"adt": text}, MEMORY)
        async with site.running():
            wires = [await site.wire() for _ in range(3)]
            for number, wire in enumerate(wires):
                await wire.send(a01(f"M{number}", f"P{number}"))
            answers = await asyncio.gather(*(wire.answer() for wire in wires))
            assert [msa(answer) for answer in answers] == [("AA", "M0"), ("AA", "M1"), ("AA", "M2")]


async def test_what_each_connection_may_have_on_its_way_is_in_doubt_after_a_crash(tmp_path) -> None:
    async with ReceivingPeer() as peer:
        site = SiteUnderTest(tmp_path, {"adt": channel(destinations=to(peer, "lanes: 4", "window: 8"))}, MEMORY)
        async with site.running():
            assert site.store._rows.lanes["adt", "out"] == 8 - 1 + 4
            assert site.store._rows.orders["adt", "out"] == ("PID-3.1", 0 + 1)


async def test_the_engine_dies_with_keys_on_their_way_and_loses_and_reorders_nothing(tmp_path) -> None:
    async with ReceivingPeer() as peer:
        site = SiteUnderTest(tmp_path, {"adt": channel(destinations=to(peer, "lanes: 4"))}, MEMORY)
        sent: list[tuple[str, str]] = []
        for run in range(4):
            async with site.running(stop=False):
                wire = await site.wire()
                for number in range(20):
                    sent.append((f"R{run}M{number}", f"P{number % 3}"))
                    await wire.send(a01(*sent[-1]))
                    assert msa(await wire.answer())[0] == "AA"
        async with site.running():
            await until(lambda: set(site.delivery_states()) == {"delivered"})
        got = control_ids(peer)
        assert set(got) == {control_id for control_id, _ in sent}
        for patient in {p for _, p in sent}:
            mine = [c for c, p in sent if p == patient]
            first = list(dict.fromkeys(c for c in got if c in mine))
            assert first == mine
        repeated = {c for c in got if got.count(c) > 1}
        queries = site.store.queries()
        marked = {m.control_id for m in queries.messages() for d in queries.deliveries(m.seq) if d.maybe_sent}
        assert repeated <= marked


@pytest.mark.parametrize("order", ["order_by: PID-3.1", "order_by: MSH-10"])
async def test_the_file_of_a_channel_says_all_of_it(tmp_path, order) -> None:
    text = channel(destinations="{out: {mllp: {host: h, port: 1}, " + order + ", lanes: 3, rate: 20/s}}")
    site = SiteUnderTest(tmp_path, {"adt": text}, MEMORY)
    assert load_site(site.folder, load_kinds(), {}).findings == []
    async with site.running():
        (lane,) = site.running_channel().lanes.values()
        assert len(lane._sinks) == 3
        assert (lane.settings.is_keyed, lane.settings.per_s, lane.settings.keyed_from) == (True, 20.0, 1)
