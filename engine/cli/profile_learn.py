"""`segmill profile learn`: a profile of what messages have in common, with the counts it was learned from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from engine.cli.command import json_option, member
from engine.cli.output import count, emit, say
from engine.cli.profile import LEARN, SUBCOMMANDS
from engine.cli.profile_files import force_option, out_option, traffic, traffic_options, write

if TYPE_CHECKING:
    from engine.hl7.learn import Learned
    from engine.hl7.profile import Mode

MOST_SENDERS = 50
"""Profiles of their own; messages of further senders count for the whole only."""


@member(SUBCOMMANDS["learn"], "learn", *LEARN)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@traffic_options
@click.option("--by-sender", is_flag=True, help="One profile for each sender (MSH-3 and MSH-4), in one file.")
@click.option(
    "--least",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Say nothing of a place that was seen less often than this.",
)
@click.option("--closed", is_flag=True, help="What was never filled must stay empty (usage X).")
@click.option(
    "--mode",
    type=click.Choice(["reject", "warn", "observe"]),
    default="warn",
    show_default=True,
    help="What a breach comes to.",
)
@out_option
@force_option
@json_option("what was learned, with the text of the file,")
def command(
    files: tuple[str, ...],
    channel: str | None,
    since: str | None,
    site: Path | None,
    data: Path | None,
    by_sender: bool,
    least: int,
    closed: bool,
    mode: str,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    """Write a profile of what messages have in common.

    Usage, cardinality, lengths, value sets and patterns that held for all of them, each with the counts behind it.
    FILE may be a folder, or hold many messages. No patient's data comes into the file: values are kept of coded
    fields with a table in the standard only, and never of results, diagnoses and allergies.
    """
    from engine.config.profile_write import learned_by_sender, learned_document
    from engine.hl7.learn import Learner

    whole = Learner(least=least, closed=closed)
    learners: dict[str, Learner] = {}
    for message in traffic(files, channel, since, site, data):
        whole.add(message)
        if by_sender:
            sender = f"{message.get('MSH-3.1') or ''}|{message.get('MSH-4.1') or ''}"
            if sender in learners or len(learners) < MOST_SENDERS:
                learners.setdefault(sender, Learner(least=least, closed=closed)).add(message)
    learned = whole.learned()
    kept = cast("Mode", mode)
    if by_sender:
        of_senders = {sender: learner.learned() for sender, learner in sorted(learners.items())}
        text = learned_by_sender(learned, of_senders, mode=kept).text()
    else:
        text = learned_document(learned, mode=kept).text()
    if out is not None or not as_json:
        write(text, out, force=force)
    if as_json:
        emit(_as_json(learned, text))
    rules = count(sum(1 for _ in _rules(learned)), "rule")
    say(f"learned {rules} for {count(len(learned.places), 'place')} from {count(learned.messages, 'message')}")
    if not any(True for _ in _rules(learned)):
        say(f"no place was seen in {count(least, 'message')}: learn from more of them, or with a smaller --least")
    return 0


def _rules(learned: "Learned") -> Any:
    from engine.hl7.learn import rules_of

    return rules_of(learned)


def _as_json(learned: "Learned", text: str) -> dict[str, Any]:
    return {
        "messages": learned.messages,
        "senders": list(learned.senders),
        "versions": list(learned.versions),
        "rules": list(_rules(learned)),
        "profile": text,
    }
