"""A receiving MLLP peer that can misbehave: the other end in tests, in demos and of `segmill listen`.

It keeps what it got, in order, and answers each message as its script says. Its ACK is cut out of the
message's MSH with `split`, so that it shares no code with what it tests but the framing.
"""

import asyncio
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from engine.mllp.framing import Block, BlockDecoder, CommitByte, Fault, Oversize, encode

Kind = Literal[
    "AA",
    "AE",
    "AR",
    "CA",
    "CE",
    "CR",
    "CA+AA",
    "CA+AE",
    "none",
    "late",
    "split",
    "slow",
    "garbage",
    "text",
    "empty",
    "no-msa",
    "no-cr",
    "wrong-id",
    "stale-id",
    "twice",
    "stale-first",
    "half-ack",
    "huge",
    "close",
    "half-close",
    "reset",
    "AA-close",
    "early",
    "stall",
    "sip",
    "cut",
    "cut-reset",
    "release-2",
]

KINDS: dict[Kind, str] = {
    "AA": "accept every message (AE, AR, CA, CE, CR: that code)",
    "AE": "answer with an application error",
    "AR": "answer with an application reject",
    "CA": "accept in enhanced mode",
    "CE": "commit error",
    "CR": "commit reject",
    "CA+AA": "CA, and the application's AA behind it on the same connection",
    "CA+AE": "CA, and the application's AE behind it on the same connection",
    "none": "never answer",
    "late": "answer AA after a while (late:30s)",
    "split": "answer AA in two halves, a moment apart",
    "slow": "answer AA one byte at a time",
    "garbage": "answer with a block that is no acknowledgment",
    "text": "answer with text outside a block",
    "empty": "answer with an empty block only",
    "no-msa": "answer with an MSH and no MSA",
    "no-cr": "answer AA with a block that ends with FS alone",
    "wrong-id": "answer AA for a control id that nobody sent",
    "stale-id": "answer AA for the message before this one",
    "twice": "answer AA twice in one go",
    "stale-first": "answer for the message before and for this one in one go",
    "half-ack": "send half an answer and close",
    "huge": "answer with a block that never ends (1 GB)",
    "close": "close without an answer",
    "half-close": "close the sending side without an answer",
    "reset": "reset the connection without an answer",
    "AA-close": "answer AA and close",
    "early": "answer AA at the start of the message, before its end",
    "stall": "stop reading in the middle of the first message",
    "sip": "read one byte a second (sip:0.1: ten), and answer AA if that comes to an end",
    "cut": "close in the middle of the message",
    "cut-reset": "reset the connection in the middle of the message",
    "release-2": "answer with the commit byte of MLLP Release 2, then AA",
}
assert set(KINDS) == set(get_args(Kind))

_SLICE = b"Z" * 65536
HUGE_BYTES = 1_000_000_000
_START_BYTES = 128 * 1024
"""Of a message: an early yes is said so far, with each part that is read."""


@dataclass(slots=True, frozen=True)
class Behaviour:
    """How one message is answered. `delay_s` is for late, split, slow and sip."""

    kind: Kind
    delay_s: float = 0.0


def parse_behaviour(text: str, seconds: Callable[[str], float] = float) -> Behaviour:
    """`AA`, `none`, `late:30s`, ... Raises ValueError with a sentence. `seconds` reads what follows the colon."""
    name, colon, delay = text.partition(":")
    if name not in KINDS:
        raise ValueError(f"'{name}' is not a way to answer; known: {', '.join(KINDS)}")
    default = {"late": 1.0, "split": 0.05, "slow": 0.001, "sip": 1.0}.get(name, 0.0)
    return Behaviour(name, seconds(delay) if colon else default)


@dataclass(slots=True, frozen=True)
class Header:
    """What an ACK needs of a message, as raw bytes. Missing fields are empty."""

    separator: bytes
    encoding: bytes
    fields: tuple[bytes, ...] = field(repr=False)

    def __getitem__(self, number: int) -> bytes:
        """MSH-`number`, from 3."""
        return self.fields[number - 1] if number <= len(self.fields) else b""


def read_header(payload: bytes) -> Header:
    """The first segment, if it is an MSH; an empty header otherwise."""
    start = payload.find(b"MSH")
    if start < 0 or len(payload) < start + 8:
        return Header(b"|", b"^~\\&", ())
    line = payload[start : payload.find(b"\r", start) if b"\r" in payload[start:] else len(payload)].rstrip(b"\n")
    separator = line[3:4]
    fields = tuple(line.split(separator))
    return Header(separator, fields[1] if len(fields) > 1 else b"^~\\&", fields)


