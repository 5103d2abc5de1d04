"""HL7 over HTTP, the receiving side: a POST brings a message, and its response is the acknowledgment.

As HAPI's specification "HL7 over HTTP" has it (hapifhir.github.io/hapi-hl7v2/hapi-hl7overhttp, sections 2.2 to 2.6)::

    AA, CA                                    200 and the acknowledgment
    AR, CR                                    400 and the acknowledgment
    AE, CE                                    500 and the acknowledgment
    kept, and no answer is due                204
    longer than max_message                   413 and the acknowledgment
    not storable now, or no answer in time    503, Retry-After; the same again, later
    more than max_connections of these        503, Retry-After
    another path, verb, media type, no login  404, 405, 415, 401, 403 and a sentence

The response leaves after the commit, as over MLLP. The server has a thread and a loop of its own: slow clients
take no time from the engine's. What a client may take of it is bounded: connections, the bytes that all requests
together have brought, and the time for the head and for the body of each.
"""

import asyncio
import base64
import binascii
import hmac
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final, TypeVar

import uvicorn
from pydantic import Field, field_validator, model_validator
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.adapters.http_charset import MEDIA_TYPE, MEDIA_TYPES, as_stored, charset_name, codec_of, text_codec
from engine.adapters.places import Places
from engine.adapters.quiet_server import QuietServer
from engine.adapters.timed_http import TimedH11
from engine.adapters.tls import listen_context
from engine.config.finding import BadValue
from engine.config.fragments import Batches
from engine.config.listen import ListenOptions, ListenTls, NetworkText, is_loopback
from engine.config.units import Duration
from engine.hl7.batch import split_batch
from engine.hl7.charset import text_of
from engine.ports.source import Context, Inlet, Place, SourceUnavailable, Taken

log = logging.getLogger("segmill.source")

T = TypeVar("T")

PREFIX_BYTES: Final = 4096
RETRY_AFTER_S: Final = 5
STATUS: Final = {"AA": 200, "CA": 200, "AR": 400, "CR": 400, "AE": 500, "CE": 500}
MOST_TOLD_SO: Final = 8
"""Connections beyond those allowed, so that who comes can be told."""
LEAST_HANDSHAKES: Final = 32
BACKLOG: Final = 2048
"""Clients that wait to be taken: all senders may come back at once."""
LEAST_READING_BYTES: Final = 64 * 1024**2
"""What all requests of a port together may have brought and not handed over; twice the largest message if more."""


class HttpSourceSettings(ListenOptions):
    """An HTTP port that takes HL7 by POST. Channels of one port may have a path each, or share one."""

    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes a free one")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is all of them")
    path: str = Field(default="/", description="Path of the URL that is this channel's")
    allow: tuple[NetworkText, ...] = Field(
        default=(), description="Senders' addresses and networks; without it anybody who reaches the port"
    )
    tls: ListenTls | None = Field(default=None, description="TLS; without it the port is plain text")
    user: str | None = Field(default=None, min_length=1, description="Name that senders log in with (HTTP Basic)")
    password: str | None = Field(default=None, min_length=1, description="Its password: ${file:...}")
    read_timeout: Duration = Field(
        default=30.0, gt=0, le=3600, description="For the head of a request, and again for its body"
    )
    answer_timeout: Duration = Field(
        default=60.0, gt=0, le=3600, description="After so long without an outcome the sender is told to come again"
    )
    idle_timeout: Duration = Field(default=60.0, ge=1, le=86400, description="Close a silent connection after so long")
    max_connections: int = Field(default=100, ge=1, le=10_000, description="Connections at a time")

    batch: Batches = Field(default_factory=Batches, description="Requests that bring several messages")

    SHARED: ClassVar[tuple[str, ...]] = (
        "host",
        "allow",
        "tls",
        "user",
        "password",
        "max_message",
        "read_timeout",
        "answer_timeout",
        "idle_timeout",
        "max_connections",
        "batch",
    )
    APART: ClassVar[tuple[str, ...]] = ("path",)

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not value.startswith("/") or any(c in value for c in "{}?#") or not value.isprintable():
            raise BadValue(f"'{value}' is not a path", "such as /adt")
        return value

    @model_validator(mode="after")
    def _login_is_whole(self) -> "HttpSourceSettings":
        if (self.user is None) != (self.password is None):
            raise BadValue("has a user or a password, and not both", "give user and password, or neither", code="E103")
        return self

    @property
    def place(self) -> str | None:
        return f"port {self.port}" if self.port else None

    @property
    def answered_within(self) -> float:
        return self.answer_timeout

    @property
    def batches(self) -> Batches:
        return self.batch

    @property
    def plain_text(self) -> str:
        return "" if self.tls is not None or is_loopback(self.host) else self.host

    @property
    def admits_anybody(self) -> bool:
        return not self.allow and self.user is None


