"""A folder that others put files into, and that we take them out of: each by one engine, once, and whole (POSIX).

Below the folder::

    x.hl7                        waits; whoever renames it has it
    .segmill/<engine>/x.hl7      taken by this engine; locked while it runs
    done/x.hl7                   all of it is in the store
    failed/x.hl7                 a person must look at it; failed/x.hl7.findings.txt says why

A rename is one step for everybody, so of two engines one gets the file and the other finds it gone. Each engine
holds a lock on its own subfolder: what a dead one left there is taken over by the next that looks, and what a
living one has is left alone. Names, which may hold a patient's, stay in the folder: sentences name the root only.

Nothing follows a link: subfolders and files are opened relative to their folder with O_NOFOLLOW, and only regular
files are looked at (reliability.md 4.3).
"""

import errno
import fcntl
import fnmatch
import hashlib
import os
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from engine.adapters.sinks.folder import HIDDEN, make_folder, numbered, rename_new

DONE: Final = "done"
FAILED: Final = "failed"
FINDINGS: Final = ".findings.txt"
MOST_FILES: Final = 10_000
"""How many names one look reads; the others wait for a later one."""

_MOST_OF_ONE_NAME: Final = 9999
_MOST_NAME: Final = 255
_LOCK: Final = ".lock"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE: Final = _FOLDER | os.O_NOFOLLOW
_FOLDER_MODE: Final = 0o750
_TEMPORARY: Final = (".tmp", ".part", ".partial", ".filepart", ".crdownload", "~", ".swp")
"""How programs name what they are still writing."""

_SENTENCES: Final = {
    errno.ENOSPC: "the disk of {root} is full",
    errno.EDQUOT: "the quota for {root} is used up",
    errno.EROFS: "{root} is read-only",
    errno.EACCES: "the engine may not move files in {root}",
    errno.EPERM: "the engine may not move files in {root}",
    errno.ENOENT: "the folder {root} does not exist",
    errno.ENOTDIR: "{root}, or a subfolder of it that the engine needs, is not a folder, or a link",
    errno.ELOOP: "a subfolder of {root} that the engine needs is a link",
    errno.EXDEV: "a subfolder of {root} is on another file system",
}

Order = Literal["name", "time"]


class InboxUnavailable(Exception):
    """The folder cannot be used now. The text is a sentence, without names of files; a later look may pass."""


class NotAFile(Exception):
    """What was taken is no regular file that can be read."""


@dataclass(slots=True, frozen=True)
class Seen:
    """A file that waits, as it is now."""

    name: str
    size_bytes: int
    modified_ns: int


@dataclass(slots=True, frozen=True)
class Rules:
    """Which files are meant. `marker` '': a file is whole when it has not changed for a while."""

    pattern: str = "*"
    marker: str = ""
    order: Order = "name"


