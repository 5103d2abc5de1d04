"""How times, ages, sizes, numbers and states are shown: filters of the templates, and functions for pages."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from engine.adapters.console.values import parts

SECOND: Final = 1_000_000
UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

KINDS: Final = {
    "delivered": "ok",
    "processed": "ok",
    "received": "quiet",
    "filtered": "quiet",
    "joined": "quiet",
    "discarded": "quiet",
    "redirected": "quiet",
    "queued": "info",
    "waiting": "info",
    "held": "warn",
    "failed": "bad",
    "rejected": "bad",
    "refused": "bad",
    "error": "bad",
    "warning": "warn",
    "information": "quiet",
}
WORDS: Final = {"rejected": "refused"}
"""Ours for people, where the store has another one."""


def duration(seconds: float) -> str:
    """`640 ms`, `12 s`, `3 min`, `4 h 5 min`, `2 d 3 h`."""
    if seconds < 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    whole = int(seconds)
    for at, (size, name) in enumerate(UNITS):
        if whole >= size:
            rest, below = whole % size, UNITS[at + 1] if at + 1 < len(UNITS) else None
            more = f" {rest // below[0]} {below[1]}" if below is not None and size >= 3600 and rest >= below[0] else ""
            return f"{whole // size} {name}{more}"
    return "0 s"


def size(count: float | None) -> str:
    """`512 B`, `3.4 kB`, `20 MB`."""
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(count: float) -> str:
    """With narrow spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def moment(us: int, zone: tzinfo) -> datetime:
    """In the site's zone."""
    return datetime.fromtimestamp(us / SECOND, UTC).astimezone(zone)


def iso(us: int) -> str:
    """RFC 3339 in UTC, for `datetime`."""
    return datetime.fromtimestamp(us / SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pass_context
def time_(context: Context, us: int | None, precise: bool = False) -> Markup:
    """`07:31:05` of today, else with its date; the whole of it on hovering. Nothing for 0."""
    if not us:
        return Markup("")
    at, now = moment(us, context["zone"]), moment(context["now_us"], context["zone"])
    text = f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S}"
    text += f".{at.microsecond // 1000:03d}" if precise else ""
    return _marked(us, text, f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {at.tzname()}")


@pass_context
def age(context: Context, us: int | None) -> Markup:
    """`3 min`: how long ago, `1 s` at the least; the time itself on hovering. Nothing for 0."""
    if not us:
        return Markup("")
    at = moment(us, context["zone"])
    return _marked(
        us, duration(max(int((context["now_us"] - us) / SECOND), 1)), f"{at:%Y-%m-%d %H:%M:%S} {at.tzname()}"
    )


def _marked(us: int, text: str, title: str) -> Markup:
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(us), title, text)


def badge(state: str, text: str = "") -> Markup:
    """A state with its colour; the word says it, too."""
    return Markup('<span class="badge {}">{}</span>').format(KINDS.get(state, "quiet"), text or WORDS.get(state, state))


def kind_of(state: str) -> str:
    """The colour of a state, for what is more than its word."""
    return KINDS.get(state, "quiet")


def count(number_: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number(number_)} {noun}" if number_ == 1 else f"{number(number_)} {noun}s"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "time": time_,
    "age": age,
    "duration": duration,
    "size": size,
    "number": number,
    "badge": badge,
    "kind_of": kind_of,
    "count_of": count,
    "iso": iso,
    "parts": parts,
}
