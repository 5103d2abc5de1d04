"""In which character sets the senders of one channel write, as counted since the start (hl7.md item 59).

Names of senders come from messages, so there is a bound to how many are kept, and they are never a metric's label:
the metric counts by evidence alone, this is what a person asks for (`segmill senders`).
"""

from collections.abc import Sequence
from typing import Final

from engine.hl7.charset import Evidence
from engine.model.finding import Finding
from engine.ports.control import SenderStatus
from engine.ports.meter import ChannelMeter

MOST_SENDERS: Final = 200
"""How many senders of one channel are counted by name; the rest together."""

OTHERS: Final = "(others)"

_LABELS: Final[dict[Evidence, str]] = {
    "declared": "declared",
    "utf-8 found": "utf-8",
    "windows-1252 found": "windows-1252",
    "fallback": "fallback",
}


class Senders:
    """The counters of one channel. Messages of plain ASCII, which need no evidence, are not counted."""

    __slots__ = ("_counts", "_meter")

    def __init__(self, meter: ChannelMeter) -> None:
        self._meter = meter
        self._counts: dict[str, dict[str, int]] = {}

    def count(self, sender: str, evidence: Evidence, findings: Sequence[Finding]) -> None:
        """One more message of `sender` that was read by `evidence`, with what was found about it."""
        label = _LABELS.get(evidence)
        if label is None:
            return
        if label == "declared" and any(finding.code == "W304" for finding in findings):
            label = "broken"
        self._meter.charset(label)
        counts = self._counts.get(sender)
        if counts is None:
            name = sender if len(self._counts) < MOST_SENDERS else OTHERS
            counts = self._counts.setdefault(name, {})
        counts[label] = counts.get(label, 0) + 1

    def status(self) -> tuple[SenderStatus, ...]:
        """By name; those that are not counted by name last."""
        names = sorted(self._counts, key=lambda name: (name == OTHERS, name))
        return tuple(SenderStatus(name, dict(self._counts[name])) for name in names)
