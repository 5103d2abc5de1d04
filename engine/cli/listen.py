"""`segmill listen`: a receiver to try senders against, which answers well or as badly as it is told."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, misuse, subcommand


@subcommand(
    "listen",
    "segmill listen --port 6661",
    "segmill listen --port 6661 --ack AE --ack late:1s --ack AA --count 3",
    "segmill listen --port 6661 --out received --count 10",
    "segmill listen --port 6661 --torture",
)
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="TCP port; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--ack",
    "answers",
    multiple=True,
    metavar="HOW",
    help="How to answer (--ack help lists all): AA, AE, none, late:30s ... Repeated, the first goes to the first "
    "message, and the last to all that follow.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Keep each message as a file in here.")
@click.option("--count", "most", type=click.IntRange(1), help="End after so many messages.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Use TLS, with this certificate.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="The certificate's key, if it is not in its file.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="Ask senders for a certificate signed by it.")
@click.option(
    "--torture", is_flag=True, help="Go through the ways to answer badly, and judge what the sender does after each."
)
@json_option("one object a message")
def command(
    port: int,
    host: str,
    answers: tuple[str, ...],
    out: Path | None,
    most: int | None,
    torture: bool,
    as_json: bool,
    **tls: Any,
) -> int:
    """Receive messages over MLLP, and answer well or badly.

    Prints a line for each message: its number, type, control id and size, and how it was answered; never what
    stands in its fields. Runs until Ctrl-C or --count.

    --torture answers every other message in a way of its own and tells whether the sender sent it again or went on.
    The sender must be one that sends again, with a control id for each message, and have 60 messages to send.
    """
    from engine.cli.listening import listen, listen_torture, show_answers

    if torture:
        if answers or out is not None or most is not None:
            raise misuse("--torture goes its own way, without --ack, --out and --count")
        return listen_torture(host, port, as_json=as_json, **tls)
    if "help" in answers:
        show_answers()
        return 0
    return listen(answers or ("AA",), host, port, most=most, out=out, as_json=as_json, **tls)
