"""Syslog as a client: RFC 5425 over TLS, RFC 5426 over UDP, and how it notices that the other side has gone."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.adapters.errors import ConfigError
from engine.adapters.syslog import SyslogTls, SyslogUdp, repository_of, tls_context
from engine.adapters.tls import server_context
from engine.config.audit import SyslogOptions
from engine.ports.audit_export import RepositoryDown
from tests.adapters.syslog_server import Authority, SyslogServer, options


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[SyslogServer]:
    certificate, key = authority.issue("server")
    made = SyslogServer(server_context(certificate=certificate, key=key))
    await made.start()
    yield made
    await made.stop()


async def test_each_message_goes_with_its_length_in_octets(server: SyslogServer, tmp_path: Path) -> None:
    client = SyslogTls(options(server.port), tmp_path)
    assert await client.open() and not await client.open()
    sent = ["\u00e4\u4e2d".encode(), b"<85>1 two\nlines", b"x" * 40_000]
    await client.send(sent[:2])
    await client.send(sent[2:])
    assert await server.got(3) == sent
    while not client.has_all():
        await asyncio.sleep(0.005)
    assert await client.close(), "the other side read it all, and ended its side"
    assert not await client.close()


async def test_a_connection_that_ended_is_noticed_and_made_anew(server: SyslogServer, tmp_path: Path) -> None:
    client = SyslogTls(options(server.port), tmp_path)
    await client.open()
    await client.send([b"1"])
    await server.got(1)
    await server.hang_up()
    while client.has_all():
        await asyncio.sleep(0.005)
    with pytest.raises(RepositoryDown):
        await client.send([b"2"])
    assert await client.open()
    await client.send([b"3"])
    assert await server.got(2) == [b"1", b"3"]
    await client.close()


async def test_a_stranger_is_told_nothing(server: SyslogServer, tmp_path: Path) -> None:
    Authority(tmp_path, "other")
    with pytest.raises(RepositoryDown, match="its certificate does not pass"):
        await SyslogTls(options(server.port, tls={"ca": "other.crt"}), tmp_path).open()
    wrong_name = options(server.port, tls={"ca": "ca.crt", "server_name": "arr.example.org"})
    with pytest.raises(RepositoryDown, match="its certificate does not pass"):
        await SyslogTls(wrong_name, tmp_path).open()
    assert server.messages == []


async def test_a_server_that_asks_for_our_certificate_gets_it(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("server")
    authority.issue("client", "engine.example.org")
    server = SyslogServer(server_context(certificate=certificate, key=key, client_ca=tmp_path / "ca.crt"))
    await server.start()
    ours = {"ca": "ca.crt", "certificate": "client.crt", "key": "client.key"}
    client = SyslogTls(options(server.port, tls=ours), tmp_path)
    await client.open()
    await client.send([b"1"])
    assert await server.got(1) == [b"1"]
    await client.close()
    await server.stop()


async def test_nobody_there_is_a_sentence(tmp_path: Path, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RepositoryDown, match=f"localhost:{port}: connect"):
        await SyslogTls(options(port), tmp_path).open()
    with pytest.raises(RepositoryDown, match="does not exist"):
        await SyslogTls(options(port, tls={"ca": "gone.crt"}), tmp_path).open()


async def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = SyslogTls(options(silent.getsockname()[1], timeout="50ms"), tmp_path)
        with pytest.raises(RepositoryDown, match="does not answer"):
            await client.open()


async def test_by_udp_a_message_is_a_datagram(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        settings = SyslogOptions(host="127.0.0.1", port=server.getsockname()[1], transport="udp")
        client = repository_of(settings, tmp_path)
        assert isinstance(client, SyslogUdp)
        assert await client.open() and not await client.open()
        await client.send([b"one", b"two"])
        assert [await asyncio.to_thread(server.recv, 100) for _ in range(2)] == [b"one", b"two"]
        assert client.has_all() and await client.close()


async def test_by_udp_a_port_without_anybody_is_noticed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    client = SyslogUdp(SyslogOptions(host="127.0.0.1", port=port, transport="udp"))
    await client.open()
    with pytest.raises(RepositoryDown, match="connection refused"):
        async with asyncio.timeout(60):
            while True:
                await client.send([b"one"])
                await client.open()
    await client.close()


async def test_by_udp_what_the_other_machine_refused_never_counts_as_sent(tmp_path: Path) -> None:
    """The kernel tells of a refusal once, to whoever asks first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    client = SyslogUdp(SyslogOptions(host="127.0.0.1", port=port, transport="udp"))
    await client.open()
    await client.send([b"one"])
    async with asyncio.timeout(60):
        while client.has_all():
            await asyncio.sleep(0.01)
    assert not client.has_all()
    with pytest.raises(RepositoryDown, match="connection refused"):
        await client.open()
    assert not await client.close()


def test_the_ports_are_those_of_the_standards() -> None:
    assert SyslogOptions(host="arr").server == ("arr", 6514)
    assert SyslogOptions(host="arr", transport="udp").server == ("arr", 514)


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        tls_context(options(1), tmp_path)
    assert tls_context(SyslogOptions(host="arr", transport="udp"), tmp_path) is None
