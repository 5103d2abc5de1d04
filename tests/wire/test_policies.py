"""Policies against receivers on real sockets: by code, down and back, to another, and outside of hours."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app import Engine, load
from engine.model.ids import MessageSeq
from engine.testing import messages
from engine.testing.peers import Behaviour, ReceivingPeer
from engine.testing.sites import make_site
from tests.ports import closed_port, free_port
from tests.runtime.parts import until
from tests.runtime.wires import Wire

CHANNEL = """\
listen: {{mllp: {{port: 0, host: 127.0.0.1}}}}
routes: [{{to: ris}}]
destinations:
  ris:
    mllp: {{host: 127.0.0.1, port: {ris}, ack_timeout: 5m}}
    retry: {{first: 10ms, most: 50ms}}
    {policy}
  spare:
    mllp: {{host: 127.0.0.1, port: {spare}}}
"""


class Site:
    """One channel, and the engine that runs it."""

    def __init__(self, folder: Path, ris: int, spare: int, policy: str) -> None:
        text = CHANNEL.format(ris=ris, spare=spare, policy=policy)
        self.folder = make_site(folder, {"adt": text}, "admin: off\nstore: 'memory:'\n")
        self.engine = Engine(load(self.folder, {}))

    async def __aenter__(self) -> "Site":
        await self.engine.start()
        self.wire = await Wire.open(self.engine.addresses["adt"])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wire.close()
        await self.engine.stop(deadline_s=5.0)

    async def send(self, *control_ids: str) -> None:
        for control_id in control_ids:
            await self.wire.send(messages.adt(control_id=control_id))
            assert b"MSA|AA" in await self.wire.answer()

    def time_is_up(self) -> None:
        """The time-out of the delivery that `ris` has now."""
        self.engine._channels["adt"].lanes["ris"]._sinks[0]._connection._arm(0.0)

    def states(self, seq: int) -> list[tuple[str, str, str]]:
        queries = self.engine._store.queries()
        return [(d.destination, d.state, d.code) for d in queries.deliveries(MessageSeq(seq))]

    def answers(self, seq: int) -> list[bytes]:
        queries = self.engine._store.queries()
        return [a.answer for a in queries.attempts(MessageSeq(seq))] + [
            d.answer for d in queries.deliveries(MessageSeq(seq))
        ]


def ids(peer: ReceivingPeer) -> list[bytes]:
    return [payload.split(b"|")[9] for payload in peer.received]


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Site]:
    return lambda ris, spare, policy: Site(tmp_path / "site", ris, spare, policy)


async def test_each_code_has_its_own_end(site) -> None:
    async with ReceivingPeer("AE", "AR", "AA", "CR", "AA") as ris, ReceivingPeer() as spare:
        policy = "on_refused: {AE: redirect(spare), CR: skip}"
        async with site(ris.address[1], spare.address[1], policy) as it:
            await it.send("A1", "A2", "A3", "A4")
            await until(lambda: it.states(4) == [("ris", "delivered", "delivered")])
            await until(lambda: [s for _, s, _ in it.states(1)] == ["redirected", "delivered"])
            assert it.states(1)[0] == ("ris", "redirected", "AE 207")
            assert it.states(2) == [("ris", "delivered", "delivered")]
            assert it.states(3) == [("ris", "failed", "CR 207")]
    assert ids(spare) == [b"A1"]
    assert ids(ris) == [b"A1", b"A2", b"A2", b"A3", b"A4"], "AR is tried again, in its place"


async def test_every_attempts_answer_is_in_the_store(site) -> None:
    async with (
        ReceivingPeer("AR", "AR", "AA") as ris,
        ReceivingPeer() as spare,
        site(ris.address[1], spare.address[1], "on_rejected: retry(5)") as it,
    ):
        await it.send("A1")
        await until(lambda: [s for _, s, _ in it.states(1)] == ["delivered"])
        codes = [answer.split(b"MSA|")[1][:5] for answer in it.answers(1)]
    assert codes == [b"AR|A1", b"AR|A1", b"AA|A1"]


async def test_a_destination_that_is_down_is_one_line_and_a_gauge_and_comes_back_with_one(site, caplog) -> None:
    """reliability.md S1."""
    async with ReceivingPeer() as spare:
        port = free_port()
        with caplog.at_level(logging.WARNING, logger="segmill.lane"):
            async with site(port, spare.address[1], "on_unreachable: retry") as it:
                lane = it.engine._channels["adt"].lanes["ris"]
                numbers = it.engine.meter.lane("adt", "ris")
                await it.send("A1", "A2", "A3")
                await until(lambda: lane.attempts >= 5)
                assert lane.state == "down"
                assert not numbers.is_connected
                ris = ReceivingPeer()
                await ris.start(port=port)
                await ris.until_received(3)
                await until(lambda: [s for _, s, _ in it.states(3)] == ["delivered"])
                assert numbers.is_connected
                await ris.stop()
    assert ids(ris) == [b"A1", b"A2", b"A3"]
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(" is ")[1].split(":")[0] for text in said] == ["down", "back"]


async def test_after_a_while_without_the_first_all_goes_to_the_other_in_order(site) -> None:
    with closed_port() as port:
        policy = "on_unreachable: retry(3) then redirect(spare)"
        async with ReceivingPeer() as spare, site(port, spare.address[1], policy) as it:
            names = [f"A{n}" for n in range(12)]
            await it.send(*names)
            await spare.until_received(12)
            await until(lambda: [s for _, s, _ in it.states(12)] == ["redirected", "delivered"])
    assert ids(spare) == [name.encode() for name in names]


@pytest.mark.parametrize("behaviour", ["none", "garbage", "wrong-id", "close", "stale-id", "half-ack"])
async def test_no_answer_that_counts_is_the_policys_of_unanswered(site, behaviour) -> None:
    """reliability.md S2, S5, S6, S7: never taken for a delivery."""
    policy = "on_unanswered: retry(2) then redirect(spare)"

    def came(_: bytes, met: Behaviour) -> None:
        if met.kind == "none":  # the only one that is waited for in vain
            it.time_is_up()

    async with (
        ReceivingPeer(behaviour, behaviour, "AA", on_message=came) as ris,
        ReceivingPeer() as spare,
        site(ris.address[1], spare.address[1], policy) as it,
    ):
        await it.send("A1", "A2")
        await until(lambda: [s for _, s, _ in it.states(1)] == ["redirected", "delivered"])
        await until(lambda: [s for _, s, _ in it.states(2)] == ["delivered"])
    assert ids(spare) == [b"A1"]
    assert ids(ris) == [b"A1", b"A1", b"A2"]
