"""One sender's connection: bytes to the decoder, blocks to intake, answers back in order of arrival.

Invariants:

- the n-th answer on the wire belongs to the n-th block that is owed one, however the work behind
  them ended (hl7.md item 12); a block that is owed nothing leaves nothing;
- at most `MOST_UNANSWERED` blocks or twice the largest message are in hand for one connection; past
  that nothing is read, so that TCP tells the sender;
- a peer that does not read its answers is not read from, and dropped after a minute;
- nothing is read while somebody holds it: the room of all ports is full, or a channel cannot keep up.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, assert_never, cast

from engine.mllp.framing import Block, BlockDecoder, CommitByte, Fault, Item, Oversize
from engine.ports.gone import is_tcp, keep_alive, outstanding
from engine.runtime.certificate_names import names_of

if TYPE_CHECKING:
    from engine.runtime.listener import Listener

MOST_UNANSWERED = 256
UNREAD_ANSWERS_S = 60.0
MOST_KNOWN_AS = 300
"""Characters of an address with the names of a certificate, in a record."""


class Reply:
    """The place of one block's answer in its connection's order. Settled once: bytes, or b'' for none due."""

    __slots__ = ("_connection", "answer", "size", "started")

    def __init__(self, connection: "Connection", size: int, started: float) -> None:
        self._connection = connection
        self.answer: bytes | None = None
        self.size = size
        self.started = started

    @property
    def peer(self) -> str:
        """The address the block came from, and the name of the certificate that was shown."""
        return self._connection.known_as

    @property
    def sender(self) -> "Connection":
        """The connection, for those who cannot keep up with it."""
        return self._connection

    commits: ClassVar[bool] = False
    """Whether that the message is kept is said apart from its answer (MLLP Release 2)."""

    can_follow: ClassVar[bool] = True
    """Whether a part of the answer may come later than the rest."""

    def settle(self, answer: bytes) -> None:
        """Give the answer as it goes on the wire, framed; b'' when no answer is due."""
        if self.answer is None:
            self.answer = answer
            self._connection.settled()

    def settle_first(self, answer: bytes) -> None:
        """Give a first part; `follow` gives the rest when it is known, and answers to later blocks may pass it."""
        self._connection.owed += 1
        self.settle(answer)

    def follow(self, answer: bytes) -> None:
        """Give the rest, framed; b'' when it came to nothing."""
        self._connection.follow(self, answer)

    def not_kept(self, answer: bytes) -> None:
        """Give the answer of a message that could not be stored."""
        self.settle(answer)

    def drop(self) -> None:
        """Nothing can be said (unknown outcome): the connection closes without an answer to this block."""
        self._connection.abort()


class Connection(asyncio.BufferedProtocol):
    """The asyncio side of one MLLP connection."""

    __slots__ = (
        "_flushing",
        "_has_ended",
        "_holds",
        "_in_hand_bytes",
        "_listener",
        "_paused",
        "_replies",
        "_room",
        "_transport",
        "_view",
        "_write",
        "_write_blocked_at",
        "certificate_names",
        "closing",
        "decoder",
        "known_as",
        "last_read_at",
        "lingering_since",
        "mid_block_since",
        "owed",
        "partial_bytes",
        "peer",
    )

    reply_kind: ClassVar[type[Reply]] = Reply

    def __init__(self, listener: "Listener", view: memoryview) -> None:
        self._listener = listener
        self._view = view
        self._transport: asyncio.Transport | None = None
        self._replies: deque[Reply] = deque()
        self._room = listener.room
        self._in_hand_bytes = 0
        self._holds = 0
        self._paused = False
        self._flushing = False
        self._has_ended = False
        self._write_blocked_at = 0.0
        self.decoder: BlockDecoder = listener.new_decoder()
        self.closing = False
        self.peer = self.known_as = ""
        self.certificate_names: tuple[str, ...] = ()
        self.last_read_at = 0.0
        self.lingering_since = 0.0
        self.mid_block_since = 0.0
        self.owed = 0
        """Answers of which the first part has been given, and the rest has not."""
        self.partial_bytes = 0

    # -- asyncio's calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._write = self._writer(self._transport)
        address = transport.get_extra_info("peername")
        self.peer = self.known_as = str(address[0]) if address else ""
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.certificate_names = names_of(certificate)
            self.known_as = f"{self.peer} ({', '.join(self.certificate_names)})"[:MOST_KNOWN_AS]
        self.last_read_at = self._listener.now()
        if not self._listener.admit(self):
            self.closing = True
            self._transport.abort()
            return
        plain = transport.get_extra_info("socket")
        if plain is not None and is_tcp(plain):
            keep_alive(plain)

    def get_buffer(self, sizehint: int) -> memoryview:
        # One buffer for all connections of the loop: asyncio fills it and hands it over in one call.
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing:
            return
        decoder = self.decoder
        listener = self._listener
        now = listener.now()
        self.last_read_at = now
        try:
            items = decoder.feed(self._view[:nbytes])
            for item in items:
                self._take(item, now)
        except Exception as error:  # noqa: BLE001 - a protocol callback does not raise
            listener.failed(self, error)
            return
        if decoder.mid_block:
            # A block that ended in this read was in time; the time of the one behind it begins now.
            if items or not self.mid_block_since:
                self.mid_block_since = now
                listener.watch(self)
            self._has_partial(decoder.buffered_bytes)
        elif self.mid_block_since:
            self.mid_block_since = 0.0
            self._has_partial(0)
        room = self._room
        if room.in_hand_bytes + room.partial_bytes > room.most_bytes:
            room.look()
        if len(self._replies) >= MOST_UNANSWERED or self._in_hand_bytes > listener.most_in_hand_bytes:
            self._pause()

    def eof_received(self) -> bool:
        """The peer will send no more; what it sent whole is still answered before the connection closes."""
        self._has_ended = True
        if self.closing:
            return self._owes() and self._listener.settings.tls is None
        self._finish_decoder()
        self.closing = True
        self._listener.count_ignored(self)
        self.decoder = self._listener.new_decoder()  # half a block is of no use any more
        self._has_partial(0)
        # True keeps our direction open, and _flush closes it. TLS cannot do that: its end is for both directions.
        return self._owes() and self._listener.settings.tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closing:
            self._finish_decoder()
        self.closing = True
        self._has_partial(0)
        if isinstance(exc, TimeoutError):
            self._listener.vanished(self)
        self._listener.gone(self)
        self._transport = None

    def pause_writing(self) -> None:
        self._write_blocked_at = self._listener.now()
        self._listener.watch(self)
        self._pause()

    def resume_writing(self) -> None:
        self._write_blocked_at = 0.0
        self._resume_if_low()

    # -- the listener's calls -------------------------------------------------------------------

    def _take(self, item: Item, now: float) -> None:
        if isinstance(item, (Block, Oversize)):
            size = len(item.payload) if isinstance(item, Block) else len(item.prefix)
            reply = self.reply_kind(self, size, now)
            self._replies.append(reply)
            self._in_hand_bytes += size
            self._room.in_hand_bytes += size
            self._listener.block(self, item, reply)
        elif isinstance(item, Fault):
            self._listener.broken(self, item)
        elif isinstance(item, CommitByte):
            self.commit_came(item.positive)
        else:
            assert_never(item)

    def _finish_decoder(self) -> None:
        """End of the stream: a lone <FS> ends its block, half a block is discarded and counted (hl7.md 5, 7)."""
        try:
            for item in self.decoder.finish():
                self._take(item, self._listener.now())
        except Exception as error:  # noqa: BLE001 - a protocol callback does not raise
            self._listener.failed(self, error)
            return
        if self.decoder.mid_block:
            self._listener.truncated(self)

    def commit_came(self, positive: bool) -> None:
        """A one-byte commit block: the peer speaks MLLP Release 2, and this port does not."""
        self._listener.commit_byte(self)

    def _writer(self, transport: asyncio.Transport) -> Callable[[bytes], None]:
        """What takes whole blocks to the peer."""
        return transport.write

    def _owes(self) -> bool:
        """Whether something that came is not answered in full."""
        return bool(self._replies) or self.owed > 0

    def follow(self, reply: Reply, answer: bytes) -> None:
        """The rest of an answer whose first part was given before."""
        self.owed -= 1
        if reply in self._replies:
            reply.answer = (reply.answer or b"") + answer  # the first part has not left yet
        elif answer and self._transport is not None and not self._transport.is_closing():
            self._write(answer)
        self.settled()

    def settled(self) -> None:
        """An answer is there: write what is due from the head, once for all that this turn settles."""
        if not self._flushing:
            self._flushing = True
            self._listener.soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        replies = self._replies
        out: list[bytes] = []
        freed = 0
        while replies and (answer := replies[0].answer) is not None:
            freed += replies.popleft().size
            if answer:
                out.append(answer)
        self._in_hand_bytes -= freed
        self._room.in_hand_bytes -= freed
        if self._room.is_full:
            self._room.look()
        transport = self._transport
        if transport is None:
            return
        if out:
            self._write(out[0] if len(out) == 1 else b"".join(out))
            self._listener.spoken_to(self)
        if self._paused:
            self._resume_if_low()
        if self.closing and not replies and not self.owed:
            self._close(transport)

    def _close(self, transport: asyncio.Transport) -> None:
        """Close so that the peer gets our last answers.

        To close on unread bytes resets the connection, and the answers that the peer has not read go with it. So
        our direction ends first, and what still comes is read away for a moment, or until the peer closes.
        """
        if self.lingering_since or transport.is_closing():
            return
        if self._has_ended or not transport.can_write_eof() or transport.get_write_buffer_size():
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # it is gone already
            transport.abort()
            return
        self.lingering_since = self._listener.now()
        self._listener.watch(self)
        if self._paused:
            self._paused = False
            transport.resume_reading()

    def end_linger(self) -> None:
        """The moment is over."""
        if self._transport is not None:
            self._transport.close()

    def _pause(self) -> None:
        if (
            not self._paused
            and not self.lingering_since
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            self._paused = True
            self._transport.pause_reading()

    def _resume_if_low(self) -> None:
        if (
            self._paused
            and not self._holds
            and not self.closing
            and not self._write_blocked_at
            and len(self._replies) <= MOST_UNANSWERED // 2
            and self._in_hand_bytes <= self._listener.most_in_hand_bytes // 2
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            self._paused = False
            now = self._listener.now()
            self.last_read_at = now
            if self.mid_block_since:
                self.mid_block_since = now
            self._transport.resume_reading()

    @property
    def paused(self) -> bool:
        """Whether it is not read from at present."""
        return self._paused

    @property
    def write_blocked_since(self) -> float:
        """Since when the peer does not read its answers, 0 while it does."""
        return self._write_blocked_at

    def outstanding(self) -> tuple[bool, float]:
        """Whether an answer is on its way, and for how many seconds its sender has not answered what was sent again."""
        plain = self._transport.get_extra_info("socket") if self._transport is not None else None
        return outstanding(plain) if plain is not None and is_tcp(plain) and plain.fileno() >= 0 else (False, 0.0)

    @property
    def unanswered(self) -> int:
        """Blocks in hand."""
        return len(self._replies) + self.owed

    def trailing_cr_overdue(self) -> None:
        """<FS> came and nothing after it for `trailing_cr_s`: that was the end of the block (hl7.md item 5)."""
        self._finish_decoder()
        self.mid_block_since = 0.0

    def close_when_answered(self) -> None:
        """Read no more; close when everything in hand is answered."""
        if self.closing:
            return
        self.closing = True
        self._pause()
        if not self._owes() and self._transport is not None:
            self._close(self._transport)

    def hold(self) -> None:
        """Do not read until let go as often as held."""
        self._holds += 1
        self._pause()

    def let_go(self) -> None:
        """One reason less not to read."""
        self._holds -= 1
        self._resume_if_low()

    def crowded_out(self) -> None:
        """Give up the half block: there is no room for it."""
        self._listener.crowded(self)

    def _has_partial(self, size: int) -> None:
        """So much of an unfinished block is here now."""
        self._room.partial_bytes += size - self.partial_bytes
        self.partial_bytes = size

    def abort(self) -> None:
        """Close at once and say nothing more."""
        self.closing = True
        self._replies.clear()
        self._room.in_hand_bytes -= self._in_hand_bytes
        self._in_hand_bytes = 0
        self._has_partial(0)
        if self._transport is not None:
            self._transport.abort()
