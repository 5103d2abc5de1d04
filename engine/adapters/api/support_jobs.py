"""Support bundles that are asked for in the browser or by the API: made on a thread of their own, one at a time.

What was made is kept in memory for a while, the newest alone: it is no patient's data, and yet nothing that should lie
about in a folder.
"""

import io
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from engine.adapters.giving_way import be_nice
from engine.adapters.support_zip import write_bundle
from engine.ports.support import SupportMaker

log = logging.getLogger("segmill.api")

KEPT_S: Final = 900.0


class UnderWay(Exception):
    """One is being made."""


@dataclass(slots=True, frozen=True)
class Bundle:
    """One that was made. `until_s`: so long it is kept, by the monotonic clock."""

    at: datetime
    by: str
    names: tuple[str, ...]
    content: bytes = field(repr=False)
    until_s: float = 0.0

    @property
    def file_name(self) -> str:
        return f"segmill-support-{self.at:%Y%m%dT%H%M%SZ}.zip"


@dataclass(slots=True, frozen=True)
class JobState:
    """As it is now. `names`: what is in it so far; `failed`: the kind of what went wrong, '' where nothing did."""

    is_running: bool
    names: tuple[str, ...]
    failed: str
    bundle: Bundle | None


class SupportJobs:
    """`maker` None: bundles cannot be made here. `clock`: how long making one took. Used by one loop, and its own
    thread."""

    def __init__(self, maker: SupportMaker | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._maker = maker
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._names: tuple[str, ...] = ()
        self._failed = ""
        self._bundle: Bundle | None = None

    @property
    def is_possible(self) -> bool:
        return self._maker is not None

    def start(self, by: str, at_us: int, now_s: float) -> None:
        """Begin. The one that was made before is gone. Raises UnderWay."""
        maker = self._maker
        assert maker is not None, "asked for before"
        at = datetime.fromtimestamp(at_us // 1_000_000, UTC)
        with self._lock:
            if self._thread is not None:
                raise UnderWay
            self._names, self._failed, self._bundle = (), "", None
            work = (maker, by, at, now_s + KEPT_S)
            thread = threading.Thread(target=self._make, args=work, name="support bundle", daemon=True)
            self._thread = thread  # before it can end
            try:
                thread.start()
            except BaseException:
                self._thread = None
                raise

    def state(self, now_s: float) -> JobState:
        with self._lock:
            if self._bundle is not None and now_s > self._bundle.until_s:
                self._bundle = None
            return JobState(self._thread is not None, self._names, self._failed, self._bundle)

    def wait(self, timeout_s: float) -> None:
        """For the one that is made now."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _make(self, maker: SupportMaker, by: str, at: datetime, until_s: float) -> None:
        bundle, failed = None, ""
        content = io.BytesIO()
        begun_s = self._clock()
        try:
            be_nice()
            names = write_bundle(content, maker.members(), at, self._told)
            # Kept from its end on: one of a large store may take longer than that.
            bundle = Bundle(at, by, tuple(names), content.getvalue(), until_s + self._clock() - begun_s)
        except BaseException as error:  # noqa: BLE001 - the edge of a job: whoever asked sees that it failed, also by an
            # exit that a command would have ended with.
            # Not its text, which may quote what was looked at.
            failed = type(error).__name__
            log.error("a support bundle could not be made: %s", failed)
        with self._lock:
            self._bundle, self._failed, self._thread = bundle, failed, None

    def _told(self, name: str) -> None:
        with self._lock:
            self._names = (*self._names, name)
