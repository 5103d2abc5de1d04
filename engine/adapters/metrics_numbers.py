"""The numbers the hot path adds to: plain integers and lists in slotted objects, nothing of Prometheus.

One thread writes, any thread reads. Label values come from the configuration or from a closed set; anything
else is counted as `other`, so that no message can add a series (reliability.md section 4, "PHI / cardinality
in metrics").
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from engine.worklist.item import Status

OTHER: Final = "other"
MESSAGE_OUTCOMES: Final = (
    "processed",
    "filtered",
    "held",
    "rejected",
    "waiting",
    "duplicate",
    "unreadable",
    "refused",
)
ACK_CODES: Final = ("AA", "AE", "AR", "CA", "CE", "CR")
ATTEMPT_OUTCOMES: Final = ("delivered", "refused", "unreachable", "unanswered", "unsendable")
CONNECTION_EVENTS: Final = (
    "accepted",
    "refused_address",
    "refused_limit",
    "refused_tls",
    "refused_name",
    "no_descriptor",
    "vanished",
    "idle",
    "midframe",
    "unread",
    "crowded",
    "oversize",
    "garbage",
    "fs-in-block",
    "truncated",
    "bytes-before",
    "truncated-before",
    "lf-for-cr",
    "no-cr",
    "commit-byte",
    "commit-refused",
    "uncommitted",
    "failed",
)
SOURCE_EVENTS: Final = (
    "file_taken",
    "file_failed",
    "file_postponed",
    "folder_unavailable",
    "refused_request",
    "refused_login",
    "timeout",
)
MODES: Final = {"error": "reject", "warning": "warn", "information": "observe"}
MAX_RULES: Final = 1000
"""How many rules of one channel's profile and standard get a series of their own."""
CHARSET_EVIDENCE: Final = ("declared", "broken", "utf-8", "windows-1252", "fallback")
WORKER_EVENTS: Final = ("started", "not-started", "late", "ended")
MAX_OPEN_LABELS: Final = 100
"""How many steps or finding codes of one channel get a series of their own."""

WORKLIST_REFUSALS: Final = (*(f"E{number}" for number in range(410, 420)), "E445", "E446", "E457")
"""What a worklist refuses by what is there, and what DICOM cannot hold."""
QUERY_OUTCOMES: Final = ("success", "cut", "cancelled", "bad_identifier", "failed")
QUERY_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)

ACK_BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
DELIVERY_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
COMMIT_BOUNDS_S: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 10.0)
COMMIT_BOUNDS_MESSAGES: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Counts:
    """A counter for each of a closed set of labels, and one for the rest."""

    __slots__ = ("values",)

    def __init__(self, labels: Sequence[str]) -> None:
        self.values: dict[str, int] = dict.fromkeys((*labels, OTHER), 0)

    def add(self, label: str) -> None:
        values = self.values
        if label in values:
            values[label] += 1
        else:
            values[OTHER] += 1


