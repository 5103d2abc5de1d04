"""The place a store is kept at: a file system that can carry it, and one engine at a time (reliability.md D9, R20)."""

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from engine.ports.store import StoreError, StoreInUse

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
        "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs",
    }
)  # fmt: skip
"""Where locks, shared memory or syncs are not what SQLite's write-ahead log needs."""

MOUNTS = Path("/proc/self/mountinfo")


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, by the text of mountinfo (proc(5)); '' if it does not tell."""
    best, kind = -1, ""
    wanted = str(path)
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = point == "/" or wanted == point or wanted.startswith(point + "/")
        if inside and len(point) >= best:  # a later mount on the same point hides the earlier
            best, kind = len(point), right.split(" ", 1)[0]
    return kind


def refuse_network_file_system(path: Path, mounts: Path = MOUNTS) -> None:
    """Raise StoreError where the store's folder is on a file system that other machines share."""
    try:
        text = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # not Linux: nothing here says which it is
    kind = file_system_of(path.resolve(), text)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where a commit is not certain to be on disk and "
            "two engines can damage the store. Use a local disk, or allow it in the site's settings."
        )


def sync_folder(folder: Path) -> None:
    """Make the names in it durable; OSError where that fails.

    SQLite does it too, and does not mind when it fails: a log whose name is not on disk is lost with the power.
    """
    try:
        opened = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except PermissionError:
        if sys.platform == "win32":
            return  # a folder cannot be opened there, and need not be
        raise
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


NOTHING_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PROBE_BYTES = 4096


def refusal_of_writes(store: Path) -> str:
    """Why the file system of the store takes nothing at present: its sentence, '' where it does or fails otherwise.

    Asked after SQLite's SQLITE_IOERR_WRITE, which says of a used-up quota and of a bad disk the same.
    """
    probe = store.with_name(store.name + ".probe")
    try:
        file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, bytes(PROBE_BYTES))
        finally:
            os.close(file)
            probe.unlink()
    except OSError as exc:
        return os.strerror(exc.errno) if exc.errno in NOTHING_MORE else ""
    return ""


class Place:
    """The store's files as they were opened: `is_left` when one of these names no longer leads to the same file.

    Two looks at an inode, about 3 us: cheap enough for every commit.
    """

    def __init__(self, store: Path, stat: Callable[[str], os.stat_result] = os.stat) -> None:
        self._stat = stat
        self._paths = (str(store), f"{store}-wal")
        self._known = self._identities()

    def is_left(self) -> bool:
        """Whether the files were moved, replaced or deleted since."""
        return self._identities() != self._known

    def _identities(self) -> tuple[tuple[int, int] | None, ...]:
        found: list[tuple[int, int] | None] = []
        for path in self._paths:
            try:
                status = self._stat(path)
            except FileNotFoundError:
                found.append(None)
            else:
                found.append((status.st_dev, status.st_ino))
        return tuple(found)


class StoreLock:
    """A lock on `<store>.lock`, held while an engine has the store open.

    It is a file of its own because a lock on the store's file would vanish as soon as anything in the
    process closes that file. The file stays; the system frees the lock when the process ends, however it ends.
    """

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(store.name + ".lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Raises StoreInUse, naming the owner's process id, when another has it."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise StoreError(f"{self.path} cannot be opened: {exc.strerror}") from exc
        if not _try_lock(file):
            owner = os.read(file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise StoreInUse(f"{self.path.with_suffix('')} is in use by another engine (process {owner})")
        os.ftruncate(file, 0)
        os.write(file, b"%d\n" % os.getpid())
        self._file = file

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        # Far behind the text, as Windows bars others from reading a locked range.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
