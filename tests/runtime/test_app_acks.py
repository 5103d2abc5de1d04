"""Application acknowledgements that go over a connection of our own, or nowhere."""

from pathlib import Path

import pytest

from engine.hl7.message import Message
from engine.model.ids import DestinationName, MessageSeq
from engine.ports.store import StoreFull
from engine.testing.peers import Behaviour, ReceivingPeer
from tests.ports import free_port
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes, err, msa
from tests.runtime.parts import until

LANE = "adt/app_ack"


def connecting(port: int, more: str = "", **options) -> str:
    back = f"{{host: 127.0.0.1, port: {port}, ack_timeout: 5m, retry: {{first: 20ms, most: 50ms}}{more}}}"
    return channel(more=f"ack: {{app_ack: connect-back, connect_back: {back}}}", **options)


def site_of(tmp_path: Path, text: str, settings: str = MEMORY) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": text}, settings)


def app_acks(site: SiteUnderTest) -> list[str]:
    queries = site.store.queries()
    rows = [row for m in site.messages() for row in queries.deliveries(MessageSeq(m.seq))]
    return [row.state for row in rows if row.destination == "app_ack"]


class TestConnectBack:
    async def test_the_application_acknowledgement_is_a_message_of_its_own(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA") as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
                accept = await wire.answer()
                assert msa(accept) == ("CA", "A1")
                await peer.until_received(1)
                (application,) = peer.received
                assert msa(application) == ("AA", "A1")
                header = Message.parse(application)
                assert (header.get("MSH-15"), header.get("MSH-16")) == ("AL", "NE")
                assert header.get("MSH-10") != Message.parse(accept).get("MSH-10")
                await until(lambda: app_acks(site) == ["delivered"])
                assert await wire.is_silent()
                assert await site.delivered("adt/out", 1) == [
                    adt(control_id="A1", accept_ack="AL", application_ack="AL")
                ]

    @pytest.mark.parametrize(
        ("accept", "application", "on_connection", "apart"),
        [
            ("NE", "AL", [], ["AA"]),
            ("AL", "NE", ["CA"], []),
            ("AL", "ER", ["CA"], []),
            ("ER", "SU", [], ["AA"]),
            ("NE", "NE", [], []),
            ("", "", ["AA"], []),
        ],
    )
    async def test_each_level_goes_its_own_way(self, tmp_path, adt, accept, application, on_connection, apart) -> None:
        async with ReceivingPeer("CA") as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack=accept, application_ack=application))
                await wire.send(adt(control_id="END"))
                found = [msa(a) for a in await wire.answers(len(on_connection) + 1)]
                assert found == [*((code, "A1") for code in on_connection), ("AA", "END")]
                await until(lambda: app_acks(site) == ["delivered"] * len(apart))
                assert codes(peer.received) == apart

    async def test_a_refusal_of_the_content_goes_there_too(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA") as peer:
            site = site_of(tmp_path, connecting(peer.address[1], steps="steps:\n  - validate: {required: [PID-19]}"))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="NE", application_ack="AL"))
                await peer.until_received(1)
                assert msa(peer.received[0]) == ("AE", "A1") and err(peer.received[0]) == ["101"]
                assert site.states() == ["rejected"] and await wire.is_silent()

    async def test_what_no_channel_takes_is_refused_there_too(self, tmp_path, oru) -> None:
        async with ReceivingPeer("CA") as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running():
                wire = await site.wire()
                foreign = Message.parse(oru(control_id="A1"))
                foreign.set("MSH-16", "AL")
                await wire.send(foreign.to_bytes())
                await peer.until_received(1)
                assert msa(peer.received[0]) == ("AR", "A1")

    async def test_with_stored_first_it_goes_out_and_the_message_is_processed_all_the_same(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA") as peer:
            text = connecting(peer.address[1]).replace("{app_ack", "{when: stored, app_ack")
            site = site_of(tmp_path, text)
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
                assert msa(await wire.answer()) == ("CA", "A1")
                await site.delivered("adt/out", 1)
                await until(lambda: app_acks(site) == ["delivered"])
                assert msa(peer.received[0]) == ("AA", "A1")

    async def test_it_is_tried_again_until_the_other_side_has_it(self, tmp_path, adt) -> None:
        def came(_: bytes, met: Behaviour) -> None:
            if met.kind == "none":  # the only one that is waited for in vain
                site.running_channel().lanes[DestinationName("app_ack")]._sinks[0]._connection._arm(0.0)

        async with ReceivingPeer("none", "AR", "close", "CA", on_message=came) as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
                await until(lambda: app_acks(site) == ["delivered"])
                assert peer.messages == 4 and len(set(peer.received)) == 1

    @pytest.mark.parametrize("settings", [MEMORY, "admin: off\n"], ids=["memory", "sqlite"])
    async def test_a_crash_loses_none(self, tmp_path, adt, settings) -> None:
        port = free_port()
        site = site_of(tmp_path, connecting(port), settings)
        async with site.running(stop=settings != MEMORY, deadline_s=0.3):
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
            assert msa(await wire.answer()) == ("CA", "A1")
        peer = ReceivingPeer("CA")
        await peer.start(port=port)
        try:
            async with site.running():
                await peer.until_received(1)
                assert msa(peer.received[0]) == ("AA", "A1")
        finally:
            await peer.stop()

    async def test_without_an_accept_it_is_done_once_it_is_sent(self, tmp_path, adt) -> None:
        async with ReceivingPeer("none") as peer:
            site = site_of(tmp_path, connecting(peer.address[1], ", accept_ack: NE"))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="NE", application_ack="AL"))
                await until(lambda: app_acks(site) == ["delivered"])
                await peer.until_received(1)
                header = Message.parse(peer.received[0])
                assert (header.get("MSH-15"), header.get("MSH-16")) == ("NE", "NE")

    async def test_a_resend_has_it_sent_again_but_not_twice_at_a_time(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA", "none") as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running(deadline_s=0.3):
                wire = await site.wire()
                asks = adt(control_id="A1", accept_ack="AL", application_ack="AL")
                await wire.send(asks)
                first = await wire.answer()
                await until(lambda: app_acks(site) == ["delivered"])
                for _ in range(3):
                    await wire.send(asks)
                    assert await wire.answer() == first
                await peer.until_received(2)
                assert peer.received[0] == peer.received[1]
                assert app_acks(site) == ["delivered", "queued"]
                assert len(site.kept.bodies("adt/out")) == 1

    async def test_a_persons_resend_of_the_message_does_not_acknowledge_it_again(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA") as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", application_ack="AL"))
                await until(lambda: app_acks(site) == ["delivered"])
                await site.engine.control.resend([MessageSeq(1)], None)
                await site.delivered("adt/out", 2)
                assert app_acks(site) == ["delivered"] and peer.messages == 1

    async def test_where_nothing_can_be_stored_the_refusal_comes_on_the_connection(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA") as peer:
            site = site_of(tmp_path, connecting(peer.address[1]))
            async with site.running():
                site.store.fail_next(StoreFull("full"))
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="NE", application_ack="AL"))
                assert msa(await wire.answer()) == ("AR", "A1")

    async def test_two_engines_that_answer_each_other_come_to_rest(self, tmp_path, adt) -> None:
        """An acknowledgement is never acknowledged at application level (hl7.md item 13)."""
        back = SiteUnderTest(tmp_path / "b", {"adt": channel(accept="*")})
        async with back.running():
            port = back.engine.addresses["adt"][1]
            site = site_of(tmp_path, connecting(port))
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
                assert msa(await wire.answer()) == ("CA", "A1")
                await until(lambda: app_acks(site) == ["delivered"])
                (kept,) = back.messages()
                assert kept.message_type.startswith("ACK") and kept.ack_code == "CA"
                assert len(site.messages()) == 1


