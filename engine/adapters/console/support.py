"""A support bundle from the browser: made beside the engine, with its progress, and taken by admins of the site."""

from typing import Final

from starlette.responses import Response

from engine.adapters.api.entries import Call, Page
from engine.adapters.api.support import MADE, ZIP, start_bundle, state_now, take_bundle
from engine.adapters.api.support_jobs import KEPT_S
from engine.adapters.console.rendering import page, see_other

HERE: Final = "/system/support"


async def show(call: Call) -> Response:
    """What is made, so far; or what was."""
    now = state_now(call)
    return page(
        call,
        "support.html",
        title="Support bundle",
        help="console#support-bundle",
        now=now,
        is_possible=call.api.support.is_possible,
        kept_minutes=int(KEPT_S // 60),
        at_us=0 if now.bundle is None else int(now.bundle.at.timestamp() * 1_000_000),
    )


async def make(call: Call) -> Response:
    await start_bundle(call)
    return see_other(call, HERE)


PAGES: Final = (
    Page("GET", HERE, "administer", "site", "A support bundle, and how far it is", show, "support"),
    Page("POST", HERE, "administer", "site", "Make a support bundle", make, "support", record=MADE),
    Page(
        "POST",
        HERE + "/file",
        "administer",
        "site",
        "Take the support bundle",
        take_bundle,
        "support",
        record="export",
        media=ZIP,
    ),
)
