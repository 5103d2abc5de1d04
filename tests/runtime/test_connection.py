"""A port and its connections: every block answered in its order, every peer bounded in bytes, time and number."""

import asyncio
import errno
import gc
import inspect
import logging
import re
import socket
import ssl
import tracemalloc
from typing import get_args

import pytest
import trustme

from engine.adapters.metrics_numbers import CONNECTION_EVENTS
from engine.mllp.framing import BlockWarning, FaultCode
from engine.runtime import connection as connection_module
from engine.runtime import door
from engine.runtime import listener as module
from tests.runtime.parts import turns, until
from tests.runtime.wires import HeldIntake, Wire, block, listening


@pytest.fixture
def intake() -> HeldIntake:
    return HeldIntake()


@pytest.fixture
def held() -> HeldIntake:
    return HeldIntake(at_once=False)


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks are looked at often."""
    monkeypatch.setattr(module, "SWEEP_S", 0.005)


class TestAnswers:
    async def test_a_block_is_answered_on_its_connection(self, intake) -> None:
        async with listening(intake) as port:
            one, two = await port.wire(), await port.wire()
            await one.send(b"one")
            await two.send(b"two")
            assert await one.answer() == b"one"
            assert await two.answer() == b"two"

    async def test_answers_leave_in_the_order_of_the_blocks_however_the_work_ended(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(*(b"%d" % n for n in range(10)))
            await until(lambda: len(held.replies) == 10)
            for place in (5, 9, 3, 1, 2):
                held.answer(place)
            assert await wire.is_silent()
            held.answer(0)
            assert await wire.answers(4) == [b"0", b"1", b"2", b"3"]
            held.replies[4].settle(b"")  # none is due
            assert await wire.answer() == b"5"
            held.answer_all()
            assert await wire.answers(4) == [b"6", b"7", b"8", b"9"]

    async def test_an_answer_is_given_once(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies)
            held.replies[0].settle(block(b"first"))
            held.replies[0].settle(block(b"second"))
            await wire.send(b"b")
            await until(lambda: len(held.replies) == 2)
            held.answer(1)
            assert await wire.answers(2) == [b"first", b"b"]

    async def test_ten_thousand_without_waiting_are_answered_in_order(self, intake) -> None:
        async with listening(intake) as port:
            wire = await port.wire()
            sending = asyncio.gather(
                *(wire.send(*(b"%d" % n for n in range(k, k + 500))) for k in range(0, 10_000, 500))
            )
            assert await wire.answers(10_000) == [b"%d" % n for n in range(10_000)]
            await sending

    async def test_a_defect_on_one_connection_closes_it_and_leaves_the_others(self, intake, caplog) -> None:
        async with listening(intake) as port:
            good, bad = await port.wire(), await port.wire()
            intake.defect = KeyError("Testperson")
            with caplog.at_level(logging.ERROR):
                await bad.send(b"x")
                assert await bad.rest() == b""
            intake.defect = None
            await good.send(b"y")
            assert await good.answer() == b"y"
            assert port.meter.events("failed") == 1
            assert "KeyError" in caplog.text and "Testperson" not in caplog.text

    async def test_an_answer_to_a_peer_that_has_gone_is_no_error(self, held, caplog) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a", b"b")
            await until(lambda: len(held.replies) == 2)
            wire.reset()
            await until(lambda: port.listener.connection_count == 0)
            held.answer_all()
            await turns()
            assert caplog.records == []


class TestBackPressure:
    async def test_a_sender_is_not_read_from_while_too_much_of_it_is_in_hand(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            sent = [b"%06d" % n + b"x" * 20_000 for n in range(1000)]

            async def send() -> None:
                for payload in sent:
                    await wire.send(payload)

            sending = asyncio.get_running_loop().create_task(send())
            await until(lambda: len(held.taken) >= connection_module.MOST_UNANSWERED)
            before = -1
            while before != len(held.taken):
                before = len(held.taken)
                for _ in range(30):
                    await asyncio.sleep(0.001)
            most = connection_module.MOST_UNANSWERED + module.READ_BUFFER_BYTES // 20_000 + 1
            assert len(held.taken) <= most and not sending.done()
            held.at_once = True
            held.answer_all()
            assert len(await wire.answers(1000)) == 1000
            await sending

    async def test_large_messages_are_bounded_by_their_bytes(self, held) -> None:
        async with listening(held, max_message_bytes=1024 * 1024) as port:
            wire = await port.wire()
            sent = [b"%06d" % n + b"x" * 1_000_000 for n in range(40)]

            async def send() -> None:
                for payload in sent:
                    await wire.send(payload)

            sending = asyncio.get_running_loop().create_task(send())
            await until(lambda: len(held.taken) >= 8)
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert len(held.taken) <= 10 and not sending.done()
            held.at_once = True
            held.answer_all()
            assert [len(answer) for answer in await wire.answers(40)] == [1_000_006] * 40
            await sending

    async def test_a_peer_that_never_reads_its_answers_is_not_read_from_and_dropped(
        self, intake, clock, swift, monkeypatch
    ) -> None:
        async with listening(intake, clock) as port:
            wire = await port.wire()
            wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
            sending = asyncio.get_running_loop().create_task(wire.raw(block(b"x" * 100_000) * 500))
            (connection,) = await connections(port)
            await until(lambda: connection.write_blocked_since)
            taken = len(intake.taken)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert len(intake.taken) <= taken + 3, "it is still read from"
            clock.ahead_s += connection_module.UNREAD_ANSWERS_S + 1
            await until(lambda: port.listener.connection_count == 0)
            assert port.meter.events("unread") == 1
            with pytest.raises(ConnectionError):
                await sending

    async def test_a_peer_that_reads_late_gets_every_answer(self, intake) -> None:
        async with listening(intake) as port:
            wire = await port.wire()
            wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
            payloads = [b"%06d" % n + b"x" * 50_000 for n in range(300)]
            sending = asyncio.get_running_loop().create_task(wire.raw(b"".join(map(block, payloads))))
            (connection,) = await connections(port)
            await until(lambda: connection.write_blocked_since)
            wire.reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert await wire.answers(300) == payloads
            await sending


async def connections(port) -> list[connection_module.Connection]:
    await until(lambda: port.listener._connections)
    return list(port.listener._connections)


class TestTime:
    async def test_a_quiet_sender_may_stay(self, intake, clock, swift) -> None:
        async with listening(intake, clock) as port:
            wire = await port.wire()
            await connections(port)
            clock.ahead_s += 100_000
            for _ in range(10):
                await asyncio.sleep(0.002)
            await wire.send(b"a")
            assert await wire.answer() == b"a"

    async def test_with_an_idle_time_out_it_may_not(self, intake, clock, swift) -> None:
        async with listening(intake, clock, idle_timeout_s=30) as port:
            wire = await port.wire()
            await wire.send(b"a")
            assert await wire.answer() == b"a"
            clock.ahead_s += 31
            assert await wire.rest() == b""
            assert port.meter.events("idle") == 1

    async def test_a_sender_that_waits_for_its_answer_is_not_idle(self, held, clock, swift) -> None:
        async with listening(held, clock, idle_timeout_s=30) as port:
            wire = await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies)
            clock.ahead_s += 100
            for _ in range(10):
                await asyncio.sleep(0.002)
            held.answer_all()
            assert await wire.answer() == b"a"

    async def test_a_block_that_is_not_ended_in_time_ends_its_connection(self, intake, clock, swift) -> None:
        async with listening(intake, clock, frame_timeout_s=60) as port:
            wire = await port.wire()
            await wire.send(b"whole")
            assert await wire.answer() == b"whole"
            await wire.raw(b"\x0bhalf")
            (connection,) = await connections(port)
            await until(lambda: connection.mid_block_since)
            clock.ahead_s += 50
            await wire.raw(b" of it")  # a byte now and then does not buy time
            await until(lambda: connection.decoder.buffered_bytes == 10)
            clock.ahead_s += 11
            assert await wire.rest() == b""
            assert port.meter.events("midframe") == 1
            assert intake.taken == [b"whole"]

    async def test_a_sender_that_never_pauses_between_blocks_is_not_cut_off(self, intake, clock, swift) -> None:
        """Every read ends in the middle of a block, and every block ends in good time."""
        async with listening(intake, clock, frame_timeout_s=60) as port:
            wire = await port.wire()
            await wire.raw(b"\x0b0")
            for number in range(1, 20):
                await wire.raw(b"\x1c\r\x0b%d" % number)
                assert await wire.answer() == b"%d" % (number - 1)
                clock.ahead_s += 20
                for _ in range(5):
                    await asyncio.sleep(0.002)
            assert port.meter.events("midframe") == 0

    async def test_no_time_runs_against_a_sender_while_we_do_not_read_from_it(self, held, clock, swift) -> None:
        """The disk stalls for minutes: that is not the sender's fault (reliability.md D5)."""
        async with listening(held, clock, frame_timeout_s=60, idle_timeout_s=60) as port:
            wire = await port.wire()
            payloads = [b"%d" % n for n in range(connection_module.MOST_UNANSWERED)]
            await wire.raw(b"".join(map(block, payloads)) + b"\x0bhalf")
            (connection,) = await connections(port)
            await until(lambda: len(held.taken) == len(payloads) and connection.decoder.mid_block)
            clock.ahead_s += 600
            for _ in range(20):
                await asyncio.sleep(0.002)
            assert not connection.closing
            held.at_once = True
            held.answer_all()
            await wire.raw(b" and half\x1c\r")
            assert (await wire.answers(len(payloads) + 1))[-1] == b"half and half"

    async def test_a_block_without_its_last_byte_is_taken_after_a_moment(self, intake, clock, swift) -> None:
        async with listening(intake, clock, trailing_cr_s=1.0) as port:
            wire = await port.wire()
            await wire.raw(b"\x0ba\x1c")
            (connection,) = await connections(port)
            await until(lambda: connection.decoder.awaits_cr)
            assert intake.taken == []
            clock.ahead_s += 1.1
            assert await wire.answer() == b"a"
            await wire.raw(b"\r\x0bb\x1c\r")
            assert await wire.answer() == b"b"
            assert port.meter.events("no-cr") == 1

    async def test_an_event_is_counted_once_though_its_connection_takes_long_to_end(self, held, clock, swift) -> None:
        async with listening(held, clock, frame_timeout_s=60) as port:
            wire = await port.wire()
            await wire.raw(block(b"in hand") + b"\x0bhalf")
            await until(lambda: held.replies)
            clock.ahead_s += 61
            await until(lambda: port.meter.events("midframe"))
            for _ in range(20):
                await asyncio.sleep(0.002)
            assert port.meter.events("midframe") == 1
            held.answer_all()
            assert await wire.rest() == block(b"in hand")


