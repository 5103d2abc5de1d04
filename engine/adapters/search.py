"""Answers searches: what people typed, as pieces that the store can answer, one after the other.

The store leads to messages by keys, control id and states, and looks for texts; what is asked of places in a message is
decided here, on its bytes. Each page says where the next one goes on, how much was looked at and how much is left.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from engine.adapters.giving_way import giving_way
from engine.config.search import PathTerm, Search
from engine.hl7.errors import Hl7Error
from engine.hl7.message import Message
from engine.hl7.search_keys import comparable
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.search import SPAN, Find
from engine.ports.store import StoredMessage, StoreQueries

MOST_WAYS: Final = 6
HEX_ESCAPE: Final = b"\\x"
"""In small letters: a value may stand in a message as hexadecimal, which no search for its text finds."""


@dataclass(slots=True, frozen=True)
class Page:
    """One page of an answer, newest first. `before`: the cursor of the next one, None where there is none.

    `left`: at most so many messages have still to be looked at. `unread`: so many stored ones are not found by their
    keys yet.
    """

    messages: Sequence[StoredMessage]
    before: MessageSeq | None
    looked_at: int
    left: int
    unread: int


@dataclass(slots=True, frozen=True)
class Progress:
    """How far a page is: messages looked at, at most so many left, and found."""

    looked_at: int
    left: int
    found: int


def search_page(
    queries: StoreQueries,
    search: Search,
    names: Iterable[str],
    *,
    before: MessageSeq | None = None,
    limit: int = 50,
    most: int | None = None,
    span: int = SPAN,
    bodies: bool = False,
    channels: Sequence[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Page:
    """One page. Blocks; to be called off the loop. `names`: the keys that are declared. `channels`: of these alone;
    None: of any.

    Ends with fewer than `limit` once it has looked at `most` messages; then `before` says where to go on. Raises what
    `find` raises, SearchCancelled too.
    """
    wanted = find_of(search, names, channels)
    found: list[StoredMessage] = []
    looked_at = 0
    while True:
        piece = queries.find(
            wanted,
            before=before,
            limit=limit - len(found),
            span=span,
            bodies=bodies or bool(search.paths),
            is_cancelled=is_cancelled,
        )
        looked_at += piece.looked_at
        taken = giving_way(piece.messages) if search.paths else piece.messages
        found += [message for message in taken if holds(search.paths, message)]
        before = piece.before
        if on_progress is not None:
            on_progress(Progress(looked_at, piece.left, len(found)))
        if before is None or len(found) >= limit or (most is not None and looked_at >= most):
            unread = queries.unread_keys() if search.keys or search.number is not None else 0
            return Page(found, before, looked_at, piece.left, unread)


def find_of(search: Search, names: Iterable[str], channels: Sequence[str] | None = None) -> Find:
    """What of a search the store answers. `channels`: of these alone; None: of any."""
    number = search.number
    texts = [ways(text) for text in search.texts]
    for path in search.paths:
        if path.quoted:
            texts.append((path.quoted.lower().encode(), HEX_ESCAPE))
    return Find(
        keys=search.keys,
        any_of=() if number is None else tuple((name, comparable(number)) for name in names),
        or_control_id=number,
        texts=tuple(texts),
        control_id=search.control_id,
        channel=None if search.channel is None else ChannelName(search.channel),
        channels=None if channels is None else tuple(map(ChannelName, channels)),
        states=search.states,
        delivery_states=search.delivery_states,
        message_type=search.message_type,
        sender=search.sender,
        since_us=search.since_us,
        until_us=search.until_us,
    )


def ways(text: str) -> tuple[bytes, ...]:
    """How a text may stand in a message: in UTF-8 or a set of Western Europe, small letters of ASCII only.

    Letters beyond ASCII as typed, all small, or all capital. Where the text holds a delimiter, as HL7 escapes it.
    """
    escaped = "".join({"\\": "\\e\\", "|": "\\f\\", "^": "\\s\\", "&": "\\t\\", "~": "\\r\\"}.get(c, c) for c in text)
    forms = [text] if text.isascii() else [text, text.lower(), text.upper()]
    if escaped != text:
        forms.append(escaped)
    found: dict[bytes, None] = {}
    for form, codec in product(forms, ("utf-8", "cp1252")):
        try:
            found[form.encode(codec).lower()] = None
        except UnicodeEncodeError:
            continue
    return tuple(found)[:MOST_WAYS]


def holds(paths: Sequence[PathTerm], stored: StoredMessage) -> bool:
    """Whether a message, which comes with its bytes, has all this; of one that cannot be read, nothing is so."""
    if not paths:
        return True
    if stored.raw is None:
        return False
    try:
        message = Message.parse(stored.raw)
        return all(path.condition(message) for path in paths)
    except Hl7Error:
        return False
