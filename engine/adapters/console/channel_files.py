"""A channel's files as they are on disk, beside those that it runs with. They are read here and never written: what a
channel does is said by its files, which people keep in git."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from engine.config.changes import ChannelChange, DestinationChange, SiteState, compare, read_state
from engine.config.files import CHANNEL_FILE, SUBSTITUTED_FILE, FolderFiles
from engine.config.finding import ConfigFinding
from engine.config.graph import secrets_of, starred
from engine.config.kinds import Kinds
from engine.config.render import printable
from engine.config.secrets_python import hidden_python
from engine.config.secrets_shown import hidden_lines, hidden_yaml, with_stand_ins
from engine.config.settings import SiteSettings
from engine.config.site import CHANNELS, LoadedChannel, LoadedSite, load_channel
from engine.ports.bench import Source

ENDINGS: Final = (".yaml", ".yml", ".csv", ".py", ".xml")
"""Of the files that are shown and tried; keys and certificates may stand beside them."""
MOST_FILES: Final = 500
MOST_BYTES: Final = 32 * 1024 * 1024
"""Of all files together that a text is tried with."""
MOST_LINES: Final = 2_000
MOST_LINE: Final = 2_000
MOST_DIFF_LINES: Final = 5_000
LINE_END: Final = re.compile(r"\r\n|\r|\n")
CASES: Final = "cases"
MOST_CASES: Final = 200
MOST_CASE_FILES: Final = 60
MOST_CASE_BYTES: Final = 1024 * 1024


@dataclass(slots=True, frozen=True)
class Looked:
    """A channel. `running`: as the engine runs it; `loaded`: as its files are; None where there is none, or where they
    have errors. `files`: those on disk, by path in its folder, with what it takes from elsewhere in the site."""

    name: str
    folder: Path
    running: LoadedChannel | None
    loaded: LoadedChannel | None
    files: Mapping[str, bytes]
    findings: Sequence[ConfigFinding]

    @property
    def is_on_disk(self) -> bool:
        return CHANNEL_FILE in self.files

    @property
    def text(self) -> str:
        """channel.yaml, with something else in the place of what is secret in it."""
        return _to_be_edited(self.files.get(CHANNEL_FILE, b""))

    @property
    def digest(self) -> bytes:
        return digest_of(self.files)

    @property
    def errors(self) -> list[ConfigFinding]:
        return [one for one in self.findings if one.is_error]

    @property
    def source(self) -> Source:
        """For the bench: without channel.yaml, and without the values of secrets."""
        known: dict[str, str] = {}
        for channel in (self.running, self.loaded):
            if channel is not None:
                known |= {one.reference: one.value for one in channel.origins if one.value is not None}
        files = {path: content for path, content in self.files.items() if path != CHANNEL_FILE}
        return Source(self.name, files, known)


@lru_cache(maxsize=8)
def _to_be_edited(content: bytes) -> str:
    """It is asked for at each keystroke, and takes a millisecond for each kilobyte or so."""
    return with_stand_ins(_text(content))


def place_of(site: Path, name: str) -> Path | None:
    """The channel's folder; None where there is none, or where a link leads out of the site's channels."""
    root = (site / CHANNELS).resolve()
    found = (root / name).resolve()
    return found if found.parent == root and found.is_dir() else None


def look(site: LoadedSite, name: str, kinds: Kinds, *, is_brief: bool = False) -> Looked | None:
    """Both sides of a channel; None where there is neither. Reads files: for threads.

    `is_brief`: without findings, and without checking a file that is the one that runs: it is asked at each keystroke.
    """
    running = next((one for one in site.channels if one.name == name), None)
    place = place_of(site.folder, name)
    if place is None or not (place / CHANNEL_FILE).is_file():
        return None if running is None else Looked(name, site.folder / CHANNELS / name, running, None, {}, ())
    if is_brief and running is not None and (place / CHANNEL_FILE).read_bytes() == running.files[CHANNEL_FILE]:
        return Looked(name, place, running, running, read_files(site.folder, place, list(running.files)), ())
    loaded, findings = load_channel(name, FolderFiles(site.folder, place), kinds, os.environ, site=site.folder)
    named = [*(loaded.files if loaded is not None else ()), *(running.files if running is not None else ())]
    files = read_files(site.folder, place, named)
    return Looked(name, place, running, loaded, files, sorted(findings, key=lambda one: one.sort_key))


def read_files(site: Path, place: Path, named: Sequence[str]) -> dict[str, bytes]:
    """Those of the folder, those of the site's folder `profiles`, and those that are named; within bounds."""
    files = FolderFiles(site, place)
    shared = [f"../../profiles/{path.name}" for path in sorted((site / "profiles").glob("*")) if path.is_file()]
    found: dict[str, bytes] = {}
    left = MOST_BYTES
    for path in dict.fromkeys((CHANNEL_FILE, *files.paths(), *named, *shared)):
        if not path.endswith(ENDINGS) or len(found) >= MOST_FILES:
            continue
        try:
            content = files.read(path)
        except OSError:  # it went, or cannot be read: the findings say so where it is needed
            continue
        if len(content) <= left:
            found[path] = content
            left -= len(content)
    return found


