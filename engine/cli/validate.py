"""`segmill validate`: messages held against the standard or a profile, in a report for people."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.message_files import ENDINGS
from engine.cli.output import say
from engine.cli.progress import counted

if TYPE_CHECKING:
    from engine.cli.validation_junit import JUnit
    from engine.cli.validation_report import Report
    from engine.hl7.profile import ProfileSet

Format = Literal["text", "json", "junit", "html"]

BY_ENDING: Final[dict[str, Format]] = {".html": "html", ".htm": "html", ".xml": "junit", ".json": "json"}
STANDARD: Final = "standard"


@subcommand(
    "validate",
    "segmill validate samples/adt",
    "segmill validate samples/orders --profile samples/profiles/orders.yaml",
    "segmill validate samples -o report.html",
    "segmill validate samples/results -o results.xml",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|FOLDER...")
@click.option("--profile", metavar="FILE", default=STANDARD, help="A profile; without it, the standard alone.")
@click.option("--show-values", is_flag=True, help="Show the values that broke a rule: patient data.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "junit", "html"]), help="Default: as -o ends, else text."
)
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write the report into this file."
)
@click.option(
    "--examples", type=click.IntRange(0, 1000), default=3, show_default=True, help="Places to show of each finding."
)
@json_option("the report")
def command(
    files: tuple[str, ...],
    profile: str,
    show_values: bool,
    form: Format | None,
    path: Path | None,
    examples: int,
    as_json: bool,
) -> int:
    """Hold messages against the standard or a profile.

    The report is grouped by rule, with counts and examples by place; it shows no values unless asked to. FILE may be a
    folder, or hold many messages, as HL7, JSON or XML; - is standard input. Of a profile's rules those with
    mode: reject are errors; of the standard's those that it calls so. Ends with 1 if a message has an error.
    """
    from engine.cli.validation_junit import spooled
    from engine.cli.validation_report import Checker, Report, check
    from engine.cli.validation_text import summary

    if as_json and form not in (None, "json"):
        raise misuse("--json is --format json")
    chosen: Format = "json" if as_json else form or BY_ENDING.get(path.suffix.lower() if path else "", "text")
    report = Report(profile, examples)
    with spooled() as junit:
        for checked in counted(check(files, ENDINGS, Checker(_profiles(profile))), "messages"):
            report.add(checked.file, checked.told, checked.left_out, checked.message if show_values else None)
            if checked.version:
                report.versions[checked.version] = report.versions.get(checked.version, 0) + 1
            if chosen == "junit":
                junit.add(checked)
        if not report.messages:
            raise misuse(f"there is no message in {', '.join(files)}: of a folder, {', '.join(ENDINGS)} files are read")
        with _output(path) as out:
            _write(report, chosen, out, junit, show_values=show_values)
    if path is not None:
        say("\n".join(summary(report)))
        say(f"wrote {path}")
    return FINDINGS if report.has_errors else 0


def _profiles(name: str) -> "ProfileSet":
    """Of a file, or the standard alone, whose errors then are errors."""
    if name == STANDARD:
        from engine.pipeline.profiles import standard_alone

        return standard_alone("reject")
    from engine.cli.profile_files import read_profile

    return read_profile(Path(name)).profiles


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file."""
    if path is None:
        yield sys.stdout
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as out:
        yield out


def _write(report: "Report", form: Format, out: IO[str], junit: "JUnit", *, show_values: bool) -> None:
    from engine.cli.validation_html import html_report
    from engine.cli.validation_text import text_report

    match form:
        case "json":
            json.dump(report.as_dict(), out, ensure_ascii=False, indent=1)
            out.write("\n")
        case "junit":
            junit.write(report, out)
        case "html":
            _lines(html_report(report, shows_values=show_values), out)
        case "text":
            _lines(text_report(report), out)


def _lines(lines: Iterator[str], out: IO[str]) -> None:
    for line in lines:
        # Colours are for a terminal: click takes them off for anything else.
        click.echo(line, file=out)
