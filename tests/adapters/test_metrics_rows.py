"""Rows of hundreds of channels: the same as the library writes, at a tenth of its work, and never long at a stretch."""

import pytest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from engine.adapters.metrics import PrometheusMeter
from engine.adapters.metrics_rows import AT_A_STRETCH, MOST_FORMATS
from tests.work import calls_of

OPEN = "application/openmetrics-text;version=1.0.0"
HOSTILE = 'we "quote" 100%s {x} \\n\n\x85 Ü, é'
"""What a label may hold: what is written with a backslash, what fills in places, and what is a line end elsewhere."""


class Rests:
    """Counts how often the thread gave way."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, seconds: float) -> None:
        assert seconds > 0
        self.count += 1


def metered(channels: int) -> tuple[PrometheusMeter, Rests]:
    rests = Rests()
    meter = PrometheusMeter(wall_s=lambda: 1000.0, rest=rests)
    for number in range(channels):
        meter.channel(f"c{number}").received(1, 1.0)
        meter.lane(f"c{number}", "epr").attempt("delivered", 0.003)
    return meter, rests


def busy(meter: PrometheusMeter) -> None:
    channel = meter.channel("adt")
    channel.received(12_345_678_901, 1_700_000_000.25)
    channel.outcome("processed")
    channel.outcome("unheard-of")
    for seconds in (0.0004, 0.3, 99.0):
        channel.acknowledged("AA", seconds)
    channel.step(HOSTILE, 0.25)
    channel.step("2 set", 0.00000123)
    channel.finding("E214")
    channel.breach("PID-3.usage", "error")
    channel.drift(HOSTILE, "PID-3.4", 7)
    channel.worker("late")
    meter.channel("idle")
    lane = meter.lane("adt", HOSTILE)
    lane.attempt("delivered", 0.004)
    lane.depth(3, 1, 940_000_000)
    lane.connected(False)
    meter.connection_event("0.0.0.0:2575", "accepted")
    meter.connection_event("inbox", "file_taken")
    meter.source_files("inbox", 4, 1)


def shown(body: bytes, accept: str) -> dict[str, object]:
    families = (parse_open if accept else parse_plain)(body.decode())
    # Those of the process are of the moment.
    return {
        family.name: (family.type, family.documentation, [sample[:3] for sample in family.samples])
        for family in families
        if not family.name.startswith("process_")
    }


@pytest.mark.parametrize("accept", ["", OPEN])
def test_the_page_says_what_the_library_would_say(accept: str) -> None:
    """Once as the text is made, once as it is kept, and again as more rows have come."""
    meter, _ = metered(1)
    busy(meter)
    encode, content_type = choose_encoder(accept)
    for extra in range(3):
        for _ in range(2):
            said, body = meter.render(accept)
            assert said == content_type
            assert shown(body, accept) == shown(encode(meter.registry), accept)
        meter.channel("adt").finding(f"E10{extra}")
        meter.channel("adt").received(5, 2_000.5)
        meter.channel(f"new{extra}").outcome("held")
        meter.lane(f"new{extra}", "epr")


def test_filling_in_costs_a_tenth_of_making_the_page() -> None:
    meter, _ = metered(50)
    encode, _ = choose_encoder("")
    meter.render()
    by_library = calls_of(lambda: encode(meter.registry))
    filled_in = calls_of(meter.render)
    assert filled_in * 10 < by_library
    more, _ = metered(100)
    more.render()
    assert calls_of(more.render) < 2.2 * filled_in, "as many again cost as much again"


def test_it_gives_way_every_few_channels_and_after_each_that_is_new() -> None:
    meter, rests = metered(10 * AT_A_STRETCH)
    meter.render()
    assert rests.count >= 2 * (10 * AT_A_STRETCH - 1), "each channel and each lane was made"
    rests.count = 0
    meter.render()
    assert 2 * 9 <= rests.count <= 2 * 10
    meter.channel("c3").finding("E214")
    rests.count = 0
    meter.render()
    assert rests.count >= 2 * 9, "what is new takes a stretch of its own"


def test_texts_are_kept_for_a_few_formats_only() -> None:
    """Which is in the hands of who asks."""
    meter, _ = metered(1)
    for number in range(5 * MOST_FORMATS):
        meter.render(f"application/openmetrics-text;version=1.{number}.0")
    assert all(len(families._texts) <= MOST_FORMATS for families, _ in meter.wide())
