"""What a message costs in the store: beside one bare row of 1 kB, in the same process and on the same disk.

The first table is on tmpfs where there is one, so that it counts work and not syncs; the second on the
disk, with every commit synced, and counts waiting. Run it alone: `python tests/bench/bench_store.py`.
"""

import bisect
import itertools
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, Delivery, DeliveryResult, DraftDelivery, Intake
from engine.model.ids import ChannelName, DestinationName, VersionId

RAW = os.urandom(500).hex().encode()
ACK = b"MSH|^~\\&|SEGMILL||A|B|20260301101500||ACK^A01|1|P|2.5\rMSA|AA|MSG00000001\r"
T0 = 1_700_000_000_000_000

MOST_TIMES_A_ROW = 12.0
"""For a message, its delivery with a body of its own, and the delivery's end, in a batch of 32."""
MOST_P99_OF_P50 = 20.0


def batches(count: int, size: int) -> Iterator[Batch]:
    """Batches of new messages with one delivery each, whose body is their own."""
    number = 0
    for _ in range(count):
        batch = Batch()
        for _ in range(size):
            number += 1
            batch.intakes.append(
                Intake(
                    os.urandom(16),
                    ChannelName("adt"),
                    VersionId(1),
                    T0 + number,
                    "HIS|MAIN",
                    "10.1.2.3:4567",
                    "ADT^A01",
                    f"MSG{number:08d}",
                    b"0123456789abcdef",
                    RAW,
                    "processed",
                    "AA",
                    ACK,
                    "",
                    (DraftDelivery(DestinationName("epr"), RAW + b"%d" % number),),
                )
            )
        yield batch


def ends(made: list[list[Delivery]]) -> list[DeliveryResult]:
    """The deliveries of a commit, delivered: they ride in the next one."""
    return [DeliveryResult(row[0].id, "delivered", 1, T0, 0, "AA", "", ACK) for row in made]


def bare_row_us(folder: Path, size: int, rounds: int) -> float:
    """Microseconds a row of 1 kB, inserted `size` at a time."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
        db.execute(f"PRAGMA {setting}")
    db.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, bytes BLOB)")
    started = time.perf_counter()
    for _ in range(rounds):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO t (bytes) VALUES (?)", [(RAW,)] * size)
        db.execute("COMMIT")
    took = time.perf_counter() - started
    db.close()
    return took / rounds / size * 1e6


def message_us(folder: Path, size: int, rounds: int) -> float:
    """Microseconds a message, its delivery, and the end of the delivery before."""
    store = SqliteStore(folder / "store.db")
    store.open()
    given = list(batches(rounds, size))
    results: list[DeliveryResult] = []
    started = time.perf_counter()
    for batch in given:
        batch.results = results
        results = ends(store.commit(batch).deliveries)
    took = time.perf_counter() - started
    store.close()
    (folder / "store.db").unlink()
    return took / rounds / size * 1e6


def waits_ms(folder: Path, size: int, commits: int) -> tuple[list[float], float]:
    """What messages that come at random moments wait until they are on disk, and how many are carried a second."""
    store = SqliteStore(folder / "store.db")
    store.open()
    spans: list[float] = []
    results: list[DeliveryResult] = []
    for batch in batches(commits, size):
        batch.results = results
        started = time.perf_counter()
        made = store.commit(batch).deliveries
        spans.append(time.perf_counter() - started)
        results = ends(made)
        if store.wants_checkpoint():
            started = time.perf_counter()
            store.checkpoint()
            spans.append(time.perf_counter() - started)
    store.close()
    until = list(itertools.accumulate(spans))
    chance = random.Random(1)
    waits = []
    for _ in range(50_000):
        moment = chance.random() * until[-2]
        at = bisect.bisect(until, moment)
        waits.append((until[at] - moment + spans[at + 1]) * 1000)
    return sorted(waits), commits * size / until[-1]


def main() -> int:
    """Print both tables; 1 when a bound is missed."""
    missed = 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        for size, rounds in ((1, 300), (8, 120), (32, 60), (128, 15)):
            pairs = [(bare_row_us(Path(name), size, rounds), message_us(Path(name), size, rounds)) for _ in range(7)]
            bare, whole = (min(column) for column in zip(*pairs, strict=True))
            print(f"batch {size:4}: {whole:6.1f} us a message, {whole / bare:4.1f} times a bare row ({bare:.1f} us)")
            missed |= size == 32 and whole / bare > MOST_TIMES_A_ROW
    with tempfile.TemporaryDirectory() as name:
        waits, rate = waits_ms(Path(name), 8, 4000)
        p50, p99, worst = waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1]
        print(f"on disk, batch 8: wait p50 {p50:.2f} p99 {p99:.2f} most {worst:.2f} ms, {rate:,.0f} messages a second")
        missed |= p99 > MOST_P99_OF_P50 * p50
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
