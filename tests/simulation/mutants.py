"""Engines with a fault built in, to show that the histories find it: each is a patch of one or two methods.

`MUTANTS` maps a mutant's name to its patch; a patch is a context manager, to be used inside `simulated()`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.memory_rows import MemoryRows
from engine.mllp.exchange import Broken, Exchange, Late
from engine.model.envelope import Delivery, DeliveryResult
from engine.model.ids import DeliveryId
from engine.model.outcome import Delivered, Refused
from engine.ports.judged_clock import JudgedClock
from engine.ports.store import CommitUnknown, StoreBusy, StoreFull
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.backlog import Backlog
from engine.runtime.committer import Committer
from engine.runtime.connection import Connection
from engine.runtime.endings import Endings
from engine.runtime.intake import Receiver
from engine.runtime.keyed_window import KeyedWindow
from engine.runtime.lane import Lane
from engine.runtime.queue_window import FifoWindow
from engine.runtime.received import framed

Mutant = Callable[[], AbstractContextManager[None]]

MUTANTS: dict[str, Mutant] = {}

FOUND_AT: dict[str, int] = {
    "reread takes up what is in hand": 182,
    "reread takes up what is delivered and not yet recorded": 29,
    "what a release overtakes is not marked": 530,
    "tries behind a failed one are not recorded": 215,
    "a retry waits by the wall clock": 62,
    "what a destination took while other files were in force is not told": 391,
    "another lane does not wait for the attempt in hand": 55,
    "what waits for the rest of its message is never given up": 27,
    "the destination's no is told as a yes": 43,
    "another lane does not wait for the record of the last attempt": 174,
    "what was answered when stored is overtaken after a reload": 66,
    "a pause does not outlive a reload": 100,
    "a paused lane goes on after a start": 82,
    "lost wake-up between two looks": 52,
    "an unknown outcome taken for a no": 23,
    "what is set aside is overtaken before that is on record": 14,
    "a key's retry waits by the wall clock": 12,
    "lanes are exchanged under a person's order": 246,
    "what comes behind a batch overtakes the rest of it": 24,
    "the answers of a batch stand in the order they were made": 12,
}
"""The first seed that found a mutant, when that was last looked for: where to begin."""


def mutant(name: str) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Register a mutant under its name."""

    def register(made: Callable[[], Iterator[None]]) -> None:
        MUTANTS[name] = contextmanager(made)

    return register


@mutant("ACK before commit")
def _ack_before_commit() -> Iterator[None]:
    finish = Receiver._finish

    def early(self: Receiver, waiting: Any, *args: Any) -> None:
        finish(self, waiting, *args)
        waiting.reply.settle(framed(waiting.answer.payload))

    with patch.object(Receiver, "_finish", early):
        yield


@mutant("done before the receiver's ACK")
def _done_before_ack() -> Iterator[None]:
    send = Lane._send

    async def early(self: Lane, sink: Any, batch: list[Delivery]) -> None:
        for delivery in batch:
            now_us = self._clock.now_us()
            result = DeliveryResult(delivery.id, "delivered", delivery.attempts + 1, now_us, 0, "delivered")
            self._committer.record(result, None, urgent=False)
        await send(self, sink, batch)

    def by_its_task(self: Lane, wake: object) -> str:
        return "no"

    with patch.object(Lane, "_send", early), patch.object(Lane, "_begin", by_its_task):
        yield


@mutant("late ACK credited")
def _late_ack_credited() -> Iterator[None]:
    on_block = Exchange._on_block

    def timeout(self: Any, *, unsent_bytes: int = 0) -> list[Any]:
        was_outstanding, self._outstanding = self._outstanding is not None, None
        return [Broken("timeout")] if was_outstanding else []

    def credited(self: Any, block: Any, unsent_bytes: int) -> Any:
        answer = self._read_ack(block.payload)
        if answer is not None and self._outstanding is None:
            return Late(answer, block.payload)
        if answer is not None:
            self._outstanding = answer.control_id
        return on_block(self, block, unsent_bytes)

    with patch.object(Exchange, "on_timeout", timeout), patch.object(Exchange, "_on_block", credited):
        yield


