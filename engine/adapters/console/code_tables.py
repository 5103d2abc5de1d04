"""The code tables of a site's channels: as they stand in its files, beside what the engine runs with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from engine.config.site import CHANNELS, load_version
from engine.config.table import BACK, MAX_TABLE_BYTES, Table, TableFinding, written_rows
from engine.config.table_rows import DIRECTION, FROM, TO, Entry
from engine.config.uses import Use, uses_of
from engine.model.ids import VersionId
from engine.pipeline.registry import load_kinds
from engine.ports.store import StoreQueries

State = Literal["as running", "changed", "not taken up", "gone"]
"""`changed`: the file is not what the engine runs with; `not taken up`: it runs without it; `gone`: the file is."""
SPECIAL: Final = (FROM, TO, DIRECTION)
CASES: Final = "cases/"


@dataclass(slots=True, frozen=True)
class TableOf:
    """One table of one channel. `rows`: lines with something on them, but for the header and comments."""

    channel: str
    name: str
    state: State
    rows: int
    size_bytes: int
    columns: tuple[str, ...]
    is_shared: bool = False
    """It is a link to a file of another channel, or of the site: rows are added there."""

    @property
    def is_dated(self) -> bool:
        return FROM in self.columns[2:] or TO in self.columns[2:]

    @property
    def has_direction(self) -> bool:
        return DIRECTION in self.columns[2:]


def tables_of(queries: StoreQueries, folder: Path, running: Mapping[str, VersionId]) -> list[TableOf]:
    """Of the channels in `running`, each with the recorded state of its files that it runs with."""
    found: list[TableOf] = []
    for channel, version in sorted(running.items()):
        taken = {name: raw for name, raw in (queries.version_files(version) or {}).items() if name.endswith(".csv")}
        there = files_of(folder, channel)
        for name in sorted({*taken, *there}):
            raw = _bytes(there[name]) if name in there else taken[name]
            found.append(_table(channel, name, raw, there.get(name), taken.get(name)))
    return found


def files_of(folder: Path, channel: str) -> dict[str, Path]:
    """The tables in a channel's folder, by their names as the channel writes them; nothing outside of the site."""
    root, site = (folder / CHANNELS / channel).resolve(), folder.resolve()
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.csv"))}
    return {
        name: path
        for name, path in found.items()
        if not name.startswith(CASES) and path.is_file() and path.resolve().is_relative_to(site)
    }


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.stat().st_size <= MAX_TABLE_BYTES else b""


def _table(channel: str, name: str, raw: bytes, path: Path | None, taken: bytes | None) -> TableOf:
    state: State = "gone" if path is None else "not taken up" if taken is None else "as running"
    if path is not None and taken is not None and raw != taken:
        state = "changed"
    lines = [line for line in raw.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    columns, _, _ = written_rows(lines[0]) if lines else ((), [], [])
    is_shared = path is not None and path.resolve() != path
    return TableOf(channel, name, state, max(0, len(lines) - 1), len(raw), columns, is_shared)


@dataclass(slots=True, frozen=True)
class RowShown:
    """One row. `since`, `until`: as they are written. `is_default`: it answers for every key without a row."""

    line: int
    key: str
    value: str
    others: tuple[tuple[str, str], ...]
    since: str
    until: str
    direction: str
    is_default: bool
    is_new: bool


@dataclass(slots=True, frozen=True)
class RowsPage:
    """`after`: the line to go on behind; None at the end. `first`: the line of the first one. `matched`: how many rows
    the search finds, None without one."""

    columns: tuple[str, ...]
    rows: list[RowShown]
    total: int
    after: int | None
    matched: int | None
    findings: list[TableFinding]


def rows_page(raw: bytes, taken: bytes | None, after: int, limit: int, search: str = "") -> RowsPage:
    """The rows behind line `after`, in the order of the file. `search`: a part of any cell, in whatever case.

    `taken`: the file as the engine runs with it; None where it does not. Rows that it does not have are new.
    """
    columns, entries, findings = written_rows(raw)
    known = None if taken is None or taken == raw else {_same(entry) for entry in written_rows(taken)[1]}
    wanted = search.casefold()
    matched = [entry for entry in entries if not wanted or _has(entry, wanted)]
    page = [entry for entry in matched if entry.row.line > after]
    shown = [_row(entry, columns, is_new=known is not None and _same(entry) not in known) for entry in page[:limit]]
    more = page[limit - 1].row.line if page[limit:] else None
    return RowsPage(columns, shown, len(entries), more, len(matched) if wanted else None, findings)


def _same(entry: Entry) -> tuple[str, tuple[str, ...]]:
    return entry.key, (entry.row.value, *entry.row.others)


def _has(entry: Entry, wanted: str) -> bool:
    return any(wanted in cell.casefold() for cell in (entry.key, entry.row.value, *entry.row.others))


def _row(entry: Entry, columns: Sequence[str], *, is_new: bool) -> RowShown:
    cells = dict(zip(columns[2:], entry.row.others, strict=False))
    return RowShown(
        line=entry.row.line,
        key=entry.key,
        value=entry.row.value,
        others=tuple((name, cell) for name, cell in cells.items() if name not in SPECIAL),
        since=cells.get(FROM, ""),
        until=cells.get(TO, ""),
        direction=entry.direction if DIRECTION in columns[2:] else "",
        is_default=entry.any_key,
        is_new=is_new,
    )


def uses_of_table(queries: StoreQueries, channel: str, version: VersionId, name: str) -> list[Use] | None:
    """Where the channel uses it, as it runs; None where its recorded files cannot be read here."""
    files = queries.version_files(version)
    loaded, _ = load_version(channel, files, load_kinds()) if files else (None, [])
    if loaded is None:
        return None
    return [use for use in uses_of(loaded) if use.kind == "table" and use.text == name]


def tables_on_disk(folder: Path, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Table]:
    """Those of (channel, table) that can be read, by the same pairs without the way of looking them up."""
    found: dict[tuple[str, str], Table] = {}
    for channel, table in wanted:
        name = table.removesuffix(BACK)
        path = files_of(folder, channel).get(name)
        if path is None or (channel, name) in found:
            continue
        made, findings = Table.load(_bytes(path), name)
        if not any(code.startswith("E") for _, _, code, _ in findings):
            found[channel, name] = made
    return found


def running_files(queries: StoreQueries, version: VersionId, name: str) -> bytes | None:
    """A file of a channel as the engine runs with it."""
    return (queries.version_files(version) or {}).get(name)
