"""The meter that Prometheus reads.

The runtime adds to the plain numbers of `metrics_numbers`; a collector turns them into samples when somebody
scrapes, in the scraper's thread. A scrape may see a message counted as received and not yet as acknowledged,
never a number going down: dictionaries are copied in one step before they are walked, and the count of a
histogram is the sum of the buckets it shows. Names: STYLE section 14; ux.md section 2.4.
"""

import platform
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine import __version__
from engine.adapters.metrics_numbers import (
    COMMIT_BOUNDS_MESSAGES,
    COMMIT_BOUNDS_S,
    AuditExportNumbers,
    ChannelNumbers,
    DicomNumbers,
    HandOffNumbers,
    Histogram,
    LaneNumbers,
    ListenerNumbers,
    TraceNumbers,
)
from engine.adapters.metrics_tls import of_tls
from engine.adapters.tls_status import TlsStatus


class PrometheusMeter:
    """Counts for the runtime (`ports.meter.Meter`) and renders for Prometheus, each from its own thread.

    Asking again for a channel, lane or listener gives the same numbers, so a reload keeps them.
    `wall_s` is the clock that ages of queued messages are taken against, in seconds since 1970.
    """

    def __init__(self, *, wall_s: Callable[[], float] = time.time) -> None:
        self.channels: dict[str, ChannelNumbers] = {}
        self.lanes: dict[tuple[str, str], LaneNumbers] = {}
        self.listeners: dict[str, ListenerNumbers] = {}
        self.commit_seconds = Histogram(COMMIT_BOUNDS_S)
        self.commit_messages = Histogram(COMMIT_BOUNDS_MESSAGES)
        self.pruned_bodies = 0
        self.pruned_messages = 0
        self.is_retention_paused = False
        self.disk_free_bytes: int | None = None
        self.store_bytes: int | None = None
        self.damaged_entries = 0
        self.retention_passed_s: float | None = None
        self.certificate_ends: Mapping[str, float] = {}
        """By the place that shows it, seconds since 1970."""
        self.tls = TlsStatus()
        self.is_ready: Callable[[], bool] = lambda: False
        """What `/readyz` would say; asked in the scraper's thread."""
        self.is_console_up: bool | None = None
        """None where there is none."""
        self.dicom = DicomNumbers()
        self.hand_offs: dict[str, HandOffNumbers] = {}
        self.trace_numbers: TraceNumbers | None = None
        self.audit_numbers: AuditExportNumbers | None = None
        self.registry = CollectorRegistry()
        self.registry.register(_Collector(self, wall_s))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def channel(self, channel: str) -> ChannelNumbers:
        return self.channels.setdefault(channel, ChannelNumbers())

    def lane(self, channel: str, destination: str) -> LaneNumbers:
        return self.lanes.setdefault((channel, destination), LaneNumbers())

    def hand_off(self, name: str) -> HandOffNumbers:
        return self.hand_offs.setdefault(name, HandOffNumbers())

    def audit_export(self) -> AuditExportNumbers:
        self.audit_numbers = self.audit_numbers or AuditExportNumbers()
        return self.audit_numbers

    def traces(self) -> TraceNumbers:
        self.trace_numbers = self.trace_numbers or TraceNumbers()
        return self.trace_numbers

    def listener(self, listener: str) -> ListenerNumbers:
        found = self.listeners.get(listener)
        return found if found is not None else self.listeners.setdefault(listener, ListenerNumbers())

    def commit(self, seconds: float, size: int) -> None:
        self.commit_seconds.observe(seconds)
        self.commit_messages.observe(size)

    def pruned(self, bodies: int, messages: int) -> None:
        self.pruned_bodies += bodies
        self.pruned_messages += messages

    def retention_paused(self, paused: bool) -> None:
        self.is_retention_paused = paused

    def retention_pass(self, at_s: float) -> None:
        self.retention_passed_s = at_s

    def damaged(self, count: int) -> None:
        """So many more messages and deliveries of the store are held, as they are not what was stored."""
        self.damaged_entries += count

    def disk(self, free_bytes: int, store_bytes: int | None) -> None:
        self.disk_free_bytes = free_bytes
        self.store_bytes = store_bytes

    def connections(self, listener: str, open_count: int) -> None:
        self.listener(listener).open_count = open_count

    def connection_event(self, listener: str, event: str) -> None:
        self.listener(listener).event(event)

    def source_files(self, listener: str, waiting: int, failed: int) -> None:
        self.listener(listener).files = (waiting, failed)

    def ignored(self, listener: str, size_bytes: int, empty_blocks: int) -> None:
        numbers = self.listener(listener)
        numbers.ignored_bytes += size_bytes
        numbers.empty_blocks += empty_blocks

    def render(self, accept_header: str = "") -> tuple[str, bytes]:
        """Every metric now, as (content type, body), in the format `accept_header` prefers. Any thread may call."""
        encode, content_type = choose_encoder(accept_header)
        return content_type, encode(self.registry)