class HttpSource:
    """One port, with a thread of its own; what it brings goes to the inlet of its path, on the engine's loop."""

    name: ClassVar[str] = "http"
    model: ClassVar[type[HttpSourceSettings]] = HttpSourceSettings

    def __init__(self, settings: HttpSourceSettings, places: Sequence[Place], context: Context) -> None:
        """Raises ConfigError for TLS files that cannot be used."""
        self._settings = settings
        self._context = context
        self._tls = listen_context(settings.tls, context.folder) if settings.tls is not None else None
        self._inlets = {_path_of(place): place.inlet for place in places}
        self._most_reading_bytes = max(LEAST_READING_BYTES, 2 * settings.max_message)
        self._reading_bytes = 0
        self._in_hand = 0
        self._login = b""
        if settings.user is not None:
            self._login = f"{settings.user}:{settings.password}".encode()
        self._address = ""
        self._ended = asyncio.Event()
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._warned: set[tuple[str, str]] = set()

    @classmethod
    def open(cls, places: Sequence[Place], context: Context) -> "HttpSource":
        """Set up; the port is opened by `start`."""
        settings = places[0].options
        assert isinstance(settings, HttpSourceSettings)
        return cls(settings, places, context)

    @property
    def address(self) -> str:
        return self._address

    @property
    def connection_count(self) -> int:
        return len(self._server.server_state.connections) if self._server is not None else 0

    async def start(self) -> None:
        settings = self._settings
        self._engine_loop = asyncio.get_running_loop()
        try:
            found = await self._engine_loop.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            self._socket = socket.create_server((settings.host, settings.port), family=found[0][0], backlog=BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise SourceUnavailable(f"cannot listen on {settings.host}:{settings.port}: {reason}") from error
        bound = self._socket.getsockname()
        self._address = f"{bound[0]}:{bound[1]}"
        self._server = _server(self._application(), settings, self._tls, self._turned_away)
        self._thread = threading.Thread(target=self._serve, name=f"source {self._context.name}", daemon=True)
        self._thread.start()

    async def run(self) -> None:
        """The thread does the work; this ends with it."""
        await self._ended.wait()
        if self._server is not None and not self._server.should_exit:
            raise SourceUnavailable("the HTTP server ended by itself")

    async def stop(self, deadline_s: float) -> None:
        """Requests in hand are answered, within the deadline; new ones find the port closed."""
        if self._server is not None:
            self._server.leave_within(deadline_s)
            await self._ended.wait()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 1.0)

    def abort(self) -> None:
        if self._server is not None:
            self._server.leave_within(0.0)  # its thread closes what is open

    # -- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        assert self._server is not None
        assert self._socket is not None
        try:
            asyncio.run(self._server.serve([self._socket]))
        except Exception as error:  # noqa: BLE001 - the edge of a thread: the engine goes on without this port
            log.error("source %s: its server failed: %s", self._context.name, type(error).__name__)
        finally:
            self._socket.close()
            try:
                self._engine_loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                pass  # the engine's loop has ended before us

    def _application(self) -> Starlette:
        async def answer(request: Request) -> Response:
            try:
                return await self._answer(request, self._inlets[request.scope["path"]])
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it; what was not whole is not taken

        application = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in self._inlets])
        application.router.redirect_slashes = False
        return application

    async def _answer(self, request: Request, inlet: Inlet) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        most = self._settings.max_connections
        if self._in_hand >= most:
            self._event(request, "refused_limit", f"more than {most} requests at a time")
            return _later(f"this port works on {most} requests already, as many as it takes; try again later")
        self._in_hand += 1
        try:
            return await self._admitted(request, inlet)
        finally:
            self._in_hand -= 1

    async def _admitted(self, request: Request, inlet: Inlet) -> Response:
        """One of those in hand until this ends, whether or not its sender stays that long."""
        charset = _charset_of(request.headers.get("content-type", ""))
        try:
            async with asyncio.timeout(self._settings.read_timeout):
                body, size = await self._read(request, inlet.max_message)
        except TimeoutError:
            self._event(request, "timeout", "a request did not end in time")
            return _plain(408, "the request did not end in time", {"Connection": "close"})
        if body is None:
            return _later("too much is being received now")
        try:
            return await self._bring(request, inlet, body, size, charset)
        finally:
            self._reading_bytes -= len(body)

    async def _bring(self, request: Request, inlet: Inlet, body: bytes, size: int, charset: str) -> Response:
        peer = request.client.host if request.client is not None else ""
        is_too_long = size > inlet.max_message
        payload = body if is_too_long else as_stored(body, charset)

        async def take() -> Taken:
            await inlet.ready()
            if is_too_long:
                return await inlet.take_oversize(payload[:PREFIX_BYTES], size, peer)
            return await inlet.take(payload, peer)

        try:
            taken = await self._on_engine(take(), self._settings.answer_timeout)
        except TimeoutError:
            return _later("there was no outcome in time; it may be stored, and is recognised when it comes again")
        except Exception as error:  # noqa: BLE001 - the edge of a request: its neighbours are served on
            self._event(request, "refused_request", f"a request failed: {type(error).__name__}")
            return _plain(500, "the engine failed at this request")
        return _response(taken, charset, 413 if is_too_long else None)

    async def _on_engine(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run it on the engine's loop. What has been handed over goes its way though nobody waits any more."""
        try:
            there = asyncio.run_coroutine_threadsafe(work, self._engine_loop)
        except RuntimeError:
            work.close()
            raise
        outcome = asyncio.wrap_future(there)
        outcome.add_done_callback(lambda late: late.cancelled() or late.exception())
        return await asyncio.wait_for(asyncio.shield(outcome), timeout_s)

    async def _read(self, request: Request, most_bytes: int) -> tuple[bytes | None, int]:
        """The body, or the start of one that is too long; its size as far as it is known. None: no room for it now."""
        declared = request.headers.get("content-length", "")
        announced = int(declared) if declared.isdigit() and len(declared) < 16 else 0
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                if self._reading_bytes + len(part) > self._most_reading_bytes:
                    self._reading_bytes -= sum(map(len, parts))
                    return None, size
                parts.append(part)
                self._reading_bytes += len(part)
                if max(size, announced) > most_bytes and size >= PREFIX_BYTES:
                    break
        except BaseException:
            self._reading_bytes -= sum(map(len, parts))
            raise
        return b"".join(parts), max(size, announced)

    # -- who may -------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Response | None:
        """What is said to a request that is not even read."""
        settings = self._settings
        if settings.allow and not self._is_allowed(request):
            self._event(request, "refused_address", "an address that `allow` does not name")
            return _plain(403, "this address may not send", {"Connection": "close"})
        if self._login and not self._is_logged_in(request.headers.get("authorization", "")):
            self._event(request, "refused_login", "a request without the right user and password")
            close = {"WWW-Authenticate": 'Basic realm="HL7", charset="UTF-8"', "Connection": "close"}
            return _plain(401, "user and password are needed", close)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in MEDIA_TYPES:
            self._event(request, "refused_request", "a request of another media type")
            return _plain(415, f"send Content-Type: {MEDIA_TYPE}; charset=...", {"Connection": "close"})
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            self._event(request, "refused_request", "a request with its content encoded")
            return _plain(415, "send it without Content-Encoding", {"Connection": "close"})
        return None

    def _is_allowed(self, request: Request) -> bool:
        try:
            address = ipaddress.ip_address((request.client.host if request.client else "").partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._settings.allow)

    def _is_logged_in(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        try:
            login = base64.b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(login, self._login)

    def _event(self, request: Request, event: str, text: str) -> None:
        self._count(request.client.host if request.client is not None else "", event, text)

    def _count(self, peer: str, event: str, text: str) -> None:
        """Count always, log once for each address and kind."""
        self._context.meter.event(event)
        if (peer, text) not in self._warned and len(self._warned) < 1000:
            self._warned.add((peer, text))
            name = self._context.name
            log.warning("source %s, peer %s: %s (further ones are counted only)", name, peer, text)

    def _turned_away(self, peer: str) -> None:
        self._count(peer, "refused_limit", "more connections than this port has places for")


def _path_of(place: Place) -> str:
    assert isinstance(place.options, HttpSourceSettings)
    return place.options.path


def _charset_of(content_type: str) -> str:
    """The charset parameter, '' without one: RFC 9110 section 8.3.1."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"')[:40]
    return ""


def _response(taken: Taken, charset: str, status: int | None) -> Response:
    """The outcome as HTTP says it; the acknowledgment in the sender's own character set, where that has it."""
    if status is None:
        status = STATUS.get(taken.code) or (400 if taken.fate == "rejected" else 200)
    # What is not read to its end would be taken for the next request.
    headers = {"Connection": "close"} if status == 413 else {}
    if taken.fate == "refused":
        status, headers["Retry-After"] = 503, str(RETRY_AFTER_S)
    if not taken.answer:
        return Response(status_code=204 if status == 200 else status, headers=headers)
    first = next(iter(split_batch(taken.answer)), taken.answer)  # a batch header says nothing of its character set
    text = text_of(taken.answer, text_codec(first))
    codec = codec_of(charset) or "utf-8"
    try:
        content = text.encode(codec)
    except UnicodeEncodeError:
        codec, content = "utf-8", text.encode("utf-8", "replace")
    headers["Content-Type"] = f"{MEDIA_TYPE}; charset={charset_name(codec)}"
    return Response(content, status, headers)


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text + "\n", status, headers, media_type="text/plain")


def _later(text: str) -> Response:
    return _plain(503, text, {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"})


class _Server(QuietServer):
    """With a time for what is in hand."""

    def leave_within(self, deadline_s: float) -> None:
        """End, from any thread; what is in hand may take so long."""
        self.config.timeout_graceful_shutdown = max(1, round(deadline_s)) if deadline_s else None
        self.force_exit = self.force_exit or not deadline_s
        self.leave()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol):
                connection.transport.abort()
        await asyncio.sleep(0)  # their ends are told in the next turn


class _Sender(TimedH11):
    """A connection of a sender. Where one more comes than the port takes, one on which no message is coming and none
    waits for its answer gives up its place; where there is none, the one that comes is closed."""

    def __init__(self, turned_away: Callable[[str], None], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turned_away = turned_away

    def _keep_to(self, places: Places) -> None:
        if len(self.connections) <= places.most:
            return
        others = [one for one in self.connections if isinstance(one, _Sender) and one is not self]
        silent = [(one, one._guest) for one in others if not one._is_in_request]
        victim = places.last_of(silent, [guest for _, guest in silent], self.loop.time())
        if victim is None:
            self._turned_away(self.client[0] if self.client is not None else "")
            victim = self
        self.connections.discard(victim)
        victim.transport.abort()


def _server(
    application: Starlette,
    settings: HttpSourceSettings,
    tls: ssl.SSLContext | None,
    turned_away: Callable[[str], None],
) -> _Server:
    places = Places(settings.max_connections + MOST_TOLD_SO)
    handshakes = Places(max(LEAST_HANDSHAKES, settings.max_connections))

    def protocol(*args: Any, **kwargs: Any) -> _Sender:
        return _Sender(turned_away, settings.read_timeout, *args, places=places, **kwargs)

    config = uvicorn.Config(
        application,
        http=protocol,  # type: ignore[arg-type]  # it makes a protocol, which is all that is asked of it
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=round(settings.idle_timeout),
        h11_max_incomplete_event_size=32 * 1024,
    )
    config.load()
    return _Server(config, handshakes, tls, handshake_timeout_s=settings.read_timeout, turned_away=turned_away)
