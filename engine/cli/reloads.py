"""How a plan or reload is told: to people with what it comes to, to scripts as JSON and an exit code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from engine.cli.exits import GOOD
from engine.cli.output import emit, say, styled

COLOURS = {"added": "green", "removed": "red", "changed": "yellow"}


def tell(report: Mapping[str, Any], *, site: Path | None, as_json: bool) -> int:
    """Show the engine's report, as `ports.reload.ReloadReport` has it; `site`: where the lines of errors are read."""
    if as_json:
        emit({key: value for key, value in report.items() if key not in ("schema", "exit_code")})
        return int(report["exit_code"])
    if report["errors"]:
        _show_errors(report["errors"], site)
    for change in report["channels"]:
        _show_change(change)
    for setting in report["settings"]:
        click.echo(f"segmill.yaml: {setting}")
    for setting in report["needs_restart"]:
        click.echo(f"segmill.yaml: {setting}  {styled('needs a restart', fg='yellow')}")
    for note in report["notes"]:
        click.echo(f"  {note}")
    if report["exit_code"] == GOOD:
        say(report["sentence"])
    else:
        click.echo(f"segmill: {report['sentence']}", err=True)
    for pending in report["pending"]:
        say(f"still going on: {pending}")
    return int(report["exit_code"])


def _show_change(change: Mapping[str, Any]) -> None:
    what = f": {', '.join(change['what'])}" if change["what"] else ""
    word = styled(change["change"], fg=COLOURS[change["change"]])
    click.echo(f"{styled(change['channel'], bold=True)} {word}{what}")
    for note in change["notes"]:
        click.echo(f"  {note}")


def _show_errors(errors: list[Mapping[str, Any]], site: Path | None) -> None:
    from engine.cli.findings import show
    from engine.config.finding import ConfigFinding

    show([ConfigFinding(**error) for error in errors], site or Path())
