"""The code tables of a site's channels: as they stand in its files, beside what the engine runs with."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from engine.adapters.console.paging import page_before
from engine.config.site import CHANNELS, LoadedChannel
from engine.config.table import BACK, MAX_TABLE_BYTES, Table, TableFinding, written_rows
from engine.config.table_rows import DIRECTION, FROM, TO, Entry
from engine.config.uses import Use, uses_of

State = Literal["as running", "changed", "not used", "gone"]
"""`changed`: the file is not what the engine runs with; `not used`: the channel runs without it; `gone`: no file."""
SPECIAL: Final = (FROM, TO, DIRECTION)
CASES: Final = "cases/"


@dataclass(slots=True, frozen=True)
class TableOf:
    """One table of one channel. `rows`: lines with something on them, but for the header and comments.

    `is_shared`: it is a link to a file elsewhere in the site, and rows are added there.
    """

    channel: str
    name: str
    state: State
    rows: int
    size_bytes: int
    columns: tuple[str, ...]
    is_shared: bool

    @property
    def is_dated(self) -> bool:
        return FROM in self.columns[2:] or TO in self.columns[2:]

    @property
    def has_direction(self) -> bool:
        return DIRECTION in self.columns[2:]

    @property
    def takes_rows(self) -> bool:
        """Whether a row can be added here: those of dated tables are for an editor (`table_files`)."""
        return not (self.is_dated or self.is_shared or self.state == "gone") and len(self.columns) >= 2


@dataclass(slots=True, frozen=True)
class TableFile:
    """A table with its bytes: in the site's folder, and as the engine runs with it; None where it does not."""

    table: TableOf
    raw: bytes
    taken: bytes | None


def tables_of(folder: Path, channel: LoadedChannel) -> list[TableOf]:
    """All of one channel that runs, by name."""
    return [one.table for one in _files(folder, channel)]


def table_of(folder: Path, channel: LoadedChannel, name: str) -> TableFile | None:
    return next((one for one in _files(folder, channel, name)), None)


def _files(folder: Path, channel: LoadedChannel, only: str | None = None) -> list[TableFile]:
    name = str(channel.name)
    taken = {path: raw for path, raw in channel.files.items() if path.endswith(".csv")}
    there = files_of(folder, name)
    found = []
    for path in sorted({*taken, *there}):
        if only in (None, path):
            raw = bytes_of(there[path]) if path in there else taken[path]
            found.append(TableFile(_table(name, path, raw, there.get(path), taken.get(path)), raw, taken.get(path)))
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


def bytes_of(path: Path) -> bytes:
    """One that is too long for a table is read as nothing."""
    return path.read_bytes() if path.stat().st_size <= MAX_TABLE_BYTES else b""


def _table(channel: str, name: str, raw: bytes, path: Path | None, taken: bytes | None) -> TableOf:
    state: State = "gone" if path is None else "not used" if taken is None else "as running"
    if path is not None and taken is not None and raw != taken:
        state = "changed"
    lines = [line for line in raw.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    columns, _, _ = written_rows(lines[0]) if lines else ((), [], [])
    is_shared = path is not None and path.resolve() != path
    return TableOf(channel, name, state, max(0, len(lines) - 1), len(raw), columns, is_shared)


@dataclass(slots=True, frozen=True)
class RowShown:
    """One row. `since`, `until`: as they are written. `is_default`: it answers for every key without a row.

    `is_new`: the engine runs without it.
    """

    line: int
    key: str
    value: str
    others: tuple[str, ...]
    since: str
    until: str
    direction: str
    is_default: bool
    is_new: bool


@dataclass(slots=True, frozen=True)
class RowsPage:
    """`others`: the names of further columns. `after`: the line to go on behind; None at the end. `before`: that of the
    page before, 0 the first; None where this is the first. `matched`: how many rows the search finds, None without one.
    """

    others: tuple[str, ...]
    rows: list[RowShown]
    total: int
    after: int | None
    before: int | None
    matched: int | None
    findings: list[TableFinding]


def rows_page(file: TableFile, after: int, limit: int, search: str = "") -> RowsPage:
    """The rows behind line `after`, in the order of the file. `search`: a part of any cell, in whatever case."""
    columns, entries, findings = written_rows(file.raw)
    # Where nothing is wrong with the file by itself, two rows may still have one key.
    findings = findings or Table.load(file.raw, file.table.name)[1]
    known = None
    if file.taken is not None and file.taken != file.raw:
        known = {_same(entry) for entry in written_rows(file.taken)[1]}
    wanted = search.casefold()
    matched = [entry for entry in entries if not wanted or _has(entry, wanted)]
    lines = [entry.row.line for entry in matched]
    start = bisect_right(lines, after)
    page = matched[start:]
    shown = [_row(entry, columns, is_new=known is not None and _same(entry) not in known) for entry in page[:limit]]
    more = page[limit - 1].row.line if page[limit:] else None
    others = tuple(name for name in columns[2:] if name not in SPECIAL)
    before = page_before(lines, start, limit, 0)
    return RowsPage(others, shown, len(entries), more, before, len(matched) if wanted else None, findings)


def _same(entry: Entry) -> tuple[str, tuple[str, ...]]:
    return entry.key, (entry.row.value, *entry.row.others)


def _has(entry: Entry, wanted: str) -> bool:
    return any(wanted in cell.casefold() for cell in (entry.key, entry.row.value, *entry.row.others))


def _row(entry: Entry, columns: Sequence[str], *, is_new: bool) -> RowShown:
    cells = dict(zip(columns[2:], entry.row.others[: len(columns) - 2], strict=False))
    return RowShown(
        line=entry.row.line,
        key=entry.key,
        value=entry.row.value,
        others=tuple(cell for name, cell in cells.items() if name not in SPECIAL),
        since=cells.get(FROM, ""),
        until=cells.get(TO, ""),
        direction=entry.direction if DIRECTION in columns[2:] else "",
        is_default=entry.any_key,
        is_new=is_new,
    )


def uses_of_table(channel: LoadedChannel, name: str) -> list[Use]:
    """Where the channel uses it, as it runs."""
    return [use for use in uses_of(channel) if use.kind == "table" and use.text == name]


def tables_on_disk(folder: Path, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Table]:
    """Those of (channel, table) that can be read, by channel and file."""
    found: dict[tuple[str, str], Table] = {}
    for channel, table in wanted:
        name = table.removesuffix(BACK)
        path = files_of(folder, channel).get(name)
        if path is None or (channel, name) in found:
            continue
        made, findings = Table.load(bytes_of(path), name)
        if not any(code.startswith("E") for _, _, code, _ in findings):
            found[channel, name] = made
    return found
