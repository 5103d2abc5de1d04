"""One folder for whatever a run of tests makes for a while: what is still in it at the end, a test has left behind.

All temporary folders of tests, of their rigs and of the engines that they start stand in it, by `TMPDIR`. It goes with
the run, and what a killed run left goes with the next one. Pytest's own folders, which are to be looked at, stay where
they are.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

PREFIX = "segmill-tests-"
LOCK = ".lock"
FOREIGN = (".org.chromium.", "org.chromium.", "playwright", "node-compile-cache")
"""Beginnings of what programs of others leave; no test can mend that."""


class RunFolder:
    """The one of this run, from here to `remove`. Whoever starts a process hands it on by the environment."""

    def __init__(self) -> None:
        self._before = {name: os.environ.get(name) for name in ("TMPDIR", "PYTEST_DEBUG_TEMPROOT")}
        self._place = Path(tempfile.gettempdir())
        remove_abandoned(self._place)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._place))
        # A server that does not run as root has its own folder in it.
        self.path.chmod(0o711)
        draft = self.path / f"{LOCK}.new"
        self._lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self.path / LOCK)  # under its name it is held: nobody takes this for abandoned
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(self._place))
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)

    def left(self) -> list[str]:
        """What no test should have left in it."""
        return sorted(one.name for one in self.path.iterdir() if one.name != LOCK and not one.name.startswith(FOREIGN))

    def remove(self) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = str(self._place)
        # A program that a test did not wait for may still write here.
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned(place: Path) -> Sequence[Path]:
    """Those of runs that were killed: nobody holds their locks."""
    removed = []
    for path in sorted(place.glob(f"{PREFIX}*")):
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not ours, or just being made, or just gone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
        except BlockingIOError:
            continue  # its run is under way
        finally:
            os.close(lock)
    return removed