@mutant("lost wake-up behind a full window")
def _lost_wake_up() -> Iterator[None]:
    def silent(self: Lane, delivery_id: Any) -> None:
        self._ends.unrecorded.discard(delivery_id)
        self._let_go.set()
        self._window.recorded(delivery_id)

    with patch.object(Lane, "_recorded", silent):
        yield


@mutant("lost wake-up between two looks")
def _forgotten_offer() -> Iterator[None]:
    """An offer that comes while the lane looks at its queue for the last time before it rests is not heard."""
    offer = Lane.offer

    def deaf(self: Lane, delivery: Delivery) -> None:
        resting, self._resting = self._resting, []
        rests, self._rests_until_woken = self._rests_until_woken, False
        offer(self, delivery)
        self._rests_until_woken = rests
        if len(self._ends.unrecorded) == 0:
            self._resting = resting + self._resting
            self._wake_one()
        else:
            self._resting = resting + self._resting

    with patch.object(Lane, "offer", deaf):
        yield


@mutant("lane overtaking")
def _overtaking() -> Iterator[None]:
    take = FifoWindow.take

    def second_first(self: FifoWindow) -> list[Delivery]:
        if len(self._ready) > 3:
            self._ready.rotate(-1)
        return take(self)

    with patch.object(FifoWindow, "take", second_first):
        yield


@mutant("a retry that loses its place")
def _lost_place() -> Iterator[None]:
    def at_the_end(self: FifoWindow, batch: Sequence[Delivery], back: Sequence[Delivery]) -> None:
        self._in_hand = frozenset()
        self._ready.extend(back)
        self._ready_bytes += sum(len(delivery.body) for delivery in back)
        if back:
            self._not_before = 0.0

    with patch.object(FifoWindow, "settled", at_the_end):
        yield


@mutant("reread takes up what is in hand")
def _in_hand_again() -> Iterator[None]:
    """What was in hand at the reread, or went back to the head after it, is read from the store once more."""

    def forgetful(self: FifoWindow) -> bool:
        settings = self._settings
        while self._behind and not self._is_full():
            found = self._queue.queued(settings.channel, settings.destination, self._last_id, 256)
            self._behind = bool(found)
            for delivery in found:
                self._last_id = delivery.id
                if delivery.id not in self._unrecorded:
                    self._append(delivery)
        return bool(self._ready)

    with patch.object(FifoWindow, "_load", forgetful):
        yield


@mutant("reread takes up what is delivered and not yet recorded")
def _unrecorded_again() -> Iterator[None]:
    made = FifoWindow.__init__

    def forgetful(self: FifoWindow, *args: Any) -> None:
        made(self, *args)
        self._unrecorded = frozenset()

    with patch.object(FifoWindow, "__init__", forgetful):
        yield


def _known_from(shift_us: int) -> AbstractContextManager[Any]:
    known = MemoryStore.known

    def shifted(self: MemoryStore, channel: Any, sender: str, control_id: str, since_us: int) -> Any:
        return known(self, channel, sender, control_id, since_us + shift_us)

    return patch.object(MemoryStore, "known", shifted)


@mutant("duplicate window too short by one")
def _window_short() -> Iterator[None]:
    with _known_from(1):
        yield


@mutant("duplicate window too long by one")
def _window_long() -> Iterator[None]:
    with _known_from(-1):
        yield


@mutant("a resend does not wait for the first one's commit")
def _not_on_the_way() -> Iterator[None]:
    resend_of = Receiver._resend_of

    def hasty(self: Receiver, *args: Any) -> Any:
        on_the_way, self._on_the_way = self._on_the_way, {}
        try:
            return resend_of(self, *args)
        finally:
            self._on_the_way = on_the_way

    with patch.object(Receiver, "_resend_of", hasty):
        yield


