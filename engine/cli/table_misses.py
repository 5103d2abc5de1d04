"""Which codes the held messages wait for: found by running each of them again, without any effect."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.cli.own_code import DEADLINE_S
from engine.cli.progress import counted
from engine.cli.replaying import Versions
from engine.model.finding import load_findings
from engine.model.ids import ChannelName
from engine.pipeline.misses import NO_ROW, Missed, Misses, missed_in

if TYPE_CHECKING:
    from engine.ports.store import StoredMessage, StoreQueries


def misses(queries: "StoreQueries", channel: str | None = None, *, deadline_s: float = DEADLINE_S) -> Misses:
    """What is held for the lack of a row. `deadline_s`: what one message may take in the site's own code."""
    from engine.ports.clock import from_us

    found = Misses()
    versions = Versions(queries, {}, "received")
    for stored in counted(_held(queries, channel), "held messages"):
        try:
            missed = _missed(stored, versions, deadline_s)
        except _Unread as reason:
            found.unread.setdefault(str(reason), []).append(stored.seq)
        else:
            found.note(stored.seq, from_us(stored.received_at_us), missed)
    return found


class _Unread(Exception):
    """The cause could not be found; the text says why, with nothing of the message."""


def _held(queries: "StoreQueries", channel: str | None) -> Iterator["StoredMessage"]:
    of = None if channel is None else ChannelName(channel)
    for stored in queries.messages(channel=of, states=("held",), newest_first=False, bodies=True):
        if any(finding.code == NO_ROW for finding in load_findings(stored.findings)):
            yield stored


def _missed(stored: "StoredMessage", versions: Versions, deadline_s: float) -> list[Missed]:
    from engine.cli.exits import Failure
    from engine.cli.own_code import OwnCodeEnded, guarded
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.ports.clock import from_us

    if stored.raw is None:
        raise _Unread("its bytes are no longer kept")
    try:
        channel = versions.of(stored)
        message = Message.parse(stored.raw, fallback=channel.fallback_charset)
        trace = guarded(lambda: channel.trace(message, from_us(stored.received_at_us)), deadline_s)
    except Failure as failure:
        raise _Unread(failure.sentence) from None
    except UnreadableMessage:
        raise _Unread("it cannot be read here") from None
    except OwnCodeEnded as ended:
        raise _Unread(str(ended)) from None
    missed = missed_in(str(stored.channel), trace)
    if not missed:
        raise _Unread("run again, it is not held for the lack of a row")
    return missed
