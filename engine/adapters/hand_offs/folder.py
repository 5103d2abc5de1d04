"""A folder of worklist files (`.wl`) for dcmtk's wlmscpfs and for Orthanc's worklist plugins (dicom.md section 3).

wlmscpfs looks into the folder with the AE title that it is called by: `FOLDER/TITLE/`. It holds a read lock on
`TITLE/lockfile` while it answers; files are renamed and removed under a write lock on it (`lockf`: dcmtk does not see
`flock`). Orthanc reads all files of one folder, and knows no locks.

A file appears whole: it is written under a name that nobody reads, synced, and renamed over what was there. Ours are
the files named `segmill-NAME-<32 hexadecimal digits>.wl`, NAME being the hand-off's; no other is ever touched. The
digits are a digest of the step's numbers, so that nothing a message holds becomes part of a name. While the engine runs
it holds a lock on `.segmill-NAME.lock`: two engines cannot take turns in removing what the other wrote.
"""

import asyncio
import errno
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

from engine.adapters.dicom.encode import Unencodable
from engine.adapters.hand_offs.wl_file import name_of, wl_file
from engine.adapters.sinks.folder import DurableFolder, FolderUnavailable
from engine.config.hand_offs import FolderOptions, is_folder_title
from engine.ports.hand_off import Gone, Handed, Inventory, Kept, NotTaken, Taken, TakerDown, TakerOutcome, WaitingStep
from engine.worklist.item import ItemKey

Result = TypeVar("Result")

LOCK_S: Final = 10.0
"""How long a query of wlmscpfs is waited for; one takes tenths of a second."""
LOOK_S: Final = 0.02
LOCKFILE: Final = "lockfile"
NO_FOLDER: Final = "W442"
SUFFIX: Final = ".wl"
_FORM: Final = "1"
"""Of the files; another number writes all of them anew."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE: Final = _FOLDER | os.O_NOFOLLOW
_LOCKFILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_SEPARATOR: Final = "\\"
"""No AE title has one."""


@dataclass(slots=True, frozen=True)
class _Wanted:
    """One step's file: its name, where it belongs, and what it holds."""

    name: str
    folders: frozenset[str]
    content: bytes


