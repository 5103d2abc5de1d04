"""Where hospital systems are told what became of worklist steps, and the checks of it across the site."""

import re
from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import Field, field_validator

from engine.config.base import ConfigModel, did_you_mean
from engine.config.channel import ChannelFile
from engine.config.entries import NAME_PATTERN, Destination
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.listen import ListenMllp, is_loopback
from engine.config.types import MarkedText
from engine.config.worklist import WorklistOptions
from engine.worklist.status import OrderStatus, StatusMessage, kind_of


class LaneText(MarkedText):
    """A destination with its channel: `orders/ris`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": "^[^/]+/[^/]+$",
        "description": "A channel and its destination, such as orders/ris",
    }

    def check(self) -> None:
        """Two names with a slash between."""
        names = self.split("/")
        if len(names) != 2 or not all(re.fullmatch(NAME_PATTERN, name) for name in names):
            raise BadValue(f"'{self.shown}' is no destination", "channel/destination, such as orders/ris", code="E107")

    @property
    def channel(self) -> str:
        return self.partition("/")[0]

    @property
    def destination(self) -> str:
        return self.partition("/")[2]


class StatusOptions(ConfigModel):
    """What a hospital system is told of steps that a scanner or a person moved: an order message with ORC-1 SC."""

    to: LaneText = Field(description="The destination that gets it, with its channel: orders/ris")
    message: Literal["as_ordered", "ORM^O01", "OMG^O19", "OMI^O23"] = Field(
        default="as_ordered", description="Its type; as_ordered: that of the order that the step is from"
    )
    tell: tuple[OrderStatus, ...] = Field(
        default=("IP", "CM", "DC", "CA"),
        min_length=1,
        description="Which ORC-5 are told: begun, completed, discontinued, cancelled; SC: to be done again",
    )

    @field_validator("tell")
    @classmethod
    def _each_once(cls, told: tuple[OrderStatus, ...]) -> tuple[OrderStatus, ...]:
        if len(set(told)) != len(told):
            raise BadValue("names one twice", "each once, such as [IP, CM, DC, CA]", code="E107")
        return told

    @property
    def wanted(self) -> StatusMessage | None:
        """The type that is set; None for the order's own."""
        return None if self.message == "as_ordered" else kind_of(self.message)


def check_status(
    options: StatusOptions, worklist: str, channels: Mapping[str, ChannelFile], known: Collection[str]
) -> list[ConfigFinding]:
    """Whether its destination is there and takes messages, and does not bring them back.

    `known`: all channels of the site, also those that have errors of their own, of which nothing more is said here.
    """
    to = options.to
    channel = channels.get(to.channel)
    if channel is None:
        if to.channel in known:
            return []
        return [_at(to, 0, to.channel, "E448", f"no channel is named '{to.channel}'", did_you_mean(to.channel, known))]
    offset = len(to.channel) + 1
    destination = channel.destinations.get(to.destination)
    if destination is None:
        hint = did_you_mean(to.destination, channel.destinations)
        message = f"channel {to.channel} has no destination '{to.destination}'"
        return [_at(to, offset, to.destination, "E448", message, hint)]
    if isinstance(destination.options, WorklistOptions):
        hint = "name the destination that reaches the ordering system"
        message = f"'{to}' is a worklist: it is told of by this, and cannot be who is told"
        return [_at(to, offset, to.destination, "E449", message, hint)]
    for name, other in channels.items():
        if _reaches(destination, other) and _feeds(other, worklist):
            message = f"'{to}' sends to channel {name} of this site, which feeds the worklist that it is about"
            return [_at(to, offset, to.destination, "E449", message, "name one that reaches the ordering system")]
    return []


def without_needless(findings: list[ConfigFinding], options: StatusOptions, shown: str) -> list[ConfigFinding]:
    """The findings, but that no route goes to its destination. `shown`: the file of its channel."""
    text = f"no route goes to '{options.to.destination}'"
    return [one for one in findings if (one.code, one.file, one.message) != ("W141", shown, text)]


def _reaches(destination: Destination, channel: ChannelFile) -> bool:
    """Whether it connects to the channel's own port, as far as an address says so."""
    listen = channel.listen.options
    host, port = getattr(destination.options, "host", None), getattr(destination.options, "port", None)
    if not isinstance(listen, ListenMllp) or not isinstance(host, str) or not listen.port or port != listen.port:
        return False
    return host == listen.host or is_loopback(host)


def _feeds(channel: ChannelFile, worklist: str) -> bool:
    options = [one.options for one in channel.destinations.values()]
    return any(isinstance(one, WorklistOptions) and one.name == worklist for one in options)


def _at(to: LaneText, offset: int, part: str, code: str, message: str, hint: str) -> ConfigFinding:
    place = to.position(offset, len(part)) or Position("segmill.yaml", 1, 1)
    return at(place, code, message, hint)
