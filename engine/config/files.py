"""Where the files of a channel come from: its folder, or a recorded version of it."""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final, Protocol

CHANNEL_FILE: Final = "channel.yaml"
SUBSTITUTED_FILE: Final = ".substituted.json"
"""In a recorded version: what the references in channel.yaml were replaced by."""

MAX_FILE_BYTES: Final = 32 * 1024 * 1024


class ChannelFiles(Protocol):
    """Files by their path as the channel writes it, relative to its folder, with `/`."""

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises OSError with a reason in `strerror`."""
        ...

    def check(self, path: str) -> None:
        """Whether a file is there that is no part of the version, such as a key. Raises OSError as `read`."""
        ...

    def paths(self) -> list[str]:
        """All files that belong to the channel, sorted; cases and hidden files do not."""
        ...


@dataclass(slots=True, frozen=True)
class FolderFiles:
    """A channel's folder inside of a site. Files outside of the site's folder cannot be read."""

    site: Path
    folder: Path

    def read(self, path: str) -> bytes:
        inside = posixpath.normpath(posixpath.join(self.folder.relative_to(self.site).as_posix(), path))
        if posixpath.isabs(path) or inside.startswith("..") or "\0" in path:
            raise PermissionError(1, "it is outside of the site's folder")
        target = self.site / inside
        facts = target.stat()
        if not S_ISREG(facts.st_mode) and not S_ISDIR(facts.st_mode):
            raise OSError(EINVAL, "it is no file")  # a pipe would be waited for
        if facts.st_size > MAX_FILE_BYTES:
            raise OSError(27, f"it is larger than {MAX_FILE_BYTES // 2**20} MiB, the most of any file")
        return target.read_bytes()

    def check(self, path: str) -> None:
        with (self.folder / path).open("rb"):
            pass

    def paths(self) -> list[str]:
        # Cases are many, and none of them is looked at.
        found: list[str] = []
        top = str(self.folder)
        shown = {top: ""}
        for folder, folders, names in os.walk(top):
            kept = {name for name in (*folders, *names) if not name.startswith(".") and name != "__pycache__"}
            if folder == top:
                kept.discard("cases")
            folders[:] = [name for name in folders if name in kept]
            shown.update((f"{folder}{os.sep}{name}", f"{shown[folder]}{name}/") for name in folders)
            found += [
                f"{shown[folder]}{name}"
                for name in names
                if name in kept and os.path.isfile(f"{folder}{os.sep}{name}")  # noqa: PTH113 - of many files
            ]
        return sorted(found)


@dataclass(slots=True)
class RecordedFiles:
    """The files of a recorded version."""

    files: Mapping[str, bytes]

    def read(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(2, "it is not in the recorded version") from None

    def check(self, path: str) -> None:
        """Such files are not recorded: nothing can be said."""

    def paths(self) -> list[str]:
        return sorted(path for path in self.files if path != SUBSTITUTED_FILE)


@dataclass(slots=True)
class ReadFiles:
    """Remembers every file that was read: they make a channel's version."""

    origin: ChannelFiles
    seen: dict[str, bytes] = field(default_factory=dict)
    _paths: list[str] | None = None

    def read(self, path: str) -> bytes:
        if path not in self.seen:
            self.seen[path] = self.origin.read(path)
        return self.seen[path]

    def check(self, path: str) -> None:
        self.origin.check(path)

    def paths(self) -> list[str]:
        if self._paths is None:
            self._paths = self.origin.paths()
        return self._paths