@mutant("resends are not known after a start")
def _forgets_at_start() -> Iterator[None]:
    with patch.object(MemoryStore, "recent_ids", lambda self, since_us, limit: ((), True)):
        yield


@mutant("resend order lost")
def _order_lost() -> Iterator[None]:
    queue = MemoryRows.queue

    def backwards(self: MemoryRows, *args: Any) -> Any:
        return queue(self, *args)[::-1]

    with patch.object(MemoryRows, "queue", backwards):
        yield


@mutant("completions forgotten when the store is full")
def _forgotten() -> Iterator[None]:
    failed = Committer._failed

    def forgetful(self: Committer, work: Any, error: BaseException) -> None:
        if isinstance(error, (StoreFull, StoreBusy)):
            work.results = []
        failed(self, work, error)

    with patch.object(Committer, "_failed", forgetful):
        yield


@mutant("refused, and stored after all")
def _refused_and_kept() -> Iterator[None]:
    failed = Committer._failed

    def stubborn(self: Committer, work: Any, error: BaseException) -> None:
        failed(self, work, error)
        if isinstance(error, StoreFull):
            for entry in work.intakes:
                self.put(entry[0], lambda seq, deliveries: None, lambda refusal: None)

    with patch.object(Committer, "_failed", stubborn):
        yield


@mutant("an unknown outcome taken for a no")
def _unknown_is_no() -> Iterator[None]:
    failed = Committer._failed

    def sure(self: Committer, work: Any, error: BaseException) -> None:
        if isinstance(error, CommitUnknown):
            self._settling = True  # so that the answers leave before anything else happens
            self._refuse(work, error)
            self._run_after()
        failed(self, work, error)

    with patch.object(Committer, "_failed", sure):
        yield


@mutant("answers out of order")
def _answers_unordered() -> Iterator[None]:
    flush = Connection._flush

    def hasty(self: Connection) -> None:
        self._replies = deque(sorted(self._replies, key=lambda reply: reply.answer is None))
        flush(self)

    with patch.object(Connection, "_flush", hasty):
        yield


@mutant("window not kept")
def _window_not_kept() -> Iterator[None]:
    made = Lane.__init__

    def wide(self: Lane, settings: Any, *args: Any, **options: Any) -> None:
        made(self, replace(settings, window=settings.window + 1), *args, **options)

    with patch.object(Lane, "__init__", wide):
        yield


@mutant("what may have been sent is not marked")
def _unmarked() -> Iterator[None]:
    opened = MemoryStore.open

    def blind(self: MemoryStore) -> None:
        self._was_clean = True
        opened(self)

    with patch.object(MemoryStore, "open", blind):
        yield


@mutant("what is set aside is overtaken before that is on record")
def _set_aside_overtaken() -> Iterator[None]:
    made = Endings.__init__

    class Deaf(set[DeliveryId]):
        def add(self, delivery_id: DeliveryId) -> None:
            """Nothing waits for it."""

    def hasty(self: Endings, *args: Any) -> None:
        made(self, *args)
        self.passed_by = Deaf()

    with patch.object(Endings, "__init__", hasty):
        yield


@mutant("what a release overtakes is not marked")
def _overtaken_unmarked() -> Iterator[None]:
    with patch.object(MemoryRows, "mark_overtaken", lambda self, by: None):
        yield


@mutant("tries behind a failed one are not recorded")
def _tries_unrecorded() -> Iterator[None]:
    with patch.object(Endings, "tried", lambda self, delivery, outcome: None):
        yield


@mutant("stored messages processed out of turn")
def _out_of_turn() -> Iterator[None]:
    append = Backlog._append

    def in_front(self: Backlog, *args: Any) -> None:
        append(self, *args)
        self._ready.rotate(1)

    with patch.object(Backlog, "_append", in_front):
        yield


