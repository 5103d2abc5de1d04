"""Uvicorn as a part of the engine: idle when nobody asks, behind a door of ours, and ended from other threads."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.adapters.places import Places
from engine.adapters.server_door import ServerDoor


class QuietServer(uvicorn.Server):
    """Uvicorn, without its look at the clock ten times a second: an idle engine should be idle.

    Clients come in by a ServerDoor for each socket given to `serve`, which listens already: `places`, `tls`,
    `handshake_timeout_s` and `turned_away` are of those doors. Who may stay is for the config's protocol to say, which
    is one of uvicorn's H11Protocol.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        places: Places,
        tls: ssl.SSLContext | None = None,
        *,
        handshake_timeout_s: float,
        turned_away: Callable[[str], None] = lambda address: None,
    ) -> None:
        super().__init__(config)
        self._turned_away = turned_away
        self._places = places
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """End, from any thread."""
        self.should_exit = True
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._leaving.set)
            except RuntimeError:
                pass  # it has ended already

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()

        def protocol() -> H11Protocol:
            made: Any = self.config.http_protocol_class
            return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[no-any-return]

        self.servers = [self._door(listener, protocol) for listener in sockets or ()]  # type: ignore[misc]
        self.started = True

    def _door(self, listener: socket.socket, protocol: Callable[[], H11Protocol]) -> ServerDoor:
        return ServerDoor(
            listener,
            protocol,
            self._tls,
            self._places,
            timeout_s=self._handshake_timeout_s,
            turned_away=self._turned_away,
        )

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        if not self.should_exit:
            await self._leaving.wait()
