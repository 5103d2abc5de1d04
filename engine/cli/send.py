"""`segmill send`: send messages over MLLP, a handful to try something or thousands to load it."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, subcommand
from engine.cli.message_files import read_messages
from engine.cli.output import say
from engine.cli.words import per_second, seconds


@subcommand(
    "send",
    "segmill send samples/adt/adt_a01_2.5.1.hl7 --to 127.0.0.1:2575",
    "segmill send samples/adt --to 127.0.0.1:2575 --connections 4 --count 200 --set MSH-10=LOAD{n}",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", "target", required=True, metavar="HOST:PORT", help="The receiver.")
@click.option("--connections", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Side by side.")
@click.option("--rate", metavar="RATE", help="At most so many: 50/s, 10/m. Without it as fast as answers come.")
@click.option(
    "--count", "total", type=click.IntRange(1), help="So many messages in all, from the start again if need be."
)
@click.option(
    "--set",
    "edits",
    multiple=True,
    metavar="PATH=TEXT",
    help="Set a field in every message; {n} is its number, {uuid} and {now} are what they say. May be repeated.",
)
@click.option("--raw", is_flag=True, help="Send a file's bytes as they are in one block, not message by message.")
@click.option("--timeout", default="30s", show_default=True, metavar="TIME", help="How long to wait for an answer.")
@click.option("--resend-after", metavar="TIME", help="Send a message again until it is answered, as hospitals do.")
@click.option("--tls", is_flag=True, help="Use TLS, with the system's authorities.")
@click.option("--tls-ca", type=click.Path(path_type=Path), help="Use TLS; the authority that signed the receiver.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Use TLS; our own certificate.")
@click.option(
    "--tls-key", type=click.Path(path_type=Path), help="The key of our certificate, if it is not in its file."
)
@click.option("--tls-name", help="The name in the receiver's certificate, if it is not the host.")
@click.option("--tls-no-verify", is_flag=True, help="Use TLS, and believe any certificate.")
@json_option("the outcome")
def command(
    files: tuple[str, ...],
    target: str,
    connections: int,
    rate: str | None,
    total: int | None,
    edits: tuple[str, ...],
    raw: bool,
    timeout: str,
    resend_after: str | None,
    as_json: bool,
    **tls: Any,
) -> int:
    """Send messages over MLLP.

    FILE is a file with one message or many, a folder of them, or - for standard input. Each connection waits for a
    message's own answer before it sends the next. Ends with 1 if any was not accepted.
    """
    from engine.cli.sending import Messages, parse_edit, send, target_of

    found = read_messages(files, whole=raw, tidy=not raw)
    messages = Messages(found, total or len(found), [parse_edit(text) for text in edits])
    messages.check()
    if len(found) < messages.total and not messages.sets_control_id:
        say("The same control ids go out more than once, so receivers may take them for resends: --set MSH-10=T{n}")
    return send(
        target_of(target, seconds(timeout, "--timeout"), **tls),
        messages,
        as_json=as_json,
        connections=min(connections, messages.total),
        rate=per_second(rate) if rate else 0.0,
        resend_after_s=seconds(resend_after, "--resend-after") if resend_after else None,
    )
