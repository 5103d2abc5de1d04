"""Runs a site as `segmill run` does, with a death or a defect built in from outside; nothing of it is in the engine.

    engine_under_test.py SITE [STAGE:N] [--mutant NAME]
    engine_under_test.py --serve          orders on stdin, one a line: see `tests.faults.nursery`

A stage is a place between two lines of the engine; at its N-th passing the process kills itself with SIGKILL. Of
`mid-commit`, `mid-purge` and `mid-migration`, N counts the instructions of SQLite's machine.
A mutant is the engine with one promise broken on purpose: a rig is trusted only when it catches them.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.adapters.sinks.mllp import MllpSink
from engine.adapters.stores import connection, faults, place, schema
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.pruning import Pruning
from engine.adapters.stores.sqlite import SqliteStore
from engine.app import run_site
from engine.model.envelope import Delivery
from engine.model.outcome import Outcome
from engine.pipeline.registry import load_kinds, load_steps
from engine.pipeline.steps import set as set_step
from engine.ports.store import StoreFull
from engine.runtime import intake, retention
from engine.runtime.connection import Connection, Reply
from tests.faults import mutants, transitions

MOST_PASSES = {
    "before-recovery": 1,
    "after-recovery": 1,
    "start": 1,
    "received": 120,
    "mid-transform": 120,
    "before-commit": 120,
    "mid-commit": 20_000,
    "after-commit": 120,
    "before-ack": 120,
    "after-ack": 120,
    "before-send": 120,
    "mid-send": 120,
    "after-receivers-ack": 120,
    "before-checkpoint": 1,
    "after-checkpoint": 1,
    "before-purge": 2,
    "mid-purge": 4_000,
    "after-purge": 2,
    "before-room-is-given-back": 1,
}
"""Each stage, with a number of passes that a short life under load still reaches."""

STAGES = tuple(MOST_PASSES)

BETWEEN_PIECES = "between-pieces"
MOST_PASSES[BETWEEN_PIECES] = 40
"""Before a commit while some of a large body is in the store and its message is not: for those who send such."""

PR_SET_PDEATHSIG = 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fuse:
    """Kills the process when one stage was passed often enough."""

    def __init__(self, stage: str, count: int) -> None:
        self.stage = stage
        self.left = count

    def __call__(self, stage: str) -> None:
        if stage == self.stage:
            self.burn()

    def burn(self) -> int:
        """One step nearer."""
        self.left -= 1
        if self.left <= 0:
            die()
        return 0


def arm(fuse: Fuse) -> None:
    """Wrap the places where the engine may die."""

    def around(
        owner: Any, name: str, before: str | None, after: str | None, mid: tuple[str, Callable[..., Any]] | None = None
    ) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before:
                fuse(before)
            if mid and fuse.stage == mid[0]:
                db = mid[1](*args)
                db.set_progress_handler(fuse.burn, 1)
                try:
                    result = inner(*args, **kwargs)
                finally:
                    db.set_progress_handler(None, 0)
            else:
                result = inner(*args, **kwargs)
            if after:
                fuse(after)
            return result

        setattr(owner, name, wrapped)

    commit = SqliteStore.commit

    def committing(self: Any, batch: Any) -> Any:
        if self._writing is not None and self._writing._ahead:
            fuse(BETWEEN_PIECES)
        return commit(self, batch)

    SqliteStore.commit = committing  # type: ignore[method-assign]

    around(WriteConnection, "recover", "before-recovery", "after-recovery")
    around(schema, "back_up", "before-copy", "after-copy")
    around(schema, "migrate", "before-migration", "after-migration", ("mid-migration", lambda db, *_: db))
    around(SqliteStore, "open", None, "start")
    around(
        SqliteStore,
        "commit",
        "before-commit",
        "after-commit",
        ("mid-commit", lambda store, *_: store._db.connection),
    )
    around(SqliteStore, "checkpoint", "before-checkpoint", "after-checkpoint")
    around(Pruning, "prune", "before-purge", "after-purge", ("mid-purge", lambda pruning, *_: pruning._db.connection))
    around(SqliteStore, "give_back", "before-room-is-given-back", None)
    around(intake.Receiver, "take", "received", None)
    around(Reply, "settle", "before-ack", None)
    around(Connection, "_flush", None, "after-ack")

    alone = set_step._alone

    def in_the_middle(writer: Any) -> Any:
        """A step has changed the message; the pipeline has not ended."""
        write = alone(writer)

        def dying(*words: Any) -> Any:
            stop = write(*words)
            fuse("mid-transform")
            return stop

        return dying

    set_step._alone = in_the_middle

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


def forget_soon() -> None:
    """Retention makes its passes one after another from the start, and not every ten minutes."""
    retention.FIRST_PASS_S = 0.02  # type: ignore[misc]
    retention.PASS_EVERY_S = 0.05  # type: ignore[misc]


def note_full(report: Path) -> None:
    """A line for every time that the store found no room."""

    class Noted(StoreFull):
        def __init__(self, *words: object) -> None:
            super().__init__(*words)
            with report.open("a") as file:
                file.write("full\n")

    for module in (faults, connection):
        module.StoreFull = Noted  # type: ignore[misc]


def die_in_move(path: Path, move: Any, at: int) -> None:
    """One move of a state, and death at the `at`-th instruction of it, or right after it (0)."""
    store = SqliteStore(path)
    store.open()
    assert store._db is not None
    if at:
        store._db.connection.set_progress_handler(Fuse("", at).burn, 1)
    transitions.carry_out(store, move)
    die()


def run(order: dict[str, Any]) -> int:
    """Carry out one order: `site`, and whatever is to go wrong in it."""
    if death := order.get("death"):
        stage, _, count = death.partition(":")
        arm(Fuse(stage, int(count)))
    if mutant := order.get("mutant"):
        mutants.mutate(mutant)
    if order.get("forget"):
        forget_soon()
    if order.get("note_full"):
        note_full(Path(order["note_full"]))
    if order.get("mounts"):
        place.refuse_network_file_system.__defaults__ = (Path(order["mounts"]),)
    if order.get("system_call"):
        from tests.faults import shim

        shim.arm(order["system_call"])
    if order.get("open_only"):
        store = SqliteStore(Path(order["site"]))
        store.open()
        store.close()
        return 0
    if order.get("move"):
        die_in_move(Path(order["site"]), tuple(order["move"]), order["die_in_move"])
    return asyncio.run(run_site(Path(order["site"])))


def die_with_parent() -> None:
    """A test run that is killed leaves no engine behind, where the system can see to that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve() -> None:
    """Fork an engine for each order, tell its pid, wait for its end, tell that, take the next order."""
    die_with_parent()
    load_kinds()
    load_steps()
    gc.collect()
    gc.freeze()  # what all share is not walked, and so not copied, in each
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                die_with_parent()
                errors = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                silence = os.open(os.devnull, os.O_RDWR)
                os.dup2(silence, 0)
                os.dup2(errors, 1)
                os.dup2(errors, 2)
                code = run(order)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:  # a child must never go on as its parent
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def main() -> None:
    words = sys.argv[1:]
    if words == ["--serve"]:
        serve()
        return
    order: dict[str, Any] = {}
    if "--mutant" in words:
        at = words.index("--mutant")
        order["mutant"] = words[at + 1]
        del words[at : at + 2]
    order["site"] = words[0]
    if len(words) > 1:
        order["death"] = words[1]
    raise SystemExit(run(order))


if __name__ == "__main__":
    main()
