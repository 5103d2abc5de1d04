"""The HTTP source over real sockets: what each outcome is told as, what is refused unread, and what is bounded."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from engine.adapters.http_charset import as_stored, charset_name, codec_of
from engine.adapters.sources import http
from engine.adapters.sources.http import HttpSource, HttpSourceSettings
from engine.hl7.message import Message
from engine.ports.source import Place, SourceUnavailable
from engine.testing import messages
from engine.testing.source_contract import Running, ScriptedInlet, adt, until

Started = Callable[..., AbstractAsyncContextManager[Running]]
HEAD = b"POST /adt HTTP/1.1\r\nHost: x\r\nContent-Type: application/hl7-v2\r\n"
HL7 = {"Content-Type": "application/hl7-v2; charset=utf-8"}


@pytest.fixture
def started(tmp_path: Path) -> Started:
    @asynccontextmanager
    async def start(inlet: ScriptedInlet | None = None, *, others: dict[str, ScriptedInlet] | None = None, **settings):
        given = {"port": 0, "path": "/adt", **settings}
        more = [
            Place(HttpSourceSettings.model_validate({**given, "path": path}), other)
            for path, other in (others or {}).items()
        ]
        options = HttpSourceSettings.model_validate(given)
        running = Running(HttpSource, options, inlet or ScriptedInlet(), tmp_path, others=more)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()

    return start


async def post(running: Running, content: bytes, path: str = "/adt", **options) -> httpx2.Response:
    headers = {**HL7, **options.pop("headers", {})}
    async with httpx2.AsyncClient(timeout=10) as client:
        return await client.post(f"http://{running.source.address}{path}", content=content, headers=headers, **options)


async def opened(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = running.source.address.rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


async def raw(running: Running, *parts: bytes, pause_s: float = 0.0) -> bytes:
    reader, writer = await opened(running)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


class TestOutcomes:
    @pytest.mark.parametrize(
        ("fate", "status", "code"), [("kept", 200, b"AA"), ("rejected", 500, b"AE"), ("refused", 503, b"AR")]
    )
    async def test_the_acknowledgment_is_the_body_and_its_code_the_status(self, started, fate, status, code) -> None:
        async with started(ScriptedInlet(fate)) as running:
            answer = await post(running, adt(1))
        assert answer.status_code == status
        assert b"MSA|" + code + b"|C1" in answer.content
        assert answer.headers["content-type"] == "application/hl7-v2; charset=utf-8"
        assert ("retry-after" in answer.headers) == (fate == "refused")
        assert "date" in answer.headers

    async def test_a_rejection_is_400(self, started, monkeypatch) -> None:
        monkeypatch.setitem(http.STATUS, "AE", 400)  # as AR, which the scripted inlet says of refusals only
        async with started(ScriptedInlet("rejected")) as running:
            assert (await post(running, adt(1))).status_code == 400

    def test_every_code_has_its_status(self) -> None:
        assert http.STATUS == {"AA": 200, "CA": 200, "AR": 400, "CR": 400, "AE": 500, "CE": 500}

    async def test_no_answer_within_its_time_is_503_and_the_message_is_not_lost(self, started) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        async with started(inlet, answer_timeout="100ms") as running:
            answer = await post(running, adt(1))
            assert answer.status_code == 503
            assert "recognised" in answer.text
            inlet.gate.set()
        assert inlet.payloads == [adt(1)]

    async def test_paths_of_one_port_are_apart(self, started) -> None:
        lab = ScriptedInlet()
        async with started(others={"/lab": lab}) as running:
            await post(running, adt(1))
            await post(running, adt(2), path="/lab")
        assert (running.inlet.payloads, lab.payloads) == ([adt(1)], [adt(2)])

    async def test_chunked_bodies_and_kept_connections(self, started) -> None:
        async with started() as running, httpx2.AsyncClient() as client:

            async def chunks():
                for at in range(0, len(adt(1)), 7):
                    yield adt(1)[at : at + 7]

            url = f"http://{running.source.address}/adt"
            assert (await client.post(url, content=chunks(), headers=HL7)).status_code == 200
            assert (await client.post(url, content=adt(2), headers=HL7)).status_code == 200
            assert running.source.connection_count == 1
        assert running.inlet.payloads == [adt(1), adt(2)]


class TestRefusedUnread:
    @pytest.mark.parametrize(
        ("path", "options", "status"),
        [
            ("/other", {}, 404),
            ("/adt/", {}, 404),
            ("/adt", {"headers": {"Content-Type": "text/html"}}, 415),
            ("/adt", {"headers": {"Content-Type": "application/hl7-v2+xml"}}, 415),
            ("/adt", {"headers": {"Content-Encoding": "gzip"}}, 415),
        ],
    )
    async def test_what_is_no_message_for_us_is_a_status(self, started, path, options, status) -> None:
        async with started() as running:
            assert (await post(running, adt(1), path, **options)).status_code == status
        assert not running.inlet.payloads

    async def test_other_verbs(self, started) -> None:
        async with started() as running, httpx2.AsyncClient() as client:
            assert (await client.get(f"http://{running.source.address}/adt")).status_code == 405

    @pytest.mark.parametrize("media", ["application/hl7-v2+er7", "x-application/hl7-v2+er7", "APPLICATION/HL7-V2"])
    async def test_media_types_of_other_makers(self, started, media) -> None:
        async with started() as running:
            assert (await post(running, adt(1), headers={"Content-Type": media})).status_code == 200

    async def test_a_login(self, started) -> None:
        async with started(user="his", password="secret:ü") as running:
            for auth in (None, ("his", "wrong"), ("", "")):
                answer = await post(running, adt(1), auth=auth)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Basic")
            assert (await post(running, adt(1), headers={"Authorization": "Basic \x7f??"})).status_code == 401
            assert (await post(running, adt(1), auth=("his", "secret:ü"))).status_code == 200
        assert running.inlet.payloads == [adt(1)]
        assert running.meter.events.count("refused_login") == 4

    async def test_addresses(self, started) -> None:
        async with started(allow=["10.0.0.0/8"]) as running:
            assert (await post(running, adt(1))).status_code == 403
        async with started(allow=["127.0.0.0/8"]) as running:
            assert (await post(running, adt(1))).status_code == 200


class TestBounds:
    async def test_too_long_is_413_with_an_acknowledgment_and_is_not_read_to_its_end(self, started) -> None:
        async with started(ScriptedInlet(max_message=2000)) as running:
            head = HEAD + b"Content-Length: 900000000\r\n\r\n"
            said = await raw(running, head + adt(1) + b"x" * 8000)
        assert said.startswith(b"HTTP/1.1 413 ")
        assert b"MSA|AE" in said
        assert running.inlet.oversize == [900_000_000]

    async def test_an_endless_chunked_body_ends_at_the_limit(self, started) -> None:
        async with started(ScriptedInlet(max_message=20_000)) as running:
            head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
            said = await raw(running, head, *[b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 40)
        assert b" 413 " in said[:20] or said == b""
        assert running.inlet.oversize

    @pytest.mark.parametrize(
        "begin",
        [
            b"",
            b"POST /adt HTTP/1.1\r\nHo",
            b"POST /adt HTTP/1.1\r\nHost: x\r\nContent-Type: application/hl7-v2\r\nContent-Length: 100\r\n\r\nMSH",
        ],
        ids=["silent", "half a head", "half a body"],
    )
    async def test_a_slow_client_is_let_go_of(self, started, begin) -> None:
        async with started(read_timeout="150ms") as running:
            said = await raw(running, begin)
            assert said == b"" or said.startswith(b"HTTP/1.1 408 ")
            await until(lambda: running.source.connection_count == 0)
        assert not running.inlet.payloads

    async def test_a_slow_second_head_on_a_kept_connection_is_let_go_of(self, started) -> None:
        async with started(read_timeout="60s") as running:
            reader, writer = await opened(running)
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(adt(1)), adt(1)))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            (connection,) = running.source._server.server_state.connections
            connection._head_timeout_s = 0.15  # of the second head alone
            writer.write(b"POST /adt HT")
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    async def test_half_a_body_is_never_a_message(self, started) -> None:
        async with started() as running:
            _, writer = await opened(running)
            head = b"POST /adt HTTP/1.1\r\nHost: x\r\nContent-Type: application/hl7-v2\r\nContent-Length: 5000\r\n\r\n"
            writer.write(head + adt(1))
            await writer.drain()
            await until(lambda: running.source.connection_count == 1)
            writer.close()
            await until(lambda: running.source.connection_count == 0)
            assert (await post(running, adt(2))).status_code == 200
        assert running.inlet.payloads == [adt(2)]

    async def test_all_requests_together_have_a_bound_and_give_it_back(self, started, monkeypatch) -> None:
        monkeypatch.setattr(http, "LEAST_READING_BYTES", 0)
        inlet = ScriptedInlet(max_message=1_000_000)
        inlet.gate.clear()
        async with started(inlet, max_message="1MB") as running:
            long = adt(1) + b"NTE|1||" + b"x" * 900_000 + b"\r"
            held = asyncio.gather(*(post(running, long) for _ in range(2)))
            await until(lambda: len(inlet.payloads) == 2)
            assert (await post(running, long)).status_code == 503
            inlet.gate.set()
            assert [answer.status_code for answer in await held] == [200, 200]
            assert (await post(running, long)).status_code == 200
            assert running.source._reading_bytes == 0

    async def test_who_says_nothing_takes_no_place_from_who_sends(self, started) -> None:
        most = 4 + http.MOST_TOLD_SO
        async with started(max_connections=4, read_timeout="60s") as running:
            silent = []
            for number in range(20):
                silent.append(await opened(running))
                silent[-1][1].write(b"POST /adt HT" * (number % 2))
                assert (await post(running, adt(number))).status_code == 200
                assert running.source.connection_count <= most
            for reader, _ in silent[:-most]:
                try:
                    assert await asyncio.wait_for(reader.read(), 10) == b""
                except ConnectionResetError:
                    pass
            for _, writer in silent:
                writer.transport.abort()
        assert running.inlet.payloads == [adt(number) for number in range(20)]
        assert running.meter.events == []

    async def test_so_many_wait_for_their_answers_and_one_more_is_told_to_come_again(self, started) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        async with started(inlet, max_connections=3) as running:
            held = asyncio.gather(*(post(running, adt(number)) for number in range(3)))
            await until(lambda: len(inlet.payloads) == 3)
            more = await post(running, adt(3))
            assert (more.status_code, more.headers["Retry-After"]) == (503, "5")
            assert more.text == "this port works on 3 requests already, as many as it takes; try again later\n"
            assert running.meter.events == ["refused_limit"]
            inlet.gate.set()
            assert [answer.status_code for answer in await held] == [200] * 3
            assert (await post(running, adt(3))).status_code == 200
        assert len(inlet.payloads) == 4

    async def test_of_a_burst_as_many_are_taken_as_there_is_room_for(self, started, monkeypatch) -> None:
        """All of them are read in one turn of the loop, and what is refused at once takes no place either."""
        most = 4
        inlet = ScriptedInlet()
        inlet.gate.clear()
        async with started(inlet, max_connections=most) as running:
            senders = [await opened(running) for _ in range(most + 4)]
            server = running.source._server
            await until(lambda: running.source.connection_count == len(senders))
            stands, goes_on = threading.Event(), threading.Event()

            def stand() -> None:
                stands.set()
                goes_on.wait(60)

            server._loop.call_soon_threadsafe(stand)
            await asyncio.to_thread(stands.wait, 60)
            for number, (_, writer) in enumerate(senders):
                if number < 2:
                    writer.write(HEAD.replace(b"/adt", b"/nowhere") + b"Content-Length: 0\r\n\r\n")
                else:
                    writer.write(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(adt(number)), adt(number)))
                await writer.drain()
            goes_on.set()
            await until(lambda: len(inlet.payloads) == most and running.meter.events.count("refused_limit") == 2)
            inlet.gate.set()
            said = [await asyncio.wait_for(reader.readline(), 10) for reader, _ in senders]
            codes = [int(line.split()[1]) for line in said]
            assert codes[:2] == [404, 404] and sorted(codes[2:]) == [200] * most + [503, 503]
            for _, writer in senders:
                writer.transport.abort()

    async def test_one_place_and_two_requests_behind_each_other(self, started) -> None:
        async with started(max_connections=1) as running:
            reader, writer = await opened(running)
            for number in range(2):
                writer.write(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(adt(number)), adt(number)))
            await until(lambda: len(running.inlet.payloads) == 2)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200 ")
            writer.transport.abort()
        assert running.meter.events == []

    async def test_who_has_hung_up_and_whose_message_is_still_worked_on_counts(self, started) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        async with started(inlet, max_connections=2) as running:
            for number in range(2):
                _, writer = await opened(running)
                writer.write(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(adt(number)), adt(number)))
                await until(lambda so_many=number + 1: len(inlet.payloads) == so_many)
                writer.transport.abort()
            await until(lambda: running.source.connection_count == 0)
            assert (await post(running, adt(2))).status_code == 503
            inlet.gate.set()
            await until(lambda: not running.source._server.server_state.tasks)
            assert (await post(running, adt(2))).status_code == 200
        assert inlet.payloads == [adt(number) for number in range(3)]

    async def test_the_silent_beside_a_full_port_are_few_and_cost_nobody_a_place(self, started) -> None:
        inlet = ScriptedInlet()
        inlet.gate.clear()
        most = 1 + http.MOST_TOLD_SO
        async with started(inlet, max_connections=1) as running:
            held = asyncio.get_running_loop().create_task(post(running, adt(1)))
            await until(lambda: len(inlet.payloads) == 1)
            silent = [await opened(running) for _ in range(40)]
            # They are closed one after the other as others come: with the last of them in, the first 32 are gone.
            for reader, _ in silent[:32]:
                try:
                    assert await asyncio.wait_for(reader.read(), 10) == b""
                except ConnectionResetError:
                    pass
            assert running.source.connection_count <= most
            silent[-1][1].write(HEAD + b"Content-Length: 0\r\n\r\n")
            assert (await asyncio.wait_for(silent[-1][0].read(), 10)).startswith(b"HTTP/1.1 503 ")
            assert not held.done()
            inlet.gate.set()
            assert (await held).status_code == 200
            assert (await post(running, adt(2))).status_code == 200  # though seven say nothing still
            for _, writer in silent:
                writer.transport.abort()

    async def test_where_none_is_silent_who_comes_is_closed(self, started, monkeypatch) -> None:
        monkeypatch.setattr(http, "MOST_TOLD_SO", 0)
        inlet = ScriptedInlet()
        inlet.gate.clear()
        async with started(inlet, max_connections=1) as running:
            held = asyncio.get_running_loop().create_task(post(running, adt(1)))
            await until(lambda: len(inlet.payloads) == 1)
            assert await raw(running, b"") == b""
            assert running.meter.events == ["refused_limit"] and not held.done()
            inlet.gate.set()
            assert (await held).status_code == 200

    async def test_garbage(self, started) -> None:
        async with started() as running:
            assert (await raw(running, b"\x0bMSH|^~\\&|" + adt(1) + b"\x1c\r")).startswith(b"HTTP/1.1 400 ")
            assert (await post(running, adt(1))).status_code == 200

    async def test_a_defect_is_500_and_the_thread_goes_on(self, started, caplog) -> None:
        async with started(ScriptedInlet(ValueError("quotes Zzyzx"))) as running:
            answer = await post(running, adt(1))
            assert (answer.status_code, "Zzyzx" in answer.text) == (500, False)
            assert (await post(running, adt(2))).status_code == 200
        assert "Zzyzx" not in caplog.text


class TestLife:
    async def test_a_port_that_is_taken_is_a_sentence(self, started) -> None:
        async with started() as running:
            port = int(running.source.address.rsplit(":", 1)[1])
            with pytest.raises(SourceUnavailable, match="Address already in use"):
                async with started(port=port):
                    pass

    async def test_no_thread_and_no_port_is_left(self, started) -> None:
        async with started() as running:
            address = running.source.address
        assert not [thread for thread in threading.enumerate() if thread.name == "source lab"]
        with pytest.raises(OSError, match=r"refused|111"):
            await asyncio.open_connection(*address.split(":"))

    async def test_over_tls(self, started, tmp_path) -> None:
        ca = trustme.CA()
        certificate = ca.issue_cert("localhost")
        folder = tmp_path / "channels" / "lab"
        folder.mkdir(parents=True)
        certificate.cert_chain_pems[0].write_to_path(folder / "a.crt")
        certificate.private_key_pem.write_to_path(folder / "a.key")
        context = ssl.create_default_context()
        ca.configure_trust(context)
        async with started(tls={"certificate": "a.crt", "key": "a.key"}) as running:
            port = running.source.address.rsplit(":", 1)[1]
            async with httpx2.AsyncClient(verify=context) as client:
                answer = await client.post(f"https://localhost:{port}/adt", content=adt(1), headers=HL7)
        assert answer.status_code == 200


class TestCharsets:
    def umlaut(self, charset: str = "", codec: str = "utf-8") -> bytes:
        return (
            messages.adt(control_id="C1", family="Müller", charset="UNICODE UTF-8")
            .decode()
            .replace("UNICODE UTF-8", charset)
            .encode(codec)
        )

    def read(self, body: bytes) -> str:
        return Message.parse(body).get("PID-5.1") or ""

    @pytest.mark.parametrize("declared", ["", "8859/1", "UNICODE UTF-8", "8859/15"])
    @pytest.mark.parametrize("codec", ["utf-8", "iso-8859-1", "iso-8859-2", "cp1252", "utf-16", "gb18030"])
    def test_whatever_msh_18_says_the_header_is_believed(self, declared, codec) -> None:
        assert self.read(as_stored(self.umlaut(declared, codec), codec)) == "Müller"

    def test_what_is_read_so_anyhow_is_kept_byte_for_byte(self) -> None:
        for declared, codec in (("", "utf-8"), ("8859/1", "iso-8859-1"), ("UNICODE UTF-8", "utf-8")):
            body = self.umlaut(declared, codec)
            assert as_stored(body, codec) is body

    @pytest.mark.parametrize("charset", ["", "utf-8", "klingon", "unicode_escape", "punycode", "utf-7", "\x00"])
    def test_a_header_that_is_wrong_or_unknown_leaves_the_bytes(self, charset) -> None:
        body = self.umlaut("8859/1", "iso-8859-1")
        assert as_stored(body, charset) is body

    @pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "iso-8859-1", "windows-1252", "us-ascii", "gb18030"])
    def test_names_there_and_back(self, charset) -> None:
        codec = codec_of(charset)
        assert codec is not None
        assert codec_of(charset_name(codec)) == codec

    async def test_the_answer_is_in_the_senders_set(self, started) -> None:
        async with started() as running:
            answer = await post(running, adt(1), headers={"Content-Type": "application/hl7-v2; charset=ISO-8859-4"})
        assert answer.headers["content-type"] == "application/hl7-v2; charset=iso-8859-4"
