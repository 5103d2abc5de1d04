"""The server of the API and of the console's pages: a thread and a loop of its own, no request takes from messages."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Final

from engine.adapters.admin import listen_on, server_for
from engine.adapters.api.entries import Api, Page
from engine.adapters.api.forwarded import is_of
from engine.adapters.api.guard import Application, Places, Refused
from engine.adapters.api.routes import ENTRIES
from engine.adapters.quiet_server import QuietServer
from engine.config.console import ConsoleOptions

log = logging.getLogger("segmill.api")

STOP_DEADLINE_S: Final = 5.0
MOST_STRANGERS: Final = 12
"""Connections from one network that nobody has signed in by: those of two browsers."""


class ApiServer:
    """Serves one engine's API and pages. `start` and `stop` may be called from any thread. `tls` None: plain text.

    `refused`: makes the page of a refusal.
    """

    def __init__(
        self,
        api: Api,
        options: ConsoleOptions,
        tls: ssl.SSLContext | None,
        pages: Sequence[Page] = (),
        refused: Refused | None = None,
    ) -> None:
        self._api = api
        self._pages = pages
        self._refused = refused
        self._options = options
        self._tls = tls
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._server: QuietServer | None = None
        self.address: tuple[str, int] | None = None

    @property
    def url(self) -> str:
        """How people call it."""
        if self._options.url is not None:
            return self._options.url
        assert self.address is not None
        host, port = self.address
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self._tls is not None else 'http'}://{shown}:{port}"

    @property
    def is_alive(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen and serve. When it returns, clients can connect. Raises AdminUnavailable."""
        self._listener = listen_on(self._options.host, self._options.port, "the console's address")
        self.address = self._listener.getsockname()[:2]
        places = Places(self._options.host, self._options.url, is_tls=self._tls is not None)
        application = Application((*ENTRIES, *self._pages), self._api, places, self._refused)
        self._server = server_for(
            application, self._tls, most_strangers=MOST_STRANGERS, is_proxy=lambda peer: is_of(peer, self._api.proxies)
        )
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()
        log.info("console and API: %s", self.url)

    def stop(self) -> None:
        """Close the socket and end the thread, within a few seconds. A second call does nothing."""
        # Two may stop it at once, the engine's end and the keeper that starts it again: each part is taken by one.
        thread, self._thread = self._thread, None
        if thread is not None and self._server is not None:
            self._api.streams.end_all()
            self._server.leave()
            thread.join(STOP_DEADLINE_S)
            if thread.is_alive():
                log.warning("the console's thread did not end within %g s", STOP_DEADLINE_S)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _run(self) -> None:
        assert self._server is not None and self._listener is not None
        server, listener = self._server, self._listener
        try:
            asyncio.run(self._serve(server, listener))
        except Exception:
            log.exception("the console's server ended; the engine goes on without it")
        finally:
            listener.close()  # who comes now is refused, and does not wait for an answer

    async def _serve(self, server: QuietServer, listener: socket.socket) -> None:
        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(self._api.pulse.run(), name="count the console's minutes")
            await server.serve([listener])
            counting.cancel()
