"""What is said and asked before an action on stored messages, and reported after it."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from engine.cli.command import misuse
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, say

if TYPE_CHECKING:
    from engine.cli.engine_access import Done


@dataclass(slots=True)
class Plan:
    """What an action would do: how many messages, counted by channel and by `what` (destination, state)."""

    action: str
    question: str
    what: str
    messages: int
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def show(self, *, as_json: bool) -> None:
        """To standard output as JSON, else to people."""
        rows = sorted(self.counted.items())
        if as_json:
            plan = [{"channel": channel, self.what: name, "count": number} for (channel, name), number in rows]
            emit({"action": self.action, "messages": self.messages, "plan": plan})
        elif not self.messages:
            say("No message is meant by this.")
        else:
            texts = [(channel, name, str(number)) for (channel, name), number in rows]
            click.echo(columns(("channel", self.what, "count"), texts, right=("count",)), err=True)

    def confirm(self, *, yes: bool, as_json: bool) -> None:
        """Show it and ask, unless `yes`. With nobody at a terminal to ask, raises a misuse."""
        if yes:
            return
        if not as_json:
            self.show(as_json=False)
        if not sys.stdin.isatty():
            raise misuse("nobody is here to ask: say --yes to do it, or --plan to see only what it would do")
        click.confirm(self.question, abort=True, err=True)


def report(done: "Done", words: str, *, as_json: bool) -> int:
    """Say what was done and what was left alone; the exit code is 1 if something was left."""
    if as_json:
        left = [{"seq": seq, "reason": reason} for seq, reason in done.left]
        emit({"messages": done.messages, "deliveries": done.deliveries, "left": left})
    else:
        say(f"{words}: {count(done.messages, 'message')}, {count(done.deliveries, 'delivery', 'deliveries')}")
        for seq, reason in done.left:
            say(f"left alone: message {seq}, {reason}")
        if any("held again" in reason for _, reason in done.left):
            say("After a change of a channel or table: segmill reload, then release again.")
    return FINDINGS if done.left else 0
