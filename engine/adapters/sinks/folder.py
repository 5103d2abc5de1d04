"""A folder that files appear in whole, durably and never one over another (POSIX).

A file is written in the hidden subfolder `.segmill`, synced, and then renamed to where it belongs; the
folders on the way are synced before anybody is told that it is there. Whoever watches the folder never sees
half a file, and a crash leaves at most a forgotten one in `.segmill`, which the next start removes.

Nothing follows a link out: the root is held open, and each subfolder is opened relative to the one above
it, with O_NOFOLLOW (reliability.md 4.3). Sentences name the root, which is configuration, and never the
file, whose name may hold a value of the message.
"""

import ctypes
import errno
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

HIDDEN = ".segmill"
MOST_OF_ONE_NAME = 999

_RENAME_NOREPLACE = 1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE = _FOLDER | os.O_NOFOLLOW
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750

_SENTENCES = {
    errno.ENOSPC: "the disk of {root} is full",
    errno.EDQUOT: "the quota for {root} is used up",
    errno.EROFS: "{root} is read-only",
    errno.EACCES: "the engine may not write into {root}",
    errno.EPERM: "the engine may not write into {root}",
    errno.ENOENT: "the folder {root} does not exist",
    errno.ENOTDIR: "{root} is not a folder",
    errno.EXDEV: "{root} has a subfolder on another file system",
}

Placed = Literal["new", "renamed", "known"]


class FolderUnavailable(Exception):
    """Nothing can be written now: no such folder, full, read-only. The text is a sentence; a retry may pass."""


class NameImpossible(Exception):
    """This name cannot be used, however often it is tried. The text is a sentence."""


class DurableFolder:
    """One folder, and what is written below it. Blocking; used by one thread at a time.

    `owner` tells the unfinished files of one writer from those of others that share the folder; it is safe
    as a part of a file name.
    """

    def __init__(self, root: Path, owner: str) -> None:
        self.root = root
        self.owner = owner
        self.run = secrets.token_hex(4)
        """A writer that was left behind, hanging on its disk, must not meet the files of the one in its place."""
        self._was_there = False

    def prepare(self) -> None:
        """Make the folder where it can be made, and remove what a crash left. Raises FolderUnavailable."""
        with self.opened() as writing:
            writing.clear_unfinished()

    @contextmanager
    def opened(self) -> Iterator["Writing"]:
        """Hold the folder open for some files. Raises FolderUnavailable.

        The folder is made if it was never there. One that was there and is gone is not made again: it may
        be a share that is not mounted, and the files would go where nobody looks for them.
        """
        with self.sentences():
            if not self._was_there:
                make_folder(self.root)
            root = os.open(self.root, _FOLDER)
        self._was_there = True
        writing = Writing(self, root)
        try:
            yield writing
        finally:
            writing.close()

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """OSError to FolderUnavailable, with a sentence."""
        try:
            yield
        except OSError as error:
            known = _SENTENCES.get(error.errno or 0)
            text = known.format(root=self.root) if known else f"{self.root} cannot be written: {error.strerror}"
            raise FolderUnavailable(text) from error