class TestNone:
    @pytest.mark.parametrize(
        ("accept", "application", "expected"),
        [("AL", "AL", ["CA"]), ("NE", "AL", []), ("", "", ["AA"]), ("", "AL", []), ("AL", "", ["CA"])],
    )
    async def test_only_the_accept_level_is_answered(self, tmp_path, adt, accept, application, expected) -> None:
        site = site_of(tmp_path, channel(more="ack: {app_ack: none}"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack=accept, application_ack=application), adt(control_id="END"))
            assert codes(await wire.answers(len(expected) + 1)) == [*expected, "AA"]
            assert len(site.messages()) == 2


async def test_a_sender_that_cannot_take_ca_gets_aa_alone(tmp_path, adt) -> None:
    site = site_of(tmp_path, channel(more="ack: {mode: original}"))
    async with site.running():
        wire = await site.wire()
        for number, (accept, application) in enumerate([("AL", "AL"), ("NE", "NE"), ("AL", "NE"), ("", "")]):
            await wire.send(adt(control_id=f"A{number}", accept_ack=accept, application_ack=application))
            assert msa(await wire.answer()) == ("AA", f"A{number}")


async def test_an_unknown_condition_is_taken_as_always_and_said(tmp_path, adt) -> None:
    site = site_of(tmp_path, channel())
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(control_id="A1", accept_ack="0/0"))
        assert msa(await wire.answer()) == ("CA", "A1")
        assert "W330" in site.messages()[0].findings


class TestUnreadable:
    async def test_a_sender_of_anything_else_can_be_hung_up_on(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, channel(port="{port: 0, unreadable: close}"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), b"GET / HTTP/1.1")
            assert msa(await wire.answer()) == ("AA", "A1")
            assert await wire.rest() == b""
            await until(lambda: site.states() == ["processed", "rejected"])
            assert site.messages()[1].raw == b"GET / HTTP/1.1"
