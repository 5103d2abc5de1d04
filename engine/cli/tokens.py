"""`segmill tokens`: what programs sign in with."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "list": "Show the API tokens, and what each may do.",
    "add": "Add an API token; it is shown once.",
    "revoke": "Let a token open nothing any more.",
}
LIST: Final = ("segmill tokens list", "segmill tokens list --json")
ADD: Final = ("segmill tokens add monitoring viewer --days 30", "segmill tokens add resender adt=operator")
REVOKE: Final = ("segmill tokens revoke monitoring",)


@click.group(
    "tokens",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*LIST, *ADD, *REVOKE),
    short_help=COMMANDS["tokens"],
    no_args_is_help=True,
)
def command() -> None:
    """Give programs tokens to ask the API with, and take them back.

    A token has roles as a user has, for the site (viewer) or a channel (adt=operator), and an end. The engine keeps
    only a hash of it. The engine must run; it is put on record (segmill audit).
    """
