"""Disks of our own: one whose every write is logged, small ones that fill up. All need root; all clean up."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.ledger import cannot, needs

PLUGIN = Path(__file__).with_name("nbdplug.py")


def run(*words: str | Path, check: bool = True) -> str:
    """A command's output."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise OSError(f"{words[0]} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout.strip()


def repair_ext4(image: Path) -> None:
    """As a machine does that starts up with a damaged disk. OSError where it cannot be repaired."""
    done = subprocess.run(["e2fsck", "-f", "-y", str(image)], capture_output=True, text=True)
    if done.returncode not in (0, 1, 2):
        raise OSError(f"e2fsck failed ({done.returncode}): {(done.stdout + done.stderr).strip()}")


def needs_mounts(rig: str, *tools: str) -> None:
    """Skip by name where no file system can be mounted, or a tool is missing."""
    needs(rig, os.name == "posix" and os.geteuid() == 0, "only root can mount a file system")
    for tool in ("mount", "umount", *tools):
        needs(rig, shutil.which(tool) is not None, f"{tool} is not installed")


def unmount(folder: Path) -> None:
    """Now, or as soon as nobody uses it."""
    if subprocess.run(["umount", str(folder)], capture_output=True).returncode != 0:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


@contextlib.contextmanager
def small_tmpfs(rig: str, folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory of `size`; `resize` makes it larger while it is in use."""
    needs_mounts(rig)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder)
    except OSError as error:
        cannot(rig, f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        unmount(folder)


def resize(folder: Path, size: str) -> None:
    run("mount", "-o", f"remount,size={size}", folder)


@contextlib.contextmanager
def small_ext4(rig: str, folder: Path, megabytes: int, *options: str, mount: str = "loop") -> Iterator[Path]:
    """An ext4 file system in a file; `options` are those of mkfs, `mount` those of mount."""
    needs_mounts(rig, "mkfs.ext4", "losetup")
    folder.mkdir(parents=True, exist_ok=True)
    image = folder.with_name(f"{folder.name}.img")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-F", *options, image)
    try:
        run("mount", "-o", mount, image, folder)
    except OSError as error:
        cannot(rig, f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        unmount(folder)
        image.unlink()


class LoggedDisk:
    """An ext4 file system on a disk that logs every write and flush: `folder` to write to, `log` to read.

    nbdkit keeps the disk in memory and logs, nbdfuse shows it as a file, a loop device makes a disk of the file.
    A context manager; skips `rig` by name where that cannot be had.
    """

    def __init__(self, rig: str, place: Path, megabytes: int = 64) -> None:
        needs_mounts(rig, "nbdkit", "nbdfuse", "fusermount3", "losetup", "mkfs.ext4")
        needs(rig, Path("/dev/fuse").exists(), "there is no /dev/fuse")
        known = subprocess.run(["nbdkit", "python", "--version"], capture_output=True)
        needs(rig, known.returncode == 0, "nbdkit has no plug-in for Python")
        self.size = megabytes << 20
        self.log = place / "blocks.log"
        self.folder = place / "disk"
        self._rig = rig
        self._fuse = place / "fuse"
        self._said = place / "nbdfuse.log"
        self._device = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> "LoggedDisk":
        self.folder.mkdir(parents=True)
        self._fuse.mkdir()
        file = self._fuse / "disk"
        command = ["nbdkit", "-s", "-f", "--exit-with-parent", "python", str(PLUGIN)]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                ["nbdfuse", str(file), "--command", *command, f"size={self.size}", f"log={self.log}"],
                stdout=said,
                stderr=said,
            )
        self._cleanup.callback(self._end_fuse)
        try:
            wait = threading.Event()
            until = time.monotonic() + 30
            while not file.exists():
                if self._process.poll() is not None or time.monotonic() > until:
                    cannot(self._rig, f"nbdfuse does not start here: {self._said.read_text()[-300:]}")
                wait.wait(0.01)
            self._device = run("losetup", "-f", "--show", file)
            self._cleanup.callback(run, "losetup", "-d", self._device)
            fresh = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
            run("mkfs.ext4", "-q", "-F", "-J", "size=4", "-E", fresh, self._device)
            run("mount", "-o", "noatime", self._device, self.folder)
            self._cleanup.callback(unmount, self.folder)
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def position(self) -> int:
        """How much of the log is written: every flush that was answered by now is in it."""
        return self.log.stat().st_size

    def _end_fuse(self) -> None:
        assert self._process is not None
        run("fusermount3", "-u", "-z", self._fuse, check=False)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
