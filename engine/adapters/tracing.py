"""Traces to an OpenTelemetry collector, by OTLP over HTTP (ADR 52). Loaded only where the site asks for it.

The loop appends tuples to a bounded queue; a thread makes spans of them and sends them. Ids are made from what the
store knows for ever, the message's number and the moment of its receipt: an attempt that is made next week, by another
run of the engine, belongs to the same trace. No value of a message comes here: numbers, codes, names from files.
"""

import logging
import random
import ssl
import threading
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import httpx2
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from engine import __version__
from engine.adapters.http_failures import why_failed
from engine.adapters.tls import client_context
from engine.adapters.waiting import WhenReady
from engine.config.traces import TracesOptions
from engine.model.envelope import Delivery, Intake
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.clock import Clock
from engine.ports.tracing import TraceMeter

log = logging.getLogger("segmill.traces")

DOWN: Final = "E566"
MOST_AT_ONCE: Final = 512
EVERY_S: Final = 1.0
FIRST_S: Final = 1.0
MOST_S: Final = 30.0
STOP_S: Final = 2.0
AGAIN: Final = (408, 429, 502, 503, 504)
"""Of these OTLP says that the same may be sent again; of all others that it may not."""
_MIX: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1


class Stored(NamedTuple):
    """A message that was received, decided on and stored. Times in ns since 1970."""

    seq: int
    received_us: int
    channel: str
    state: str
    ack_code: str
    findings: str
    size: int
    version: int
    began_ns: int
    decided_ns: int
    ended_ns: int

    @property
    def spans(self) -> int:
        return 3


class Processed(NamedTuple):
    """A message that went through its channel after it was answered."""

    seq: int
    received_us: int
    channel: str
    state: str
    findings: str
    began_ns: int
    ended_ns: int

    @property
    def spans(self) -> int:
        return 1


class Attempted(NamedTuple):
    """An attempt to deliver."""

    seq: int
    received_us: int
    channel: str
    destination: str
    delivery: int
    attempt: int
    outcome: str
    maybe_sent: bool
    began_ns: int
    ended_ns: int

    @property
    def spans(self) -> int:
        return 1


Told = Stored | Processed | Attempted


class OtlpTracing:
    """As ports.tracing.Tracing, with the thread that sends. `instance`: names this engine and its store, for ids."""

    def __init__(
        self, options: TracesOptions, site: Path, environment: str, instance: str, clock: Clock, meter: TraceMeter
    ) -> None:
        """Spans wait for TLS files that cannot be used, as for a collector that is down (ADR 58)."""
        self._clock = clock
        self.monotonic = clock.monotonic
        self._meter = meter
        self._bound = int(options.sample * (1 << 64))
        self._queue: deque[Told] = deque(maxlen=options.queue)
        self._most = options.queue
        self._dropped = 0
        self._wake = threading.Event()
        self._is_ending = False
        self._has_defect = False
        self._making = Making(options.service, environment, instance)
        self._sender = OtlpSender(options, site, meter)
        self._thread: threading.Thread | None = None
        self.why_unready = self._sender.why_unready

    # -- on the loop ----------------------------------------------------------------------------

    def stored(self, seq: MessageSeq, record: Intake, began_s: float, decided_s: float) -> None:
        """As Tracing.stored."""
        if (seq * _MIX) & _MASK >= self._bound:
            return
        now_s, now_ns = self._clock.monotonic(), self._clock.now_us() * 1000
        began_ns = now_ns - int((now_s - began_s) * 1e9)
        decided_ns = max(began_ns, now_ns - int((now_s - decided_s) * 1e9))
        self._tell(
            Stored(
                seq,
                record.received_at_us,
                record.channel,
                record.state,
                record.ack_code,
                record.findings,
                len(record.raw),
                record.version,
                began_ns,
                decided_ns,
                now_ns,
            )
        )

    def processed(
        self, seq: MessageSeq, channel: ChannelName, received_at_us: int, state: str, findings: str, began_s: float
    ) -> None:
        """As Tracing.processed."""
        if (seq * _MIX) & _MASK >= self._bound:
            return
        now_ns = self._clock.now_us() * 1000
        began_ns = now_ns - int((self._clock.monotonic() - began_s) * 1e9)
        self._tell(Processed(seq, received_at_us, channel, state, findings, began_ns, now_ns))

    def attempted(self, delivery: Delivery, outcome: str, took_s: float) -> None:
        """As Tracing.attempted."""
        seq = delivery.seq
        if (seq * _MIX) & _MASK >= self._bound:
            return
        now_ns = self._clock.now_us() * 1000
        self._tell(
            Attempted(
                seq,
                delivery.received_at_us,
                delivery.channel,
                delivery.destination,
                delivery.id,
                delivery.attempts + 1,
                outcome,
                delivery.maybe_sent,
                now_ns - int(took_s * 1e9),
                now_ns,
            )
        )

    def _tell(self, told: Told) -> None:
        queue = self._queue
        if len(queue) >= self._most:
            try:
                self._dropped += queue.popleft().spans  # the oldest goes
            except IndexError:
                pass  # the thread has just taken all of them
        queue.append(told)
        if len(queue) == MOST_AT_ONCE:
            self._wake.set()

    # -- the thread -----------------------------------------------------------------------------

    def start(self) -> None:
        """Send from now on."""
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what there is, if that takes no longer than a moment, and end. May be called from any thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._is_ending = True
        self._sender.end_soon()
        self._wake.set()
        thread.join(STOP_S)
        if thread.is_alive():
            log.info("traces: what was not sent at the stop is given up")

    def _run(self) -> None:
        try:
            while not self._is_ending:
                self._wake.wait(EVERY_S)
                self._wake.clear()
                self._send_all()
            self._send_all()
        except Exception as error:  # noqa: BLE001 - the edge of the thread: messages go on without traces
            log.error("traces end until the next start, by a defect: %s", type(error).__name__)
        finally:
            self._sender.close()

    def _send_all(self) -> None:
        while self._queue:
            told: list[Told] = []
            while self._queue and len(told) < MOST_AT_ONCE:
                told.append(self._queue.popleft())
            try:
                spans = [span for one in told for span in self._making.spans(one)]
                body = encode_spans(spans).SerializeToString()
            except Exception as error:  # noqa: BLE001 - the edge of these few: those behind them go on
                self._meter.spans("dropped", sum(one.spans for one in told))
                if not self._has_defect:
                    log.error("traces: some cannot be made, by a defect, and are dropped: %s", type(error).__name__)
                self._has_defect = True
                continue
            self._sender.send(body, len(spans))
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._meter.spans("dropped", dropped)


