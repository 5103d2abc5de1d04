"""Runs a channel that may have Python of the site among its steps, in the terminal of whoever wrote it.

In the engine that Python has a process of its own, which is ended when it takes too long, and whose printing
goes nowhere (engine.runtime.worker). Here it runs in this process, so that a debugger and `print` are of use;
but what would end its process there must not end the command here, and what it prints must not stand among
the command's data. What comes of it is told in the engine's words.
"""

import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from engine.config.finding import ConfigFinding
from engine.model.finding import Finding

if TYPE_CHECKING:
    from engine.config.site import LoadedSite

Out = TypeVar("Out")

DEADLINE_S: Final = 2.0
"""As in the engine, where the site does not say otherwise."""


def deadline_of(site: "LoadedSite") -> float:
    """Seconds that one message may take in the site's own code."""
    return site.site.workers.deadline if site.site is not None else DEADLINE_S


def deadline_here(folder: Path | None) -> float:
    """The same of the site in a folder; None where there is none, as of an engine's data folder alone."""
    from engine.cli.sites import read_site

    return DEADLINE_S if folder is None else deadline_of(read_site(folder))


class OwnCodeEnded(Exception):
    """The site's Python would have lost its process; `finding` is the engine's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(code, "error", text)


class _TooLong(BaseException):
    """Raised in the middle of the site's code; no `except Exception` of it catches it."""


def guarded(work: Callable[[], Out], deadline_s: float = DEADLINE_S) -> Out:
    """What `work` gives. Raises OwnCodeEnded where it takes too long or asks for the end of its process."""
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, deadline_s)
    try:
        with redirect_stdout(sys.stderr):
            return work()
    except _TooLong:
        raise OwnCodeEnded("E220", f"the channel's own code took longer than {deadline_s:g} s") from None
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        raise OwnCodeEnded("E221", f"the channel's own code ended its process with exit code {code}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_long(number: int, frame: FrameType | None) -> NoReturn:
    raise _TooLong


def does_not_load(file: str, ended: OwnCodeEnded) -> ConfigFinding:
    """Of a channel whose Python could not even be imported."""
    return ConfigFinding("E135", file, 0, 0, 0, f"{ended}, while its files were imported")
