"""`segmill queue`: what waits for each destination, and what a person does to it."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "list": "Show what waits for each destination, and why.",
    "pause": "Let a destination, or a channel's intake, stand still.",
    "resume": "Let go on what was paused.",
    "retry": "Try again now what waits for its time.",
    "hold": "Set queued deliveries aside.",
    "release": "Let held messages and deliveries go on.",
    "skip": "Give deliveries up, with a reason.",
    "redirect": "Send deliveries to another destination.",
}
LIST: Final = ("segmill queue list", "segmill queue list adt --json")
PAUSE: Final = ("segmill queue pause adt/ris --reason 'RIS moves to a new host'", "segmill queue pause adt --intake")
RESUME: Final = ("segmill queue resume adt/ris", "segmill queue resume --all")
RETRY: Final = ("segmill queue retry adt/ris", "segmill queue retry --state queued --since 2h")
HOLD: Final = ("segmill queue hold 2", """segmill queue hold adt/ris --where 'PV1-2 == "I"' --plan""")
RELEASE: Final = ("segmill queue release 2", "segmill queue release --all --destination ris --yes")
SKIP: Final = (
    "segmill queue skip 2 --reason 'sent by hand' --yes",
    "segmill queue skip adt/ris --until 30d --reason 'RIS was restored from a backup' --plan",
)
REDIRECT: Final = ("segmill queue redirect adt/ris --to archive --plan",)


@click.group(
    "queue",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*LIST, *PAUSE, *RESUME, *RETRY, *HOLD, *RELEASE, *SKIP, *REDIRECT),
    short_help=COMMANDS["queue"],
    no_args_is_help=True,
)
def command() -> None:
    """Show what waits for each destination, and hold, skip, retry, redirect or pause it.

    What is done is put on record (segmill audit), with who did it and --reason. A command that is about many shows its
    plan and asks; what it then does is what it showed, or nothing.
    """
