"""What can be said of channels beside each other, and of a site as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config.channel import AcceptPattern, ChannelFile
from engine.config.finding import ConfigFinding, Position, at
from engine.config.listen import ListenMllp

Positions = Mapping[tuple[str | int, ...], Position]


@dataclass(slots=True, frozen=True)
class Neighbour:
    """One channel among others. `shown` is how people call its file."""

    name: str
    model: ChannelFile
    positions: Positions
    shown: str

    def place(self, *path: str | int) -> Position:
        """Where a value stands, or the nearest one around it."""
        for length in range(len(path), 0, -1):
            if (found := self.positions.get(path[:length])) is not None:
                return found
        return Position(self.shown, 1, 1)

    def port(self, *path: str) -> Position:
        """Where a setting of the port stands, or the port itself where it is left to its default."""
        if (found := self.positions.get(("listen", "mllp", *path))) is not None:
            return found
        return self.place("listen", "mllp", "port")


def check_neighbours(channels: Sequence[Neighbour]) -> list[ConfigFinding]:
    """Findings between channels, which are in the order in which they are asked for a message of their port."""
    findings: list[ConfigFinding] = []
    for index, channel in enumerate(channels):
        findings += _plain_text(channel)
        mine = channel.model.listen.mllp
        if mine.port == 0:
            continue
        before = [other for other in channels[:index] if other.model.listen.mllp.port == mine.port]
        if before:
            findings += _same_port(channel, before[0])
            findings += _unreachable(channel, before)
    return findings


def _plain_text(channel: Neighbour) -> list[ConfigFinding]:
    mine = channel.model.listen.mllp
    if mine.tls is not None or mine.is_loopback:
        return []
    open_to = "" if mine.allow else " and anybody may send"
    hint = "set tls, or listen on 127.0.0.1" + ("" if mine.allow else "; allow: [...] names who may send")
    return [
        at(channel.port("host"), "W144", f"plain text on {mine.host}: messages can be read on the way{open_to}", hint)
    ]


def _same_port(channel: Neighbour, first: Neighbour) -> list[ConfigFinding]:
    """One port has one set of settings: those of all its channels must be equal."""
    mine, theirs = channel.model.listen.mllp, first.model.listen.mllp
    different = [name for name in ListenMllp.SHARED if getattr(mine, name) != getattr(theirs, name)]
    return [
        at(
            channel.port(name),
            "E142",
            f"'{name}' differs from channel '{first.name}', which listens on the same port {mine.port}",
            f"write the same in both, or take another port (there: {first.port(name).file}:{first.port(name).line})",
        )
        for name in different
    ]


def _unreachable(channel: Neighbour, before: Sequence[Neighbour]) -> list[ConfigFinding]:
    """What an earlier channel without a condition takes never comes to a later one."""
    taking = [other for other in before if other.model.condition is None]
    covered = {pattern: other for pattern in channel.model.accept if (other := _taken_by(pattern, taking)) is not None}
    hint = "give it a 'from' condition, accept less there, or take another port; channels are asked in order of name"
    if len(covered) == len(channel.model.accept):
        other = next(iter(covered.values()))
        message = f"no message reaches this channel: '{other.name}' on the same port takes all of them"
        return [
            at(
                channel.place("accept") if "accept" in channel.model.model_fields_set else channel.port("port"),
                "W143",
                message,
                hint,
            )
        ]
    return [
        at(
            pattern.position() or channel.place("accept"),
            "W143",
            f"no {pattern} reaches this channel: '{other.name}' on the same port takes it",
            hint,
        )
        for pattern, other in covered.items()
    ]


def _taken_by(pattern: AcceptPattern, taking: Sequence[Neighbour]) -> Neighbour | None:
    return next((other for other in taking if any(p.covers(pattern) for p in other.model.accept)), None)