def is_as_it_runs(site: Path, running: LoadedChannel) -> bool:
    """Whether the files on disk are those that the channel runs with; new Python counts, as it may be imported."""
    place = place_of(site, running.name)
    if place is None:
        return False
    files = FolderFiles(site, place)
    try:
        if any(path.endswith(".py") and path not in running.files for path in files.paths()):
            return False
        return all(files.read(p) == content for p, content in running.files.items() if p != SUBSTITUTED_FILE)
    except OSError:
        return False


def digest_of(files: Mapping[str, bytes]) -> bytes:
    """Of these files; what `${...}` stood for is no file."""
    whole = blake2b(digest_size=16)
    for path in sorted(files):
        if path != SUBSTITUTED_FILE:
            whole.update(blake2b(path.encode(), digest_size=16).digest())
            whole.update(blake2b(files[path], digest_size=16).digest())
    return whole.digest()


def names_on_disk(site: Path) -> list[str]:
    """Folders that hold a channel."""
    root = site / CHANNELS
    if not root.is_dir():
        return []
    return sorted(one.name for one in root.iterdir() if place_of(site, one.name) and (one / CHANNEL_FILE).is_file())


# -- texts -----------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Line:
    """`number` from 1. `findings`: those that stand at it; each with its caret below the text."""

    number: int
    text: str
    findings: Sequence["Marked"] = ()


@dataclass(slots=True, frozen=True)
class Marked:
    """A finding at a line. `lead`: what the caret is moved in by, in the text's own width."""

    finding: ConfigFinding
    lead: str
    caret: str


@dataclass(slots=True, frozen=True)
class Text:
    """A file to be shown. `more`: lines beyond what is shown; `rest`: findings that stand at no line of it."""

    path: str
    anchor: str
    lines: Sequence[Line]
    more: int
    size: int
    rest: Sequence[ConfigFinding]


def text_of(
    path: str, content: bytes, findings: Sequence[ConfigFinding], shown: str, *, is_typed: bool = False
) -> Text:
    """A file with what is wrong at its lines. `shown`: how findings call it; `is_typed`: who is shown it typed it."""
    raw = [line[:MOST_LINE] for line in _lines(path, content, is_typed=is_typed)]
    mine = [one for one in findings if one.file == shown]
    by_line: dict[int, list[Marked]] = {}
    rest: list[ConfigFinding] = []
    for one in mine:
        if not 1 <= one.line <= min(len(raw), MOST_LINES):
            rest.append(one)
            continue
        text = printable(raw[one.line - 1])
        before = text[: max(0, one.column - 1)]
        lead = "".join(char if char == "\t" else " " for char in before)
        wide = max(1, min(one.length, len(text) - len(before)))
        by_line.setdefault(one.line, []).append(Marked(one, lead, "^" * wide))
    lines = [Line(number, printable(text), by_line.get(number, ())) for number, text in enumerate(raw[:MOST_LINES], 1)]
    anchor = "" if path == CHANNEL_FILE else f"{path}-"
    return Text(path, anchor, lines, max(0, len(raw) - MOST_LINES), len(content), rest)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").removeprefix("\ufeff")


def _lines(path: str, content: bytes, *, is_typed: bool = False) -> list[str]:
    """The lines as findings count them, with stars for what is secret."""
    text = _text(content)
    if path.endswith((".yaml", ".yml")):
        # What somebody types is read as YAML in a process apart only (ADR 45).
        text = hidden_lines(text) if is_typed else hidden_yaml(text)
    elif path.endswith(".py") and not is_typed:
        text = hidden_python(text)
    else:
        text = hidden_lines(text)
    lines = LINE_END.split(text)
    return lines[:-1] if not lines[-1] else lines