class Making:
    """Makes spans. Their attributes: `segmill.*`, and nothing of a message's content."""

    def __init__(self, service: str, environment: str, instance: str) -> None:
        known = {"service.name": service, "service.version": __version__, "service.instance.id": instance}
        if environment:
            known["deployment.environment.name"] = environment
        self._resource = Resource(known)
        self._scope = InstrumentationScope("segmill", __version__)
        self._key = blake2b(instance.encode(), digest_size=32).digest()

    def spans(self, told: Told) -> Sequence[ReadableSpan]:
        """Those of one step of a journey."""
        match told:
            case Stored():
                root = self._context(told, "message")
                attributes = {
                    "segmill.state": told.state,
                    "segmill.ack_code": told.ack_code,
                    "segmill.size_bytes": told.size,
                    "segmill.channel_version": told.version,
                    "segmill.findings": codes_in(told.findings),
                }
                is_bad = told.state in ("held", "rejected")
                return (
                    self._span(
                        "message", root, None, told, told.began_ns, told.ended_ns, attributes, SpanKind.SERVER, is_bad
                    ),
                    self._span("decide", self._context(told, "decide"), root, told, told.began_ns, told.decided_ns, {}),
                    self._span("commit", self._context(told, "commit"), root, told, told.decided_ns, told.ended_ns, {}),
                )
            case Processed():
                attributes = {"segmill.state": told.state, "segmill.findings": codes_in(told.findings)}
                return (
                    self._span(
                        "process",
                        self._context(told, f"process {told.ended_ns}"),
                        self._context(told, "message"),
                        told,
                        told.began_ns,
                        told.ended_ns,
                        attributes,
                        is_bad=told.state == "held",
                    ),
                )
            case Attempted():
                attributes = {
                    "segmill.destination": told.destination,
                    "segmill.delivery": told.delivery,
                    "segmill.attempt": told.attempt,
                    "segmill.outcome": told.outcome,
                    "segmill.maybe_sent": told.maybe_sent,
                }
                return (
                    self._span(
                        f"deliver {told.destination}",
                        self._context(told, f"deliver {told.delivery} {told.ended_ns}"),
                        self._context(told, "message"),
                        told,
                        told.began_ns,
                        told.ended_ns,
                        attributes,
                        SpanKind.CLIENT,
                        told.outcome != "delivered",
                    ),
                )

    def _context(self, told: Told, what: str) -> SpanContext:
        """Ids that are the same whenever they are made."""
        trace = blake2b(f"{told.seq} {told.received_us}".encode(), digest_size=16, key=self._key).digest()
        span = blake2b(what.encode(), digest_size=8, key=trace).digest()
        return SpanContext(int.from_bytes(trace), int.from_bytes(span), False, TraceFlags(TraceFlags.SAMPLED))

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        told: Told,
        began_ns: int,
        ended_ns: int,
        more: dict[str, object],
        kind: SpanKind = SpanKind.INTERNAL,
        is_bad: bool = False,
    ) -> ReadableSpan:
        attributes = {"segmill.message": told.seq, "segmill.channel": told.channel, **more}
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,  # type: ignore[arg-type]  # str, int, bool and lists of str
            kind=kind,
            status=Status(StatusCode.ERROR if is_bad else StatusCode.UNSET),
            start_time=began_ns,
            end_time=ended_ns,
            instrumentation_scope=self._scope,
        )


