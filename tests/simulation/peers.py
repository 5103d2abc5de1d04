"""The world around the engine: senders that resend, pipeline, cut and repeat themselves, receivers that misbehave."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable
from tests.simulation.loop import Loop, Process
from tests.simulation.model import Model
from tests.simulation.network import End, Network, Port
from tests.simulation.records import Item, Made
from tests.simulation.sites import PORT, SHORT_JOIN_S, Site, Target

VT, END = b"\x0b", b"\x1c\r"
REJECTED = Made("rejected", [])
CALM_US = 1_000_000
"""How long each sender waits for an answer when all is well, at least: longer than the engine for a destination's."""


def framed(payload: bytes) -> bytes:
    return VT + payload + END


def blocks(buffer: bytearray) -> list[bytes]:
    """Take whole blocks off the front."""
    found = []
    while (end := buffer.find(END)) >= 0:
        start = buffer.find(VT)
        found.append(bytes(buffer[start + 1 : end]))
        del buffer[: end + 2]
    return found


def answers(payload: bytes) -> list[bytes]:
    """One, or those within a batch of them."""
    if not payload.startswith((b"BHS|", b"FHS|")):
        return [payload]
    within = payload.partition(b"\rBTS|")[0] + b"\r"
    return [b"MSH|" + text.rstrip(b"\r") + b"\r" for text in within.split(b"\rMSH|")[1:]]


def field_of(payload: bytes, segment: bytes, number: int) -> str:
    """One field as text, '' where it is not there."""
    for line in payload.split(b"\r"):
        if line.startswith(segment + b"|"):
            fields = line.split(b"|")
            return fields[number].decode("latin-1") if len(fields) > number else ""
    return ""


# -- messages ---------------------------------------------------------------------------------------


def make_item(sender: str, control_id: str, rng: Random, number: int) -> Item:
    """A message, and what the channel will make of it."""
    drawn = rng.random()
    if drawn < 0.03:
        payload = b"ZZZ|%s|%d\r" % (sender.encode(), number)
        return Item("junk", control_id, payload, lambda edition: REJECTED)
    if drawn < 0.06:
        payload = _text(sender, control_id, "ORU^R01", "RCV", "I", "W1", number)
        return Item("foreign", control_id, payload, lambda edition: REJECTED)
    kind = rng.choice("IIIOOX")
    key = f"K{rng.choice((1, 1, 2, 3, 4, 5))}"
    ward = rng.choice(("W1", "W1", "W2", "W9"))

    def make(edition: Site) -> Made:
        if kind == "X":
            return Made("filtered", [])
        if edition.wards is not None and ward not in edition.wards:
            return Made("held", [])
        mapped = ward if edition.wards is None else edition.wards[ward]
        body = _text(sender, control_id, "ADT^A01", edition.mark, kind, mapped, number, key)
        to = [target.name for target in edition.targets.values() if target.takes in ("", kind)]
        return Made("processed", [(name, body) for name in to])

    payload = _text(sender, control_id, "ADT^A01", "RCV", kind, ward, number, key)
    return Item("good", control_id, payload, make)


WAITING = Made("waiting", [])
HELD = Made("held", [])


def in_fragments(item: Item, rng: Random) -> list[Item]:
    """The same message as its sender sends it in two or three parts; see hl7.md item 66."""
    header, *segments = item.payload.rstrip(b"\r").split(b"\r")
    cuts = sorted(rng.sample(range(1, len(segments)), rng.choice((1, min(2, len(segments) - 1)))))
    groups = [segments[start:end] for start, end in zip([0, *cuts], [*cuts, len(segments)], strict=True)]
    for at, group in enumerate(groups):
        control_id = f"{item.control_id}.{at + 1}" if at else item.control_id
        lines = [header.replace(b"|%s|P|" % item.control_id.encode(), b"|%s|P|" % control_id.encode())]
        if at:
            lines[0] += b"||%s:%d" % (item.control_id.encode(), at)
        lines += group
        if at + 1 < len(groups):
            lines.append(b"DSC|%s:%d" % (item.control_id.encode(), at + 1))
        item.parts.append(Item("good", control_id, b"\r".join([*lines, b""]), lambda edition: WAITING, whole=item))
    return item.parts


def some_of(item: Item) -> list[Item]:
    """What is made of the first fragments of a message when no more of them come in time: it is held for a person."""
    found = []
    for count in range(1, len(item.parts)):
        segments = [line for part in item.parts[:count] for line in part.payload.split(b"\r")[1:]]
        lines = [item.payload.partition(b"\r")[0], *(line for line in segments if line and line[:4] != b"DSC|"), b""]
        held = Item("good", item.control_id, b"\r".join(lines), lambda edition: HELD, is_partial=True)
        held.parts = item.parts[:count]
        found.append(held)
    return found


