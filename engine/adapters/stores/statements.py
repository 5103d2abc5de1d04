"""SQL from `.sql` files: named statements, and statements that take many rows in one step.

A file holds statements, each under a line `-- name: <name>`; the comment lines after it say why.
`/*rows*/(?, ?)/*rows*/` marks the row that `RowStatement` repeats.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, ClassVar

NAME_LINE = "-- name:"
ROWS = "/*rows*/"

Execute = Callable[[str, Sequence[object]], sqlite3.Cursor]


def load_statements(file: str) -> Mapping[str, str]:
    """The statements of `sql/<file>`, by name. ValueError for a name that comes twice."""
    text = files(__package__).joinpath("sql", file).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in ("\n" + text).split(f"\n{NAME_LINE}")[1:]:
        name, _, body = part.partition("\n")
        sql = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--"))
        if name.strip() in found:
            raise ValueError(f"{file}: {name.strip()} comes twice")
        found[name.strip()] = sql.strip().rstrip(";")
    return found


class RowStatement:
    """A statement for any number of rows, carried out in as few steps of SQLite as may be.

    Python's sqlite3 gives up the interpreter lock at every step, so `executemany` with 32 rows gives it
    up 32 times; with a busy event loop beside the writer's thread, each time costs a wait for it. One
    statement with 32 rows is one step: measured 1.5 to 3.7 times the commits of `executemany` there,
    and no slower alone. Up to 8 rows are one step, fewer than 32 at most two: each step costs 5 to 20 us
    beside its rows, and eight senders fill batches of 5 to 8. `SIZES` are few, so that the statement cache holds all.
    """

    SIZES: ClassVar[Sequence[int]] = (32, 24, 16, 12, 8, 7, 6, 5, 4, 3, 2, 1)

    def __init__(self, sql: str) -> None:
        head, row, tail = sql.split(ROWS)
        self.width = row.count("?")
        self._texts = [(size, head + ", ".join([row] * size) + tail) for size in self.SIZES]

    @staticmethod
    def takes(sql: str) -> bool:
        """Whether this is the text of one."""
        return ROWS in sql

    def run(self, execute: Execute, values: Sequence[object]) -> int:
        """Carry it out for `values`, row after row in one flat list; how many rows it changed."""
        changed = 0
        for text, part in self._parts(values):
            changed += execute(text, part).rowcount
        return changed

    def fetch(self, execute: Execute, values: Sequence[object]) -> list[Any]:
        """The rows it gives for `values`."""
        return [row for text, part in self._parts(values) for row in execute(text, part)]

    def _parts(self, values: Sequence[object]) -> Iterator[tuple[str, Sequence[object]]]:
        at = 0
        left = len(values) // self.width
        for size, text in self._texts:
            while left >= size:
                end = at + size * self.width
                yield text, values[at:end]
                at = end
                left -= size