class _Collector(Collector):
    """Reads the meter's numbers at the moment of a scrape."""

    def __init__(self, meter: PrometheusMeter, wall_s: Callable[[], float]) -> None:
        self._meter = meter
        self._wall_s = wall_s

    def collect(self) -> Iterator[Metric]:
        yield from _of_channels(self._meter.channels.copy())
        yield from _of_lanes(self._meter.lanes.copy(), self._wall_s())
        yield from _of_listeners(self._meter.listeners.copy())
        commit_seconds = HistogramMetricFamily("segmill_commit_seconds", "Time one durable transaction took.")
        _add(commit_seconds, (), self._meter.commit_seconds)
        yield commit_seconds
        commit_messages = HistogramMetricFamily("segmill_commit_messages", "Entries that one transaction made durable.")
        _add(commit_messages, (), self._meter.commit_messages)
        yield commit_messages
        yield from _of_room(self._meter)
        yield from _of_dicom(self._meter.dicom)
        yield from _of_hand_offs(dict(self._meter.hand_offs), self._wall_s())
        if self._meter.audit_numbers is not None:
            yield from _of_audit_export(self._meter.audit_numbers, self._wall_s())
        if self._meter.trace_numbers is not None:
            yield from _of_traces(self._meter.trace_numbers)
        yield GaugeMetricFamily("segmill_ready", "1 while /readyz says so.", value=int(self._meter.is_ready()))
        if self._meter.is_console_up is not None:
            yield GaugeMetricFamily(
                "segmill_console_up",
                "1 while the console and the HTTP API can be reached; not there where they are off.",
                value=int(self._meter.is_console_up),
            )
        yield from of_tls(self._meter.certificate_ends, self._meter.tls)
        build = {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
        yield InfoMetricFamily("segmill_build", "What is running.", value=build)


def _of_channels(channels: dict[str, ChannelNumbers]) -> Iterator[Metric]:
    by_channel = ["channel"]
    received = CounterMetricFamily("segmill_messages_received", "Messages that came in.", labels=by_channel)
    size = CounterMetricFamily("segmill_received_bytes", "Bytes of messages that came in.", labels=by_channel)
    last = GaugeMetricFamily(
        "segmill_last_received_timestamp_seconds",
        "When the newest message came in, seconds since 1970; 0 if none did since the start.",
        labels=by_channel,
    )
    outcomes = CounterMetricFamily(
        "segmill_messages", "What became of the messages that came in.", labels=["channel", "outcome"]
    )
    ack_codes = CounterMetricFamily(
        "segmill_acknowledgements", "Acknowledgements sent, by MSA-1.", labels=["channel", "code"]
    )
    ack_seconds = HistogramMetricFamily(
        "segmill_ack_seconds", "Time from the end of a message to its acknowledgement.", labels=by_channel
    )
    steps = SummaryMetricFamily(
        "segmill_step_seconds", "Time that each step of a channel took.", labels=["channel", "step"]
    )
    findings = CounterMetricFamily(
        "segmill_findings", "Findings by code; `segmill explain CODE` tells the long story.", labels=["channel", "code"]
    )
    breaches = CounterMetricFamily(
        "segmill_validation_findings",
        "Breaches of rules of the standard and of profiles, by what they came to.",
        labels=["channel", "rule", "mode"],
    )
    drifts = GaugeMetricFamily(
        "segmill_profile_drift_senders",
        "Senders whose messages differ at a place from what the profile was learned from; "
        "senders that the profile does not name are together.",
        labels=["channel", "sender", "place"],
    )
    charsets = CounterMetricFamily(
        "segmill_charset_evidence",
        "Messages beyond plain ASCII, by how their character set was known; `segmill senders` tells whose.",
        labels=["channel", "evidence"],
    )
    workers = CounterMetricFamily(
        "segmill_worker_events",
        "What happened to the process of a channel that has one: started, not-started, late (the engine ended it), "
        "ended (by itself).",
        labels=["channel", "event"],
    )
    paused = GaugeMetricFamily(
        "segmill_intake_paused", "1 while a person has paused the channel's intake.", labels=by_channel
    )
    silent = GaugeMetricFamily(
        "segmill_silent_feeds",
        "Senders' kinds of message that have not come for much longer than is usual at this weekday and hour.",
        labels=by_channel,
    )
    for name, numbers in channels.items():
        silent.add_metric((name,), numbers.silent_feeds)
        paused.add_metric((name,), int(numbers.is_intake_paused))
        received.add_metric((name,), numbers.total)
        size.add_metric((name,), numbers.size_bytes)
        last.add_metric((name,), numbers.last_received_s)
        for outcome, count in numbers.outcomes.values.items():
            outcomes.add_metric((name, outcome), count)
        for code, count in numbers.ack_codes.values.items():
            ack_codes.add_metric((name, code), count)
        _add(ack_seconds, (name,), numbers.ack_seconds)
        for step, timing in numbers.steps.copy().items():
            steps.add_metric((name, step), timing.count, timing.total)
        for code, count in numbers.findings.copy().items():
            findings.add_metric((name, code), count)
        for (rule, mode), count in numbers.breaches.copy().items():
            breaches.add_metric((name, rule, mode), count)
        for (sender, place), count in numbers.drifts.copy().items():
            drifts.add_metric((name, sender, place), count)
        for evidence, count in numbers.charsets.values.items():
            charsets.add_metric((name, evidence), count)
        if any(numbers.workers.values.values()):
            for event, count in numbers.workers.values.items():
                workers.add_metric((name, event), count)
    yield from (
        received,
        size,
        last,
        outcomes,
        ack_codes,
        ack_seconds,
        steps,
        findings,
        breaches,
        drifts,
        charsets,
        paused,
        silent,
        workers,
    )


def _of_lanes(lanes: dict[tuple[str, str], LaneNumbers], now_s: float) -> Iterator[Metric]:
    by_lane = ["channel", "destination"]
    outcomes = CounterMetricFamily(
        "segmill_deliveries", "Attempts to deliver, by what came of them.", labels=[*by_lane, "outcome"]
    )
    seconds = HistogramMetricFamily(
        "segmill_delivery_seconds", "Time one attempt took, to the receiver's answer.", labels=by_lane
    )
    depth = GaugeMetricFamily("segmill_queue_depth", "Deliveries that wait, by state.", labels=[*by_lane, "state"])
    oldest = GaugeMetricFamily(
        "segmill_queue_oldest_seconds",
        "Age of the oldest message that waits for this destination; 0 if none does.",
        labels=by_lane,
    )
    connected = GaugeMetricFamily(
        "segmill_destination_connected", "0 while the destination is down, and 1 otherwise.", labels=by_lane
    )
    is_open = GaugeMetricFamily(
        "segmill_destination_open", "0 outside of the destination's hours, and 1 otherwise.", labels=by_lane
    )
    redirects = CounterMetricFamily(
        "segmill_redirected_deliveries",
        "Deliveries that the destination's policy gave to another destination.",
        labels=by_lane,
    )
    failures = CounterMetricFamily(
        "segmill_lane_failures",
        "How often the destination's lane failed, by a defect of Segmill, and was started again or stands still.",
        labels=by_lane,
    )
    paused = GaugeMetricFamily("segmill_queue_paused", "1 while a person has paused the destination.", labels=by_lane)
    stopped = GaugeMetricFamily(
        "segmill_destination_stopped",
        "1 while the destination stands still at a message that was refused, until a person says how it goes on.",
        labels=by_lane,
    )
    blocked = GaugeMetricFamily(
        "segmill_blocked_keys",
        "Keys of order_by that are held up by a delivery that waits for its next attempt.",
        labels=by_lane,
    )
    for key, numbers in lanes.items():
        paused.add_metric(key, int(numbers.is_paused))
        stopped.add_metric(key, int(numbers.is_stopped))
        for outcome, count in numbers.outcomes.values.items():
            outcomes.add_metric((*key, outcome), count)
        _add(seconds, key, numbers.seconds)
        depth.add_metric((*key, "queued"), numbers.queued)
        depth.add_metric((*key, "held"), numbers.held)
        # A clock that was set back must not show a negative age.
        oldest_us = numbers.oldest_us
        oldest.add_metric(key, max(0.0, now_s - oldest_us / 1e6) if oldest_us else 0.0)
        connected.add_metric(key, int(numbers.is_connected))
        is_open.add_metric(key, int(numbers.is_open))
        redirects.add_metric(key, numbers.redirects)
        failures.add_metric(key, numbers.failures)
        blocked.add_metric(key, numbers.blocked)
    yield from (outcomes, seconds, depth, oldest, connected, is_open, redirects, failures, paused, stopped, blocked)


def _of_room(meter: PrometheusMeter) -> Iterator[Metric]:
    pruned = CounterMetricFamily(
        "segmill_retention_pruned", "Messages that were forgotten: their bytes, or whole.", labels=["what"]
    )
    pruned.add_metric(("bodies",), meter.pruned_bodies)
    pruned.add_metric(("messages",), meter.pruned_messages)
    yield pruned
    yield GaugeMetricFamily(
        "segmill_retention_paused",
        "1 while nothing is forgotten, as the clock jumped.",
        value=int(meter.is_retention_paused),
    )
    if meter.retention_passed_s is not None:
        yield GaugeMetricFamily(
            "segmill_retention_pass_timestamp_seconds",
            "When all that was old enough had last been forgotten, seconds since 1970.",
            value=meter.retention_passed_s,
        )
    damaged = CounterMetricFamily(
        "segmill_store_damaged_entries",
        "Messages and deliveries that are held, as their bytes in the store do not match their checksum (E250).",
    )
    damaged.add_metric((), meter.damaged_entries)
    yield damaged
    if meter.store_bytes is not None:
        yield GaugeMetricFamily(
            "segmill_store_bytes", "What the store's files hold, with its log.", value=meter.store_bytes
        )
    if meter.disk_free_bytes is not None:
        yield GaugeMetricFamily(
            "segmill_disk_free_bytes", "What is free on the store's disk.", value=meter.disk_free_bytes
        )


def _of_dicom(numbers: DicomNumbers) -> Iterator[Metric]:
    items = GaugeMetricFamily(
        "segmill_worklist_items", "Scheduled steps on the worklists, by status.", labels=["worklist", "status"]
    )
    for key, count in numbers.items.items():
        items.add_metric(key, count)
    stationless = GaugeMetricFamily(
        "segmill_worklist_items_without_station",
        "Steps that are shown and are for no scanner: none that asks for its own list sees them.",
        labels=["worklist"],
    )
    for name in dict.fromkeys(worklist for worklist, _ in numbers.items):
        stationless.add_metric((name,), numbers.without_station.get(name, 0))
    refusals = CounterMetricFamily(
        "segmill_worklist_refusals",
        "Messages that a worklist refused when it took them, by code: by what is there, or as DICOM cannot hold them.",
        labels=["code"],
    )
    for code, count in numbers.refusals.values.items():
        refusals.add_metric((code,), count)
    left_out = CounterMetricFamily(
        "segmill_dicom_unencodable_items", "Steps left out of answers: damaged, or not to be written as DICOM."
    )
    left_out.add_metric((), numbers.left_out_items)
    queries = CounterMetricFamily("segmill_dicom_queries", "Worklist queries, by how they ended.", labels=["outcome"])
    for outcome, count in numbers.queries.values.items():
        queries.add_metric((outcome,), count)
    seconds = HistogramMetricFamily("segmill_dicom_query_seconds", "Time from a query to its last answer.")
    _add(seconds, (), numbers.seconds)
    answers = CounterMetricFamily("segmill_dicom_answers", "Worklist items that scanners were answered with.")
    answers.add_metric((), numbers.answers)
    rewritten = CounterMetricFamily(
        "segmill_dicom_rewritten_answers", "Answers with text that the scanner's character set does not have."
    )
    rewritten.add_metric((), numbers.rewritten)
    refused = CounterMetricFamily("segmill_dicom_refused_associations", "Scanners that were not let in.")
    refused.add_metric((), numbers.refused)
    steps = CounterMetricFamily(
        "segmill_dicom_performed_steps",
        "Performed procedure steps, begun and changed: kept, unscheduled (kept, and of no step), refused.",
        labels=["outcome"],
    )
    for outcome, count in numbers.steps.values.items():
        steps.add_metric((outcome,), count)
    told = CounterMetricFamily(
        "segmill_worklist_statuses_told",
        "Messages that tell the ordering system of steps that were moved: queued, held, or (failed) not made.",
        labels=["outcome"],
    )
    for outcome, count in numbers.told.values.items():
        told.add_metric((outcome,), count)
    yield from (items, stationless, refusals, left_out, queries, seconds, answers, rewritten, refused, steps, told)


def _of_hand_offs(hand_offs: dict[str, HandOffNumbers], now_s: float) -> Iterator[Metric]:
    by_name = ["hand_off"]
    is_up = GaugeMetricFamily("segmill_hand_off_up", "1 while steps of a worklist can be handed over.", labels=by_name)
    waiting = GaugeMetricFamily(
        "segmill_hand_off_waiting_steps", "Steps that are not there as scanners are to see them.", labels=by_name
    )
    refused = GaugeMetricFamily(
        "segmill_hand_off_refused_steps", "Those of them that were not taken, and are tried again.", labels=by_name
    )
    oldest = GaugeMetricFamily(
        "segmill_hand_off_lag_seconds", "How long ago the oldest of them was written; 0 if none waits.", labels=by_name
    )
    events = CounterMetricFamily(
        "segmill_hand_off_steps",
        "Steps handed over, removed and refused; and how often the other side failed.",
        labels=["hand_off", "event"],
    )
    for name, numbers in hand_offs.items():
        is_up.add_metric((name,), numbers.is_up)
        waiting.add_metric((name,), numbers.waiting)
        refused.add_metric((name,), numbers.refused)
        oldest.add_metric((name,), max(0.0, now_s - numbers.oldest_us / 1e6) if numbers.oldest_us else 0)
        for event, count in numbers.events.values.items():
            events.add_metric((name, event), count)
    yield from (is_up, waiting, refused, oldest, events)


def _of_audit_export(numbers: AuditExportNumbers, now_s: float) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "segmill_audit_export_up", "1 while the audit can be sent to its repository.", value=int(numbers.is_up)
    )
    yield GaugeMetricFamily(
        "segmill_audit_export_waiting_records",
        "Records of the audit that the repository is not known to have.",
        value=numbers.waiting,
    )
    yield GaugeMetricFamily(
        "segmill_audit_export_lag_seconds",
        "How long ago the oldest of them was written; 0 if none waits.",
        value=max(0.0, now_s - numbers.oldest_us / 1e6) if numbers.oldest_us else 0.0,
    )
    messages = CounterMetricFamily(
        "segmill_audit_export_messages", "Audit messages that were written to the repository, some again."
    )
    messages.add_metric((), numbers.messages)
    yield messages
    failures = CounterMetricFamily("segmill_audit_export_failures", "How often the repository could not be sent to.")
    failures.add_metric((), numbers.failures)
    yield failures


