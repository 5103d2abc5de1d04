"""The MLLP sink against receivers of every kind, over real sockets (reliability.md S1 to S12)."""

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import trustme

from engine.adapters import mllp_connection as module
from engine.adapters.errors import ConfigError
from engine.adapters.mllp_connection import MllpConnection
from engine.adapters.sinks import mllp as sink_module
from engine.adapters.sinks.mllp import MllpSink, MllpSinkSettings
from engine.adapters.tls import server_context
from engine.config.units import parse_duration
from engine.mllp.framing import COMMIT_ACK, encode
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import SystemClock
from engine.testing.peers import KINDS, ReceivingPeer, parse_behaviour
from tests.ports import free_port


@pytest.fixture
def delivery(adt):
    def make(control_id: str = "C1", body: bytes | None = None, padding: int = 0) -> Delivery:
        if body is None:
            body = adt(control_id=control_id)
        if padding:
            body += b"OBX|1|TX|^^^||" + b"Z" * padding + b"\r"
        return Delivery(DeliveryId(1), MessageSeq(1), ChannelName("adt"), DestinationName("out"), body, 0)

    return make


@pytest.fixture
async def sink_to():
    sinks: list[MllpSink] = []

    def make(peer_or_port, **settings) -> MllpSink:
        port = peer_or_port.address[1] if isinstance(peer_or_port, ReceivingPeer) else peer_or_port
        folder = settings.pop("folder", Path("."))
        host = settings.pop("host", "127.0.0.1")
        settings.setdefault("ack_timeout", 5.0)
        model = MllpSinkSettings(host=host, port=port, **settings)
        sinks.append(MllpSink.open(model, folder=folder, lane="adt/out", clock=SystemClock()))
        return sinks[-1]

    yield make
    for sink in sinks:
        await sink.close()


async def one(sink: MllpSink, delivery: Delivery):
    (outcome,) = await sink.send([delivery])
    return outcome


def be_patient(sink: MllpSink) -> None:
    """From the next connection on: what is answered there has the time it needs."""
    sink._target = replace(sink._target, ack_timeout_s=30.0)


# -- the matrix: what a receiver does x what the lane is told --------------------------------------


@pytest.mark.parametrize(
    "behaviour", ["AA", "CA", "CA+AA", "CA+AE", "split", "slow", "no-cr", "twice", "release-2", "AA-close"]
)
async def test_its_own_yes_is_a_delivery_however_it_comes(behaviour, delivery, sink_to):
    async with ReceivingPeer(behaviour) as peer:
        message = delivery()
        outcome = await one(sink_to(peer), message)
        assert isinstance(outcome, Delivered)
        assert outcome.answer == peer.answered[0]
        assert peer.received == [message.body]


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
async def test_its_own_no_is_a_refusal_with_the_reasons_code_and_the_connection_stays(code, delivery, sink_to):
    async with ReceivingPeer(code) as peer:
        sink = sink_to(peer)
        outcome = await one(sink, delivery("C1"))
        assert outcome == Refused(code, "207", peer.answered[0], f"the receiver answered {code} 207")
        await one(sink, delivery("C2"))
        assert peer.connections_seen == 1


UNANSWERED = {
    "none": "no answer within",
    "late:20": "no answer within",
    "empty": "no answer within",
    "garbage": "not an acknowledgment",
    "text": "outside an MLLP block",
    "no-msa": "not an acknowledgment",
    "wrong-id": "another message",
    "stale-id": "another message",
    "stale-first": "another message",
    "half-ack": "middle of an answer",
    "huge": "longer than the limit",
    "close": "closed before an answer",
    "half-close": "closed before an answer",
    "reset": "dropped the connection",
    "cut": "closed before an answer",
    "cut-reset": "dropped the connection",
    "sip:0.05": "no answer within",
}


