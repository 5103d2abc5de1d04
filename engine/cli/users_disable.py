"""`segmill users disable`: who may sign in no more."""

from pathlib import Path

import click

from engine.cli.command import member
from engine.cli.granting import asked, asking_options
from engine.cli.output import emit, say
from engine.cli.users import DISABLE, SUBCOMMANDS


@member(SUBCOMMANDS["disable"], "disable", *DISABLE)
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let the user sign in again.")
@asking_options("the user")
def command(name: str, undo: bool, reason: str, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Let a user sign in no more, or again.

    All sessions end at once. The user stays, so that the record stays clear.
    """
    asked(site, data, "/v1/users/disable", name=name, disabled=not undo, reason=reason)
    if as_json:
        emit({"name": name, "disabled": not undo})
    else:
        say(f"user {name} {'may sign in again' if undo else 'may sign in no more'}")
    return 0
