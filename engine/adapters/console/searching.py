"""Searches of the page of messages: read off an address or what was typed, within what is granted, a page at a time."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.problems import Problem, not_allowed
from engine.adapters.console.rendering import desk_of
from engine.adapters.search_pages import Listed, newer_page, older_page
from engine.config.search import OF_ADDRESS, Search, SearchError, from_address, in_address, parse_search, without
from engine.model.finding import Finding, load_findings
from engine.model.ids import MessageSeq
from engine.model.states import DeliveryState
from engine.ports.clock import from_us
from engine.ports.search import SPAN
from engine.ports.store import StoredMessage, StoreQueries

MOST_SECONDS: Final = 2.5
"""So long one page looks through messages; it says where to go on."""
AT_A_TIME: Final = SPAN


@dataclass(slots=True, frozen=True)
class Asked:
    """A search as it is asked: its words, and what an address says of it. `kept`: the word for one with values."""

    text: str
    search: Search
    names: tuple[str, ...]
    address: Mapping[str, Sequence[str]]

    @property
    def has_values(self) -> bool:
        """Whether it looks at what stands in messages, and so needs the right to read them."""
        one = self.search
        return bool(one.keys or one.number is not None or one.texts or one.paths)

    def link(self, path: str = "/messages", **more: object) -> str:
        """An address of it, without a value."""
        given = {name: value for name, value in more.items() if value is not None and value != []}
        query = urlencode({**self.address, **given}, doseq=True)
        return f"{path}?{query}" if query else path


@dataclass(slots=True, frozen=True)
class Row:
    """A message in the list: nothing of its values. `counts`: its deliveries by state."""

    message: StoredMessage
    counts: Mapping[DeliveryState, int]
    findings: Sequence[Finding]


def names_of(call: Call) -> tuple[str, ...]:
    """The keys that messages are looked up by now."""
    return call.api.site().keys.names


def asked_in_address(call: Call, given: Mapping[str, Sequence[str]], kept: str | None) -> Asked:
    """Raises Problem for a search that is not kept (any more), SearchError for what cannot be read."""
    names = names_of(call)
    address: dict[str, Sequence[str]] = {name: given[name] for name in OF_ADDRESS if given.get(name)}
    text = from_address(address)
    if kept is not None:
        found = desk_of(call).kept(kept)
        if not isinstance(found, KeptSearch):
            raise Problem(410, "E512")
        text, address = f"{found.text} {text}".strip(), {"search": [kept], **address}
    return Asked(text, parse_search(text, names, _now(call)), names, address)


@dataclass(slots=True, frozen=True)
class KeptSearch:
    """What was typed, kept for the session that typed it (`desks`)."""

    text: str


def typed(call: Call, text: str, since: str | None) -> Asked:
    """What was typed, with an address for it; `since`: in place of the times that it names, '' for none."""
    names = names_of(call)
    parse_search(text, names, _now(call))  # before it is taken apart
    if since is not None:
        text = " ".join(filter(None, (without(text, ("since", "until"), names), f"since:{since}" if since else "")))
    search = parse_search(text, names, _now(call))
    address = in_address(text, names)
    if address is None:
        address = {"search": [desk_of(call).keep(KeptSearch(text))]}
    return Asked(text, search, names, address)


def _now(call: Call) -> datetime:
    # Without a zone a time is the machine's, as on the command line.
    return from_us(call.api.clock.now_us()).astimezone(UTC)


def granted(call: Call, asked: Asked) -> tuple[str, ...] | None:
    """The channels that it may look at; None: all. Raises Problem where it may look at none."""
    channels = call.who.channels("read" if asked.has_values else "see")
    if channels is None:
        return None
    if not channels:
        raise not_allowed("it looks at values")
    return tuple(sorted(channels))


async def note(call: Call, asked: Asked, action: str = "search") -> None:
    """On record before it is done, with its words: they may quote a value, and so stand nowhere else."""
    by = call.by(scope=asked.text[:4000])
    await call.api.calls.ask(call.api.control.put_on_record(by, action), ACTION_TIMEOUT_S)


def fetch(
    queries: StoreQueries,
    asked: Asked,
    channels: Sequence[str] | None,
    before: MessageSeq | None,
    after: MessageSeq | None,
    limit: int,
) -> tuple[Listed, list[Row]]:
    """A page with its rows. Blocks."""
    end = time.monotonic() + MOST_SECONDS

    def is_over() -> bool:
        return time.monotonic() > end

    if after is not None:
        page = newer_page(queries, asked.search, asked.names, channels, after, limit, is_over)
    else:
        page = older_page(queries, asked.search, asked.names, channels, before, limit, is_over, span=AT_A_TIME)
    return page, [row_of(queries, message) for message in page.messages]


def row_of(queries: StoreQueries, message: StoredMessage) -> Row:
    """With what became of its deliveries."""
    counts = Counter(one.state for one in queries.deliveries(message.seq))
    return Row(message, counts, load_findings(message.findings))


def pointed(text: str, error: SearchError) -> tuple[str, str, str]:
    """What was typed, cut where it cannot be read: before, the rest from there, and the sentence with its hint."""
    sentence = error.message + (f": {error.hint}" if error.hint else "")
    return text[: error.column], text[error.column :], sentence
