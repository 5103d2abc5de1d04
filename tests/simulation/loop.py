"""An event loop without a clock, a socket or a thread: time is a number, and what happens next is drawn from a seed.

Whoever takes part is a `Process`: the engine, each sender, each receiver. A process runs its callbacks first in first
out, as asyncio promises it; which process runs next, when what is on its way arrives, and how long anything takes is
drawn. So everything that asyncio leaves open is open here, and nothing that it promises is broken.

Who a callback belongs to stands in its context, which tasks and futures carry along by themselves. A process that is
killed runs nothing any more, not even the ends of its coroutines, before `bury` has made them harmless.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

OWNER: ContextVar["Process"] = ContextVar("OWNER")

START_US = 1_000_000_000


class Killed(BaseException):
    """The process ends at this very place."""


class Process:
    """Whose callbacks run in the order in which they were asked for."""

    __slots__ = ("context", "is_dead", "left", "name", "ready", "tasks", "was_killed")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.is_dead = False
        self.was_killed = False
        """By the history, and not because its work was done."""
        self.left = -1
        """Callbacks until it is killed; negative: it is not."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = copy_context()
        self.context.run(OWNER.set, self)


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set is not its place in memory: asyncio's own groups keep their tasks in sets."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class Stuck(Exception):
    """Too many steps, or nothing left that could ever happen."""


