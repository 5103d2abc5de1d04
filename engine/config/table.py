"""Code tables: what one system calls a thing, and what the other does.

```text
# wards of the west wing           a line that starts with # is a comment, a blank one nothing
from,to,remark                     the header: names of the columns, at least two
W1,1100,surgery                    key, value, and whatever else the header names
"A,B","a ""new"" one"               a cell with a comma, a quote, # in front or blanks around it stands in quotes
```

What the columns `valid_from`, `valid_to` and `direction` say, and the key `*`, is in `engine.config.table_rows`.

UTF-8, comma, one row a line. A key is looked up exactly as it stands: case and blanks count. Because a blank
that nobody sees would then send messages astray, blanks around a key or value without quotes are a finding, and so
is every row that cannot be meant. What is found does not hinder the other rows.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Self

from engine.config.table_rows import ANY, DIRECTION, DIRECTIONS, FROM, TO, Entry, Row, gaps, moment, overlap

__all__ = ["BACK", "Row", "Table", "TableFinding", "UndatedLookup", "written_rows"]

BACK = " (back)"
"""Behind the name of a table that is looked up from value to key."""

MAX_TABLE_BYTES = 32 * 1024 * 1024

MAX_FINDINGS = 100
"""Of one table; the rest will be found when these are mended."""

TableFinding = tuple[int, int, str, str]
"""Line and column from 1; code (of E150 to E156, E166 to E168, W150, W157, W167); sentence, with nothing of the table
but names of columns."""


class UndatedLookup(Exception):
    """A table whose answers depend on the time was asked without one."""

    def __init__(self) -> None:
        super().__init__("this table has dates: ask lookup_at(key, time)")


class _Cell(NamedTuple):
    text: str
    column: int
    is_quoted: bool = False


class Table:
    """A code table in memory; never changes. `name` is as the channel writes it: tables/wards.csv."""

    __slots__ = ("_default", "_entries", "_rows", "_rows_of", "columns", "lookup", "lookup_at", "name")

    lookup: Callable[[str], Row | None]
    """The row that answers for a key, the default row where it has none of its own, or None.

    Of a table with dates it raises UndatedLookup: there `lookup_at` is to be asked.
    """

    lookup_at: Callable[[str, datetime], Row | None]
    """The same at a time, also of a table without dates."""

    is_settled: ClassVar[bool] = True
    """Whether what it answers to a fixed key may be worked out once, before any message comes."""

    def __init__(
        self,
        name: str,
        columns: tuple[str, ...],
        rows: Mapping[str, Row],
        rows_of: Mapping[str, Sequence[Row]] | None = None,
        entries: Sequence[Entry] = (),
        *,
        has_default: bool = False,
    ) -> None:
        """`rows_of` has all rows of each key where there are dates. `entries` are those that do not read the same both
        ways, in a table with a direction; `has_default`: the row of `*` is for every key without one."""
        self.name = name
        self.columns = columns
        self._rows = dict(rows)
        self._rows_of = {key: tuple(some) for key, some in (rows_of or {}).items()}
        self._entries = tuple(entries)
        self._default = has_default
        find = self._rows.get
        self.lookup = find
        self.lookup_at = lambda key, time: find(key)
        if self._rows_of:
            self.lookup = _needs_a_time
            self.lookup_at = self._dated
        elif has_default:
            default = self._rows[ANY]
            self.lookup = lambda key: find(key, default)
            self.lookup_at = lambda key, time: find(key, default)

    def _dated(self, key: str, time: datetime) -> Row | None:
        for row in self._rows_of.get(key, ()):
            if row.holds_at(time):
                return row
        return self._dated(ANY, time) if self._default and key != ANY else None

    @classmethod
    def load(cls, text: str | bytes, name: str) -> tuple[Self, list[TableFinding]]:
        """The table in `text`, and all that is wrong with it, in order of lines; of two equal keys the first counts."""
        findings: list[TableFinding] = []
        columns, entries = _read(text, findings)
        there = [entry for entry in entries if entry.direction != "back"]
        table = cls._of(name, columns, there, findings, entries if DIRECTION in columns[2:] else ())
        return table, sorted(findings)[:MAX_FINDINGS]

    @classmethod
    def _of(
        cls,
        name: str,
        columns: tuple[str, ...],
        there: Iterable[Entry],
        findings: list[TableFinding],
        entries: Sequence[Entry],
    ) -> Self:
        """Of the rows of one direction; of two that answer for one key at one time the first counts."""
        is_dated = FROM in columns[2:] or TO in columns[2:]
        rows: dict[str, Row] = {}
        rows_of: dict[str, list[Row]] = {}
        has_default = False
        for entry in there:
            first = rows.setdefault(entry.key, entry.row)
            has_default = has_default or entry.any_key
            if is_dated:
                rows_of.setdefault(entry.key, []).append(entry.row)
            elif first is not entry.row:
                text = f"this key stands in line {first.line} already"
                findings.append((entry.row.line, entry.column, "E153", text))
        for key, some in rows_of.items():
            rows_of[key] = _in_time(some, findings)
        return cls(name, columns, rows, rows_of, entries, has_default=has_default)

    @property
    def is_dated(self) -> bool:
        """Whether what answers depends on the time."""
        return bool(self._rows_of)

    @property
    def has_default(self) -> bool:
        """Whether a row answers for every key that has none of its own."""
        return self._default

    def has(self, key: str) -> bool:
        """Whether there is a row with exactly this key, at whatever time."""
        return key in self._rows and not (self._default and key == ANY)

    def back(self) -> tuple["Table", list[TableFinding]]:
        """The table of the way back, from value to key, and what makes that way ambiguous (E168)."""
        entries = self._entries or tuple(
            Entry(key, 1, self._default and key == ANY, False, "both", row)
            for key, some in (self._rows_of or {key: (row,) for key, row in self._rows.items()}).items()
            for row in some
        )
        turned: list[Entry] = []
        taken: dict[str, list[Row]] = {}
        findings: list[TableFinding] = []
        for entry in entries:
            # A default row says what many keys become, and so nothing of the way back; one of the way back is of it.
            # An empty value is never looked up.
            is_of_there = entry.direction == "there" or (entry.any_key and entry.direction != "back")
            if is_of_there or not entry.row.value:
                continue
            row = entry.row._replace(value=entry.key)
            before = next((one for one in taken.get(entry.row.value, ()) if one.meets(row)), None)
            if before is not None:
                text = f"lines {before.line} and {row.line} have the same value, so that the way back is ambiguous"
                findings.append((row.line, 1, "E168", f"{text}; give one of them the direction there"))
                continue
            taken.setdefault(row_key := entry.row.value, []).append(row)
            turned.append(Entry(row_key, 1, entry.any_value and entry.direction == "back", False, "both", row))
        name = f"{self.name}{BACK}"
        return type(self)._of(name, self.columns, turned, [], ()), findings[:MAX_FINDINGS]

    @property
    def lines(self) -> frozenset[int]:
        """Where the rows stand that can answer."""
        every = [row for some in self._rows_of.values() for row in some] if self._rows_of else self._rows.values()
        return frozenset(row.line for row in every)

    @property
    def size(self) -> int:
        """The number of rows that can answer."""
        return sum(map(len, self._rows_of.values())) if self._rows_of else len(self._rows)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self._rows)

    @property
    def rows(self) -> Mapping[str, Row]:
        """All rows by their keys; where there are dates, of each key the first in the file."""
        return MappingProxyType(self._rows)

    @property
    def rows_of(self) -> Mapping[str, Sequence[Row]]:
        """Where there are dates, all rows of each key, in order of time; else nothing."""
        return MappingProxyType(self._rows_of)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.size} rows)"


def written_rows(text: str | bytes) -> tuple[tuple[str, ...], list[Entry], list[TableFinding]]:
    """The columns and the rows as they stand in the file, also those of two that have one key; and what is wrong."""
    findings: list[TableFinding] = []
    columns, entries = _read(text, findings)
    return columns, entries, sorted(findings)[:MAX_FINDINGS]


def _read(text: str | bytes, findings: list[TableFinding]) -> tuple[tuple[str, ...], list[Entry]]:
    decoded = _decode(text, findings)
    columns: tuple[str, ...] = ()
    entries: list[Entry] = []
    for line, content in enumerate(re.split(r"\r\n|\r|\n", decoded), 1):
        if not content.strip() or content.lstrip().startswith("#"):
            continue
        cells = _cells(content, line, findings)
        if cells is None:
            continue
        if not columns:
            columns = _header(cells, line, findings)
            if not columns:
                break
        else:
            entry = _entry(cells, line, columns, findings)
            if entry is not None:
                entries.append(entry)
    if not columns and not findings:
        findings.append((1, 1, "E151", "the table is empty; its first line names the columns, such as from,to"))
    return columns, entries


def _decode(text: str | bytes, findings: list[TableFinding]) -> str:
    if len(text) > MAX_TABLE_BYTES:
        findings.append((1, 1, "E150", f"the table is longer than {MAX_TABLE_BYTES // 2**20} MiB"))
        return ""
    if isinstance(text, bytes):
        if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            findings.append((1, 1, "E150", "this is UTF-16; save the table as UTF-8"))
            return ""
        for line, content in enumerate(re.split(rb"\r\n|\r|\n", text), 1):
            try:
                content.decode()
            except UnicodeDecodeError as exc:
                column = len(content[: exc.start].decode()) + 1
                findings.append((line, column, "E150", "this is no UTF-8; save the table as UTF-8"))
        text = text.decode(errors="replace")
    if text.startswith("\ufeff"):
        findings.append((1, 1, "W150", "the byte order mark was skipped; save the table as UTF-8 without it"))
        text = text[1:]
    if "\0" in text:
        line = len(re.split(r"\r\n|\r|\n", text[: text.index("\0")]))
        findings.append((line, 1, "E150", "the table holds a NUL character; is it UTF-16? Save it as UTF-8"))
        return ""
    return text


def _header(cells: list[_Cell], line: int, findings: list[TableFinding]) -> tuple[str, ...]:
    names = tuple(cell.text for cell in cells)
    if len(names) < 2:
        separator = next((s for s in (";", "\t", "|") if s in names[0]), None)
        hint = f"; cells are separated by commas, not by '{separator}'" if separator else ", such as from,to"
        findings.append((line, 1, "E151", f"the header names one column where two are needed{hint}"))
        return ()
    for position, cell in enumerate(cells):
        if not cell.text:
            findings.append((line, cell.column, "E151", f"column {position + 1} has no name"))
        elif cell.text in names[:position]:
            findings.append((line, cell.column, "E151", f"two columns are named '{cell.text[:60]}'"))
    if any(name and not any(c.isalpha() for c in name) for name in names[:2]) or all(len(n) == 1 for n in names[:2]):
        text = "the first line names the columns and is not looked up; is this one a row? Put from,to above it"
        findings.append((line, 1, "W157", text))
    return names


def _entry(cells: list[_Cell], line: int, columns: tuple[str, ...], findings: list[TableFinding]) -> Entry | None:
    key, *others = cells
    if len(cells) != len(columns):
        place = cells[len(columns)].column if len(cells) > len(columns) else cells[-1].column
        hint = "; a cell with a comma in it stands in quotes" if len(cells) > len(columns) else ""
        number = f"{len(cells)} cell" + ("" if len(cells) == 1 else "s")
        findings.append((line, place, "E152", f"{number} where the header names {len(columns)}{hint}"))
        return None
    if not key.text:
        findings.append((line, 1, "E154", f"there is nothing in column '{columns[0][:60]}'"))
        return None
    special = {name: cell for name, cell in zip(columns[2:], others[1:], strict=True) if name in (FROM, TO, DIRECTION)}
    since, until = (_moment(name, special.get(name), line, findings) for name in (FROM, TO))
    if since is not None and until is not None and since >= until:
        findings.append((line, special[TO].column, "E166", f"{TO} is before {FROM}: the row never holds"))
        return None
    direction = _direction(special.get(DIRECTION), line, findings)
    row = Row(others[0].text, line, tuple(cell.text for cell in others[1:]), since, until)
    return Entry(key.text, key.column, _is_any(key), _is_any(others[0]), direction, row)


def _is_any(cell: _Cell) -> bool:
    return cell.text == ANY and not cell.is_quoted


def _moment(name: str, cell: _Cell | None, line: int, findings: list[TableFinding]) -> datetime | None:
    if cell is None:
        return None
    try:
        return moment(cell.text.strip(), is_end=name == TO)
    except ValueError:
        text = f"{name} is no time: write 2026-07-01, or 2026-07-01T06:00+02:00, or nothing"
        findings.append((line, cell.column, "E166", text))
        return None


def _direction(cell: _Cell | None, line: int, findings: list[TableFinding]) -> str:
    text = cell.text.strip() if cell is not None else ""
    if cell is not None and text and text not in DIRECTIONS:
        findings.append((line, cell.column, "E166", f"{DIRECTION} is none of {', '.join(DIRECTIONS)}"))
    return text if text in DIRECTIONS else "both"


def _in_time(rows: list[Row], findings: list[TableFinding]) -> list[Row]:
    """The rows of one key, in order of time; of two that hold at one moment the first one answers."""
    both = overlap(rows)
    if both is not None:
        first, second = both
        findings.append(
            (second.line, 1, "E167", f"this key stands in line {first.line} already, for a time of this one")
        )
        return rows
    for one, other in gaps(rows):
        text = f"between the row in line {one.line} and this one there is a time at which the key has no row"
        findings.append((other.line, 1, "W167", text))
    return sorted(rows, key=lambda row: row.begins)


def _needs_a_time(key: str) -> Row | None:
    raise UndatedLookup


def _cells(content: str, line: int, findings: list[TableFinding]) -> list[_Cell] | None:
    """The cells of one line; None, with a finding, when its quotes are not in order."""
    cells: list[_Cell] = []
    at = 0
    while True:
        if content.startswith('"', at):
            end = _closing_quote(content, at)
            if end < 0:
                findings.append((line, at + 1, "E155", "this quote is not closed in its line"))
                return None
            cells.append(_Cell(content[at + 1 : end].replace('""', '"'), at + 1, is_quoted=True))
            if content[end + 1 : end + 2] not in ("", ","):
                findings.append((line, end + 2, "E155", 'behind a closing quote stands a comma; a quote inside is ""'))
                return None
            end += 1
        else:
            end = content.find(",", at)
            end = len(content) if end < 0 else end
            cells.append(_unquoted(content[at:end], at, line, findings, counts=len(cells) < 2))
        if end >= len(content):
            return cells
        at = end + 1


def _closing_quote(content: str, opening: int) -> int:
    at = opening + 1
    while (at := content.find('"', at)) >= 0:
        if not content.startswith('""', at):
            return at
        at += 2
    return -1


def _unquoted(text: str, at: int, line: int, findings: list[TableFinding], *, counts: bool) -> _Cell:
    if counts and text != text.strip():
        findings.append((line, at + 1, "E156", "blanks around a key or value count; remove them, or put it in quotes"))
    if (quote := text.find('"')) >= 0:
        findings.append(
            (
                line,
                at + quote + 1,
                "E155",
                'a cell with a quote in it stands in quotes, and the quote twice: "a ""new"" one"',
            )
        )
    return _Cell(text, at + 1)