class Inbox:
    """One folder, and what was taken out of it. Blocking; used by one thread at a time.

    `owner` tells this engine's subfolder from others'; it is safe as a part of a file name.
    """

    def __init__(self, root: Path, owner: str, rules: Rules) -> None:
        self.root = root
        self._owner = owner
        self._rules = rules
        self._was_there = False
        self._lock = -1

    # -- looking --------------------------------------------------------------------------------

    def waiting(self) -> list[Seen]:
        """What waits, in the order in which it is to be taken, whole or not. Raises InboxUnavailable."""
        with self._opened() as root:
            names = {}
            with os.scandir(root) as entries:
                for entry in entries:
                    if (seen := self._seen(entry)) is not None:
                        names[seen.name] = seen
                    if len(names) >= MOST_FILES:
                        break
        found = [seen for seen in names.values() if fnmatch.fnmatchcase(seen.name, self._rules.pattern)]
        if marker := self._rules.marker:
            found = [s for s in found if not s.name.endswith(marker) and _marker_of(s.name, marker, names)]
        by_time = self._rules.order == "time"
        return sorted(found, key=lambda seen: (seen.modified_ns, seen.name) if by_time else (0, seen.name))

    def _seen(self, entry: "os.DirEntry[str]") -> Seen | None:
        name = entry.name
        if name.startswith(".") or name.lower().endswith(_TEMPORARY):
            return None
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return None  # gone, or not ours to look at
        if not stat.S_ISREG(status.st_mode):
            return None  # a link, a folder, a device: never followed, never moved
        return Seen(name, status.st_size, status.st_mtime_ns)

    def failed_count(self) -> int:
        """How many files were set aside. Raises InboxUnavailable."""
        with self._opened() as root, self._subfolder(root, FAILED) as failed:
            return sum(not name.endswith(FINDINGS) for name in os.listdir(failed))  # noqa: PTH208 - a descriptor

    # -- taking ---------------------------------------------------------------------------------

    def prepare(self) -> list[str]:
        """Lock our subfolder, take over what dead engines left, and say what is there. Raises InboxUnavailable."""
        with self._opened() as root, self._subfolder(root, HIDDEN) as hidden:
            if self._lock < 0:
                self._lock_own(hidden)
            with self._subfolder(hidden, self._owner) as own:
                for other in sorted(os.listdir(hidden)):  # noqa: PTH208 - a descriptor
                    if other != self._owner:
                        self._take_over(hidden, other, own)
                found = [name for name in os.listdir(own) if name != _LOCK]  # noqa: PTH208 - a descriptor
        return sorted(found)

    def _lock_own(self, hidden: int) -> None:
        """Our subfolder is ours alone: where a living engine has one of that name, this one takes another name."""
        for name in (self._owner, f"{self._owner}-{os.getpid()}-{os.urandom(4).hex()}"):
            with self._subfolder(hidden, name) as own:
                self._lock = _locked(own)
            if self._lock >= 0:
                self._owner = name
                return
        raise OSError(errno.ENOLCK, "a new file cannot be locked")

    def _take_over(self, hidden: int, other: str, own: int) -> None:
        """What an engine that no longer runs had taken; one that holds its lock is left alone."""
        try:
            folder = os.open(other, _INSIDE, dir_fd=hidden)
        except OSError:
            return  # a file, such as a sink of ours is writing, or a link
        try:
            lock = _locked(folder, make=False)
            if lock < 0:
                return
            try:
                for name in os.listdir(folder):  # noqa: PTH208 - a descriptor
                    if name != _LOCK:
                        _move(name, folder, own)
                os.unlink(_LOCK, dir_fd=folder)
                os.rmdir(other, dir_fd=hidden)
            finally:
                os.close(lock)
        finally:
            os.close(folder)

    def take(self, name: str) -> str | None:
        """Make a waiting file ours; its name among ours, or None where another was faster. Raises InboxUnavailable."""
        with self._opened() as root, self._own(root) as own:
            try:
                taken = _move(name, root, own)
            except FileNotFoundError:
                return None
            if self._rules.marker:
                for marker in _markers_of(name, self._rules.marker):
                    _forget(marker, root)
            return taken

    def read(self, name: str, most_bytes: int) -> tuple[bytes, int] | None:
        """The bytes of a file that is ours, or its first `most_bytes`, and its size; None where it is gone.

        Raises InboxUnavailable, and NotAFile for what is none.
        """
        with self._opened() as root, self._own(root) as own:
            try:
                opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=own)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM):
                    raise NotAFile("it is no file that can be read") from error
                raise
            try:
                status = os.fstat(opened)
                if not stat.S_ISREG(status.st_mode):
                    raise NotAFile("it is no file that can be read")
                return _read(opened, most_bytes), status.st_size
            finally:
                os.close(opened)

    # -- putting away ---------------------------------------------------------------------------

    def done(self, name: str, *, delete: bool) -> None:
        """All of it is in the store. Raises InboxUnavailable; then it is still ours."""
        with self._opened() as root, self._own(root) as own:
            if delete:
                _forget(name, own)
                return
            with self._subfolder(root, DONE) as done:
                _move_if_there(name, own, done)

    def failed(self, name: str, findings: str) -> bool:
        """A person must look at it; the findings stand beside it, False where there was no room for those.

        Raises InboxUnavailable; then it is still ours.
        """
        with self._opened() as root, self._own(root) as own, self._subfolder(root, FAILED) as failed:
            moved = _move_if_there(name, own, failed)
            if moved is not None:
                try:
                    _write(_beside(moved), failed, findings.encode())
                except OSError:
                    return False
        return True

    def give_back(self, name: str) -> None:
        """It was not read; whoever looks next may take it. Raises InboxUnavailable."""
        with self._opened() as root, self._own(root) as own:
            _move_if_there(name, own, root)

    def forget_done(self, before_ns: int) -> None:
        """Remove what was put into `done` before then. Raises InboxUnavailable."""
        with self._opened() as root, self._subfolder(root, DONE) as done, os.scandir(done) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                # ctime: the rename into `done` set it, while mtime is the sender's.
                if stat.S_ISREG(status.st_mode) and status.st_ctime_ns < before_ns:
                    _forget(entry.name, done)

    def close(self) -> None:
        """Let go of the lock. What is ours stays, for the next start."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- folders --------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, made if it was never there: a share that is gone is waited for, not made anew."""
        try:
            if not self._was_there:
                make_folder(self.root)
            root = os.open(self.root, _FOLDER)
            self._was_there = True
            try:
                yield root
            finally:
                os.close(root)
        except OSError as error:
            known = _SENTENCES.get(error.errno or 0)
            text = known.format(root=self.root) if known else f"{self.root} cannot be used: {error.strerror}"
            raise InboxUnavailable(text) from error

    @contextmanager
    def _own(self, root: int) -> Iterator[int]:
        with self._subfolder(root, HIDDEN) as hidden, self._subfolder(hidden, self._owner) as own:
            yield own

    @contextmanager
    def _subfolder(self, above: int, name: str) -> Iterator[int]:
        try:
            opened = os.open(name, _INSIDE, dir_fd=above)
        except FileNotFoundError:
            try:
                os.mkdir(name, _FOLDER_MODE, dir_fd=above)
            except FileExistsError:
                pass  # another engine was faster
            opened = os.open(name, _INSIDE, dir_fd=above)
        try:
            yield opened
        finally:
            os.close(opened)