class Loop(asyncio.AbstractEventLoop):
    """Runs processes until a condition holds. Times in microseconds, but where asyncio says seconds."""

    def __init__(self, rng: Random, *, most_tick_us: int = 20, trace: list[str] | None = None) -> None:
        self.now_us = START_US
        self.steps = 0
        self.trace = trace
        self.defects: list[str] = []
        self.on_killed: Callable[[Process], None] = lambda process: None
        self.network: Any = None
        self._random = rng.random
        self._most_tick_us = most_tick_us
        self._active: list[Process] = []
        self._timers: list[tuple[int, float, int, asyncio.Handle]] = []
        self._count = 0
        self._tasks = 0
        self._doomed: Process | None = None
        self.world = Process("world")

    # -- what asyncio asks of a loop ------------------------------------------------------------

    def time(self) -> float:
        return self.now_us / 1e6

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        if context is None:
            context = copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle, context[OWNER])
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_us / 1e6 + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        at_us = round(when * 1e6)
        if at_us / 1e6 < when:
            at_us += 1  # a timer never fires before its time
        self._push(at_us, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        self._tasks += 1
        NumberedTask.number = self._tasks  # it is registered by its hash while it is made
        task = NumberedTask(coro, loop=self, name=name, context=context)
        task.number = self._tasks
        owner = (context or copy_context())[OWNER]
        owner.tasks.append(task)
        if len(owner.tasks) > 64:
            owner.tasks = [task for task in owner.tasks if not task.done()]
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """On a thread, as it were: at some moment from now, all at once, and heard of at a later one."""
        ended: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                found = func(*args)
            except Exception as error:
                self.after(self.draw_us(200), _settle, ended, None, error)
            else:
                self.after(self.draw_us(200), _settle, ended, found, None)

        self.after(self.draw_us(2000), work)
        return ended

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Exceptions that nobody asked for: those of the futures of the dead are of no interest."""

    async def create_connection(self, factory: Callable[[], Any], host: str, port: int, **options: Any) -> Any:
        return await self.network.connect(OWNER.get(), factory, host, port)

    async def sock_accept(self, sock: Any) -> Any:
        return await sock.accepted()

    def remove_reader(self, fd: Any) -> bool:
        """Who accepts hears of the end by its task."""
        return False

    async def connect_accepted_socket(self, factory: Callable[[], Any], sock: Any, **options: Any) -> Any:  # type: ignore[override]
        return sock.enter(factory)

    # -- what a history asks of it --------------------------------------------------------------

    def note(self, text: str, *args: object) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{(self.now_us - START_US) / 1e6:11.6f} {text % args if args else text}")

    def draw_us(self, most: int) -> int:
        """A delay: mostly short."""
        drawn = self._random()
        return 1 + int(most * drawn * drawn * drawn)

    def at(self, when_us: int, process: Process, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        """Let `process` run this then."""
        handle = asyncio.Handle(callback, args, self, process.context.copy())
        self._push(max(when_us, self.now_us), handle)
        return handle

    def after(self, delay_us: int, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        """Let whoever runs now run this later."""
        return self.at(self.now_us + delay_us, OWNER.get(), callback, *args)

    def spawn(self, process: Process, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task of `process`."""
        return process.context.copy().run(self.create_task, work, name=name)  # type: ignore[arg-type]

    def advance(self, by_us: int) -> None:
        """Whoever runs now takes so long, and holds nobody up but itself."""
        self.now_us += by_us

    def kill_here(self, process: Process) -> None:
        """The process ends before anything else happens; the caller raises `Killed`."""
        self._doomed = process

    def kill(self, process: Process) -> None:
        """End a process as `kill -9` does."""
        if process.is_dead:
            return
        process.is_dead = True
        process.ready.clear()
        if process in self._active:
            self._active.remove(process)
        self.on_killed(process)
        self.bury(process)

    def bury(self, process: Process) -> None:
        """Let go of the coroutines of a dead process, here and now and not when memory is collected."""
        for task in process.tasks:
            if task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            work = task.get_coro()
            for _ in range(8):
                try:
                    process.context.copy().run(work.close)
                    break
                except RuntimeError:
                    continue  # it awaits while it ends; there is nobody to wait for
                except Killed:
                    break
                except Exception as error:
                    self.defects.append(f"the end of {task.get_name()} raised {type(error).__name__}")
                    break
        process.ready.clear()

    def run_while(self, goes_on: Callable[[], bool], most_steps: int) -> None:
        """Step after step. Raises Stuck when nothing is left to happen, or it does not end."""
        asyncio._set_running_loop(self)
        active = self._active
        timers = self._timers
        draw = self._random
        tick = self._most_tick_us
        try:
            while goes_on():
                now_us = self.now_us
                if not active and timers:
                    self.now_us = now_us = max(now_us, timers[0][0])
                while timers and timers[0][0] <= now_us:
                    handle = heapq.heappop(timers)[3]
                    if not handle._cancelled:  # type: ignore[attr-defined]
                        self._add(handle, handle._context[OWNER])  # type: ignore[attr-defined]
                if not active:
                    if not timers:
                        raise Stuck("nothing is left that could happen")
                    continue
                at = int(draw() * len(active)) if len(active) > 1 else 0
                process = active[at]
                handle = process.ready.popleft()
                if not process.ready:
                    active[at] = active[-1]
                    active.pop()
                if handle._cancelled:  # type: ignore[attr-defined]
                    continue
                if process.left >= 0:
                    if process.left == 0:
                        self.note("-- %s is killed", process.name)
                        process.was_killed = True
                        self.kill(process)
                        continue
                    process.left -= 1
                try:
                    handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
                except Killed:
                    pass
                except Exception as error:
                    self.defects.append(f"a callback of {process.name} raised {_place(error)}")
                if self._doomed is not None:
                    doomed, self._doomed = self._doomed, None
                    self.note("-- %s is killed inside a commit", doomed.name)
                    doomed.was_killed = True
                    self.kill(doomed)
                self.now_us += 1 + int(draw() * tick)
                self.steps += 1
                if self.steps > most_steps:
                    raise Stuck(f"it does not end within {most_steps} steps")
        finally:
            asyncio._set_running_loop(None)

    def _add(self, handle: asyncio.Handle, process: Process) -> None:
        if process.is_dead:
            return
        if not process.ready:
            self._active.append(process)
        process.ready.append(handle)

    def _push(self, at_us: int, handle: asyncio.Handle) -> None:
        self._count += 1
        heapq.heappush(self._timers, (at_us, self._random(), self._count, handle))


def _settle(ended: "asyncio.Future[Any]", found: object, error: Exception | None) -> None:
    if ended.done():
        return
    if error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(found)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error}{where}"


class Clock:
    """ports.Clock on a loop: the wall clock may be set apart from the steady one."""

    def __init__(self, loop: Loop, rng: Random) -> None:
        self._loop = loop
        self._rng = rng
        self.wall_ahead_us = 1_700_000_000_000_000 - START_US
        self.job_started_us = 0
        """A job on a thread began then; its first look at the clock is told so."""

    def now_us(self) -> int:
        return self._loop.now_us + self.wall_ahead_us

    def monotonic(self) -> float:
        if self.job_started_us:
            started, self.job_started_us = self.job_started_us, 0
            return started / 1e6
        return self._loop.now_us / 1e6

    def random_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)
