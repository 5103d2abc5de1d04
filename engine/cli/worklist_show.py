"""`segmill worklist show`: one step with all its attributes."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.output import emit
from engine.cli.sites import data_option, site_option
from engine.cli.worklist import SHOW, SUBCOMMANDS
from engine.cli.worklisting import as_json as told_of
from engine.cli.worklisting import lines, name_option, opened, shown, status, step_arguments, step_of, values_option


@member(SUBCOMMANDS["show"], "show", *SHOW)
@step_arguments
@name_option
@values_option
@site_option
@data_option
@json_option("the step")
def command(
    study: str, step: str, name: str, show_values: bool, site: Path | None, data: Path | None, as_json: bool
) -> int:
    """Show one step with all its attributes.

    STUDY is its Study Instance UID, STEP its Scheduled Procedure Step ID.
    """
    notes = "worklist show --show-values" if show_values else ""
    with opened(site, data, name, notes=notes) as view:
        item = step_of(view, study, step)
    if as_json:
        emit(told_of(item, show_values))
        return 0
    click.echo(f"{status(item)}, study UID from {item.uid_origin}, changed {item.revision} times")
    for line in lines(item.attributes, show_values):
        click.echo(line)
    for keyword, number in item.originals.items():
        click.echo(f"{keyword} as ordered: {shown(number, show_values)}")
    return 0
