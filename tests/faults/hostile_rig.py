"""A receiver that is hostile in every way at once, and what may be asked of an engine that delivers to it (R10).

Matrix rows S1 to S12 of reliability.md: a seeded peer draws how it treats each message, its port closes and opens,
and behind TLS it shows certificates that must not be believed. What it truly accepted, it knows itself; what the
engine holds for delivered must be the same.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import trustme

from engine.app import Engine, load
from engine.testing.messages import adt
from engine.testing.peers import Behaviour, ReceivingPeer, _Link, parse_behaviour, read_header
from engine.testing.sites import make_site
from tests.runtime.engines import codes
from tests.runtime.wires import Wire

ACK_TIMEOUT_S = 0.15

YES = ["AA", "CA", "CA+AA", "CA+AE", "split:0.002", "slow:0", "no-cr", "twice", "release-2", "AA-close", "late:0.01"]
NO = ["AE", "AR", "CE", "CR"]
SILENT = ["none", "late:0.5", "stall", "sip:0.02", "empty"]
WRONG = ["garbage", "text", "no-msa", "wrong-id", "stale-id", "stale-first", "early", "huge"]
CUT = ["half-ack", "close", "half-close", "reset", "cut", "cut-reset"]
Ways = Sequence[tuple[list[str], int]]
WAYS: Ways = ((YES, 76), (NO, 8), (SILENT, 3), (WRONG, 7), (CUT, 6))
"""How often each kind is drawn, in a hundred."""

SAID_AT_ONCE = frozenset({"AA", "CA", "CA+AA", "CA+AE", "no-cr", "twice", "release-2", "AA-close"})
"""Said whole and at once: a message that got one of these has no reason to come again."""

LONG_BYTES = 600_000
ROOM_BYTES = 64 * 1024
"""What a receiver's system takes without being read, or twice that. Whoever says `early` has read 192 KiB at most then:
a third of a long message can be nowhere but with its sender, who knows that."""
MAY_BE_YES = frozenset(way.partition(":")[0] for way in YES) | {"sip", "stale-first"}
"""Whole messages that get their own yes, if it comes in time; before it, `stale-first` says AA of another message,
which is in order where that one got CA alone."""

CHANNEL = """
listen:
  mllp: {{port: 0, max_message: 4MB}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: plain}}, {{to: secure}}]
destinations:
  plain:
    mllp: {{host: 127.0.0.1, port: {plain}, ack_timeout: 150ms, write_timeout: 150ms, connect_timeout: 5s}}
    on_refused: retry
    on_rejected: retry
    retry: {{first: 10ms, most: 20ms}}
  secure:
    mllp:
      host: 127.0.0.1
      port: {secure}
      ack_timeout: 150ms
      write_timeout: 150ms
      connect_timeout: 1s
      tls: {{ca: ca.pem}}
    on_refused: retry
    on_rejected: retry
    retry: {{first: 10ms, most: 20ms}}
