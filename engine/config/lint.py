"""What can be said of channels beside each other, and of a site as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config.channel import AcceptPattern, ChannelFile
from engine.config.finding import ConfigFinding, Position, at

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
        """Where a setting of the source stands, or the place itself where it is left to its default."""
        listen = self.model.listen
        if (found := self.positions.get(("listen", listen.source, *path))) is not None:
            return found
        return self.place("listen", listen.source, listen.options.place_key)


def check_neighbours(channels: Sequence[Neighbour]) -> list[ConfigFinding]:
    """Findings between channels, which are in the order in which they are asked for a message of their port."""
    findings: list[ConfigFinding] = []
    for index, channel in enumerate(channels):
        findings += _plain_text(channel)
        place = channel.model.listen.options.place
        if place is None:
            continue
        before = [other for other in channels[:index] if other.model.listen.options.place == place]
        if before:
            findings += _same_place(channel, before[0], place)
            apart = channel.model.listen.options.apart
            findings += _unreachable(channel, [o for o in before if o.model.listen.options.apart == apart], place)
    return findings


def _plain_text(channel: Neighbour) -> list[ConfigFinding]:
    mine = channel.model.listen.options
    if not mine.plain_text:
        return []
    open_to = " and anybody may send" if mine.admits_anybody else ""
    hint = "set tls, or listen on 127.0.0.1" + ("; allow: [...] names who may send" if mine.admits_anybody else "")
    message = f"plain text on {mine.plain_text}: messages can be read on the way{open_to}"
    return [at(channel.port("host"), "W144", message, hint)]


def _same_place(channel: Neighbour, first: Neighbour, place: str) -> list[ConfigFinding]:
    """One port, or folder, has one set of settings: those of all its channels must be equal."""
    mine, theirs = channel.model.listen.options, first.model.listen.options
    where = f"(there: {first.port(mine.place_key).file}:{first.port(mine.place_key).line})"
    if type(mine) is not type(theirs):
        message = f"channel '{first.name}' has the same {place} for {first.model.listen.source}"
        return [at(channel.port(mine.place_key), "E142", message, f"take another {mine.place_key} {where}")]
    different = [name for name in mine.SHARED if getattr(mine, name) != getattr(theirs, name)]
    return [
        at(
            channel.port(name),
            "E142",
            f"'{name}' differs from channel '{first.name}', which listens on the same {place}",
            f"write the same in both, or take another {mine.place_key} "
            f"(there: {first.port(name).file}:{first.port(name).line})",
        )
        for name in different
    ]


def _unreachable(channel: Neighbour, before: Sequence[Neighbour], place: str) -> list[ConfigFinding]:
    """What an earlier channel without a condition takes never comes to a later one."""
    taking = [other for other in before if other.model.condition is None]
    covered = {pattern: other for pattern in channel.model.accept if (other := _taken_by(pattern, taking)) is not None}
    kind, key = place.partition(" ")[0], channel.model.listen.options.place_key
    hint = f"give it a 'from' condition, accept less there, or take another {kind}; channels are asked in order of name"
    if len(covered) == len(channel.model.accept):
        other = next(iter(covered.values()))
        message = f"no message reaches this channel: '{other.name}' on the same {kind} takes all of them"
        return [
            at(
                channel.place("accept") if "accept" in channel.model.model_fields_set else channel.port(key),
                "W143",
                message,
                hint,
            )
        ]
    return [
        at(
            pattern.position() or channel.place("accept"),
            "W143",
            f"no {pattern} reaches this channel: '{other.name}' on the same {kind} takes it",
            hint,
        )
        for pattern, other in covered.items()
    ]


def _taken_by(pattern: AcceptPattern, taking: Sequence[Neighbour]) -> Neighbour | None:
    return next((other for other in taking if any(p.covers(pattern) for p in other.model.accept)), None)
