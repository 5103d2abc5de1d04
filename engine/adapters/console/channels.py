"""The channels: how each stands, and of one its files with what is wrong in them, what differs from what runs, its
cases, and the ways of its messages.

Nothing here writes a channel's file: what a channel does is said by its files, which people keep in git.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from markupsafe import Markup
from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.admin_app import STATUS_TIMEOUT_S
from engine.adapters.api.case_results import CasesRun
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import ChannelPath
from engine.adapters.api.problems import not_there
from engine.adapters.console.bench_calls import asked, bench_of, look_at
from engine.adapters.console.channel_files import (
    MOST_CASES,
    Looked,
    case_files,
    case_names,
    differences,
    digest_of,
    elsewhere,
    in_words,
    is_as_it_runs,
    names_on_disk,
    place_of,
    texts,
)
from engine.adapters.console.rendering import page, see_other
from engine.config.graph import graph_of
from engine.config.graph_svg import svg
from engine.ports.bench import CaseTried
from engine.ports.control import ChannelStatus

RUN_S: Final = 40.0
"""So long one run of a channel's cases goes on; the others are run by the next."""

View = Literal["file", "files", "difference", "cases", "ways"]
VIEWS: Final[dict[View, str]] = {
    "file": "channel.yaml",
    "files": "Other files",
    "difference": "Difference",
    "cases": "Cases",
    "ways": "Ways",
}


@dataclass(slots=True, frozen=True)
class Row:
    """One channel of the list. `kind` is the colour of its state; `hash`: of the files that it runs with."""

    name: str
    state: str
    kind: str
    why: str
    listening: str
    received: int
    hash: str
    differs: str
    cases: int
    result: str
    result_kind: str


class ViewQuery(ApiModel):
    view: View = "file"


class CaseForm(ApiModel):
    """`case` empty: all of them."""

    case: Annotated[str, StringConstraints(max_length=120)] = ""


async def channels(call: Call) -> Response:
    """Those that run and those that are on disk."""
    status = await call.api.calls.ask(call.api.control.status(), STATUS_TIMEOUT_S)
    rows = await asyncio.to_thread(_rows, call, {str(one.channel): one for one in status})
    return page(call, "channels.html", title="Channels", rows=rows, may_plan=call.who.may("engineer"))


def _rows(call: Call, status: dict[str, ChannelStatus]) -> list[Row]:
    site = call.api.site()
    running = {str(one.name): one for one in site.channels}
    there = names_on_disk(site.folder)
    found = []
    for name in sorted({*running, *there}):
        if not call.who.may("see", name):
            continue
        loaded, now = running.get(name), status.get(name)
        state, kind, why = state_of(now, is_on_disk=name in there)
        place = place_of(site.folder, name)
        differs = ""
        if loaded is None:
            differs = "new"
        elif place is None or name not in there:
            differs = "removed"
        elif not is_as_it_runs(site.folder, loaded):
            differs = "changed"
        cases = len(case_names(place)) if place is not None else 0
        result, result_kind = _result(call.api.cases.of(name))
        found.append(
            Row(
                name,
                state,
                kind,
                why,
                now.listening if now is not None else "",
                now.received if now is not None else 0,
                digest_of(loaded.files).hex()[:10] if loaded is not None else "",
                differs,
                cases,
                result if cases else "",
                result_kind,
            )
        )
    return found


def state_of(now: ChannelStatus | None, *, is_on_disk: bool) -> tuple[str, str, str]:
    """The state in a word, its colour, and why it is so."""
    if now is None:
        return ("not taken up", "info", "on disk only: a reload takes it up") if is_on_disk else ("gone", "quiet", "")
    if now.intake_paused_by:
        return "paused", "warn", now.intake_paused_by
    if not now.listening:
        return "not listening", "bad", "its address could not be opened"
    return "listening", "ok", ""


def _result(run: CasesRun | None) -> tuple[str, str]:
    if run is None:
        return "not run", "quiet"
    failed = len(run.failed)
    if failed:
        return f"{failed} of {len(run.results)} failed", "bad"
    return f"{len(run.results)} good", "ok"