"""


MOST_IN_VAIN = 500
"""Attempts without one delivery between them, of a receiver that says yes to three in four."""

_NAME = re.compile("H[0-9]+")
_TCP_INFO = getattr(socket, "TCP_INFO", 0)
_ESTABLISHED = 1


def control_id(payload: bytes) -> str:
    return read_header(payload)[10].decode("ascii", "replace")


def is_left(link: _Link) -> bool:
    """Whether the sender has closed or reset its end: what is read now, it gave up before, and it hears no answer."""
    plain = link._transport.get_extra_info("socket") if link._transport is not None else None
    if plain is None or plain.fileno() < 0:
        return True
    return bool(plain.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] != _ESTABLISHED)


class Pulse:
    """Whether the loop that engine and peers share has been turning lately.

    Where it stood still, the engine's time-out is over before the peer has read the message: what the peer says then
    is no yes at once.
    """

    EVERY_S = 0.005

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beats: deque[float] = deque(maxlen=int(ACK_TIMEOUT_S / self.EVERY_S))
        self._beat()

    def _beat(self) -> None:
        self._beats.append(self._loop.time())
        self._timer = self._loop.call_later(self.EVERY_S, self._beat)

    def stop(self) -> None:
        self._timer.cancel()

    @property
    def is_steady(self) -> bool:
        """Half of the turns that there should have been within the last time-out; a message needs a few."""
        since = self._loop.time() - ACK_TIMEOUT_S
        return sum(beat > since for beat in self._beats) >= (self._beats.maxlen or 0) // 2


class HostilePeer(ReceivingPeer):
    """Draws its behaviour for each message, and keeps the truth about it.

    `accepted`: what it said yes to, by its own reckoning. `again`: what came again though yes was said at once.
    `floods`: what came while the answer to another was still owed on the same connection, or while another
    connection was open: a sender has one message outstanding, and gives its connection up before it sends again.
    `stale`: what was read from a connection when the sender had left it.
    `strange`: what is none of our messages; the first bytes of TLS may look like a block to a peer without it.
    """

    def __init__(self, seed: int, tls: ssl.SSLContext | None = None, ways: Ways = WAYS) -> None:
        super().__init__(tls=tls, keep=False)
        self.random = Random(seed)
        self.ways = ways
        self.order: list[str] = []
        self.accepted: set[str] = set()
        self.again: list[str] = []
        self.floods: list[str] = []
        self.heard: Counter[str] = Counter()
        self.stale = 0
        self.strange = 0
        self.pulse: Pulse | None = None
        self._said: set[str] = set()
        self._owed: dict[_Link, str] = {}
        self._drawn = self._draw()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        await super().start(host, port)
        assert self._server is not None
        for listening in self._server.sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)

    def _draw(self) -> Behaviour:
        ways = self.random.choices([ways for ways, _ in self.ways], [weight for _, weight in self.ways])[0]
        return parse_behaviour(self.random.choice(ways))

    def _behaviour(self) -> Behaviour:
        return self._drawn

    def _next(self) -> None:
        super()._next()
        self._drawn = self._draw()

    def _settles(self, behaviour: Behaviour) -> bool:
        """A draw is one message's, also where nobody will ever see its end; the next message has its own."""
        return True

    def _note(self, payload: bytes, link: _Link, settled: Behaviour | None = None) -> Behaviour:
        name = control_id(payload)
        behaviour = super()._note(payload, link, settled)
        if not _NAME.fullmatch(name):
            self.strange += 1
            return parse_behaviour("none")
        if is_left(link):
            self.stale += 1
            return parse_behaviour("none")
        self.heard[name] += 1
        if not self.order or self.order[-1] != name:
            self.order.append(name)
        if name in self._said:
            self.again.append(name)
        others = [other for other in self._open if other is not link and other in self._owed]
        if link in self._owed or others:
            self.floods.append(name)
        kind = behaviour.kind
        if kind in ("none", "late", "stall", "early", "empty"):
            self._owed = {owing: n for owing, n in self._owed.items() if owing in self._open}
            if not behaviour.delay_s or behaviour.delay_s > ACK_TIMEOUT_S:
                self._owed[link] = name
        if kind in SAID_AT_ONCE and self.pulse is not None and self.pulse.is_steady:
            self._said.add(name)
        if kind in MAY_BE_YES and behaviour.delay_s < ACK_TIMEOUT_S:
            self.accepted.add(name)
        return behaviour

    @property
    def judged(self) -> int:
        """To how many messages a yes was said of which one can tell that the sender had it in time."""
        return len(self._said)


