"""`segmill dicom`: a small client, to try a DICOM server as a scanner would."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "echo": "Ask a DICOM server whether it is there and takes us (C-ECHO).",
    "find": "Ask a worklist server for its steps (C-FIND).",
}
ECHO: Final = ("segmill dicom echo 127.0.0.1:11112", "segmill dicom echo 127.0.0.1:11112 --calling CT1 --json")
FIND: Final = (
    "segmill dicom find 127.0.0.1:11112 --calling CT1 Modality=CT ScheduledProcedureStepStartDate=20260102-",
    "segmill dicom find 127.0.0.1:11112 'PatientName=Muster*' ScheduledProcedureStepSequence.Modality=CT --json",
)


@click.group(
    "dicom",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*ECHO, *FIND),
    short_help=COMMANDS["dicom"],
    no_args_is_help=True,
)
def command() -> None:
    """Ask a DICOM server: whether it answers, and what its worklist has.

    As a scanner would, over the network, of the engine's own server or of another. What comes back is shown as it is,
    with what patients are known by.
    """
