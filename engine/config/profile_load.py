"""Reads a profile with the files that it extends and the code tables that it names: all findings of all of them.

Paths are relative to the file that writes them. A file that extends itself, however far around, is a finding.
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from engine.config.base import Reading, nearest
from engine.config.expression import ExpressionError, compile_condition
from engine.config.files import MAX_FILE_BYTES
from engine.config.finding import ConfigFinding, Position, at
from engine.config.kinds import Kinds
from engine.config.node import SourceText
from engine.config.profile import ProfileBody, ProfileFile, ProfilePath, Whom
from engine.config.profile_build import build_profile
from engine.config.profile_merge import body_of, merge_bodies
from engine.config.reading import to_data, validate
from engine.config.source import decode, load_yaml
from engine.config.table import Table
from engine.config.types import ConditionText, TablePath
from engine.hl7.profile import Profile, ProfileSet, Sender

_TABLE_IN_CONDITION: Final = re.compile(r"""["']([^"']+\.csv)["']""")


class Files(Protocol):
    """What is asked of `ChannelFiles` here."""

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises OSError with a reason in `strerror`."""
        ...

    def paths(self) -> list[str]: ...


_NO_DATES = "leave out its dates, or look the value up with a validate step"


@dataclass(slots=True, frozen=True)
class AnyFiles:
    """Files of a folder and around it, for a command that a person gave a profile's path."""

    folder: Path

    def read(self, path: str) -> bytes:
        target = self.folder / path
        if target.stat().st_size > MAX_FILE_BYTES:
            raise OSError(27, f"it is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return target.read_bytes()

    def paths(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())


@dataclass(slots=True, frozen=True)
class LoadedProfile:
    """A profile's file without errors.

    `bodies` are what each profile of `profiles` was made from, with all that it takes over, in the same order.
    """

    path: str
    profiles: ProfileSet
    bodies: tuple[ProfileBody, ...]


def load_profile(
    path: str, files: Files, *, shown: str = "", named: Position | None = None
) -> tuple[LoadedProfile | None, list[ConfigFinding]]:
    """The profiles of a file and everything that is wrong; None where there is an error.

    `path` is relative to the folder of `files`, which people call `shown`; `named` is where somebody names it.
    """
    reader = _Reader(files, shown)
    return reader.load(posixpath.normpath(path), named)


@dataclass(slots=True)
class _File:
    path: str
    shown: str
    model: ProfileFile | None
    tables: dict[str, Table] = field(default_factory=dict)


class _Reader:
    """Reads each file once."""

    def __init__(self, files: Files, shown: str) -> None:
        self._files = files
        self._folder = shown
        self._read: dict[str, _File | None] = {}
        self._by_shown: dict[str, _File] = {}
        self.findings: list[ConfigFinding] = []

    def load(self, path: str, named: Position | None) -> tuple[LoadedProfile | None, list[ConfigFinding]]:
        top = self._file(path, named)
        bodies = self._bodies(top) if top is not None and top.model is not None else []
        made: list[tuple[Sender, Profile]] = []
        used: list[ProfileBody] = []
        if top is not None and not any(finding.is_error for finding in self.findings):
            for number, body in enumerate(bodies):
                profile, found = build_profile(body, _name(top, body, number), self._tables, Position(top.shown, 1, 1))
                self.findings += [finding for finding in found if finding not in self.findings]
                for whom in body.whose or (Whom(),):
                    made.append((Sender(whom.sender, whom.facility, whom.profile), profile))
                    used.append(body)
            self._check_reached(top, used)
        self.findings.sort(key=lambda finding: finding.sort_key)
        if top is None or any(finding.is_error for finding in self.findings):
            return None, self.findings
        return LoadedProfile(path, ProfileSet(tuple(made)), tuple(used)), self.findings

    # -- files ----------------------------------------------------------------------------------

    def _file(self, path: str, named: Position | None) -> _File | None:
        if path not in self._read:
            self._read[path] = None  # a file that is broken and extends itself comes here again
            self._read[path] = self._read_file(path, named)
        return self._read[path]

    def _shown(self, path: str) -> str:
        return posixpath.normpath(f"{self._folder}/{path}") if self._folder else path

    def _read_file(self, path: str, named: Position | None) -> _File | None:
        shown = self._shown(path)
        try:
            raw = self._files.read(path)
        except OSError as exc:
            self.findings.append(_unreadable(path, exc, named or Position(shown, 0, 0), self._files.paths()))
            return None
        text, found = decode(raw, shown)
        node, troubles = load_yaml(text, shown) if not found else (None, [])
        self.findings += found + troubles
        made = _File(path, shown, None)
        self._by_shown[shown] = made
        if node is None:
            return made
        reading = Reading(shown, Kinds())
        model = validate(to_data(node), ProfileFile, reading)
        self.findings += reading.findings
        for marked, _ in reading.texts:
            self._read_tables(made, marked)
        if model is None or any(finding.is_error for finding in troubles):
            for marked, _ in reading.texts:
                self._check_condition(made, marked)
                if isinstance(marked, ProfilePath):
                    self._file(self._beside(made, marked), marked.position())
            return made
        made.model = model
        return made

    def _check_condition(self, file: _File, text: SourceText) -> None:
        """Of a file that has other mistakes, so that these are told with them."""
        if not isinstance(text, ConditionText):
            return
        try:
            compile_condition(str(text), tables=file.tables)
        except ExpressionError as error:
            place = text.position(error.column, error.length) or Position(file.shown, 1, 1)
            self.findings.append(at(place, "E130", error.message, error.hint))

    def _read_tables(self, file: _File, text: SourceText) -> None:
        if isinstance(text, TablePath):
            names = [str(text)]
        elif isinstance(text, ConditionText):
            names = _TABLE_IN_CONDITION.findall(str(text))
        else:
            return
        for name in names:
            if name in file.tables:
                continue
            path = self._beside(file, name)
            try:
                raw = self._files.read(path)
            except OSError as exc:
                if isinstance(text, TablePath):
                    place = text.position() or Position(file.shown, 1, 1)
                    self.findings.append(_unreadable(name, exc, place, self._paths_beside(file)))
                continue
            table, found = Table.load(raw, name)
            file.tables[name] = table
            if table.is_dated:
                place = text.position() or Position(file.shown, 1, 1)
                self.findings.append(at(place, "E169", f"{name} has dates, and a profile knows no time", _NO_DATES))
            place_shown = self._shown(path)
            self.findings += [ConfigFinding(code, place_shown, line, col, 1, told) for line, col, code, told in found]

    def _beside(self, file: _File, name: str) -> str:
        """A path that a file writes, as this folder has it."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(file.path), name))

    def _paths_beside(self, file: _File) -> list[str]:
        """The files there are, as this file would write them."""
        return [posixpath.relpath(path, posixpath.dirname(file.path) or ".") for path in self._files.paths()]

    def _tables(self, text: SourceText) -> Mapping[str, Table]:
        place = text.position()
        file = self._by_shown.get(place.file) if place is not None else None
        return file.tables if file is not None else {}

    # -- inheritance ----------------------------------------------------------------------------

    def _bodies(self, top: _File) -> list[ProfileBody]:
        """The profiles of a file in the order in which they are asked: those of `profiles`, then the file's own."""
        assert top.model is not None, "asked only of files that were read"
        own = self._resolved(top.model, top, (top.path,))
        entries = [self._resolved(entry, top, (top.path,)) for entry in top.model.profiles]
        return [*(merge_bodies(own, entry) for entry in entries), own]

    def _resolved(self, body: ProfileBody, file: _File, chain: tuple[str, ...]) -> ProfileBody:
        """The body with all that it takes over; `chain` are the files on the way to it."""
        made = body_of(body)
        if body.extends is None:
            return made
        place = body.extends.position() or Position(file.shown, 1, 1)
        path = self._beside(file, body.extends)
        if path in chain:
            way = " -> ".join([*chain[chain.index(path) :], path])
            self.findings.append(at(place, "E171", f"a profile that extends itself: {way}", "break the circle"))
            return made
        base = self._file(path, place)
        if base is None or base.model is None:
            return made
        return merge_bodies(self._resolved(base.model, base, (*chain, path)), made)

    def _check_reached(self, top: _File, bodies: list[ProfileBody]) -> None:
        """A profile behind one that takes all its messages is never used."""
        assert top.model is not None, "asked only of files that were read"
        before: list[Whom] = []
        for number, body in enumerate(top.model.profiles):
            mine = body.whose or (Whom(),)
            if all(any(_covers(other, whom) for other in before) for whom in mine):
                message = f"profile {number + 1} of this file is never used: one above it takes all its messages"
                self.findings.append(ConfigFinding("W171", top.shown, 0, 0, 0, message, "put it first, or remove it"))
            before += mine


def _covers(one: Whom, other: Whom) -> bool:
    return all(getattr(one, key) in ("", getattr(other, key)) for key in ("sender", "facility", "profile"))


def _name(top: _File, body: ProfileBody, number: int) -> str:
    stem = posixpath.basename(top.path).rpartition(".")[0]
    assert top.model is not None, "asked only of files that were read"
    if not top.model.profiles or number == len(top.model.profiles):
        return stem
    whom = body.whose[0] if body.whose else Whom()
    return f"{stem} {whom.sender or whom.facility or whom.profile or number + 1}"


def _unreadable(path: str, error: OSError, place: Position, known: list[str]) -> ConfigFinding:
    missing = isinstance(error, FileNotFoundError)
    reason = "there is no such file" if missing else (error.strerror or "it cannot be read")
    close = nearest(path, known) if missing else ""
    return at(place, "E132", f"cannot read {path}: {reason}", f"did you mean {close}?" if close else "")
