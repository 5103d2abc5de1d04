"""Puts a receiver through the rows: one connection after the other, bytes there, blocks back, a verdict each."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from engine.mllp.framing import Block, BlockDecoder, CommitByte, Item
from engine.testing.torture.judge import Got, Judged, judge
from engine.testing.torture.row import Again, Await, End, Reset, Row, Said, Send, read_answers

READ_BYTES = 64 * 1024


@dataclass(slots=True, frozen=True)
class Receiver:
    """The peer under torture.

    `patience_s`: how long an answer may take. `quiet_s`: how long to listen for answers too many where a peer does
    not close when we do.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    patience_s: float = 5.0
    quiet_s: float = 0.5


@dataclass(slots=True)
class _Link:
    """One connection, and all that came back on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    decoder: BlockDecoder = field(default_factory=BlockDecoder)
    said: list[Said] = field(default_factory=list)
    is_over: bool = False
    has_ended: bool = False
    closed_first: bool = False
    stray: str = ""

    async def read_once(self) -> None:
        """Take what comes next: bytes, or the end."""
        try:
            data = await self.reader.read(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self.is_over = True
            self.closed_first = not self.has_ended
            if self.decoder.mid_block:
                self._note("an answer was not ended")
            return
        items = self.decoder.feed(data)
        if self.decoder.awaits_cr:
            items += self.decoder.finish()
        for item in items:
            self._take(item)
        if self.decoder.has_stray_bytes:
            self._note("bytes outside a block")

    def _take(self, item: Item) -> None:
        if isinstance(item, CommitByte):
            return  # Release 2: not an answer, and no harm
        if not isinstance(item, Block):
            self._note("a block that cannot be followed")
            return
        if "truncated-before" in item.warnings:
            self._note("a start of block inside an answer")
        found = read_answers(item.payload)
        self.said += found
        # A batch of no messages is answered with a batch of no answers.
        if not found and not item.payload.startswith((b"FHS", b"BHS")):
            self._note("a block without an MSA")

    def _note(self, what: str) -> None:
        self.stray = self.stray or what

    async def read_until(self, answers: int, closed: bool, within_s: float) -> None:
        """Until so many answers are here, and if need be the end too; no longer than `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                while not self.is_over and (len(self.said) < answers or closed):
                    await self.read_once()
        except TimeoutError:
            pass

    async def write(self, step: Send) -> None:
        """What a peer does not take any more is not our failure."""
        size = step.piece or len(step.data)
        try:
            for at in range(0, len(step.data), size):
                self.writer.write(step.data[at : at + size])
                await self.writer.drain()
                if step.piece:
                    await asyncio.sleep(0)
        except OSError:
            pass

    def end(self) -> None:
        """Close our direction, where the transport can."""
        if self.has_ended or self.is_over:
            return
        self.has_ended = True
        try:
            if self.writer.can_write_eof():
                self.writer.write_eof()
        except OSError:
            self.is_over = True

    async def leave(self, quiet_s: float) -> None:
        """End in good order, and hear what is still said."""
        self.end()
        await self.read_until(0, True, quiet_s)
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


async def run_row(row: Row, receiver: Receiver) -> Got:
    """Everything that comes back in one row. Raises OSError where the peer cannot be reached at all."""
    links = [await _open(receiver)]
    try:
        await _play(row, receiver, links)
    finally:
        for link in links:
            link.reset()
    return Got(
        tuple(said for link in links for said in link.said),
        any(link.closed_first for link in links),
        next((link.stray for link in links if link.stray), ""),
    )


async def _play(row: Row, receiver: Receiver, links: list[_Link]) -> None:
    for step in row.steps:
        link = links[-1]
        match step:
            case Send():
                await link.write(step)
            case Await():
                await link.read_until(step.answers, False, receiver.patience_s)
            case End():
                link.end()
            case Again():
                await link.leave(receiver.quiet_s)
                links.append(await _open(receiver))
            case Reset():
                link.reset()
                link.is_over = True
                links.append(await _open(receiver))
    first = row.outcomes[0]
    before = sum(len(link.said) for link in links[:-1])
    await links[-1].read_until(len(first.answers) - before, first.closes, receiver.patience_s)
    await links[-1].leave(receiver.quiet_s)


async def run_rows(rows: Iterable[Row], receiver: Receiver, tag: bytes) -> AsyncIterator[tuple[Row, Got, Judged]]:
    """Each row with what came back and the verdict. Raises OSError where not even the first connection comes about."""
    reached = False
    for row in rows:
        tagged = row.tagged(tag)
        try:
            got = await run_row(tagged, receiver)
        except OSError:
            if not reached:
                raise
            yield row, Got(closed=True), Judged("closed", "it does not take connections any more")
            continue
        reached = True
        yield tagged, got, judge(tagged, got)


async def _open(receiver: Receiver) -> _Link:
    server_name = (receiver.server_name or receiver.host) if receiver.tls is not None else None
    async with asyncio.timeout(receiver.patience_s):
        reader, writer = await asyncio.open_connection(
            receiver.host, receiver.port, ssl=receiver.tls, server_hostname=server_name
        )
    return _Link(reader, writer)
