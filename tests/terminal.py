"""A terminal with somebody at it: a command on a pseudo-terminal, and what its screen shows."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CLEAR = "\x1b[2J\x1b[3J\x1b[H"
"""What `--watch` writes before it draws anew."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs `command` as a person's shell does; its output is read all the time, so that it never waits for us."""

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], *, columns: int = 120, rows: int = 50
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            list(command),
            cwd=folder,
            env={**env, "TERM": "xterm", "COLUMNS": str(columns)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._written = b""
        self._changed = threading.Condition()
        self._is_open = True
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                got = os.read(self._ours, 65536)
            except OSError:  # EIO: nobody has the other side any more
                got = b""
            with self._changed:
                self._written += got
                self._is_open = bool(got)
                self._changed.notify_all()
            if not got:
                return

    @property
    def screens(self) -> list[str]:
        """What stood there between one clearing of the screen and the next, oldest first, without colours."""
        text = self._written.decode("utf-8", "replace").replace("\r\n", "\n")
        return [_ESCAPES.sub("", screen) for screen in text.split(CLEAR)]

    @property
    def screen(self) -> str:
        """What stands there now."""
        return self.screens[-1]

    def until(self, shows: Callable[[str], bool], hang_s: float = 120) -> str:
        """Wait until the screen shows it, and return the screen. `hang_s` ends a test whose command hangs."""
        with self._changed:
            seen = self._changed.wait_for(lambda: shows(self.screen) or not self._is_open, hang_s)
            screen = self.screen
        assert seen and shows(screen), f"the terminal shows\n{screen}"
        return screen

    @property
    def pid(self) -> int:
        return self._process.pid

    def interrupt(self, hang_s: float = 60) -> int:
        """As Ctrl-C does; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(hang_s)

    def close(self) -> None:
        """Whatever still runs ends now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        os.close(self._ours)