def _of_traces(numbers: TraceNumbers) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "segmill_trace_collector_up", "0 while the collector of traces does not take them.", value=int(numbers.is_up)
    )
    spans = CounterMetricFamily(
        "segmill_trace_spans",
        "Spans of messages' journeys: exported, dropped (no room) or refused by the collector.",
        labels=["outcome"],
    )
    for outcome, count in numbers.counts.items():
        spans.add_metric((outcome,), count)
    yield spans


def _of_listeners(listeners: dict[str, ListenerNumbers]) -> Iterator[Metric]:
    open_count = GaugeMetricFamily("segmill_connections", "Connections that are open.", labels=["listener"])
    events = CounterMetricFamily(
        "segmill_connection_events", "What happened to connections.", labels=["listener", "event"]
    )
    files = GaugeMetricFamily(
        "segmill_source_files",
        "Files of a source: those that wait, and those set aside for a person.",
        labels=["listener", "state"],
    )
    ignored = CounterMetricFamily(
        "segmill_ignored_bytes", "Bytes that came outside of MLLP blocks and were passed over.", labels=["listener"]
    )
    empty = CounterMetricFamily("segmill_empty_blocks", "MLLP blocks without content.", labels=["listener"])
    for name, numbers in listeners.items():
        if numbers.files is not None:
            for state, count in zip(("waiting", "failed"), numbers.files, strict=True):
                files.add_metric((name, state), count)
        open_count.add_metric((name,), numbers.open_count)
        ignored.add_metric((name,), numbers.ignored_bytes)
        empty.add_metric((name,), numbers.empty_blocks)
        counts = numbers.events.values
        if numbers.source_events is not None:
            counts = {**numbers.source_events.values, **counts}  # `other` is that of connections
        for event, count in counts.items():
            events.add_metric((name, event), count)
    yield from (open_count, events, ignored, empty, files)


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    """Prometheus counts cumulatively: each bucket holds everything up to its bound."""
    buckets: list[tuple[str, float]] = []
    running = 0
    counts = histogram.counts.copy()
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), counts, strict=True):
        running += count
        buckets.append((bound, running))
    family.add_metric(labels, buckets, sum_value=histogram.total)
