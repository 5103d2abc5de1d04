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

from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.adapters.places import Guest, Places

log = logging.getLogger("segmill.http")

REST_S: Final = 1.0
"""Until the next try, where no client could be taken."""


class ServerDoor:
    """In the place of an asyncio server. Without TLS a client is in, or has been turned away, before the next is taken.
    Who comes in where the handshakes are full drives out another, by the rule of `places`: a client that means it is
    through in no time."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], H11Protocol],
        tls: ssl.SSLContext | None,
        places: Places,
        *,
        timeout_s: float,
        turned_away: Callable[[str], None] = lambda address: None,
    ) -> None:
        """Listens from now on, on the loop that runs. `timeout_s`: of a handshake; `turned_away`: told the address of
        who has to leave its handshake for another."""
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._places = places
        self._timeout_s = timeout_s
        self._turned_away = turned_away
        self._entering: dict[asyncio.Task[None], _Entry] = {}
        self._is_short = False
        listener.setblocking(False)
        self._descriptor = listener.fileno()
        address = listener.getsockname()
        self._name = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept(), name="accept HTTP")

    def close(self) -> None:
        """Nobody comes in any more; who is in stays."""
        self._accepting.cancel()
        for task, entry in self._entering.items():
            if not entry.is_in:
                task.cancel()
        # The accept that is cancelled does so on the loop's next turn, and another may have the descriptor by then.
        self._loop.remove_reader(self._descriptor)

    async def wait_closed(self) -> None:
        await asyncio.gather(self._accepting, *self._entering, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            try:
                await self._take_one()
                self._is_short = False
            except ConnectionError:
                await asyncio.sleep(0)  # it had gone again before it was accepted
            except Exception as error:
                if not self._is_short:
                    self._is_short = True
                    reason = error.strerror if isinstance(error, OSError) else None
                    log.warning(
                        "%s takes no client for now: %s",
                        self._name,
                        reason or type(error).__name__,
                        exc_info=reason is None,
                    )
                await asyncio.sleep(REST_S)

    async def _take_one(self) -> None:
        loop = self._loop
        plain, address = await loop.sock_accept(self._listener)
        peer = str(address[0]) if address else ""
        try:
            entry = _Entry(plain, self._protocol(), peer, Guest(self._places.network(peer), False, loop.time()))
        except BaseException:
            plain.close()
            raise
        task = loop.create_task(self._enter(entry))
        self._entering[task] = entry
        task.add_done_callback(self._entered)
        if self._tls is None:
            await asyncio.wait({task})
        elif sum(one.waits for one in self._entering.values()) > self._places.most:
            self._make_place()
        await asyncio.sleep(0)  # a crowd that waits to come in has no turn of those who are in

    def _make_place(self) -> None:
        guests = [((task, entry), entry.guest) for task, entry in self._entering.items() if entry.waits]
        everybody = [guest for _, guest in guests]
        # Not the one that has come just now, unless there is no other: of equals the first goes.
        last = self._places.last_of(guests[:-1] or guests, everybody, self._loop.time())
        if last is not None:
            task, entry = last
            task.cancel()
            entry.is_leaving = True
            self._turned_away(entry.peer)

    def _entered(self, task: asyncio.Task[None]) -> None:
        entry = self._entering.pop(task)
        if task.cancelled() and not entry.is_in:
            entry.plain.close()  # its handshake may not even have begun

    async def _enter(self, entry: "_Entry") -> None:
        timeout_s = self._timeout_s if self._tls is not None else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: entry.protocol, entry.plain, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except OSError as error:  # ssl.SSLError among them; it is the client's
            log.debug("%s: a client did not come in: %s", self._name, type(error).__name__)
        except asyncio.CancelledError:
            if entry.is_in:
                entry.protocol.transport.abort()  # its descriptor is watched, and the transport's to close
            raise


class _Entry:
    """A client on its way in."""

    __slots__ = ("guest", "is_leaving", "peer", "plain", "protocol")

    def __init__(self, plain: socket.socket, protocol: H11Protocol, peer: str, guest: Guest) -> None:
        self.plain = plain
        self.protocol = protocol
        self.peer = peer
        self.guest = guest
        self.is_leaving = False

    @property
    def is_in(self) -> bool:
        """From the end of its handshake on, a turn of the loop before that is known to who waits for it."""
        return self.protocol.transport is not None

    @property
    def waits(self) -> bool:
        """Whether it is in its handshake, and may stay there."""
        return not self.is_in and not self.is_leaving
