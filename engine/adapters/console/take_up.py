"""From a row in a table to messages that go on: what a reload would do, what would then be released, and both at once.

The row is in the site's file, which is a change like any other: what else the files say is taken up with it, and is
shown first.
"""

import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Any, Final

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.missed import Looked, look
from engine.adapters.api.models import ChannelPath, Plan, PlanBody, RunKey, Search, Sentence, What
from engine.adapters.api.on_engine import reload_now, reload_plan
from engine.adapters.api.on_orders import planned_of
from engine.adapters.api.problems import not_allowed
from engine.adapters.console.code_tables import tables_on_disk
from engine.adapters.console.planning import carried_out
from engine.adapters.console.rendering import page, see_other
from engine.config.site import CHANNELS
from engine.ports.reload import ReloadReport

LONG_S: Final = 75.0
MOST_AT_ONCE: Final = 10_000
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class TakeUpForm(ApiModel):
    """`plan`: of what is released, '' where nothing is; `files`: of what the reload would do."""

    plan: Digest
    files: Digest
    key: RunKey
    reason: Sentence = ""


@dataclass(slots=True, frozen=True)
class TakeUp:
    """`ready`: messages for all of whose codes the files have a row now. `waits`: those for which they have not."""

    reload: ReloadReport
    body: PlanBody | None
    plan: Plan | None
    waits: int
    unread: dict[str, int]
    is_cut: bool

    @property
    def needs_reload(self) -> bool:
        """Whether the files say anything that the engine does not run with."""
        return bool(self.reload.channels or self.reload.settings)

    @property
    def is_refused(self) -> bool:
        """The files have errors, or another reload is under way."""
        return self.reload.outcome in ("rejected", "busy")

    @property
    def files(self) -> str:
        """A digest of what the reload would change; counts of connections and of what waits change all the time."""
        report = self.reload
        changes = [(one.channel, one.change, one.what) for one in report.channels]
        told = repr((report.outcome, changes, report.settings, report.needs_restart))
        return sha256(told.encode()).hexdigest()

    @property
    def digest(self) -> str:
        return self.plan.plan if self.plan is not None else sha256(b"nothing").hexdigest()


async def _take_up(call: Call) -> TakeUp:
    channel = call.the_path(ChannelPath).channel
    report = await reload_plan(call)
    looked, ready = await call.search(_ready, call, channel)
    body = plan = None
    if ready:
        body = PlanBody(action="release", what=What(seqs=ready[:MOST_AT_ONCE], search=Search(state=["held"])))
        plan = await planned_of(call, body)
    misses = looked.misses
    unread = {why: len(seqs) for why, seqs in misses.unread.items()}
    return TakeUp(report, body, plan, len(misses.waits_for) - len(ready), unread, looked.is_cut)


def _ready(call: Call, channel: str) -> tuple[Looked, list[int]]:
    looked = look(call.api.queries, (channel,))
    tables = tables_on_disk(call.api.folder, sorted({(one.channel, one.table) for one in looked.misses.of}))
    return looked, looked.misses.answered(tables)


async def show(call: Call) -> Response:
    return _page(call, await _take_up(call))


def _page(call: Call, found: TakeUp, **more: Any) -> Response:
    channel = call.the_path(ChannelPath).channel
    return page(
        call,
        "take_up.html",
        title=f"Reload and release: {channel}",
        help="console#take-up",
        found=found,
        **_seen(call, found.reload),
        plan=found.plan,
        channel=channel,
        may_reload=call.who.may("engineer"),
        key=secrets.token_hex(8),
        **({"has_changed": False} | more),
    )


def _seen(call: Call, report: ReloadReport) -> dict[str, Any]:
    """The report as far as its channels may be seen, and how many changes and errors are of others."""
    if call.who.may("see"):
        return {"reload": report, "others": 0, "other_errors": 0}
    channels = tuple(one for one in report.channels if call.who.may("see", one.channel))
    errors = tuple(one for one in report.errors if call.who.may("see", _channel_of(one.file)))
    # What the whole site's settings are is for those who have a role for the site; so is what the engine says of all.
    seen = replace(report, channels=channels, errors=errors, settings=(), needs_restart=(), notes=())
    if report.outcome == "rejected" and not report.errors:
        seen = replace(seen, sentence="nothing can be taken up: an analyst of the site sees why")
    others = len(report.channels) - len(channels) + len(report.settings)
    return {"reload": seen, "others": others, "other_errors": len(report.errors) - len(errors)}


def _channel_of(file: str) -> str:
    """By a finding's name of the file; of one that no channel has, a name that no channel has."""
    parts = file.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == CHANNELS else ""


async def confirm(call: Call) -> Response:
    """The reload, where one is needed, then the release, each only as it was shown."""
    form, channel = call.the_body(TakeUpForm), call.the_path(ChannelPath).channel
    if call.api.runs.of(call.who.name, form.key, form.plan) is not None:
        return see_other(call, "/held", "It is done, or under way: once.")  # the second click on one button
    found = await _take_up(call)
    if (found.digest, found.files) != (form.plan, form.files) or found.is_refused:
        return _page(call, found, has_changed=True)
    said = ""
    if found.needs_reload:
        if not call.who.may("engineer"):
            raise not_allowed("a reload takes an analyst of the site")
        report = await reload_now(call, form.reason)
        if report.outcome != "taken":
            return see_other(call, f"/take-up/{channel}", f"Nothing was released. {report.sentence}", "bad")
        said = "The engine has taken up the site's files. "
    if found.body is None:
        return see_other(call, "/held", f"{said}Nothing was waiting for it.".strip())
    released = await carried_out(call, found.body, form.plan, form.reason, form.key)
    if released is None:
        return see_other(
            call, f"/take-up/{channel}", f"{said}What was to be released has changed, and was left alone.", "warn"
        )
    return see_other(call, "/held", said + released)


PAGES: Final = (
    Page(
        "GET",
        "/take-up/{channel}",
        "operate",
        "channel",
        "What a reload would do, and what would be released by it",
        show,
        "tables",
        path_model=ChannelPath,
        timeout_s=LONG_S,
    ),
    Page(
        "POST",
        "/take-up/{channel}",
        "operate",
        "channel",
        "Reload, and release what waited for it",
        confirm,
        "tables",
        path_model=ChannelPath,
        body=TakeUpForm,
        record="reload release",
        timeout_s=4 * LONG_S,
    ),
)
