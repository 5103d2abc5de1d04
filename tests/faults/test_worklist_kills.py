"""Kill -9 while 200 orders a second stream in: each that was acknowledged is on the worklist, once, and was made once.

The engine is a process of its own. A mutant writes what a delivery does one transaction after its record: the rig is
trusted because it catches that one.
"""

import asyncio
import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.adapters.stores.queries import SqliteQueries
from engine.testing.sites import make_site
from engine.worklist.item import ItemKey
from tests.faults.sites import until_caught
from tests.faults.test_operation_kills import until
from tests.forked import shared

CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations: {modalities: {worklist: {}}}
"""
SENDERS = 8
RATE = 200
"""Orders a second that are asked for; where the machine is too busy for that, as many as it takes."""
KILLS = (250, 600, 1000)
AFTER = 150
"""At how many acknowledged orders the engine is killed, and how many more there are then."""
LONG_KILLS = tuple(number * 2000 + number * number * 37 % 1000 for number in range(1, 11))
LONG_AFTER = 2000
WITHIN_S = 300
"""So long one of these things is waited for."""

LATE = """
import sys
from engine.adapters.stores import effects
from engine.cli.main import main

right, waiting = effects.SqliteEffects.__call__, []


def late(self, given, result):
    for one in waiting:
        right(self, *one)
    waiting[:] = [(type(given)(given.worklist, given.changes, None, given.who), result)]


effects.SqliteEffects.__call__ = late
sys.argv = ["segmill", "run", sys.argv[1]]
main()
"""
"""An engine that writes what a delivery does with the next one's record."""


