"""What is said before an action on stored messages."""

from collections import Counter
from dataclasses import dataclass, field

import click

from engine.cli.output import columns, count, emit, say
from engine.model.ids import MessageSeq


@dataclass(slots=True)
class Plan:
    """What an action would do: how many messages, counted by channel and by `what` (destination, state)."""

    action: str
    question: str
    what: str
    messages: int
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: list[MessageSeq] = field(default_factory=list)

    def show(self, *, as_json: bool, **more: object) -> None:
        """To standard output as JSON, with `more`, else to people."""
        rows = sorted(self.counted.items())
        if as_json:
            plan = [{"channel": channel, self.what: name, "count": number} for (channel, name), number in rows]
            emit({"action": self.action, "messages": self.messages, "plan": plan, "first": self.first, **more})
        elif not self.messages:
            say("No message is meant by this.")
        else:
            texts = [(channel, name, str(number)) for (channel, name), number in rows]
            click.echo(columns(("channel", self.what, "count"), texts, right=("count",)), err=True)
            if self.first:
                others = self.messages - len(self.first)
                say(f"message {', '.join(map(str, self.first))}" + (f" and {count(others, 'other')}" if others else ""))
