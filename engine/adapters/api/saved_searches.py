"""Searches by a name: whose they are, who may have one for all, and what of them is shown (ADR 56).

A search that quotes a value is its owner's alone, takes the right to read, and its words are in no list. What is done
here is on record with the words.
"""

import asyncio
import secrets
from datetime import UTC
from typing import Annotated, Final

from pydantic import StringConstraints

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call
from engine.adapters.api.models import LINE, Done, time_of
from engine.adapters.api.problems import Problem, not_allowed, not_there, not_understood
from engine.config.search import MOST_CHARS, SearchError, in_address, parse_search
from engine.ports.access import AccessEdit
from engine.ports.clock import from_us
from engine.ports.saved_search import ChangeSearch, DropSearch, SavedSearch, SaveSearch

ID_BYTES: Final = 9
SAVED: Final = "search-save"
CHANGED: Final = "search-change"
DROPPED: Final = "search-drop"

_NOT_OF_A_LINE: Final = LINE.removeprefix("^[^").removesuffix("]*$")
SAID: Final = rf"^[^{_NOT_OF_A_LINE}]*[^{_NOT_OF_A_LINE}\s][^{_NOT_OF_A_LINE}]*$"
"""A line that says something."""

SavedId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{12}$")]
SavedName = Annotated[str, StringConstraints(min_length=1, max_length=60, pattern=SAID)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARS, pattern=SAID)]


class SavedSearchPath(ApiModel):
    search: SavedId


class SavedSearchBody(ApiModel):
    """`text`: in the language of searches. `shared`: for all, which takes an analyst of the site."""

    name: SavedName
    text: Words
    shared: bool = False


class SavedSearchChange(ApiModel):
    name: SavedName
    shared: bool = False


class SavedSearchShown(ApiModel):
    """`text` is null in lists where it looks at values (`has_values`)."""

    id: str
    name: str
    owner: str
    shared: bool
    has_values: bool
    text: str | None
    changed_at: str


class SavedSearches(ApiModel):
    searches: list[SavedSearchShown]


def looks_at_values(call: Call, text: str) -> bool:
    """Whether it quotes a value of messages; one that cannot be read (any more) may."""
    names = call.api.site().keys.names
    try:
        parse_search(text, names, from_us(call.api.clock.now_us()).astimezone(UTC))
        return in_address(text, names) is None
    except SearchError:
        return True


async def searches_seen(call: Call) -> list[SavedSearch]:
    """One's own, and those for all that are of a channel that one may see."""
    found = await asyncio.to_thread(call.api.queries.saved_searches, call.who.name)
    return [one for one in found if _may_see(call, one)]


async def search_seen(call: Call, id_: str) -> SavedSearch:
    """Raises Problem for one that is not there, or not for whoever asks."""
    found = await asyncio.to_thread(call.api.queries.saved_search, id_)
    if found is None or not _may_see(call, found):
        raise not_there()
    return found


def _may_see(call: Call, search: SavedSearch) -> bool:
    """What channels there are beyond one's own is nobody's business, and a search of them would find nothing."""
    if search.owner == call.who.name:
        return True
    if not search.is_shared or call.who.may("see"):
        return search.is_shared
    now = from_us(call.api.clock.now_us()).astimezone(UTC)
    try:
        channel = parse_search(search.text, call.api.site().keys.names, now).channel
    except SearchError:  # nobody can say what it is of
        return False
    return channel is None or call.who.may("see", channel)


def may_share(call: Call) -> bool:
    """An analyst of the site."""
    return call.who.may("engineer")


def may_change(call: Call, search: SavedSearch) -> bool:
    """Its owner, unless it is for all: then whoever may have one for all."""
    return may_share(call) if search.is_shared else search.owner == call.who.name


