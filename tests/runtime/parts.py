"""What the tests of the runtime share: a clock that can be set, a meter that counts, a sink that follows a script."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

from engine.adapters.metrics_numbers import DicomNumbers
from engine.adapters.stores.memory import MemoryStore
from engine.adapters.tls_status import TlsStatus
from engine.model.envelope import Batch, Committed, Delivery, DraftDelivery, Intake
from engine.model.ids import ChannelName, DestinationName, MessageSeq, VersionId
from engine.model.outcome import Delivered, Outcome
from engine.runtime.committer import Committer
from engine.runtime.tasks import Tasks

LAB = ChannelName("lab")
EPR = DestinationName("epr")
T0_US = 1_700_000_000_000_000


async def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until `condition` holds, looking again at each turn of the loop. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.001)


async def turns(number: int = 20) -> None:
    """Let the loop turn, for what would have happened by now to happen."""
    for _ in range(number):
        await asyncio.sleep(0)


class SetClock:
    """Real time, to which a test may add; the wall clock can be set apart from the monotonic one."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.wall_ahead_s = 0.0
        self.jitter = b"\x00\x00"
        self._still_s: float | None = None
        self._ids = count(1)

    def now_us(self) -> int:
        return time.time_ns() // 1000 + int((self.ahead_s + self.wall_ahead_s) * 1_000_000)

    def monotonic(self) -> float:
        return (time.monotonic() if self._still_s is None else self._still_s) + self.ahead_s

    def stand(self) -> None:
        """From now on the monotonic clock goes as far as a test adds, and no further."""
        self._still_s = time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        if count == 2:
            return self.jitter
        return next(self._ids).to_bytes(count)


class CountingMeter:
    """Every meter in one: counts calls by their name and their labels."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[object, ...]] = Counter()
        self.commits: list[int] = []
        self.open_connections = 0
        self.dicom = DicomNumbers()
        self.tls = TlsStatus()

    def channel(self, channel: str) -> "CountingMeter":
        return self

    def lane(self, channel: str, destination: str) -> "CountingMeter":
        return self

    def commit(self, seconds: float, size: int) -> None:
        self.commits.append(size)

    def connections(self, listener: str, open_count: int) -> None:
        self.open_connections = open_count

    def pruned(self, bodies: int, messages: int) -> None:
        self.counts["pruned", "bodies"] += bodies
        self.counts["pruned", "messages"] += messages

    def retention_pass(self, at_s: float) -> None: ...

    def retention_paused(self, paused: bool) -> None:
        self.counts["retention paused", paused] += 1

    def disk(self, free_bytes: int) -> None:
        self.counts["disk",] += 1

    def connection_event(self, listener: str, event: str) -> None:
        self.counts["event", event] += 1

    def source_files(self, listener: str, waiting: int, failed: int) -> None:
        self.counts["files",] += 1

    def ignored(self, listener: str, size_bytes: int, empty_blocks: int) -> None:
        self.counts["ignored bytes",] += size_bytes
        self.counts["empty blocks",] += empty_blocks

    def received(self, size_bytes: int, at_s: float) -> None:
        self.counts["received",] += 1

    def outcome(self, outcome: str) -> None:
        self.counts["outcome", outcome] += 1

    def acknowledged(self, ack_code: str, seconds: float) -> None:
        self.counts["ack", ack_code] += 1

    def step(self, step: str, seconds: float) -> None:
        self.counts["step", step] += 1

    def finding(self, code: str) -> None:
        self.counts["finding", code] += 1

    def breach(self, rule: str, severity: str) -> None:
        self.counts["breach", rule, severity] += 1

    def drift(self, sender: str, place: str, count: int) -> None:
        self.counts["drift", sender, place] = count

    def worker(self, event: str) -> None: ...

    def charset(self, evidence: str) -> None:
        self.counts["charset", evidence] += 1

    def attempt(self, outcome: str, seconds: float) -> None:
        self.counts["attempt", outcome] += 1

    def depth(self, queued: int, held: int, oldest_us: int) -> None:
        self.counts["depth",] += 1

    def open(self, is_open: bool) -> None:
        self.counts["open", is_open] += 1

    def failed(self) -> None:
        self.counts["lane failed",] += 1

    def redirected(self) -> None:
        self.counts["redirected",] += 1

    def paused(self, paused: bool) -> None:
        self.counts["paused", paused] += 1

    def stopped(self, stopped: bool) -> None:
        self.is_stopped = stopped

    def feeds_silent(self, count: int) -> None: ...

    def intake_paused(self, paused: bool) -> None:
        self.counts["intake paused", paused] += 1

    def blocked_keys(self, count: int) -> None:
        self.counts["blocked keys",] = count

    def connected(self, up: bool) -> None:
        self.counts["connected", up] += 1

    def events(self, event: str) -> int:
        return self.counts["event", event]


class WatchedStore(MemoryStore):
    """The store in memory, which remembers its batches and can be slow by its clock."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock=clock)
        self._set_clock = clock
        self.takes_s = 0.0
        self.batches: list[Batch] = []
        self.done: list[str] = []
        self.threads: list[bool] = []
        self.main_thread = threading.get_ident()
        self.reader_in_the_way = False
        self.checkpoints = 0

    def commit(self, batch: Batch) -> Committed:
        self.threads.append(threading.get_ident() != self.main_thread)
        self.batches.append(batch)
        self._set_clock.ahead_s += self.takes_s
        committed = super().commit(batch)
        self.done.append("commit")
        return committed

    def wants_checkpoint(self, idle: bool = False) -> bool:
        return self.reader_in_the_way or super().wants_checkpoint(idle)

    def checkpoint(self) -> None:
        self.checkpoints += 1
        self.done.append("checkpoint")
        super().checkpoint()


