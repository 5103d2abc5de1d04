"""What encryption at rest costs a message, and a search for a text, beside the same in a plain store.

Processor time, plain and sealed in turns, on tmpfs where there is one. Run it alone:
`python tests/bench/bench_sealed.py`.
"""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import DeliveryResult
from engine.model.store_key import NO_KEYS, StoreKey, StoreKeys
from engine.ports.search import Find
from tests.bench.bench_store import batches, ends

KEYS = {"plain": NO_KEYS, "sealed": StoreKeys(StoreKey.make())}
TURNS = 7
SIZE, ROUNDS = 32, 60

MOST_TIMES_A_COMMIT = 2.0
"""A message with its hash and answer, a delivery with a body of its own, and its end: five values are sealed."""
MOST_TIMES_A_SEARCH = 12.0
"""For a text that stands nowhere, message by message."""


def commit_us(path: Path, keys: StoreKeys) -> float:
    """Processor time of a message, its delivery, and the end of the delivery before, in microseconds."""
    store = SqliteStore(path, keys=keys)
    store.open()
    given = list(batches(ROUNDS, SIZE))
    results: list[DeliveryResult] = []
    started = time.process_time()
    for batch in given:
        batch.results = results
        results = ends(store.commit(batch).deliveries)
    took = time.process_time() - started
    store.close()
    return took / ROUNDS / SIZE * 1e6


def search_us(path: Path, keys: StoreKeys) -> float:
    """Processor time of a search a message that is looked through, in microseconds."""
    with closing(SqliteStore(path, keys=keys).queries()) as queries:
        wanted, before, looked_at = Find(texts=[[b"stands nowhere"]]), None, 0
        started = time.process_time()
        while True:
            found = queries.find(wanted, before=before)
            looked_at += found.looked_at
            if found.before is None:
                return (time.process_time() - started) / looked_at * 1e6
            before = found.before


def main() -> int:
    """Print both rows; 1 when a bound is missed."""
    memory = Path("/dev/shm")
    commits: dict[str, list[float]] = {name: [] for name in KEYS}
    searches: dict[str, list[float]] = {name: [] for name in KEYS}
    for _ in range(TURNS):
        for name, keys in KEYS.items():
            with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
                path = Path(folder) / "store.db"
                commits[name].append(commit_us(path, keys))
                searches[name].append(search_us(path, keys))
    missed = 0
    for what, taken, most in (("commit", commits, MOST_TIMES_A_COMMIT), ("text search", searches, MOST_TIMES_A_SEARCH)):
        plain, sealed = min(taken["plain"]), min(taken["sealed"])
        print(
            f"{what}: {sealed:.1f} us a message sealed, {plain:.1f} plain: {sealed - plain:+.1f} us, "
            f"{sealed / plain:.2f} times"
        )
        missed |= sealed / plain > most
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