def _text(
    sender: str, control_id: str, kind: str, receiver: str, patient_class: str, ward: str, number: int, key: str = "K0"
) -> bytes:
    return (
        f"MSH|^~\\&|{sender}|F|{receiver}|F|20260102030405||{kind}|{control_id}|P|2.5.1\r"
        f"EVN|{kind[4:]}|20260102030405\rPID|1||{key}||||||||||||||||N{number}\rPV1|1|{patient_class}|{ward}\r"
    ).encode()


# -- senders ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Habits:
    """One sender's ways. Chances, times in microseconds."""

    depth: int = 1
    answer_us: int = 1_500_000
    pause_us: int = 50_000
    cuts: float = 0.0
    halves: float = 0.0
    again: float = 0.0
    at_the_edge: float = 0.0
    hangs_up: float = 0.0
    several: float = 0.0
    """That a block holds several messages."""
    headed: float = 0.0
    """That such a block is a batch with a header."""
    blocks: str = ""
    """What these are drawn from."""
    late: float = 0.0
    """That the rest of a message in fragments is sent a good while later."""
    lates: str = ""
    """What this is drawn from."""


class Wire(asyncio.Protocol):
    """A sender's connection."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._buffer = bytearray()
        self.transport: End = None  # type: ignore[assignment]
        self.outstanding: deque[Item] = deque()
        self.answered = 0
        self.is_lost = False
        self._is_ended = False
        self._made_at = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._made_at = self._sender.port_changes

    def close(self) -> None:
        """We end it."""
        self._is_ended = self.is_lost = True
        self.transport.close()

    def abort(self) -> None:
        """We end it, and whatever is on its way."""
        self._is_ended = True
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for payload in blocks(self._buffer):
            for answer in answers(payload):
                self._sender.heard(self, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends()
        self.is_lost = True
        self._sender.wake.set()

    def eof_received(self) -> bool:
        self._ends()
        return False

    def _ends(self) -> None:
        if not self._is_ended and not self.transport.peer.process.is_dead:
            self._sender.hung_up(self._made_at)
        self._is_ended = True


class Sender:
    """Sends its items in order, and each again until it is answered as it wishes."""

    def __init__(
        self, name: str, loop: Loop, network: Network, model: Model, rng: Random, items: Sequence[Item], habits: Habits
    ) -> None:
        self.name = name
        self.process = Process(name)
        self.habits = habits
        self.wake = asyncio.Event()
        self.is_done = False
        self.is_calm = False
        """No more tricks: send what is left, and be answered."""
        self._loop = loop
        self._network = network
        self._model = model
        self._rng = rng
        self._items = deque(items)
        self._blocks = Random(habits.blocks)
        self._lates = Random(habits.lates)
        self._repeats: list[tuple[int, Item, bool]] = []
        """(when, what, exactly then)."""
        self._wire: Wire | None = None
        self._not_before_us = 0
        """After a no: nothing is sent again at once."""

    def start(self) -> None:
        self._loop.spawn(self.process, self._run(), self.name)

    @property
    def port_changes(self) -> int:
        return self._model.editions.port_changes

    def hung_up(self, made_at: int) -> None:
        """The engine has ended our connection."""
        self._model.hung_up(self.name, made_at)

    # -- inside ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            wire = self._wire
            if wire is not None and wire.is_lost:
                self._give_up(wire)
                continue
            if self._is_idle():
                if self.is_calm or not self._repeats:
                    break
                await self._sleep(max(1, min(at for at, _, _ in self._repeats) - 2000 - self._loop.now_us))
            if wire is None:
                if not await self._connect():
                    continue
                wire = self._wire
                assert wire is not None
            await self._fill(wire)
            if wire.is_lost:
                continue
            if wire.outstanding:
                await self._await_answer(wire)
            elif self._rng.random() < self.habits.hangs_up:
                wire.close()
            else:
                await self._sleep(1 + int(self._rng.random() * self.habits.pause_us))
        if self._wire is not None:
            self._wire.close()
        self.is_done = True
        self._loop.note("%s is done", self.name)

    def _is_idle(self) -> bool:
        if self.is_calm:
            rest = [item for _, item, _ in reversed(self._repeats) if item.whole is not None]
            self._items += rest
            self._repeats = [repeat for repeat in self._repeats if repeat[1] not in rest]
        return not self._items and (self._wire is None or not self._wire.outstanding)

    async def _connect(self) -> bool:
        address = ("e", PORT)
        try:
            async with asyncio.timeout(1.0):
                _, self._wire = await self._network.connect(self.process, lambda: Wire(self), *address)
        except (ConnectionRefusedError, TimeoutError):
            await self._sleep(20_000 + int(self._rng.random() * 200_000))
            return False
        return True

    async def _fill(self, wire: Wire) -> None:
        draw = self._rng.random
        habits = self.habits
        await self._due_repeats(wire)
        if self._not_before_us > self._loop.now_us:
            if wire.outstanding:
                return
            await self._sleep(self._not_before_us - self._loop.now_us)
        while self._items and len(wire.outstanding) < habits.depth and not wire.is_lost:
            if habits.late and self._leaves_for_later():
                continue
            data = framed(self._block(wire))
            if not self.is_calm and draw() < habits.halves:
                # Half of it, and then nothing more on this connection.
                wire.transport.write(data[: 1 + int(draw() * (len(data) - 2))])
                await self._sleep(1 + int(draw() * 5000))
                wire.abort()
                return
            if draw() < habits.cuts:
                at = 1 + int(draw() * (len(data) - 1))
                wire.transport.write(data[:at])
                await self._sleep(1 + int(draw() * 3000))
                data = data[at:]
            wire.transport.write(data)
            if not self.is_calm and draw() < habits.hangs_up / 2:
                wire.close()

    def _block(self, wire: Wire) -> bytes:
        """What is sent next: a message, or several in one block."""
        sent = [self._items.popleft()]
        habits, draw = self.habits, self._blocks.random
        if habits.several and not self.is_calm and draw() < habits.several:
            most = self._blocks.choice((2, 3, 6))
            while self._items and len(sent) < most and "junk" not in (sent[0].kind, self._items[0].kind):
                sent.append(self._items.popleft())
        wire.outstanding.extend(sent)
        for item in sent:
            item.sent += 1
        self._loop.note("%s sends %s", self.name, ", ".join(item.control_id for item in sent))
        self._model.counts["blocks of several"] += len(sent) > 1
        block = b"".join(item.payload for item in sent)
        if len(sent) > 1 and draw() < habits.headed:
            return b"BHS|^~\\&|%s\r%bBTS|%d\r" % (self.name.encode(), block, len(sent))
        return block

    async def _due_repeats(self, wire: Wire) -> None:
        """What is to be sent once more, though it was answered."""
        due = [repeat for repeat in self._repeats if repeat[0] - 5000 <= self._loop.now_us or self.is_calm]
        for repeat in due:
            self._repeats.remove(repeat)
            at_us, item, exactly = repeat
            if item.whole is not None:
                self._items.appendleft(item)  # it has yet to be answered
                continue
            if wire.is_lost:
                continue
            if not exactly or self.is_calm:
                self._items.appendleft(item)
            elif not wire.outstanding and at_us > self._loop.now_us:
                self._loop.note("%s sends %s so that it arrives at %d", self.name, item.control_id, at_us)
                wire.outstanding.append(item)
                item.sent += 1
                wire.transport.write_at(framed(item.payload), at_us)
                await self._sleep(at_us - self._loop.now_us + 1)

    async def _await_answer(self, wire: Wire) -> None:
        before = wire.answered
        # Who gives up before a destination's answer can come sends more than leaves, where nothing is a duplicate.
        patience_us = max(self.habits.answer_us, CALM_US) if self.is_calm else self.habits.answer_us
        try:
            async with asyncio.timeout(patience_us / 1e6):
                while wire.answered == before and not wire.is_lost:
                    self.wake.clear()
                    await self.wake.wait()
        except TimeoutError:
            wire.abort()
            wire.is_lost = True

    def _give_up(self, wire: Wire) -> None:
        """The connection is gone: what is not answered is sent again, in its order."""
        self._wire = None
        for item in reversed(wire.outstanding):
            item.unanswered += 1
            if not item.is_settled:
                self._items.appendleft(item)
        wire.outstanding.clear()

    def heard(self, wire: Wire, payload: bytes) -> None:
        """An answer came."""
        if not wire.outstanding:
            self._model.breach(f"an answer came to {self.name}, which waits for none")
            return
        item = wire.outstanding.popleft()
        code = field_of(payload, b"MSA", 1)
        peer = wire.transport.peer.get_extra_info("peername")[0]
        self._model.answered(peer, wire.answered, item, code, field_of(payload, b"MSA", 2), payload)
        wire.answered += 1
        self.wake.set()
        if not item.is_settled and item.whole is not None and b"207" not in payload:
            self._all_of_it_again(wire, item.whole)
        elif not item.is_settled:
            self._items.append(item)
        if not item.is_settled:
            self._not_before_us = self._loop.now_us + 20_000 + int(self._rng.random() * 300_000)
        elif code == "AA" and not self.is_calm and item.whole is None and self._rng.random() < self.habits.again:
            self._repeat(item)

    def _leaves_for_later(self) -> bool:
        """Whether it leaves the next fragment, and all that go on with it, until nobody waits for them any more."""
        part = self._items[0]
        if self.is_calm or part.before is None or self._lates.random() >= self.habits.late:
            return False
        assert part.whole is not None, "it has one before it"
        parts = part.whole.parts
        rest = [one for one in parts[parts.index(part) :] if one in self._items]
        self._items = deque(item for item in self._items if item not in rest)
        at_us = self._loop.now_us + int((1 + self._lates.random()) * SHORT_JOIN_S * 1_000_000)
        self._repeats += [(at_us, one, False) for one in reversed(rest)]
        return True

    def _all_of_it_again(self, wire: Wire, whole: Item) -> None:
        """A fragment had no place, as those before it are given up: they all come once more, in their order."""
        self._items = deque(item for item in self._items if item.whole is not whole)
        self._repeats = [repeat for repeat in self._repeats if repeat[1].whole is not whole]
        for part in whole.parts:
            part.yes = 0
            if part not in wire.outstanding:
                self._items.append(part)

    def _repeat(self, item: Item) -> None:
        window_us = self._model.site.window_us
        rows = self._model.rows.get(item)
        if window_us and rows and self._rng.random() < self.habits.at_the_edge:
            edge_us = rows[-1].came_us + window_us
            self._repeats.append((edge_us + self._rng.choice((0, 0, 1)), item, True))
        else:
            spread_us = (window_us or 1_000_000) * 1.3
            self._repeats.append((self._loop.now_us + int(self._rng.random() ** 2 * spread_us), item, False))

    async def _sleep(self, us: int) -> None:
        await asyncio.sleep(us / 1e6)


# -- receivers --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Mood:
    """How a receiver takes messages: weights of what it may do with each."""

    weights: dict[str, float] = field(default_factory=lambda: {"yes": 1.0})
    delay_us: int = 2000

    def draw(self, rng: Random) -> str:
        return rng.choices(list(self.weights), list(self.weights.values()))[0]


GOOD = Mood()

WAYS = (
    "slow",
    "late",
    "taken and silent",
    "silent",
    "taken and closed",
    "closed",
    "refused",
    "rejected",
    "other id",
    "taken and other id",
    "garbage",
    "twice",
    "deaf",
)
"""What a receiver over MLLP may do beside saying yes."""

GROUP_WAYS = ("slow", "unreachable", "unanswered", "taken and unanswered", "refused", "rejected", "raises", "too few")


class Receiver:
    """What listens where a destination's messages go."""

    def __init__(self, name: str, port: int, loop: Loop, network: Network, model: Model, rng: Random) -> None:
        self.name = name
        self.process = Process(f"receiver {name}")
        self.mood = GOOD
        self.loop = loop
        self.rng = rng
        self.model = model
        self.port: Port = network.listen(self.process, "r", port, lambda: ReceiverEnd(self))
        self.ends: dict[ReceiverEnd, None] = {}
        self.last_id = ""

    def hang_up(self) -> None:
        """Every connection, without a word."""
        for end in list(self.ends):
            end.transport.abort()


