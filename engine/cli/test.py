"""`segmill test`: the cases of a site's channels, with a clock that stands still."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import click

from engine.cli.case_bench import EXPECT, Bench
from engine.cli.command import json_option, subcommand
from engine.cli.coverage import Asked, tell_coverage
from engine.cli.exits import FINDINGS
from engine.cli.output import count, emit, printable, say, styled
from engine.cli.own_code import deadline_of
from engine.cli.progress import counted
from engine.cli.site_channels import loaded_channels, split_site
from engine.cli.sites import site_option

if TYPE_CHECKING:
    from engine.pipeline.cases import CaseOutcome

CASES: Final = "cases"
SHOWN: Final = 20
"""Differences of one case that are shown to people."""


@subcommand(
    "test",
    "segmill test",
    "segmill test my-site adt --junit results.xml",
    "segmill test adt --update",
    "segmill test adt --coverage",
)
@click.argument("words", nargs=-1, metavar="[SITE] [CHANNEL]...")
@click.option("--update", is_flag=True, help="Write what came out as what must come out; review the diff.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a report for CI.")
@click.option("--coverage", is_flag=True, help="Tell what no case reaches: steps, conditions, routes, table rows.")
@click.option(
    "--min",
    "least",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Fail if less of a channel's steps, conditions and routes is reached; implies --coverage.",
)
@click.option(
    "--min-rows",
    "least_rows",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Fail if less of the rows of its code tables is reached; implies --coverage.",
)
@click.option("-v", "--verbose", is_flag=True, help="Name the cases that passed, too.")
@site_option
@json_option("one object a case")
def command(
    words: tuple[str, ...],
    update: bool,
    junit: Path | None,
    coverage: bool,
    least: float | None,
    least_rows: float | None,
    verbose: bool,
    site: Path | None,
    as_json: bool,
) -> int:
    """Run the cases of a site's channels.

    A case is a folder channels/NAME/cases/CASE with in.hl7, and ack.hl7, out.DESTINATION.hl7 (or .json, .xml) and
    findings.txt for what must come of it; or with expect.yaml, for some places only. A table or a Python file of the
    channel that stands in the case too takes its place. Prints what differs, field by field. For a new case, write
    in.hl7 and run with --update.
    """
    folder, names = split_site(words, site)
    loaded, channels = loaded_channels(folder, names)
    deadline_s = deadline_of(loaded)
    asked = Asked(coverage or least is not None or least_rows is not None, least, least_rows)
    run = []
    short = 0
    for channel in channels:
        bench = Bench.of(channel, folder, deadline_s, with_coverage=asked.is_on)
        of_channel = [_finish(case, update=update) for case in _cases(bench)]
        run += of_channel
        covered = bench.covered()
        if not as_json:
            _print(channel.name, of_channel, verbose=verbose, updated=update)
        if covered is not None:
            short += tell_coverage(channel.name, covered, asked, as_json=as_json)
    if as_json:
        for case in run:
            emit(_as_json(case))
    if junit is not None:
        _write_junit(junit, run)
    failed = sum(not case.is_good for case in run)
    say(f"{count(len(run), 'case')}, " + (f"{failed} failed" if failed else "all good" if run else "none was found"))
    return FINDINGS if failed or short or not run else 0


def failing_cases(folder: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Of these channels of a site, the names of the cases that fail; channels whose cases are all good are left out."""
    loaded, channels = loaded_channels(folder, names)
    found: dict[str, list[str]] = {}
    for channel in channels:
        bench = Bench.of(channel, folder, deadline_of(loaded), with_coverage=False)
        if failing := [case.folder.name for case in _cases(bench) if not case.is_good]:
            found[channel.name] = failing
    return found


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
        # What expect.yaml asks for is a person's word: no --update makes it good.
        is_told = any(difference.file == EXPECT for difference in self.outcome.differences)
        return self.outcome.is_good or (bool(self.written) and not is_told)


def _cases(bench: Bench) -> Iterator[Case]:
    root = bench.channel.folder / CASES
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in counted(folders, f"cases of {bench.channel.name}", len(folders)):
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        began = perf_counter()
        outcome = bench.check(files)
        yield Case(bench.channel.name, folder, outcome, perf_counter() - began)


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
            click.echo(f"  {styled('updated', fg='yellow')}  {printable(case.folder.name)}: {', '.join(case.written)}")
        if not case.is_good:
            click.echo(f"  {styled('failed', fg='red')}   {printable(case.folder.name)}")
        elif verbose and not case.written:
            click.echo(f"  {styled('good', fg='green')}     {printable(case.folder.name)}")
        if not case.is_good:
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
    called = escape(printable(case.folder.name))
    name = f'<testcase classname="{escape(case.channel)}" name="{called}" time="{case.seconds:.6f}"'
    if case.is_good:
        return f"{name}/>"
    told = [escape(printable(str(difference))) for difference in case.outcome.differences]
    return f'{name}><failure message="{told[0]}">' + "\n".join(told) + "</failure></testcase>"
