"""`segmill tables add`: a row at the end of a code table."""

from pathlib import Path

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.exits import CANNOT_WRITE, CONFIGURATION, Failure
from engine.cli.output import emit, printable, say
from engine.cli.sites import CHANNELS, find_site, site_option
from engine.cli.tables import ADD, SUBCOMMANDS


@member(SUBCOMMANDS["add"], "add", *ADD)
@click.argument("table", metavar="CHANNEL/TABLE")
@click.argument("cells", nargs=-1, required=True, metavar="KEY VALUE [OTHERS]...")
@site_option
@json_option("what was added")
def command(table: str, cells: tuple[str, ...], site: Path | None, as_json: bool) -> int:
    """Add a row to a code table of a channel.

    The file is read and checked before and after; one that has the key already, or mistakes, is left as it is. Cells
    for further columns may be left out. The engine takes it up with segmill reload; in a site under version control the
    row is a change to be reviewed.
    """
    folder = find_site(site)
    path = _path(folder, table)
    line = add_row(path, cells)
    shown = path.relative_to(folder).as_posix()
    if as_json:
        emit({"file": shown, "line": line, "cells": list(cells)})
    else:
        say(f"added {printable(' -> '.join(cells[:2]))} to {shown}, line {line}")
        say("Next: segmill test, then segmill reload, then segmill tables release.")
    return 0


def _path(folder: Path, table: str) -> Path:
    channel, slash, name = table.partition("/")
    root = folder / CHANNELS / channel
    if not slash or not (root / "channel.yaml").is_file():
        raise misuse(f"'{table}' is no table of a channel: write adt/tables/wards.csv")
    path = root / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise misuse(f"'{table}' is outside of the site")
    if not path.is_file() or path.suffix != ".csv":
        names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.csv"))
        there = ", ".join(one for one in names if not one.startswith("cases/"))
        raise misuse(f"channel {channel} has no table {name}; there is {there or 'none'}")
    return path


def add_row(path: Path, cells: tuple[str, ...]) -> int:
    """Write the row behind the last one; its line. Raises Failure, and leaves the file, where it would not be right."""
    from engine.adapters.table_files import RowRefused
    from engine.adapters.table_files import add_row as written

    try:
        return written(path, cells)
    except RowRefused as refused:
        if refused.is_about_the_row:
            raise misuse(refused.sentence) from None
        hint = "Mend this first." if refused.is_of_the_file else ""
        raise Failure(CONFIGURATION, refused.sentence, hint) from None
    except OSError as exc:
        raise Failure(CANNOT_WRITE, f"{path} cannot be written: {exc.strerror}") from None