class ReceiverEnd(asyncio.Protocol):
    """One connection to a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = bytearray()
        self.transport: End = None  # type: ignore[assignment]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._receiver.ends[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.ends.pop(self, None)

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for body in blocks(self._buffer):
            self._message(body)

    def _message(self, body: bytes) -> None:
        receiver = self._receiver
        rng, loop = receiver.rng, receiver.loop
        way = receiver.mood.draw(rng)
        control_id = field_of(body, b"MSH", 9)
        loop.note("receiver %s got %s: %s", receiver.name, control_id, way)
        receiver.model.got(receiver.name, body)
        last, receiver.last_id = receiver.last_id, control_id
        if way in ("yes", "slow", "late", "twice") or way.startswith("taken"):
            receiver.model.took(receiver.name, body)
        delay_us = loop.draw_us(receiver.mood.delay_us)
        answer: bytes | None = None
        match way:
            case "yes" | "twice" | "slow" | "late":
                answer = _ack(control_id, "CA" if rng.random() < 0.1 else "AA") * (2 if way == "twice" else 1)
                if way == "slow":
                    delay_us = 20_000 + int(rng.random() * 230_000)
                elif way == "late":
                    delay_us = 305_000 + int(rng.random() * 700_000)
            case "refused":
                answer = _ack(control_id, rng.choice(("AE", "CR")), "103")
            case "rejected":
                answer = _ack(control_id, rng.choice(("AR", "CE")), "207")
            case "other id" | "taken and other id":
                answer = _ack(last or "NOBODY", "AA") if last != control_id else _ack("NOBODY", "AA")
            case "garbage":
                answer = rng.choice((b"what?", framed(b"hello\r"), framed(b"MSH|^~\\&|R\r")))
            case "closed" | "taken and closed":
                loop.after(delay_us, self.transport.close)
            case "deaf":
                self.transport.pause_reading()
                loop.after(800_000, self.transport.resume_reading)
        if answer is not None:
            loop.after(delay_us, self.transport.write, answer)


def _ack(control_id: str, code: str, error: str = "") -> bytes:
    text = f"MSH|^~\\&|R|F|SIM|F|20260102030405||ACK|A{control_id}|P|2.5.1\rMSA|{code}|{control_id}\r"
    if error:
        text += f"ERR|||{error}|E\r"
    return framed(text.encode())


class GroupSink:
    """A destination that takes several at a time, and says of each what came of it."""

    linger_s: float

    def __init__(self, name: str, at_once: int, linger_s: float, loop: Loop, model: Model, rng: Random) -> None:
        self.max_batch = at_once
        self.linger_s = linger_s
        self.mood = GOOD
        self._name = name
        self._loop = loop
        self._model = model
        self._rng = rng

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        rng = self._rng
        outcomes = []
        way = "yes"
        for delivery in deliveries:
            way = self.mood.draw(rng)
            outcomes.append(self._one(delivery, way))
        delay_us = self._loop.draw_us(self.mood.delay_us) + (50_000 if way == "slow" else 0)
        await asyncio.sleep(delay_us / 1e6)
        if way == "raises":
            raise ValueError("a defect of the sink")
        return outcomes[:-1] if way == "too few" else outcomes

    def _one(self, delivery: Delivery, way: str) -> Outcome:
        if way != "unreachable":
            self._model.got(self._name, delivery.body)
        match way:
            case "yes" | "slow":
                self._model.took(self._name, delivery.body)
                return Delivered()
            case "unreachable":
                return Unreachable("it is not there")
            case "refused":
                return Refused("AE")
            case "rejected":
                return Refused("AR")
            case "taken and unanswered":
                self._model.took(self._name, delivery.body)
        return Unanswered("no word of it")

    async def close(self) -> None:
        """Nothing is open."""


class Tap:
    """Before a sink: tells the model what its lane tries. `number`: of the lane, whose sinks have it in common."""

    def __init__(self, target: Target, number: int, inner: Any, model: Model) -> None:
        self.max_batch = inner.max_batch
        self.linger_s = inner.linger_s
        self._target = target
        self._name = target.name
        self._number = number
        self._inner = inner
        self._model = model

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        self._model.sending(self._name, self._number, self._target, deliveries)
        try:
            outcomes: Sequence[Outcome] = await self._inner.send(deliveries)
        except BaseException:
            self._model.aborted(self._name, self._number, deliveries)
            raise
        self._model.sent(self._name, self._number, deliveries, outcomes)
        return outcomes

    async def close(self) -> None:
        await self._inner.close()


class AnsweringTap(Tap):
    """Before one that can wait for the application's answer, and that can begin at once."""

    _away: Sequence[Delivery] = ()

    def begin(self, delivery: Delivery, ended: Callable[[Outcome | Exception], None]) -> bool:
        def told(outcome: Outcome | Exception) -> None:
            away, self._away = self._away, ()
            if isinstance(outcome, Exception):
                self._model.aborted(self._name, self._number, away)
            else:
                self._model.sent(self._name, self._number, away, (outcome,))
            ended(outcome)

        if not self._inner.begin(delivery, told):
            return False
        self._away = (delivery,)
        self._model.sending(self._name, self._number, self._target, self._away)
        return True

    def cut_off(self) -> None:
        self._model.aborted(self._name, self._number, self._away)
        self._away = ()
        self._inner.cut_off()

    def await_application(self) -> None:
        self._inner.await_application()
