"""Every page of the console: with the API's entries they are all that the server serves."""

from typing import Final

from engine.adapters.api.entries import Page
from engine.adapters.console import (
    audit,
    channels,
    docs,
    held,
    live,
    map,
    message,
    message_edit,
    message_orders,
    messages,
    overview,
    queues,
    reload,
    sign_in,
    static_files,
    system,
    tables,
    take_up,
    try_case,
    try_it,
    users,
    worklist,
)

PAGES: Final[tuple[Page, ...]] = (
    *static_files.PAGES,
    *sign_in.PAGES,
    *overview.PAGES,
    *live.PAGES,
    *map.PAGES,
    *system.PAGES,
    *docs.PAGES,
    *messages.PAGES,
    *message_orders.PAGES,
    *message_edit.PAGES,
    *message.PAGES,
    *queues.PAGES,
    *held.PAGES,
    *tables.PAGES,
    *take_up.PAGES,
    *worklist.PAGES,
    *channels.PAGES,
    *reload.PAGES,
    *try_it.PAGES,
    *try_case.PAGES,
    *audit.PAGES,
    *users.PAGES,
)