class WlFolder:
    """A Taker. Files are written on its own thread."""

    kind = "folder"
    most = 500

    def __init__(self, options: FolderOptions, site: Path, name: str) -> None:
        self._root = site / options.path
        self._titles = frozenset(options.titles)
        self._by_station = options.by_station
        self._charset = options.charset
        self._prefix = f"segmill-{name}-"
        self._ours = re.compile(re.escape(self._prefix) + r"[0-9a-f]{32}\.wl")
        self._left = re.compile(r"\." + re.escape(self._prefix) + r"[0-9a-f]{32}\.tmp")
        self._owner = f".segmill-{name}.lock"
        self._lock: tuple[int, tuple[int, int]] | None = None
        self._durable = DurableFolder(self._root, self._prefix)
        self._is_closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"hand-off {name}")
        layout = "\0".join([_FORM, self._charset, str(self._by_station), *sorted(self._titles)])
        self._layout = blake2b(layout.encode(), digest_size=6).hexdigest()

    async def take(self, steps: Sequence[WaitingStep]) -> Taken:
        """As Taker.take."""
        try:
            return Taken(await self._on_thread(lambda: self._take(steps)))
        except FolderUnavailable as error:
            return Taken((), str(error))

    async def look(self, handed: Sequence[Handed]) -> Inventory:
        """As Taker.look."""
        try:
            return await self._on_thread(lambda: self._look(handed))
        except FolderUnavailable as error:
            raise TakerDown(str(error)) from error

    async def close(self) -> None:
        self._is_closing.set()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._thread.shutdown(wait=True)
        self._let_go()

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- handing over ---------------------------------------------------------------------------

    def _take(self, steps: Sequence[WaitingStep]) -> Sequence[TakerOutcome]:
        outcomes: list[TakerOutcome] = []
        wanted: list[_Wanted] = []
        for step in steps:
            outcome, file = self._wanted(step)
            outcomes.append(outcome)
            wanted.append(file)
        with self._opened() as root:
            self._write(root, wanted)
        return outcomes

    def _wanted(self, step: WaitingStep) -> tuple[TakerOutcome, _Wanted]:
        name = f"{self._prefix}{name_of(step.key)}{SUFFIX}"
        nowhere = _Wanted(name, frozenset(), b"")
        if step.shelved is None or not step.is_shown:
            return Gone(), nowhere
        folders = set(self._titles)
        if self._by_station:
            stations = step.shelved.item.stations
            folders |= {title for title in stations if is_folder_title(title)}
            if stations and not folders:
                # Where it was before, it is wrong now; elsewhere nobody would look for it.
                return NotTaken(f"{NO_FOLDER} its station's AE title cannot be the name of a folder"), nowhere
        elif not self._titles:
            folders.add("")
        try:
            content = wl_file(step.shelved, self._charset)
        except Unencodable as error:
            # What is there may be another patient's by now.
            return NotTaken(f"{error.keyword} cannot be written in {self._charset}"), nowhere
        return Kept(token=self._token(content, folders)), _Wanted(name, frozenset(folders), content)

    def _token(self, content: bytes, folders: set[str]) -> str:
        """What the file is known again by: its layout, its digest, and where it stands."""
        digest = blake2b(content, digest_size=16).hexdigest()
        return _SEPARATOR.join([self._layout, digest, *sorted(folders)])

    def _write(self, root: "_Root", wanted: Sequence[_Wanted]) -> None:
        """Written and synced first, so that a reader is held up for the renames alone."""
        everywhere = root.folders()
        by_folder: dict[str, list[_Wanted]] = {}
        for file in wanted:
            for folder in file.folders:
                by_folder.setdefault(folder, []).append(file)
        written: list[tuple[str, str]] = []
        try:
            for folder, files in by_folder.items():
                for file in files:
                    written.append((folder, root.write(folder, file.name, file.content)))
            for folder in {*everywhere, *by_folder}:
                here = root.names(folder)
                gone = [file.name for file in wanted if folder not in file.folders and file.name in here]
                come = [file.name for file in by_folder.get(folder, ())]
                root.change(folder, come, gone)
        except BaseException:
            for folder, name in written:
                with suppress(OSError):  # the next start removes it
                    root.remove(folder, name)
            raise

    # -- what is there --------------------------------------------------------------------------

    def _look(self, handed: Sequence[Handed]) -> Inventory:
        found = Inventory()
        with self._opened() as root:
            for title in self._titles:
                root.prepare(title)
            expected: dict[tuple[str, str], tuple[ItemKey, str]] = {}
            for one in handed:
                name = f"{self._prefix}{name_of(one.key)}{SUFFIX}"
                layout, digest, *folders = one.token.split(_SEPARATOR) if one.token else ("", "")
                if layout != self._layout:
                    found.lost.append(one.key)
                    continue
                expected |= {(folder, name): (one.key, digest) for folder in folders}
            lost = set(found.lost)
            there: set[tuple[str, str]] = set()
            for folder in root.folders():
                names = root.names(folder)
                for name in names:
                    if self._left.fullmatch(name):
                        root.remove(folder, name)
                ours = [name for name in names if self._ours.fullmatch(name)]
                there |= {(folder, name) for name in ours}
                gone = [name for name in ours if (folder, name) not in expected]
                if gone:
                    root.change(folder, [], gone)
                    found.removed += len(gone)
            for place, (key, digest) in expected.items():
                if key not in lost and (place not in there or root.digest(*place) != digest):
                    lost.add(key)
                    found.lost.append(key)
        return found

    # -- the folder -----------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator["_Root"]:
        """Hold it open, as its only writer. Raises FolderUnavailable."""
        with self._durable.opened(), self._durable.sentences():
            opened = os.open(self._root, _FOLDER)
            root = _Root(opened, self._ours, self._is_closing)
            try:
                self._own(opened)
                yield root
            finally:
                root.close()

    def _own(self, root: int) -> None:
        status = os.fstat(root)
        place = (status.st_dev, status.st_ino)
        if self._lock is not None and self._lock[1] == place:
            return
        self._let_go()
        lock = os.open(self._owner, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=root)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise FolderUnavailable(f"another engine writes into {self._root}") from None
            raise
        self._lock = lock, place

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock[0])
            self._lock = None


