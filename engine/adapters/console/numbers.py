"""The numbers of a channel as the overview shows them, for the page and for the stream that keeps it fresh.

From the meter and the pulse: plain counters that any thread may read, so that a page that is left open costs the
engine's loop nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.adapters.api.entries import Api
from engine.adapters.console.shown import duration, number
from engine.adapters.metrics_numbers import ChannelNumbers, LaneNumbers

SECOND: Final = 1_000_000
COLUMNS: Final = ("received", "filtered", "held", "queued", "delivered", "failed", "refused", "last", "oldest", "p99")


@dataclass(slots=True, frozen=True)
class Numbers:
    """`received`, `filtered`, `refused`, `delivered`: since the engine started. `held`, `queued`, `failed`: now."""

    received: int
    filtered: int
    held: int
    queued: int
    delivered: int
    failed: int
    refused: int
    last_us: int
    oldest_us: int
    p99_s: float | None

    def cells(self, now_us: int) -> Mapping[str, str]:
        """As they are shown, by column."""
        p99 = ""
        if self.p99_s is not None:
            p99 = "over 30 s" if self.p99_s == float("inf") else f"≤ {_short(self.p99_s)}"
        return {
            "received": number(self.received),
            "filtered": number(self.filtered),
            "held": number(self.held),
            "queued": number(self.queued),
            "delivered": number(self.delivered),
            "failed": number(self.failed),
            "refused": number(self.refused),
            "last": _age(self.last_us, now_us),
            "oldest": _age(self.oldest_us, now_us),
            "p99": p99,
        }


def _short(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def _age(us: int, now_us: int) -> str:
    return duration((now_us - us) / SECOND) if us else "–"


def numbers_by_channel(api: Api) -> dict[str, Numbers]:
    """Of every channel that something was counted for, in one pass over all destinations."""
    meter, pulse = api.meter, api.pulse
    lanes: dict[str, list[LaneNumbers]] = {}
    for (channel, _), lane in list(meter.lanes.items()):
        lanes.setdefault(channel, []).append(lane)
    held = pulse.held()
    return {
        channel: _numbers(
            own, lanes.get(channel, ()), held.get(channel, 0), pulse.failed(channel), pulse.ack_p99_s(channel)
        )
        for channel, own in list(meter.channels.items())
    }


def _numbers(own: ChannelNumbers, lanes: Sequence[LaneNumbers], held: int, failed: int, p99_s: float | None) -> Numbers:
    return Numbers(
        received=own.total,
        filtered=own.outcomes.values["filtered"],
        held=held,
        queued=sum(lane.queued for lane in lanes),
        delivered=sum(lane.outcomes.values["delivered"] for lane in lanes),
        failed=failed,
        refused=own.outcomes.values["rejected"] + own.outcomes.values["refused"],
        last_us=int(own.last_received_s * SECOND),
        oldest_us=min((lane.oldest_us for lane in lanes if lane.queued and lane.oldest_us), default=0),
        p99_s=p99_s,
    )


NOTHING: Final = _numbers(ChannelNumbers(), (), 0, 0, None)
"""Of a channel that nothing was counted for yet."""
