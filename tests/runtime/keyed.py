"""What tests of lanes with keys share: a receiver over several connections that knows what must not be, and a bench."""

import asyncio
from collections.abc import Callable, Sequence

from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Delivery, DraftDelivery, Intake
from engine.model.ids import DeliveryId, MessageSeq
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable
from engine.ports.store import StoredDelivery
from engine.runtime.committer import Committer
from engine.runtime.lane import Lane, LaneSettings
from engine.runtime.policy import Policy
from engine.runtime.tasks import Tasks
from engine.wiring import guard
from tests.runtime.parts import EPR, LAB, CountingMeter, SetClock, received, until

PATIENT = Policy(first_s=600, most_s=600, jitter=0.0)
AT_ONCE = Policy(first_s=0.0, most_s=0.05, jitter=0.0)
DOWN, SILENT, AR, AE = Unreachable("nobody there"), Unanswered("no answer"), Refused("AR"), Refused("AE")


def keyed(key: str, *, urgent: bool = False, body: bytes = b"x") -> Intake:
    """A message with one delivery of this key."""
    intake = received()
    intake.deliveries = [DraftDelivery(EPR, body, key, urgent)]
    return intake


class Receiver:
    """The other end of all connections of a destination: says what comes of a delivery, and checks the order.

    `answer(delivery)` gives the outcome. Two of a key in hand at once, one that was delivered before, or one that
    comes before an earlier one of its key has ended, fail the test that looks at `wrong`.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Delivery], Outcome] = lambda _: Delivered()
        self.sent: list[Delivery] = []
        self.done: list[Delivery] = []
        self.wrong: list[str] = []
        self.in_hand: dict[str, DeliveryId] = {}
        self.most_in_hand = 0
        self.gates: dict[str, asyncio.Event] = {}

    @property
    def order(self) -> list[str]:
        return [(d.key or "") for d in self.sent]

    def hold(self, key: str) -> asyncio.Event:
        """Answers for this key wait for the event."""
        gate = self.gates.get(key)
        if gate is None or gate.is_set():
            gate = self.gates[key] = asyncio.Event()
        return gate

    async def take(self, delivery: Delivery) -> Outcome:
        key = delivery.key or ""
        if key in self.in_hand:
            self.wrong.append(f"{delivery.id} while {self.in_hand[key]} of its key is in hand")
        if any(d.id == delivery.id for d in self.done):
            self.wrong.append(f"{delivery.id} was delivered before")
        self.in_hand[key] = delivery.id
        self.most_in_hand = max(self.most_in_hand, len(self.in_hand))
        self.sent.append(delivery)
        try:
            await asyncio.sleep(0)
            if key in self.gates:
                await self.gates[key].wait()
            outcome = self.answer(delivery)
            if isinstance(outcome, Delivered):
                self.done.append(delivery)
            return outcome
        finally:
            self.in_hand.pop(key, None)


class Connection:
    """A sink of one connection to a Receiver."""

    def __init__(self, receiver: Receiver, max_batch: int = 1, linger_s: float = 0.0) -> None:
        self.max_batch = max_batch
        self.linger_s = linger_s
        self.receiver = receiver
        self.busy = False
        self.is_closed = False
        self.calls: list[int] = []

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        assert not self.busy, "one call of a sink at a time"
        self.busy = True
        self.calls.append(len(deliveries))
        try:
            return await asyncio.gather(*(self.receiver.take(delivery) for delivery in deliveries))
        finally:
            self.busy = False

    async def close(self) -> None:
        self.is_closed = True


class Bench:
    """A store, a committer, and one lane with keys."""

    def __init__(self, store: MemoryStore | SqliteStore, committer: Committer, clock: SetClock, tasks: Tasks) -> None:
        self.store = store
        self.committer = committer
        self.clock = clock
        self.tasks = tasks
        self.meter = CountingMeter()
        self.queries = store.queries()
        self.receiver = Receiver()
        self.connections: list[Connection] = []
        self.lane = self.make(start=False)
        self.fed = 0

    def make(
        self,
        lanes: int = 3,
        policy: Policy = PATIENT,
        window: int = 8,
        *,
        start: bool = True,
        max_batch: int = 1,
        linger_s: float = 0.0,
        per_s: float = 0.0,
        order_by: str = "PID-3.1",
        queue: object = None,
    ) -> Lane:
        self.connections = [Connection(self.receiver, max_batch, linger_s) for _ in range(lanes)]
        first = self.store.lane_window(LAB, EPR, window - 1 + lanes * max_batch, order_by)
        told = LaneSettings(LAB, EPR, policy, window, is_keyed=bool(order_by), keyed_from=first, per_s=per_s)
        sink, *more = self.connections
        reader = queue or self.queries
        self.lane = Lane(told, sink, reader, self.committer, self.clock, self.meter, more)  # type: ignore[arg-type]
        guard(self.lane, self.clock)
        if start:
            self.task = self.tasks.spawn(self.lane.run(), "deliver lab/epr")
        return self.lane

    async def feed(self, *keys: str | Intake) -> None:
        """Commit a message for each key, offered to the lane when it is stored."""
        wanted = self.fed + len(keys)
        for key in keys:
            self.committer.put(key if isinstance(key, Intake) else keyed(key), self._stored, lambda _: None)
        await until(lambda: self.fed == wanted)

    def _stored(self, _: MessageSeq, deliveries: list[Delivery]) -> None:
        self.fed += 1
        for delivery in deliveries:
            self.lane.offer(delivery)

    def rows(self) -> list[StoredDelivery]:
        return [row for seq in range(1, self.fed + 1) for row in self.queries.deliveries(MessageSeq(seq))]

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def blocked(self) -> int:
        (depth,) = self.queries.depths()
        return depth.blocked

    async def all_delivered(self) -> None:
        await until(lambda: set(self.states()) == {"delivered"})
        assert self.receiver.wrong == []
