"""What became of each thing in a Mirth export: carried over, carried over with a difference, or left to do."""

from dataclasses import dataclass, field
from typing import Literal

from engine.config.xml_tree import Element

Fate = Literal["carried", "differs", "todo", "fill-in"]
"""`todo`: not carried over. `fill-in`: the channel does not pass `segmill check` before somebody writes it."""


@dataclass(slots=True, frozen=True)
class Item:
    """One thing of the export. `place` and `line` say where it stands there; `channel` is Mirth's name of it, or ''."""

    fate: Fate
    channel: str
    what: str
    text: str
    place: str
    line: int


@dataclass(slots=True)
class Report:
    """Gathers the items of one export, in the order in which things stand in it."""

    items: list[Item] = field(default_factory=list)

    def of(self, channel: str) -> "Ledger":
        return Ledger(self, channel)


@dataclass(slots=True)
class Ledger:
    """The report of one channel."""

    report: Report
    channel: str

    def add(self, fate: Fate, what: str, text: str, element: Element, place: str) -> None:
        self.report.items.append(Item(fate, self.channel, what, text, place, element.line))
