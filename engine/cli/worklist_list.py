"""`segmill worklist list`: the steps that are there."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.output import columns, count, emit, say
from engine.cli.sites import data_option, site_option
from engine.cli.worklist import LIST, SUBCOMMANDS
from engine.cli.worklisting import HEADERS, name_option, opened, row, values_option
from engine.cli.worklisting import as_json as told_of
from engine.worklist.item import STATUSES


@member(SUBCOMMANDS["list"], "list", *LIST)
@name_option
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only these; else those that are shown.")
@click.option("--all", "everything", is_flag=True, help="Also what has ended or is held.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@values_option
@site_option
@data_option
@json_option("one object a step")
def command(
    name: str,
    status: tuple[str, ...],
    everything: bool,
    limit: int,
    show_values: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Show the steps on a worklist, by their start.

    Those that scanners see: scheduled, arrived or ready, and not held.
    """
    from dataclasses import replace

    from engine.worklist.matching import compile_query

    query = replace(compile_query({}), names_status=bool(status) or everything)
    notes = "worklist list --show-values" if show_values else ""
    with opened(site, data, name, notes=notes) as view:
        found = [one.item for one in view.candidates(query, 1_000_000)]
    found = [item for item in found if not status or item.status in status][:limit]
    if as_json:
        for item in found:
            emit(told_of(item, show_values))
        return 0
    if found:
        click.echo(columns(HEADERS, [row(item, show_values) for item in found]))
    say(count(len(found), "step") + (f" (the first; --limit {limit})" if len(found) == limit else ""))
    return 0
