"""A message's journey as it is told to a tracer: receive, decide, commit, and each attempt to deliver it."""

from typing import Protocol

from engine.model.envelope import Delivery, Intake
from engine.model.ids import ChannelName, MessageSeq


class Tracing(Protocol):
    """Called on the engine's loop, after the fact; costs next to nothing and never raises. All times are monotonic."""

    def monotonic(self) -> float:
        """The clock that these times are by."""
        ...

    def stored(self, seq: MessageSeq, record: Intake, began_s: float, decided_s: float) -> None:
        """It came at `began_s`, what becomes of it was known at `decided_s`, and now it is stored and answered."""
        ...

    def processed(
        self, seq: MessageSeq, channel: ChannelName, received_at_us: int, state: str, findings: str, began_s: float
    ) -> None:
        """One that was answered when it was stored was run through its channel since `began_s`."""
        ...

    def attempted(self, delivery: Delivery, outcome: str, took_s: float) -> None:
        """An attempt to deliver it has come to this end; `outcome` is the metric's word."""
        ...

    def stop(self) -> None:
        """Send what is left, for a moment. From any thread."""
        ...


class TraceMeter(Protocol):
    """What is counted of traces."""

    def spans(self, outcome: str, count: int) -> None:
        """exported; dropped: there was no room for them; refused: the collector did not want them."""
        ...

    def collector(self, is_up: bool) -> None: ...
