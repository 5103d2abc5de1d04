"""What becomes of one query: the items it finds among those that are there, and which key took the others away.

The server for scanners and the page on which people try a query ask here, so that both come to the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Protocol, TypeVar

from engine.worklist.attributes import SPS
from engine.worklist.item import Attributes, Item
from engine.worklist.matching import Query, find

MOST_CANDIDATES: Final = 20_000
MOST_EXPLAINED: Final = 200
"""Of a query without an answer, so many items near it are looked at to say which key took them away."""
_STATION: Final = "ScheduledStationAETitle"
_START_DATE: Final = "ScheduledProcedureStepStartDate"


class Kept(Protocol):
    """Something that has an item."""

    @property
    def item(self) -> Item: ...


K = TypeVar("K", bound=Kept)


@dataclass(slots=True, frozen=True)
class Asked(Generic[K]):
    """`kept`: those that match, in the order of the answers. `without`: how many there would be without each key.

    `is_full`: there are more that might match than are looked at for one query.
    """

    kept: Sequence[K]
    without: Mapping[str, int]
    is_full: bool


def ask(candidates: Callable[[Query, int], Sequence[K]], query: Query, *, only_of: str | None = None) -> Asked[K]:
    """`candidates`: of a view or reader of the worklist. `only_of`: a scanner that sees its own steps alone."""
    # What the caller never sees is not read either: else it could fill the room for what it may see.
    readable = query if only_of is None else _own(query, only_of)
    there = candidates(readable, MOST_CANDIDATES)
    by_key = {one.item.key: one for one in there}
    hidden = None if only_of is None else _not_of(only_of)
    found = find(query, (one.item for one in there), hidden=hidden)
    without = found.without
    if not found.items and query.conditions:
        # What the store was asked for left out what one key alone takes away: that is looked at now.
        near = candidates(_by_date_alone(query, only_of or ""), MOST_EXPLAINED)
        without = find(query, (one.item for one in near), hidden=hidden).without
    return Asked([by_key[item.key] for item in found.items], dict(without), len(there) >= MOST_CANDIDATES)


def _by_date_alone(query: Query, title: str) -> Query:
    """The query as far as it says when: what a console asks for always, and never is wrong about. `title`: whose."""
    dates = {keyword: values for keyword, values in _step_of(query).items() if keyword == _START_DATE}
    return replace(query, requested={SPS: ({**dates, **({_STATION: (title,)} if title else {})},)})


def _own(query: Query, title: str) -> Query:
    """The query for the steps of one station, whatever it asked for."""
    return replace(query, requested={**query.requested, SPS: ({**_step_of(query), _STATION: (title,)},)})


def _step_of(query: Query) -> Attributes:
    return next((part for part in query.requested.get(SPS, ()) if isinstance(part, Mapping)), {})


def _not_of(title: str) -> Callable[[Item], bool]:
    return lambda item: title not in item.stations
