"""The door of HTTP servers: whoever fails at it, it stays open; and who is in is not put out with those who are not."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from engine.adapters import server_door
from engine.adapters.places import Places
from engine.adapters.server_door import ServerDoor
from tests.runtime.parts import until


class Echo(asyncio.Protocol):
    """Says again what it hears; `on_made` is called in the moment in which its client is in."""

    def __init__(self, on_made: Callable[[], None] = lambda: None) -> None:
        self.transport: Any = None
        self._on_made = on_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._on_made()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        yield plain


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_door, "REST_S", 0)


def door_at(
    listener: socket.socket, protocol: Callable[[], Any], tls: ssl.SSLContext | None = None, **more: Any
) -> ServerDoor:
    return ServerDoor(listener, protocol, tls, Places(1), timeout_s=60, **more)


async def heard(
    listener: socket.socket, tls: ssl.SSLContext | None = None, when: Callable[[], bool] = lambda: True
) -> bytes:
    """What comes back to one client, which speaks when it is time."""
    name = {"server_hostname": "door.example"} if tls is not None else {}
    reader, writer = await asyncio.open_connection(*listener.getsockname(), ssl=tls, **name)
    await until(when)
    writer.write(b"hello")
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_defect_with_one_client_is_not_the_end_of_the_port(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    made = iter([ValueError("a defect"), ValueError("again"), Echo(), ValueError("later"), Echo()])

    def protocol() -> Echo:
        one = next(made)
        if isinstance(one, ValueError):
            raise one
        return one

    door = door_at(listener, protocol)
    assert [await heard(listener) for _ in range(5)] == [b"", b"", b"hello", b"", b"hello"]
    door.close()
    await door.wait_closed()
    assert [record.message.split(" ", 1)[1] for record in caplog.records] == ["takes no client for now: ValueError"] * 2
    assert all(record.exc_info for record in caplog.records)


async def test_where_there_is_no_descriptor_it_is_said_once_and_tried_again(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    accept, tries = loop.sock_accept, iter(range(20))

    async def none_left(plain: socket.socket) -> tuple[socket.socket, Any]:
        if next(tries, None) is not None:
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(plain)

    monkeypatch.setattr(loop, "sock_accept", none_left)
    door = door_at(listener, Echo)
    assert await heard(listener) == b"hello"
    door.close()
    await door.wait_closed()
    (said,) = caplog.records
    assert said.message.endswith("takes no client for now: Too many open files")


@pytest.mark.parametrize("way", ["the door is closed", "another wants the place"])
async def test_who_is_through_its_handshake_stays_though_its_task_does_not_know_yet(
    listener: socket.socket, way: str
) -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("door.example").configure_cert(server)
    authority.configure_trust(client)
    turned_away: list[str] = []

    def at_that_moment() -> None:
        (task,) = door._entering
        assert not task.done()
        door.close() if way == "the door is closed" else door._make_place()

    door = door_at(listener, lambda: Echo(at_that_moment), server, turned_away=turned_away.append)
    assert await heard(listener, client, lambda: not door._entering) == b"hello"
    door.close()
    await door.wait_closed()
    assert turned_away == []


async def test_who_lingers_in_a_handshake_leaves_it_for_another_and_is_counted(listener: socket.socket) -> None:
    turned_away: list[str] = []
    door = door_at(listener, Echo, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), turned_away=turned_away.append)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    _, other = await asyncio.open_connection(*listener.getsockname())
    assert await asyncio.wait_for(reader.read(), 10) == b""
    assert turned_away == ["127.0.0.1"]
    for one in (writer, other):
        one.transport.abort()
    door.close()
    await door.wait_closed()


async def test_who_is_put_out_before_its_handshake_began_leaves_nothing_open(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task is cancelled before its first step."""
    taken: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept

    async def noted(plain: socket.socket) -> tuple[socket.socket, Any]:
        one, address = await accept(plain)
        taken.append(one)
        return one, address

    monkeypatch.setattr(loop, "sock_accept", noted)
    door = door_at(listener, Echo, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    door._places.most = 0
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    assert await asyncio.wait_for(reader.read(), 10) == b""
    await until(lambda: not door._entering)
    assert [one.fileno() for one in taken] == [-1]
    writer.transport.abort()
    door.close()
    await door.wait_closed()


async def test_it_can_be_closed_after_its_socket_was(listener: socket.socket) -> None:
    door = door_at(listener, Echo)
    assert await heard(listener) == b"hello"
    listener.close()
    door.close()
    await door.wait_closed()
