"""Numbers of the last hour, what the stream tells of them, and what the store's growth comes to."""

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from engine.adapters.api.pulse import MINUTES, Pulse, Ring
from engine.adapters.console.drawing import sparkline
from engine.adapters.console.live import difference, telling
from engine.adapters.console.numbers import COLUMNS, numbers_by_channel
from engine.adapters.console.shown import duration, number, size
from engine.adapters.console.system import certificates, forecast, plug_ins
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.stores.memory import MemoryStore
from engine.model.access import SITE, Principal
from tests.runtime.parts import SetClock
from tests.work import calls_of

DAY_US = 86_400_000_000


@pytest.fixture
def meter() -> PrometheusMeter:
    return PrometheusMeter()


@pytest.fixture
def pulse(meter) -> Pulse:
    store = MemoryStore(clock=SetClock())
    store.open()
    return Pulse(meter, store.queries())


def api_of(meter, pulse, now_us=DAY_US):
    return SimpleNamespace(meter=meter, pulse=pulse, clock=SimpleNamespace(now_us=lambda: now_us))


def test_a_ring_has_the_last_60_minutes_oldest_first():
    ring = Ring(100)
    assert (ring.minutes(), ring.a_minute()) == ([], 0.0)
    for minute in range(70):
        ring.turn(100 + sum(range(minute + 1)))
    assert ring.minutes() == list(range(10, 70))
    assert ring.a_minute() == pytest.approx(67.0)
    ring.turn(0)  # a counter that begins anew takes nothing away
    assert ring.minutes()[-1] == 0


def test_the_pulse_has_the_minute_that_goes_on_too(meter, pulse):
    channel = meter.channel("adt")
    assert list(pulse.received("adt")) == [0] and list(pulse.received("none")) == []
    for minute in range(1, MINUTES + 5):
        for _ in range(minute % 3):
            channel.received(1, 1.0)
        pulse.turn()
    channel.received(1, 1.0)
    minutes = pulse.received("adt")
    assert len(minutes) == MINUTES and minutes[-1] == 1
    assert minutes[-2] == (MINUTES + 4) % 3


def test_p99_is_the_bound_of_the_bucket_that_the_99th_falls_into(meter, pulse):
    channel = meter.channel("adt")
    assert pulse.ack_p99_s("adt") is None and pulse.ack_p99_s("none") is None
    for _ in range(99):
        channel.acknowledged("AA", 0.0015)
    assert pulse.ack_p99_s("adt") == 0.002
    for _ in range(2):
        channel.acknowledged("AA", 3.0)
    assert pulse.ack_p99_s("adt") == 5.0
    channel.acknowledged("AA", 100.0)
    channel.acknowledged("AA", 100.0)
    assert pulse.ack_p99_s("adt") == float("inf")
    for _ in range(MINUTES + 1):
        pulse.turn()
    assert pulse.ack_p99_s("adt") is None, "an hour without an answer has none"


def test_numbers_of_a_channel_add_up_over_its_destinations_and_no_other(meter, pulse):
    adt = meter.channel("adt")
    for outcome in ("filtered", "rejected", "refused", "processed", "processed"):
        adt.received(10, DAY_US / 1_000_000 - 3)
        adt.outcome(outcome)
    for destination, queued, oldest_s in (("ris", 3, 60), ("epr", 2, 5), ("off", 0, 900)):
        lane = meter.lane("adt", destination)
        lane.depth(queued, 1, DAY_US - oldest_s * 1_000_000)
        lane.attempt("delivered", 0.1)
    meter.lane("results", "epr").depth(99, 99, 1)
    found = numbers_by_channel(api_of(meter, pulse))["adt"]
    assert (found.received, found.filtered, found.refused, found.delivered) == (5, 1, 2, 3)
    assert (found.held, found.queued) == (3, 5)
    cells = found.cells(DAY_US)
    assert set(cells) == set(COLUMNS)
    assert (cells["last"], cells["oldest"], cells["p99"]) == ("3 s", "1 min", "")