async def save_search(call: Call, name: str, text: str, *, shared: bool) -> SavedSearch:
    """Raises Problem, and AccessRefused where there is one of that name."""
    names = call.api.site().keys.names
    if not text.strip():
        raise not_understood("text: there is nothing to look for")
    try:
        parse_search(text, names, from_us(call.api.clock.now_us()).astimezone(UTC))
    except SearchError as error:
        raise not_understood(f"text: it cannot be read at column {error.column + 1}") from None
    has_values = looks_at_values(call, text)
    if has_values and not call.who.may_somewhere("read"):
        raise not_allowed("it looks at values")
    _check_shared(call, shared=shared, has_values=has_values)
    now_us = call.api.clock.now_us()
    saved = SavedSearch(secrets.token_urlsafe(ID_BYTES), call.who.name, name.strip(), shared, text, now_us, now_us)
    await _carry_out(call, SAVED, saved, SaveSearch(saved))
    return saved


async def change_search(call: Call, id_: str, name: str, *, shared: bool) -> None:
    """Raises as `save_search`."""
    found, name = await _to_change(call, id_), name.strip()
    if shared != found.is_shared and found.owner != call.who.name:
        raise not_allowed("it is somebody else's: whose it is does not change")
    _check_shared(call, shared=shared, has_values=looks_at_values(call, found.text))
    await _carry_out(call, CHANGED, found, ChangeSearch(id_, name, shared), f"{name}: ")


async def drop_search(call: Call, id_: str) -> SavedSearch:
    """Raises Problem."""
    found = await _to_change(call, id_)
    await _carry_out(call, DROPPED, found, DropSearch(id_))
    return found


async def _to_change(call: Call, id_: str) -> SavedSearch:
    found = await search_seen(call, id_)
    if not may_change(call, found):
        raise not_allowed("it is for all: an analyst of the site changes it")
    return found


def _check_shared(call: Call, *, shared: bool, has_values: bool) -> None:
    if not shared:
        return
    if not may_share(call):
        raise not_allowed("a search for all is an analyst's of the site")
    if has_values:
        raise Problem(409, "E588", "keep it for yourself, or take the value off")


async def _carry_out(call: Call, action: str, search: SavedSearch, edit: AccessEdit, before: str = "") -> None:
    scope = f"{before}{search.name}: {search.text}"[:4000]
    record = call.api.control.put_on_record(call.by(scope=scope), action, about=[f"search {search.id}"], edits=[edit])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)


# -- the API's handlers -----------------------------------------------------------------------------------


def _shown(call: Call, one: SavedSearch, *, with_values: bool = False) -> SavedSearchShown:
    has_values = looks_at_values(call, one.text)
    return SavedSearchShown(
        id=one.id,
        name=one.name,
        owner=one.owner,
        shared=one.is_shared,
        has_values=has_values,
        text=None if has_values and not with_values else one.text,
        changed_at=time_of(one.changed_us),
    )


async def searches(call: Call) -> SavedSearches:
    """Without words that quote a value."""
    return SavedSearches(searches=[_shown(call, one) for one in await searches_seen(call)])


async def search(call: Call) -> SavedSearchShown:
    """With its words; where they quote a value that is on record first."""
    one = await search_seen(call, call.the_path(SavedSearchPath).search)
    if looks_at_values(call, one.text):
        if not call.who.may_somewhere("read"):
            raise not_allowed("it looks at values")
        record = call.api.control.put_on_record(call.by(), "read", about=[f"search {one.id}"])
        await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    return _shown(call, one, with_values=True)


async def save(call: Call) -> SavedSearchShown:
    body = call.the_body(SavedSearchBody)
    return _shown(call, await save_search(call, body.name, body.text, shared=body.shared))


async def change(call: Call) -> Done:
    body = call.the_body(SavedSearchChange)
    await change_search(call, call.the_path(SavedSearchPath).search, body.name, shared=body.shared)
    return Done()


async def drop(call: Call) -> Done:
    await drop_search(call, call.the_path(SavedSearchPath).search)
    return Done()
