"""Ways between the channels of a site that lead a message back to where it was, and ports that two things want."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from engine.config.finding import ConfigFinding, Position, at
from engine.config.lint import Neighbour
from engine.config.listen import is_loopback
from engine.config.settings import SiteSettings

Places = Mapping[tuple[str | int, ...], Position]


def check_circles(channels: Sequence[Neighbour]) -> list[ConfigFinding]:
    """A warning for each destination by which a message comes back to a channel that it went through."""
    ways = {channel.name: list(_ways(channel, channels)) for channel in channels}
    findings: list[ConfigFinding] = []
    told: set[frozenset[str]] = set()
    for channel in channels:
        for path, place in _circles(channel.name, ways):
            if frozenset(path) not in told:
                told.add(frozenset(path))
                message = f"messages come back: {' -> '.join((*path, channel.name))}, and go round without end"
                hint = "send them elsewhere, or let `from` of that channel refuse its own"
                findings.append(at(place, "W185", message, hint))
    return findings


def _circles(start: str, ways: Mapping[str, list[tuple[str, Position]]]) -> Iterator[tuple[list[str], Position]]:
    """Each way from `start` back to it, with the place of the destination that closes it."""
    waiting = [[start]]
    while waiting:
        path = waiting.pop()
        for target, place in ways.get(path[-1], ()):
            if target == start:
                yield path, place
            elif target not in path:
                waiting.append([*path, target])


def _ways(channel: Neighbour, channels: Sequence[Neighbour]) -> Iterator[tuple[str, Position]]:
    """The channels that get what this one sends, by a port of this machine or a folder."""
    for name, destination in channel.model.destinations.items():
        key, address = _address(destination.options)
        if not key:
            continue
        for other in channels:
            if address == _source(other.model.listen.options):
                yield other.name, channel.place("destinations", str(name), destination.sink, key)
                break


def _address(options: object) -> tuple[str, str]:
    """The key that names it, and where a destination sends to, if that is on this machine."""
    host, port, folder = (getattr(options, name, None) for name in ("host", "port", "folder"))
    if isinstance(host, str) and isinstance(port, int):
        return ("port", f"port {port}") if is_loopback(host) else ("", "")
    return ("folder", f"folder {posixpath.normpath(folder)}") if isinstance(folder, str) else ("", "")


def _source(options: object) -> str:
    port, folder = getattr(options, "port", None), getattr(options, "folder", None)
    if isinstance(port, int) and port:
        return f"port {port}"
    return f"folder {posixpath.normpath(folder)}" if isinstance(folder, str) else ""


def check_site_ports(settings: SiteSettings, channels: Sequence[Neighbour], places: Places) -> Iterator[ConfigFinding]:
    """The site's own ports beside those of its channels, and beside each other."""
    taken: dict[int, str] = {}
    for channel in channels:
        port = getattr(channel.model.listen.options, "port", 0)
        if port:
            there = channel.port("port")
            taken.setdefault(port, f"channel '{channel.name}' listens on it ({there.file}:{there.line})")
    for key in ("admin", "dicom"):
        port = getattr(getattr(settings, key), "port", 0)
        if port and port in taken:
            place = places.get((key, "port")) or places.get((key,)) or Position("segmill.yaml", 1, 1)
            yield at(place, "E142", f"port {port} is taken: {taken[port]}", "take another port")
        elif port:
            taken[port] = f"{key} has it"
