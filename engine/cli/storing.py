"""What the commands about the store's encryption share."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.cli.exits import CANNOT_WRITE, CONFIGURATION, STORE_FAILED, TRY_AGAIN, UNREACHABLE, Failure
from engine.cli.progress import Progress
from engine.cli.sites import Whereabouts, whereabouts


def place_of(site: Path | None, data: Path | None) -> Whereabouts:
    """Where the store is, and its keys. Failure where there is none."""
    place = whereabouts(site, data)
    if not place.store.is_file():
        raise Failure(
            UNREACHABLE, f"there is no store at {place.store}", "A new one is encrypted from its first row: segmill run"
        )
    return place


class Rows:
    """How far a conversion is, on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress("rows")
        self._done = 0

    def tell(self, done: int, whole: int) -> None:
        """As `resealing.OnProgress`."""
        self._progress.total = whole
        self._progress.step(done - self._done)
        self._done = done

    def clear(self) -> None:
        """Before something else is said."""
        self._progress.clear()


def who() -> str:
    """Who does it, for the record."""
    from engine.adapters.control_socket import user_name

    return user_name(os.geteuid())


def now_us() -> int:
    """For the record."""
    return time.time_ns() // 1000


@contextmanager
def told_failures() -> Iterator[None]:
    """What goes wrong with a store, as a command says it."""
    from engine.adapters.stores.copying import NoRoom
    from engine.ports.store import StoreError, StoreFull, StoreInUse, StoreTooNew, WrongKey

    try:
        yield
    except StoreInUse as exc:
        raise Failure(TRY_AGAIN, str(exc), "Stop that engine first.") from None
    except WrongKey as exc:
        raise Failure(
            CONFIGURATION, f"E584 {exc}", "segmill store status shows the ids; segmill explain E584"
        ) from None
    except StoreTooNew as exc:
        raise Failure(CONFIGURATION, str(exc)) from None
    except (NoRoom, StoreFull) as exc:
        raise Failure(CANNOT_WRITE, str(exc), "Make room, then run the same command: it goes on from there.") from None
    except StoreError as exc:
        raise Failure(STORE_FAILED, str(exc)) from None
