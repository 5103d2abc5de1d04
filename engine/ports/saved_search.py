"""Searches that people keep by a name: their own, or for all who use the console.

The words may quote a value of a message, as those in the audit may: they stay in the store, and whoever shows them has
it put on record. What is for all has no such words (`is_shared`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

MOST_OF_OWNER: Final = 100
NAME_THERE: Final = "there is a search of that name already"
TOO_MANY: Final = f"there are {MOST_OF_OWNER} searches already: drop one first"
NO_SEARCH: Final = "there is no such search"


@dataclass(slots=True, frozen=True)
class SavedSearch:
    """`owner`: who saved it, a user or `token NAME`; names are unique among theirs. `text`: in the language of
    searches."""

    id: str
    owner: str
    name: str
    is_shared: bool
    text: str = field(repr=False)
    created_us: int
    changed_us: int


@dataclass(slots=True, frozen=True)
class SaveSearch:
    """AccessRefused where the owner has one of that name, or as many as may be."""

    search: SavedSearch


@dataclass(slots=True, frozen=True)
class ChangeSearch:
    """Another name, and for whom it is. AccessRefused where there is none, or the owner has another of that name."""

    id: str
    name: str
    is_shared: bool


@dataclass(slots=True, frozen=True)
class DropSearch:
    """AccessRefused where there is none."""

    id: str


SearchEdit = SaveSearch | ChangeSearch | DropSearch


class SavedSearchQueries(Protocol):
    """The reader's side."""

    def saved_searches(self, owner: str) -> Sequence[SavedSearch]:
        """Those of one owner, and those that are for all, by name."""
        ...

    def saved_search(self, id_: str) -> SavedSearch | None: ...
