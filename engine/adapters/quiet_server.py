"""Uvicorn as a part of the engine: idle when nobody asks, behind a door of ours, and ended from other threads."""

import asyncio
import socket
import ssl
from typing import Any

import uvicorn

from engine.adapters.places import Places
from engine.adapters.server_door import ServerDoor


class QuietServer(uvicorn.Server):
    """Uvicorn, without its look at the clock ten times a second: an idle engine should be idle.

    Clients come in by a ServerDoor for each socket given to `serve`, which listens already; `tls` and
    `handshake_timeout_s` are of those doors. Whom `places` turns away is for the config's protocol to say.
    """

    def __init__(
        self, config: uvicorn.Config, places: Places, tls: ssl.SSLContext | None = None, *, handshake_timeout_s: float
    ) -> None:
        super().__init__(config)
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

        def protocol() -> asyncio.Protocol:
            made: Any = self.config.http_protocol_class
            return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[no-any-return]

        self.servers = [
            ServerDoor(listener, protocol, self._tls, self._places, timeout_s=self._handshake_timeout_s)  # type: ignore[misc]
            for listener in sockets or ()
        ]
        self.started = True

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        if not self.should_exit:
            await self._leaving.wait()
