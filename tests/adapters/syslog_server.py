"""A strict server of syslog over TLS (RFC 5425) for tests: counts lengths, and can go away in every manner."""

import asyncio
import ssl
from pathlib import Path

import trustme

from engine.config.audit import SyslogOptions


class Authority:
    """Signs; its files are in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.name = name
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(folder / f"{name}.crt"))

    def issue(self, stem: str, host: str = "localhost") -> tuple[Path, Path]:
        """Certificate and key in files of their own."""
        made = self.authority.issue_cert(host)
        certificate, key = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        return certificate, key


class SyslogServer:
    """Keeps the messages of all connections, in the order of their coming."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.messages: list[bytes] = []
        self.connections = 0
        self.is_deaf = False
        self._writers: list[asyncio.StreamWriter] = []
        self._came = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while length := await self._length(reader):
                message = await reader.readexactly(length)
                async with self._came:
                    self.messages.append(message)
                    self._came.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _length(self, reader: asyncio.StreamReader) -> int:
        """MSG-LEN and its blank (RFC 5425 section 4.3.1); 0 at the end."""
        try:
            text = await reader.readuntil(b" ")
        except asyncio.IncompleteReadError as end:
            assert not end.partial, f"a frame that is none: {end.partial!r}"
            return 0
        assert text[:-1].isdigit() and not text.startswith(b"0"), text
        return int(text)

    async def got(self, count: int) -> list[bytes]:
        """When there are so many."""
        async with asyncio.timeout(60), self._came:
            await self._came.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def hang_up(self) -> None:
        """End all connections; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self.hang_up()
            await self._server.wait_closed()
            self._server = None


def options(port: int, **more: object) -> SyslogOptions:
    """Of a server on this machine, with the authority in `ca.crt`."""
    return SyslogOptions.model_validate({"host": "localhost", "port": port, "tls": {"ca": "ca.crt"}, **more})