class EngineProcess:
    """`segmill run` on a site, or a program in its place, until it is killed."""

    def __init__(self, site: Path, program: str = "") -> None:
        words = ["-c", program, str(site)] if program else ["-m", "engine", "run", str(site)]
        self.process = subprocess.Popen(
            [*shared().python, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stderr is not None
        self.said = ""
        while not (started := re.search(r"started: orders on .*:([0-9]+)", self.said)):
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self.port = int(started[1])

    def kill(self) -> None:
        shared().kill(self.process)
        self.process.communicate()


def order(sender: int, number: int) -> bytes:
    name = f"{sender}N{number}"
    segments = [
        f"MSH|^~\\&|HIS{sender}|NORTH|SEGMILL|RAD|20260101120000||ORM^O01|{name}|P|2.3.1",
        "PID|1||900001^^^HIS^MR||Muster^Anna||19800203|F",
        f"ORC|NW|P{name}^HIS|F{name}^RIS||SC||^^^20260102103000",
        f"OBR|1|P{name}^HIS|F{name}^RIS|CTH^CT head^L||||||||||||||A{name}|R{name}|S{name}||||CT",
        f"ZDS|1.2.826.0.1.99.{sender}.{number}",
    ]
    return b"\x0b" + ("\r".join(segments) + "\r").encode() + b"\x1c\r"


class Pace:
    """When the next order may leave, for all senders together: RATE a second.

    `makes_up`: what a kill cost is made up for afterwards, so that there are RATE of them a second in the end, else
    there is no burst.
    """

    def __init__(self, *, makes_up: bool = False) -> None:
        self._lock = threading.Lock()
        self._makes_up = makes_up
        self._next_s = time.monotonic()

    def wait(self, over: threading.Event) -> None:
        with self._lock:
            now_s = time.monotonic()
            due_s = self._next_s = self._next_s + 1 / RATE
            if due_s < now_s and not self._makes_up:
                due_s = self._next_s = now_s
        over.wait(due_s - now_s)


class Stream:
    """Senders that each send one order after the other, the same again until it is acknowledged."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.port = 0
        self.acknowledged: set[tuple[int, int]] = set()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(sender,)) for sender in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.settimeout(5)
                while not self._over.is_set():
                    self._pace.wait(self._over)
                    connection.sendall(order(sender, number))
                    answer = b""
                    while not answer.endswith(b"\x1c\r"):
                        part = connection.recv(4096)
                        if not part:
                            raise ConnectionResetError
                        answer += part
                    assert b"MSA|AA|" in answer, answer
                    self.acknowledged.add((sender, number))
                    number += 1
            self._over.wait(0.01)


@dataclass
class Came:
    """What came of it: acknowledged orders that are not there exactly once, how many there were, how many items there
    are, and in how many seconds that was, from the first order to the last one."""

    bad: set[tuple[int, int]]
    acknowledged: int
    items: int
    seconds: float

    @property
    def is_whole(self) -> bool:
        """What was not acknowledged may be there as well: of each sender the one it would send again."""
        return not self.bad and self.acknowledged <= self.items <= self.acknowledged + SENDERS


def streamed(
    site: Path, kills: Sequence[int], after: int = AFTER, program: str = "", *, makes_up: bool = False
) -> Came:
    """Orders, with kills at so many acknowledged ones."""
    stream = Stream(Pace(makes_up=makes_up))
    engine = EngineProcess(site, program)
    stream.port = engine.port
    try:
        begun_s = time.monotonic()
        stream.start()
        for number in kills:
            until(lambda: len(stream.acknowledged) >= number, WITHIN_S)  # noqa: B023
            engine.kill()
            engine = EngineProcess(site, program)
            stream.port = engine.port
        until(lambda: len(stream.acknowledged) >= kills[-1] + after, WITHIN_S)
        seconds = time.monotonic() - begun_s
        stream.stop()
        queries = SqliteQueries(site / "data" / "segmill.db")
        until(lambda: all(depth.queued == 0 for depth in queries.depths()), WITHIN_S)
    finally:
        stream.stop()
        engine.kill()
    bad: set[tuple[int, int]] = set()
    with queries.worklist("main") as view:
        for sender, number in stream.acknowledged:
            key = ItemKey(f"1.2.826.0.1.99.{sender}.{number}", f"S{sender}N{number}")
            made = [row for row in view.history(key) if row.what == "created"]
            if view.item(key) is None or len(made) != 1:
                bad.add((sender, number))
    (items,) = queries.worklist_counts().values()
    queries.close()
    return Came(bad, len(stream.acknowledged), items, seconds)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site", {"orders": CHANNEL}, "admin: off\n")


def told(ledger, kills: Sequence[int], came: Came) -> None:
    ledger.write(
        "R1",
        "kill -9, orders onto a worklist",
        kills=len(kills),
        acknowledged=came.acknowledged,
        lost=0,
        doubled=0,
        asked_a_second=RATE,
        acknowledged_a_second=round(came.acknowledged / came.seconds),
    )


@pytest.mark.timeout(300)
def test_each_acknowledged_order_is_there_once_whenever_the_engine_was_killed(site: Path, ledger) -> None:
    came = streamed(site, KILLS)
    assert came.bad == set()
    assert came.is_whole
    told(ledger, KILLS, came)


@pytest.mark.fault
@pytest.mark.timeout(1800)
def test_two_hundred_orders_a_second_for_minutes_and_each_is_there_once(site: Path, ledger) -> None:
    """The senders make up for what a kill cost them, so that the engine has to take more than that in between. How many
    a second it came to is in the ledger: on a machine that has other work it may be fewer."""
    came = streamed(site, LONG_KILLS, LONG_AFTER, makes_up=True)
    assert came.bad == set()
    assert came.is_whole
    told(ledger, LONG_KILLS, came)


@pytest.mark.timeout(300)
async def test_what_is_written_after_the_record_is_caught(tmp_path: Path) -> None:
    async def look(number: int) -> Came:
        site = make_site(tmp_path / f"site-{number}", {"orders": CHANNEL}, "admin: off\n")
        return await asyncio.to_thread(streamed, site, (30, 75, 140), 40, LATE)

    await until_caught(look, lambda came: came.bad)
