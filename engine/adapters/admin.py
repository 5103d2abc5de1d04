"""The admin server: metrics and probes over TCP, control over a Unix socket, on a thread of its own.

Rendering a page or waiting for a slow client never takes time from the engine's loop.
"""

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.routing import Route
from starlette.types import ASGIApp

from engine.adapters.admin_app import EngineCalls, Renderer, application, control_routes, probe_routes
from engine.adapters.control_socket import listen_privately, peer_name
from engine.adapters.places import Places
from engine.adapters.quiet_server import QuietServer
from engine.adapters.timed_http import TimedH11
from engine.ports.control import Control

log = logging.getLogger("segmill.admin")

MAX_CONNECTIONS: Final = 32
HEAD_TIMEOUT_S: Final = 10.0
BODY_TIMEOUT_S: Final = 30.0
STOP_DEADLINE_S: Final = 5.0


class AdminUnavailable(Exception):
    """The admin server cannot listen where it should. Carries a sentence for people."""


class AdminServer:
    """Answers for one engine, whose coroutines run on `loop`.

    `port` None: nothing over TCP; 0: a free port, then see `address`. `socket_path` None: no control socket.
    `socket_routes`: more that the control socket answers.
    `start` and `stop` may be called from any thread, also the loop's own.
    """

    def __init__(
        self,
        meter: Renderer,
        control: Control,
        loop: asyncio.AbstractEventLoop,
        *,
        host: str = "127.0.0.1",
        port: int | None = 0,
        socket_path: Path | None = None,
        socket_routes: Sequence[Route] = (),
    ) -> None:
        self._meter = meter
        self._control = control
        self._calls = EngineCalls(loop)
        self._host = host
        self._port = port
        self._socket_path = socket_path
        self._socket_routes = socket_routes
        self._socket_inode = 0
        self._servers: list[tuple[QuietServer, socket.socket]] = []
        self._thread: threading.Thread | None = None
        self.address: tuple[str, int] | None = None

    def start(self) -> None:
        """Listen and serve. When it returns, clients can connect. Raises AdminUnavailable."""
        probes = probe_routes(self._meter, self._control, self._calls)
        try:
            if self._port is not None:
                listener = listen_on(self._host, self._port, "the admin address")
                self.address = listener.getsockname()[:2]
                self._servers.append((server_for(application([*probes])), listener))
            if self._socket_path is not None:
                try:
                    private = listen_privately(self._socket_path)
                except OSError as exc:
                    raise AdminUnavailable(f"cannot open the control socket: {_sentence(exc)}") from exc
                self._socket_inode = self._socket_path.stat().st_ino
                routes = [*probes, *control_routes(self._control, self._calls), *self._socket_routes]
                self._servers.append((server_for(application(routes)), private))
        except AdminUnavailable:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)
        self._thread.start()
        if self.address is not None:
            log.info("metrics and probes: http://%s:%d/metrics, /livez, /readyz", *self._shown_address())

    def stop(self) -> None:
        """Close the sockets and end the thread, within a few seconds. A second call does nothing."""
        if self._thread is not None:
            for server, _ in self._servers:
                server.leave()
            self._thread.join(STOP_DEADLINE_S)
            if self._thread.is_alive():
                log.warning("the admin thread did not end within %g s", STOP_DEADLINE_S)
            self._thread = None
        self._close()

    def _shown_address(self) -> tuple[str, int]:
        assert self.address is not None
        host, port = self.address
        return (f"[{host}]" if ":" in host else host), port

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the admin server ended; the engine goes on without metrics and control")

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for server, listener in self._servers:
                tasks.create_task(server.serve([listener]), name="admin server")

    def _close(self) -> None:
        for _, listener in self._servers:
            listener.close()
        self._servers.clear()
        path = self._socket_path
        # Only our own: another engine may have taken the name over since.
        if path is not None and self._socket_inode:
            try:
                if path.stat().st_ino == self._socket_inode:
                    path.unlink()
            except FileNotFoundError:
                pass
            except OSError as error:  # a disk that became read-only must not spoil the stop of all else
                log.warning("%s stays behind: %s", path, error.strerror)
        self._socket_inode = 0


class _NamedPeer(TimedH11):
    """HTTP over the control socket, where the client of a request is the user at the other end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family == getattr(socket, "AF_UNIX", None):
            self.client = (peer_name(connection), 0)


def listen_on(host: str, port: int, what: str) -> socket.socket:
    """A listening socket. Raises AdminUnavailable with `what` it should have been."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server((host, port), family=found[0][0])
    except OSError as exc:
        raise AdminUnavailable(f"cannot open {what} {host}:{port}: {_sentence(exc)}") from exc


def server_for(
    app: ASGIApp,
    tls: ssl.SSLContext | None = None,
    *,
    most_strangers: int = 0,
    is_proxy: Callable[[str], bool] = lambda address: False,
) -> QuietServer:
    """Uvicorn without logs of its own, sockets and signals being ours.

    `most_strangers`: so many connections of one network that nobody has signed in by; 0: as many as there are places.
    """
    places = Places(MAX_CONNECTIONS, most_strangers, is_proxy)

    def protocol(*args: Any, **kwargs: Any) -> _NamedPeer:
        return _NamedPeer(HEAD_TIMEOUT_S, *args, body_timeout_s=BODY_TIMEOUT_S, places=places, **kwargs)

    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # it makes a protocol, which is all that is asked of it
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a warning for each client that speaks no HTTP would let any of them fill the log
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        # Connections are bounded above; the requests of those that gave up their place take a moment to end.
        limit_concurrency=4 * MAX_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=1,
    )
    config.load()
    return QuietServer(config, places, tls, handshake_timeout_s=HEAD_TIMEOUT_S)


def _sentence(error: OSError) -> str:
    # Not error.strerror: socket adds the address to it, which the sentence has already.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
