"""`segmill profile diff`: two profiles, or a profile and messages, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, printable, say, styled
from engine.cli.profile import DIFF, SUBCOMMANDS
from engine.cli.profile_files import read_profile, traffic, traffic_options

if TYPE_CHECKING:
    from engine.hl7.profile_diff import Difference, Gap

ENDINGS: Final = (".yaml", ".yml")
COLOURS: Final = {"reject": "red", "warn": "yellow", "observe": "cyan"}
MEANINGS: Final = {
    "broken": "broken rules",
    "unsent": "expected, and never sent",
    "unknown": "sent, and not in the profile",
}


@member(SUBCOMMANDS["diff"], "diff", *DIFF)
@click.argument("profile", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("others", nargs=-1, metavar="[PROFILE|FILE...]")
@traffic_options
@click.option("--all", "unknown", is_flag=True, help="Of messages, also what is sent and not in the profile.")
@json_option("one object a difference,")
def command(
    profile: Path,
    others: tuple[str, ...],
    channel: str | None,
    since: str | None,
    site: Path | None,
    data: Path | None,
    unknown: bool,
    as_json: bool,
) -> int:
    """Compare two profiles, or a profile and messages.

    Of two profiles: every rule that only one has, or that says something else in the other. Of a profile and messages
    (files, folders, or what a channel has stored): the rules that are broken and in how many messages, and what the
    profile expects and nobody sends. No values are shown. Ends with 1 where something is different.
    """
    if len(others) == 1 and others[0].endswith(ENDINGS) and channel is None:
        return _of_profiles(profile, Path(others[0]), as_json=as_json)
    if any(name.endswith(ENDINGS) for name in others):
        raise misuse("compare with one other profile, or with messages")
    from engine.hl7.profile_diff import Comparison

    compared = Comparison(read_profile(profile).profiles)
    for message in traffic(others, channel, since, site, data):
        compared.add(message)
    gaps = compared.gaps(unknown=unknown)
    if as_json:
        for gap in gaps:
            emit(_gap_as_json(gap))
    else:
        _show_gaps(gaps)
    without = f"; {compared.without_profile} of senders without a profile in it" if compared.without_profile else ""
    say(f"{count(len(gaps), 'difference')} between {profile} and {count(compared.messages, 'message')}{without}")
    return FINDINGS if gaps else 0


def _of_profiles(first: Path, second: Path, *, as_json: bool) -> int:
    from engine.hl7.profile_diff import differences

    if not second.is_file():
        raise misuse(f"{second} cannot be read: there is no such file")
    found = differences(read_profile(first).profiles, read_profile(second).profiles)
    if as_json:
        for one in found:
            emit(
                {
                    "rule": one.rule,
                    "event": one.event,
                    "sender": one.sender,
                    "before": one.before or None,
                    "after": one.after or None,
                }
            )
    else:
        _show_differences(found, first, second)
    say(f"{count(len(found), 'difference')} between {first} and {second}")
    return FINDINGS if found else 0


def _show_differences(found: "list[Difference]", first: Path, second: Path) -> None:
    for sender in dict.fromkeys(one.sender for one in found):
        if sender:
            click.echo(styled(f"for {printable(sender)}", bold=True))
        rows = [
            (
                printable(f"{one.event} {one.rule}".strip()),
                printable(one.before) or styled("-", dim=True),
                printable(one.after) or styled("-", dim=True),
            )
            for one in found
            if one.sender == sender
        ]
        click.echo(columns(("rule", first.name, second.name), rows))


def _show_gaps(gaps: "list[Gap]") -> None:
    for kind, meaning in MEANINGS.items():
        of_kind = [gap for gap in gaps if gap.kind == kind]
        if not of_kind:
            continue
        click.echo(styled(meaning, bold=True))
        for gap in of_kind:
            owner = f" (owner: {gap.owner})" if gap.owner else ""
            if kind == "broken":
                mode = styled(str(gap.mode), fg=COLOURS.get(str(gap.mode)))
                first = f", first at {gap.location}" if gap.location else ""
                click.echo(f"  {gap.name}  {mode}  {gap.messages:,} of {gap.of:,} messages{first}")
                click.echo(f"      {printable(gap.text)}{printable(owner)}")
            elif kind == "unsent":
                click.echo(f"  {gap.name}  {printable(gap.text)}".rstrip())
            else:
                click.echo(f"  {gap.name}  filled {gap.messages:,} of {gap.of:,} times  {printable(gap.text)}".rstrip())


def _gap_as_json(gap: "Gap") -> dict[str, object]:
    return {
        "kind": gap.kind,
        "name": gap.name,
        "messages": gap.messages,
        "of": gap.of,
        "location": gap.location or None,
        "mode": gap.mode,
        "text": gap.text,
        "owner": gap.owner or None,
    }
