"""`segmill generate`: invented traffic for a channel, or for a profile alone."""

from pathlib import Path

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.completing import channel_names
from engine.cli.sites import site_option

SINCE = "2026-01-05"


@subcommand(
    "generate",
    "segmill generate adt --messages 20 --charset 'UNICODE UTF-8'",
    "segmill generate results --patients 5 --seed 7 --to made",
    "segmill generate --profile samples/profiles/orders.yaml --messages 10 -o orders.hl7",
    "segmill generate adt --messages 20 --seed 3 --send 127.0.0.1:2575 --pace 50/s",
)
@click.argument("channel", required=False, shell_complete=channel_names)
@click.option(
    "--profile",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Instead of a channel: the messages that a profile's file has rules for.",
)
@click.option("--messages", type=click.IntRange(1), help="At most so many; without any bound 100.")
@click.option("--patients", type=click.IntRange(1, 99_999), help="So many patients, with all that happens to them.")
@click.option("--since", metavar="TIME", default=SINCE, show_default=True, help="When it begins: 2026-01-05, or 1d.")
@click.option("--until", metavar="TIME", help="When it ends.")
@click.option("--rate", metavar="RATE", help="So many messages over whole days, more by day than by night: 200/h.")
@click.option("--seed", type=click.IntRange(0, 99_999), default=1, show_default=True, help="Another, other patients.")
@click.option("--hl7", "version", metavar="VERSION", help="The version of HL7, MSH-12; else the profile's, else 2.5.1.")
@click.option(
    "--charset", metavar="NAME", help="As MSH-18 says it: 8859/1, UNICODE UTF-8; else what the channel falls back to."
)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write them into this file.")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Write each into a file of this folder.")
@click.option("--cases", is_flag=True, help="Write them into the channel's folder as cases, one a patient.")
@click.option("--send", "target", metavar="HOST:PORT", help="Send them over MLLP.")
@click.option("--pace", metavar="RATE", help="With --send, at most so many: 50/s. Else as fast as answers come.")
@site_option
@json_option("one object a message, or the outcome with -o, --to, --cases and --send,")
def command(
    channel: str | None,
    profile: Path | None,
    messages: int | None,
    patients: int | None,
    since: str,
    until: str | None,
    rate: str | None,
    seed: int,
    version: str | None,
    charset: str | None,
    out: Path | None,
    to: Path | None,
    cases: bool,
    target: str | None,
    pace: str | None,
    site: Path | None,
    as_json: bool,
) -> int:
    """Invent traffic for a channel: patients who come, are ordered for, resulted and discharged.

    What a channel accepts and asks for is read from its files: its types, `from`, profile, code tables, validate steps
    and filters. Every message passes them; what cannot be made is told and left out. All of it is invented: the names
    are those of nobody. The same seed makes the same messages, with the same control ids, so that a channel takes a
    second run for resends; take another seed, or another beginning. Goes to standard output, a message after the
    other, without -o, --to, --cases or --send; over TLS by way of a file and segmill send.
    """
    from engine.cli.generating import Plan, Wanted, generate

    if (channel is None) == (profile is None):
        raise misuse("name a channel, or --profile FILE, and not both")
    if sum(bool(one) for one in (out, to, cases, target)) > 1:
        raise misuse("choose one of -o, --to, --cases and --send")
    if cases and channel is None:
        raise misuse("--cases is for a channel: a profile has no cases")
    if pace and not target:
        raise misuse("--pace is for --send; how the messages lie in time is --rate")
    wanted = Wanted(messages, patients, since, until, rate, seed, version, charset)
    return generate(Plan.of(channel, profile, site, wanted), out, to, target, pace, cases=cases, as_json=as_json)
