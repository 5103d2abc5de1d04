"""Drift of a running channel: from the watch in `hl7.drift` to findings, a metric and the log.

A sender is named only where the profile names it (`learned` senders); the name of any other comes from a message.
"""

import logging
from datetime import datetime

from engine.config.profile_load import LoadedProfile
from engine.hl7.drift import Drift, DriftWatch
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.model.ids import ChannelName
from engine.ports.meter import ChannelMeter
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.drift")


class ChannelDrift:
    """Looks at each message of one channel as it comes."""

    def __init__(self, channel: ChannelName, loaded: LoadedProfile, watch: DriftWatch, meter: ChannelMeter) -> None:
        self._channel = channel
        self._watch = watch
        self._meter = meter
        self._has_failed = False
        learned = [body.learned for body in loaded.bodies if body.learned is not None]
        self._named = frozenset(sender for one in learned for sender in one.senders)

    def observe(self, message: Message, now: datetime) -> tuple[Finding, ...]:
        """What began or ended with this message: findings to be stored with it. `now` is aware. Never raises."""
        try:
            drifts = self._watch.observe(message, now)
        except Exception as error:  # noqa: BLE001 - who only watches must not cost a message
            if not self._has_failed:
                self._has_failed = True
                log.error("channel %s: drift cannot be watched: %s", self._channel, describe(error))
            return ()
        if not drifts:
            return ()
        for (sender, place), count in self._watch.drifting(self._named).items():
            self._meter.drift(sender, place, count)
        for drift in drifts:
            self._tell(drift)
        return tuple(_finding(drift) for drift in drifts)

    def _tell(self, drift: Drift) -> None:
        sender = f" ({drift.sender})" if drift.sender in self._named else ""
        level = logging.WARNING if drift.has_begun else logging.INFO
        log.log(level, "channel %s: %s%s", self._channel, drift.text, sender)


def channel_drift(
    channel: ChannelName, loaded: LoadedProfile | None, meter: ChannelMeter, *, wanted: bool
) -> ChannelDrift | None:
    """The watch of a channel whose profile was learned, None where there is nothing to watch against."""
    if loaded is None or not wanted:
        return None
    watch = DriftWatch(loaded.profiles)
    return ChannelDrift(channel, loaded, watch, meter) if watch.is_needed else None


def _finding(drift: Drift) -> Finding:
    if drift.has_begun:
        return Finding("W282", "warning", drift.text, drift.place)
    return Finding("I282", "information", drift.text, drift.place)
