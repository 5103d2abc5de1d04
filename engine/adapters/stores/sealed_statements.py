"""How statements meet columns that are sealed, or that hold tokens (adr/0055; which ones: `sealed_tables`).

A statement says of which columns its values are, and of which its results (`Shape`). In a store that is not sealed
nothing of this runs: the values go as they come.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from engine.adapters.stores.sealed_others import OTHERS
from engine.adapters.stores.sealing import SealedColumn, SealedTable, Sealing, Unopened, closed, opened
from engine.ports.store import StoreError

Damage = Literal["refuse", "leave out", "empty"]
"""What is done with a row that cannot be opened: StoreError, the row is left out, or its sealed values are empty."""

_TABLES: Final = {table.name: table for table in OTHERS}


@dataclass(slots=True, frozen=True)
class Column:
    """A column of a table that has sealed ones. `seal`: how it is, None where it stands as it is."""

    table: SealedTable
    name: str
    seal: SealedColumn | None

    @property
    def is_token(self) -> bool:
        return self.seal is not None and self.seal.kind == "token"

    @property
    def empty(self) -> Any:
        return "" if self.is_token or (self.seal is not None and self.seal.is_text) else b""


def column(table: str, name: str) -> Column:
    """One column. KeyError for a table without sealed ones."""
    of = _TABLES[table]
    return Column(of, name, next((one for one in of.columns if one.name == name), None))


def columns(table: str, names: str) -> tuple[Column | None, ...]:
    """Several, in a statement's order; `-` for a value that is of none."""
    return tuple(None if name == "-" else column(table, name) for name in names.split())


@dataclass(slots=True, frozen=True)
class Shape:
    """The columns of a statement: of its values in their order, and of its results; what comes behind is of none.
    Values that are given by name are columns of `table`."""

    given: tuple[Column | None, ...] = ()
    found: tuple[Column | None, ...] = ()
    table: str = ""
    damage: Damage = "refuse"


class Rows(Protocol):
    """What a statement gives: as much of a cursor as is used."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...

    @property
    def rowcount(self) -> int: ...


class Statements:
    """Statements by name, on one connection. In a sealed store, values are sealed on their way in by the statement's
    shape, and results are opened on their way out."""

    def __init__(
        self,
        execute: Callable[..., sqlite3.Cursor],
        sql: Mapping[str, str],
        shapes: Mapping[str, Shape],
        sealing: Sealing,
    ) -> None:
        self._execute = execute
        self._sql = sql
        self._shapes = shapes
        self.sealing = sealing
        self.left_out = 0
        """Rows that could not be opened, of statements that leave such out."""

    def __call__(self, name: str, values: Any = ()) -> Rows:
        """Carry one out. Reading what it gives raises StoreError where that cannot be opened."""
        if not self.sealing.is_on or (shape := self._shapes.get(name)) is None:
            return self._execute(self._sql[name], values)
        cursor = self._execute(self._sql[name], _sealed_values(self.sealing, shape, values))
        return _OpenedRows(cursor, shape, values, self) if shape.found else cursor

    def as_stored(self, name: str, values: Any = ()) -> Rows:
        """The same; its results are left as they are stored."""
        if not self.sealing.is_on or (shape := self._shapes.get(name)) is None:
            return self._execute(self._sql[name], values)
        return self._execute(self._sql[name], _sealed_values(self.sealing, shape, values))


def _rows(given: Iterator[tuple[Column | None, Any]]) -> dict[str, dict[str, Any]]:
    """Values by table and column."""
    found: dict[str, dict[str, Any]] = {}
    for of, value in given:
        if of is not None:
            found.setdefault(of.table.name, {})[of.name] = value
    return found


def _given(shape: Shape, values: Any) -> Iterator[tuple[Column | None, Any]]:
    if isinstance(values, Mapping):
        table = shape.table
        return ((column(table, name) if table else None, value) for name, value in values.items())
    return zip(shape.given, values, strict=False)


def _sealed_values(sealing: Sealing, shape: Shape, values: Any) -> Any:
    rows = _rows(_given(shape, values))
    sealed = [
        value
        if of is None or of.seal is None
        else closed(sealing, of.table, of.seal, {**rows[of.table.name], of.name: value})
        for of, value in _given(shape, values)
    ]
    if isinstance(values, Mapping):
        return dict(zip(values, sealed, strict=True))
    return [*sealed, *values[len(shape.given) :]]


class _OpenedRows:
    """Rows of a cursor, opened one by one as they are read."""

    def __init__(self, cursor: sqlite3.Cursor, shape: Shape, values: Any, statements: Statements) -> None:
        self._cursor = cursor
        self._shape = shape
        self._sealing = statements.sealing
        self._statements = statements
        found = [(at, of) for at, of in enumerate(shape.found) if of is not None]
        self._sealed = [(at, of, of.seal) for at, of in found if of.seal is not None and not of.is_token]
        bound = {(of.table.name, name) for _, of, seal in self._sealed for name in seal.row}
        self._names = [(at, of) for at, of in found if of.is_token or (of.table.name, of.name) in bound]
        self._given: dict[str, dict[str, Any]] = {of.table.name: {} for _, of in found}
        self._given |= _rows(_given(shape, values))

    def __iter__(self) -> Iterator[Any]:
        for row in self._cursor:
            try:
                yield self._opened(row)
            except Unopened as exc:
                if self._shape.damage == "refuse":
                    raise StoreError(f"a value in the store is not what was sealed ({exc})") from None
                if self._shape.damage == "empty":
                    yield self._emptied(row)
                else:
                    self._statements.left_out += 1

    def fetchone(self) -> Any:
        return next(iter(self), None)

    def fetchall(self) -> list[Any]:
        return list(self)

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def _opened(self, row: Sequence[Any]) -> tuple[Any, ...]:
        made = list(row)
        rows = {table: dict(values) for table, values in self._given.items()}
        # What names the rows first: the others are bound to it.
        for at, of in self._names:
            if of.seal is not None:
                made[at] = opened(self._sealing, of.table, of.seal, {of.name: made[at]})
            rows[of.table.name][of.name] = made[at]
        for at, of, seal in self._sealed:
            values = rows[of.table.name]
            values[of.name] = made[at]
            made[at] = opened(self._sealing, of.table, seal, values)
        return tuple(made)

    def _emptied(self, row: Sequence[Any]) -> tuple[Any, ...]:
        made = list(row)
        for at, of in enumerate(self._shape.found):
            if of is not None and of.seal is not None:
                made[at] = of.empty
        return tuple(made)