async def channel(call: Call) -> Response:
    """One of them. The text of files is for those who may read values: tables and cases may hold some."""
    name, view = call.the_path(ChannelPath).channel, call.the_query(ViewQuery).view
    looked = await look_at(call, name)
    status = await call.api.calls.ask(call.api.control.status(), STATUS_TIMEOUT_S)
    now = next((one for one in status if one.channel == name), None)
    may_read = call.who.may("read", name)
    shown = await asyncio.to_thread(texts, looked) if may_read else []
    context: dict[str, Any] = {
        "name": name,
        "looked": looked,
        "now": now,
        "state": state_of(now, is_on_disk=looked.is_on_disk),
        "view": view,
        "views": VIEWS,
        "may_read": may_read,
        "may_engineer": call.who.may("engineer", name),
        "may_plan": call.who.may("engineer"),
        "hash": digest_of(looked.running.files).hex()[:10] if looked.running is not None else "",
        "differs": looked.running is None or not looked.is_on_disk or not await _is_same(call, looked),
        "counts": _counts(looked),
        "texts": shown,
        "elsewhere": elsewhere(looked, shown) if may_read else looked.findings,
        "diff": [],
        "words": [],
        "cases": [],
        "run": None,
        "is_of_now": False,
        "graph": None,
    }
    if view == "difference" and may_read:
        context["diff"] = await call.search(differences, looked)
        settings = call.api.site().site
        if settings is not None:
            context["words"] = await call.search(in_words, looked, settings)
    elif view == "cases":
        run = call.api.cases.of(name)
        context["run"] = run
        context["is_of_now"] = run is not None and run.digest == looked.digest
        context["cases"] = _cases(await asyncio.to_thread(case_names, looked.folder), run)
    elif view == "ways" and (drawn := looked.running or looked.loaded) is not None:
        context["graph"] = Markup(svg(graph_of([drawn]), embedded=True))  # noqa: S704 - drawn here, its names escaped
    return page(call, "channel.html", title=name, help="console#channels", **context)


async def _is_same(call: Call, looked: Looked) -> bool:
    if looked.running is None:
        return False
    return await asyncio.to_thread(is_as_it_runs, call.api.site().folder, looked.running)


def _counts(looked: Looked) -> tuple[int, int]:
    errors = len(looked.errors)
    return errors, len(looked.findings) - errors


@dataclass(slots=True, frozen=True)
class CaseShown:
    """A case, and how it came out; None: it was not run."""

    name: str
    result: CaseTried | None


def _cases(names: Sequence[str], run: CasesRun | None) -> list[CaseShown]:
    results = run.results if run is not None else {}
    return [CaseShown(name, results.get(name)) for name in names]


async def run_cases(call: Call) -> Response:
    """All cases, or one, with the files as they are on disk; in processes of the bench, one after the other."""
    name, form = call.the_path(ChannelPath).channel, call.the_body(CaseForm)
    looked = await look_at(call, name)
    bench = bench_of(call)
    names = await asyncio.to_thread(case_names, looked.folder)
    if form.case:
        names = [one for one in names if one == form.case]
        if not names:
            raise not_there()
    before = call.api.cases.of(name)
    keeps = form.case and before is not None and before.digest == looked.digest
    results: dict[str, CaseTried] = dict(before.results) if keeps and before is not None else {}
    source, text = looked.source, looked.files.get("channel.yaml", b"")
    loop = asyncio.get_running_loop()
    end_s = loop.time() + RUN_S
    run = 0
    for case in names[:MOST_CASES]:
        if loop.time() > end_s:
            break
        files = await asyncio.to_thread(case_files, looked.folder, case)
        if files is None:
            results[case] = CaseTried(ended="it has more files, or larger ones, than are run here: segmill test")
        else:
            results[case] = await asked(call, bench.cased(source, text, files))
        run += 1
    made = CasesRun(call.api.clock.now_us(), looked.digest, results, len(names) - run)
    call.api.cases.put(name, made)
    said, kind = _result(made)
    sentence = f"{run} {'case was' if run == 1 else 'cases were'} run; in all {said}"
    return see_other(call, f"/channels/{name}?view=cases", sentence, "ok" if kind == "ok" else "warn")


PAGES: Final = (
    Page("GET", "/channels", "see", "channel", "The channels and their state", channels, "channels", nav="Channels"),
    Page(
        "GET",
        "/channels/{channel}",
        "see",
        "channel",
        "One channel: its files, what is wrong in them, and what differs from what runs",
        channel,
        "channels",
        path_model=ChannelPath,
        query=ViewQuery,
    ),
    Page(
        "POST",
        "/channels/{channel}/cases",
        "engineer",
        "channel",
        "Run the cases of a channel",
        run_cases,
        "channels",
        path_model=ChannelPath,
        body=CaseForm,
        timeout_s=75.0,
    ),
)
