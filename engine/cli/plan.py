"""`segmill plan`: what the files as they are now would change, before it is done."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.cli.command import json_option, subcommand
from engine.cli.exits import FINDINGS, GOOD, UNREACHABLE, Failure
from engine.cli.output import count, printable, say
from engine.cli.sites import Whereabouts, data_option, find_site, require_site, site_argument, whereabouts

if TYPE_CHECKING:
    from engine.config.changes import SiteState
    from engine.ports.store import StoreQueries


SHOWN: Final = 5
"""Failing cases of a channel that are named."""


@subcommand("plan", "segmill plan", "segmill plan my-site")
@site_argument
@data_option
@json_option("the plan")
def command(site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show what a change of files does, before it is done.

    Asks the running engine what `segmill reload` would do: which channels come, go or change, whose connections are
    closed, what becomes of deliveries that wait. Without an engine, the files are compared with the channels of the
    newest messages in the store. Nothing is touched. The cases of channels that come or change are run, and those that
    fail are named; it exits with 1 then, and with 78 for errors in the files.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.reloads import tell

    place = whereabouts(site, data, needs_store=False)
    folder = find_site(site) if data is None or site is not None else None
    try:
        report: dict[str, Any] = RunningEngine(place.data).plan()
    except Failure as failure:
        if failure.exit_code != UNREACHABLE or folder is None:
            raise
        if not as_json:
            say("No engine runs here: compared with the newest messages in the store.")
        report = _without_engine(folder, place)
    if folder is not None and not report["errors"]:
        report = _with_cases(report, folder)
    return tell(report, site=folder, as_json=as_json)


def _with_cases(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with the cases that fail of what comes or changes, as notes of the channels and by name."""
    from engine.cli.test import failing_cases

    names = [change["channel"] for change in report["channels"] if change["change"] != "removed"]
    failing = failing_cases(folder, names) if names else {}
    channels = []
    for change in report["channels"]:
        cases = failing.get(change["channel"], [])
        shown = ", ".join(printable(case) for case in cases[:SHOWN]) + (", ..." if len(cases) > SHOWN else "")
        told = [f"{count(len(cases), 'case')} would fail: {shown}; segmill test {change['channel']}"] if cases else []
        channels.append({**change, "notes": [*change["notes"], *told]})
    sentence, code = report["sentence"], report["exit_code"]
    if failing:
        sentence += f"; {count(sum(map(len, failing.values())), 'case')} would fail"
        code = FINDINGS if code == GOOD else code
    return {**report, "channels": channels, "failing_cases": failing, "sentence": sentence, "exit_code": code}


def _without_engine(folder: Path, place: Whereabouts) -> dict[str, Any]:
    from engine.cli.stores import open_queries
    from engine.config.changes import SiteState, compare, read_state
    from engine.planning import Facts, planned, planned_report

    after = read_state(require_site(folder))
    if not place.store.is_file():
        empty = SiteState(_site_of([], after), {})
        change = compare(empty, after)
        return asdict(planned_report(change, planned(change, empty, after, Facts(is_running=False))))
    with open_queries(place.store, place.keys) as queries:
        before = _as_it_ran(queries, after)
        change = compare(before, after)
        facts = Facts(queries.depths(), queries.counts(), {}, is_running=False)
        return asdict(planned_report(change, planned(change, before, after, facts)))


def _as_it_ran(queries: "StoreQueries", after: "SiteState") -> "SiteState":
    """The channels by which the newest messages were processed. Of certificates and segmill.yaml it knows nothing."""
    from engine.config.changes import SiteState
    from engine.config.site import load_version
    from engine.pipeline.registry import load_kinds

    kinds = load_kinds()
    wanted = {channel.name: channel for channel in after.site.channels}
    waiting = {depth.channel for depth in queries.depths() if depth.queued or depth.held}
    waiting |= {name for (name, state), count in queries.counts().items() if state in ("received", "held") and count}
    found = []
    for name in sorted({name for name, _ in queries.counts()} | waiting):
        newest = next(iter(queries.messages(channel=name)), None)
        files = queries.version_files(newest.version) if newest is not None else None
        if files is None or (name not in wanted and name not in waiting):
            continue
        new = wanted.get(name)
        if new is not None and new.files == files:
            found.append(new)
            continue
        loaded, _ = load_version(name, files, kinds)
        if loaded is not None:
            found.append(loaded)
    return SiteState(_site_of(found, after), after.outside)


def _site_of(channels: list[Any], after: "SiteState") -> Any:
    from dataclasses import replace

    return replace(after.site, channels=channels)
