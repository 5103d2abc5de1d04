"""`segmill worklist hand-offs`: who else gets the steps of worklists, and how each of them stands."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, member
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, local_time, printable, say, utc_time
from engine.cli.sites import data_option, site_option, whereabouts
from engine.cli.worklist import HAND_OFFS, SUBCOMMANDS

HEADERS = ("hand-off", "to", "worklist", "state", "since", "there", "waiting", "refused", "oldest", "why")


@member(SUBCOMMANDS["hand-offs"], "hand-offs", *HAND_OFFS)
@site_option
@data_option
@json_option("one object a hand-off")
def command(site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show who else gets the steps of worklists, and how each of them stands.

    Of the engine that runs. `there`: steps that scanners see there; `waiting`: those that are not there as they should
    be, with those that were `refused`; `oldest`: when the first of them was written. Ends with 1 where one is down.
    """
    from engine.cli.engine_access import RunningEngine

    place = whereabouts(site, data, needs_store=False)
    found = RunningEngine(place.data).hand_offs()
    if as_json:
        for one in found:
            emit({**one, "since": utc_time(one["since_us"])})
    else:
        if found:
            right = ("there", "waiting", "refused")
            click.echo(columns(HEADERS, [_row(one) for one in found], right=right))
        say(count(len(found), "hand-off"))
    return FINDINGS if any(one["state"] == "down" for one in found) else 0


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["name"],
        one["kind"],
        one["worklist"],
        one["state"],
        local_time(one["since_us"]),
        str(one["handed"]),
        str(one["waiting"]),
        str(one["refused"]),
        local_time(one["oldest_us"]) if one["oldest_us"] else "",
        printable(one["why"]),
    )
