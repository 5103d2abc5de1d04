"""Reading the file that a `${file:...}` names.

Only a regular file is read, and no more of it than a value may have: a pipe without a writer, a terminal or /dev/zero
would keep the engine waiting, or reading, for ever. /dev/stdin and /proc/self/fd/N are what they lead to: a regular
file where the shell redirected one, else refused. Secrets of systemd ($CREDENTIALS_DIRECTORY), of Docker and of
Kubernetes are regular files, or links to some.
"""

import os
import stat
from pathlib import Path
from typing import Final

MAX_FILE_CHARACTERS: Final = 65_536
_MOST_BYTES: Final = 4 * MAX_FILE_CHARACTERS
"""A character of UTF-8 has four bytes at most."""
_OTHERS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotAFile(Exception):
    """It is no regular file; the text says what it is."""


def read_value(path: Path) -> str:
    """Its text; where that is longer than a value may be, some longer text.

    Raises OSError, NotAFile, UnicodeDecodeError.
    """
    _refuse_others(path.stat().st_mode)  # before it is opened: to open a device may do something
    # Without waiting: it may have become a pipe since, and is looked at once more.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    with os.fdopen(handle, "rb") as file:
        _refuse_others(os.fstat(handle).st_mode)
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        return content.decode("latin-1")  # its end may be in the middle of a character
    text = content.decode()
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_others(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    raise NotAFile(next((name for is_it, name in _OTHERS if is_it(mode)), "no regular file"))
