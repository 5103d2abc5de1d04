"""The console's words for states, and how each looks; the colour is never the only sign."""

from typing import Final, Literal

from engine.model.states import DeliveryState, MessageState

Look = Literal["ok", "warn", "bad", "quiet"]

MESSAGE_WORDS: Final[dict[MessageState, str]] = {
    "received": "received",
    "processed": "processed",
    "filtered": "filtered",
    "held": "held",
    "rejected": "refused",
    "discarded": "discarded",
    "waiting": "waits for its other parts",
    "joined": "joined",
}
MESSAGE_LOOKS: Final[dict[MessageState, Look]] = {
    "received": "quiet",
    "processed": "ok",
    "filtered": "quiet",
    "held": "warn",
    "rejected": "bad",
    "discarded": "quiet",
    "waiting": "quiet",
    "joined": "quiet",
}
DELIVERY_WORDS: Final[dict[DeliveryState, str]] = {
    "queued": "queued",
    "delivered": "delivered",
    "held": "held",
    "failed": "failed",
    "redirected": "redirected",
}
DELIVERY_LOOKS: Final[dict[DeliveryState, Look]] = {
    "queued": "quiet",
    "delivered": "ok",
    "held": "warn",
    "failed": "bad",
    "redirected": "quiet",
}


def duration(us: int) -> str:
    """A span of time for people, in the unit that says most."""
    if us < 0:
        return "0 ms"
    ms = us / 1000
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
