"""`segmill doctor`: the site, its store and this machine, looked at as a whole."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import count, emit, printable, say, styled
from engine.cli.sites import STORE_FILE, find_site, read_site, site_argument

if TYPE_CHECKING:
    from engine.cli.examining import Surroundings, Topic


@subcommand("doctor", "segmill doctor", "segmill doctor my-site --deep", "segmill doctor --json")
@site_argument
@click.option("--deep", is_flag=True, help="Read the store from end to end, however large it is.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The engine's data folder; else as the site's segmill.yaml says.",
)
@json_option("every check with its findings")
def command(site: Path | None, deep: bool, data: Path | None, as_json: bool) -> int:
    """Look at the site, its store and this machine, and say what to do.

    Versions, the site's files, the engine, the store and its log, room on the disk, ports and receivers, days left of
    certificates, the clock, the limit of open files, permissions. Changes nothing; run it as the user that runs the
    engine. Each finding has a code with a long story (segmill explain). Exits with 1 when something is broken, or will
    be; warnings alone end with 0.
    """
    from engine.cli.examining import examine

    topics = examine(surroundings_of(site, data, is_deep=deep))
    if as_json:
        emit({"topics": [as_record(topic) for topic in topics]})
    else:
        _print(topics)
    errors = sum(finding.is_error for topic in topics for finding in topic.findings)
    warnings = sum(len(topic.findings) for topic in topics) - errors
    if not as_json:
        say(f"{count(errors, 'error')}, {count(warnings, 'warning')}" if errors or warnings else "all is well")
    return FINDINGS if errors else 0


def surroundings_of(site: Path | None, data: Path | None, *, is_deep: bool = False) -> "Surroundings":
    """What there is to look at. Raises a misuse where there is no site."""
    from engine.adapters.control_client import AskFailed, ControlClient, NotAllowed, NotRunning
    from engine.cli.examining import Surroundings

    folder = find_site(site)
    loaded = read_site(folder)
    settings = loaded.site
    store: Path | None
    if data is not None:
        store = data / STORE_FILE
    elif settings is not None:
        data = folder / settings.data
        store = folder / settings.store_path if settings.store_kind == "sqlite" else None
    else:
        data, store = folder / "data", folder / "data" / STORE_FILE
    status: dict[str, Any] | None = None
    not_ready = ""
    try:
        client = ControlClient(data, timeout_s=10)
        status = client.get("/v1/status")
        is_ready, not_ready = client.ready()
        not_ready = "" if is_ready else not_ready
    except (NotRunning, NotAllowed):
        status = None
    except AskFailed as exc:
        status, not_ready = {}, str(exc)
    return Surroundings(folder, loaded, data, store, datetime.now(UTC), status, not_ready, is_deep)


def as_record(topic: "Topic") -> dict[str, Any]:
    """A check, for programs."""
    return {
        "name": topic.name,
        "well": topic.well,
        "findings": [asdict(finding) for finding in topic.findings],
    }


def _print(topics: "list[Topic]") -> None:
    for topic in topics:
        mark = "ok" if not topic.findings else "error" if any(f.is_error for f in topic.findings) else "look"
        colour = {"ok": "green", "look": "yellow", "error": "red"}[mark]
        click.echo(f"{styled(f'{mark:5}', fg=colour)} {topic.name}: {printable(topic.well)}")
        for finding in topic.findings:
            place = f"{printable(finding.place)}: " if finding.place else ""
            click.echo(f"      {styled(finding.code, bold=True)} {place}{printable(finding.message)}")
            click.echo(f"           {printable(finding.advice)}")