class TestEnds:
    async def test_what_came_whole_before_the_end_is_answered(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a", b"b")
            wire.end()
            await until(lambda: len(held.replies) == 2)
            await turns(50)
            held.answer_all()
            assert await wire.rest() == block(b"a") + block(b"b")

    async def test_a_block_that_lacks_only_its_last_byte_at_the_end_is_whole(self, intake) -> None:
        async with listening(intake) as port:
            wire = await port.wire()
            await wire.raw(b"\x0ba\x1c")
            wire.end()
            assert await wire.rest() == block(b"a")

    @pytest.mark.parametrize("how", ["end", "reset"])
    async def test_half_a_block_is_discarded_and_counted(self, intake, how) -> None:
        async with listening(intake) as port:
            wire = await port.wire()
            await wire.raw(b"\x0bMSH|half")
            (connection,) = await connections(port)
            await until(lambda: connection.decoder.mid_block)
            getattr(wire, how)()
            await until(lambda: port.listener.connection_count == 0)
            assert intake.taken == [] and port.meter.events("truncated") == 1

    async def test_bytes_that_make_no_sense_end_the_connection_behind_the_answers(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.raw(block(b"a") + b"\x0bb\x1cX")
            await until(lambda: held.replies)
            held.answer_all()
            assert await wire.rest() == block(b"a")
            assert port.meter.events("fs-in-block") == 1

    async def test_a_peer_that_goes_on_sending_while_we_close_gets_its_last_answers(self, held) -> None:
        """To close on unread bytes would reset the connection, and throw away the answers with it."""
        async with listening(held) as port:
            wire = await port.wire()
            await wire.raw(block(b"a") + b"\x0bb\x1cX")
            await until(lambda: held.replies)
            for _ in range(20):
                await wire.raw(b"more" * 10_000)
            held.answer_all()
            for _ in range(20):
                await wire.raw(b"more" * 10_000)
            assert await wire.rest() == block(b"a")
            assert held.taken == [b"a"]

    async def test_a_peer_that_does_not_close_is_not_waited_for(self, intake, clock, swift) -> None:
        async with listening(intake, clock, idle_timeout_s=30) as port:
            wire = await port.wire()
            await until(lambda: port.listener.connection_count == 1)
            clock.ahead_s += 31
            await until(lambda: wire.reader.at_eof())
            assert port.listener.connection_count == 1
            clock.ahead_s += 1
            await until(lambda: port.listener.connection_count == 0)

    async def test_a_block_that_is_too_long_is_answered(self, intake) -> None:
        async with listening(intake, max_message_bytes=1000) as port:
            wire = await port.wire()
            await wire.send(b"x" * 1001, b"next")
            assert await wire.answers(2) == [b"too long", b"next"]
            assert intake.oversize[0].size_bytes == 1001 and port.meter.events("oversize") == 1

    async def test_a_commit_byte_and_an_empty_block_are_owed_nothing(self, intake) -> None:
        async with listening(intake) as port:
            wire = await port.wire()
            await wire.raw(block(b"\x06") + block(b"") + block(b"\r\n") + block(b"a"))
            assert await wire.answer() == b"a"
            assert intake.taken == [b"a"] and port.meter.events("commit-byte") == 1

    @pytest.mark.parametrize("ends", [True, False])
    async def test_what_is_passed_over_is_counted_when_a_connection_ends_and_meanwhile(
        self, intake, ends, monkeypatch
    ) -> None:
        monkeypatch.setattr("engine.runtime.listener.SWEEP_S", 0.005)
        async with listening(intake) as port:
            wire = await port.wire()
            await wire.raw(b"\r\nhello" + block(b"") + block(b"a") + b"\n" + block(b"\r"))
            assert await wire.answer() == b"a"
            if ends:
                wire.end()
                await wire.rest()
            await until(lambda: port.meter.counts["empty blocks",] == 2)
            assert port.meter.counts["ignored bytes",] == 8
        assert (port.meter.counts["ignored bytes",], port.meter.counts["empty blocks",]) == (8, 2)

    @pytest.mark.parametrize(
        ("sent", "seems"),
        [
            (b"\x16\x03\x01\x00\xa1\x01\x00\x00", ": they look like TLS, and this port has none"),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", ": they look like HTTP"),
            (b"MSH|^~\\&|HIS\r\x1c\r", ": they look like a message without its start of block, <VT>"),
            (b"DOE^JOHN", ""),
        ],
    )
    @pytest.mark.parametrize("ends", [True, False])
    async def test_a_peer_that_sends_no_block_is_told_of_once_with_what_it_seems_to_speak(
        self, intake, monkeypatch, caplog, sent, seems, ends
    ) -> None:
        monkeypatch.setattr("engine.runtime.listener.SWEEP_S", 0.005)
        async with listening(intake) as port:
            for n in (1, 2):
                wire = await port.wire()
                await wire.raw(sent)
                if ends:
                    wire.end()
                    await wire.rest()
                await until(lambda n=n: port.meter.counts["ignored bytes",] == n * len(sent))
        (record,) = [one for one in caplog.records if one.name == "segmill.listener"]
        assert record.getMessage().endswith(f"bytes came outside of MLLP blocks{seems} (counted from now on)")
        assert "DOE" not in record.getMessage()

    @pytest.mark.parametrize("between", [b"", b"\r\n", b"\0\0"])
    async def test_blanks_between_blocks_and_probes_that_send_nothing_are_nothing_to_tell(
        self, intake, caplog, between
    ) -> None:
        async with listening(intake) as port:
            wire = await port.wire()
            await wire.raw(block(b"a") + between)
            assert await wire.answer() == b"a"
            wire.end()
            await wire.rest()
            await until(lambda: port.meter.counts["ignored bytes",] == len(between))
        assert [one for one in caplog.records if one.name == "segmill.listener"] == []


class TestGone:
    """Peers that vanish without a word; that the kernel notices them is shown in tests/faults/test_half_open.py."""

    @pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has no TCP_KEEPIDLE")
    async def test_a_quiet_sender_is_probed_and_a_slow_reader_is_not_given_up_by_the_kernel(self, intake) -> None:
        async with listening(intake) as port:
            await port.wire()
            (connection,) = await connections(port)
            plain = connection._transport.get_extra_info("socket")
            tcp = socket.IPPROTO_TCP
            assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, every = plain.getsockopt(tcp, socket.TCP_KEEPIDLE), plain.getsockopt(tcp, socket.TCP_KEEPINTVL)
            assert idle + every * plain.getsockopt(tcp, socket.TCP_KEEPCNT) <= 15
            assert plain.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 0, "it has a minute (C3)"

    async def test_whether_an_answer_comes_through_is_looked_at_until_it_has(self, intake, swift, monkeypatch) -> None:
        state = (True, 0.0)
        monkeypatch.setattr(connection_module, "outstanding", lambda plain: state)
        monkeypatch.setattr(module, "COUNT_EVERY", 1)
        async with listening(intake) as port:
            wire = await port.wire()
            await wire.send(b"a")
            assert await wire.answer() == b"a"
            (connection,) = await connections(port)
            await until(lambda: port.listener._sweeps > 3)
            assert connection in port.listener._spoken_to and port.meter.events("vanished") == 0
            state = (False, 0.0)
            await until(lambda: not port.listener._spoken_to)
            await wire.send(b"b")
            assert await wire.answer() == b"b"
            state = (True, module.UNHEARD_S)
            await until(lambda: port.listener.connection_count == 0)
            assert port.meter.events("vanished") == 1 and not port.listener._spoken_to

    async def test_what_the_kernel_gave_up_is_counted_as_vanished(self, intake) -> None:
        async with listening(intake) as port:
            await port.wire()
            (connection,) = await connections(port)
            connection._transport._fatal_error(TimeoutError(errno.ETIMEDOUT, "timed out"))
            await until(lambda: port.listener.connection_count == 0)
            assert port.meter.events("vanished") == 1


class TestWhoMayConnect:
    @pytest.mark.parametrize(
        ("allow", "may"),
        [((), True), (("127.0.0.0/8",), True), (("10.0.0.0/8", "127.0.0.1"), True), (("10.0.0.0/8", "::1"), False)],
    )
    async def test_addresses_that_the_list_does_not_name_are_not_read_from(self, intake, allow, may) -> None:
        async with listening(intake, allow=module.allow_list(allow)) as port:
            wire = await port.wire()
            try:
                await wire.send(b"a")
            except ConnectionError:
                assert not may
            if may:
                assert await wire.answer() == b"a"
            else:
                assert await wire.rest() == b""
                assert intake.taken == [] and port.meter.events("refused_address") == 1

    def test_an_old_address_in_new_clothes_is_the_old_one(self) -> None:
        listener = module.Listener.__new__(module.Listener)
        listener.settings = module.ListenerSettings("x", "::", 0, allow=module.allow_list(["10.1.0.0/16"]))
        assert listener._allowed("::ffff:10.1.2.3") and not listener._allowed("::ffff:10.2.2.3")
        assert not listener._allowed("") and not listener._allowed("fe80::1%eth0")

    async def test_no_more_than_so_many_at_a_time(self, intake) -> None:
        async with listening(intake, max_connections=2) as port:
            one, two = await port.wire(), await port.wire()
            await until(lambda: port.listener.connection_count == 2)
            three = await port.wire()
            assert await three.rest() == b""
            assert port.meter.events("refused_limit") == 1
            one.close()
            await until(lambda: port.listener.connection_count == 1)
            four = await port.wire()
            for wire in (two, four):
                await wire.send(b"a")
                assert await wire.answer() == b"a"

    async def test_who_may_not_is_turned_away_before_a_byte_of_it_is_read(self, intake, authority) -> None:
        """Also before the handshake of TLS: an address is known without it (C9)."""
        for tls in (None, TestTls().server(authority)):
            async with listening(intake, allow=module.allow_list(["127.0.0.1"]), tls=tls) as port:
                stranger = await port.wire(local_addr=("127.0.0.2", 0))
                assert await stranger.rest() == b""
                assert port.meter.events("refused_address") == 1
                assert port.meter.events("accepted") == port.meter.events("refused_tls") == 0
                assert port.listener.connection_count == 0
        assert intake.taken == []

    async def test_a_handshake_takes_a_place_and_gives_it_back(self, intake, authority) -> None:
        async with listening(intake, max_connections=2, tls=TestTls().server(authority)) as port:
            one, two = await port.wire(), await port.wire()  # they say nothing
            three = await port.wire()
            assert await three.rest() == b""
            assert port.meter.events("refused_limit") == 1
            await one.raw(b"GET / HTTP/1.1\r\n\r\n")
            two.reset()
            await until(lambda: port.meter.events("refused_tls") == 2)
            wire = await port.wire(ssl=TestTls().client(authority), server_hostname="localhost")
            await wire.send(b"a")
            assert await wire.answer() == b"a"

    async def test_a_port_says_once_that_no_descriptor_is_left_and_goes_on(self, intake, monkeypatch, caplog) -> None:
        monkeypatch.setattr(door, "REST_S", 0.001)
        async with listening(intake) as port:
            loop = asyncio.get_running_loop()
            accept = loop.sock_accept
            fails = [
                OSError(errno.EMFILE, "too many"),
                OSError(errno.ECONNABORTED, "gone"),
                OSError(errno.ENFILE, "too many"),
            ]

            async def failing(plain):
                if fails:
                    raise fails.pop(0)
                return await accept(plain)

            monkeypatch.setattr(loop, "sock_accept", failing)
            with caplog.at_level(logging.WARNING):
                first = await port.wire()  # taken by the accept that was under way
                second = await port.wire()
                for wire in (first, second):
                    await wire.send(b"a")
                    assert await wire.answer() == b"a"
            assert port.meter.events("no_descriptor") == 2
            assert [record.getMessage() for record in caplog.records] == [
                "port port: no file descriptor is left for another connection"
            ]

    async def test_a_noisy_peer_is_logged_once_and_counted_always(self, intake, caplog) -> None:
        async with listening(intake, max_message_bytes=1000) as port:
            wire = await port.wire()
            with caplog.at_level(logging.WARNING):
                await wire.send(*[b"x" * 1001] * 20)
                await wire.answers(20)
            assert len(caplog.records) == 1 and port.meter.events("oversize") == 20

    async def test_two_thousand_idle_connections_cost_little_and_none_is_harmed(self, intake) -> None:
        async with listening(intake) as port:
            first = await port.wire()
            gc.collect()
            tracemalloc.start()
            try:
                wires: list[tuple[asyncio.Transport, asyncio.Protocol]] = []
                loop = asyncio.get_running_loop()
                for _ in range(20):
                    wires += await asyncio.gather(
                        *(loop.create_connection(asyncio.Protocol, *port.address) for _ in range(100))
                    )
                await until(lambda: port.listener.connection_count == 2001)
                ours = sum(
                    stat.size
                    for stat in tracemalloc.take_snapshot().statistics("filename")
                    if "/engine/" in stat.traceback[0].filename
                )
            finally:
                tracemalloc.stop()
            assert ours / 2000 < 4096, f"{ours / 2000:.0f} bytes of ours a connection"
            await first.send(b"a")
            assert await first.answer() == b"a"
            wires[1000][0].write(block(b"b"))
            await until(lambda: b"b" in intake.taken)
            for transport, _ in wires:
                transport.abort()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTls:
    def server(self, authority: trustme.CA, *, mutual: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        return context

    def client(self, authority: trustme.CA, own: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if own is not None:
            own.issue_cert("sender.example").configure_cert(context)
        return context

    async def test_blocks_and_answers_travel_encrypted(self, intake, authority) -> None:
        async with listening(intake, tls=self.server(authority)) as port:
            wire = await port.wire(ssl=self.client(authority), server_hostname="localhost")
            payloads = [b"%d" % n + b"x" * 30_000 for n in range(100)]
            sending = asyncio.gather(wire.send(*payloads))
            assert await wire.answers(100) == payloads
            await sending
            wire.close()

    async def test_a_plain_sender_is_not_answered(self, intake, authority) -> None:
        async with listening(intake, tls=self.server(authority)) as port:
            wire = await port.wire()
            await wire.send(b"MSH|plain")
            assert b"MSH" not in await wire.rest()
            assert intake.taken == []

    @pytest.mark.parametrize("who", ["nobody", "stranger", "known"])
    async def test_with_mutual_tls_only_known_senders_are_read_from(self, intake, authority, who) -> None:
        own = {"nobody": None, "stranger": trustme.CA(), "known": authority}[who]
        async with listening(intake, tls=self.server(authority, mutual=True)) as port:
            try:
                wire = await port.wire(ssl=self.client(authority, own), server_hostname="localhost")
                await wire.send(b"a")
                answer = await wire.answer()
                wire.close()
            except (ssl.SSLError, OSError, asyncio.IncompleteReadError):
                answer = b""
            assert (answer, intake.taken) == ((b"a", [b"a"]) if who == "known" else (b"", []))

    async def test_the_end_of_a_tls_sender_is_no_noise_in_the_log(self, held, authority, caplog) -> None:
        async with listening(held, tls=self.server(authority)) as port:
            wire = await port.wire(ssl=self.client(authority), server_hostname="localhost")
            await wire.send(b"a")
            await until(lambda: held.replies)
            with caplog.at_level(logging.WARNING):
                wire.close()
                await until(lambda: port.listener.connection_count == 0)
                held.answer_all()
                await turns()
            assert caplog.records == []


class TestStop:
    async def test_what_is_in_hand_is_answered_and_nothing_new_is_read(self, held) -> None:
        async with listening(held) as port:
            wire, idle = await port.wire(), await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies and port.listener.connection_count == 2)
            stopping = asyncio.get_running_loop().create_task(port.listener.stop(5))
            assert await idle.rest() == b""
            with pytest.raises(ConnectionError):
                await port.wire()
            assert not stopping.done()
            held.answer_all()
            assert await wire.rest() == block(b"a")
            await asyncio.wait_for(stopping, 5)

    async def test_nothing_is_read_any_more(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies)
            stopping = asyncio.get_running_loop().create_task(port.listener.stop(5))
            await turns()
            await wire.send(b"too late")
            await turns(50)
            held.answer_all()
            await asyncio.wait_for(stopping, 5)
            assert held.taken == [b"a"]

    async def test_what_is_not_answered_by_the_deadline_is_cut_off(self, held, caplog) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies)
            with caplog.at_level(logging.WARNING):
                await asyncio.wait_for(port.listener.stop(0.05), 2)
            assert await wire.rest() == b""
            assert "1 connection(s) cut off" in caplog.text
            held.answer_all()
            await turns()

    async def test_a_connection_that_comes_while_the_port_stops_does_not_hold_the_stop_up(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies)
            stopping = asyncio.get_running_loop().create_task(port.listener.stop(30))
            await turns(3)
            late = connection_module.Connection(port.listener, port.listener._view)
            loop = asyncio.get_running_loop()
            # Accepted by the loop before the port closed, and told to us only now.
            server = await loop.create_server(lambda: late, "127.0.0.1", 0)
            other = await Wire.open(server.sockets[0].getsockname())
            port.wires.append(other)
            await until(lambda: late.peer)
            held.answer_all()
            await asyncio.wait_for(stopping, 2)
            assert await other.rest() == b""
            server.close()

    async def test_abort_all_says_nothing_more(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a")
            await until(lambda: held.replies)
            port.listener.abort_all()
            held.answer_all()
            assert await wire.rest() == b""

    async def test_a_reply_that_is_dropped_closes_without_an_answer(self, held) -> None:
        async with listening(held) as port:
            wire = await port.wire()
            await wire.send(b"a", b"b", b"c")
            await until(lambda: len(held.replies) == 3)
            held.replies[1].drop()
            held.answer_all()
            assert await wire.rest() == b""
            assert port.listener.connection_count == 0

    async def test_many_senders_that_reset_in_the_middle_leave_nothing_behind(self, held) -> None:
        async with listening(held) as port:
            wires = [await port.wire() for _ in range(100)]
            for number, wire in enumerate(wires):
                await wire.raw(block(b"whole") * (number % 3) + b"\x0bhalf" * (number % 2))
            await until(lambda: len(held.replies) == sum(n % 3 for n in range(100)))
            for wire in wires:
                wire.reset()
            await until(lambda: port.listener.connection_count == 0)
            held.answer_all()
            await turns()
            assert not port.listener._watched


def test_every_event_of_a_connection_has_a_series_of_its_own() -> None:
    source = inspect.getsource(module) + inspect.getsource(connection_module)
    named = set(re.findall(r'_event\(connection, "([a-z_-]+)"', source))
    named |= set(re.findall(r'connection_event\(self\.settings\.name, "([a-z_-]+)"', source))
    named |= set(get_args(BlockWarning)) | set(get_args(FaultCode))
    assert named == set(CONNECTION_EVENTS)
