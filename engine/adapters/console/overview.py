"""What needs a person first, then every channel with its numbers."""

from typing import Final

from starlette.responses import Response

from engine.adapters.admin_app import STATUS_TIMEOUT_S
from engine.adapters.api.entries import Call, Page
from engine.adapters.console.rendering import page


async def overview(call: Call) -> Response:
    found = await call.api.calls.ask(call.api.control.status(), STATUS_TIMEOUT_S)
    channels = [one for one in found if call.who.may("see", one.channel)]
    return page(call, "overview.html", title="Overview", channels=channels)


PAGES: Final = (
    Page("GET", "/", "self", "site", "What needs a person, and every channel", overview, "overview", nav="Overview"),
)
