"""Syslog as a client: RFC 5424 messages over TLS (RFC 5425) and over UDP (RFC 5426)."""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from engine.adapters.errors import ConfigError
from engine.adapters.tls import client_context
from engine.config.audit import SyslogOptions
from engine.ports.audit_export import RepositoryDown
from engine.ports.gone import untaken_bytes

AUTHPRIV: Final = 10
NOTICE, WARNING = 5, 4
MOST_UDP_BYTES: Final = 65_507
CLOSE_S: Final = 2.0
BOM: Final = b"\xef\xbb\xbf"


def syslog_message(text: str, *, severity: int, at: datetime, host: str, app: str, message_id: str) -> bytes:
    """SYSLOG-MSG of RFC 5424 section 6, facility 10 (PS3.15 A.6), with its text in UTF-8."""
    stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    process = os.getpid()
    head = f"<{AUTHPRIV * 8 + severity}>1 {stamp} {_name(host, 255)} {_name(app, 48)} {process} {message_id} - "
    return head.encode("ascii") + BOM + text.encode("utf-8")


def _name(text: str, most: int) -> str:
    """PRINTUSASCII of RFC 5424; `-` where nothing is known."""
    return re.sub(r"[^\x21-\x7e]", "_", text)[:most] or "-"


def tls_context(options: SyslogOptions, site: Path) -> ssl.SSLContext | None:
    """As the settings say; None for UDP. Raises ConfigError."""
    if options.transport == "udp":
        return None
    tls = options.tls
    if tls is None:
        return client_context()
    return client_context(
        ca=site / tls.ca if tls.ca else None,
        certificate=site / tls.certificate if tls.certificate else None,
        key=site / tls.key if tls.key else None,
        verify=tls.verify,
    )


class SyslogTls:
    """A connection of RFC 5425. Its files are read for each connection, so that renewed ones count from the next."""

    def __init__(self, options: SyslogOptions, site: Path) -> None:
        self.why_unready = ""
        """What of our own files keeps it from being reached; '' for nothing."""
        self._options = options
        self._site = site
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> bool:
        """As AuditRepository.open."""
        if self._stands:
            return False
        await self.close()
        host, port = self._options.server
        try:
            context = await asyncio.to_thread(tls_context, self._options, self._site)
            self.why_unready = ""
            async with asyncio.timeout(self._options.timeout):
                name = self._options.tls.server_name if self._options.tls is not None else None
                self._reader, self._writer = await asyncio.open_connection(
                    host, port, ssl=context, server_hostname=name or host, ssl_shutdown_timeout=CLOSE_S
                )
        except TimeoutError:
            raise RepositoryDown(f"{host}:{port} does not answer") from None
        except ConfigError as error:
            self.why_unready = str(error)
            raise RepositoryDown(self.why_unready) from error
        except OSError as error:
            raise RepositoryDown(f"{host}:{port}: {why_down(error)}") from error
        return True

    @property
    def _stands(self) -> bool:
        """A server never writes; what comes from it is the end."""
        reader, writer = self._reader, self._writer
        return reader is not None and writer is not None and not reader.at_eof() and not writer.is_closing()

    async def send(self, messages: Sequence[bytes]) -> None:
        """As AuditRepository.send: each with its length before it (RFC 5425 section 4.3)."""
        if self._writer is None or not self._stands:
            raise RepositoryDown("it ended the connection")
        try:
            self._writer.write(b"".join(b"%d %b" % (len(message), message) for message in messages))
            async with asyncio.timeout(self._options.timeout):
                await self._writer.drain()
        except TimeoutError:
            raise RepositoryDown("it does not take what is sent") from None
        except OSError as error:
            raise RepositoryDown(f"the connection was lost: {why_down(error)}") from error

    def has_all(self) -> bool:
        """As AuditRepository.has_all."""
        return self._stands and self._unsent() == 0

    def _unsent(self) -> int:
        assert self._writer is not None
        plain = self._writer.get_extra_info("socket")
        return self._writer.transport.get_write_buffer_size() + (0 if plain is None else untaken_bytes(plain))

    async def close(self) -> bool:
        """As AuditRepository.close: a server reads what came before our close_notify, then ends its own side.

        One that ends without having read it all resets the connection, which is an error here.
        """
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if writer is None or reader is None:
            return False
        stood = not reader.at_eof() and not writer.is_closing()
        try:
            async with asyncio.timeout(CLOSE_S):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):
            writer.transport.abort()
            return False
        return stood


class SyslogUdp:
    """Datagrams of RFC 5426. That nobody listens is known where the other machine says so (ICMP), at the next look."""

    def __init__(self, options: SyslogOptions) -> None:
        self._options = options
        self._socket: socket.socket | None = None
        self._refused = ""

    async def open(self) -> bool:
        """As AuditRepository.open."""
        if self._socket is not None:
            if why := self._refusal():
                raise RepositoryDown(why)
            return False
        host, port = self._options.server
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._options.timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except TimeoutError:
            raise RepositoryDown(f"{host} is not found in time") from None
        except OSError as error:
            raise RepositoryDown(f"{host}:{port}: {why_down(error)}") from error
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        try:
            made.connect(address)
        except OSError as error:
            made.close()
            raise RepositoryDown(f"{host}:{port}: {why_down(error)}") from error
        self._socket = made
        return True

    def _refusal(self) -> str:
        """What the other machine said of what was sent before; '' for nothing."""
        assert self._socket is not None
        # The kernel says it once, and it counts for as long as this socket is there.
        if not self._refused and (code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._refused = os.strerror(code).lower()
        return self._refused

    async def send(self, messages: Sequence[bytes]) -> None:
        """As AuditRepository.send: one message a datagram."""
        if self._socket is None:
            raise RepositoryDown("there is no connection")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._options.timeout):
                for message in messages:
                    # RFC 5426 section 3.2: what is longer is cut by the sender, or not sent at all.
                    await loop.sock_sendall(self._socket, message[:MOST_UDP_BYTES])
        except TimeoutError:
            raise RepositoryDown("the network does not take what is sent") from None
        except OSError as error:
            raise RepositoryDown(why_down(error)) from error

    def has_all(self) -> bool:
        """As AuditRepository.has_all; of UDP nobody knows more than that nobody complained."""
        return self._socket is not None and not self._refusal()

    async def close(self) -> bool:
        """As AuditRepository.close."""
        if self._socket is None:
            return False
        is_good = not self._refusal()
        self._socket.close()
        self._socket, self._refused = None, ""
        return is_good


def repository_of(options: SyslogOptions, site: Path) -> SyslogTls | SyslogUdp:
    """Whom the settings name."""
    return SyslogUdp(options) if options.transport == "udp" else SyslogTls(options, site)


def why_down(error: OSError) -> str:
    """In words; texts of the TLS library may hold anything."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not pass: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}".lower().replace("_", " ").replace("tls", "TLS")
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return "the connection ended"
