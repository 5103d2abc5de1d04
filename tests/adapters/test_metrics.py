"""What operations read at /metrics, and what it costs the hot path."""

import shutil
import subprocess
import threading
import timeit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.adapters.metrics import PrometheusMeter
from engine.adapters.metrics_numbers import MAX_OPEN_LABELS


def samples(meter: PrometheusMeter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, body = meter.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(meter: PrometheusMeter, name: str, **labels: str) -> float:
    return samples(meter)[name, tuple(sorted(labels.items()))]


@pytest.fixture
def meter() -> PrometheusMeter:
    return PrometheusMeter(wall_s=lambda: 1000.0)


def busy(meter: PrometheusMeter) -> PrometheusMeter:
    channel = meter.channel("adt")
    channel.received(1200, 990.5)
    channel.outcome("processed")
    channel.acknowledged("AA", 0.0015)
    channel.step("1 set", 0.00002)
    channel.finding("E214")
    channel.breach("PID-3.usage", "error")
    channel.drift("HIS|NORTH", "PID-3.4", 1)
    lane = meter.lane("adt", "ris")
    lane.attempt("delivered", 0.004)
    lane.depth(3, 1, 940_000_000)
    lane.connected(False)
    lane.open(False)
    lane.stopped(True)
    lane.redirected()
    meter.commit(0.0009, 17)
    meter.connections("0.0.0.0:2575", 4)
    meter.connection_event("0.0.0.0:2575", "accepted")
    meter.ignored("0.0.0.0:2575", 10, 1)
    meter.ignored("0.0.0.0:2575", 2, 2)
    return meter


def test_everything_the_runtime_counts_is_on_the_page(meter):
    busy(meter)
    assert value(meter, "segmill_destination_stopped", channel="adt", destination="ris") == 1
    assert value(meter, "segmill_messages_received_total", channel="adt") == 1
    assert value(meter, "segmill_received_bytes_total", channel="adt") == 1200
    assert value(meter, "segmill_last_received_timestamp_seconds", channel="adt") == 990.5
    assert value(meter, "segmill_messages_total", channel="adt", outcome="processed") == 1
    assert value(meter, "segmill_acknowledgements_total", channel="adt", code="AA") == 1
    assert value(meter, "segmill_ack_seconds_sum", channel="adt") == 0.0015
    assert value(meter, "segmill_step_seconds_count", channel="adt", step="1 set") == 1
    assert value(meter, "segmill_findings_total", channel="adt", code="E214") == 1
    labels = {"channel": "adt", "rule": "PID-3.usage", "mode": "reject"}
    assert value(meter, "segmill_validation_findings_total", **labels) == 1
    labels = {"channel": "adt", "sender": "HIS|NORTH", "place": "PID-3.4"}
    assert value(meter, "segmill_profile_drift_senders", **labels) == 1
    assert value(meter, "segmill_deliveries_total", channel="adt", destination="ris", outcome="delivered") == 1
    assert value(meter, "segmill_delivery_seconds_count", channel="adt", destination="ris") == 1
    assert value(meter, "segmill_queue_depth", channel="adt", destination="ris", state="queued") == 3
    assert value(meter, "segmill_queue_depth", channel="adt", destination="ris", state="held") == 1
    assert value(meter, "segmill_queue_oldest_seconds", channel="adt", destination="ris") == 60
    assert value(meter, "segmill_destination_connected", channel="adt", destination="ris") == 0
    assert value(meter, "segmill_destination_open", channel="adt", destination="ris") == 0
    assert value(meter, "segmill_redirected_deliveries_total", channel="adt", destination="ris") == 1
    assert value(meter, "segmill_commit_seconds_count") == 1
    assert value(meter, "segmill_commit_messages_sum") == 17
    assert value(meter, "segmill_connections", listener="0.0.0.0:2575") == 4
    assert value(meter, "segmill_connection_events_total", listener="0.0.0.0:2575", event="accepted") == 1
    assert value(meter, "segmill_ignored_bytes_total", listener="0.0.0.0:2575") == 12
    assert value(meter, "segmill_empty_blocks_total", listener="0.0.0.0:2575") == 3
    assert any(name == "segmill_build_info" for name, _ in samples(meter))
    assert any(name == "process_resident_memory_bytes" for name, _ in samples(meter))


TOLD = ("queued", "held", "failed")


def test_a_worklist_shows_what_is_on_it_what_it_refused_and_what_scanners_got(meter):
    dicom = meter.dicom
    dicom.items, dicom.without_station = {("main", "SCHEDULED"): 7, ("ward", "STARTED"): 1}, {"main": 2}
    dicom.queried("success", 5, 0.02, 1)
    dicom.refused_association()
    dicom.left_out(3)
    dicom.refusal("E415")
    dicom.refusal("E999")
    dicom.performed("refused")
    dicom.performed("unscheduled")
    dicom.told_status("queued")
    dicom.told_status("held")
    dicom.told_status("held")
    assert value(meter, "segmill_worklist_items", worklist="main", status="SCHEDULED") == 7
    assert value(meter, "segmill_worklist_items_without_station", worklist="main") == 2
    assert value(meter, "segmill_worklist_items_without_station", worklist="ward") == 0
    assert value(meter, "segmill_dicom_queries_total", outcome="success") == 1
    assert value(meter, "segmill_dicom_answers_total") == 5
    assert value(meter, "segmill_dicom_refused_associations_total") == 1
    assert value(meter, "segmill_dicom_unencodable_items_total") == 3
    assert value(meter, "segmill_worklist_refusals_total", code="E415") == 1
    assert value(meter, "segmill_worklist_refusals_total", code="E446") == 0
    assert value(meter, "segmill_worklist_refusals_total", code="other") == 1
    assert value(meter, "segmill_dicom_performed_steps_total", outcome="refused") == 1
    assert value(meter, "segmill_dicom_performed_steps_total", outcome="unscheduled") == 1
    told = {outcome: value(meter, "segmill_worklist_statuses_told_total", outcome=outcome) for outcome in TOLD}
    assert told == {"queued": 1, "held": 2, "failed": 0}


def test_a_configured_channel_shows_zeros_before_its_first_message(meter):
    meter.channel("adt")
    meter.lane("adt", "ris")
    assert value(meter, "segmill_messages_received_total", channel="adt") == 0
    assert value(meter, "segmill_messages_total", channel="adt", outcome="held") == 0
    assert value(meter, "segmill_acknowledgements_total", channel="adt", code="AR") == 0
    assert value(meter, "segmill_ack_seconds_count", channel="adt") == 0
    assert value(meter, "segmill_deliveries_total", channel="adt", destination="ris", outcome="refused") == 0
    assert value(meter, "segmill_queue_depth", channel="adt", destination="ris", state="held") == 0
    assert value(meter, "segmill_queue_oldest_seconds", channel="adt", destination="ris") == 0
    assert value(meter, "segmill_redirected_deliveries_total", channel="adt", destination="ris") == 0


def test_a_destination_counts_as_connected_and_open_until_the_opposite_is_known(meter):
    """An alert on 0 must not go off for one that was never down, nor for one that nothing was sent to yet."""
    lane = meter.lane("adt", "ris")
    lane.attempt("delivered", 0.004)
    assert value(meter, "segmill_destination_connected", channel="adt", destination="ris") == 1
    assert value(meter, "segmill_destination_open", channel="adt", destination="ris") == 1


def test_a_reload_that_asks_for_the_same_channel_keeps_its_counts(meter):
    meter.channel("adt").received(10, 1.0)
    meter.channel("adt").received(10, 2.0)
    assert value(meter, "segmill_messages_received_total", channel="adt") == 2


def test_histogram_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket(meter):
    channel = meter.channel("adt")
    for seconds in (0.0004, 0.0005, 0.0006, 31.0):
        channel.acknowledged("AA", seconds)
    bucket = "segmill_ack_seconds_bucket"
    assert value(meter, bucket, channel="adt", le="0.0005") == 2
    assert value(meter, bucket, channel="adt", le="0.001") == 3
    assert value(meter, bucket, channel="adt", le="30.0") == 3
    assert value(meter, bucket, channel="adt", le="+Inf") == 4
    assert value(meter, "segmill_ack_seconds_count", channel="adt") == 4


def test_no_message_can_add_series(meter):
    channel, lane = meter.channel("adt"), meter.lane("adt", "ris")
    meter.connection_event("l", "accepted")
    channel.step("warm", 0.0)
    channel.finding("E201")
    before = len(samples(meter))
    for number in range(1000):
        channel.outcome(f"DOE^JOHN{number}")
        channel.acknowledged(f"X{number}", 0.001)
        lane.attempt(f"Y{number}", 0.001)
        meter.connection_event("l", f"10.0.0.{number}")
    assert len(samples(meter)) == before
    assert value(meter, "segmill_acknowledgements_total", channel="adt", code="other") == 1000
    for number in range(1000):
        channel.step(f"step {number}", 0.001)
        channel.finding(f"E{number}")
    assert len(samples(meter)) <= before + 3 * (MAX_OPEN_LABELS + 1)
    assert value(meter, "segmill_findings_total", channel="adt", code="other") > 800


def test_a_queue_age_is_never_negative_when_the_clock_was_set_back(meter):
    meter.lane("adt", "ris").depth(1, 0, 5_000_000_000)
    assert value(meter, "segmill_queue_oldest_seconds", channel="adt", destination="ris") == 0


def test_a_scrape_beside_a_busy_writer_sees_numbers_that_add_up(meter):
    channel, stop = meter.channel("adt"), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            channel.acknowledged("AA", 0.001)
            channel.finding(f"E{number % 150}")
            channel.step(f"s{number % 150}", 0.001)
            meter.lane("adt", f"d{number % 150}").attempt("delivered", 0.1)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = []
        for _ in range(8):
            seen = samples(meter)
            counts.append(seen["segmill_ack_seconds_count", (("channel", "adt"),)])
            assert counts[-1] == seen["segmill_ack_seconds_bucket", (("channel", "adt"), ("le", "+Inf"))]
    finally:
        stop.set()
        writer.join()
    assert counts == sorted(counts)


def test_prometheus_gets_open_metrics_when_it_asks(meter):
    content_type, body = busy(meter).render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert b"segmill_messages_received_total" in body


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_promtool_finds_nothing_to_complain_about(meter):
    _, body = busy(meter).render()
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_counting_costs_a_few_dictionary_additions(meter):
    """The hot path counts five times a message; a Prometheus child costs ten times as much."""
    channel, plain = meter.channel("adt"), {"AA": 0}

    def bare() -> None:
        plain["AA"] += 1

    def best(what) -> float:
        return min(timeit.repeat(what, number=2000, repeat=15))

    yardstick = best(bare)
    assert best(lambda: channel.outcome("processed")) < 8 * yardstick
    assert best(lambda: channel.acknowledged("AA", 0.002)) < 16 * yardstick