class Histogram:
    """How many observations fell under each bound, and their sum. `counts` has one place more, for +Inf."""

    __slots__ = ("bounds", "counts", "named_bounds", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.named_bounds = (*map(str, self.bounds), "+Inf")
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Timing:
    """How often and how long, in seconds."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0


class ChannelNumbers:
    """The counters of one channel: `ports.meter.ChannelMeter`."""

    __slots__ = (
        "ack_codes",
        "ack_seconds",
        "breaches",
        "charsets",
        "drifts",
        "findings",
        "is_intake_paused",
        "last_received_s",
        "outcomes",
        "silent_feeds",
        "size_bytes",
        "steps",
        "total",
        "workers",
    )

    def __init__(self) -> None:
        self.total = 0
        self.size_bytes = 0
        self.last_received_s = 0.0
        self.outcomes = Counts(MESSAGE_OUTCOMES)
        self.ack_codes = Counts(ACK_CODES)
        self.ack_seconds = Histogram(ACK_BOUNDS_S)
        self.steps: dict[str, Timing] = {}
        self.findings: dict[str, int] = {}
        self.breaches: dict[tuple[str, str], int] = {}
        self.drifts: dict[tuple[str, str], int] = {}
        self.charsets = Counts(CHARSET_EVIDENCE)
        self.workers = Counts(WORKER_EVENTS)
        self.is_intake_paused = False
        self.silent_feeds = 0

    def received(self, size_bytes: int, at_s: float) -> None:
        self.total += 1
        self.size_bytes += size_bytes
        self.last_received_s = at_s

    def outcome(self, outcome: str) -> None:
        self.outcomes.add(outcome)

    def acknowledged(self, ack_code: str, seconds: float) -> None:
        self.ack_codes.add(ack_code)
        self.ack_seconds.observe(seconds)

    def step(self, step: str, seconds: float) -> None:
        timing = self.steps.get(step)
        if timing is None:
            timing = self.steps.setdefault(step if len(self.steps) < MAX_OPEN_LABELS else OTHER, Timing())
        timing.count += 1
        timing.total += seconds

    def breach(self, rule: str, severity: str) -> None:
        key = (rule, MODES.get(severity, OTHER))
        if key not in self.breaches and len(self.breaches) >= MAX_RULES:
            key = (OTHER, key[1])
        self.breaches[key] = self.breaches.get(key, 0) + 1

    def drift(self, sender: str, place: str, count: int) -> None:
        if (sender, place) in self.drifts or len(self.drifts) < MAX_RULES:
            self.drifts[sender, place] = count

    def finding(self, code: str) -> None:
        findings = self.findings
        if code not in findings and len(findings) >= MAX_OPEN_LABELS:
            code = OTHER
        findings[code] = findings.get(code, 0) + 1

    def charset(self, evidence: str) -> None:
        self.charsets.add(evidence)

    def worker(self, event: str) -> None:
        self.workers.add(event)

    def feeds_silent(self, count: int) -> None:
        self.silent_feeds = count

    def intake_paused(self, paused: bool) -> None:
        self.is_intake_paused = paused


class LaneNumbers:
    """The counters of one destination: `ports.meter.LaneMeter`."""

    __slots__ = (
        "blocked",
        "failures",
        "held",
        "is_connected",
        "is_open",
        "is_paused",
        "is_stopped",
        "oldest_us",
        "outcomes",
        "queued",
        "redirects",
        "seconds",
    )

    def __init__(self) -> None:
        self.outcomes = Counts(ATTEMPT_OUTCOMES)
        self.seconds = Histogram(DELIVERY_BOUNDS_S)
        self.queued = 0
        self.held = 0
        self.oldest_us = 0
        self.blocked = 0
        self.is_connected = True
        self.is_open = True
        self.is_paused = False
        self.is_stopped = False
        self.redirects = 0
        self.failures = 0

    def attempt(self, outcome: str, seconds: float) -> None:
        self.outcomes.add(outcome)
        self.seconds.observe(seconds)

    def depth(self, queued: int, held: int, oldest_us: int) -> None:
        self.queued = queued
        self.held = held
        self.oldest_us = oldest_us

    def connected(self, up: bool) -> None:
        self.is_connected = up

    def open(self, is_open: bool) -> None:
        self.is_open = is_open

    def redirected(self) -> None:
        self.redirects += 1

    def failed(self) -> None:
        self.failures += 1

    def paused(self, paused: bool) -> None:
        self.is_paused = paused

    def stopped(self, stopped: bool) -> None:
        self.is_stopped = stopped

    def blocked_keys(self, count: int) -> None:
        self.blocked = count


class ListenerNumbers:
    """The connections of one listener, or the files of one source; `files` is None where there are none."""

    __slots__ = ("empty_blocks", "events", "files", "ignored_bytes", "open_count", "source_events")

    def __init__(self) -> None:
        self.ignored_bytes = 0
        self.empty_blocks = 0
        self.open_count = 0
        self.files: tuple[int, int] | None = None
        self.events = Counts(CONNECTION_EVENTS)
        self.source_events: Counts | None = None

    def event(self, event: str) -> None:
        """Of a connection, or of a source, which has events of its own."""
        if event not in SOURCE_EVENTS:
            self.events.add(event)
            return
        if self.source_events is None:
            self.source_events = Counts(SOURCE_EVENTS)
        self.source_events.add(event)


class HandOffNumbers:
    """Of one hand-off of a worklist: `runtime.hand_off.HandOffMeter`."""

    __slots__ = ("events", "is_up", "oldest_us", "refused", "waiting")

    def __init__(self) -> None:
        self.events = Counts(("handed", "removed", "refused", "failed"))
        self.is_up = False
        self.waiting = 0
        self.refused = 0
        self.oldest_us = 0

    def stands(self, is_up: bool, waiting: int, refused: int, oldest_us: int) -> None:
        self.is_up = is_up
        self.waiting = waiting
        self.refused = refused
        self.oldest_us = oldest_us

    def event(self, event: str, count: int = 1) -> None:
        for _ in range(count):
            self.events.add(event)


class AuditExportNumbers:
    """Of the audit's way to a repository: `ports.audit_export.AuditExportMeter`."""

    __slots__ = ("failures", "is_up", "messages", "oldest_us", "waiting")

    def __init__(self) -> None:
        self.is_up = False
        self.waiting = 0
        self.oldest_us = 0
        self.messages = 0
        self.failures = 0

    def stands(self, is_up: bool, waiting: int, oldest_us: int) -> None:
        self.is_up = is_up
        self.waiting = waiting
        self.oldest_us = oldest_us

    def sent(self, count: int) -> None:
        self.messages += count

    def failed(self) -> None:
        self.failures += 1


class TraceNumbers:
    """Of traces: `ports.tracing.TraceMeter`. Written by the thread that sends them."""

    __slots__ = ("counts", "is_up")

    def __init__(self) -> None:
        self.counts = {"exported": 0, "dropped": 0, "refused": 0}
        self.is_up = True

    def spans(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count

    def collector(self, is_up: bool) -> None:
        self.is_up = is_up


class DicomNumbers:
    """Of the site's DICOM port. Its threads take turns; `items` is set by the engine as a whole."""

    __slots__ = (
        "answers",
        "items",
        "left_out_items",
        "queries",
        "refusals",
        "refused",
        "rewritten",
        "seconds",
        "steps",
        "told",
        "without_station",
    )

    def __init__(self) -> None:
        self.queries = Counts(QUERY_OUTCOMES)
        self.seconds = Histogram(QUERY_BOUNDS_S)
        self.answers = 0
        self.rewritten = 0
        self.refused = 0
        self.steps = Counts(("kept", "unscheduled", "refused"))
        self.told = Counts(("queued", "held", "failed"))
        self.items: Mapping[tuple[str, Status], int] = {}
        self.without_station: Mapping[str, int] = {}
        self.left_out_items = 0
        self.refusals = Counts(WORKLIST_REFUSALS)

    def queried(self, outcome: str, answers: int, seconds: float, rewritten: int) -> None:
        self.queries.add(outcome)
        self.seconds.observe(seconds)
        self.answers += answers
        self.rewritten += rewritten

    def refused_association(self) -> None:
        self.refused += 1

    def left_out(self, count: int) -> None:
        self.left_out_items += count

    def refusal(self, code: str) -> None:
        self.refusals.add(code)

    def performed(self, outcome: str) -> None:
        self.steps.add(outcome)

    def told_status(self, outcome: str) -> None:
        self.told.add(outcome)
