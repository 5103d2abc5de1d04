"""Every task has an owner, a name and an end."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from engine.ports.store import CommitUnknown

log = logging.getLogger("segmill.tasks")


class Tasks:
    """Owns a set of tasks. One that ends with an exception is reported once, to `on_failure`.

    Only this module may call `create_task` (held by lint): a task that nobody keeps can be
    collected half-way, and one that nobody awaits swallows its exception.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._running: dict[asyncio.Task[Any], None] = {}
        self._on_failure = on_failure

    def spawn(
        self, work: Coroutine[Any, Any, None], name: str, on_failure: Callable[[BaseException], None] | None = None
    ) -> asyncio.Task[None]:
        """Start `work` under this owner; `on_failure` is told in place of the owner's, where others can do without."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(partial(self._ended, on_failure))
        return task

    def _ended(self, on_failure: Callable[[BaseException], None] | None, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if on_failure is not None:
                on_failure(error)
            else:
                self._on_failure(task.get_name(), error)

    async def cancel_all(self) -> None:
        """Cancel what still runs and wait for its end; exceptions were reported as they came."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def in_turn(what: str, works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Each piece of work to its end, one after the other; one that fails is reported and keeps none of the others.

    CommitUnknown is the engine's affair, and passes through.
    """
    works = list(works)
    try:
        while works:
            try:
                await works.pop(0)
            except CommitUnknown:
                raise
            except Exception as error:  # noqa: BLE001 - the edge of one piece of work
                log.error("%s failed, and is tried again later: %s", what, describe(error))
    finally:
        for work in works:
            work.close()


def describe(error: BaseException) -> str:
    """An exception as a log may hold it: type and place, never its text, which may quote a message."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}" if place else type(error).__name__
