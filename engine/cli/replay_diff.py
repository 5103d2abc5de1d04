"""`segmill replay --diff`: what a changed channel would make of traffic that is stored, grouped by cause."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from engine.cli.exits import CONFIGURATION, FINDINGS, Failure
from engine.cli.output import count, emit, printable, say, styled
from engine.cli.own_code import OwnCodeEnded, deadline_here, guarded
from engine.cli.progress import counted
from engine.cli.replaying import Versions

if TYPE_CHECKING:
    from engine.cli.replaying import AsOf
    from engine.hl7.message import Message
    from engine.pipeline.compile import CompiledChannel
    from engine.pipeline.run import Result
    from engine.pipeline.trace import Trace
    from engine.pipeline.version_diff import Differs, VersionDiff
    from engine.ports.store import StoredMessage, StoreQueries

TITLES = {
    "state": "ends otherwise",
    "answer": "is answered otherwise",
    "finding": "findings",
    "route": "goes elsewhere",
    "field": "fields",
}


class NewFiles:
    """Channels of the site's files as they are now, compiled once."""

    def __init__(self, site: Path) -> None:
        self._site = site
        self._made: dict[str, CompiledChannel | None] = {}

    def of_message(self, message: "StoredMessage") -> "CompiledChannel | None":
        """The channel that would process it."""
        return self.of(str(message.channel))

    def of(self, name: str) -> "CompiledChannel | None":
        """None where there is no such channel any more. Raises Failure 78 where it has errors."""
        from engine.cli.site_channels import compiled, loaded_channels
        from engine.cli.sites import CHANNEL_FILE, CHANNELS

        if name not in self._made:
            is_there = (self._site / CHANNELS / name / CHANNEL_FILE).is_file()
            self._made[name] = compiled(loaded_channels(self._site, [name])[1][0], self._site) if is_there else None
        return self._made[name]


def diff(
    queries: "StoreQueries",
    messages: "Sequence[StoredMessage]",
    current: dict[str, int],
    as_of: "AsOf | Literal['new']",
    site: Path | None,
) -> "VersionDiff":
    """Run every message through the version that runs and the one asked for. Those without bytes are left out.

    Code of the site's own may take as long for each as the site says.
    """
    from engine.pipeline.version_diff import VersionDiff, compare_versions
    from engine.ports.clock import from_us

    other: Callable[[StoredMessage], CompiledChannel | None]
    if as_of is None or as_of == "new":
        if site is None:
            raise Failure(CONFIGURATION, "no site here whose files could be compared", "Name it: --site FOLDER")
        other = NewFiles(site).of_message
    else:
        other = Versions(queries, current, as_of).of
    runs = Versions(queries, current, None)
    deadline_s = deadline_here(site)
    run, trace = partial(_run, deadline_s=deadline_s), partial(_trace, deadline_s=deadline_s)
    found = VersionDiff()
    gone: set[str] = set()
    for message in counted(messages, "messages", len(messages)):
        stored = message if message.raw is not None else queries.message(message.seq)
        if stored is None or stored.raw is None or stored.state == "rejected":
            continue
        new = other(stored)
        if new is None:
            gone.add(str(stored.channel))
            continue
        now = from_us(stored.received_at_us)
        found.note(stored.seq, compare_versions(runs.of(stored), new, stored.raw, now, run, trace))
    for name in sorted(gone):
        say(f"channel {name} is not in the files any more; its messages are left out")
    return found


def _run(channel: "CompiledChannel", message: "Message", now: datetime, *, deadline_s: float) -> "Result":
    from engine.pipeline.run import Result

    if not channel.isolated:
        return channel.run(message, now)
    try:
        return guarded(lambda: channel.run(message, now), deadline_s)
    except OwnCodeEnded as ended:
        return Result("held", [], (ended.finding,))


def _trace(channel: "CompiledChannel", message: "Message", now: datetime, *, deadline_s: float) -> "Trace":
    from engine.pipeline.run import Result
    from engine.pipeline.trace import Trace

    if not channel.isolated:
        return channel.trace(message, now)
    try:
        return guarded(lambda: channel.trace(message, now), deadline_s)
    except OwnCodeEnded as ended:
        return Trace((), (), (), Result("held", [], (ended.finding,)), message)


def show(found: "VersionDiff", *, show_values: bool) -> int:
    """To people; the exit code."""
    before = ""
    for (kind, place, step), group in found.sorted():
        if kind != before:
            click.echo(styled(TITLES[kind], bold=True))
            before = kind
        at = f"{styled(printable(place), fg='yellow')}  " if place else ""
        click.echo(f"  {group.messages:>7,}  {at}{styled(printable(step), dim=True)}")
        for seq, differs in group.examples:
            click.echo(f"           message {seq}: {_sides(differs, show_values=show_values)}")
    if found.groups and not show_values and any(key[0] in ("field", "answer") for key in found.groups):
        say("Values are masked; --show-values shows them.")
    say(f"{count(found.messages, 'message')}: {found.same:,} come out the same, {found.differing:,} otherwise")
    return FINDINGS if found.differing else 0


def _sides(differs: "Differs", *, show_values: bool) -> str:
    is_value = differs.kind in ("field", "answer")
    sides = []
    for text in (differs.before, differs.after):
        if text is None:
            sides.append("(none)")
        elif is_value:
            sides.append(f'"{printable(text if show_values else _masked(text))}"')
        else:
            sides.append(printable(text))
    return f"{sides[0]} -> {sides[1]}"


def _masked(text: str) -> str:
    return "".join("*" if c.isalnum() or not c.isascii() else c for c in text)


def tell(found: "VersionDiff", *, show_values: bool) -> int:
    """To programs; the exit code."""
    groups: list[dict[str, Any]] = []
    for (kind, place, step), group in found.sorted():
        is_value = kind in ("field", "answer")
        examples = [
            {"seq": seq, "before": differs.before, "after": differs.after}
            if show_values or not is_value
            else {"seq": seq}
            for seq, differs in group.examples
        ]
        groups.append({"kind": kind, "place": place, "step": step, "messages": group.messages, "examples": examples})
    emit({"messages": found.messages, "same": found.same, "differing": found.differing, "groups": groups})
    return FINDINGS if found.differing else 0
