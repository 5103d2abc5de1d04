"""Every page of the console: with the API's entries they are all that the server serves."""

from typing import Final

from engine.adapters.api.entries import Page
from engine.adapters.console import docs, live, map, overview, sign_in, sign_in_oidc, static_files, system

PAGES: Final[tuple[Page, ...]] = (
    *static_files.PAGES,
    *sign_in.PAGES,
    *sign_in_oidc.PAGES,
    *overview.PAGES,
    *live.PAGES,
    *map.PAGES,
    *system.PAGES,
    *docs.PAGES,
)
