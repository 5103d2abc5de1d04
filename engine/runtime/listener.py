"""A port that is listened on: who may connect, how long they may dawdle, and what becomes of bad bytes."""

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from engine.mllp.framing import WARNING_TEXTS, Block, BlockDecoder, Fault, Oversize
from engine.ports.clock import Clock
from engine.ports.meter import Meter
from engine.runtime.connection import UNREAD_ANSWERS_S, Connection, Reply
from engine.runtime.door import Door, Enter
from engine.runtime.room import Room
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.listener")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

READ_BUFFER_BYTES = 256 * 1024
SWEEP_S = 0.25
COUNT_EVERY = 20
"""At every n-th sweep the decoders of all connections are asked what they passed over."""
HANDSHAKE_S = 15
UNHEARD_S = 6.0
"""With what a look every `SWEEP_S * COUNT_EVERY` adds, a peer that vanished is noticed within 15 s."""
NONE_LEFT_EVERY_S = 60.0
LINGER_S = 0.5
"""How long a peer that we close on may go on sending, so that it gets to read our last answers."""


@dataclass(slots=True, frozen=True)
class ListenerSettings:
    """One port. Sizes in bytes, times in seconds; `idle_timeout_s` 0: a quiet sender may stay for ever.

    `allow` empty: every address; `client_names` empty: every certificate that `tls` lets in. `frame_timeout_s` runs
    from the first byte of a block to its end. `connection` is the kind for the port's release of MLLP; the last two
    are for one that waits for commits.
    """

    name: str
    host: str
    port: int
    allow: tuple[Network, ...] = ()
    tls: ssl.SSLContext | None = None
    client_names: frozenset[str] = frozenset()
    """In lower case."""
    max_message_bytes: int = 16 * 1024 * 1024
    max_connections: int = 10_000
    idle_timeout_s: float = 0.0
    frame_timeout_s: float = 60.0
    trailing_cr_s: float = 1.0
    lenient_fs: bool = False
    connection: type[Connection] = Connection
    commit_timeout_s: float = 10.0
    commit_retries: int = 2


TLS_HANDSHAKE: Final = b"\x16\x03"
HTTP_REQUESTS: Final = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ")


class BlockTaker(Protocol):
    """Who takes the blocks of a port: intake. Settles every reply sooner or later, with b'' where none is due."""

    def take(self, payload: bytes, reply: Reply) -> None: ...

    def take_oversize(self, block: Oversize, reply: Reply) -> None: ...


