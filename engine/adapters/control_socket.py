"""The Unix socket in the data folder through which the command line reaches a running engine.

Only the user that runs the engine may open it (mode 0600 before anybody can connect): whoever can read the
data folder as that user could read the store anyway, so no password stands between operations and the engine.
"""

import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "control.sock"
MAX_PATH_BYTES: Final = 100
"""A Unix socket's path has 104 bytes on macOS and 108 on Linux; a longer one is reached through its folder."""


class SocketInUse(OSError):
    """Another process answers on this socket."""


def listen_privately(path: Path) -> socket.socket:
    """A listening socket at `path`, for its owner only; takes over what a killed process left behind.

    Raises SocketInUse, or OSError where the folder does not allow it.
    """
    if path.is_socket():
        if is_answered(path):
            raise SocketInUse(f"another engine answers on {path}")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            listener.bind(name)
        # Nobody can connect between bind and listen, so there is no moment at which others may.
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the engine that listens at `path`. Raises OSError if none does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with _short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


def peer_name(connection: socket.socket) -> str:
    """Who is at the other end, as the system knows: `alice (uid 1000)`. Only its user and root can connect.

    Where the system does not say (SO_PEERCRED is Linux's), it is the user that this process runs as.
    """
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:
        uid = os.getuid()
    return user_name(uid)


def user_name(uid: int) -> str:
    """A user of this system, as the audit has them."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of a container that the system's files do not name
        name = "nobody known"
    return f"{name} (uid {uid})"


def is_answered(path: Path) -> bool:
    """Whether some process listens at `path`."""
    try:
        connect(path, 1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket address, valid inside the block."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