@dataclass
class Verdict:
    """What the rig saw, of both destinations together."""

    seed: int
    messages: int = 0
    delivered: int = 0
    lost: list[str] = field(default_factory=list)
    falsely_delivered: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    again_after_yes: list[str] = field(default_factory=list)
    floods: list[str] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    bad_certificates: int = 0
    yes_at_once: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.falsely_delivered or self.out_of_order or self.again_after_yes or self.floods)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.messages} messages, {self.delivered} delivered, {len(self.lost)} lost,"
            f" {len(self.falsely_delivered)} falsely delivered {self.falsely_delivered[:3]},"
            f" {len(self.out_of_order)} out of order {self.out_of_order[:3]},"
            f" {len(self.again_after_yes)} again after a yes {self.again_after_yes[:3]},"
            f" {len(self.floods)} sent while an answer was owed {self.floods[:3]}"
        )


class HostileRig:
    """One engine, one sender that pipelines, two hostile receivers."""

    def __init__(self, folder: Path, seed: int, messages: int, *, ways: Ways = WAYS, long: float = 0.02) -> None:
        """`long`: the part of the messages that is too long for the buffers between us."""
        self.folder = folder
        self.long = long
        self.random = Random(seed)
        self.verdict = Verdict(seed, messages)
        self.authority = trustme.CA()
        self.plain = HostilePeer(seed * 2 + 1, None, ways)
        self.secure = HostilePeer(seed * 2 + 2, self._context("127.0.0.1"), ways)
        self.names = [f"H{n}" for n in range(messages)]
        self._engine: Engine | None = None
        self._over = False

    async def run(self) -> Verdict:
        pulse = self.plain.pulse = self.secure.pulse = Pulse()
        await self.plain.start()
        await self.secure.start()
        pem = self.authority.cert_pem.bytes()
        file = CHANNEL.format(plain=self.plain.address[1], secure=self.secure.address[1])
        site = make_site(
            self.folder, {"adt": {"channel.yaml": file, "ca.pem": pem}}, "admin: off\nlimits: {free_disk: 0}\n"
        )
        engine = self._engine = Engine(load(site, {}))
        await engine.start()
        loop = asyncio.get_running_loop()
        doors = [
            loop.create_task(self._door(self.plain, "plain")),
            loop.create_task(self._door(self.secure, "secure")),
        ]
        try:
            await self._send(engine.addresses["adt"])
            await self._delivered(engine, doors)
            self._over = True
            await asyncio.gather(*doors)
            self._judge(engine)
        finally:
            self._over = True
            for door in doors:
                door.cancel()
            await asyncio.gather(*doors, return_exceptions=True)
            await engine.stop(deadline_s=5)
            await self.plain.stop()
            await self.secure.stop()
            pulse.stop()
        return self.verdict

    # -- the sender -----------------------------------------------------------------------------

    async def _send(self, address: tuple[str, int]) -> None:
        wire = await Wire.open(address)
        for at in range(0, len(self.names), 25):
            some = self.names[at : at + 25]
            await wire.send(*(self._message(name) for name in some))
            answers = await wire.answers(len(some))
            assert codes(answers) == ["AA"] * len(some), self.verdict.seed
            if at - min(len(self.plain.accepted), len(self.secure.accepted)) > 2000:
                await asyncio.sleep(0.05)
        wire.close()

    def _message(self, name: str) -> bytes:
        """Some are too long for the buffers between us, so that their receiver can misbehave in their middle."""
        long = self.random.random() < self.long
        return adt(control_id=name) + (b"NTE|1||" + b"x" * LONG_BYTES + b"\r" if long else b"")

    async def _delivered(self, engine: Engine, doors: Sequence[asyncio.Task[None]]) -> None:
        """Until the engine believes that nothing waits any more. A lane that gets nowhere is a failure of its own."""
        last: dict[str, tuple[int, int]] = {}
        while any(depth.queued or depth.held for depth in engine._queries.depths()):
            for door in doors:
                if door.done():
                    door.result()  # a port that stays closed is the rig's own failure
            for lane in ("plain", "secure"):
                ends = self._tried(lane)
                delivered, met = ends["delivered"], sum(ends.values()) - ends["unreachable"]
                if last.get(lane, (-1, 0))[0] != delivered:
                    last[lane] = (delivered, met)
                in_vain = met - last[lane][1]
                assert in_vain <= MOST_IN_VAIN, f"seed {self.verdict.seed}: {lane} stands at {delivered}: {ends}"
            await asyncio.sleep(0.1)

    # -- the doors ------------------------------------------------------------------------------

    def _context(self, name: str, authority: trustme.CA | None = None, **dates: datetime) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (authority or self.authority).issue_cert(name, **dates).configure_cert(context)
        return context

    def _bad_contexts(self) -> list[ssl.SSLContext | None]:
        """Expired, of an unknown authority, for another name, and no TLS at all (S12)."""
        old = datetime(2020, 1, 1, tzinfo=UTC)
        return [
            self._context("127.0.0.1", not_before=old, not_after=datetime(2021, 1, 1, tzinfo=UTC)),
            self._context("127.0.0.1", trustme.CA()),
            self._context("receiver.example"),
            None,
        ]

    async def _door(self, peer: HostilePeer, lane: str) -> None:
        """Close the port now and then until the engine has noticed; behind TLS, show what must not be believed."""
        good = peer._tls
        bad = self._bad_contexts() if lane == "secure" else []
        while not self._over:
            seen = peer.messages
            pause = peer.random.randint(20, 60)
            while peer.messages < seen + pause and not self._over:
                await asyncio.sleep(0.005)
            if self._over:
                return
            await peer.stop()
            self.verdict.closed += 1
            if not await self._refused(lane, peer.random.randint(1, 2)) and self._over:
                await self._open(peer)
                return
            if bad and peer.random.random() < 0.7:
                peer._tls = peer.random.choice(bad)
                await self._open(peer)
                await self._refused(lane, 1)
                await peer.stop()
                peer._tls = good
                self.verdict.bad_certificates += 1
            await self._open(peer)

    async def _open(self, peer: HostilePeer) -> None:
        while True:
            with contextlib.suppress(OSError):  # another process may have the port for a moment
                await peer.start(*peer.address)
                return
            await asyncio.sleep(0.05)

    async def _refused(self, lane: str, times: int) -> bool:
        """Until so many more attempts have found nobody they could talk to; False when there are none to come."""
        before = self._tried(lane)["unreachable"]
        while not self._over:
            if self._tried(lane)["unreachable"] >= before + times:
                return True
            await asyncio.sleep(0.01)
        return False

    def _tried(self, lane: str) -> Counter[str]:
        assert self._engine is not None
        return attempts(self._engine, lane)

    # -- the questions --------------------------------------------------------------------------

    def _judge(self, engine: Engine) -> None:
        verdict = self.verdict
        for lane, peer in (("plain", self.plain), ("secure", self.secure)):
            verdict.lost += [name for name in self.names if not peer.heard[name]]
            verdict.falsely_delivered += [n for n in self.names if peer.heard[n] and n not in peer.accepted]
            newest = -1
            for name in peer.order:
                number = int(name[1:])
                if number < newest:
                    verdict.out_of_order.append(name)
                newest = max(newest, number)
            verdict.again_after_yes += peer.again
            verdict.floods += peer.floods
            verdict.ways += peer.counts
            verdict.yes_at_once += peer.judged
            verdict.attempts += attempts(engine, lane)
        verdict.delivered = verdict.attempts["delivered"]


def attempts(engine: Engine, lane: str) -> Counter[str]:
    """How attempts of a destination ended, by the metrics."""
    found: Counter[str] = Counter()
    for line in engine.meter.render("")[1].decode().splitlines():
        if line.startswith("segmill_deliveries_total{") and f'destination="{lane}"' in line:
            labels, _, value = line.rpartition(" ")
            found[labels.split('outcome="')[1].split('"')[0]] = int(float(value))
    return found
