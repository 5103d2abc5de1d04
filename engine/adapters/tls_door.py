"""The way in by TLS: so many handshakes at a time, each within its time.

asyncio's own servers take any number of clients that never say a word, each for a minute, and all with descriptors of
the engine's, which are those of the ports that messages come in by (reliability.md E7, C8).
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from engine.adapters.places import Guest, Places

log = logging.getLogger("segmill.api")

NO_DESCRIPTOR_S: Final = 1.0
"""Until the next try, where none could be taken."""


class TlsDoor:
    """In the place of an asyncio server. Who comes in where the handshakes are full drives out another, by the rule of
    `places`: a client that means it is through in no time."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext,
        places: Places,
        *,
        timeout_s: float,
    ) -> None:
        """Listens from now on, on the loop that runs."""
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._places = places
        self._timeout_s = timeout_s
        self._entering: dict[asyncio.Task[None], Guest] = {}
        listener.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name="console's TLS")

    def close(self) -> None:
        """Nobody comes in any more; who is in stays."""
        for task in (self._accepting, *self._entering):
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(self._accepting, *self._entering, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                plain, address = await loop.sock_accept(self._listener)
            except OSError as error:  # none of ours left, or a client that is gone again
                log.debug("a client could not be taken: %s", error.strerror)
                await asyncio.sleep(NO_DESCRIPTOR_S if not isinstance(error, ConnectionError) else 0)
                continue
            task = loop.create_task(self._enter(plain))
            self._entering[task] = Guest(self._places.network(address[0]), False, loop.time())
            task.add_done_callback(lambda done: self._entering.pop(done, None))
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
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol, plain, ssl=self._tls, ssl_handshake_timeout=self._timeout_s
            )
        except OSError as error:  # ssl.SSLError among them; it is the client's
            log.debug("a TLS handshake failed: %s", type(error).__name__)
        except asyncio.CancelledError:
            plain.close()  # also where the handshake has not begun
            raise
