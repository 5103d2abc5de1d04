"""Runs a site as `segmill run` does, with a death built in: `engine_under_test.py SITE [STAGE:N] [--mutant NAME]`.

A stage is a place between two lines of the engine; at its N-th passing the process kills itself with SIGKILL.
A mutant is the engine with one promise broken on purpose: a rig is trusted only when it catches them.
Nothing of this is in the engine: the places are wrapped from outside.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.adapters.sinks.mllp import MllpSink
from engine.adapters.stores.sqlite import SqliteStore
from engine.app import run_site
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome
from engine.runtime import intake, lane
from engine.runtime.connection import Connection, Reply

STAGES = (
    "start",
    "received",
    "before-commit",
    "after-commit",
    "before-ack",
    "after-ack",
    "before-send",
    "mid-send",
    "after-receivers-ack",
    "before-checkpoint",
    "after-checkpoint",
)
MUTANTS = ("ack-before-commit", "done-before-receivers-ack")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fuse:
    """Kills the process when one stage was passed often enough."""

    def __init__(self, stage: str, count: int) -> None:
        self.stage = stage
        self.left = count

    def __call__(self, stage: str) -> None:
        if stage == self.stage:
            self.left -= 1
            if self.left <= 0:
                die()


def arm(fuse: Fuse) -> None:
    """Wrap the places where the engine may die."""

    def around(owner: type, name: str, before: str | None, after: str | None) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before:
                fuse(before)
            result = inner(*args, **kwargs)
            if after:
                fuse(after)
            return result

        setattr(owner, name, wrapped)

    around(SqliteStore, "open", None, "start")
    around(SqliteStore, "commit", "before-commit", "after-commit")
    around(SqliteStore, "checkpoint", "before-checkpoint", "after-checkpoint")
    around(intake.Receiver, "take", "received", None)
    around(Reply, "settle", "before-ack", None)
    around(Connection, "_flush", None, "after-ack")

    send = MllpSink.send

    async def sending(self: Any, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        fuse("before-send")
        outcomes: Sequence[Outcome] = await send(self, deliveries)
        fuse("after-receivers-ack")
        return outcomes

    MllpSink.send = sending  # type: ignore[method-assign]

    make = asyncio.selector_events._SelectorSocketTransport.write  # type: ignore[attr-defined]

    def write(self: Any, data: bytes) -> None:
        if fuse.stage == "mid-send" and b"|ADT^" in data[:200]:
            fuse.left -= 1
            if fuse.left <= 0:
                make(self, data[: len(data) // 2])
                die()
        make(self, data)

    asyncio.selector_events._SelectorSocketTransport.write = write  # type: ignore[attr-defined]


def mutate(name: str) -> None:
    """Break one promise."""
    if name == "ack-before-commit":
        finish = intake.Receiver._finish

        def early(self: Any, waiting: Any, *args: Any) -> None:
            finish(self, waiting, *args)
            waiting.reply.settle(intake.framed(waiting.answer.payload))

        intake.Receiver._finish = early  # type: ignore[method-assign]
    elif name == "done-before-receivers-ack":
        run = lane.Lane._send

        async def hasty(self: Any, batch: list[Delivery]) -> None:
            for delivery in batch:
                self._settle(delivery, Delivered())
            await asyncio.sleep(0.002)
            await self._sink.send(batch)

        assert run is not None
        lane.Lane._send = hasty  # type: ignore[method-assign]


def main() -> None:
    words = sys.argv[1:]
    if "--mutant" in words:
        at = words.index("--mutant")
        mutate(words[at + 1])
        del words[at : at + 2]
    if len(words) > 1:
        stage, _, count = words[1].partition(":")
        arm(Fuse(stage, int(count)))
    raise SystemExit(asyncio.run(run_site(Path(words[0]))))


if __name__ == "__main__":
    main()
