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
    from engine.config.table import Table

    before = path.read_bytes()
    table, findings = Table.load(before, path.name)
    if errors := [finding for finding in findings if finding[2].startswith("E")]:
        line, _, code, text = errors[0]
        raise Failure(CONFIGURATION, f"{path}:{line} {code} {text}", "Mend this first.")
    if table.is_dated:
        raise misuse(f"{path.name} has dates: add the row in an editor, so that its times do not meet those of another")
    if (row := table.rows.get(cells[0])) is not None:
        raise misuse(f"{path.name} has that key already, in line {row.line}")
    if not 2 <= len(cells) <= len(table.columns):
        columns = ", ".join(table.columns)
        raise misuse(f"{path.name} has {len(table.columns)} columns ({columns}); a key and a value are needed at least")
    if any("\n" in cell or "\r" in cell for cell in cells):
        raise misuse("a cell is one line")
    padded = [*cells, *[""] * (len(table.columns) - len(cells))]
    text = before.decode("utf-8-sig")
    ending = "\r\n" if "\r\n" in text else "\n"
    text += ("" if text.endswith(("\n", "\r")) else ending) + ",".join(map(_cell, padded)) + ending
    made, findings = Table.load(text, path.name)
    found = made.rows.get(cells[0])
    if found is None or any(finding[2].startswith("E") for finding in findings):
        raise Failure(CONFIGURATION, f"the row would not be read back from {path.name}; the file is as it was")
    _replace(path, text.encode())
    return found.line


def _cell(text: str) -> str:
    needs_quotes = text != text.strip() or any(c in text for c in ',"') or text.startswith("#") or text == "*"
    return '"' + text.replace('"', '""') + '"' if needs_quotes else text


def _replace(path: Path, content: bytes) -> None:
    path = path.resolve()  # a table that channels share by a link stays one
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_bytes(content)
        draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except OSError as exc:
        draft.unlink(missing_ok=True)
        raise Failure(CANNOT_WRITE, f"{path} cannot be written: {exc.strerror}") from None
