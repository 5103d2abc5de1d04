"""How long a body may take: a time as a whole, and longer for who is signed in as long as it goes on. With a clock that
is set by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from engine.adapters.timed_http import BODY_LEAST_BYTES, BODY_LOOK_S, SIGNED, TimedH11

BODY_S = 30.0
MORE_BYTES = 10_000_000


class SetLoop:
    """The running loop, but for its time and what is to happen at one."""

    def __init__(self) -> None:
        self._real = asyncio.get_running_loop()
        self._now = 0.0
        self._due: list[tuple[float, Callable[..., None], tuple[Any, ...], list[bool]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> Any:
        is_off = [False]
        self._due.append((self._now + delay, callback, args, is_off))

        class Handle:
            def cancel(self) -> None:
                is_off[0] = True

        return Handle()

    def pass_s(self, seconds: float) -> None:
        until = self._now + seconds
        while due := sorted((one for one in self._due if one[0] <= until), key=lambda one: one[0]):
            self._due.remove(due[0])
            at, callback, args, is_off = due[0]
            self._now = at
            if not is_off[0]:
                callback(*args)
        self._now = until


class Wire(asyncio.Transport):
    """What the client has got, and whether it was cut."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 5), "sockname": ("10.0.0.2", 80)})
        self.got = b""
        self.is_cut = False

    def write(self, data: Any) -> None:
        self.got += bytes(data)

    def abort(self) -> None:
        self.is_cut = True

    def is_closing(self) -> bool:
        return self.is_cut

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


class Visit:
    """One connection to an application that tells whose request it is, reads the body (`is_read`), and answers."""

    def __init__(self, *, is_signed: bool | None, is_read: bool = True) -> None:
        self.is_signed, self.is_read = is_signed, is_read
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.loop, self.wire = SetLoop(), Wire()
        config = uvicorn.Config(self._application, interface="asgi3", ws="none", lifespan="off", log_config=None)
        config.load()
        self.protocol = TimedH11(10.0, config, ServerState(), {}, self.loop, body_timeout_s=BODY_S)
        self.protocol.connection_made(self.wire)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        if self.is_signed is not None:
            scope["extensions"][SIGNED](self.is_signed)
        await self.may_read.wait()
        while self.is_read and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def begin(self, size: int = MORE_BYTES) -> None:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        self.protocol.data_received(head.encode())
        await self.turn()

    async def turn(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def comes(self, size: int) -> None:
        self.protocol.data_received(b"x" * size)
        await self.turn()


@asynccontextmanager
async def visit(**how: Any) -> AsyncIterator[Visit]:
    made = Visit(**how)
    yield made
    made.protocol.connection_lost(None)
    await made.turn()


async def test_the_body_of_who_is_signed_in_may_take_as_long_as_it_goes_on():
    async with visit(is_signed=True) as one:
        await one.begin(60 * BODY_LEAST_BYTES)
        for _ in range(59):
            await one.comes(BODY_LEAST_BYTES)
            one.loop.pass_s(BODY_LOOK_S)
        assert not one.wire.is_cut, "nearly ten minutes"
        await one.comes(BODY_LEAST_BYTES)
        assert one.wire.got.startswith(b"HTTP/1.1 200")
        one.loop.pass_s(5.0)
        assert not one.wire.is_cut


@pytest.mark.parametrize("size", [0, 1, BODY_LEAST_BYTES - 1])
async def test_what_trickles_is_cut_at_the_next_look_however_fast_it_began(size):
    async with visit(is_signed=True) as one:
        await one.begin()
        await one.comes(50 * BODY_LEAST_BYTES)
        one.loop.pass_s(BODY_S)
        assert not one.wire.is_cut
        if size:
            await one.comes(size)
        one.loop.pass_s(BODY_LOOK_S - 0.1)
        assert not one.wire.is_cut
        one.loop.pass_s(0.1)
        assert one.wire.is_cut


async def test_a_trickle_from_the_beginning_is_cut_when_its_time_is_over():
    async with visit(is_signed=True) as one:
        await one.begin()
        for _ in range(29):
            await one.comes(1)
            one.loop.pass_s(1.0)
        assert not one.wire.is_cut
        one.loop.pass_s(1.0)
        assert one.wire.is_cut


@pytest.mark.parametrize("is_signed", [False, None], ids=["a stranger", "nobody asked"])
async def test_strangers_have_their_time_as_a_whole_however_fast_they_send(is_signed):
    async with visit(is_signed=is_signed) as one:
        await one.begin()
        for _ in range(3):
            await one.comes(BODY_LEAST_BYTES)
            one.loop.pass_s(BODY_S / 3)
        assert one.wire.is_cut


async def test_a_body_that_nobody_reads_any_more_has_its_time_as_a_whole():
    async with visit(is_signed=True, is_read=False) as one:
        await one.begin()
        assert one.wire.got.startswith(b"HTTP/1.1 200"), "it was answered"
        for _ in range(3):
            await one.comes(BODY_LEAST_BYTES)
            one.loop.pass_s(BODY_S / 3)
        assert one.wire.is_cut


async def test_what_we_do_not_take_off_the_wire_is_not_held_against_who_sends_it():
    async with visit(is_signed=True) as one:
        one.may_read.clear()
        await one.begin()
        await one.comes(2 * BODY_LEAST_BYTES)  # more than is taken ahead of who reads
        one.loop.pass_s(BODY_S + 3 * BODY_LOOK_S)
        assert not one.wire.is_cut
        one.may_read.set()
        await one.turn()
        one.loop.pass_s(2 * BODY_LOOK_S)
        assert one.wire.is_cut, "now it is read, and nothing comes"


async def test_a_request_that_was_refused_before_it_was_known_whose_it_is_is_nobodys():
    async with visit(is_signed=True) as one:
        await one.begin(1)
        await one.comes(1)
        assert one.protocol._is_signed
        one.is_signed = None
        await one.begin(1)
        await one.comes(1)
        assert not one.protocol._is_signed
