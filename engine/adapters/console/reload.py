"""Plan and reload: what the files on disk would change in what runs, and having it done, with a reason."""

import asyncio
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.admin_app import ACTION_TIMEOUT_S, RELOAD_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import Sentence
from engine.adapters.console.channel_files import digest_of as digest_of_files
from engine.adapters.console.channel_files import place_of, read_files
from engine.adapters.console.rendering import notice, page, see_other
from engine.ports.reload import FileError, ReloadReport

LONG_S: Final = 130.0
GONE: Final = "The files, or what waits, changed since the plan was shown. Look at the new plan, then confirm again."


class ReloadForm(ApiModel):
    """`plan`: the digest of the plan that was looked at."""

    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    reason: Sentence


@dataclass(slots=True, frozen=True)
class Refusal:
    """What is wrong in a file; `link`: to its line, where a page shows that."""

    error: FileError
    link: str


def digest_of(report: ReloadReport, site: Path) -> str:
    """Of what the plan would change, and of the files that say so; how many wait for it meanwhile is no other plan."""
    changes = [(one.channel, one.change, one.what, _files(site, one.channel)) for one in report.channels]
    told = [changes, report.settings, report.needs_restart, [asdict(one) for one in report.errors]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _files(site: Path, channel: str) -> str:
    place = place_of(site, channel)
    return digest_of_files(read_files(site, place, ())).hex() if place is not None else ""


async def _plan(call: Call) -> ReloadReport:
    return await call.api.calls.ask(call.api.control.plan(), RELOAD_TIMEOUT_S)


async def _digest(call: Call, report: ReloadReport) -> str:
    return await asyncio.to_thread(digest_of, report, call.api.folder)


def _shown(call: Call, report: ReloadReport, digest: str, reason: str = "", status: int = 200) -> Response:
    refusals = [Refusal(error, _link(error.file, error.line)) for error in report.errors]
    return page(
        call,
        "reload.html",
        title="Plan and reload",
        status=status,
        help="console#plan-and-reload",
        report=report,
        refusals=refusals,
        digest=digest,
        reason=reason,
    )


def _link(file: str, line: int) -> str:
    """To the page that shows a channel's file at that line; '' for others."""
    parts = file.split("/")
    if len(parts) < 3 or parts[0] != "channels":
        return ""
    path = "/".join(parts[2:])
    view = "" if path == "channel.yaml" else "?view=files"
    anchor = f"#L{line}" if path == "channel.yaml" else f"#{path}-L{line}"
    return f"/channels/{parts[1]}{view}{anchor if line else ''}"


async def show_plan(call: Call) -> Response:
    """Nothing is touched."""
    report = await _plan(call)
    return _shown(call, report, await _digest(call, report))


async def reload(call: Call) -> Response:
    """On record before it is done, as a crash may fall between the two. Refused whole where a file is bad."""
    form = call.the_body(ReloadForm)
    report = await _plan(call)
    digest = await _digest(call, report)
    if digest != form.plan:
        notice(call, GONE, "warn")
        return _shown(call, report, digest, form.reason, 409)
    if report.outcome == "rejected":
        return _shown(call, report, digest, form.reason, 409)
    by = call.by(form.reason)
    await call.api.calls.ask(call.api.control.put_on_record(by, "reload"), ACTION_TIMEOUT_S)
    done = await call.api.calls.ask(call.api.control.reload(), RELOAD_TIMEOUT_S)
    if done.outcome in ("rejected", "busy"):
        return _shown(call, done, digest, form.reason, 409)
    sentence = done.sentence[:1].upper() + done.sentence[1:]
    if done.pending:
        sentence += f". Still going on: {'; '.join(done.pending)}"
    return see_other(call, "/reload", sentence, "warn" if done.exit_code else "ok")


PAGES: Final = (
    Page(
        "GET",
        "/reload",
        "engineer",
        "site",
        "What a reload would do now",
        show_plan,
        "engine",
        timeout_s=LONG_S,
    ),
    Page(
        "POST",
        "/reload",
        "engineer",
        "site",
        "Take up the site's files, all of it or nothing",
        reload,
        "engine",
        body=ReloadForm,
        record="reload",
        timeout_s=LONG_S,
    ),
)
