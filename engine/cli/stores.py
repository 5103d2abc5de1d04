"""Opens a store beside the engine that writes it, read-only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.exits import NOT_ALLOWED, STORE_FAILED, UNREACHABLE, Failure

if TYPE_CHECKING:
    from engine.ports.store import StoreQueries


@contextmanager
def open_queries(store: Path) -> Iterator["StoreQueries"]:
    """Queries of the store in the file `store`, whether its engine runs or not."""
    from engine.adapters.stores.queries import SqliteQueries
    from engine.ports.store import StoreError

    try:
        exists = store.is_file()
    except PermissionError:
        raise Failure(
            NOT_ALLOWED, f"{store} belongs to another user", "Use this command as the user that runs the engine."
        ) from None
    if not exists:
        raise Failure(UNREACHABLE, f"there is no store at {store}", "No engine has run here yet: segmill run SITE")
    try:
        queries = SqliteQueries(store)
        try:
            yield queries
        finally:
            queries.close()
    except StoreError as exc:
        raise Failure(STORE_FAILED, str(exc)) from None
