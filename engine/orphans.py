"""What waits in the store for channels and destinations that the site's files no longer have; said at the start."""

import logging
from collections.abc import Mapping

from engine.model.ids import ChannelName
from engine.ports.store import StoreQueries
from engine.runtime.channels import RunningChannel

log = logging.getLogger("segmill")


def report_orphans(queries: StoreQueries, channels: Mapping[ChannelName, RunningChannel]) -> None:
    """It is kept, and told of. What waits is counted only where there is such a lane: a long queue takes its time."""
    strange = [
        (name, destination)
        for name, destination in queries.lanes()
        if name not in channels or destination not in channels[name].lanes
    ]
    for depth in queries.depths() if strange else ():
        if depth.queued and (depth.channel, depth.destination) in strange:
            log.warning(
                "%d deliveries wait for %s/%s, which the site's files no longer have; they are kept",
                depth.queued,
                depth.channel,
                depth.destination,
            )
    for (name, state), count in queries.counts().items():
        if state == "received" and count and name not in channels:
            log.warning(
                "%d messages of channel %s were accepted and not processed, and the site's files no longer have it;"
                " they are kept",
                count,
                name,
            )
