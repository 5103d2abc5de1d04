"""How work that can wait leaves processor and interpreter to the messages (ADR 62).

Two things can be in short supply. The processor: a thread of low priority gets what others leave. And the interpreter's
lock, which one who does not let go of it keeps for 5 ms each time that somebody wants it. A thread that holds the lock
much of its time must not have a low priority: while it is not given the processor, nobody else gets the lock.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

NICE: Final = 10
AT_A_STRETCH: Final = 10
GIVE_WAY_S: Final = 0.0002


def be_nice() -> None:
    """This thread gives way to others. On Linux a thread has a priority of its own; elsewhere this stays as it is."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # Never up: whoever started the process may have made it nicer still, and only root may take that back.
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))


def aside(work: Callable[[], T]) -> T:
    """What `work` gives, on a thread of low priority; for what seldom holds the interpreter's lock. Blocks."""
    with ThreadPoolExecutor(1, "segmill-aside", be_nice) as pool:
        return pool.submit(work).result()


def giving_way(messages: Iterable[T]) -> Iterator[T]:
    """Lets go of the interpreter's lock every few messages: who waits for it, as the engine's loop does, would else get
    it after 5 ms, each time that it has something to do. For threads of their own."""
    for number, message in enumerate(messages):
        if number % AT_A_STRETCH == 0:
            time.sleep(GIVE_WAY_S)  # noqa: TID251 - on a thread of its own
        yield message
