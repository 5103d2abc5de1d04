"""A port's door: what it leaves behind when it closes, which is nothing."""

import asyncio
import socket

from engine.runtime.door import Door
from tests.runtime.parts import turns, until


async def test_who_gets_the_descriptor_of_a_door_that_closed_is_heard() -> None:
    """At once, before the accept that is cancelled has had its turn: a destination's connection may be that quick."""
    loop = asyncio.get_running_loop()
    bound = socket.create_server(("127.0.0.1", 0))
    door = Door("adt", [bound], lambda peer: None, lambda: None)
    door.open()
    await turns()
    was = bound.fileno()
    others: list[socket.socket] = []
    heard: list[bool] = []
    try:
        door.close()
        while was not in {other.fileno() for other in others}:
            others += socket.socketpair()
        at = next(at for at, other in enumerate(others) if other.fileno() == was)
        loop.add_reader(was, heard.append, True)
        await turns()
        others[at ^ 1].send(b"x")
        await until(lambda: heard, within_s=5.0)
        loop.remove_reader(was)
    finally:
        for other in others:
            other.close()