def test_the_stream_tells_of_ones_own_channels_alone_and_only_what_changed(meter, pulse):
    for name in ("adt", "results"):
        meter.channel(name)
        meter.lane(name, "out")
    api = api_of(meter, pulse)
    whole = telling(api, Principal("anna", {SITE: "viewer"}))
    assert {"adt received", "results received", "adt/out queued", "held", "sign"} <= whole.keys()
    mine = telling(api, Principal("ben", {"adt": "viewer"}))
    assert not any("results" in key for key in mine)
    meter.channel("adt").received(1, 0.0)
    changed = difference(whole, telling(api, Principal("anna", {SITE: "viewer"})))
    assert changed == {"adt received": "1"}
    meter.lane("adt", "out").connected(False)
    assert "sign" in difference(whole, telling(api, Principal("anna", {SITE: "viewer"})))


def test_the_work_of_a_telling_grows_with_the_destinations_and_not_with_their_square():
    def work(channels: int) -> int:
        meter = PrometheusMeter()
        store = MemoryStore(clock=SetClock())
        store.open()
        for at in range(channels):
            meter.channel(f"c{at}")
            meter.lane(f"c{at}", "out").depth(1, 1, 1)
        api = api_of(meter, Pulse(meter, store.queries()))
        return calls_of(lambda: telling(api, Principal("anna", {SITE: "viewer"})))

    assert work(400) < 5 * work(100)


def test_a_line_of_the_last_hour_says_in_words_what_it_shows():
    root = ElementTree.fromstring(str(sparkline([0, 3, 1])))
    assert root.get("aria-label") == "4 in the last hour, at most 3 a minute"
    bars = list(root.iter("rect"))
    assert len(bars) == 2
    assert all(0 <= float(bar.get("y")) <= 24 and 0 <= float(bar.get("x")) < 120 for bar in bars)
    assert "at most 0 a minute" in str(sparkline([]))


def test_what_the_store_comes_to():
    now = 100 * DAY_US
    assert forecast(1000, 10**9, 0, now - DAY_US // 100, now) is None, "too little to say"
    assert forecast(None, None, 0, DAY_US, now) is None
    assert forecast(1000, 10**9, 0, 0, now) is None
    found = forecast(10 * 10**9, 50 * 10**9 + 7, 7, now - 10 * DAY_US, now)
    assert found.bytes_a_day == pytest.approx(10**9)
    assert found.full_in_s == pytest.approx(50 * 86_400)
    assert forecast(10, 10**12, 0, DAY_US, now).full_in_s is None, "for years"


def test_certificates_by_their_end():
    found = certificates({"b": 40 * 86_400.0, "a": 12 * 86_400.0, "c": 11 * 86_400.0}, 10 * DAY_US)
    assert [(one.place, one.look, round(one.days)) for one in found] == [
        ("c", "bad", 1),
        ("a", "bad", 2),
        ("b", "ok", 30),
    ]


def test_what_the_engine_is_made_of_is_listed_by_where_it_comes_from():
    found = {one.kind: one for one in plug_ins()}
    assert {"steps", "sinks", "sources", "stores"} <= found.keys()
    assert "mllp" in found["sinks"].names and found["sinks"].origin.startswith("segmill ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.64, "640 ms"), (1, "1 s"), (59.9, "59 s"), (61, "1 min"), (3599, "59 min"), (3600, "1 h"),
     (14_700, "4 h 5 min"), (180_000, "2 d 2 h"), (-5, "0 s")],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_sizes_and_numbers():
    assert [size(count) for count in (0, 999, 3400, 20_000_000, 1.5e12, None)] == [
        "0 B",
        "999 B",
        "3.4 kB",
        "20.0 MB",
        "1.5 TB",
        "",
    ]
    assert number(1234567) == "1\u202f234\u202f567"