class _Root:
    """The folder held open, and those in it; '' is itself. Names are ours or an AE title's: none leads elsewhere."""

    def __init__(self, opened: int, ours: re.Pattern[str], is_closing: threading.Event) -> None:
        self._opened: dict[str, int] = {"": opened}
        self._ours = ours
        self._is_closing = is_closing
        self._names: dict[str, set[str]] = {}

    def close(self) -> None:
        for opened in self._opened.values():
            os.close(opened)

    def folders(self) -> Sequence[str]:
        """Itself, and those that an AE title could be the name of: a title that was taken off the settings, too.

        Not those that are not ours to look into.
        """
        found = [""]
        with os.scandir(self._opened[""]) as entries:
            named = [one.name for one in entries if is_folder_title(one.name) and one.is_dir(follow_symlinks=False)]
        for name in named:
            with suppress(PermissionError):
                self.open(name)
                found.append(name)
        return found

    def open(self, folder: str) -> int:
        """Held open; made, durably, where it is not there."""
        opened = self._opened.get(folder)
        if opened is not None:
            return opened
        root = self._opened[""]
        try:
            opened = os.open(folder, _INSIDE, dir_fd=root)
        except FileNotFoundError:
            os.mkdir(folder, 0o750, dir_fd=root)
            os.fsync(root)
            opened = os.open(folder, _INSIDE, dir_fd=root)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise FolderUnavailable("a folder with an AE title for its name is a file or a link") from error
            raise
        self._opened[folder] = opened
        return opened

    def prepare(self, folder: str) -> None:
        """For wlmscpfs, which answers no query without a lockfile that it may write to."""
        os.close(self._lockfile(folder))

    def _lockfile(self, folder: str) -> int:
        """Open; of one that is made here, the group may write to it, too, whatever the umask."""
        into = self.open(folder)
        try:
            opened = os.open(LOCKFILE, _LOCKFILE | os.O_CREAT | os.O_EXCL, 0o660, dir_fd=into)
        except FileExistsError:
            return os.open(LOCKFILE, _LOCKFILE, dir_fd=into)
        os.fchmod(opened, 0o660)
        return opened

    def names(self, folder: str) -> set[str]:
        """What is in it. Folders that are not ours are not made."""
        found = self._names.get(folder)
        if found is None:
            found = self._names[folder] = set(os.listdir(self.open(folder)))  # noqa: PTH208 - a descriptor
        return found

    def write(self, folder: str, name: str, content: bytes) -> str:
        """A new file under a name that nobody reads, on stable storage. Its name."""
        into = self.open(folder)
        hidden = f".{name.removesuffix(SUFFIX)}.tmp"
        self.remove(folder, hidden)
        opened = os.open(
            hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=into
        )
        try:
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(opened, rest) :]
                os.fsync(opened)
            finally:
                os.close(opened)
        except OSError:
            self.remove(folder, hidden)
            raise
        return hidden

    def change(self, folder: str, come: Sequence[str], gone: Sequence[str]) -> None:
        """Rename those that were written over what was there, remove others; durable when it returns."""
        if not come and not gone:
            return
        into = self.open(folder)
        with self._locked(folder):
            for name in come:
                hidden = f".{name.removesuffix(SUFFIX)}.tmp"
                os.replace(hidden, name, src_dir_fd=into, dst_dir_fd=into)
            for name in gone:
                self.remove(folder, name)
        os.fsync(into)

    def remove(self, folder: str, name: str) -> None:
        """Remove a file of ours, if it is there."""
        try:
            os.unlink(name, dir_fd=self.open(folder))
        except FileNotFoundError:
            return

    def digest(self, folder: str, name: str) -> str:
        """Of what a file of ours holds; '' for what is no file."""
        try:
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.open(folder))
        except OSError:
            return ""
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return ""
            digest = blake2b(digest_size=16)
            while part := os.read(opened, 1 << 16):
                digest.update(part)
            return digest.hexdigest()
        finally:
            os.close(opened)

    @contextmanager
    def _locked(self, folder: str) -> Iterator[None]:
        """No query of wlmscpfs reads this folder now. Raises FolderUnavailable where one does for too long."""
        if not folder:
            yield  # no wlmscpfs looks here
            return
        lock = self._lockfile(folder)
        try:
            deadline = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EACCES, errno.EAGAIN):
                        raise
                if time.monotonic() >= deadline or self._is_closing.wait(LOOK_S):
                    raise FolderUnavailable("a query holds the lock on the folder for too long") from None
            yield
        finally:
            os.close(lock)
