"""`segmill profile`: profiles from traffic and from XML, and what is different between two of them."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "learn": "Write a profile of what messages have in common.",
    "diff": "Compare two profiles, or a profile and messages.",
    "import": "Turn a conformance profile in XML into a profile file.",
}
LEARN: Final = (
    "segmill profile learn samples/adt --least 5",
    "segmill profile learn --channel adt --since 30d -o adt-learned.yaml",
)
DIFF: Final = (
    "segmill profile diff samples/profiles/orders.yaml samples/orders",
    "segmill profile diff samples/profiles/orders.yaml samples/profiles/base.yaml",
)
IMPORT: Final = ("segmill profile import samples/profiles/adt_a01.xml",)


@click.group(
    "profile",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*LEARN, *DIFF, *IMPORT),
    short_help=COMMANDS["profile"],
    no_args_is_help=True,
)
def command() -> None:
    """Learn, compare and import profiles: what a site asks of its messages.

    A profile is a YAML file that tightens or loosens the standard for a site; a channel names it under validate.
    """
