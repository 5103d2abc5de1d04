"""A message's journey as spans: right, without values, sampled as a whole, and never in anybody's way."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.adapters import tracing
from engine.adapters.metrics_numbers import TraceNumbers
from engine.adapters.tracing import OtlpTracing, codes_in
from engine.config.traces import TracesOptions
from engine.model.envelope import Delivery
from engine.model.finding import Finding, dump_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.testing.store_contract import intake
from tests.adapters.collector import Collector, attributes, collector
from tests.ports import closed_port, free_port
from tests.runtime.parts import SetClock

AT_US = 1_790_000_000_000_000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    monkeypatch.setattr(tracing, "FIRST_S", 0.01)
    monkeypatch.setattr(tracing, "MOST_S", 0.05)
    monkeypatch.setattr(tracing, "STOP_S", 60.0)


@pytest.fixture
def there() -> Iterator[Collector]:
    with collector() as made:
        yield made


class Bench:
    def __init__(self, port: int, **options: Any) -> None:
        url = f"http://127.0.0.1:{port}"
        self.clock = SetClock()
        self.numbers = TraceNumbers()
        settings = TracesOptions.model_validate({"url": url, "sample": 1.0, **options})
        self.made = OtlpTracing(settings, Path(), "test", "host:store", self.clock, self.numbers)

    def message(self, seq: int, **changes: Any) -> None:
        record = intake()
        record.received_at_us = AT_US + seq
        for name, value in changes.items():
            setattr(record, name, value)
        now = self.clock.monotonic()
        self.made.stored(MessageSeq(seq), record, now - 0.020, now - 0.015)

    def attempt(self, seq: int, outcome: str = "delivered", attempts: int = 0) -> None:
        delivery = Delivery(
            DeliveryId(seq * 10),
            MessageSeq(seq),
            ChannelName("adt"),
            DestinationName("ris"),
            b"ZQ12345QZ",
            AT_US + seq,
            attempts,
        )
        self.made.attempted(delivery, outcome, 0.5)


@pytest.fixture
def bench(there: Collector) -> Iterator[Bench]:
    made = Bench(there.port)
    made.made.start()
    yield made
    made.made.stop()


def test_a_message_and_its_attempts_are_one_trace(bench: Bench, there: Collector) -> None:
    found = dump_findings([Finding("W301", "warning", "ZQ12345QZ is odd"), Finding("E214", "error", "no row")])
    bench.message(7, state="held", ack_code="AA", findings=found)
    bench.attempt(7, "unreachable")
    bench.attempt(7, "delivered", attempts=1)
    spans = {(span.name, attributes(span).get("segmill.attempt")): span for span in there.got(5)}
    root = spans["message", None]
    assert {span.trace_id for span in spans.values()} == {root.trace_id} and len(root.trace_id) == 16
    assert not root.parent_span_id and len({span.span_id for span in spans.values()}) == 5
    assert all(span.parent_span_id == root.span_id for span in spans.values() if span is not root)
    told = attributes(root)
    assert (told["segmill.message"], told["segmill.state"], told["segmill.ack_code"]) == (7, "held", "AA")
    assert told["segmill.findings"] == ["E214", "W301"]
    decide, commit = spans["decide", None], spans["commit", None]
    assert root.start_time_unix_nano == decide.start_time_unix_nano < decide.end_time_unix_nano
    assert decide.end_time_unix_nano == commit.start_time_unix_nano < commit.end_time_unix_nano
    assert commit.end_time_unix_nano == root.end_time_unix_nano
    first, second = spans["deliver ris", 1], spans["deliver ris", 2]
    assert attributes(first)["segmill.outcome"] == "unreachable" and first.status.code == 2
    assert second.status.code == 0 and second.kind == 3 and root.kind == 2
    assert second.end_time_unix_nano - second.start_time_unix_nano == 500_000_000
    assert b"ZQ12345QZ" not in b"".join(there.raw)


def test_who_sends_them_is_told(bench: Bench, there: Collector) -> None:
    bench.attempt(1)
    there.got(1)
    resource = attributes(there.requests[0].resource_spans[0].resource)
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("segmill", "test")
    assert resource["service.instance.id"] == "host:store"


def test_another_run_of_the_engine_goes_on_with_the_same_trace(there: Collector) -> None:
    ids = []
    for _ in range(2):
        made = Bench(there.port)
        made.made.start()
        made.attempt(5)
        made.made.stop()
        ids = [(span.trace_id, span.parent_span_id) for span in there.spans]
    assert len(ids) == 2 and ids[0] == ids[1]


def test_a_part_is_sampled_and_of_that_everything(there: Collector) -> None:
    made = Bench(there.port, sample=0.25)
    made.made.start()
    for seq in range(1, 1001):
        made.message(seq)
        made.attempt(seq)
    made.made.stop()
    by_message = Counter(attributes(span)["segmill.message"] for span in there.spans)
    assert 200 <= len(by_message) <= 300
    assert set(by_message.values()) == {4}
    nothing = Bench(there.port, sample=0)
    nothing.message(1)
    assert not nothing.made._queue


def test_without_a_collector_memory_is_bounded_and_what_went_is_counted() -> None:
    with closed_port() as port:
        made = Bench(port, queue=100)
        for seq in range(1, 501):
            made.attempt(seq)
        assert len(made.made._queue) == 100 and made.made._queue[0].seq == 401, "the oldest went"
        made.made.start()
        made.made.stop()
    assert made.numbers.counts["dropped"] == 500 and not made.numbers.is_up


def test_a_collector_that_comes_back_gets_what_waited(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with collector(port):
        pass
    made = Bench(port)
    made.made.start()
    made.attempt(1)
    while made.numbers.is_up:
        pass_time()
    with collector(port) as back:
        assert [attributes(span)["segmill.message"] for span in back.got(1)] == [1]
        made.made.stop()
    told = [record.getMessage() for record in caplog.records]
    assert sum("E566" in one for one in told) == 1 and sum("is back" in one for one in told) == 1


def pass_time() -> None:
    threading.Event().wait(0.005)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_it_asks_for_again_it_gets_again(bench: Bench, there: Collector, status: int) -> None:
    there.answers = [(status, {"retry-after": "0"}), (status, {})]
    bench.attempt(1)
    there.got(1)
    bench.made.stop()
    assert there.raw[0] == there.raw[1] == there.raw[2] and bench.numbers.counts["exported"] == 1


@pytest.mark.parametrize("status", [400, 401, 413, 500, 301])
def test_what_it_does_not_want_is_not_sent_again(bench: Bench, there: Collector, status: int) -> None:
    there.answers = [(status, {"location": "http://169.254.169.254/"})]
    bench.attempt(1)
    there.asked(1)
    bench.attempt(2)
    there.got(1)
    bench.made.stop()
    assert bench.numbers.counts == {"exported": 1, "dropped": 0, "refused": 1}


def test_a_slow_collector_holds_up_nobody(there: Collector) -> None:
    there.gate.clear()
    made = Bench(there.port, queue=200, timeout="60s")
    made.made.start()
    for seq in range(1, 2001):
        made.attempt(seq)
    assert len(made.made._queue) <= 200
    there.gate.set()
    made.made.stop()
    counted = made.numbers.counts
    assert counted["exported"] == len(there.spans) and counted["exported"] + counted["dropped"] == 2000


def test_what_cannot_be_made_takes_nothing_else_with_it(
    bench: Bench, there: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    bench.message(1, findings="ZQ12345QZ is no JSON")
    while not bench.numbers.counts["dropped"]:
        pass_time()
    bench.message(2, findings="ZQ12345QZ is no JSON")
    while bench.numbers.counts["dropped"] < 6:
        pass_time()
    bench.attempt(3)
    assert [attributes(span)["segmill.message"] for span in there.got(1)] == [3]
    told = [record.getMessage() for record in caplog.records if "by a defect" in record.getMessage()]
    assert len(told) == 1 and "ZQ12345QZ" not in caplog.text


def test_a_queue_that_was_emptied_while_it_was_looked_at_is_no_failure() -> None:
    """The thread takes all of them between two looks of the loop."""

    class Emptied(deque[Any]):
        def __len__(self) -> int:
            return 100

    made = Bench(1, queue=100)
    made.made._queue = Emptied()
    made.attempt(1)
    assert [told.seq for told in made.made._queue] == [1]


def test_it_gets_the_headers_that_the_files_say(there: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-other=1")
    made = Bench(there.port, headers={"Authorization": "Bearer abc"})
    made.made.start()
    made.attempt(1)
    there.got(1)
    made.made.stop()
    assert there.headers[0]["authorization"] == "Bearer abc" and "x-other" not in there.headers[0]


def test_only_codes_are_taken_of_findings() -> None:
    assert codes_in("") == []
    assert codes_in(dump_findings([Finding("E214", "error", "ZQ12345QZ")] * 2)) == ["E214"]


def test_files_that_cannot_be_used_are_told_and_spans_wait_for_them() -> None:
    numbers = TraceNumbers()
    made = OtlpTracing(
        TracesOptions.model_validate({"url": "https://collector", "tls": {"ca": "gone.pem"}}),
        Path(),
        "",
        "x",
        SetClock(),
        numbers,
    )
    assert "gone.pem does not exist" in made.why_unready()
    assert not numbers.is_up


@pytest.mark.parametrize(
    ("url", "is_meant"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
        ("https://apm.example.org/otlp", "https://apm.example.org/otlp"),
    ],
)
def test_the_address_may_leave_the_path_away(url: str, is_meant: str) -> None:
    assert TracesOptions(url=url).url == is_meant