class Listener:
    """Owns the server socket and the connections of one port."""

    def __init__(
        self,
        settings: ListenerSettings,
        intake: BlockTaker,
        clock: Clock,
        meter: Meter,
        soon: Callable[[Callable[[], None]], None],
        room: Room | None = None,
    ) -> None:
        self.settings = settings
        self._intake = intake
        self._clock = clock
        self._meter = meter
        self.soon = soon
        self.now = clock.monotonic
        self.room = room or Room()
        self.most_in_hand_bytes = max(2 * settings.max_message_bytes, 8 * 1024 * 1024)
        self.address = ""
        self._view = memoryview(bytearray(READ_BUFFER_BYTES))
        # In dicts, for their order: what is done to all of them is done in the same order in each run.
        self._connections: dict[Connection, None] = {}
        self._watched: dict[Connection, None] = {}
        self._empty = asyncio.Event()
        self._entering: set[Connection] = set()
        self._spoken_to: dict[Connection, None] = {}
        self._door: Door | None = None
        self._none_left_at: float | None = None
        self._stopping = False
        self._sweeps = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._warned: set[tuple[str, str]] = set()

    # -- life -----------------------------------------------------------------------------------

    async def start(self, handed: Sequence[socket.socket] = (), *, accept: bool = True) -> tuple[str, int]:
        """Bind and listen; the address in use (port 0: a free one). Raises OSError.

        `handed`: listen on these, which another listener had (`hand_over`), and bind nothing. Not `accept`: the
        address is taken, and nobody can connect yet; `accept` follows.
        """
        sockets = list(handed) or await self._bind()
        self._door = Door(self.settings.name, sockets, self._judge, self._none_left)
        bound = sockets[0].getsockname()
        if accept:
            self._door.open()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        self.address = f"{bound[0]}:{bound[1]}"
        return str(bound[0]), int(bound[1])

    async def _bind(self) -> list[socket.socket]:
        """asyncio finds and binds the addresses; who comes in is our own affair."""
        host, port = self.settings.host, self.settings.port
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host, port, reuse_address=True, start_serving=False
        )
        sockets = [socket.socket(fileno=os.dup(bound.fileno())) for bound in server.sockets]
        server.close()
        return sockets

    def accept(self) -> None:
        """Let them come, after `start` without. Raises OSError."""
        assert self._door is not None
        self._door.open()

    def hand_over(self) -> list[socket.socket]:
        """The sockets that it listens on, once more, for another listener: whoever connects meanwhile waits there."""
        return self._door.hand_over() if self._door is not None else []

    def renew_tls(self, tls: ssl.SSLContext) -> None:
        """New connections are made with `tls`; those there are stay as they are."""
        self.settings = replace(self.settings, tls=tls)

    def rename(self, name: str) -> None:
        """The channels that share the port are others now."""
        if name != self.settings.name:
            self._meter.connections(self.settings.name, 0)
            self.settings = replace(self.settings, name=name)
            self._meter.connections(name, len(self._connections))

    def stop_reading(self) -> None:
        """Accept no more and read no more; what is in hand is still answered."""
        if self._door is None:
            return
        self._stopping = True
        self._door.close()
        if not self._connections:
            self._empty.set()
        for connection in list(self._connections):
            connection.close_when_answered()

    async def stop(self, deadline_s: float) -> None:
        """Accept no more, answer what is in hand, close; what is not answered by the deadline is cut off."""
        if self._door is None:
            return
        self.stop_reading()
        try:
            async with asyncio.timeout(deadline_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("port %s: %d connection(s) cut off", self.settings.name, len(self._connections))
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def abort_all(self) -> None:
        """Close everything at once, without a word (the outcome of a commit is unknown)."""
        if self._door is not None:
            self._door.close()
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    @property
    def connection_count(self) -> int:
        """Open connections."""
        return len(self._connections)

    # -- what connections call ------------------------------------------------------------------

    def new_decoder(self) -> BlockDecoder:
        """A decoder with this port's bounds."""
        return BlockDecoder(max_payload_bytes=self.settings.max_message_bytes, lenient_fs=self.settings.lenient_fs)

    def _judge(self, peer: str) -> Callable[[socket.socket], Enter] | None:
        """Whether this peer may come in: the allow-list first, then the limits (reliability.md C8, C9)."""
        connection = self.settings.connection(self, self._view)
        connection.peer = peer
        if not self._has_place(connection):
            return None

        async def enter(plain: socket.socket) -> None:
            try:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection,
                    plain,
                    ssl=self.settings.tls,
                    ssl_handshake_timeout=HANDSHAKE_S if self.settings.tls else None,
                )
            except OSError as error:  # ssl.SSLError among them
                if self.settings.tls is not None:
                    reason = getattr(error, "reason", None) or type(error).__name__
                    self._event(connection, "refused_tls", f"the TLS handshake failed ({reason})")
            finally:
                if connection in self._entering:
                    self._entering.discard(connection)
                    self.room.leave(connection)

        return enter

    def _has_place(self, connection: Connection) -> bool:
        """It is kept for the connection then, until that is admitted or gone."""
        if self.settings.allow and not self._allowed(connection.peer):
            self._event(connection, "refused_address", "an address that `allow` does not name")
            return False
        if len(self._connections) + len(self._entering) >= self.settings.max_connections:
            self._event(connection, "refused_limit", f"more than {self.settings.max_connections} connections")
            return False
        if not self.room.reserve(connection):
            self._event(connection, "refused_limit", f"more than {self.room.most_connections} connections on all ports")
            return False
        self._entering.add(connection)
        return True

    def _none_left(self) -> None:
        """The system has no file descriptor for one more; said once a minute."""
        self._meter.connection_event(self.settings.name, "no_descriptor")
        now = self.now()
        if self._none_left_at is None or now - self._none_left_at >= NONE_LEFT_EVERY_S:
            self._none_left_at = now
            log.error("port %s: no file descriptor is left for another connection", self.settings.name)

    def admit(self, connection: Connection) -> bool:
        """A connection has come in, and may stay unless the port stops: it has been judged at the door."""
        if self._stopping:
            return False
        wanted = self.settings.client_names
        if wanted and wanted.isdisjoint(name.lower() for name in connection.certificate_names):
            self._event(connection, "refused_name", "a certificate with a name that `client_names` does not have")
            return False
        self._entering.discard(connection)
        self.room.admit(connection)
        self._connections[connection] = None
        self._empty.clear()
        self._meter.connection_event(self.settings.name, "accepted")
        self._meter.connections(self.settings.name, len(self._connections))
        if self.settings.idle_timeout_s:
            self.watch(connection)
        return True

    def _allowed(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.settings.allow)

    def block(self, connection: Connection, block: Block | Oversize, reply: Reply) -> None:
        """A block came: intake answers it, whatever it is."""
        if isinstance(block, Oversize):
            self._event(connection, "oversize", f"a block of more than {block.limit_bytes} bytes")
            self._intake.take_oversize(block, reply)
            return
        if block.warnings:
            for warning in block.warnings:
                self._event(connection, warning, WARNING_TEXTS[warning])
        self._intake.take(block.payload, reply)

    def broken(self, connection: Connection, fault: Fault) -> None:
        """The stream cannot be followed any further: answer what is in hand, then close."""
        self._event(connection, fault.code, fault.reason)
        connection.close_when_answered()

    def failed(self, connection: Connection, error: Exception) -> None:
        """A defect of ours on one connection: its neighbours keep running, and nothing it sent is acknowledged."""
        log.error("port %s: reading a connection failed: %s", self.settings.name, describe(error))
        self._meter.connection_event(self.settings.name, "failed")
        connection.abort()

    def commit_byte(self, connection: Connection) -> None:
        """A one-byte commit block: the peer speaks MLLP Release 2, and this port Release 1 (hl7.md item 15)."""
        self._event(connection, "commit-byte", "the peer sends MLLP Release 2 commit blocks; they are ignored")

    def commit_refused(self, connection: Connection) -> None:
        """A negative commit block: the peer could not keep our answer (hl7.md item 14)."""
        self._event(connection, "commit-refused", "the peer answered an acknowledgement of ours with a negative commit")

    def uncommitted(self, connection: Connection) -> None:
        """Our answer was written as often as allowed, and never committed."""
        self._event(connection, "uncommitted", "the peer does not commit our answers, as `answers_committed` requires")

    def truncated(self, connection: Connection) -> None:
        """The peer went away in the middle of a block; it was not answered and not kept."""
        self._event(connection, "truncated", "the connection ended in the middle of a block")

    def gone(self, connection: Connection) -> None:
        """A connection ended."""
        self.count_ignored(connection)
        self._watched.pop(connection, None)
        self._spoken_to.pop(connection, None)
        if connection in self._connections:
            del self._connections[connection]
            if not self._connections:
                self._empty.set()
            self._meter.connections(self.settings.name, len(self._connections))
            self.room.leave(connection)

    def count_ignored(self, connection: Connection) -> None:
        """What came outside of blocks, and blocks without content, into the statistics (hl7.md items 4 and 9)."""
        decoder = connection.decoder
        if decoder.garbage_bytes and decoder.has_stray_bytes:
            self._stray(connection, decoder.stray)
        if decoder.garbage_bytes or decoder.empty_blocks:
            self._meter.ignored(self.settings.name, decoder.garbage_bytes, decoder.empty_blocks)
            decoder.garbage_bytes = decoder.empty_blocks = 0

    def _stray(self, connection: Connection, first: bytes) -> None:
        """No message comes of it and nothing answers it, so nothing else would say why (hl7.md item 4)."""
        seems = ""
        if first.startswith(TLS_HANDSHAKE):
            seems = ": they look like TLS, and this port has none"
        elif first.startswith(HTTP_REQUESTS):
            seems = ": they look like HTTP"
        elif first.startswith(b"MSH"):
            seems = ": they look like a message without its start of block, <VT>"
        if self._is_new(connection, "stray"):
            text = f"bytes came outside of MLLP blocks{seems}"
            log.warning("port %s, peer %s: %s (counted from now on)", self.settings.name, connection.peer, text)

    def crowded(self, connection: Connection) -> None:
        """Half blocks of many senders filled the room, and this one began last."""
        self._event(connection, "crowded", "too many unfinished blocks at a time; this one is to be sent again")
        connection.abort()

    def vanished(self, connection: Connection) -> None:
        """The peer's machine answers no more, and never said goodbye (reliability.md R11)."""
        self._event(connection, "vanished", "the connection's other end answers no more")

    def spoken_to(self, connection: Connection) -> None:
        """An answer is on its way: whether its sender is still there is looked at until it has come through."""
        self._spoken_to[connection] = None

    def watch(self, connection: Connection) -> None:
        """Look at this connection's clocks from now on."""
        self._watched[connection] = None

    # -- time -----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        now = self.now()
        for connection in list(self._watched):
            self._look_at(connection, now)
        self.room.look()
        self._sweeps += 1
        if self._sweeps % COUNT_EVERY == 0:
            for connection in self._connections:
                self.count_ignored(connection)
            for connection in list(self._spoken_to):
                self._listen_for(connection)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _look_at(self, connection: Connection, now: float) -> None:
        settings = self.settings
        if connection.write_blocked_since and now - connection.write_blocked_since > UNREAD_ANSWERS_S:
            self._event(connection, "unread", f"answers were not read for {UNREAD_ANSWERS_S:g} s")
            connection.abort()
        elif connection.lingering_since:
            if now - connection.lingering_since > LINGER_S and not connection.write_blocked_since:
                connection.end_linger()
        elif connection.closing or connection.paused:
            return  # nothing is read from it: that is not the sender's doing (reliability.md D5)
        elif connection.decoder.awaits_cr and now - connection.last_read_at >= settings.trailing_cr_s:
            connection.trailing_cr_overdue()
        elif connection.mid_block_since and now - connection.mid_block_since > settings.frame_timeout_s:
            self._event(connection, "midframe", f"a block was not ended within {settings.frame_timeout_s:g} s")
            connection.close_when_answered()
        elif (
            settings.idle_timeout_s
            and not connection.unanswered
            and now - connection.last_read_at > settings.idle_timeout_s
        ):
            self._event(connection, "idle", f"nothing came for {settings.idle_timeout_s:g} s")
            connection.close_when_answered()
        elif not (settings.idle_timeout_s or connection.mid_block_since or connection.write_blocked_since):
            self._watched.pop(connection, None)

    def _listen_for(self, connection: Connection) -> None:
        is_on_its_way, unheard_s = connection.outstanding()
        if unheard_s >= UNHEARD_S:
            self.vanished(connection)
            connection.abort()
        elif not is_on_its_way:
            self._spoken_to.pop(connection, None)

    def _event(self, connection: Connection, event: str, text: str) -> None:
        """Count always; log once per peer address and kind, so that a noisy peer cannot fill the disk."""
        self._meter.connection_event(self.settings.name, event)
        if self._is_new(connection, event):
            log.warning(
                "port %s, peer %s: %s (further ones are counted only)", self.settings.name, connection.peer, text
            )

    def _is_new(self, connection: Connection, event: str) -> bool:
        """Whether this is to be logged; it is not asked for a second time."""
        if (connection.peer, event) in self._warned or len(self._warned) >= 1000:
            return False
        self._warned.add((connection.peer, event))
        return True


def allow_list(entries: Sequence[str]) -> tuple[Network, ...]:
    """CIDR texts to networks. Raises ValueError (`check` has refused such a file before)."""
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in entries)
