"""`segmill test`: the cases of a site's channels, with a clock that stands still."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import count, emit, printable, say, styled
from engine.cli.own_code import OwnCodeEnded, deadline_of, guarded
from engine.cli.site_channels import compiled, loaded_channels, split_site
from engine.cli.sites import site_option

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel
    from engine.hl7.message import Message
    from engine.pipeline.cases import CaseOutcome

CASES: Final = "cases"
SHOWN: Final = 20
"""Differences of one case that are shown to people."""


@subcommand("test", "segmill test", "segmill test my-site adt --junit results.xml", "segmill test adt --update")
@click.argument("words", nargs=-1, metavar="[SITE] [CHANNEL]...")
@click.option("--update", is_flag=True, help="Write what came out as what must come out; review the diff.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a report for CI.")
@click.option("-v", "--verbose", is_flag=True, help="Name the cases that passed, too.")
@site_option
@json_option("one object a case")
def command(
    words: tuple[str, ...], update: bool, junit: Path | None, verbose: bool, site: Path | None, as_json: bool
) -> int:
    """Run the cases of a site's channels.

    A case is a folder channels/NAME/cases/CASE with in.hl7, and ack.hl7, out.DESTINATION.hl7 (or .json, .xml) and
    findings.txt for what must come of it. Prints what differs, field by field. For a new case, write in.hl7 and run
    with --update.
    """
    folder, names = split_site(words, site)
    loaded, channels = loaded_channels(folder, names)
    deadline_s = deadline_of(loaded)
    run = []
    for channel in channels:
        of_channel = [_finish(case, update=update) for case in _cases(channel, folder, deadline_s)]
        run += of_channel
        if not as_json:
            _print(channel.name, of_channel, verbose=verbose, updated=update)
    if as_json:
        for case in run:
            emit(_as_json(case))
    if junit is not None:
        _write_junit(junit, run)
    failed = sum(not case.is_good for case in run)
    say(f"{count(len(run), 'case')}, " + (f"{failed} failed" if failed else "all good" if run else "none was found"))
    return FINDINGS if failed or not run else 0


@dataclass(slots=True, frozen=True)
class Case:
    """One case that was run. `written` names the files that --update made or removed."""

    channel: str
    folder: Path
    outcome: "CaseOutcome"
    seconds: float
    written: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return self.outcome.is_good or bool(self.written)


def _cases(channel: "LoadedChannel", site: Path, deadline_s: float) -> Iterator[Case]:
    from engine.pipeline.cases import check_case
    from engine.pipeline.run import Result

    ready = compiled(channel, site)

    def run(message: "Message", now: datetime) -> Result:
        try:
            return guarded(lambda: ready.run(message, now), deadline_s)
        except OwnCodeEnded as ended:
            return Result("held", [], (ended.finding,))

    root = channel.folder / CASES
    for folder in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else ():
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        began = perf_counter()
        outcome = check_case(ready, files, run if ready.isolated else None)
        yield Case(channel.name, folder, outcome, perf_counter() - began)


def _finish(case: Case, *, update: bool) -> Case:
    """With `update`, make the case's files say what came out. A case without messages stays as it is."""
    if not update or case.outcome.is_good or not case.outcome.files:
        return case
    changed = []
    for name, content in case.outcome.files.items():
        path = case.folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
            changed.append(name)
    for name in case.outcome.stale:
        (case.folder / name).unlink()
        changed.append(name)
    return Case(case.channel, case.folder, case.outcome, case.seconds, tuple(changed))


def _print(channel: str, cases: list[Case], *, verbose: bool, updated: bool) -> None:
    good = sum(case.is_good for case in cases)
    told = f"{count(len(cases), 'case')}" + ("" if good == len(cases) else f", {len(cases) - good} failed")
    click.echo(f"{styled(channel, bold=True)}  {told}")
    for case in cases:
        if case.written:
            click.echo(f"  {styled('updated', fg='yellow')}  {case.folder.name}: {', '.join(case.written)}")
        elif not case.is_good:
            click.echo(f"  {styled('failed', fg='red')}   {case.folder.name}")
        elif verbose:
            click.echo(f"  {styled('good', fg='green')}     {case.folder.name}")
        if not case.outcome.is_good and not case.written:
            differences = case.outcome.differences
            for difference in differences[:SHOWN]:
                click.echo(f"    {printable(str(difference))}")
            if len(differences) > SHOWN:
                click.echo(f"    ... and {count(len(differences) - SHOWN, 'difference')} more")


def _as_json(case: Case) -> dict[str, object]:
    return {
        "channel": case.channel,
        "case": case.folder.name,
        "good": case.is_good,
        "states": case.outcome.states,
        "seconds": round(case.seconds, 6),
        "differences": [asdict(difference) for difference in case.outcome.differences],
        "updated": list(case.written),
    }


def _write_junit(path: Path, cases: list[Case]) -> None:
    """The form that CI servers read: a suite a channel, a test case a case."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<testsuites>"]
    for channel in dict.fromkeys(case.channel for case in cases):
        of_channel = [case for case in cases if case.channel == channel]
        failures = sum(not case.is_good for case in of_channel)
        seconds = sum(case.seconds for case in of_channel)
        lines.append(
            f'<testsuite name="{escape(channel)}" tests="{len(of_channel)}" failures="{failures}" time="{seconds:.6f}">'
        )
        lines += map(_junit_case, of_channel)
        lines.append("</testsuite>")
    lines.append("</testsuites>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _junit_case(case: Case) -> str:
    name = f'<testcase classname="{escape(case.channel)}" name="{escape(case.folder.name)}" time="{case.seconds:.6f}"'
    if case.is_good:
        return f"{name}/>"
    told = [escape(printable(str(difference))) for difference in case.outcome.differences]
    return f'{name}><failure message="{told[0]}">' + "\n".join(told) + "</failure></testcase>"