@mutant("a paused lane goes on after a start")
def _pause_forgotten() -> Iterator[None]:
    with patch.object(MemoryStore, "pauses", lambda self: ()):
        yield


@mutant("a retry waits by the wall clock")
def _waits_by_the_wall() -> Iterator[None]:
    def by_the_wall(self: FifoWindow, head: Delivery) -> float:
        return (head.next_at_us - self._clock.now_us()) / 1_000_000 if head.next_at_us else 0.0

    with patch.object(FifoWindow, "_until_retry", by_the_wall):
        yield


@mutant("a key's retry waits by the wall clock")
def _key_waits_by_the_wall() -> Iterator[None]:
    def believing(self: KeyedWindow, next_at_us: int) -> float:
        return max(0.0, (next_at_us - self._clock.now_us()) / 1_000_000) if next_at_us else 0.0

    with patch.object(KeyedWindow, "_wait_of", believing):
        yield


@mutant("what any clock calls old is forgotten")
def _any_clock() -> Iterator[None]:
    with (
        patch.object(JudgedClock, "look", lambda self: self._clock.now_us()),
        patch.object(JudgedClock, "agrees", lambda self: True),
    ):
        yield


@mutant("order by the time of receipt")
def _by_time() -> Iterator[None]:
    queue = MemoryRows.queue

    def by_time(self: MemoryRows, *args: Any) -> Any:
        return sorted(queue(self, *args), key=lambda row: row.received_at_us)

    with patch.object(MemoryRows, "queue", by_time):
        yield


@mutant("a yes before the destination has said it")
def _yes_before_theirs() -> Iterator[None]:
    committed = DeliveredAnswers.committed

    def early(self: DeliveredAnswers, seq: Any, *args: Any) -> None:
        committed(self, seq, *args)
        waiting = self._waiting.pop(seq)
        self._tell(waiting, *self._application(waiting.message, Delivered()))

    with patch.object(DeliveredAnswers, "committed", early):
        yield


@mutant("a yes before the destination's is on record")
def _yes_before_the_record() -> Iterator[None]:
    ending = DeliveredAnswers.ending

    def early(self: DeliveredAnswers, delivery: Delivery, outcome: Any, result: Any) -> bool:
        found = ending(self, delivery, outcome, result)
        self.recorded(delivery.id)
        return found

    with patch.object(DeliveredAnswers, "ending", early):
        yield


@mutant("the destination's no is told as a yes")
def _no_as_yes() -> Iterator[None]:
    application = DeliveredAnswers._application

    def kind(self: DeliveredAnswers, message: Any, outcome: Any) -> Any:
        return application(self, message, Delivered() if isinstance(outcome, Refused) else outcome)

    with patch.object(DeliveredAnswers, "_application", kind):
        yield


@mutant("another destination's word is taken for the one that is waited for")
def _anybodys_word() -> Iterator[None]:
    def anybodys(self: DeliveredAnswers, seq: Any) -> Any:
        return self._to_answer(self._queries.message(seq))

    with patch.object(DeliveredAnswers, "_promised_to", anybodys):
        yield


@mutant("a sender is told too early that a destination does not answer")
def _told_too_early() -> Iterator[None]:
    wait = DeliveredAnswers._wait

    def short(self: DeliveredAnswers, *args: Any) -> Any:
        waiting = wait(self, *args)
        waiting.deadline -= self._timeout_s * 0.6
        return waiting

    with patch.object(DeliveredAnswers, "_wait", short):
        yield


@mutant("nothing goes on where what was begun has ended")
def _ends_in_silence() -> Iterator[None]:
    def silent(self: Lane, wake: Any, started: float, outcome: Any) -> None:
        if self._away:
            self._settle_away(outcome, started)
            if not self._window.load():
                self._go_on(wake)

    with patch.object(Lane, "_ended", silent):
        yield
