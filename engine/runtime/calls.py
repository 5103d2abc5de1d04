"""Calls of the store between two commits: who goes first, and on which thread each runs.

Invariants:

- a call waits for one commit at most, and a commit for one call;
- one that can wait goes once nobody waits for a commit, or MOST_PASSED_OVER commits and other calls have gone first;
- where one of these held the loop's thread for long, the next runs on the writer's (`pace`).
"""

from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures import Future as Finished
from typing import Any, TypeVar

from engine.ports.clock import Clock
from engine.ports.store import Store
from engine.runtime.pace import Pace

T = TypeVar("T")

MOST_PASSED_OVER = 16
"""So many commits and calls go before a call that can wait, while messages come without a break."""


class Calls:
    """What is to be done with the store besides commits. `on_ended`: told on the loop of each that has ended."""

    def __init__(
        self,
        store: Store,
        loop: AbstractEventLoop,
        thread: Executor,
        pace: Pace,
        clock: Clock,
        on_ended: Callable[[Finished[Any], Future[Any]], None],
    ) -> None:
        self._store = store
        self._loop = loop
        self._thread = thread
        self._pace = pace
        self._clock = clock
        self._on_ended = on_ended
        self._prompt: deque[Callable[[], None]] = deque()
        self._patient: deque[Callable[[], None]] = deque()
        self._passed_over = 0
        self._called_last = False

    def __bool__(self) -> bool:
        return bool(self._prompt or self._patient)

    def add(self, start: Callable[[], None]) -> None:
        """What begins by itself, and tells by itself of its end."""
        self._prompt.append(start)

    def call(self, work: Callable[[Store], T], answer: "Future[T]") -> None:
        """Off the loop, and soon."""
        self._prompt.append(lambda: self._run_in_thread(work, answer))

    def when_quiet(self, work: Callable[[Store], T], answer: "Future[T]") -> None:
        """Where commits run, and when there is time."""
        self._patient.append(lambda: self._run_here(work, answer))

    def take(self, *, waits: bool, wanted: bool) -> Callable[[], None] | None:
        """What is to run before the next commit. `waits`: something is there to commit; `wanted`: somebody waits."""
        start = None
        is_free = not (self._called_last and waits)
        if self._patient and ((is_free and self._passed_over >= MOST_PASSED_OVER) or not (self._prompt or wanted)):
            start = self._patient.popleft()
            self._passed_over = 0
        elif self._prompt and is_free:
            start = self._prompt.popleft()
            self._passed_over += bool(self._patient)
        self._called_last = self._called_last or start is not None
        return start

    def committing(self) -> None:
        """A commit takes its turn."""
        self._called_last = False
        self._passed_over += bool(self._patient)

    def _run_in_thread(self, work: Callable[[Store], T], answer: "Future[T]") -> None:
        running = self._thread.submit(work, self._store)
        running.add_done_callback(lambda finished: self._loop.call_soon_threadsafe(self._on_ended, finished, answer))

    def _run_here(self, work: Callable[[Store], T], answer: "Future[T]") -> None:
        if self._pace.in_thread:
            self._run_in_thread(work, answer)
            return
        finished: Finished[T] = Finished()
        started = self._clock.monotonic()
        try:
            finished.set_result(work(self._store))
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked for it is told
            finished.set_exception(error)
        self._pace.held(self._clock.monotonic() - started)
        self._on_ended(finished, answer)