def texts(looked: Looked) -> list[Text]:
    """All files of a channel: its channel.yaml first."""
    folder = f"{CHANNELS}/{looked.name}"
    order = sorted(looked.files, key=lambda path: (path != CHANNEL_FILE, path.startswith(".."), path))
    found = []
    for path in order:
        shown = path.removeprefix("../../") if path.startswith("../../") else f"{folder}/{path}"
        found.append(text_of(path, looked.files[path], looked.findings, shown))
    return found


def elsewhere(looked: Looked, shown: Sequence[Text]) -> list[ConfigFinding]:
    """Findings that are about none of the files that are shown."""
    told = {id(one) for text in shown for one in text.rest}
    told |= {id(marked.finding) for text in shown for line in text.lines for marked in line.findings}
    return [one for one in looked.findings if id(one) not in told]


# -- what differs ----------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Hunkline:
    """A line of a unified difference. `kind`: `old`, `new`, `same`, `at`."""

    kind: str
    text: str


@dataclass(slots=True, frozen=True)
class FileDiff:
    """`kind`: added, removed, changed. `lines` is empty where the file is too large to be told line by line."""

    path: str
    kind: str
    lines: Sequence[Hunkline]
    is_cut: bool = False


KINDS: Final = {"+": "new", "-": "old", "@": "at", " ": "same"}


def differences(looked: Looked) -> list[FileDiff]:
    """What a reload would change in the files of this channel, as the engine has them and as they are on disk."""
    if looked.running is None:
        return []
    secrets = secrets_of(looked.running) + (secrets_of(looked.loaded) if looked.loaded is not None else ())
    before = {path: content for path, content in looked.running.files.items() if path != SUBSTITUTED_FILE}
    after = {p: c for p, c in looked.files.items() if p in before or _is_of_version(looked, p)}
    found = []
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            found.append(_file_diff(path, before.get(path), after.get(path), secrets))
    return found


def _is_of_version(looked: Looked, path: str) -> bool:
    """A file that nothing names is no part of what runs; of files with errors nobody knows."""
    return path in looked.loaded.files if looked.loaded is not None else path == CHANNEL_FILE


def _file_diff(path: str, before: bytes | None, after: bytes | None, secrets: Sequence[str]) -> FileDiff:
    kind = "added" if before is None else "removed" if after is None else "changed"
    old, new = (_diff_lines(path, content, secrets) for content in (before, after))
    if len(old) > MOST_DIFF_LINES or len(new) > MOST_DIFF_LINES:
        return FileDiff(path, kind, (), is_cut=True)
    told = [*difflib.unified_diff(old, new, "running", "on disk", lineterm="", n=3)][2:]
    lines = [Hunkline(KINDS.get(line[:1], "same"), printable(line[:MOST_LINE])) for line in told[:MOST_LINES]]
    return FileDiff(path, kind, lines, is_cut=len(told) > MOST_LINES)


def _diff_lines(path: str, content: bytes | None, secrets: Sequence[str]) -> list[str]:
    if content is None:
        return []
    return [starred(line, secrets) for line in _lines(path, content)]


def in_words(looked: Looked, settings: SiteSettings) -> list[str]:
    """The same as a plan says it of this channel alone; [] where one side is not there, or has errors."""
    if looked.running is None or looked.loaded is None:
        return []

    def state(channel: LoadedChannel) -> SiteState:
        return read_state(LoadedSite(looked.folder, settings, [channel], []))

    change = compare(state(looked.running), state(looked.loaded))
    return [text for one in change.channels for text in _words(one)]


def _words(change: ChannelChange) -> Iterator[str]:
    yield from change.what
    yield from (_destination_words(one) for one in change.destinations)
    if change.listen != "none":
        yield f"listen: {change.listen}"


def _destination_words(one: DestinationChange) -> str:
    return f"destination {one.name}: {one.kind if one.kind != 'changed' else ', '.join(one.what)}"


# -- cases -----------------------------------------------------------------------------------------


def case_names(place: Path) -> list[str]:
    """The folders of cases."""
    root = place / CASES
    if not root.is_dir():
        return []
    return sorted(one.name for one in root.iterdir() if one.is_dir() and not one.is_symlink())


def case_files(place: Path, case: str) -> dict[str, bytes] | None:
    """What is in a case's folder, by path in it; None where it is no case, or more than a page takes."""
    root = place / CASES / case
    if case not in case_names(place):
        return None
    found: dict[str, bytes] = {}
    left = MOST_CASE_BYTES
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        left -= path.stat().st_size
        if left < 0 or len(found) >= MOST_CASE_FILES:
            return None
        found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found
