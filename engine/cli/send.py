"""`segmill send`: send messages over MLLP, a handful to try something or thousands to load it."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.message_files import read_messages
from engine.cli.output import say
from engine.cli.words import per_second, seconds


@subcommand(
    "send",
    "segmill send samples/adt/adt_a01_2.5.1.hl7 --to 127.0.0.1:2575",
    "segmill send samples/adt --to 127.0.0.1:2575 --connections 4 --count 200 --set MSH-10=LOAD{n}",
    "segmill send --torture --to 127.0.0.1:2575 --only cr-left-out",
)
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--to", "target", metavar="HOST:PORT", help="The receiver.")
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
@click.option(
    "--timeout", metavar="TIME", help="How long to wait for an answer; without it 30s, and 5s with --torture."
)
@click.option("--resend-after", metavar="TIME", help="Send a message again until it is answered, as hospitals do.")
@click.option("--tls", is_flag=True, help="Use TLS, with the system's authorities.")
@click.option("--tls-ca", type=click.Path(path_type=Path), help="Use TLS; the authority that signed the receiver.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Use TLS; our own certificate.")
@click.option(
    "--tls-key", type=click.Path(path_type=Path), help="The key of our certificate, if it is not in its file."
)
@click.option("--tls-name", help="The name in the receiver's certificate, if it is not the host.")
@click.option("--tls-no-verify", is_flag=True, help="Use TLS, and believe any certificate.")
@click.option(
    "--torture", is_flag=True, help="Instead of files, send what the torture table holds, and judge what comes back."
)
@click.option("--only", "rows", multiple=True, metavar="ROW", help="With --torture: this row; help lists them.")
@json_option("the outcome")
def command(
    files: tuple[str, ...],
    target: str | None,
    connections: int,
    rate: str | None,
    total: int | None,
    edits: tuple[str, ...],
    raw: bool,
    timeout: str | None,
    resend_after: str | None,
    torture: bool,
    rows: tuple[str, ...],
    as_json: bool,
    **tls: Any,
) -> int:
    """Send messages over MLLP.

    FILE is a file with one message or many, a folder of them, or - for standard input. Each connection waits for a
    message's own answer before it sends the next. Ends with 1 if any was not accepted.

    --torture sends the oddities of a table in place of files: blocks torn and run together, odd headers, character
    sets, batches, resends. It tells of each what came back and what that means; ends with 1 if any row came to harm.
    """
    from engine.cli.sending import Messages, parse_edit, send, target_of

    if rows and not torture:
        raise misuse("--only is for --torture")
    if "help" in rows:
        from engine.cli.torturing import show_rows

        show_rows()
        return 0
    if target is None:
        raise misuse("say where to send: --to HOST:PORT")
    if torture:
        if files:
            raise misuse("--torture sends its own messages, no FILE")
        from engine.cli.torturing import chosen
        from engine.cli.torturing import torture as run_torture

        return run_torture(
            target_of(target, seconds(timeout or "5s", "--timeout"), **tls), chosen(rows), as_json=as_json
        )
    if not files:
        raise misuse("say what to send: FILE..., or --torture")
    found = read_messages(files, whole=raw, tidy=not raw)
    messages = Messages(found, total or len(found), [parse_edit(text) for text in edits])
    messages.check()
    if len(found) < messages.total and not messages.sets_control_id:
        say("The same control ids go out more than once, so receivers may take them for resends: --set MSH-10=T{n}")
    return send(
        target_of(target, seconds(timeout or "30s", "--timeout"), **tls),
        messages,
        as_json=as_json,
        connections=min(connections, messages.total),
        rate=per_second(rate) if rate else 0.0,
        resend_after_s=seconds(resend_after, "--resend-after") if resend_after else None,
    )