class Writing:
    """Files on their way into an open folder. What `put` returned for is durable once `sync` has returned."""

    def __init__(self, folder: DurableFolder, root: int) -> None:
        self._folder = folder
        self._root = root
        self._folders: dict[tuple[str, ...], int] = {(): root}
        self._to_sync: dict[int, None] = {}
        self._count = 0

    def put(self, name: Sequence[str], content: bytes) -> Placed:
        """Write one file; `name` is subfolders and file, each safe.

        "known": a file of this name and these very bytes was there, so this is the same delivery again.
        "renamed": the name was another message's, so it got a number (`x-2.hl7`). Raises NameImpossible or
        FolderUnavailable; the file is then not there, or was there before.
        """
        return self.put_all([(name, content)])[0]

    def put_all(self, files: Sequence[tuple[Sequence[str], bytes]]) -> list[Placed]:
        """As `put`, of files that belong together, in their order: the first has its name when all have their content.

        So a disk that fills leaves none of them. Where the last steps fail, some are there: those before.
        """
        placed: list[Placed] = []
        unfinished: list[str] = []
        with self._folder.sentences():
            hidden = self._subfolder((HIDDEN,))
            try:
                for name, content in files:
                    self._subfolder(tuple(name[:-1]))
                    self._count += 1
                    made = f"{self._folder.owner}-{os.getpid()}-{self._folder.run}-{self._count}"
                    _write(made, hidden, content)
                    unfinished.append(made)
                for made, (name, content) in zip(unfinished, files, strict=True):
                    into = self._subfolder(tuple(name[:-1]))
                    placed.append(self._publish(made, hidden, name[-1], into, content))
                    self._to_sync[into] = None
                    if placed[-1] == "known":
                        _remove(made, hidden)
            except (OSError, NameImpossible):
                for made in unfinished[len(placed) :]:
                    _remove(made, hidden)
                raise
        return placed

    def sync(self) -> None:
        """Make every name durable that was put, and the folders made for them. Raises FolderUnavailable."""
        with self._folder.sentences():
            for folder in self._to_sync:
                os.fsync(folder)
            self._to_sync.clear()

    def clear_unfinished(self) -> None:
        """Remove this owner's files that were never finished. Raises FolderUnavailable."""
        with self._folder.sentences():
            hidden = self._subfolder((HIDDEN,))
            for name in os.listdir(hidden):  # noqa: PTH208 - a descriptor, not a path
                if name.startswith(f"{self._folder.owner}-"):
                    _remove(name, hidden)

    def close(self) -> None:
        """Let go of the folders. What was not synced is not durable."""
        for opened in self._folders.values():
            os.close(opened)
        self._folders.clear()

    def _subfolder(self, path: tuple[str, ...]) -> int:
        opened = self._folders.get(path)
        if opened is not None:
            return opened
        above, name = self._subfolder(path[:-1]), path[-1]
        try:
            opened = os.open(name, _INSIDE, dir_fd=above)
        except FileNotFoundError:
            os.mkdir(name, _FOLDER_MODE, dir_fd=above)
            self._to_sync[above] = None
            opened = os.open(name, _INSIDE, dir_fd=above)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise NameImpossible(
                    f"a subfolder that the name asks for is a file or a link in {self._folder.root}"
                ) from error
            raise
        self._folders[path] = opened
        return opened

    def _publish(self, unfinished: str, hidden: int, name: str, into: int, content: bytes) -> Placed:
        for number in range(1, MOST_OF_ONE_NAME + 1):
            candidate = name if number == 1 else numbered(name, number)
            try:
                rename_new(unfinished, hidden, candidate, into)
            except FileExistsError:
                if _holds(candidate, into, content):
                    return "known"
                continue
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    raise NameImpossible("the file's name is too long for its file system") from error
                raise
            return "new" if number == 1 else "renamed"
        raise NameImpossible(
            f"{MOST_OF_ONE_NAME} different messages have the same file name; put {{MSH-10}} or {{seq}} into it"
        )


def numbered(name: str, number: int) -> str:
    """`x.hl7` as `x-2.hl7`."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem}-{number}{dot}{extension}" if stem else f"{name}-{number}"


def _write(name: str, folder: int, content: bytes) -> None:
    """A new file with this content, on stable storage; removed again if that fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(name, flags, _FILE_MODE, dir_fd=folder)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(opened, rest) :]
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError:
        _remove(name, folder)
        raise


def _remove(name: str, folder: int) -> None:
    """Remove a file if it is there; what cannot be removed is in nobody's way."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _holds(name: str, folder: int, content: bytes) -> bool:
    """Whether a regular file of this name holds these very bytes; if so, they are synced: its writer may have died."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False  # a link, a socket, not readable: not ours
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(content):
            return False
        rest = memoryview(content)
        while rest:
            part = os.read(opened, min(len(rest), 1 << 20))
            if not part or part != rest[: len(part)]:
                return False
            rest = rest[len(part) :]
        os.fsync(opened)
        return True
    finally:
        os.close(opened)


def make_folder(path: Path) -> None:
    """`mkdir -p`, each new folder durable in the one above."""
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(_FOLDER_MODE)
        except FileExistsError:
            continue  # somebody else was faster; or it is a file, and opening it will say so
        above = os.open(folder.parent, _FOLDER)
        try:
            os.fsync(above)
        finally:
            os.close(above)


def rename_new(old: str, old_folder: int, new: str, new_folder: int) -> None:
    """Rename, but raise FileExistsError where the new name is taken, in one step for everybody who looks."""
    renameat2 = _renameat2()
    if renameat2 is not None:
        if renameat2(old_folder, os.fsencode(old), new_folder, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(number, os.strerror(number))
    # NFS and systems other than Linux: a second name, which is also refused where it is taken.
    os.link(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder, follow_symlinks=False)
    os.unlink(old, dir_fd=old_folder)


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """The C library's renameat2 (Linux 3.15, glibc 2.28): os.rename has no flag for it."""
    found = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
        found.restype = ctypes.c_int
    return found
