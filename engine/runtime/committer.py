"""The committer: one writer, and a commit for everything that waits (DESIGN decision 2).

What must be durable is put here with a callback. The next commit takes all of it in one
transaction; the callbacks run after that transaction is on stable storage and not before, and the
ACK leaves from such a callback. Completions of deliveries ride along.

Invariants:

- one commit, checkpoint or store call at a time; a commit waits for one call at most, a call for one commit (`calls`);
- who waits for the future of a call or a commit has heard of its end before the next commit begins;
- a callback `done` runs exactly once, after the commit; or `refused` runs exactly once;
- results of deliveries are never dropped: a full or busy store keeps them for the next commit;
- after CommitUnknown nothing is said to anybody any more: `on_fatal` is called and the process
  ends for its supervisor (reliability.md section 0, row 4).

Where the commit runs, on the loop's own thread or a writer's, is chosen by what the disk was measured to take (`pace`).
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from engine.model.envelope import Batch, Committed, Delivery, DeliveryResult, Intake, Piece, Reprocessed
from engine.model.ids import MessageSeq
from engine.model.states import IllegalMove
from engine.ports.clock import Clock
from engine.ports.meter import Meter
from engine.ports.store import CommitUnknown, Store, StoreBusy, StoreFull
from engine.ports.tracing import Tracing
from engine.runtime.amendments import Amendments
from engine.runtime.calls import Calls
from engine.runtime.pace import Pace
from engine.runtime.pieces import LARGE_BYTES, Pieces, large_among
from engine.runtime.tasks import describe
from engine.runtime.work import Done, Recorded, Refused, Work, joined, noticed

log = logging.getLogger("segmill.committer")

T = TypeVar("T")

MOST_INTAKES = 512
MOST_BYTES = 32 * 1024 * 1024
RESULTS_WAIT_S = 0.005
"""Completions that nobody waits for may wait this long for an intake to ride with."""
RETRY_S = 0.25
CHECKPOINT_AGAIN_S = 1.0
"""After a checkpoint that did not help, the next is not tried before that."""


class Committer:
    """Collects intakes, reprocessed messages and delivery results, and commits them together."""

    def __init__(self, store: Store, clock: Clock, meter: Meter, on_fatal: Callable[[BaseException], None]) -> None:
        self._store = store
        self._clock = clock
        self._meter = meter
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segmill-writer")
        self._intakes: list[tuple[Intake, Done, Refused]] = []
        self._intake_bytes = 0
        self._reprocessed: list[tuple[Reprocessed, Done, Refused]] = []
        self._results: list[tuple[DeliveryResult, Recorded | None]] = []
        self._at_hand: list[tuple[DeliveryResult, Recorded | None]] = []
        """Results that a commit on the thread has: where it fails for want of room, they wait again."""
        self._pieces = Pieces()
        self._hurried = False
        self._results_due = 0.0
        self._asked: dict[asyncio.Future[Any], None] = {}
        self._after: list[Callable[[], None]] = []
        self._behind: list[Callable[[], None]] = []
        self._busy = False
        self._settling = False
        self._checkpoint_asked = False
        self._no_checkpoint_before = 0.0
        self._ticking = False
        self._again = False
        self._results_alone = False
        self._later: asyncio.TimerHandle | None = None
        self._linger_until = 0.0
        self._pace = Pace()
        self._calls = Calls(store, self._loop, self._thread, self._pace, clock, self._call_ended)
        self.amendments = Amendments(self.call)
        self._last_size = 1
        self._dead = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.taken = 0
        """Messages made durable so far."""
        self.tracing: Tracing | None = None
        """Who is told of the journeys of messages; set before the first channel is opened."""
        self.on_redirected: Callable[[Sequence[Delivery]], None] | None = None
        """Given the deliveries that took over from others, in the order of their ids, after their commit."""

    # -- what the others call -------------------------------------------------------------------

    @property
    def dead(self) -> bool:
        """Whether a commit ended in the unknown: nothing may be promised any more."""
        return self._dead

    @property
    def waiting_bytes(self) -> int:
        """Bytes of received messages that no commit has taken yet."""
        return self._intake_bytes + self._pieces.waiting_bytes

    def put(self, intake: Intake, done: Done, refused: Refused, order: Hashable = None) -> None:
        """Make a received message durable. `done(seq, deliveries)` after the commit, in the order of the calls.

        A large one (`pieces`) takes several commits, and others of its channel pass it but for those of the same
        `order`, which is the connection. Without one it was made of what came on any: it passes none.
        """
        size = len(intake.raw)
        if size >= LARGE_BYTES // 4 or self._pieces:
            bodies = large_among(intake.raw, intake.deliveries)
            told = self._pieces.forgetting(bodies, refused)
            whole_channel = (intake.channel, None)
            orders = (whole_channel,) if order is None else ((intake.channel, order), whole_channel)
            self._pieces.add(orders, partial(self._put, (intake, done, told), size), refused, bodies, size)
        else:
            self._put((intake, done, refused), size)
        if not self._ticking:
            self._schedule()

    def _put(self, entry: tuple[Intake, Done, Refused], size: int) -> None:
        self._intakes.append(entry)
        self._intake_bytes += size

    def reprocess(self, item: Reprocessed) -> "asyncio.Future[list[Delivery]]":
        """Make the result of a stored message's run durable; its new deliveries.

        The future raises StoreFull or StoreBusy when nothing was kept, IllegalMove when the message's
        state does not allow it any more, CommitUnknown when the store is gone.
        """
        ended: asyncio.Future[list[Delivery]] = self._question()

        def done(_seq: MessageSeq, deliveries: list[Delivery]) -> None:
            if not ended.done():
                ended.set_result(deliveries)

        def refused(error: Exception) -> None:
            if not ended.done():
                ended.set_exception(error)

        bodies = large_among(b"", item.deliveries)
        entry = (item, done, self._pieces.forgetting(bodies, refused))
        self._pieces.add(((item.channel,),), lambda: self._reprocessed.append(entry), refused, bodies, 0)
        if not self._ticking:
            self._schedule()
        return ended

    def record(self, result: DeliveryResult, recorded: Recorded | None, *, urgent: bool) -> None:
        """Make an attempt's end durable; not urgent: with the next commit, or within 5 ms."""
        self._results.append((result, recorded))
        self._hurried = self._hurried or urgent
        if self._ticking:
            return
        if urgent:
            self._schedule()
        elif self._later is None:
            self._commit_later()

    def _commit_later(self) -> None:
        now = self._clock.monotonic()
        self._results_due = self._results_due or now + RESULTS_WAIT_S  # a call between makes nobody wait anew
        self._later = self._loop.call_later(max(0.0, self._results_due - now), self._schedule)

    def flushed(self) -> "asyncio.Future[None]":
        """Ends when every result that was recorded so far is on stable storage."""
        ended: asyncio.Future[None] = self._question()
        if ended.done():
            return ended
        if not (results := self._results or self._at_hand):
            ended.set_result(None)
            return ended
        result, recorded = results[-1]
        results[-1] = (result, noticed(ended, recorded))
        self.hurry()
        return ended

    def hurry(self) -> None:
        """Somebody now waits for results that were not urgent."""
        self._hurried = True
        if not self._ticking and self._results:
            self._schedule()

    def soon(self, action: Callable[[], None]) -> None:
        """Run `action` when the callbacks of the commit at hand have all run, or on the loop's next turn.

        Many answers for one connection then leave in one write.
        """
        if self._settling:
            self._after.append(action)
        else:
            self._loop.call_soon(action)

    def behind(self, action: Callable[[], None]) -> None:
        """As `soon`, but behind all that is to be done so: senders get their answers before lanes begin to send."""
        if self._settling:
            self._behind.append(action)
        else:
            self._loop.call_soon(action)

    def call(self, work: Callable[[Store], T]) -> "asyncio.Future[T]":
        """Run `work` with the store between two commits, off the loop; its result or exception as a future.

        CommitUnknown when the store is gone.
        """
        answer: asyncio.Future[T] = self._question()
        self._calls.call(work, answer)
        return self._called(answer)

    def when_quiet(self, work: Callable[[Store], T]) -> "asyncio.Future[T]":
        """As `call`, for what can wait and takes no longer than a commit: once no message waits, or some have passed.

        It runs where commits run: on the loop's thread none of its statements waits for the interpreter's lock.
        """
        answer: asyncio.Future[T] = self._question()
        self._calls.when_quiet(work, answer)
        return self._called(answer)

    def budget_s(self, quick_s: float) -> float:
        """How long such a call should take: `quick_s`, and on a slow disk twice what a commit takes."""
        return 2 * self._pace.average_s if self._pace.in_thread else quick_s

    def _called(self, answer: "asyncio.Future[T]") -> "asyncio.Future[T]":
        self._idle.clear()
        if not self._ticking:
            self._schedule()
        return answer

    def _call_ended(self, finished: "Future[T]", answer: "asyncio.Future[T]") -> None:
        error = finished.exception()
        if isinstance(error, CommitUnknown):
            self._die(error)
        if error is not None and not answer.done():
            answer.set_exception(error)
        elif not answer.done():
            answer.set_result(finished.result())
        self._loop.call_soon(self._free)

    def _question(self) -> "asyncio.Future[Any]":
        """A future that ends in any case, and be it with the store."""
        question: asyncio.Future[Any] = self._loop.create_future()
        if self._dead:
            question.set_exception(CommitUnknown("the store is gone"))
        else:
            self._asked[question] = None
            question.add_done_callback(self._answered)
        return question

    def _answered(self, question: "asyncio.Future[Any]") -> None:
        self._asked.pop(question, None)

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        while not self._dead:
            self.hurry()
            if not (self._busy or self._ticking or self._has_work()):
                return
            self._idle.clear()
            await self._idle.wait()

    async def settled(self) -> None:
        """Wait until all that was given to it before this call is committed or refused, whatever comes behind it.

        Raises CommitUnknown when the store is gone.
        """
        if self._pieces:
            left: asyncio.Future[None] = self._question()
            self._pieces.when_gone(lambda: None if left.done() else left.set_result(None))
            await left
        ends: list[asyncio.Future[None]] = []
        # Each kind is committed in the order it came in, so the last one of each tells of all before it.
        if self._intakes:
            intake, done, refused = self._intakes[-1]
            ends.append(end := self._question())
            self._intakes[-1] = (intake, noticed(end, done), noticed(end, refused))
        if self._reprocessed:
            item, done, refused = self._reprocessed[-1]
            ends.append(end := self._question())
            self._reprocessed[-1] = (item, noticed(end, done), noticed(end, refused))
        if results := self._results or self._at_hand:
            result, recorded = results[-1]
            ends.append(end := self._question())
            results[-1] = (result, noticed(end, recorded))
        self.hurry()
        for end in ends:
            await end
        await self.call(lambda store: None)  # behind a commit that runs

    def close(self) -> None:
        """Let go of the writer thread, once it has finished what it does. Blocks."""
        if self._later is not None:
            self._later.cancel()
        self._dead = True
        if self.tracing is not None:
            self.tracing.stop()
        self._thread.shutdown(wait=True)

    # -- the cycle ------------------------------------------------------------------------------

    def _waits(self) -> bool:
        return bool(self._intakes or self._reprocessed or self._results or self._pieces)

    def _is_wanted(self) -> bool:
        """Whether somebody waits for the next commit, or results have waited for as long as they may."""
        is_due = self._hurried or 0.0 < self._results_due <= self._clock.monotonic()
        return bool(self._intakes or self._reprocessed or self._pieces or (self._results and is_due))

    def _has_work(self) -> bool:
        return self._waits() or bool(self._calls)

    def _schedule(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._ticking or self._dead:
            return
        self._ticking = True
        self._idle.clear()
        self._linger_until = 0.0
        self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        """Commit now, or let the loop turn once more so that senders on their way can join."""
        if self._dead:
            self._ticking = False
            return
        if self._busy:
            self._ticking = False
            self._again = True  # _go_on schedules again, for results that somebody waits for, too
            return
        takes = self._calls and not self._linger_until
        if takes and (start := self._calls.take(waits=self._waits(), wanted=self._is_wanted())) is not None:
            self._ticking = False
            self._busy = True
            start()
            return
        waiting = len(self._intakes)
        if 0 < waiting < self._last_size:
            # The loop turns with a zero time-out while we wait: asyncio's timers are too coarse for this.
            now = self._clock.monotonic()
            if not self._linger_until:
                self._linger_until = now + self._pace.linger_s
            if now < self._linger_until:
                self._loop.call_soon(self._tick)
                return
        self._ticking = False
        self._commit()

    def _commit(self) -> None:
        self._calls.committing()
        self._hurried = False
        self._results_due = 0.0
        reprocessed: list[tuple[Reprocessed, Done, Refused]] = []
        intakes = self._intakes
        is_large = self._intake_bytes >= LARGE_BYTES
        if self._results_alone:
            intakes = []
        elif len(intakes) > MOST_INTAKES or self._intake_bytes > MOST_BYTES:
            intakes = self._first_slice()
            self._intakes = self._intakes[len(intakes) :]
            self._intake_bytes -= sum(len(entry[0].raw) for entry in intakes)
        else:
            self._intakes = []
            self._intake_bytes = 0
        pieces: Sequence[Piece] = ()
        unwanted: Sequence[bytes] = ()
        if not self._results_alone:
            reprocessed, self._reprocessed = self._reprocessed, []
            pieces, unwanted = self._pieces.take()
        self._results_alone = False
        results, self._results = self._results, []
        batch = Batch([e[0] for e in intakes], [e[0] for e in reprocessed], [e[0] for e in results], pieces, unwanted)
        if not batch:
            self._go_on()
            return
        work = Work(batch, intakes, reprocessed, results)
        started = self._clock.monotonic()
        if self._pace.in_thread or is_large:
            self._busy = True
            self._at_hand = results
            running = self._thread.submit(self._timed_commit, batch)
            running.add_done_callback(
                lambda finished: self._loop.call_soon_threadsafe(self._thread_ended, work, finished)
            )
            return
        self._busy = True
        try:
            committed = self._store.commit(batch)
        except Exception as error:  # noqa: BLE001 - the edge of the store: every kind is answered in _failed
            self._failed(work, error)
        else:
            self._succeeded(work, committed, self._clock.monotonic() - started)
        finally:
            self._ended(work)

    def _first_slice(self) -> list[tuple[Intake, Done, Refused]]:
        taken = size = 0
        for entry in self._intakes[:MOST_INTAKES]:
            size += len(entry[0].raw)
            if taken and size > MOST_BYTES:
                break
            taken += 1
        return self._intakes[:taken]

    def _timed_commit(self, batch: Batch) -> tuple[Committed, float]:
        started = self._clock.monotonic()
        return self._store.commit(batch), self._clock.monotonic() - started

    def _thread_ended(self, work: Work, finished: "Future[tuple[Committed, float]]") -> None:
        error = finished.exception()
        self._at_hand = []
        try:
            if error is not None:
                self._failed(work, error)
            else:
                self._succeeded(work, *finished.result())
        finally:
            self._ended(work)

    def _ended(self, work: Work) -> None:
        """Free for the next commit, as soon as all have heard of this one.

        Those who wait for a future hear on the loop's next turn. A commit that a turn before had been asked for must
        not come in between: lanes and backlogs take what they are offered in the order of the commits, and would not
        take what comes behind its successors.
        """
        if work.reprocessed or work.results:
            self._loop.call_soon(self._free)
        else:
            self._free()

    def _free(self) -> None:
        self._busy = False
        self._go_on()

    def _succeeded(self, work: Work, committed: Committed, took: float) -> None:
        self._meter.commit(took, len(work.intakes) + len(work.reprocessed) + len(work.results))
        self._pace.learn(took)
        self.taken += len(work.intakes)
        if work.intakes or not work.batch.pieces:
            self._last_size = max(1, len(work.intakes), self._last_size * 7 // 8)
        self._settling = True
        for piece in work.batch.pieces:
            self._pieces.committed(piece)
        for entry, seq, deliveries in zip(work.intakes, committed.seqs, committed.deliveries, strict=True):
            try:
                entry[1](seq, deliveries)
            except Exception as error:  # noqa: BLE001 - one message's defect must not silence its neighbours
                log.error("message %d is stored, but its sender was not answered: %s", seq, describe(error))
        for item, deliveries in zip(work.reprocessed, committed.released, strict=True):
            item[1](item[0].seq, deliveries)
        for result in work.results:
            if result[1] is not None:
                result[1]()
        if committed.redirected and self.on_redirected is not None:
            # Behind those that were released: their futures come true on the loop's next turn, and a lane takes
            # what it is offered in the order of the ids.
            self._loop.call_soon(self.on_redirected, committed.redirected)
        self._run_after()

    def _refuse(self, work: Work, error: Exception) -> None:
        """Tell everybody whose part was certainly not kept."""
        self._pieces.forget(work.batch.unwanted)
        large = [self._pieces.refuse for _ in work.batch.pieces]
        for refused in [*large, *(entry[2] for entry in (*work.intakes, *work.reprocessed))]:
            try:
                refused(error)
            except Exception as defect:  # noqa: BLE001 - as for those that were stored
                log.error("a message was not stored, and its sender was not told: %s", describe(defect))

    def _run_after(self) -> None:
        while self._after or self._behind:
            if self._after:
                actions, self._after = self._after, []
            else:
                actions, self._behind = self._behind, []
            for action in actions:
                try:
                    action()
                except Exception as defect:  # noqa: BLE001 - one connection's defect must not silence its neighbours
                    log.error("answers could not be written to a connection: %s", describe(defect))
        self._settling = False

    def _failed(self, work: Work, error: BaseException) -> None:
        if isinstance(error, (StoreFull, StoreBusy)):
            # Certainly not kept. Senders are told so; what lanes learned must not be forgotten, and where there
            # is no room for a message there may be for a few bytes (reliability.md D3): it is tried without them.
            self._results = work.results + self._results
            self._results_alone = bool(work.results and (work.intakes or work.reprocessed or work.batch.pieces))
            self._refuse(work, error)
            self._run_after()
            if self._results and self._later is None:
                self._later = self._loop.call_later(RETRY_S, self._schedule)
            return
        if (
            isinstance(error, (IllegalMove, ValueError))
            and len(work.intakes) + len(work.reprocessed) + len(work.results) + len(work.batch.pieces) > 1
        ):
            self._one_by_one(work)
            return
        if isinstance(error, (IllegalMove, ValueError)):
            log.error("the store refused one change: %s", describe(error))
            self._refuse(work, error)
            for result in work.results:
                # The row already says otherwise (a person moved it); the lane may go on.
                if result[1] is not None:
                    result[1]()
            self._run_after()
            return
        self._die(error)

    def _one_by_one(self, work: Work) -> None:
        """One member of the batch is at fault, and nothing of it was kept: find it, keep the others."""
        singles = work.singles()
        for at, single in enumerate(singles):
            if self._dead:
                return
            started = self._clock.monotonic()
            try:
                committed = self._store.commit(single.batch)
            except (StoreFull, StoreBusy) as error:
                # The rest has no better prospects, and a result must not overtake an earlier one of its delivery.
                self._failed(joined(singles[at:]), error)
                return
            except Exception as error:  # noqa: BLE001 - as in _commit
                self._failed(single, error)
            else:
                self._succeeded(single, committed, self._clock.monotonic() - started)

    def _die(self, error: BaseException) -> None:
        if self._dead:
            return
        self._dead = True
        self._idle.set()
        for question in list(self._asked):
            if not question.done():
                question.set_exception(CommitUnknown("the store is gone"))
        self._on_fatal(error)

    def _go_on(self) -> None:
        """After a commit, checkpoint or call: take up what came meanwhile, or use the quiet for a checkpoint."""
        if self._dead or self._busy:
            return
        waiting = bool(
            self._intakes or self._reprocessed or self._calls or self._pieces or (self._again and self._results)
        )
        self._again = False
        if not self._checkpoint_asked and self._wants_checkpoint(idle=not waiting):
            self._checkpoint_asked = waiting = True
            self._calls.add(self._checkpoint)
        if self.dead:
            return
        if waiting:
            self._schedule()
            return
        if self._results:
            if self._later is None and not self._ticking:
                self._commit_later()
            return
        self._idle.set()

    def _wants_checkpoint(self, *, idle: bool) -> bool:
        if self._no_checkpoint_before and self._clock.monotonic() < self._no_checkpoint_before:
            return False
        try:
            return self._store.wants_checkpoint(idle=idle)
        except Exception as error:  # noqa: BLE001 - a log that cannot even be looked at: the disk fails
            self._die(error)
            return False

    def _checkpoint(self) -> None:
        self._busy = True
        self._checkpoint_asked = False
        running = self._thread.submit(self._store.checkpoint)

        def settle(finished: "Future[None]") -> None:
            self._busy = False
            error = finished.exception()
            if error is not None:
                self._die(error)
            elif self._wants_checkpoint(idle=True):
                # A reader is in the way (a backup, a shell): trying again at once would spin until it has gone.
                self._no_checkpoint_before = self._clock.monotonic() + CHECKPOINT_AGAIN_S
            self._go_on()

        running.add_done_callback(lambda finished: self._loop.call_soon_threadsafe(settle, finished))
