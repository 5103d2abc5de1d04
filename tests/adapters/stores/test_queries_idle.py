"""Readers of the store: as many at a time as there are questions, and few that stay."""

from pathlib import Path
from threading import Barrier, Thread

from engine.adapters.stores.queries import MOST_IDLE
from engine.adapters.stores.sqlite import SqliteStore


def test_of_a_crowd_of_readers_few_connections_stay(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "segmill.db")
    store.open()
    queries = store.queries()
    crowd = 3 * MOST_IDLE
    together = Barrier(crowd)

    def ask() -> None:
        with queries._reader() as db:
            together.wait()
            db.execute("SELECT 1").fetchone()

    threads = [Thread(target=ask) for _ in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queries._idle) == MOST_IDLE
    assert queries.counts() == {}
    queries.close()
    store.close()
