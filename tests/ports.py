"""Ports for programs that cannot take any and say which: below those that the system gives to outgoing connections.

A port of that kind that is free now is soon somebody's: a rig with thousands of connections takes them all in turn, and
an engine that dies and comes back finds its own port taken. Each worker of a test run has a range of its own.
"""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

FIRST: Final = 20_000
"""Linux gives outgoing connections ports from 32,768 on."""
OF_EACH: Final = 1_500
WORKERS: Final = 8


def _candidates() -> Iterator[int]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw7")
    begin = FIRST + int(worker.removeprefix("gw")) % WORKERS * OF_EACH
    # Two runs on one machine begin at different places.
    start = random.Random(os.getpid()).randrange(OF_EACH)
    return (begin + (start + step) % OF_EACH for step in itertools.count())


_ports = _candidates()


def free_port() -> int:
    """One that nobody has now, and that this process has not given out for a long time."""
    for port in itertools.islice(_ports, OF_EACH):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port is free from {FIRST} on")


@contextmanager
def closed_port() -> Iterator[int]:
    """One of 127.0.0.1 that refuses whoever connects, and that nobody else gets meanwhile: bound, and not listening."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]
