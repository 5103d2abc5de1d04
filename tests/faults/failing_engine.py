"""Runs a site as `segmill run` does, on a store whose commits fail: `failing_engine.py SITE WHAT:FROM[:COUNT]`.

`full` and `busy` keep nothing; `lost` and `kept` leave the engine in the dark, with the batch stored (`kept`)
or not. FROM is the number of the first commit with a message in it that fails, COUNT how many do.
"""

import asyncio
import sys
from pathlib import Path

from engine.adapters.stores.sqlite import SqliteStore
from engine.app import run_site
from engine.model.envelope import Batch, Committed
from engine.ports.store import CommitUnknown, StoreBusy, StoreFull


def break_commits(what: str, first: int, count: int) -> None:
    """Wrap the store's commit from outside; nothing of this is in the engine."""
    commit = SqliteStore.commit
    seen = 0

    def failing(self: SqliteStore, batch: Batch) -> Committed:
        nonlocal seen
        seen += bool(batch.intakes)
        if not batch.intakes or not first <= seen < first + count:
            return commit(self, batch)
        if what == "full":
            raise StoreFull("no room left")
        if what == "busy":
            raise StoreBusy("locked")
        if what == "kept":
            commit(self, batch)
        raise CommitUnknown("the disk failed")

    SqliteStore.commit = failing  # type: ignore[method-assign]


def main() -> None:
    site, *faults = sys.argv[1:]
    for fault in faults:
        what, first, *count = fault.split(":")
        break_commits(what, int(first), int(count[0]) if count else 1)
    raise SystemExit(asyncio.run(run_site(Path(site))))


if __name__ == "__main__":
    main()
