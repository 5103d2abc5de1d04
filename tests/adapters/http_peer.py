"""A receiver of HL7 over HTTP that answers as it is told, in plain HTTP/1.1 of its own."""

import asyncio
import ssl
from collections.abc import Callable

from engine.adapters.outgoing import control_id_of
from engine.hl7.errors import UnreadableMessage

REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 500: "Internal Server Error"}


class HttpPeer:
    """`code` and `status` of its answers, or `respond`: body to the raw bytes of the response, b'' to hang up."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.code = "AA"
        self.status = 200
        self.respond: Callable[[bytes], bytes] | None = None
        self.delay = asyncio.Event()
        self.delay.set()
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self._tls = tls
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/adt"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, limit=2**26, ssl=self._tls, reuse_address=True
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.delay.set()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0)

    async def __aenter__(self) -> "HttpPeer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.bodies.append(body)
                self.headers.append({**headers, "": head[0]})
                await self.delay.wait()
                response = self.respond(body) if self.respond else ack_response(body, self.code, self.status)
                if not response:
                    writer.transport.abort()
                    return
                writer.write(response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


def ack_response(body: bytes, code: str, status: int, control_id: bytes | None = None) -> bytes:
    try:
        own = control_id_of(body)
    except UnreadableMessage:
        own = b""
    ack = b"MSH|^~\\&|RIS||HIS||20260102030405||ACK|A1|P|2.5.1\rMSA|%s|%s\r" % (
        code.encode(),
        own if control_id is None else control_id,
    )
    if code[1] != "A":
        ack += b"ERR|||207^Zzyzx|E\r"
    return response(status, ack, "application/hl7-v2; charset=utf-8")


def response(status: int, content: bytes = b"", media_type: str = "text/plain", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} {REASONS.get(status, 'X')}\r\nContent-Type: {media_type}\r\n{more}"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