def build_ack(header: Header, code: bytes, control_id: bytes, number: int) -> bytes:
    """A plain ACK: MSH with sender and receiver swapped, and MSA; for AE, AR, CE and CR an ERR with code 207."""
    bar = header.separator
    parts = header.encoding[:1] or b"^"
    trigger = header[9].split(parts)[1:2]
    message_type = parts.join((b"ACK", trigger[0], b"ACK")) if trigger else b"ACK"
    msh = bar.join(
        (
            b"MSH",
            header.encoding,
            header[5],
            header[6],
            header[3],
            header[4],
            b"20260101000000+0000",
            b"",
            message_type,
            b"PEER%d" % number,
            header[11] or b"P",
            header[12] or b"2.5.1",
        )
    )
    msa = bar.join((b"MSA", code, control_id))
    if code in (b"AA", b"CA"):
        return msh + b"\r" + msa + b"\r"
    err = bar.join((b"ERR", b"", b"", parts.join((b"207", b"Application error", b"HL70357")), b"E"))
    return msh + b"\r" + msa + b"\r" + err + b"\r"


class ReceivingPeer:
    """Listens, keeps, answers. `script` gives the behaviour of the n-th message; its last one stays.

    `received`: payloads in order of arrival over all connections. `counts`: by behaviour, and
    `truncated`, `fault`, `oversize`. Must be used on a running loop.
    """

    def __init__(
        self,
        *script: str | Behaviour,
        tls: ssl.SSLContext | None = None,
        keep: bool = True,
        on_message: Callable[[bytes, Behaviour], None] | None = None,
        max_payload_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self.script: Sequence[Behaviour] = [
            behaviour if isinstance(behaviour, Behaviour) else parse_behaviour(behaviour)
            for behaviour in (script or ("AA",))
        ]
        self.received: list[bytes] = []
        self.answered: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self.messages = 0
        self.connections_seen = 0
        self.bytes_sent = 0
        self.max_payload_bytes = max_payload_bytes
        self.address: tuple[str, int] = ("", 0)
        self._tls = tls
        self._keep = keep
        self._on_message = on_message
        self._open: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; `address` tells where. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Link(self, loop), host, port, ssl=self._tls, backlog=512, reuse_address=True
        )
        name = self._server.sockets[0].getsockname()
        self.address = (name[0], name[1])

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._open):
            link.abort()
        await self.until(lambda: not self._open)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    def disconnect(self) -> None:
        """Close every connection in good order, and go on listening."""
        for link in list(self._open):
            link.close()

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait until `condition` holds; it is looked at after everything that happens here. Raises TimeoutError."""
        if condition():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, waiter))
        async with asyncio.timeout(within_s):
            await waiter

    async def until_received(self, count: int, within_s: float = 30.0) -> None:
        """Wait for `count` messages since the start."""
        await self.until(lambda: self.messages >= count, within_s)

    async def __aenter__(self) -> "ReceivingPeer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- for the links --------------------------------------------------------------------------

    def _behaviour(self) -> Behaviour:
        return self.script[min(self.messages, len(self.script) - 1)]

    def _note(self, payload: bytes, link: "_Link", settled: Behaviour | None = None) -> Behaviour:
        """A message has come whole, over `link`; how it is to be answered, where that was not settled before."""
        behaviour = settled or self._behaviour()
        if settled is None:
            self._next()
        if self._keep:
            self.received.append(payload)
        if self._on_message is not None:
            self._on_message(payload, behaviour)
        return behaviour

    def _next(self) -> None:
        """The script goes on: its behaviour has been met, by a message or by the start of one."""
        self.counts[self._behaviour().kind] += 1
        self.messages += 1

    def _settles(self, behaviour: Behaviour) -> bool:
        """Whether it is a message's own from its first byte on, and the script goes on for other connections then."""
        return behaviour.kind == "sip"

    def _happened(self) -> None:
        if not self._waiters:
            return
        still = []
        for condition, waiter in self._waiters:
            if waiter.done():
                continue
            if condition():
                waiter.set_result(None)
            else:
                still.append((condition, waiter))
        self._waiters = still


