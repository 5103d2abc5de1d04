"""The ways of a site's messages as they are now: senders, channels, receivers, and what goes between them.

A system that talks to several channels is there once: a sender by its name (MSH-3, MSH-4), a receiver by its address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, urlencode

from engine.adapters.console.shown import count
from engine.ports.control import ChannelStatus, LaneStatus

MOST_SENDERS: Final = 12
"""Of one channel; a channel with more has the rest as one."""
OTHERS: Final = "(others)"

Look = Literal["ok", "warn", "bad", "quiet"]


@dataclass(slots=True, frozen=True)
class Where:
    """What the files say of a destination: its kind and its address, '' where it has none."""

    kind: str
    address: str


@dataclass(slots=True, frozen=True)
class Node:
    """`id`: of its kind. `about`: a second line."""

    id: str
    name: str
    about: str
    to: str = ""
    look: Look = "ok"


@dataclass(slots=True, frozen=True)
class Edge:
    """A way. `before` and `after`: ids. `words`: how it stands; `to`: its messages, or its queue where something waits.

    `rate`: messages a minute, None where that is not counted. `key`: of its queue's live counter, or ''.
    """

    before: str
    after: str
    label: str
    words: str
    look: Look
    to: str
    rate: float | None = None
    queued: int = 0
    key: str = ""


@dataclass(slots=True, frozen=True)
class SiteMap:
    senders: tuple[Node, ...]
    channels: tuple[Node, ...]
    receivers: tuple[Node, ...]
    ins: tuple[Edge, ...]
    outs: tuple[Edge, ...]


def map_of(
    channels: Sequence[ChannelStatus],
    places: Mapping[tuple[str, str], Where],
    received: Mapping[str, float],
    delivered: Mapping[tuple[str, str], float],
) -> SiteMap:
    """`places`: by channel and destination. `received`, `delivered`: a minute, by channel, and by destination."""
    senders: dict[str, Node] = {}
    receivers: dict[str, Node] = {}
    shown: list[Node] = []
    ins: list[Edge] = []
    outs: list[Edge] = []
    for channel in channels:
        name = str(channel.channel)
        shown.append(_channel(channel, received.get(name, 0.0)))
        for sender in _senders(channel):
            senders.setdefault(sender.id, sender)
            ins.append(_in(channel, sender))
        for lane in channel.lanes:
            where = places.get((name, str(lane.destination)), Where("gone", ""))
            node = _receiver(lane, where)
            receivers.setdefault(node.id, node)
            outs.append(_out(lane, node.id, delivered.get((name, str(lane.destination)), 0.0)))
    return SiteMap(tuple(senders.values()), tuple(shown), tuple(receivers.values()), tuple(ins), tuple(outs))


def filtered(whole: SiteMap, words: str) -> SiteMap:
    """What has the words in a name or an address, with the channels it belongs to and all that these are tied to."""
    wanted = words.casefold().split()
    if not wanted:
        return whole

    def has(*nodes: Node) -> bool:
        text = " ".join(f"{node.name} {node.about}" for node in nodes).casefold()
        return all(word in text for word in wanted)

    by_id = {node.id: node for node in (*whole.senders, *whole.receivers, *whole.channels)}
    kept = {node.id for node in whole.channels if has(node)}
    kept |= {edge.after for edge in whole.ins if has(by_id[edge.before])}
    kept |= {edge.before for edge in whole.outs if has(by_id[edge.after]) or has(Node("", edge.label, ""))}
    ins = tuple(edge for edge in whole.ins if edge.after in kept)
    outs = tuple(edge for edge in whole.outs if edge.before in kept)
    return SiteMap(
        tuple(node for node in whole.senders if any(edge.before == node.id for edge in ins)),
        tuple(node for node in whole.channels if node.id in kept),
        tuple(node for node in whole.receivers if any(edge.after == node.id for edge in outs)),
        ins,
        outs,
    )


def _channel(channel: ChannelStatus, rate: float) -> Node:
    about = f"{a_minute(rate)} · {channel.listening}" if channel.listening else "listens nowhere"
    look: Look = "ok"
    if channel.intake_paused_by:
        about, look = f"intake paused by {channel.intake_paused_by}", "warn"
    return Node(f"channel {channel.channel}", str(channel.channel), about, f"/channels/{quote(channel.channel)}", look)


def _senders(channel: ChannelStatus) -> list[Node]:
    names = list(
        dict.fromkeys([*(feed.sender for feed in channel.feeds), *(sender.sender for sender in channel.senders)])
    )
    if not names:
        return [Node(f"port {channel.channel}", "nobody yet", channel.listening, look="quiet")]
    found = [_sender(name) for name in names[:MOST_SENDERS]]
    if len(names) > MOST_SENDERS:
        found.append(Node(f"others {channel.channel}", OTHERS, count(len(names) - MOST_SENDERS, "sender")))
    return found


def _sender(name: str) -> Node:
    application, _, facility = name.partition("|")
    return Node(f"sender {name}", application or name or "(no name)", facility)


def _in(channel: ChannelStatus, sender: Node) -> Edge:
    name = str(channel.channel)
    feeds = [feed for feed in channel.feeds if f"sender {feed.sender}" == sender.id]
    silent = [feed.kind for feed in feeds if feed.is_silent]
    words, look = "comes", "ok"
    if silent and not channel.intake_paused_by:
        words, look = f"silent: {', '.join(silent)}", "bad"
    elif sender.look == "quiet":
        words, look = "nothing came yet", "quiet"
    asked = {"channel": name}
    if sender.id.startswith("sender "):
        asked["sender"] = sender.name
    kinds = ", ".join(dict.fromkeys(feed.kind for feed in feeds))
    to = f"/messages?{urlencode(asked)}"
    return Edge(sender.id, f"channel {name}", kinds, words, look, to)  # type: ignore[arg-type]  # one of the words


def _receiver(lane: LaneStatus, where: Where) -> Node:
    name = f"{lane.channel}/{lane.destination}"
    if where.address:
        return Node(f"receiver {where.kind} {where.address}", where.address, where.kind)
    return Node(f"receiver {name}", str(lane.destination), where.kind)


def _out(lane: LaneStatus, receiver: str, rate: float) -> Edge:
    channel, destination = str(lane.channel), str(lane.destination)
    words, look = how_it_stands(lane)
    queue = f"/queues/{quote(channel)}/{quote(destination)}"
    to = (
        queue if lane.queued or lane.held or look in ("bad", "warn") else f"/messages?{urlencode({'channel': channel})}"
    )
    key = f"{channel}/{destination} queued"
    return Edge(f"channel {channel}", receiver, destination, words, look, to, rate, lane.queued, key)


def how_it_stands(lane: LaneStatus) -> tuple[str, Look]:
    """In words, and how it looks."""
    held = f"{lane.held} held" if lane.held else ""
    if lane.paused_by:
        return ", ".join(filter(None, (f"paused by {lane.paused_by}", held))), "warn"
    if lane.state in ("down", "stopped", "failed"):
        said = {"down": "receiver down", "stopped": "stopped for a person", "failed": "failed"}[lane.state]
        return ", ".join(filter(None, (said, held))), "bad"
    if held:
        return held, "warn"
    return ("waits to retry" if lane.state == "waiting" else "goes"), "ok"


def a_minute(rate: float) -> str:
    """`0/min`, `0.4/min`, `120/min`."""
    return f"{rate:.0f}/min" if rate >= 10 or rate == 0 else f"{rate:.1f}/min"
