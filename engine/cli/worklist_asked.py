"""`segmill worklist asked`: the last queries of scanners, and which key took what away."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, member
from engine.cli.output import columns, count, emit, local_time, printable, say, utc_time
from engine.cli.sites import data_option, site_option, whereabouts
from engine.cli.worklist import ASKED, SUBCOMMANDS
from engine.cli.worklisting import shown, values_option
from engine.worklist.masking import PLAIN

HEADERS = ("at", "scanner", "answers", "status", "asked for", "without")


@member(SUBCOMMANDS["asked"], "asked", *ASKED)
@click.option("--calling", metavar="AE", help="Only queries of this scanner.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest.")
@values_option
@site_option
@data_option
@json_option("one object a query")
def command(
    calling: str | None, limit: int, show_values: bool, site: Path | None, data: Path | None, as_json: bool
) -> int:
    """Show what scanners asked for, and what they got.

    Of the engine that runs, oldest first. The last column has how many steps there would have been without a key, where
    that is more. Values of patients are kept only where the site says query_log: {patients: true}.
    """
    from engine.cli.engine_access import RunningEngine

    place = whereabouts(site, data, needs_store=False)
    found = [one for one in RunningEngine(place.data).queries() if calling in (None, one["calling"])][-limit:]
    if as_json:
        for one in found:
            emit({**one, "at": utc_time(one["at_us"]), "keys": _keys(one["keys"], show_values)})
        return 0
    if found:
        click.echo(columns(HEADERS, [_row(one, show_values) for one in found], right=("answers",)))
    say(count(len(found), "query", "queries"))
    return 0


def _row(one: dict[str, Any], show_values: bool) -> tuple[str, ...]:
    keys = "  ".join(f"{name}={value}" for name, value in _keys(one["keys"], show_values).items() if value)
    more = (f"{number} without {name}" for name, number in one["without"].items() if number > one["answers"])
    status = f"{one['status']:04X}"
    return (
        local_time(one["at_us"]),
        printable(one["calling"]),
        str(one["answers"]),
        status,
        keys or "everything",
        ", ".join(more),
    )


def _keys(keys: dict[str, Any], show_values: bool) -> dict[str, str]:
    """Keys with values, those of the step beside the others."""
    found: dict[str, str] = {}
    for name, values in keys.items():
        plain = "\\".join(value for value in values if isinstance(value, str))
        found[name] = printable(plain) if name in PLAIN else shown(plain, show_values)
        for value in values:
            if isinstance(value, dict):
                del found[name]
                found |= _keys(value, show_values)
                break
    return found
