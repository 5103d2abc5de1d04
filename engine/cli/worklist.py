"""`segmill worklist`: what is on the worklists of scanners, what happened to it, what a query would find, and a
status set by hand."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "list": "Show the steps on a worklist, by their start.",
    "show": "Show one step with all its attributes.",
    "history": "Show what happened to one step, oldest first.",
    "asked": "Show what scanners asked for, and what they got.",
    "hand-offs": "Show who else gets the steps of worklists, and how each of them stands.",
    "set-status": "Give one step another status, by hand.",
    "query": "Show what a scanner would get for these keys, and which key takes what away.",
}
LIST: Final = ("segmill worklist list", "segmill worklist list --all")
SHOW: Final = ("segmill worklist show 1.2.826.0.1.3680043.10.999.1.4 SPS500004",)
HISTORY: Final = ("segmill worklist history 1.2.826.0.1.3680043.10.999.1.4 SPS500004",)
SET_STATUS: Final = (
    "segmill worklist set-status 1.2.826.0.1.3680043.10.999.1.4 SPS500004 COMPLETED --plan",
    "segmill worklist set-status 1.2.826.0.1.3680043.10.999.1.4 SPS500004 SCHEDULED --force --yes "
    '--reason "Done with the wrong patient"',
)
ASKED: Final = ("segmill worklist asked", "segmill worklist asked --calling CT1")
HAND_OFFS: Final = ("segmill worklist hand-offs",)
QUERY: Final = ("segmill worklist query Modality=CT ScheduledStationAETitle=CT1 --calling CT1",)


@click.group(
    "worklist",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*LIST, *SHOW, *HISTORY, *SET_STATUS, *ASKED, *HAND_OFFS, *QUERY),
    short_help=COMMANDS["worklist"],
    no_args_is_help=True,
)
def command() -> None:
    """Show what is on the worklists, and what a scanner's query would find.

    Reads the store beside the engine, whether it runs or not; set-status has the running engine do it. What a patient
    can be known by is masked; --show-values shows it, and while the engine runs that is put on record (segmill audit).
    """
