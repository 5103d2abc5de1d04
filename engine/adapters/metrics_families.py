"""The families of metrics that have rows for each channel, each destination and each listener (ux.md section 2.4)."""

from collections.abc import Sequence
from typing import Final

from engine.adapters.metrics_numbers import ChannelNumbers, LaneNumbers, ListenerNumbers
from engine.adapters.metrics_rows import ONE, Family, Found, distribution, each, every, one, timings


def _workers(numbers: ChannelNumbers, now_s: float) -> Found:
    """None where the channel has no process."""
    values = numbers.workers.values.copy()
    return (tuple(values), tuple(values.values())) if any(values.values()) else ((), ())


OF_CHANNELS: Final[Sequence[Family[ChannelNumbers]]] = (
    Family("counter", "segmill_messages_received", "Messages that came in.", one(lambda n: n.total)),
    Family("counter", "segmill_received_bytes", "Bytes of messages that came in.", one(lambda n: n.size_bytes)),
    Family(
        "gauge",
        "segmill_last_received_timestamp_seconds",
        "When the newest message came in, seconds since 1970; 0 if none did since the start.",
        one(lambda n: n.last_received_s),
    ),
    Family(
        "counter",
        "segmill_messages",
        "What became of the messages that came in.",
        each(lambda n: n.outcomes),
        ("outcome",),
    ),
    Family(
        "counter",
        "segmill_acknowledgements",
        "Acknowledgements sent, by MSA-1.",
        each(lambda n: n.ack_codes),
        ("code",),
    ),
    Family(
        "histogram",
        "segmill_ack_seconds",
        "Time from the end of a message to its acknowledgement.",
        distribution(lambda n: n.ack_seconds),
    ),
    Family(
        "summary",
        "segmill_step_seconds",
        "Time that each step of a channel took.",
        timings(lambda n: n.steps),
        ("step",),
    ),
    Family(
        "counter",
        "segmill_findings",
        "Findings by code; `segmill explain CODE` tells the long story.",
        every(lambda n: n.findings),
        ("code",),
    ),
    Family(
        "counter",
        "segmill_validation_findings",
        "Breaches of rules of the standard and of profiles, by what they came to.",
        every(lambda n: n.breaches),
        ("rule", "mode"),
    ),
    Family(
        "gauge",
        "segmill_profile_drift_senders",
        "Senders whose messages differ at a place from what the profile was learned from; "
        "senders that the profile does not name are together.",
        every(lambda n: n.drifts),
        ("sender", "place"),
    ),
    Family(
        "counter",
        "segmill_charset_evidence",
        "Messages beyond plain ASCII, by how their character set was known; `segmill senders` tells whose.",
        each(lambda n: n.charsets),
        ("evidence",),
    ),
    Family(
        "gauge",
        "segmill_intake_paused",
        "1 while a person has paused the channel's intake.",
        one(lambda n: n.is_intake_paused),
    ),
    Family(
        "gauge",
        "segmill_silent_feeds",
        "Senders' kinds of message that have not come for much longer than is usual at this weekday and hour.",
        one(lambda n: n.silent_feeds),
    ),
    Family(
        "counter",
        "segmill_worker_events",
        "What happened to the process of a channel that has one: started, not-started, late (the engine ended it), "
        "ended (by itself).",
        _workers,
        ("event",),
    ),
)


def _oldest(numbers: LaneNumbers, now_s: float) -> Found:
    # A clock that was set back must not show a negative age.
    oldest_us = numbers.oldest_us
    return ONE, (max(0.0, now_s - oldest_us / 1e6) if oldest_us else 0.0,)


OF_LANES: Final[Sequence[Family[LaneNumbers]]] = (
    Family(
        "counter",
        "segmill_deliveries",
        "Attempts to deliver, by what came of them.",
        each(lambda n: n.outcomes),
        ("outcome",),
    ),
    Family(
        "histogram",
        "segmill_delivery_seconds",
        "Time one attempt took, to the receiver's answer.",
        distribution(lambda n: n.seconds),
    ),
    Family(
        "gauge",
        "segmill_queue_depth",
        "Deliveries that wait, by state.",
        lambda n, now_s: (("queued", "held"), (n.queued, n.held)),
        ("state",),
    ),
    Family(
        "gauge",
        "segmill_queue_oldest_seconds",
        "Age of the oldest message that waits for this destination; 0 if none does.",
        _oldest,
    ),
    Family(
        "gauge",
        "segmill_destination_connected",
        "0 while the destination is down, and 1 otherwise.",
        one(lambda n: n.is_connected),
    ),
    Family(
        "gauge",
        "segmill_destination_open",
        "0 outside of the destination's hours, and 1 otherwise.",
        one(lambda n: n.is_open),
    ),
    Family(
        "counter",
        "segmill_redirected_deliveries",
        "Deliveries that the destination's policy gave to another destination.",
        one(lambda n: n.redirects),
    ),
    Family(
        "counter",
        "segmill_lane_failures",
        "How often the destination's lane failed, by a defect of Segmill, and was started again or stands still.",
        one(lambda n: n.failures),
    ),
    Family("gauge", "segmill_queue_paused", "1 while a person has paused the destination.", one(lambda n: n.is_paused)),
    Family(
        "gauge",
        "segmill_destination_stopped",
        "1 while the destination stands still at a message that was refused, until a person says how it goes on.",
        one(lambda n: n.is_stopped),
    ),
    Family(
        "gauge",
        "segmill_blocked_keys",
        "Keys of order_by that are held up by a delivery that waits for its next attempt.",
        one(lambda n: n.blocked),
    ),
)


def _events(numbers: ListenerNumbers, now_s: float) -> Found:
    counts = numbers.events.values
    if numbers.source_events is not None:
        counts = {**numbers.source_events.values, **counts}  # `other` is that of connections
    return tuple(counts), tuple(counts.values())


def _files(numbers: ListenerNumbers, now_s: float) -> Found:
    files = numbers.files
    return ((), ()) if files is None else (("waiting", "failed"), files)


OF_LISTENERS: Final[Sequence[Family[ListenerNumbers]]] = (
    Family("gauge", "segmill_connections", "Connections that are open.", one(lambda n: n.open_count)),
    Family("counter", "segmill_connection_events", "What happened to connections.", _events, ("event",)),
    Family(
        "counter",
        "segmill_ignored_bytes",
        "Bytes that came outside of MLLP blocks and were passed over.",
        one(lambda n: n.ignored_bytes),
    ),
    Family("counter", "segmill_empty_blocks", "MLLP blocks without content.", one(lambda n: n.empty_blocks)),
    Family(
        "gauge",
        "segmill_source_files",
        "Files of a source: those that wait, and those set aside for a person.",
        _files,
        ("state",),
    ),
)
