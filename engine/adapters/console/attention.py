"""What needs a person, worst first: each thing with where to look and what to do about it.

The bounds are those of the shipped alert rules (deploy/prometheus), and each thing leads to the same runbook.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, urlencode

from engine.adapters.console.shown import count, duration, size
from engine.adapters.tls_status import RevocationList
from engine.model.access import Principal
from engine.ports.control import ChannelStatus, FeedStatus, LaneStatus, RetentionReport

SECOND: Final = 1_000_000
OLD_S: Final = 900.0
"""What waits so long in a queue is told, also where it goes on."""
ENDS_SOON_S: Final = 21 * 86_400.0
ENDS_NOW_S: Final = 3 * 86_400.0
RUNBOOK: Final = "/docs/alerts#segmill"
DOWN: Final = {
    "down": ("cannot be reached", "destinationdown"),
    "stopped": ("stands at a message that was refused, and waits for a person", "lanestopped"),
    "failed": ("failed by a defect of the engine", "lanefailed"),
}

Look = Literal["bad", "warn"]


@dataclass(slots=True, frozen=True)
class Thing:
    """One of them. `since_us`: since when, 0 where that is not known; `to`: where to look; `book`: the runbook."""

    look: Look
    kind: str
    text: str
    to: str
    todo: str
    book: str
    since_us: int = 0


@dataclass(slots=True, frozen=True)
class Site:
    """What is of no channel, for those who may see that.

    `not_ready`: why intake is closed, or ''. `lists`: of revoked certificates. `waiting`: by place, why its TLS files
    cannot be used.
    """

    not_ready: str = ""
    certificates: Mapping[str, float] | None = None
    lists: Mapping[str, RevocationList] | None = None
    waiting: Mapping[str, str] | None = None
    free_bytes: int | None = None
    low_bytes: int = 0
    least_bytes: int = 0
    retention: RetentionReport | None = None
    damaged: int = 0


def things(
    who: Principal, channels: Sequence[ChannelStatus], held: Mapping[str, int], site: Site, now_us: int
) -> list[Thing]:
    """Those of the channels that were given, which are the ones that `who` may see, and of the site. Worst first."""
    found = [*_of_site(who, site, now_us)]
    for channel in channels:
        found += _of_channel(channel, held.get(channel.channel, 0))
        for lane in channel.lanes:
            found += _of_lane(lane, now_us)
    # Within a look as they were found: the site, then by channel; what is older comes first.
    return sorted(found, key=lambda one: (one.look != "bad", one.since_us or now_us))


def _of_site(who: Principal, site: Site, now_us: int) -> list[Thing]:
    found: list[Thing] = []
    if site.not_ready:
        text = f"No message is taken: {site.not_ready}."
        found.append(Thing("bad", "intake", text, "/system", "See the store and its disk", f"{RUNBOOK}notready"))
    for place, end_s in (site.certificates or {}).items():
        found += _of_certificate(who, place, end_s, now_us)
    for place, revoked in (site.lists or {}).items():
        found += _of_list(who, place, revoked, now_us / SECOND)
    for place, why in (site.waiting or {}).items():
        found += _of_waiting(who, place, why)
    if not who.may("see"):
        return found
    if site.free_bytes is not None and site.free_bytes < site.low_bytes:
        text = f"{size(site.free_bytes)} are free on the store's disk; below {size(site.least_bytes)} nothing is taken."
        look: Look = "bad" if site.free_bytes < site.least_bytes else "warn"
        found.append(
            Thing(look, "disk", text, "/system", "Make room, or let retention forget more", f"{RUNBOOK}disklow")
        )
    if site.retention is not None and site.retention.paused:
        text = f"Retention forgets nothing: {site.retention.paused}."
        todo = "Is the clock right? Then: segmill retention --confirm"
        found.append(Thing("warn", "retention", text, "/system", todo, f"{RUNBOOK}retentionstands"))
    if site.damaged:
        entries = "1 entry" if site.damaged == 1 else f"{site.damaged} entries"
        text = f"Damaged in the store, and so held: {entries}."
        found.append(Thing("bad", "damaged", text, "/held", "See what is held", f"{RUNBOOK}storedamaged"))
    return found


def _may_see(who: Principal, place: str) -> bool:
    """A place of the site itself (`dicom`, `console`) is no channel: who may see the site may see it."""
    return who.may("see", place.partition("/")[0])


def _of_list(who: Principal, place: str, revoked: RevocationList, now_s: float) -> list[Thing]:
    if not _may_see(who, place) or not revoked.ends_soon(now_s):
        return []
    left_s = revoked.ends_s - now_s
    look: Look = "bad" if left_s <= 0 else "warn"
    ends = f"ends in {duration(left_s)}"
    text = f"The list of revoked certificates of {place} {'has ended: nobody is let in' if left_s <= 0 else ends}."
    todo = "Put the authority's next list in its place, then reload"
    return [Thing(look, "revocations", text, "/system#certificates", todo, f"{RUNBOOK}revocationlistends")]


def _of_waiting(who: Principal, place: str, why: str) -> list[Thing]:
    if not _may_see(who, place):
        return []
    text = f"{place} waits for its TLS files: {why}."
    todo = "Put good files where the bad ones are, then reload"
    return [Thing("bad", "tls", text, "/system#certificates", todo, f"{RUNBOOK}tlsfilesunusable")]


def _of_certificate(who: Principal, place: str, end_s: float, now_us: int) -> list[Thing]:
    if not _may_see(who, place):
        return []
    left_s = end_s - now_us / SECOND
    if left_s >= ENDS_SOON_S:
        return []
    ends = "has ended" if left_s <= 0 else f"ends in {duration(left_s)}"
    text = f"The certificate of {place} {ends}."
    todo = "Put the new files where the old ones are, then reload"
    look: Look = "bad" if left_s < ENDS_NOW_S else "warn"
    return [Thing(look, "certificate", text, "/system#certificates", todo, f"{RUNBOOK}certificateends")]


def _of_channel(channel: ChannelStatus, held: int) -> list[Thing]:
    name = channel.channel
    found: list[Thing] = []
    if channel.intake_paused_by:
        text = f"Intake of {name} is paused by {channel.intake_paused_by}."
        found.append(
            Thing(
                "warn",
                "paused",
                text,
                f"/channels/{quote(name)}",
                "Resume it when it is time",
                f"{RUNBOOK}intakepaused",
            )
        )
    if held:
        text = f"{count(held, 'message')} of {name} {'is' if held == 1 else 'are'} held."
        todo = "See why, mend it, and release"
        found.append(Thing("warn", "held", text, "/held", todo, f"{RUNBOOK}messagesheld"))
    return found + [_silent(feed) for feed in channel.feeds if feed.is_silent and not channel.intake_paused_by]


def _silent(feed: FeedStatus) -> Thing:
    missed = f"; about {feed.missed:.0f} usually come in this time" if feed.missed >= 1 else ""
    text = f"Silent: {feed.kind} of {feed.sender} to {feed.channel}{missed}."
    to = "/messages?" + urlencode({"channel": feed.channel, "sender": feed.sender.partition("|")[0]})
    todo = "Ask the sender; is its interface on?"
    return Thing("bad", "silent", text, to, todo, f"{RUNBOOK}feedsilent", feed.newest_us)


def _of_lane(lane: LaneStatus, now_us: int) -> list[Thing]:
    name = f"{lane.channel}/{lane.destination}"
    to = f"/queues/{quote(lane.channel)}/{quote(lane.destination)}"
    waits = f", {count(lane.queued, 'message')} wait" if lane.queued != 1 else ", 1 message waits"
    waits = waits if lane.queued else ""
    if lane.paused_by:
        text = f"{name} is paused by {lane.paused_by}{waits}."
        return [
            Thing(
                "warn", "paused", text, to, "Resume it when it is time", f"{RUNBOOK}destinationpaused", lane.oldest_us
            )
        ]
    if lane.state in DOWN:
        words, book = DOWN[lane.state]
        note = f": {lane.last_note}" if lane.last_note else ""
        text = f"{name} {words}{waits}{note}"
        text = text if text.endswith((".", "!", "?")) else f"{text}."
        return [Thing("bad", "down", text, to, "See its queue", f"{RUNBOOK}{book}", lane.oldest_us)]
    if lane.queued and lane.oldest_us and now_us - lane.oldest_us > OLD_S * SECOND:
        age = duration((now_us - lane.oldest_us) / SECOND)
        text = f"{name}: {count(lane.queued, 'message')} queued, the oldest for {age}."
        return [Thing("warn", "old", text, to, "See its queue", f"{RUNBOOK}queueold", lane.oldest_us)]
    if lane.blocked:
        text = f"{name}: {count(lane.blocked, 'key')} held up by a message that is tried again."
        return [Thing("warn", "blocked", text, to, "See its queue", f"{RUNBOOK}keyheldup", lane.oldest_us)]
    return []
