"""Shows what is wrong in a site's files, for people and for tools."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from engine.config.finding import ConfigFinding


def show(findings: Iterable["ConfigFinding"], site: Path) -> None:
    """Findings with their lines and carets, on standard error: they are errors, so --quiet does not hide them."""
    click.echo(as_text(findings, site) + "\n", err=True)


def as_text(findings: Iterable["ConfigFinding"], site: Path) -> str:
    """Findings with their lines and carets."""
    from engine.config.render import render_all

    def read(name: str) -> str:
        try:
            return (site / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    return render_all(findings, read)
