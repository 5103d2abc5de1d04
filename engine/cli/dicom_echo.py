"""`segmill dicom echo`: is a DICOM server there, and does it take us?"""

from typing import Any

import click

from engine.cli.command import json_option, member
from engine.cli.dicom import ECHO, SUBCOMMANDS
from engine.cli.dicom_peers import failure_of, peer_of, peer_options
from engine.cli.exits import FINDINGS, Failure
from engine.cli.output import duration, emit, printable


@member(SUBCOMMANDS["echo"], "echo", *ECHO)
@peer_options
@json_option("the answer")
def command(server: str, called: str, calling: str, timeout: str, as_json: bool, **tls: Any) -> int:
    """Ask a DICOM server whether it is there and takes us (C-ECHO).

    Says why not, if not: 69 where nobody answers, 77 where an AE title is not known, 75 where it is too busy.
    """
    peer = peer_of(server, called, calling, timeout, tls)
    from engine.adapters.dicom.scu import DicomFailure, echo, in_words

    try:
        answer = echo(peer)
    except DicomFailure as error:
        raise failure_of(error) from None
    if as_json:
        emit(
            {
                "server": peer.place,
                "called": called,
                "calling": calling,
                "status": f"{answer.status:04X}",
                "seconds": round(answer.seconds, 6),
                "implementation": answer.implementation,
            }
        )
    if answer.status:
        raise Failure(FINDINGS, f"{called} at {peer.place} answers {answer.status:04X}: {in_words(answer.status)}")
    if not as_json:
        click.echo(
            f"{called} at {peer.place} ({printable(answer.implementation)}) answers in {duration(answer.seconds)}"
        )
    return 0