def codes_in(findings: str) -> list[str]:
    """The codes of findings as the store keeps them; their texts stay away."""
    return sorted({finding.code for finding in load_findings(findings)}) if findings else []


class OtlpSender:
    """Sends requests one after the other, each until the collector has it or does not want it. Used by one thread."""

    def __init__(self, options: TracesOptions, site: Path, meter: TraceMeter) -> None:
        """As OtlpTracing."""
        self._url = options.url
        self._options = options
        self._site = site
        self._client = WhenReady(self._made)
        self._meter = meter
        self._ending = threading.Event()
        self._is_up: bool | None = None
        if self.why_unready():
            meter.collector(False)

    def why_unready(self) -> str:
        """What of its TLS files is in the way, looked at again; '' for nothing. Any thread may ask."""
        return self._client.why_unready()

    def _made(self) -> httpx2.Client:
        return httpx2.Client(
            verify=client_context_of(self._options, self._site),
            timeout=self._options.timeout,
            trust_env=False,
            follow_redirects=False,
            headers={
                **self._options.headers,
                "content-type": "application/x-protobuf",
                "user-agent": f"segmill/{__version__}",
            },
        )

    def send(self, body: bytes, spans: int) -> None:
        """Never raises for what the collector does."""
        tries = 0
        while True:
            why, is_theirs, wait_s = self._try(body)
            if not why:
                self._stands(True, "")
                self._meter.spans("exported", spans)
                return
            self._stands(False, why)
            if not is_theirs or self._ending.is_set():
                self._meter.spans("refused" if not is_theirs else "dropped", spans)
                return
            tries += 1
            longest_s = min(MOST_S, FIRST_S * 2.0 ** min(tries - 1, 20))
            self._ending.wait(max(wait_s, longest_s * (0.8 + 0.2 * random.random())))  # noqa: S311 - to spread load

    def _try(self, body: bytes) -> tuple[str, bool, float]:
        """Why it was not taken, '' if it was; whether it may be sent again; how long it asks to wait."""
        if (why := self.why_unready()) or (client := self._client.made) is None:
            return why, True, 0.0
        try:
            with client.stream("POST", self._url, content=body) as response:
                status = response.status_code
                wait = response.headers.get("retry-after", "")
        except httpx2.HTTPError as error:
            return why_failed(error), True, 0.0
        if 200 <= status < 300:
            return "", False, 0.0
        wait_s = min(float(wait), MOST_S) if wait.isdecimal() and len(wait) < 6 else 0.0
        return f"it answers HTTP {status}", status in AGAIN, wait_s

    def _stands(self, is_up: bool, why: str) -> None:
        if is_up != self._is_up:
            if not is_up:
                log.warning(
                    "%s traces: the collector does not take them: %s; what has no room meanwhile is lost", DOWN, why
                )
            elif self._is_up is False:
                log.warning("traces: the collector is back")
        self._is_up = is_up
        self._meter.collector(is_up)

    def end_soon(self) -> None:
        """Wait for nothing any more."""
        self._ending.set()

    def close(self) -> None:
        if (client := self._client.made) is not None:
            client.close()


def client_context_of(options: TracesOptions, site: Path) -> ssl.SSLContext | bool:
    """For the client; True where it speaks plain HTTP."""
    if not options.url.startswith("https:"):
        return True
    tls = options.tls
    if tls is None:
        return client_context()
    return client_context(
        ca=site / tls.ca if tls.ca else None,
        certificate=site / tls.certificate if tls.certificate else None,
        key=site / tls.key if tls.key else None,
        verify=tls.verify,
    )
