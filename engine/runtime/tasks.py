"""Every task has an owner, a name and an end."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("segmill.tasks")


class Tasks:
    """Owns a set of tasks. One that ends with an exception is reported once, to `on_failure`.

    Only this module may call `create_task` (held by lint): a task that nobody keeps can be
    collected half-way, and one that nobody awaits swallows its exception.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._running: dict[asyncio.Task[Any], None] = {}
        self._on_failure = on_failure

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start `work` under this owner."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    async def cancel_all(self) -> None:
        """Cancel what still runs and wait for its end; exceptions were reported as they came."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def describe(error: BaseException) -> str:
    """An exception as a log may hold it: type and place, never its text, which may quote a message."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}" if place else type(error).__name__
