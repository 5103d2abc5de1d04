"""MLLP blocks: `<VT> payload <FS><CR>` (HL7 MLLP Release 1, section 4.2; hl7.md items 1 to 10, 14, 15).

Two invariants, whatever arrives: how the network cut the stream never changes what comes out, and
no payload ever holds bytes of two blocks. A <VT> always starts anew; what it interrupts is dropped.

The decoder is in one of these states::

    outside   --VT-->      inside        anything else is garbage: counted, and bounded
    inside    --VT-->      inside        the partial block is dropped and counted (item 6)
    inside    --FS-->      ended         the byte behind FS decides (item 5)
    inside    --too long-> skipping      only the first bytes are kept (item 8)
    skipping  --FS-->      ended
    ended     --CR, LF-->  outside       a block is complete
    ended     --VT-->      inside        a block is complete (sender without CR), the next one begins
    ended     --finish()-> outside       a block is complete (sender without CR, then silence or its end)
    ended     --other-->   failed        or back inside, with `lenient_fs`: FS was data
    any       --a bound--> failed
    failed                               takes nothing more: the connection is to be closed
"""

from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import Final, Literal

VT = b"\x0b"
FS = b"\x1c"
CR = b"\r"
END = FS + CR

COMMIT_ACK = b"\x06"
COMMIT_NAK = b"\x15"

DEFAULT_MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
DEFAULT_MAX_GARBAGE_BYTES = 64 * 1024
PREFIX_BYTES = 4096

# What senders use as keep-alive or put behind a block out of habit: worth a count, not a warning.
_BLANK = b"\r\n\t \x00"
STRAY_BYTES: Final = 8

BlockWarning = Literal["bytes-before", "truncated-before", "lf-for-cr", "no-cr"]

WARNING_TEXTS: dict[BlockWarning, str] = {
    "bytes-before": "bytes outside a block came before this one and were ignored",
    "truncated-before": "the block before this one was cut off by a new start of block and was dropped",
    "lf-for-cr": "the block ended with FS LF instead of FS CR",
    "no-cr": "the block ended with FS alone, without CR",
}

FaultCode = Literal["garbage", "oversize", "fs-in-block"]


class PayloadError(ValueError):
    """The payload cannot be framed: it holds a byte that MLLP keeps for itself."""


class Block:
    """One complete payload, as it was between <VT> and <FS>, with what a tolerance let pass."""

    __slots__ = ("payload", "warnings")

    def __init__(self, payload: bytes, warnings: tuple[BlockWarning, ...] = ()) -> None:
        self.payload = payload
        self.warnings = warnings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and self.payload == other.payload and self.warnings == other.warnings

    __hash__ = None  # type: ignore[assignment]  # compared in tests, never a key

    def __repr__(self) -> str:
        return f"Block({len(self.payload)} bytes, {self.warnings})"  # never the payload: it may reach a log


@dataclass(slots=True, frozen=True)
class Oversize:
    """A block longer than the limit: the start of its payload, for an answer that refuses it (item 8).

    `size_bytes` is the payload's length. Where `is_complete` is false its end was not waited for: it
    has at least `size_bytes`, and a Fault follows.
    """

    prefix: bytes
    size_bytes: int
    limit_bytes: int
    is_complete: bool = True

    def __repr__(self) -> str:
        return f"Oversize({self.size_bytes} of at most {self.limit_bytes} bytes, complete={self.is_complete})"


@dataclass(slots=True, frozen=True)
class CommitByte:
    """A one-byte block 06 (commit) or 15 (negative): the peer speaks MLLP Release 2 (items 14, 15)."""

    positive: bool


@dataclass(slots=True, frozen=True)
class Fault:
    """The stream cannot be followed any further; the connection is to be closed without an answer."""

    code: FaultCode
    reason: str


Item = Block | Oversize | CommitByte | Fault

_OUTSIDE, _INSIDE, _SKIPPING, _ENDED, _FAILED = range(5)