_numbers = count(1)


def received(
    *to: DestinationName, raw: bytes = b"MSH|^~\\&|HIS|MAIN\r", channel: ChannelName = LAB, control_id: str = "C"
) -> Intake:
    """A received message with deliveries to `to`."""
    number = next(_numbers)
    drafts = [DraftDelivery(name, b"%d" % number) for name in to]
    return Intake(
        number.to_bytes(16),
        channel,
        VersionId(1),
        T0_US + number,
        "HIS|MAIN",
        "10.1.2.3",
        "ADT^A01",
        control_id,
        b"0" * 16,
        raw,
        "processed",
        "AA",
        b"",
        "",
        drafts,
    )


class Answers:
    """What came of messages that were put to the committer, by the name given."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.said: list[tuple[str, str]] = []
        self.deliveries: list[Delivery] = []
        self.seqs: list[MessageSeq] = []

    def put(self, name: str, intake: Intake) -> None:
        def done(seq: MessageSeq, deliveries: list[Delivery]) -> None:
            self.said.append((name, "stored"))
            self.seqs.append(seq)
            self.deliveries += deliveries

        self._committer.put(intake, done, lambda error: self.said.append((name, type(error).__name__)))


class ScriptedSink:
    """Follows a script: what the n-th delivery comes to, `Delivered` after its end. Remembers what it was given."""

    def __init__(self, *script: Outcome | BaseException, max_batch: int = 1, linger_s: float = 0.0) -> None:
        self.max_batch = max_batch
        self.linger_s = linger_s
        self.script = list(script)
        self.calls: list[list[Delivery]] = []
        self.is_closed = False
        self.busy = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def sent(self) -> list[int]:
        """Ids in the order they were sent."""
        return [delivery.id for call in self.calls for delivery in call]

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        assert not self.busy, "one call of a sink at a time"
        self.busy += 1
        try:
            self.calls.append(list(deliveries))
            await self.gate.wait()
            outcomes: list[Outcome] = []
            for _ in deliveries:
                outcome = self.script.pop(0) if self.script else Delivered()
                if isinstance(outcome, BaseException):
                    raise outcome
                outcomes.append(outcome)
            return outcomes
        finally:
            self.busy -= 1

    async def close(self) -> None:
        self.is_closed = True


class Direct:
    """Gives a scripted sink the two calls of a DirectSink. `refusals`: so many times it cannot begin at once."""

    def __init__(self, sink: ScriptedSink, refusals: int = 0) -> None:
        self.sink = sink
        self.refusals = refusals
        self.begun = self.cut = 0
        self._work: asyncio.Future[Sequence[Outcome]] | None = None
        self.failure: Exception | None = None
        """What the next `begin` raises."""
        sink.begin = self.begin  # type: ignore[attr-defined]  # looked for by name, as the port's protocol is
        sink.cut_off = self.cut_off  # type: ignore[attr-defined]

    def begin(self, delivery: Delivery, ended: Callable[[Outcome | Exception], None]) -> bool:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self.refusals:
            self.refusals -= 1
            return False
        assert self._work is None, "one call of a sink at a time"
        self.begun += 1
        # As the callbacks of a connection are: nobody owns them but who began.
        work = self._work = asyncio.ensure_future(self.sink.send([delivery]))  # noqa: TID251 - see above

        def done(work: "asyncio.Future[Sequence[Outcome]]") -> None:
            self._work = None
            if not work.cancelled():
                error = work.exception()
                ended(error if isinstance(error, Exception) else work.result()[0])

        work.add_done_callback(done)
        return True

    def cut_off(self) -> None:
        self.cut += 1
        assert self._work is not None
        self._work.cancel()


async def slow_disk(committer: Committer, store: WatchedStore) -> None:
    """From here on commits run on the writer's thread, as one was measured to be slow; the loop stays free."""
    store.takes_s = 0.03
    answers = Answers(committer)
    answers.put("slow", received())
    await until(lambda: answers.said)
    store.takes_s = 0.0


@asynccontextmanager
async def owned_tasks() -> AsyncIterator[tuple[Tasks, list[tuple[str, BaseException]]]]:
    """Tasks that are cancelled at the end, and the list of those that failed."""
    failures: list[tuple[str, BaseException]] = []
    tasks = Tasks(lambda name, error: failures.append((name, error)))
    try:
        yield tasks, failures
    finally:
        await tasks.cancel_all()
