"""The ways of a site's messages: where they come in, which channel takes them, where they go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engine.config.base import ConfigModel
from engine.config.redirects import redirects_of
from engine.config.site import LoadedChannel

MOST_EVENTS: Final = 3
"""So many events of one message code are named."""

NodeKind = Literal["source", "channel", "destination"]


@dataclass(slots=True, frozen=True)
class Node:
    """A port or folder messages come from, a channel, or a destination. `about` is its address, or its types."""

    id: str
    kind: NodeKind
    name: str
    about: str = ""


@dataclass(slots=True, frozen=True)
class Edge:
    """A way. `label` is the condition of a route; `is_fallback`: taken only by what another destination cannot have."""

    before: str
    after: str
    label: str = ""
    is_fallback: bool = False


@dataclass(slots=True, frozen=True)
class Graph:
    """All of it, in the order of channels."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(channels: Sequence[LoadedChannel]) -> Graph:
    """The ways through these channels. Channels that share a port share its node."""
    nodes: dict[str, Node] = {}
    edges: dict[Edge, None] = {}
    for channel in channels:
        file, name = channel.file, str(channel.name)
        options = file.listen.options
        secrets = secrets_of(channel)
        place = starred(address_of(options), secrets)
        source = f"{file.listen.source} {options.place or place or name}"
        nodes.setdefault(source, Node(source, "source", file.listen.source, place))
        nodes[name] = Node(name, "channel", name, _types(file.accept))
        edges[Edge(source, name, str(file.condition) if file.condition is not None else "")] = None
        for to, destination in file.destinations.items():
            there = f"{name}/{to}"
            address = starred(address_of(destination.options), secrets)
            nodes[there] = Node(there, "destination", str(to), f"{destination.sink} {address}")
        for route in file.routes:
            edges[Edge(name, f"{name}/{route.to}", str(route.when) if route.when is not None else "")] = None
        for before, action in redirects_of(file):
            edges[Edge(f"{name}/{before}", f"{name}/{action.destination}", "instead", is_fallback=True)] = None
    return Graph(tuple(nodes.values()), tuple(edges))


def _types(accept: Sequence[str]) -> str:
    """The message types; many events of one code as their number."""
    events: dict[str, list[str]] = {}
    for pattern in accept:
        code, _, event = pattern.partition("^")
        events.setdefault(code, []).append(event)
    shown = (
        f"{code} ({len(of_code)} events)" if len(of_code) > MOST_EVENTS else ", ".join(filter(None, named))
        for code, of_code in events.items()
        for named in [[f"{code}^{event}" if event else code for event in of_code]]
    )
    return ", ".join(shown)


def address_of(options: ConfigModel) -> str:
    """`ris.local:6661`, a URL, a folder; '' where there is nothing of the kind. Never a secret."""
    host, port = getattr(options, "host", ""), getattr(options, "port", None)
    if port is not None:
        return f"{host}:{port}" if host else f"port {port}"
    for name in ("url", "folder", "path", "database", "station"):
        value = getattr(options, name, None)
        if value:
            return "" if getattr(value, "is_secret", False) else _without_password(str(value))
    return str(host)


def secrets_of(channel: LoadedChannel) -> tuple[str, ...]:
    """What `${...}` put into the channel's file that must not be shown, the longest first."""
    hidden = {channel.substituted.get(origin.reference, "") for origin in channel.origins if origin.value is None}
    return tuple(sorted(filter(None, hidden), key=len, reverse=True))


def starred(text: str, secrets: Sequence[str]) -> str:
    """An address with stars where a secret stands in it, as a token does in the path of a URL."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _without_password(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    server, slash, path = rest.partition("/")
    # A password may hold an @ itself: the last one ends it.
    return f"{scheme}://{server.rpartition('@')[2]}{slash}{path}" if slashes else url
