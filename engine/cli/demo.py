"""`segmill demo`: everything at work in a folder of its own, in seconds."""

from pathlib import Path

import click

from engine.cli.command import json_option, subcommand


@subcommand("demo", "segmill demo", "segmill demo --once --dir /tmp/segmill-demo")
@click.option(
    "--dir",
    "--folder",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the demo's site is made; one that is there already is used again.",
)
@click.option("--once", is_flag=True, help="End when the messages are through, for scripts.")
@json_option("the table")
def command(folder: Path, once: bool, as_json: bool) -> int:
    """See it work: a running engine, 250 messages, four channels.

    Makes a site from the shipped channels, starts the engine on free ports with receivers of its own, and sends it
    250 synthetic messages. Two are held and two refused on purpose: what matters is what happens then. Runs until
    Ctrl-C.
    """
    from engine.cli.demo_run import demo

    return demo(folder, once=once, as_json=as_json)