class _Link(asyncio.BufferedProtocol):
    """One accepted connection."""

    def __init__(self, peer: ReceivingPeer, loop: asyncio.AbstractEventLoop) -> None:
        self._peer = peer
        self._loop = loop
        self._view = memoryview(bytearray(64 * 1024))
        self._decoder = BlockDecoder(peer.max_payload_bytes)
        self._transport: asyncio.Transport | None = None
        self._last = self._before = b""
        self._settled: Behaviour | None = None
        self._yes = b""
        self._unsent = 0
        self.number = 0
        """Of the peer's connections, in the order in which they came."""
        self._timers: set[asyncio.TimerHandle] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer._open.add(self)
        self._peer.connections_seen += 1
        self.number = self._peer.connections_seen
        self._peer._happened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._peer._open.discard(self)
        if self._decoder.mid_block:
            self._peer.counts["truncated"] += 1
        for timer in self._timers:
            timer.cancel()
        self._peer._happened()

    def get_buffer(self, sizehint: int) -> memoryview:
        behaviour = self._settled or self._peer._behaviour()
        return self._view[:1] if behaviour.kind == "sip" else self._view

    def buffer_updated(self, nbytes: int) -> None:
        behaviour = self._peer._behaviour()
        if self._settled is None:
            if self._is_cut(behaviour):
                return
            if self._peer._settles(behaviour):
                self._settled = behaviour  # for this message, however long it takes
                self._peer._next()
        items = self._decoder.feed(self._view[:nbytes])
        if self._decoder.awaits_cr:
            items += self._decoder.finish()
        for item in items:
            if isinstance(item, Block):
                settled, self._settled = self._settled, None
                self._yes = b""
                self._answer(item.payload, self._peer._note(item.payload, self, settled))
            elif isinstance(item, Oversize):
                self._peer.counts["oversize"] += 1
            elif isinstance(item, Fault):
                self._peer.counts["fault"] += 1
                self.close()
            elif isinstance(item, CommitByte):
                self._peer.counts["commit"] += 1
        if not items and self._decoder.mid_block:
            self._during(self._settled or self._peer._behaviour())
        self._peer._happened()

    def resume_writing(self) -> None:
        if self._unsent:
            self._flood()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            self._peer.bytes_sent += len(data)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            work()
            self._peer._happened()

        timer = self._loop.call_later(seconds, run)
        self._timers.add(timer)

    def _in_pieces(self, pieces: Iterable[bytes], delay_s: float) -> None:
        for number, piece in enumerate(pieces):
            if number == 0:
                self._write(piece)
            else:
                self._later(number * delay_s, lambda piece=piece: self._write(piece))  # type: ignore[misc]

    def _flood(self) -> None:
        """Up to a gigabyte, as fast as the other side takes it."""
        while self._unsent > 0 and self._transport is not None and not self._transport.is_closing():
            if self._transport.get_write_buffer_size() > 0:
                return
            self._write(_SLICE)
            self._unsent -= len(_SLICE)

    def _during(self, behaviour: Behaviour) -> None:
        """A message has begun and not ended."""
        if behaviour.kind == "early" and 8 < self._decoder.buffered_bytes <= _START_BYTES:
            if not self._yes:
                header = read_header(bytes(self._view[: self._decoder.buffered_bytes]).lstrip(b"\x0b"))
                self._yes = encode(build_ack(header, b"AA", header[10], self._peer.messages))
            self._write(self._yes)
        elif behaviour.kind == "stall" and self._transport is not None:
            self._transport.pause_reading()
        elif behaviour.kind == "sip" and self._transport is not None:
            self._transport.pause_reading()
            self._later(behaviour.delay_s, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _is_cut(self, behaviour: Behaviour) -> bool:
        """Whether this is the end: what was read is not looked at, and the message is no message."""
        if behaviour.kind not in ("cut", "cut-reset") or self._transport is None or self._transport.is_closing():
            return False
        self._peer._next()
        if behaviour.kind == "cut":
            self.close()
        else:
            self._reset()
        self._peer._happened()
        return True

    def _answer(self, payload: bytes, behaviour: Behaviour) -> None:
        peer = self._peer
        header = read_header(payload)
        own, number = header[10], peer.messages
        if own != self._last:  # sent again, it is not the message before itself
            self._before, self._last = self._last, own
        before = self._before

        def ack(code: bytes = b"AA", control_id: bytes = own) -> bytes:
            answer = build_ack(header, code, control_id, number)
            if peer._keep:
                peer.answered.append(answer)
            return encode(answer)

        kind, delay_s = behaviour.kind, behaviour.delay_s
        match kind:
            case "AA" | "AE" | "AR" | "CA" | "CE" | "CR":
                self._write(ack(kind.encode()))
            case "CA+AA" | "CA+AE":
                self._write(ack(b"CA") + ack(kind[3:].encode()))
            case "late":
                self._later(delay_s, lambda: self._write(ack()))
            case "split":
                block = ack()
                self._in_pieces((block[: len(block) // 2], block[len(block) // 2 :]), delay_s)
            case "slow":
                self._in_pieces((bytes([byte]) for byte in ack()), delay_s)
            case "garbage":
                self._write(encode(b"\x00\xff not an acknowledgment"))
            case "text":
                self._write(b"OK, got it\r\n")
            case "empty":
                self._write(encode(b""))
            case "no-msa":
                self._write(encode(ack()[1:].split(b"\r")[0] + b"\r"))
            case "no-cr":
                self._write(ack()[:-1])
            case "wrong-id":
                self._write(ack(control_id=b"NOBODY-SENT-THIS"))
            case "stale-id":
                self._write(ack(control_id=before))
            case "twice":
                self._write(ack() + ack())
            case "stale-first":
                self._write(ack(control_id=before) + ack())
            case "half-ack":
                block = ack()
                self._write(block[: len(block) // 2])
                self.close()
            case "huge":
                self._write(b"\x0bMSH|^~\\&|")
                self._unsent = HUGE_BYTES
                self._flood()
            case "close":
                self.close()
            case "half-close":
                if self._transport is not None and self._transport.can_write_eof():
                    self._transport.write_eof()
            case "reset":
                self._reset()
            case "AA-close":
                self._write(ack())
                self.close()
            case "release-2":
                self._write(encode(b"\x06") + ack())
            case "none" | "stall" | "early" | "cut" | "cut-reset":
                pass
            case "sip":
                self._write(ack())

    def _reset(self) -> None:
        """RST instead of FIN: linger of zero seconds, then close."""
        if self._transport is not None:
            plain = self._transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
