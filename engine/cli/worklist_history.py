"""`segmill worklist history`: what happened to one step."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.exits import FINDINGS, Failure
from engine.cli.output import columns, emit, local_time, printable, utc_time
from engine.cli.sites import data_option, site_option
from engine.cli.worklist import HISTORY, SUBCOMMANDS
from engine.cli.worklisting import name_option, opened, step_arguments


@member(SUBCOMMANDS["history"], "history", *HISTORY)
@step_arguments
@name_option
@site_option
@data_option
@json_option("one object a change")
def command(study: str, step: str, name: str, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show what happened to one step, oldest first.

    When, what, by whom, and which message did it (segmill messages SEQ). Also of a step that its order does not name
    any more.
    """
    from engine.worklist.item import ItemKey

    with opened(site, data, name) as view:
        found = view.history(ItemKey(study, step))
        if not found and (named := [i for i in view.by_study(study) if i.original("ScheduledProcedureStepID") == step]):
            found = view.history(named[0].key)
    if not found:
        raise Failure(FINDINGS, "nothing is known of such a step", "See those there are: segmill worklist list --all")
    if as_json:
        for one in found:
            told = {"message": one.seq or None, "who": one.who, "what": one.what, "status": one.status}
            emit({"at": utc_time(one.at_us), **told})
        return 0
    rows = [
        (local_time(one.at_us), printable(one.what), one.status, str(one.seq or ""), printable(one.who))
        for one in found
    ]
    click.echo(columns(("at", "what", "status", "message", "who"), rows, right=("message",)))
    return 0
