"""Saved searches in SQLite and in memory: written with the change that they are a part of."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final, assert_never

from engine.adapters.stores.sealed_shapes import SAVED_SEARCH
from engine.adapters.stores.sealed_statements import Statements
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import Execute, load_statements
from engine.ports.access import AccessRefused
from engine.ports.saved_search import (
    MOST_OF_OWNER,
    NAME_THERE,
    NO_SEARCH,
    TOO_MANY,
    ChangeSearch,
    DropSearch,
    SavedSearch,
    SaveSearch,
    SearchEdit,
)

_SQL: Final = load_statements("saved_search.sql")


class SavedSearchWriting:
    """Carries edits out in the transaction that is open."""

    def __init__(self, execute: Execute, sealing: Sealing | None = None) -> None:
        self._run = _statements(execute, sealing)

    def apply(self, edit: SearchEdit, now_us: int) -> None:
        """Raises AccessRefused, and the transaction is to be undone."""
        match edit:
            case SaveSearch(one):
                (count,) = self._run("count_of_owner", (one.owner,)).fetchone()
                if count >= MOST_OF_OWNER:
                    raise AccessRefused(TOO_MANY)
                told = (one.id, one.owner, one.name, one.is_shared, one.text, one.created_us, one.changed_us)
                if not self._run("save_search", told).rowcount:
                    raise AccessRefused(NAME_THERE)
            case ChangeSearch(id_, name, is_shared):
                row = self._run.as_stored("saved_search", (id_,)).fetchone()
                if row is None:
                    raise AccessRefused(NO_SEARCH, is_missing=True)
                if not self._run("change_search", (name, is_shared, now_us, id_)).rowcount:
                    raise AccessRefused(NAME_THERE)
            case DropSearch(id_):
                if not self._run("drop_search", (id_,)).rowcount:
                    raise AccessRefused(NO_SEARCH, is_missing=True)
            case _:
                assert_never(edit)


class SavedSearchReading:
    """SavedSearchQueries, on connections that `reader` lends: what SqliteQueries gets its methods from."""

    _reader: Callable[[], AbstractContextManager[sqlite3.Connection]]
    _sealing: Sealing

    def saved_searches(self, owner: str) -> Sequence[SavedSearch]:
        """As SavedSearchQueries.saved_searches."""
        with self._reader() as db:
            found = [_saved(*row) for row in _statements(db.execute, self._sealing)("saved_searches", (owner,))]
        return sorted(found, key=lambda one: (one.name, one.owner))  # names that are sealed have another order

    def saved_search(self, id_: str) -> SavedSearch | None:
        """As SavedSearchQueries.saved_search."""
        with self._reader() as db:
            row = _statements(db.execute, self._sealing)("saved_search", (id_,)).fetchone()
        return None if row is None else _saved(*row)


def _statements(execute: Callable[..., sqlite3.Cursor], sealing: Sealing | None) -> Statements:
    return Statements(execute, _SQL, SAVED_SEARCH, sealing or Sealing())


def _saved(id_: str, owner: str, name: str, is_shared: int, text: str, created_us: int, changed_us: int) -> SavedSearch:
    return SavedSearch(id_, owner, name, bool(is_shared), text, created_us, changed_us)


class MemorySavedSearches:
    """The same rules, in memory. Whoever reads or writes it holds the rows' lock."""

    def __init__(self, kept: dict[str, SavedSearch] | None = None) -> None:
        self._kept = dict(kept or {})

    def copy(self) -> "MemorySavedSearches":
        return MemorySavedSearches(self._kept)

    def apply(self, edit: SearchEdit, now_us: int) -> None:
        """Raises AccessRefused, with nothing done."""
        match edit:
            case SaveSearch(one):
                if sum(other.owner == one.owner for other in self._kept.values()) >= MOST_OF_OWNER:
                    raise AccessRefused(TOO_MANY)
                self._check_name(one)
                self._kept[one.id] = one
            case ChangeSearch(id_, name, is_shared):
                changed = replace(self._one(id_), name=name, is_shared=is_shared, changed_us=now_us)
                self._check_name(changed)
                self._kept[id_] = changed
            case DropSearch(id_):
                self._one(id_)
                del self._kept[id_]
            case _:
                assert_never(edit)

    def of(self, owner: str) -> list[SavedSearch]:
        found = [one for one in self._kept.values() if one.is_shared or one.owner == owner]
        return sorted(found, key=lambda one: (one.name, one.owner))

    def get(self, id_: str) -> SavedSearch | None:
        return self._kept.get(id_)

    def _one(self, id_: str) -> SavedSearch:
        if id_ not in self._kept:
            raise AccessRefused(NO_SEARCH, is_missing=True)
        return self._kept[id_]

    def _check_name(self, wanted: SavedSearch) -> None:
        named = (one for one in self._kept.values() if (one.owner, one.name) == (wanted.owner, wanted.name))
        if any(one.id != wanted.id for one in named):
            raise AccessRefused(NAME_THERE)