def _markers_of(name: str, marker: str) -> tuple[str, str]:
    """`x.hl7.done` and `x.done` for x.hl7."""
    return name + marker, name.rpartition(".")[0] + marker


def _marker_of(name: str, marker: str, names: Container[str]) -> bool:
    return any(candidate in names for candidate in _markers_of(name, marker))


def _locked(folder: int, *, make: bool = True) -> int:
    """A descriptor that holds the lock in a folder, -1 where another process has it, or there is none to have.

    Where the file system knows no locks, our own is taken to be free, and others' are not.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    try:
        lock = os.open(_LOCK, flags, 0o640, dir_fd=folder)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if make and error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return lock
        os.close(lock)
        return -1
    return lock


def _move(name: str, source: int, target: int) -> str:
    """Rename into another folder, over nothing; the name there. Raises OSError."""
    for number in range(1, _MOST_OF_ONE_NAME + 1):
        candidate = name if number == 1 else numbered(name, number)
        try:
            rename_new(name, source, candidate, target)
        except FileExistsError:
            continue
        return candidate
    raise OSError(errno.EEXIST, "too many files of one name")


def _move_if_there(name: str, source: int, target: int) -> str | None:
    """As `_move`; None where it is gone: somebody took it out of our hands, or it was moved before."""
    try:
        return _move(name, source, target)
    except FileNotFoundError:
        return None


def _beside(name: str) -> str:
    """The name of the findings of a file: its own and more, as far as a file system allows."""
    raw = os.fsencode(name)
    if len(raw) + len(FINDINGS) <= _MOST_NAME:
        return name + FINDINGS
    return hashlib.blake2b(raw, digest_size=16).hexdigest() + FINDINGS


def _forget(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _read(opened: int, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    rest = most_bytes
    while rest > 0 and (part := os.read(opened, min(rest, 1 << 20))):
        parts.append(part)
        rest -= len(part)
    return b"".join(parts)


def _write(name: str, folder: int, content: bytes) -> None:
    opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=folder)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(opened, rest) :]
    finally:
        os.close(opened)
