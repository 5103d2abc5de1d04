"""Runs held messages again, without any effect, to see which codes they wait for: within the bounds of one request.

Code of the site's own is not run here: it would run in the engine's process.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.config.site import load_version
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, MessageSeq, VersionId
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.misses import NO_ROW, Missed, Misses, missed_in
from engine.pipeline.registry import load_kinds, load_steps
from engine.ports.clock import from_us
from engine.ports.store import StoredMessage, StoreQueries

MOST_MESSAGES: Final = 10_000
MOST_SECONDS: Final = 15.0
OWN_CODE: Final = "its channel runs code of its own, which is not run here: segmill tables misses"


@dataclass(slots=True, frozen=True)
class Looked:
    """What was found; `is_cut`: not all messages could be looked at within one request."""

    misses: Misses
    is_cut: bool


def look(queries: StoreQueries, channels: Sequence[str] | None) -> Looked:
    """Of all messages of these channels that are held for the lack of a row; None: of any channel."""

    def held() -> Iterator[StoredMessage]:
        for name in (None,) if channels is None else channels:
            of = None if name is None else ChannelName(name)
            yield from queries.messages(channel=of, states=("held",), newest_first=False, bodies=True)

    return _look(queries, held())


def look_at(queries: StoreQueries, seqs: Sequence[int]) -> Looked:
    """Of these messages, as far as they are held for the lack of a row."""
    found = (queries.message(MessageSeq(seq)) for seq in seqs)
    return _look(queries, (one for one in found if one is not None and one.state == "held"))


def _look(queries: StoreQueries, held: Iterable[StoredMessage]) -> Looked:
    looking, found = _Looking(queries), Misses()
    end = time.monotonic() + MOST_SECONDS
    for looked_at, stored in enumerate(held):
        if looked_at >= MOST_MESSAGES or time.monotonic() > end:
            return Looked(found, True)
        if all(finding.code != NO_ROW for finding in load_findings(stored.findings)):
            continue
        try:
            found.note(stored.seq, from_us(stored.received_at_us), looking.missed(stored))
        except _Unread as reason:
            found.unread.setdefault(str(reason), []).append(stored.seq)
    return Looked(found, False)


class _Unread(Exception):
    """The cause could not be found; the text says why, with nothing of the message."""


class _Looking:
    """By the version of their channel that held them."""

    def __init__(self, queries: StoreQueries) -> None:
        self._queries = queries
        self._made: dict[int, CompiledChannel | str] = {}

    def missed(self, stored: StoredMessage) -> list[Missed]:
        """Each lookup without a row. Raises _Unread."""
        channel = self._channel(stored)
        if stored.raw is None:
            raise _Unread("its bytes are no longer kept")
        try:
            message = Message.parse(stored.raw, fallback=channel.fallback_charset)
        except UnreadableMessage:
            raise _Unread("it cannot be read here") from None
        found = missed_in(str(stored.channel), channel.trace(message, from_us(stored.received_at_us)))
        if not found:
            raise _Unread("run again, it is not held for the lack of a row")
        return found

    def _channel(self, stored: StoredMessage) -> CompiledChannel:
        if stored.version not in self._made:
            self._made[stored.version] = self._make(stored.channel, stored.version)
        made = self._made[stored.version]
        if isinstance(made, str):
            raise _Unread(made)
        return made

    def _make(self, name: ChannelName, version: VersionId) -> "CompiledChannel | str":
        files = self._queries.version_files(version)
        if not files:
            return "the version of its channel is not recorded"
        if any(path.endswith(".py") for path in files):
            return OWN_CODE
        loaded, findings = load_version(name, files, load_kinds())
        if loaded is None:
            codes = ", ".join(sorted({finding.code for finding in findings if finding.is_error}))
            return f"the version of its channel cannot run here ({codes})"
        try:
            return compile_channel(loaded, load_steps())
        except ChannelError as error:
            return f"the version of its channel cannot run here ({error.finding.code})"
