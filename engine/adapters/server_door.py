"""The way in to an HTTP server of ours: one client after the other, and so many TLS handshakes at a time.

asyncio's own servers accept as many in one turn of the loop as wait, again in the next, and ask whether there is a
place for the first of them in the third; and they take any number of clients that never say a word in a handshake,
each for a minute. All that with descriptors of the engine's, which are those of the ports that messages come in by
(reliability.md E7, C8).
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from engine.adapters.places import Guest, Places

log = logging.getLogger("segmill.http")

NO_DESCRIPTOR_S: Final = 1.0
"""Until the next try, where none could be taken."""


class ServerDoor:
    """In the place of an asyncio server. Without TLS a client is in, or has been turned away, before the next is taken.
    Who comes in where the handshakes are full drives out another, by the rule of `places`: a client that means it is
    through in no time."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        places: Places,
        *,
        timeout_s: float,
    ) -> None:
        """Listens from now on, on the loop that runs. `timeout_s`: of a handshake."""
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._places = places
        self._timeout_s = timeout_s
        self._entering: dict[asyncio.Task[None], Guest] = {}
        listener.setblocking(False)
        address = listener.getsockname()
        self._name = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept(), name="accept HTTP")

    def close(self) -> None:
        """Nobody comes in any more; who is in stays."""
        for task in (self._accepting, *self._entering):
            task.cancel()
        # The accept that is cancelled does so on the loop's next turn, and another may have the descriptor by then.
        self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        await asyncio.gather(self._accepting, *self._entering, return_exceptions=True)

    async def _accept(self) -> None:
        loop = self._loop
        while True:
            try:
                plain, address = await loop.sock_accept(self._listener)
            except ConnectionError:
                await asyncio.sleep(0)  # it had gone again before it was accepted
                continue
            except OSError as error:
                log.warning("%s: no client can be taken: %s", self._name, error.strerror)
                await asyncio.sleep(NO_DESCRIPTOR_S)
                continue
            task = loop.create_task(self._enter(plain))
            self._entering[task] = Guest(self._places.network(address[0] if address else ""), False, loop.time())
            task.add_done_callback(lambda done: self._entering.pop(done, None))
            if self._tls is None:
                await asyncio.wait({task})
            if len(self._entering) > self._places.most:
                self._make_place(loop.time())
            await asyncio.sleep(0)  # a crowd that waits to come in has no turn of those who are in

    def _make_place(self, now_s: float) -> None:
        guests = list(self._entering.items())
        # Not the one that has come just now, unless there is no other: of equals the first goes.
        last = self._places.last_of(guests[:-1] or guests, list(self._entering.values()), now_s)
        if last is not None:
            del self._entering[last]
            last.cancel()

    async def _enter(self, plain: socket.socket) -> None:
        timeout_s = self._timeout_s if self._tls is not None else None
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, plain, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except OSError as error:  # ssl.SSLError among them; it is the client's
            log.debug("%s: a client did not come in: %s", self._name, type(error).__name__)
        except asyncio.CancelledError:
            plain.close()  # also where the handshake has not begun
            raise
