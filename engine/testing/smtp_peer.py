"""A mail server for tests: takes mails and keeps them, and misbehaves as it is told (RFC 5321, 3207, 4954)."""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Mail:
    """A mail as it was taken: the envelope, and the text without dot-stuffing."""

    sender: str
    to: list[str] = field(default_factory=list)
    content: bytes = b""


class SmtpPeer:
    """Listens on a free port of 127.0.0.1. `mails`: what was answered 250.

    `replies` replaces the answer to a verb, such as `{"RCPT": "550 no such user"}`; `END` is that to the mail
    itself, `CONNECT` the greeting; an empty text hangs up there, and "..." says nothing at all. `tls` offers
    STARTTLS, or is spoken from the start where `is_implicit`. With `login` nobody may send without it.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, is_implicit: bool = False, login: tuple[str, str] | None = None
    ) -> None:
        self.mails: list[Mail] = []
        self.replies: dict[str, str] = {}
        self.verbs: list[str] = []
        self.address = ("127.0.0.1", 0)
        self._tls = tls
        self._is_implicit = is_implicit
        self._login = login
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen; `address` tells where, and stays the same over stops."""
        tls = self._tls if self._is_implicit else None
        self._server = await asyncio.start_server(self._serve, *self.address, ssl=tls, limit=2**26, reuse_address=True)
        self.address = self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:  # noqa: ASYNC110 - the next turn has their ends
            await asyncio.sleep(0)

    async def __aenter__(self) -> "SmtpPeer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await _Conversation(self, reader, writer).run()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the client has gone
        finally:
            self._writers.discard(writer)
            writer.close()


class _Conversation:
    """One client."""

    def __init__(self, peer: SmtpPeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._mail = Mail("")
        self._is_secure = peer._is_implicit
        self._is_logged_in = peer._login is None

    async def run(self) -> None:
        if not await self._say("CONNECT", "220 mail.example"):
            return
        while True:
            line = (await self._reader.readuntil(b"\r\n")).decode("ascii", "replace").strip()
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            self._peer.verbs.append(verb)
            if not await self._answer(verb, rest) or verb == "QUIT":
                return

    async def _answer(self, verb: str, rest: str) -> bool:
        """Whether the conversation goes on."""
        peer = self._peer
        if verb in ("EHLO", "HELO"):
            offers = ["mail.example", "8BITMIME", "SIZE 100000000"]
            offers += ["STARTTLS"] if peer._tls is not None and not self._is_secure else []
            offers += ["AUTH PLAIN"] if peer._login is not None else []
            lines = [f"250{' ' if at == len(offers) - 1 else '-'}{offer}" for at, offer in enumerate(offers)]
            return await self._say(verb, "\r\n".join(lines))
        if verb == "STARTTLS" and peer._tls is not None:
            if not await self._say(verb, "220 go ahead"):
                return False
            await self._writer.start_tls(peer._tls)
            self._is_secure = True
            return True
        if verb == "AUTH":
            self._is_logged_in = _decoded(rest.removeprefix("PLAIN ")) == peer._login
            return await self._say(verb, "235 welcome" if self._is_logged_in else "535 no")
        if not self._is_logged_in and verb in ("MAIL", "RCPT", "DATA"):
            return await self._say(verb, "530 log in")
        if verb == "DATA":
            return await self._data()
        if verb == "MAIL":
            self._mail = Mail(_address(rest))
        elif verb == "RCPT":
            self._mail.to.append(_address(rest))
        known: Mapping[str, str] = {"MAIL": "250 ok", "RCPT": "250 ok", "RSET": "250 ok", "NOOP": "250 ok"}
        return await self._say(verb, "221 bye" if verb == "QUIT" else known.get(verb, "502 what?"))

    async def _data(self) -> bool:
        if not await self._say("DATA", "354 go on"):
            return False
        if not self._peer.replies.get("DATA", "354").startswith("354"):
            return True
        lines: list[bytes] = []
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        self._mail.content = b"".join(lines)
        reply = self._peer.replies.get("END", "250 taken")
        if reply.startswith("250"):
            self._peer.mails.append(self._mail)
        return await self._say("END", "250 taken")

    async def _say(self, verb: str, usual: str) -> bool:
        reply = self._peer.replies.get(verb, usual)
        if reply == "...":
            await self._reader.read()  # until the client gives up
            return False
        if not reply:
            self._writer.transport.abort()
            return False
        self._writer.write(reply.encode() + b"\r\n")
        await self._writer.drain()
        return True


def _address(text: str) -> str:
    return text.partition("<")[2].partition(">")[0]


def _decoded(text: str) -> tuple[str, ...]:
    return tuple(base64.b64decode(text).decode().split("\0")[1:])