@pytest.mark.parametrize(("behaviour", "reason"), UNANSWERED.items())
async def test_anything_else_is_no_answer_and_the_next_message_goes_on_a_new_connection(
    behaviour, reason, delivery, sink_to
):
    async with ReceivingPeer(behaviour, "AA") as peer:
        timeout = 0.2 if "no answer" in reason else 10.0
        sink = sink_to(peer, ack_timeout=timeout)
        outcome = await one(sink, delivery("C1"))
        assert isinstance(outcome, Unanswered) and reason in outcome.note
        assert not sink.is_connected
        await peer.until(lambda: peer.connections == 0)  # hung up at once, not with the next message
        be_patient(sink)
        assert isinstance(await one(sink, delivery("C2")), Delivered)
        assert peer.connections_seen == 2
        assert peer.bytes_sent < 32_000_000, "an endless answer is cut off, not read"


def test_the_matrix_knows_every_behaviour_of_the_peer():
    here = {"AA", "CA", "CA+AA", "CA+AE", "split", "slow", "no-cr", "twice", "release-2", "AA-close"}
    here |= {"AE", "AR", "CE", "CR", "early", "stall"} | {name.partition(":")[0] for name in UNANSWERED}
    assert here == set(KINDS)


async def test_a_yes_before_the_end_of_the_message_does_not_count(delivery, sink_to):
    async with ReceivingPeer("early") as peer:
        outcome = await one(sink_to(peer), delivery(padding=40_000_000))
        assert isinstance(outcome, Unanswered) and "before the message was sent" in outcome.note