class BlockDecoder:
    """Cuts an MLLP byte stream into blocks, in any cut and in linear time.

    `max_payload_bytes`: longer payloads are not kept but come out as Oversize, once their end is seen
    or `max_skipped_bytes` (default four times as much) have gone by. `max_garbage_bytes`: how much may
    come between blocks. `lenient_fs`: FS followed by other bytes is data; FS at the end of what has
    arrived then waits for its CR for ever, as nothing could tell it from data.

    Counters, for the connection's statistics: `garbage_bytes` (all bytes outside blocks),
    `truncated_blocks`, `empty_blocks`. `stray`: how what came outside of blocks last began, to tell what it may be;
    never to be shown.
    """

    __slots__ = (
        "_buffer",
        "_lenient_fs",
        "_max_garbage",
        "_max_payload",
        "_max_skipped",
        "_run",
        "_size",
        "_state",
        "_swallow",
        "_warnings",
        "empty_blocks",
        "garbage_bytes",
        "stray",
        "truncated_blocks",
    )

    def __init__(
        self,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        *,
        max_skipped_bytes: int | None = None,
        max_garbage_bytes: int = DEFAULT_MAX_GARBAGE_BYTES,
        lenient_fs: bool = False,
    ) -> None:
        self._max_payload = max_payload_bytes
        self._max_skipped = max(
            max_payload_bytes, 4 * max_payload_bytes if max_skipped_bytes is None else max_skipped_bytes
        )
        self._max_garbage = max_garbage_bytes
        self._lenient_fs = lenient_fs
        self._state = _OUTSIDE
        # The payload so far; its first PREFIX_BYTES while skipping. What was written to a BytesIO is given out as
        # it is; a bytearray would be copied whole.
        self._buffer = BytesIO()
        self._size = 0  # of the payload so far
        self._run = 0  # garbage since the last block
        self._swallow = False  # finish() closed a block without CR: one late CR or LF is not garbage
        self._warnings: list[BlockWarning] = []  # for the next block
        self.garbage_bytes = 0
        self.stray = b""
        self.truncated_blocks = 0
        self.empty_blocks = 0

    @property
    def mid_block(self) -> bool:
        """Whether a block has begun and not ended: silence now means a sender in trouble (item 7)."""
        return self._state in (_INSIDE, _SKIPPING, _ENDED)

    @property
    def awaits_cr(self) -> bool:
        """Whether all but the CR of a block is here. The caller gives it a moment, then calls `finish()`."""
        return self._state == _ENDED and not self._lenient_fs

    @property
    def has_stray_bytes(self) -> bool:
        """Whether something that is not blank came since the last block, outside any."""
        return "bytes-before" in self._warnings

    @property
    def failed(self) -> bool:
        """Whether a Fault was given out; nothing is decoded any more."""
        return self._state == _FAILED

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an unfinished block are held."""
        return self._buffer.tell()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Item]:
        """Take bytes off the wire; return what they complete, in order of arrival.

        A Fault is always the last item that the decoder gives.
        """
        if type(data) is not bytes:
            data = bytes(data)
        # One whole block in one chunk, which is nearly every chunk: nothing is copied but the payload.
        if self._state == _OUTSIDE and not self._warnings and data.startswith(VT):
            end = len(data) - 2
            if 6 <= end <= self._max_payload and data.find(FS) == end and data[end + 1] == 13 and data.rfind(VT) == 0:
                payload = data[1:end]
                if not payload.isspace():
                    self._run = 0
                    self._swallow = False
                    return [Block(payload)]
        items: list[Item] = []
        at, size = 0, len(data)
        while at < size:
            if self._state == _OUTSIDE:
                at = self._seek(data, at, items)
            elif self._state == _ENDED:
                at = self._decide(data, at, items)
            elif self._state == _FAILED:
                break
            else:
                at = self._collect(data, at, items)
        return items

    def finish(self) -> list[Item]:
        """No more bytes came for a while, or ever: a block that lacks only its CR is complete (item 5).

        The same bytes later go on where the stream is: a late CR is taken as the block's own.
        """
        if not self.awaits_cr:
            return []
        items: list[Item] = []
        self._warnings.append("no-cr")
        self._complete(items)
        self._swallow = True
        return items

    def _seek(self, data: bytes, at: int, items: list[Item]) -> int:
        """Outside: skip to the next VT (item 4)."""
        if self._swallow:
            self._swallow = False
            if data[at] in b"\r\n":
                return at + 1
        start = data.find(VT, at)
        end = len(data) if start < 0 else start
        if end > at:
            self._run += end - at
            self.garbage_bytes += end - at
            if self._run > self._max_garbage:
                self._fail("garbage", f"more than {self._max_garbage} bytes without a start of block", items)
                return len(data)
            if "bytes-before" not in self._warnings and data[at:end].strip(_BLANK):
                self._warnings.append("bytes-before")
                self.stray = data[at:end].lstrip(_BLANK)[:STRAY_BYTES]
        if start < 0:
            return len(data)
        self._run = 0
        self._begin()
        return start + 1

    def _begin(self) -> None:
        self._state = _INSIDE
        if self._buffer.tell():
            self._buffer = BytesIO()
        self._size = 0

    def _collect(self, data: bytes, at: int, items: list[Item]) -> int:
        """Inside or skipping: take payload up to the next FS, or all there is."""
        fs = data.find(FS, at)
        end = len(data) if fs < 0 else fs
        if data.find(VT, at, end) >= 0:
            # Item 6. All starts of block before `end` at once: one by one, a flood of VT would cost
            # a search for FS each.
            first, *middle, last = data[at:end].split(VT)
            if not self._add(first, items):
                return len(data)
            self._drop(1 if self._size else 0)
            cut_off = [part for part in middle if part]
            too_long = next((part for part in cut_off if len(part) > self._max_skipped), None)
            if too_long is not None:
                self._add(too_long, items)
                return len(data)
            self._drop(len(cut_off))
            if not self._add(last, items):
                return len(data)
        elif not self._add(data[at:end], items):
            return len(data)
        if fs < 0:
            return len(data)
        self._state = _ENDED
        return fs + 1

    def _drop(self, count: int) -> None:
        """`count` blocks were cut off by a new start of block, which is where we are now."""
        if count:
            self.truncated_blocks += count
            if "truncated-before" not in self._warnings:
                self._warnings.append("truncated-before")
        self._begin()

    def _add(self, part: bytes, items: list[Item]) -> bool:
        """Append to the payload within the bounds of item 8; false once they are passed."""
        self._size += len(part)
        if self._size <= self._max_payload:
            self._buffer.write(part)
            return True
        if self._state == _INSIDE:
            self._state = _SKIPPING
            self._buffer.truncate(PREFIX_BYTES)
            self._buffer.seek(0, SEEK_END)
        self._buffer.write(part[: PREFIX_BYTES - self._buffer.tell()])
        if self._size <= self._max_skipped:
            return True
        start = self._buffer.getvalue()[: self._max_skipped]
        items.append(Oversize(start, self._max_skipped, self._max_payload, is_complete=False))
        self._fail("oversize", f"no end of block within {self._max_skipped} bytes", items)
        return False

    def _decide(self, data: bytes, at: int, items: list[Item]) -> int:
        """Behind FS: what the next byte makes of it (item 5)."""
        following = data[at]
        if following == 13:
            self._complete(items)
            return at + 1
        if following == 10:
            self._warnings.append("lf-for-cr")
            self._complete(items)
            return at + 1
        if following == 11:
            self._warnings.append("no-cr")
            self._complete(items)
            return at
        if self._lenient_fs:
            # The state before was `inside` or `skipping`; `_add` finds out again which.
            self._state = _INSIDE if self._size <= self._max_payload else _SKIPPING
            return at if self._add(FS, items) else len(data)
        if self._size > self._max_payload:
            items.append(Oversize(self._buffer.getvalue(), self._size, self._max_payload, is_complete=False))
        self._fail("fs-in-block", "an end-of-block character inside a block, followed by neither CR, LF nor VT", items)
        return len(data)

    def _complete(self, items: list[Item]) -> None:
        """The block's end is certain: give it out and go outside."""
        payload = self._buffer.getvalue()
        warnings = tuple(self._warnings)
        size = self._size
        self._buffer = BytesIO()
        self._size = 0
        self._warnings.clear()
        self._state = _OUTSIDE
        if size > self._max_payload:
            items.append(Oversize(payload, size, self._max_payload))
        elif not payload or payload.isspace():
            self.empty_blocks += 1  # item 9: a keep-alive
        elif payload in (COMMIT_ACK, COMMIT_NAK):
            items.append(CommitByte(payload == COMMIT_ACK))
        else:
            items.append(Block(payload, warnings))

    def _fail(self, code: FaultCode, reason: str, items: list[Item]) -> None:
        self._state = _FAILED
        self._buffer = BytesIO()
        items.append(Fault(code, reason))


def encode(payload: bytes) -> bytes:
    """A payload as one block, to be written in one go.

    Raises PayloadError as `check` does.
    """
    check(payload)
    return b"".join((VT, payload, END))  # not added up: a large one would be there three times for a moment


def check(payload: bytes) -> None:
    """Raise PayloadError when it holds VT or FS: the peer would see other blocks than were meant.

    Item 2; HL7 has them escaped as \\X0B\\ and \\X1C\\.
    """
    # As numbers: of bytes, Python first finds out by an exception within that they are none.
    if 11 in payload or 28 in payload:
        raise PayloadError("the message holds a start-of-block or end-of-block character (0x0B, 0x1C)")
