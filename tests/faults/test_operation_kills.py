"""Kill -9 in the middle of a bulk that a person ordered: asked again under its key, everything is done exactly once.

The engine is a process of its own, killed when the store says that the run has come so far; the order is a resend of
many messages in slices. At the end each message has gone out once more and no more, and the audit is whole and says so.
"""

import contextlib
import json
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from engine.adapters.control_client import AskFailed, ControlClient, NotRunning
from engine.adapters.stores.queries import SqliteQueries
from engine.model.audit import broken_at
from engine.testing import messages as made
from engine.testing.sites import make_site
from tests.forked import shared

MESSAGES = 1500
CHANNEL = """\
listen: {mllp: {port: 0}}
accept: [ADT^*]
routes: [{to: out}]
destinations: {out: {file: {folder: out, name: "{MSH-10}.hl7"}}}
"""


class EngineProcess:
    """`segmill run` on a site, until it is killed."""

    def __init__(self, site: Path) -> None:
        self.process = subprocess.Popen(
            [*shared().python, "-m", "engine", "run", str(site)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stderr is not None
        said = ""
        while "started: adt on " not in said:
            line = self.process.stderr.readline()
            assert line, said
            said += line
        self.port = int(said.rsplit(":", 1)[1])

    def kill(self) -> None:
        shared().kill(self.process)
        self.process.communicate()


@pytest.fixture
def site(tmp_path: Path):
    return make_site(tmp_path / "site", {"adt": CHANNEL}, "admin: off\n")


def done_of(store: Path, key: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        row = db.execute("SELECT done FROM operation WHERE run = ?", (key,)).fetchone()
    return row[0] if row else 0


def until(condition, within_s: float = 60.0) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        threading.Event().wait(0.001)


@pytest.mark.parametrize("kill_at", [(100, 700)], ids=["twice"])
def test_a_bulk_that_is_killed_in_the_middle_is_done_exactly_once(site: Path, kill_at, ledger) -> None:
    store = site / "data" / "segmill.db"
    order = {"action": "resend", "messages": [[1, MESSAGES]], "key": "ticket-4711", "reason": "the archive was lost"}
    kills = 0
    engine = EngineProcess(site)
    try:
        _fill(engine.port, store)
        for threshold in kill_at:
            asking = threading.Thread(target=_ask, args=(site / "data", order))
            asking.start()
            until(lambda: done_of(store, "ticket-4711") >= threshold)  # noqa: B023
            engine.kill()
            kills += 1
            asking.join()
            engine = EngineProcess(site)
        report = _ask(site / "data", order)
        assert report is not None
        assert (report["messages"], report["deliveries"], report["left"]) == (MESSAGES, MESSAGES, [])
        assert _ask(site / "data", order) == report | {"done_before": True}
    finally:
        engine.kill()
    queries = SqliteQueries(store)
    deliveries = Counter(d.seq for seq in range(1, MESSAGES + 1) for d in queries.deliveries(seq))
    rows = [row for row in queries.audit() if row.action == "resend"]
    head = queries.audit_head()
    assert broken_at(queries.audit(), head.last, head.hash) is None
    queries.close()
    assert deliveries == dict.fromkeys(range(1, MESSAGES + 1), 2)
    assert sum(json.loads(row.counts)["deliveries"] for row in rows) == MESSAGES, "and the record says it once"
    ledger.write("R1", "kill -9 in a bulk order, asked again", kills=kills, messages=MESSAGES, doubled=0, missed=0)


def _fill(port: int, store: Path) -> None:
    import asyncio

    from engine.adapters.mllp_connection import Target
    from engine.adapters.sender import Sender

    payloads = [made.adt(control_id=f"A{n}") for n in range(MESSAGES)]
    report = asyncio.run(Sender(Target("127.0.0.1", port), payloads).run())
    assert report.accepted == MESSAGES

    def waiting() -> int:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            found: int = db.execute("SELECT count(*) FROM delivery WHERE state = 0").fetchone()[0]
            return found

    until(lambda: waiting() == 0)


def _ask(data: Path, order: dict[str, object]) -> dict[str, object] | None:
    """The engine's report; None where it died before it gave one."""
    try:
        answer: dict[str, object] = ControlClient(data).post("/v1/order", order)
    except (AskFailed, NotRunning):
        return None
    return answer