@asynccontextmanager
async def unread(room_bytes: int):
    """A receiver whose system has room for so much, and which reads nothing: its port, and what it says."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room_bytes)
        port.setblocking(False)
        accepted: list[socket.socket] = []

        async def say(block: bytes, sink: MllpSink, *, once: Callable[[MllpConnection], bool]) -> None:
            loop = asyncio.get_running_loop()
            one, _ = await loop.sock_accept(port)
            accepted.append(one)
            async with asyncio.timeout(20):
                while sink._connection is None or not once(sink._connection):
                    await asyncio.sleep(0.001)
            await loop.sock_sendall(one, block)

        try:
            yield port.getsockname()[1], say
        finally:
            for one in accepted:
                one.close()


def answer(code: bytes) -> bytes:
    return encode(b"MSH|^~\\&|R|R|S|S|20260101||ACK|P1|P|2.5.1\rMSA|" + code + b"|C1\r")


def all_was_handed_over(connection: MllpConnection) -> bool:
    return connection._exchange.is_outstanding and connection._unsent_bytes() == 0


def all_was_taken(connection: MllpConnection) -> bool:
    return connection._exchange.is_outstanding and connection._untaken_bytes() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what the peer's has not taken")
@pytest.mark.parametrize(
    ("release", "block"),
    [(1, answer(b"AA")), (2, answer(b"AA")), (2, encode(COMMIT_ACK))],
    ids=["answer", "answer of release 2", "commit"],
)
async def test_a_yes_does_not_count_while_our_system_still_holds_a_part_of_the_message(
    release, block, delivery, sink_to
):
    async with unread(4096) as (port, say):
        sink = sink_to(port, release=release)
        outcome, _ = await asyncio.gather(
            one(sink, delivery("C1", padding=150_000)), say(block, sink, once=all_was_handed_over)
        )
        assert isinstance(outcome, Unanswered) and "before the message was sent" in outcome.note
        assert not sink.is_connected


@pytest.mark.parametrize(("untaken", "counts"), [(0, True), (1, True), (2, False)])
async def test_a_yes_counts_while_the_cr_behind_the_block_alone_is_on_its_way(
    untaken, counts, delivery, sink_to, monkeypatch
):
    monkeypatch.setattr(module, "untaken_bytes", lambda plain: untaken)
    async with ReceivingPeer("AA") as peer:
        outcome = await one(sink_to(peer), delivery("C1", padding=150_000))
    assert isinstance(outcome, Delivered if counts else Unanswered)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what the peer's has not taken")
async def test_a_no_counts_then_and_nothing_else_goes_on_that_connection(delivery, sink_to):
    async with unread(4096) as (port, say):
        sink = sink_to(port)
        outcome, _ = await asyncio.gather(
            one(sink, delivery("C1", padding=150_000)), say(answer(b"AR"), sink, once=all_was_handed_over)
        )
        assert isinstance(outcome, Refused) and outcome.ack_code == "AR"
        assert not sink.is_connected


async def test_a_yes_counts_once_the_receivers_system_has_all_of_the_message(delivery, sink_to):
    async with unread(1_000_000) as (port, say):
        sink = sink_to(port)
        outcome, _ = await asyncio.gather(
            one(sink, delivery("C1", padding=20_000)), say(answer(b"AA"), sink, once=all_was_taken)
        )
        assert isinstance(outcome, Delivered)
        assert sink.is_connected


async def test_a_receiver_that_stops_reading_is_given_up_without_waiting_for_the_ack_timeout(delivery, sink_to):
    async with ReceivingPeer("stall") as peer:
        sink = sink_to(peer, write_timeout=0.3, ack_timeout=60.0)
        outcome = await asyncio.wait_for(one(sink, delivery(padding=40_000_000)), 20)
        assert isinstance(outcome, Unanswered)
        assert "stopped taking" in outcome.note or "does not respond" in outcome.note


async def test_a_long_message_to_a_receiver_that_reads_on_is_not_cut_off_by_the_write_timeout(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        message = delivery(padding=20_000_000)
        assert isinstance(await one(sink_to(peer, write_timeout=1.0), message), Delivered)
        assert peer.received == [message.body]


async def test_a_large_block_is_made_a_megabyte_a_turn_of_the_loop(delivery, monkeypatch):
    """Its fresh memory alone would hold up everybody else for as long as ten commits."""
    turns = 0
    sleep = asyncio.sleep

    async def counted(delay: float) -> None:
        nonlocal turns
        turns += delay == 0
        await sleep(delay)

    monkeypatch.setattr(asyncio, "sleep", counted)
    body = delivery(padding=5_000_000).body
    assert await sink_module._encoded_in_turns(body) == encode(body)
    assert turns == 5


@pytest.mark.parametrize("byte", [b"\x0b", b"\x1c"])
async def test_a_large_message_that_cannot_be_framed_is_not_sent(byte, delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        body = delivery(padding=2_000_000).body
        assert isinstance(await one(sink_to(peer), delivery(body=body + b"NTE|" + byte + b"\r")), Unsendable)
        assert peer.connections_seen == 0


# -- never the wrong message -----------------------------------------------------------------------


async def test_the_late_answer_to_a_message_is_never_credited_to_the_next(delivery, sink_to):
    async with ReceivingPeer("late:0.3", "none", "AA") as peer:
        sink = sink_to(peer, ack_timeout=0.15)
        assert isinstance(await one(sink, delivery("C1")), Unanswered)
        assert isinstance(await one(sink, delivery("C2")), Unanswered)
        be_patient(sink)
        assert isinstance(await one(sink, delivery("C2")), Delivered)
        assert peer.connections_seen == 3


@pytest.mark.parametrize("control_id", ["SAME", ""])
async def test_messages_with_one_control_id_go_on_a_connection_each(control_id, delivery, sink_to):
    async with ReceivingPeer("twice", "AE") as peer:
        sink = sink_to(peer)
        assert isinstance(await one(sink, delivery(control_id)), Delivered)
        assert isinstance(await one(sink, delivery(control_id)), Refused)
        assert peer.connections_seen == 2


async def test_the_applications_late_no_after_ca_is_not_taken_for_the_next_messages_answer(delivery, sink_to):
    async with ReceivingPeer("CA+AE", "CA+AE", "CA") as peer:
        sink = sink_to(peer)
        outcomes = [await one(sink, delivery(f"C{n}")) for n in range(3)]
        assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
        assert peer.connections_seen == 1


async def test_a_control_id_in_a_multibyte_header_is_found_where_the_receiver_finds_it(delivery, sink_to):
    # In GB 18030 the second byte of a character may be '|' or '^'.
    facility = "\u4e00\u8c22\u7f16".encode("gb18030")
    header = b"MSH|^~\\&|APP|" + facility + b"|B|C|20260101||ADT^A01|ID-9|P|2.5.1|||||CHN|GB 18030-2000\r"
    async with ReceivingPeer("AA") as peer:
        outcome = await one(sink_to(peer), delivery(body=header + b"PID|1\r"))
        assert isinstance(outcome, Delivered)


# -- connections -----------------------------------------------------------------------------------


async def test_one_connection_carries_many_messages_in_order(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        sent = [delivery(f"C{n}") for n in range(200)]
        for message in sent:
            assert isinstance(await one(sink, message), Delivered)
        assert peer.received == [message.body for message in sent]
        assert peer.connections_seen == 1


async def test_a_receiver_that_closed_while_idle_costs_no_attempt(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        await one(sink, delivery("C1"))
        peer.disconnect()
        await peer.until(lambda: peer.connections == 0)
        assert isinstance(await one(sink, delivery("C2")), Delivered)
        assert peer.connections_seen == 2


async def test_without_keep_open_every_message_has_its_connection(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer, keep_open=False)
        for n in range(3):
            assert isinstance(await one(sink, delivery(f"C{n}")), Delivered)
        await peer.until(lambda: peer.connections == 0)
        assert peer.connections_seen == 3


async def test_an_idle_connection_is_closed_when_that_is_asked_for(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer, idle_close=0.1)
        assert isinstance(await one(sink, delivery("C1")), Delivered)
        await peer.until(lambda: peer.connections == 0)
        assert isinstance(await one(sink, delivery("C2")), Delivered)


async def test_a_receiver_that_is_down_is_unreachable_until_it_is_back_on_the_same_port(delivery, sink_to):
    peer = ReceivingPeer("AA")
    await peer.start(port=free_port())
    host, port = peer.address
    sink = sink_to(port)
    assert isinstance(await one(sink, delivery("C1")), Delivered)
    await peer.stop()
    outcome = await one(sink, delivery("C2"))
    assert outcome == Unreachable(f"{host}:{port} refuses connections")
    await peer.start(host, port)
    assert isinstance(await one(sink, delivery("C2")), Delivered)
    await peer.stop()


async def test_a_name_that_does_not_resolve_is_said_so(delivery, sink_to):
    outcome = await one(sink_to(2575, host="no-such-host.invalid"), delivery())
    assert outcome == Unreachable("the host name no-such-host.invalid cannot be resolved")


async def test_a_receiver_that_does_not_even_accept_is_given_up_after_the_connect_timeout(delivery, sink_to):
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listening.getsockname()[1]
    queue = [socket.socket() for _ in range(8)]  # fill the backlog: further SYNs are dropped
    for waiting in queue:
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.1", port))
    try:
        outcome = await one(sink_to(port, connect_timeout=0.3), delivery())
        assert outcome == Unreachable(f"127.0.0.1:{port} does not respond")
    finally:
        for held in (*queue, listening):
            held.close()


async def test_a_cancelled_delivery_leaves_no_answer_behind_for_the_next(delivery, sink_to):
    async with ReceivingPeer("late:0.2", "AE") as peer:
        sink = sink_to(peer)
        sending = asyncio.get_running_loop().create_task(one(sink, delivery("C1")))
        await peer.until_received(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not sink.is_connected
        assert isinstance(await one(sink, delivery("C2")), Refused)


async def test_closing_lets_go_of_a_receiver_that_does_not(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        await one(sink, delivery())
        await asyncio.wait_for(sink.close(), 2)
        await peer.until(lambda: peer.connections == 0)


@pytest.mark.parametrize("bad", [b"\x0b", b"\x1c"])
async def test_a_message_that_would_break_the_receivers_framing_is_not_sent(bad, delivery, sink_to, adt):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        assert isinstance(await one(sink, delivery(body=adt(control_id="C1") + bad)), Unsendable)
        assert peer.connections_seen == 0


async def test_a_message_that_asks_for_no_answer_waits_for_one_unless_told_not_to(delivery, sink_to, adt):
    body = adt(control_id="C1").replace(b"|2.5.1", b"|2.5.1|||NE|NE", 1)
    async with ReceivingPeer("none") as peer:
        assert isinstance(await one(sink_to(peer, ack_timeout=0.1), delivery(body=body)), Unanswered)
        outcome = await one(sink_to(peer, ack_timeout=0.1, answer="as-asked"), delivery(body=body))
        assert outcome == Delivered(note="sent; the message asks for no answer")
        await peer.until_received(2)


# -- TLS (S12) -------------------------------------------------------------------------------------


@pytest.fixture
def authority():
    return trustme.CA()


def written(folder: Path, authority: trustme.CA, *names: str, **options) -> dict[str, str]:
    cert = authority.issue_cert(*names, **options)
    stem = "-".join(names).replace("@", "_")
    cert.private_key_pem.write_to_path(str(folder / f"{stem}.key"))
    (folder / f"{stem}.crt").write_bytes(b"".join(pem.bytes() for pem in cert.cert_chain_pems))
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    return {"certificate": f"{stem}.crt", "key": f"{stem}.key"}


def tls_server(folder: Path, authority: trustme.CA, *names: str, client_ca: str | None = None) -> ssl.SSLContext:
    files = written(folder, authority, *names)
    return server_context(
        certificate=folder / files["certificate"],
        key=folder / files["key"],
        client_ca=folder / client_ca if client_ca else None,
    )


async def test_a_delivery_over_mutual_tls(delivery, sink_to, tmp_path, authority):
    server = tls_server(tmp_path, authority, "ris.local", client_ca="ca.crt")
    mine = written(tmp_path, authority, "segmill@site")
    async with ReceivingPeer("AA", tls=server) as peer:
        sink = sink_to(peer, folder=tmp_path, tls={"ca": "ca.crt", "server_name": "ris.local", **mine})
        for n in range(3):
            assert isinstance(await one(sink, delivery(f"C{n}", padding=200_000 * n)), Delivered)
        assert peer.connections_seen == 1


async def test_a_receiver_that_stalls_behind_tls_is_given_up_too(delivery, sink_to, tmp_path, authority):
    server = tls_server(tmp_path, authority, "ris.local")
    async with ReceivingPeer("stall", tls=server) as peer:
        tls = {"ca": "ca.crt", "server_name": "ris.local"}
        sink = sink_to(peer, folder=tmp_path, tls=tls, write_timeout=0.3, ack_timeout=60.0)
        outcome = await asyncio.wait_for(one(sink, delivery(padding=40_000_000)), 20)
        assert isinstance(outcome, Unanswered)


async def test_a_certificate_of_an_unknown_authority_is_refused(delivery, sink_to, tmp_path, authority):
    server = tls_server(tmp_path, authority, "127.0.0.1")
    (tmp_path / "other.crt").write_bytes(trustme.CA().cert_pem.bytes())
    async with ReceivingPeer("AA", tls=server) as peer:
        outcome = await one(sink_to(peer, folder=tmp_path, tls={"ca": "other.crt"}), delivery())
        assert isinstance(outcome, Unreachable) and "was not accepted" in outcome.note
        assert peer.received == []


async def test_a_certificate_for_another_name_is_refused_unless_that_name_is_expected(
    delivery, sink_to, tmp_path, authority
):
    server = tls_server(tmp_path, authority, "ris.local")
    async with ReceivingPeer("AA", tls=server) as peer:
        outcome = await one(sink_to(peer, folder=tmp_path, tls={"ca": "ca.crt"}), delivery())
        assert isinstance(outcome, Unreachable) and "not valid for" in outcome.note
        expected = sink_to(peer, folder=tmp_path, tls={"ca": "ca.crt", "server_name": "ris.local"})
        assert isinstance(await one(expected, delivery()), Delivered)


async def test_without_verify_any_certificate_will_do(delivery, sink_to, tmp_path, authority):
    server = tls_server(tmp_path, authority, "ris.local")
    async with ReceivingPeer("AA", tls=server) as peer:
        assert isinstance(await one(sink_to(peer, tls={"verify": False}), delivery()), Delivered)


async def test_a_receiver_that_wants_our_certificate_and_gets_none_never_gets_the_message(
    delivery, sink_to, tmp_path, authority
):
    server = tls_server(tmp_path, authority, "127.0.0.1", client_ca="ca.crt")
    async with ReceivingPeer("AA", tls=server) as peer:
        outcome = await one(sink_to(peer, folder=tmp_path, tls={"ca": "ca.crt"}), delivery())
        assert isinstance(outcome, Unanswered | Unreachable)
        assert "certificate" in outcome.note
        assert peer.received == []


async def test_an_alert_that_turns_our_certificate_down_means_that_nothing_was_taken(
    delivery, sink_to, tmp_path, authority
):
    # OpenSSL's own server sends the alert; with TLS 1.3 it comes after we have begun to write.
    server = tls_server(tmp_path, authority, "127.0.0.1", client_ca="ca.crt")
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        accepted, _ = listening.accept()
        with accepted:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = server.wrap_bio(incoming, outgoing, server_side=True)
            refused = False
            while not refused:
                try:
                    session.do_handshake()
                except ssl.SSLWantReadError:
                    accepted.sendall(outgoing.read())
                    incoming.write(accepted.recv(65536))
                except ssl.SSLError:
                    refused = True
            accepted.sendall(outgoing.read())
            accepted.shutdown(socket.SHUT_WR)
            while accepted.recv(65536):  # closing first would reset the connection under the alert
                pass

    refusing = asyncio.get_running_loop().run_in_executor(None, refuse)
    sink = sink_to(listening.getsockname()[1], folder=tmp_path, tls={"ca": "ca.crt"})
    outcome = await one(sink, delivery())
    await refusing
    listening.close()
    assert isinstance(outcome, Unreachable), outcome
    assert "certificate required" in outcome.note


async def test_a_receiver_of_old_tls_is_refused(delivery, sink_to, tmp_path, authority):
    server = tls_server(tmp_path, authority, "127.0.0.1")
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("AES256-SHA256")  # RSA key exchange, CBC
    async with ReceivingPeer("AA", tls=server) as peer:
        outcome = await one(sink_to(peer, folder=tmp_path, tls={"ca": "ca.crt"}), delivery())
        assert isinstance(outcome, Unreachable) and outcome.note.startswith("TLS with")


async def test_a_receiver_that_speaks_no_tls_is_unreachable(delivery, sink_to, tmp_path, authority):
    written(tmp_path, authority, "127.0.0.1")
    async with ReceivingPeer("AA") as peer:
        outcome = await one(sink_to(peer, folder=tmp_path, tls={"ca": "ca.crt"}, connect_timeout=0.5), delivery())
        assert isinstance(outcome, Unreachable)
        # A hello of TLS holds bytes drawn at random, and may look like a block.
        assert not any(b"MSH" in heard for heard in peer.received)


def test_files_that_cannot_be_used_are_named_when_the_sink_is_set_up(sink_to, tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.crt does not exist"):
        sink_to(1, folder=tmp_path, tls={"ca": "missing.crt"})


# -- settings --------------------------------------------------------------------------------------


def test_settings_come_as_text_with_units():
    settings = MllpSinkSettings.model_validate(
        {"host": "ris", "port": "2575", "ack_timeout": "1m", "max_ack": "8KB", "keep_open": "false", "tls": {}}
    )
    assert (settings.port, settings.ack_timeout, settings.max_ack, settings.keep_open) == (2575, 60.0, 8000, False)


@pytest.mark.parametrize(
    "bad", [{"port": "0"}, {"port": "70000"}, {"ack_timeout": "0"}, {"timeout": "1s"}, {"host": ""}]
)
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(ValueError):
        MllpSinkSettings.model_validate({"host": "ris", "port": "2575", **bad})


def test_a_behaviour_reads_its_delay_with_a_unit():
    assert parse_behaviour("late:30s", parse_duration).delay_s == 30.0
    with pytest.raises(ValueError, match="not a way to answer"):
        parse_behaviour("maybe")


# -- all of it at once -----------------------------------------------------------------------------


SAYS_YES = [
    "AA",
    "CA",
    "CA+AA",
    "CA+AE",
    "split:0.002",
    "slow:0",
    "no-cr",
    "twice",
    "release-2",
    "AA-close",
    "late:0.01",
]
SAYS_NO = ["AE", "AR", "CE", "CR"]
SAYS_NOTHING = ["none", "empty", "late:0.3", "garbage", "text", "no-msa", "wrong-id", "stale-id", "stale-first"]
SAYS_NOTHING += ["half-ack", "huge", "close", "half-close", "reset", "cut", "cut-reset", "sip:5"]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_through_all_misbehaviour_nothing_is_lost_reordered_or_taken_for_delivered(seed, delivery, sink_to):
    random = Random(seed)
    script = [random.choice(random.choice([SAYS_YES, SAYS_NO, SAYS_NOTHING])) for _ in range(250)]
    last: list[str] = []
    async with ReceivingPeer(*script, "AA", on_message=lambda _, behaviour: last.append(behaviour.kind)) as peer:
        sink = sink_to(peer, ack_timeout=0.1)
        yes = {text.partition(":")[0] for text in SAYS_YES} - {"late"}
        sent = [delivery(f"R{n}") for n in range(100)]
        attempts = 0
        for message in sent:
            outcome = None
            while not isinstance(outcome, Delivered):
                before = len(last)
                outcome = await one(sink, message)
                attempts += 1
                if isinstance(outcome, Delivered):
                    assert peer.received[-1] == message.body
                    # What an application says late of the message before, which got CA, is passed over.
                    assert last[-1] in yes or last[-1] in ("late", "stale-first")
                elif isinstance(outcome, Refused):
                    assert last[-1] == outcome.ack_code
                else:
                    assert isinstance(outcome, Unanswered)
                    assert len(last) == before or last[-1] not in yes or "time-out" in outcome.note
        in_order = [
            body for number, body in enumerate(peer.received) if number == 0 or peer.received[number - 1] != body
        ]
        assert in_order == [message.body for message in sent]
        assert peer.messages <= attempts


async def test_a_receiver_that_flaps_costs_attempts_but_no_message_and_no_order(delivery, sink_to):
    peer = ReceivingPeer("AA")
    await peer.start(port=free_port())
    host, port = peer.address
    sink = sink_to(port)
    sent = [delivery(f"F{n}") for n in range(60)]
    for number, message in enumerate(sent):
        if number % 10 == 5:
            await peer.stop()
            assert isinstance(await one(sink, message), Unreachable)
            await peer.start(host, port)
        assert isinstance(await one(sink, message), Delivered)
    assert peer.received == [message.body for message in sent]
    await peer.stop()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
async def test_a_receiver_that_vanished_is_noticed_within_fifteen_seconds(delivery, sink_to):
    """By the kernel, which is told to; idle: 3 s and then a probe every 3 s, sending: 12 s without progress (S11)."""
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        await one(sink, delivery())
        plain = sink._connection._transport.get_extra_info("socket")
        tcp = socket.IPPROTO_TCP
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, every = plain.getsockopt(tcp, socket.TCP_KEEPIDLE), plain.getsockopt(tcp, socket.TCP_KEEPINTVL)
        assert idle + every * plain.getsockopt(tcp, socket.TCP_KEEPCNT) <= 15
        assert 0 < plain.getsockopt(tcp, socket.TCP_USER_TIMEOUT) <= 15_000
        assert plain.getsockopt(tcp, socket.TCP_NODELAY)


# -- begun at once, without a task that waits -------------------------------------------------------


async def begun(sink: MllpSink, delivery: Delivery):
    """What comes of it; None where it cannot be begun."""
    outcome = asyncio.get_running_loop().create_future()
    return await asyncio.wait_for(outcome, 30) if sink.begin(delivery, outcome.set_result) else None


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        *((name, Delivered) for name in ("AA", "CA", "CA+AA", "CA+AE", "split", "slow", "no-cr", "twice", "AA-close")),
        *((name, Refused) for name in ("AE", "AR", "CE", "CR")),
        *((name, Unanswered) for name in UNANSWERED),
    ],
)
async def test_begun_at_once_it_comes_to_the_same(behaviour, kind, delivery, sink_to):
    async with ReceivingPeer("AA", behaviour, "AA") as peer:
        sink = sink_to(peer, ack_timeout=10.0)
        await one(sink, delivery("C1"))
        if behaviour in ("none", "late:20", "empty", "sip:0.05"):
            connection = sink._connection  # the last message goes on another
            connection._target = replace(connection._target, ack_timeout_s=0.5)
        outcome = await begun(sink, delivery("C2"))
        assert type(outcome) is kind
        if kind is Delivered:
            assert outcome.answer == peer.answered[1]
        if kind is Unanswered:
            assert UNANSWERED[behaviour] in outcome.note and not sink.is_connected
        assert isinstance(await one(sink, delivery("C3")), Delivered)


async def test_what_is_not_like_nearly_all_is_not_begun_at_once(delivery, sink_to):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        assert await begun(sink, delivery("C1")) is None, "there is no connection yet"
        await one(sink, delivery("C1"))
        for body in (b"MSH|^~\\&|\x1c", b"MSH" + b"x" * (1 << 20)):
            assert await begun(sink, delivery(body=body)) is None
        assert await begun(sink, delivery("C1")) is None, "a second answer to the first could not be told from its own"
        assert isinstance(await begun(sink, delivery("C2")), Delivered)
        for settings in ({"keep_open": False}, {"answer": "as-asked"}):
            other = sink_to(peer, **settings)
            await one(other, delivery("C1"))
            assert await begun(other, delivery("C2")) is None
    async with ReceivingPeer("release-2") as peer:
        sink = sink_to(peer, release=2)
        await one(sink, delivery("C1"))
        assert await begun(sink, delivery("C2")) is None, "what came behind an answer would commit the next message"


async def test_a_receiver_that_hangs_up_after_its_answer_costs_no_attempt(delivery, sink_to):
    async with ReceivingPeer("AA-close") as peer:
        sink = sink_to(peer)
        for number in range(20):
            message = delivery(f"C{number}")
            outcome = await begun(sink, message) or await one(sink, message)
            assert isinstance(outcome, Delivered)
            await peer.until(lambda: peer.connections == 0)


async def test_what_is_cut_off_is_never_told_of_and_its_connection_is_not_used_again(delivery, sink_to):
    async with ReceivingPeer("AA", "none", "AA") as peer:
        sink = sink_to(peer)
        await one(sink, delivery("C1"))
        told = []
        assert sink.begin(delivery("C2"), told.append)
        await peer.until(lambda: len(peer.received) == 2)
        sink.cut_off()
        await peer.until(lambda: peer.connections == 0)
        assert isinstance(await one(sink, delivery("C3")), Delivered)
        assert told == [] and peer.connections_seen == 2


async def test_a_defect_of_the_sink_is_told_where_its_outcome_was_waited_for(delivery, sink_to, monkeypatch):
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        await one(sink, delivery("C1"))
        error = KeyError("a defect of ours")

        def fails(end: object, connection: object) -> None:
            raise error

        monkeypatch.setattr(sink, "_outcome", fails)
        assert await begun(sink, delivery("C2")) is error


async def test_what_fails_where_it_is_begun_is_never_told_of_and_its_connection_is_not_used_again(
    delivery, sink_to, monkeypatch
):
    """What comes of that connection later would be taken for the end of the delivery that is away then."""
    async with ReceivingPeer("AA") as peer:
        sink = sink_to(peer)
        await one(sink, delivery("C1"))
        told = []

        def fails(self: MllpConnection, seconds: float) -> None:
            raise KeyError("a defect of ours")

        with monkeypatch.context() as patched, pytest.raises(KeyError):
            patched.setattr(MllpConnection, "_arm", fails)
            sink.begin(delivery("C2"), told.append)
        assert isinstance(await one(sink, delivery("C3")), Delivered)
        await peer.until(lambda: peer.connections == 1)
        assert told == [] and peer.connections_seen == 2
