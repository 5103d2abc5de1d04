"""What the page of one message shows, put together from the store: bounded, whatever the message is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.adapters.api.versions import Versions
from engine.adapters.console.excerpt import Excerpt, excerpt
from engine.adapters.console.flow import MOST_TRACED, OutShown, Recomputed, compared, recompute
from engine.adapters.console.journey import Event, journey
from engine.adapters.console.tree import Tree, tree
from engine.adapters.console.values import Part, parts
from engine.config.codes import CODES
from engine.config.story import Story
from engine.hl7.charset import text_of
from engine.hl7.errors import Notice
from engine.model.finding import Finding, load_findings
from engine.ports.bench import Stepped
from engine.ports.operations import Links
from engine.ports.store import StoredAttempt, StoredDelivery, StoredMessage, StoreQueries

MOST_LINES: Final = 500
MOST_LINE: Final = 4000
MOST_DUMPED: Final = 1024
MOST_ANSWER: Final = 16 * 1024
MOST_DELIVERIES: Final = 100

Line = tuple[Part, ...]


@dataclass(slots=True, frozen=True)
class Bytes:
    """Bytes as text with what does not show as marks, a segment a line; `dump`: of what is no text, in hexadecimal.

    `codec`: how they were read. `more`: so many lines are left out; `is_cut`: so is what is behind the excerpt.
    """

    lines: tuple[Line, ...]
    size: int
    codec: str
    dump: tuple[str, ...] = ()
    more: int = 0
    is_cut: bool = False


@dataclass(slots=True, frozen=True)
class AttemptView:
    attempt: StoredAttempt
    answer: Bytes | None


@dataclass(slots=True, frozen=True)
class DeliveryView:
    """`out`: what it carries otherwise than what came in. Bytes only where values are shown."""

    delivery: StoredDelivery
    out: OutShown
    attempts: tuple[AttemptView, ...] = ()
    body: Bytes | None = None
    answer: Bytes | None = None


@dataclass(slots=True, frozen=True)
class FindingView:
    finding: Finding
    story: Story | None


@dataclass(slots=True, frozen=True)
class View:
    """`shows`: with values. `seen` None: the bytes are no longer kept. `notices`: what was odd about how it is
    written. `size`: of the whole message."""

    stored: StoredMessage
    shows: bool
    size: int
    events: Sequence[Event]
    findings: tuple[FindingView, ...]
    deliveries: tuple[DeliveryView, ...]
    more_deliveries: int
    links: Links
    made: Recomputed
    seen: Excerpt | None
    tree: Tree | None
    raw: Bytes | None
    ack: Bytes | None
    notices: tuple[Notice, ...] = ()


def view(
    queries: StoreQueries,
    versions: Versions,
    stored: StoredMessage,
    *,
    show_values: bool,
    told: Stepped | str | None = None,
) -> View:
    """Blocks, for some milliseconds. Never raises for what the message is. `told`: of `own_steps`."""
    is_large = stored.raw is not None and len(stored.raw) > MOST_TRACED
    every = queries.deliveries(stored.seq)
    if not is_large:
        every = queries.deliveries(stored.seq, bodies=True)
    attempts = queries.attempts(stored.seq)
    made = recompute(queries, versions, stored, show_values=show_values, told=told)
    fallback = made.channel.fallback_charset if made.channel is not None else "cp1252"
    seen = None if stored.raw is None else excerpt(stored.raw, fallback)
    message = None if seen is None else seen.message
    return View(
        stored,
        show_values,
        len(stored.raw or b""),
        journey(stored, every, attempts),
        tuple(FindingView(one, CODES.get(one.code)) for one in load_findings(stored.findings)),
        tuple(
            _delivery(stored, one, [a for a in attempts if a.delivery_id == one.id], made, show_values, is_large)
            for one in every[:MOST_DELIVERIES]
        ),
        max(0, len(every) - MOST_DELIVERIES),
        queries.links(stored.seq),
        made,
        seen,
        None if message is None else tree(message, show_values=show_values),
        shown_bytes(seen) if seen is not None and show_values else None,
        shown_bytes(excerpt(stored.ack, most=MOST_ANSWER)) if stored.ack and show_values else None,
        () if message is None else message.warnings,
    )


def _delivery(
    stored: StoredMessage,
    one: StoredDelivery,
    attempts: Sequence[StoredAttempt],
    made: Recomputed,
    show_values: bool,
    is_large: bool,
) -> DeliveryView:
    if is_large:
        out = OutShown((), words=f"a message of more than {MOST_TRACED // 1024} kB is not compared here")
    else:
        out = compared(stored, one, made, show_values=show_values)
    shown = tuple(AttemptView(attempt, _answer(attempt.answer, show_values)) for attempt in attempts)
    body = shown_bytes(excerpt(one.body)) if one.body is not None and show_values else None
    return DeliveryView(one, out, shown, body, _answer(one.answer, show_values))


def _answer(raw: bytes, show_values: bool) -> Bytes | None:
    return shown_bytes(excerpt(raw, most=MOST_ANSWER)) if raw and show_values else None


def shown_bytes(seen: Excerpt) -> Bytes:
    """An excerpt as lines."""
    if seen.form == "unreadable":
        return Bytes((), seen.size, "none", tuple(_dumped(seen.raw[:MOST_DUMPED])), 0, seen.size > MOST_DUMPED)
    codec = seen.message.codec if seen.message is not None else "utf_8"
    end = "\r" if seen.form == "hl7" else "\n"
    texts = text_of(seen.raw, codec).split(end)
    if not texts[-1]:
        texts.pop()
        last_has_end = True
    else:
        last_has_end = False
    lines: list[Line] = []
    for number, text in enumerate(texts[:MOST_LINES], 1):
        mark = (Part("CR" if end == "\r" else "LF", mark=True),)
        lines.append(parts(text, MOST_LINE) + (mark if number < len(texts) or last_has_end else ()))
    return Bytes(tuple(lines), seen.size, codec, (), max(0, len(texts) - MOST_LINES), seen.is_cut)


def _dumped(raw: bytes) -> list[str]:
    """Sixteen bytes a line: place, hexadecimal, and what of it is ASCII."""
    found = []
    for at in range(0, len(raw), 16):
        row = raw[at : at + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        found.append(f"{at:08x}  {row.hex(' '):<47}  {text}")
    return found
