"""Opens a store beside the engine that writes it, read-only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.exits import CONFIGURATION, NOT_ALLOWED, STORE_FAILED, UNREACHABLE, Failure

if TYPE_CHECKING:
    from engine.model.store_key import StoreKeys
    from engine.ports.store import StoreQueries


@contextmanager
def open_queries(store: Path, keys: "StoreKeys | None" = None) -> Iterator["StoreQueries"]:
    """Queries of the store in the file `store`, whether its engine runs or not. `keys`: the site's."""
    from engine.adapters.stores.queries import SqliteQueries
    from engine.adapters.stores.schema import load_migrations, refuse_newer
    from engine.model.store_key import NO_KEYS
    from engine.ports.store import StoreError, StoreTooNew, WrongKey

    try:
        exists = store.is_file()
    except PermissionError:
        raise Failure(
            NOT_ALLOWED, f"{store} belongs to another user", "Use this command as the user that runs the engine."
        ) from None
    if not exists:
        raise Failure(UNREACHABLE, f"there is no store at {store}", "No engine has run here yet: segmill run SITE")
    try:
        refuse_newer(store, load_migrations()[-1].number)
    except StoreTooNew as exc:
        raise Failure(CONFIGURATION, str(exc)) from None
    try:
        queries = SqliteQueries(store, keys=keys or NO_KEYS)
        try:
            yield queries
        finally:
            queries.close()
    except WrongKey as exc:
        raise Failure(CONFIGURATION, f"E584 {exc}", "See: segmill store status; segmill explain E584") from None
    except StoreError as exc:
        raise Failure(STORE_FAILED, *_what_is_there(store, str(exc))) from None


def _what_is_there(store: Path, error: str) -> tuple[str, str]:
    """What stands where a store should, and what to do, for a file that could not be read as one."""
    from engine.adapters.stores.store_file import SqliteStoreFile
    from engine.ports.store_file import StoreUnread

    hint = "Keep a copy of it with its -wal file, then put back a backup, or save what can be read: sqlite3 .recover"
    if not store.stat().st_size:
        return f"{store} is empty: no engine has stored anything in it", "Start one: segmill run SITE"
    try:
        found = SqliteStoreFile(store).identity()
    except StoreUnread:
        return f"{store} is damaged, or no store: {error}", hint
    if not found.is_ours:
        return f"{store} is a SQLite file, but not a store of Segmill", "Name the right folder: --data DIR"
    if found.schema < found.latest:
        return f"{store} is of an earlier Segmill", "It is brought up when the engine starts: segmill run SITE"
    return error, hint
