"""Every page of the console: with the API's entries they are all that the server serves."""

from typing import Final

from engine.adapters.api.entries import Page
from engine.adapters.console import (
    audit,
    channels,
    docs,
    live,
    map,
    overview,
    reload,
    sign_in,
    static_files,
    system,
    try_case,
    try_it,
    users,
)

PAGES: Final[tuple[Page, ...]] = (
    *static_files.PAGES,
    *sign_in.PAGES,
    *overview.PAGES,
    *live.PAGES,
    *map.PAGES,
    *system.PAGES,
    *docs.PAGES,
    *channels.PAGES,
    *reload.PAGES,
    *try_it.PAGES,
    *try_case.PAGES,
    *audit.PAGES,
    *users.PAGES,
)
