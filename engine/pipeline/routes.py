"""Which destinations a message goes to: a channel's routes, compiled once into one function."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.config.expression import Condition
from engine.hl7.message import Message
from engine.model.ids import DestinationName
from engine.pipeline.run import failed
from engine.pipeline.step import Stop

Destinations = tuple[DestinationName, ...]
"""Each once, in the order of the routes."""


class Way(NamedTuple):
    """One compiled route: a destination, and the condition, if any, that sends a message there."""

    destination: DestinationName
    condition: Condition | None


Chooser = Callable[[Message], Destinations | Stop]


def chooser(routes: Sequence[Way]) -> Chooser:
    """The function that gives a message's destinations, or the Stop of a route that could not be decided."""
    if all(way.condition is None for way in routes):
        always = _taken(routes, None)
        return lambda message: always
    return _by_value(routes) or _in_turn(routes)


def _by_value(routes: Sequence[Way]) -> Chooser | None:
    """One look at the place that all routes ask for; None where they ask for several, or in another way."""
    asked = [way.condition.one_of for way in routes if way.condition is not None]
    known = [one_of for one_of in asked if one_of is not None]
    if len(known) < len(asked) or any(one_of.path != known[0].path for one_of in known):
        return None
    get = known[0].path.get
    values = frozenset[str]().union(*(one_of.texts for one_of in known))
    destinations = {value: _taken(routes, value) for value in values}
    otherwise = _taken(routes, None)

    def choose(message: Message) -> Destinations:
        return destinations.get(get(message) or "", otherwise)

    return choose


def _taken(routes: Sequence[Way], value: str | None) -> Destinations:
    """The destinations of the routes without a condition, and of those that ask for `value`."""
    destinations = dict.fromkeys(
        way.destination
        for way in routes
        if way.condition is None or (way.condition.one_of is not None and value in way.condition.one_of.texts)
    )
    return tuple(destinations)


def _in_turn(routes: Sequence[Way]) -> Chooser:
    ways = tuple((way.destination, way.condition.run if way.condition is not None else None) for way in routes)

    def choose(message: Message) -> Destinations | Stop:
        chosen: dict[DestinationName, None] = {}
        for destination, condition in ways:
            try:
                if condition is None or condition(message):
                    chosen[destination] = None
            except Exception as error:  # noqa: BLE001 - as for a step: the message is held
                return failed(f"route to {destination}", error)
        return tuple(chosen)

    return choose
