"""`segmill tables`: the work list of codes that no row answers, and what is done about them."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "misses": "Show the codes for which messages are held, by table, the most frequent first.",
    "add": "Add a row to a code table of a channel.",
    "release": "Let go on what waited for rows that are there now.",
}
MISSES: Final = ("segmill tables misses", "segmill tables misses --channel adt --json")
ADD: Final = ("segmill tables add adt/tables/wards.csv NEW7 W07",)
RELEASE: Final = ("segmill tables release --plan", "segmill tables release adt/tables/wards.csv --yes")


@click.group(
    "tables",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*MISSES, *ADD, *RELEASE),
    short_help=COMMANDS["tables"],
    no_args_is_help=True,
)
def command() -> None:
    """Show the codes for which messages are held, add their rows, and let go on what waited.

    The work list comes from the messages that are held now: each is run again, without any effect, by the version of
    its channel that held it. So nothing stays on it that was released or discarded.
    """
