"""Saved searches: a part of the table in `routes`."""

from typing import Final

from engine.adapters.api import saved_searches as s
from engine.adapters.api.entries import BASE, Entry
from engine.adapters.api.models import Done

SEARCHES: Final[tuple[Entry, ...]] = (
    Entry(
        "GET",
        BASE + "/saved-searches",
        "see",
        "channel",
        "One's saved searches, and those for all",
        s.searches,
        "messages",
        answer=s.SavedSearches,
    ),
    Entry(
        "POST",
        BASE + "/saved-searches",
        "see",
        "channel",
        "Save a search by a name",
        s.save,
        "messages",
        answer=s.SavedSearchShown,
        body=s.SavedSearchBody,
        record=s.SAVED,
    ),
    Entry(
        "GET",
        BASE + "/saved-searches/{search}",
        "see",
        "channel",
        "A saved search with its words",
        s.search,
        "messages",
        answer=s.SavedSearchShown,
        path_model=s.SavedSearchPath,
        record="read",
    ),
    Entry(
        "PUT",
        BASE + "/saved-searches/{search}",
        "see",
        "channel",
        "Give a saved search another name",
        s.change,
        "messages",
        answer=Done,
        path_model=s.SavedSearchPath,
        body=s.SavedSearchChange,
        record=s.CHANGED,
    ),
    Entry(
        "DELETE",
        BASE + "/saved-searches/{search}",
        "see",
        "channel",
        "Drop a saved search",
        s.drop,
        "messages",
        answer=Done,
        path_model=s.SavedSearchPath,
        record=s.DROPPED,
    ),
)
