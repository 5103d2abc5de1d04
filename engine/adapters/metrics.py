"""The meter that Prometheus reads.

The runtime adds to the plain numbers of `metrics_numbers`; a collector turns them into samples when somebody
scrapes, in the scraper's thread, and families with many rows are rendered by `metrics_rows`. A scrape may see a
message counted as received and not yet as acknowledged, never a number going down: dictionaries are copied in one
step before they are walked, and the count of a histogram is the sum of the buckets it shows. Names: STYLE section
14; ux.md section 2.4.
"""

import platform
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine import __version__
from engine.adapters.metrics_families import OF_CHANNELS, OF_LANES, OF_LISTENERS
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
from engine.adapters.metrics_rows import Children, WideFamilies, add, distribution
from engine.adapters.metrics_tls import of_tls
from engine.adapters.tls_status import TlsStatus


class PrometheusMeter:
    """Counts for the runtime (`ports.meter.Meter`) and renders for Prometheus, each from its own thread.

    Asking again for a channel, lane or listener gives the same numbers, so a reload keeps them.
    `wall_s` is the clock that ages of queued messages are taken against, in seconds since 1970; `rest` is how the
    thread that renders gives way to others.
    """

    def __init__(
        self,
        *,
        wall_s: Callable[[], float] = time.time,
        rest: Callable[[float], None] = time.sleep,  # noqa: TID251 - of the thread that renders
    ) -> None:
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
        self.store_keys: Mapping[str, float] = {}
        """Of an encrypted store: since when its keys are in use, seconds since 1970."""
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
        """Every family; `render` gives the same, and quicker."""
        collector = _Collector(self, wall_s)
        self.registry.register(collector)
        of_process = ProcessCollector(registry=self.registry), PlatformCollector(registry=self.registry)
        self._narrow = _Narrow(collector, of_process)
        self._of_channels = WideFamilies(("channel",), OF_CHANNELS)
        self._of_lanes = WideFamilies(("channel", "destination"), OF_LANES)
        self._of_listeners = WideFamilies(("listener",), OF_LISTENERS)
        self._wall_s = wall_s
        self._rest = rest

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
        now_s = self._wall_s()
        parts = [families.render(of, now_s, content_type, encode, rest=self._rest) for families, of in self.wide()]
        return content_type, b"".join((*parts, encode(self._narrow)))

    def wide(self) -> Sequence[tuple[WideFamilies[Any], Children[Any]]]:
        """Families with rows for each channel, destination and listener, with what these have counted so far."""
        return (
            (self._of_channels, [((name,), numbers) for name, numbers in self.channels.copy().items()]),
            (self._of_lanes, list(self.lanes.copy().items())),
            (self._of_listeners, [((name,), numbers) for name, numbers in self.listeners.copy().items()]),
        )


class _Collector(Collector):
    """Reads the meter's numbers at the moment of a scrape."""

    def __init__(self, meter: PrometheusMeter, wall_s: Callable[[], float]) -> None:
        self._meter = meter
        self._wall_s = wall_s

    def collect(self) -> Iterator[Metric]:
        for families, children in self._meter.wide():
            yield from families.collect(children, self._wall_s())
        yield from self.narrow()

    def narrow(self) -> Iterator[Metric]:
        """All that has no rows by channel, destination or listener."""
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


class _Narrow:
    """What has few rows, as a registry for an encoder."""

    def __init__(self, collector: _Collector, others: Sequence[Collector]) -> None:
        self._collector = collector
        self._others = others

    def collect(self) -> Iterator[Metric]:
        yield from self._collector.narrow()
        for other in self._others:
            yield from other.collect()


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
    if meter.store_keys:
        since = GaugeMetricFamily(
            "segmill_store_key_since_timestamp_seconds",
            "Since when the site's key closes the encrypted store, and since when there is its data key, seconds since "
            "1970; not there where the store is not encrypted.",
            labels=["key"],
        )
        for key, since_s in meter.store_keys.items():
            since.add_metric((key,), since_s)
        yield since
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


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    bounds, values = distribution(lambda numbers: histogram)(None, 0.0)
    add(family, "histogram", labels, bounds, values)
