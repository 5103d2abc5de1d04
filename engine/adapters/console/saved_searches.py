"""Saved searches: chips on Messages, saved from there, opened by an address without a value, renamed and dropped."""

from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from engine.adapters.api.entries import Call, Page
from engine.adapters.api.problems import not_allowed
from engine.adapters.api.saved_searches import (
    CHANGED,
    DROPPED,
    SAVED,
    SavedName,
    SavedSearchChange,
    SavedSearchPath,
    change_search,
    drop_search,
    looks_at_values,
    may_change,
    may_share,
    save_search,
    search_seen,
    searches_seen,
)
from engine.adapters.console.messages import Searched, unread
from engine.adapters.console.rendering import page, see_other
from engine.adapters.console.searching import asked_in_address, typed
from engine.config.search import SearchError, from_address
from engine.ports.access import AccessRefused
from engine.ports.saved_search import SavedSearch

LIST: Final = "/messages/searches"


class SaveForm(Searched):
    """The search as its address has it: what quotes a value comes by its word."""

    name: SavedName
    shared: bool = False


@dataclass(slots=True, frozen=True)
class SavedRow:
    """One as it is listed. `text` '' where it quotes a value."""

    search: SavedSearch
    text: str
    may_change: bool
    is_own: bool


async def saved(call: Call) -> Response:
    return await _list(call, "")


async def _list(call: Call, wrong: str) -> Response:
    rows = [
        SavedRow(
            one,
            "" if looks_at_values(call, one.text) else one.text,
            may_change(call, one),
            one.owner == call.who.name,
        )
        for one in await searches_seen(call)
    ]
    return page(
        call,
        "saved_searches.html",
        title="Saved searches",
        status=409 if wrong else 200,
        help="console#saved-searches",
        rows=rows,
        wrong=wrong,
        may_share=may_share(call),
    )


async def save(call: Call) -> Response:
    form = call.the_body(SaveForm)
    try:
        asked = asked_in_address(call, form.given(), form.search)
    except SearchError as error:  # a key that is declared no more, or an address that was written by hand
        return await unread(call, from_address(form.given()), error)
    try:
        await save_search(call, form.name, asked.text, shared=form.shared)
    except AccessRefused as refused:
        return see_other(call, asked.link(), f"Nothing was saved: {refused.sentence}.", "bad")
    return see_other(call, asked.link(), f"Saved as {form.name}.")


async def open_saved(call: Call) -> Response:
    """On to the list, by an address without a value; that such a search is done is on record there."""
    one = await search_seen(call, call.the_path(SavedSearchPath).search)
    if looks_at_values(call, one.text) and not call.who.may_somewhere("read"):
        raise not_allowed("it looks at values")  # who saved it might, then
    try:
        return see_other(call, typed(call, one.text, None).link())
    except SearchError as error:  # a key that was declared when it was saved
        return await unread(call, one.text, error)


async def change(call: Call) -> Response:
    form = call.the_body(SavedSearchChange)
    try:
        await change_search(call, call.the_path(SavedSearchPath).search, form.name, shared=form.shared)
    except AccessRefused as refused:
        return await _list(call, refused.sentence)
    return see_other(call, LIST, f"It is {form.name} now, {'for all' if form.shared else 'for you'}.")


async def drop(call: Call) -> Response:
    dropped = await drop_search(call, call.the_path(SavedSearchPath).search)
    return see_other(call, LIST, f"{dropped.name} is dropped.")


PAGES: Final = (
    Page("GET", LIST, "see", "channel", "One's saved searches, and those for all", saved, "searches"),
    Page("POST", LIST, "see", "channel", "Save a search by a name", save, "searches", body=SaveForm, record=SAVED),
    Page(
        "GET",
        LIST + "/{search}",
        "see",
        "channel",
        "Open a saved search",
        open_saved,
        "searches",
        path_model=SavedSearchPath,
    ),
    Page(
        "POST",
        LIST + "/{search}/name",
        "see",
        "channel",
        "Give a saved search another name",
        change,
        "searches",
        path_model=SavedSearchPath,
        body=SavedSearchChange,
        record=CHANGED,
    ),
    Page(
        "POST",
        LIST + "/{search}/drop",
        "see",
        "channel",
        "Drop a saved search",
        drop,
        "searches",
        path_model=SavedSearchPath,
        record=DROPPED,
    ),
)
