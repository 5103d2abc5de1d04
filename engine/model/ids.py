"""Names and numbers that must not be mixed up."""

from typing import NewType

ChannelName = NewType("ChannelName", str)
DestinationName = NewType("DestinationName", str)

MessageSeq = NewType("MessageSeq", int)
"""Order of receipt over all channels, from 1; also the primary key of a stored message."""

DeliveryId = NewType("DeliveryId", int)
"""Order in which deliveries were committed; within one lane this is the order of sending."""

VersionId = NewType("VersionId", int)
"""One recorded state of a channel's files."""

LaneName = NewType("LaneName", str)
"""`channel/destination`: what keeps its own first-in-first-out order."""


def lane_of(channel: ChannelName, destination: DestinationName) -> LaneName:
    """The lane that carries one destination of one channel."""
    return LaneName(f"{channel}/{destination}")
