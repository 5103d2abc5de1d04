"""Code tables: what one system calls a thing, and what the other does.

```text
# wards of the west wing           a line that starts with # is a comment, a blank one nothing
from,to,remark                     the header: names of the columns, at least two
W1,1100,surgery                    key, value, and whatever else the header names
"A,B","a ""new"" one"               a cell with a comma, a quote, # in front or blanks around it stands in quotes
```

UTF-8, comma, one row a line. A key is looked up exactly as it stands: case and blanks count. Because a blank
that nobody sees would then send messages astray, blanks around a key or value without quotes are a finding, and so
is every row that cannot be meant. What is found does not hinder the other rows.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Self

MAX_TABLE_BYTES = 32 * 1024 * 1024

MAX_FINDINGS = 100
"""Of one table; the rest will be found when these are mended."""

TableFinding = tuple[int, int, str, str]
"""Line and column from 1; code (E150 to E156, W150, W157); sentence, with nothing of the table but names of columns."""


class Row(NamedTuple):
    """One row. `line` is where it stands in the file, from 1; `others` are the cells behind the value."""

    value: str
    line: int
    others: tuple[str, ...] = ()


class _Cell(NamedTuple):
    text: str
    column: int


class Table:
    """A code table in memory; never changes. `name` is as the channel writes it: tables/wards.csv."""

    __slots__ = ("_rows", "columns", "lookup", "name")

    lookup: Callable[[str], Row | None]
    """The row with exactly this key, or None."""

    def __init__(self, name: str, columns: tuple[str, ...], rows: Mapping[str, Row]) -> None:
        self.name = name
        self.columns = columns
        self._rows = dict(rows)
        self.lookup = self._rows.get

    @classmethod
    def load(cls, text: str | bytes, name: str) -> tuple[Self, list[TableFinding]]:
        """The table in `text`, and all that is wrong with it, in order of lines; of two equal keys the first counts."""
        findings: list[TableFinding] = []
        decoded = _decode(text, findings)
        columns: tuple[str, ...] = ()
        rows: dict[str, Row] = {}
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
                _add(rows, cells, line, columns, findings)
        if not columns and not findings:
            findings.append((1, 1, "E151", "the table is empty; its first line names the columns, such as from,to"))
        return cls(name, columns, rows), sorted(findings)[:MAX_FINDINGS]

    @property
    def size(self) -> int:
        """The number of rows that can be found."""
        return len(self._rows)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self._rows)

    @property
    def rows(self) -> Mapping[str, Row]:
        """All rows by their keys."""
        return MappingProxyType(self._rows)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.size} rows)"


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


def _add(
    rows: dict[str, Row], cells: list[_Cell], line: int, columns: tuple[str, ...], findings: list[TableFinding]
) -> None:
    key, *others = cells
    if len(cells) != len(columns):
        place = cells[len(columns)].column if len(cells) > len(columns) else cells[-1].column
        hint = "; a cell with a comma in it stands in quotes" if len(cells) > len(columns) else ""
        number = f"{len(cells)} cell" + ("" if len(cells) == 1 else "s")
        findings.append((line, place, "E152", f"{number} where the header names {len(columns)}{hint}"))
    elif not key.text:
        findings.append((line, 1, "E154", f"there is nothing in column '{columns[0][:60]}'"))
    elif key.text in rows:
        findings.append((line, key.column, "E153", f"this key stands in line {rows[key.text].line} already"))
    else:
        rows[key.text] = Row(others[0].text, line, tuple(cell.text for cell in others[1:]))


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
            cells.append(_Cell(content[at + 1 : end].replace('""', '"'), at + 1))
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
