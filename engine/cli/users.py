"""`segmill users`: who may sign in to the console and its API, and what each may do."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "list": "Show the users, and what each may do.",
    "add": "Add a user, with a one-time password.",
    "passwd": "Give a user a new one-time password.",
    "grant": "Say what a user may do from now on.",
    "disable": "Let a user sign in no more, or again.",
}
LIST: Final = ("segmill users list", "segmill users list --json")
ADD: Final = ("segmill users add anna operator", "segmill users add ben adt=analyst results=viewer")
PASSWD: Final = ("segmill users passwd anna",)
GRANT: Final = ("segmill users grant anna viewer adt=operator",)
DISABLE: Final = ("segmill users disable ben", "segmill users disable ben --undo")


@click.group(
    "users",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*LIST, *ADD, *PASSWD, *GRANT, *DISABLE),
    short_help=COMMANDS["users"],
    no_args_is_help=True,
)
def command() -> None:
    """Say who may sign in, and what each may do.

    A role is given for the whole site (operator) or for a channel (adt=operator): viewer sees queues and lists without
    values; operator also reads messages, and holds, releases, resends; analyst also adds rows of tables and reloads;
    admin also gives out users and tokens and sees the audit. The engine must run; it is put on record (segmill audit).
    """
