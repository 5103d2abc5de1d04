"""The sending side of `segmill send`: order, rate, answers counted, and messages sent again until they have one."""

import asyncio
import itertools

import pytest

from engine.adapters import sender as module
from engine.adapters.mllp_connection import MllpConnection, Target, connect
from engine.adapters.outgoing import control_id_of, expects_answer
from engine.adapters.sender import Sender, Sent
from engine.testing.peers import Behaviour, ReceivingPeer
from tests.ports import closed_port, free_port


@pytest.fixture
def messages(adt):
    return lambda count, start=0: [adt(control_id=f"S{n:05d}") for n in range(start, start + count)]


def target(peer: ReceivingPeer, **options) -> Target:
    return Target(*peer.address, **{"ack_timeout_s": 5.0, **options})


async def test_every_message_is_sent_once_and_in_order_on_one_connection(messages):
    sent = messages(300)
    async with ReceivingPeer("AA") as peer:
        report = await Sender(target(peer), sent).run()
        assert peer.received == sent
        assert peer.connections_seen == 1
    assert (report.sent, report.answered, report.accepted, dict(report.codes)) == (300, 300, 300, {"AA": 300})
    assert report.is_clean and len(report.latencies_s) == 300
    assert 0 < report.percentile(0.5) <= report.percentile(0.99) <= report.elapsed_s


async def test_several_connections_share_the_messages(messages):
    sent = messages(500)
    async with ReceivingPeer("AA") as peer:
        await Sender(target(peer), sent, connections=8).run()
        assert sorted(peer.received) == sent
        assert peer.connections_seen == 8


async def test_refusals_and_failures_are_told_apart(messages):
    seen: list[Sent] = []
    async with ReceivingPeer("AA", "AE", "wrong-id", "close", "AA") as peer:
        report = await Sender(target(peer), messages(5), on_sent=seen.append).run()
    assert dict(report.codes) == {"AA": 2, "AE": 1}
    assert sorted(report.failures) == [
        "an answer came, but to another message",
        "the connection was closed before an answer came",
    ]
    assert not report.is_clean
    assert [sent.number for sent in seen] == [0, 1, 2, 3, 4]
    assert [(sent.ack_code, sent.hl7_code) for sent in seen] == [
        ("AA", ""),
        ("AE", "207"),
        ("", ""),
        ("", ""),
        ("AA", ""),
    ]
    assert seen[0].control_id == b"S00000" and seen[0].answer.startswith(b"MSH|")


async def test_with_resending_every_message_gets_its_answer_through_all_kinds_of_trouble(messages):
    trouble = ["AA", "close", "garbage", "wrong-id", "half-ack", "reset", "AA", "AA-close", "AA"]
    sent = messages(20)
    async with ReceivingPeer(*trouble) as peer:
        report = await Sender(target(peer, ack_timeout_s=60.0), sent, resend_after_s=0.0).run()
        assert list(dict.fromkeys(peer.received)) == sent
    assert report.accepted == 20 and not report.failures
    # Five answers that did not count; behind the AA-close, a sixth where the next message crossed the close.
    assert report.resent in (5, 6)
    assert report.sent == 20 + report.resent


async def test_with_resending_a_message_that_is_met_with_silence_is_sent_again(messages, monkeypatch):
    opened: list[MllpConnection] = []

    async def remembered(to: Target) -> MllpConnection:
        opened.append(await connect(to))
        return opened[-1]

    def time_is_over(_: bytes, behaviour: Behaviour) -> None:
        if behaviour.kind == "none":
            opened[-1]._arm(0.0)

    monkeypatch.setattr(module, "connect", remembered)
    sent = messages(20)
    async with ReceivingPeer("AA", "none", "AA", on_message=time_is_over) as peer:
        report = await Sender(target(peer, ack_timeout_s=60.0), sent, resend_after_s=0.0).run()
        assert peer.received == [*sent[:2], *sent[1:]]
        assert peer.connections_seen == 2
    assert report.accepted == 20 and not report.failures
    assert (report.resent, report.sent) == (1, 21)


async def test_with_resending_a_receiver_that_comes_up_later_gets_everything(messages):
    peer = ReceivingPeer("AA")
    await peer.start(port=free_port())
    await peer.stop()
    sender = Sender(target(peer), messages(10), resend_after_s=0.01)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sender.run())
        await peer.start(*peer.address)
    assert running.result().accepted == 10
    await peer.stop()


async def test_without_a_receiver_every_message_is_counted_with_the_sentence(messages):
    with closed_port() as port:
        report = await Sender(Target("127.0.0.1", port), messages(3)).run()
    assert dict(report.failures) == {f"127.0.0.1:{port} refuses connections": 3}
    assert report.sent == 0


async def test_a_rate_spreads_the_messages(messages):
    async with ReceivingPeer("AA") as peer:
        report = await Sender(target(peer), messages(20), rate=100.0, connections=4).run()
    assert report.accepted == 20
    assert report.elapsed_s >= 0.19


async def test_a_message_that_asks_for_no_answer_is_not_waited_for_unless_forced(adt):
    body = adt(control_id="N1").replace(b"|2.5.1", b"|2.5.1|||NE|NE", 1)
    assert not expects_answer(body)
    async with ReceivingPeer("none") as peer:
        report = await Sender(target(peer), [body, body]).run()
        await peer.until_received(2)
        assert report.sent == 2 and report.answered == 0 and report.is_clean
        forced = await Sender(target(peer, ack_timeout_s=0.1), [body], force_answer=True).run()
        assert sum(forced.failures.values()) == 1


async def test_messages_that_cannot_be_framed_are_counted_and_the_others_sent(messages):
    one, two = messages(2)
    async with ReceivingPeer("AA") as peer:
        report = await Sender(target(peer), [one, one + b"\x1c", two]).run()
        assert peer.received == [one, two]
    assert sum(report.failures.values()) == 1


async def test_an_endless_source_ends_when_told_to(messages):
    (message,) = messages(1)
    async with ReceivingPeer("AA", keep=False) as peer:
        sender = Sender(target(peer), itertools.repeat(message), connections=2)
        sender_stops = lambda sent: sender.stop() if sent.number > 50 else None  # noqa: E731
        sender._on_sent = sender_stops
        report = await sender.run()
    assert 50 < report.accepted < 60
    assert report.is_clean


@pytest.mark.parametrize(
    ("raw", "control_id"),
    [
        (b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|X 1|P|2.5\rPID|1\r", b"X 1"),
        (b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|X1", b"X1"),
        (b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|X1\nPID|1\n", b"X1"),
        (b"MSH|^~\\&|A\r", b""),
        (b"MSH*^~\\&*A*B*C*D*2026**ADT^A01*X|1*P*2.5\r", b"X|1"),
        (b"\xef\xbb\xbfMSH|^~\\&|A|B|C|D|2026||ADT^A01|X\\T\\1|P|2.5\r", b"X\\T\\1"),
        ("MSH|^~\\&|Z\u00fcrich|B|C|D|2026||ADT^A01|X\u00fc|P|2.5\r".encode("latin-1"), "X\u00fc".encode("latin-1")),
        ("MSH|^~\\&|Z\u00fcrich|B|C|D|2026||ADT^A01|X\u00fc|P|2.5\r".encode(), "X\u00fc".encode()),
    ],
)
def test_the_control_id_is_found_byte_for_byte(raw, control_id):
    assert control_id_of(raw) == control_id


def test_a_control_id_that_its_charset_can_write_in_two_ways_is_known_as_it_was_written():
    body = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|\xfa@|P|2.5.1||||||ISO IR14\rPID|1\r"
    assert control_id_of(body) == b"\xfa@"


def test_a_header_is_read_with_the_message_behind_it():
    # Alone, its line feed would end a segment, and its bytes would be of another character set.
    body = b"MSH|^~\\&|A|B|C|D|2026||A\xff^A01\n\xff|\xb6\xba|P|2.5.1||||||KS Y 1001\rPID|1||\xdf\xba\r"
    assert control_id_of(body) == b"\xb6\xba"
