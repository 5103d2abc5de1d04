"""What a destination may say of order, connections, priority and rate, and what is said where it cannot be."""

import pytest

from engine.config.finding import BadValue
from engine.config.site import LoadedSite, load_site
from engine.config.units import parse_rate
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

CHANNEL = """\
listen:
  mllp: {{port: 2576}}
routes:
  - to: epr
destinations:
  epr:
    {sink}
    {settings}
"""
MLLP = "mllp: {host: epr.local, port: 2575}"


def channel(*settings: str, sink: str = MLLP) -> str:
    return CHANNEL.format(sink=sink, settings="\n    ".join(settings))


def test_a_destination_says_what_stays_in_order(load):
    loaded = load(channel("order_by: PID-3.1", "lanes: 8", 'priority: OBR-27.6 == "S"', "rate: 50/s"))
    assert loaded.findings == []
    policy = loaded.channels[0].file.destinations["epr"].policy
    assert (policy.order_by, policy.lanes, policy.priority, policy.rate) == ("PID-3.1", 8, 'OBR-27.6 == "S"', 50.0)


def test_without_a_word_there_is_one_order_over_all(load):
    policy = load(channel()).channels[0].file.destinations["epr"].policy
    assert (policy.order_by, policy.lanes, policy.priority, policy.rate) == (None, 1, None, None)
    assert load(channel("lanes: 1", "rate: 10/m")).findings == []
    assert load(channel("order_by: upper(PID-3.1)")).findings == []


@pytest.mark.parametrize(
    ("settings", "code", "line", "column", "message", "hint"),
    [
        (["lanes: 4"], "E148", 8, 12, "would break the order", "order_by: MSH-10 makes each message a key of its own"),
        (['priority: OBR-27.6 == "S"'], "E148", 8, 15, "overtake each other", "such as order_by: PID-3.1"),
        (["order_by: PID-3.1", "lanes: 0"], "E106", 9, 12, "at least 1", ""),
        (["order_by: PID-3.1", "lanes: 65"], "E106", 9, 12, "at most 64", ""),
        (["order_by: PID.3.1", "lanes: 4"], "E130", 8, 15, "", ""),
        (["order_by: '\"x\"'", "lanes: 4"], "E149", 8, 15, "the same for every message", "such as PID-3.1"),
        (["order_by: PID-3.1", "priority: OBR-27.6 = S"], "E130", 9, 24, "", "=="),
        (["rate: 50"], "E106", 8, 11, "'50' is not a rate", "50/s, 10/m or 1000/h"),
        (["rate: 50/d"], "E106", 8, 14, "'d' is not a unit", "units: s, m, h"),
        (["rate: 0/s"], "E106", 8, 11, "would send nothing", "leave out rate"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_place(load, settings, code, line, column, message, hint):
    (finding,) = load(channel(*settings)).findings
    assert (finding.code, finding.line, finding.column) == (code, line, column)
    assert message in finding.message and hint in finding.hint


def test_a_folder_has_one_writer(tmp_path):
    def load(text: str) -> LoadedSite:
        return load_site(make_site(tmp_path, {"orders": text}), load_kinds(), {})

    file = "file: {folder: out}"
    (finding,) = load(channel("order_by: PID-3.1", "lanes: 2", sink=file)).findings
    assert (finding.code, finding.line, finding.column) == ("E148", 9, 5)
    assert "one connection" in finding.message
    assert load(channel("order_by: PID-3.1", "rate: 5/s", sink=file)).findings == []


@pytest.mark.parametrize("line", ["order_by: PID-3.1", "lanes: 2", "priority: PID exists"])
def test_acknowledgements_go_in_one_order(load, line):
    text = channel() + (
        "ack:\n  mode: enhanced\n  app_ack: connect-back\n  connect_back:\n    host: his.local\n    port: 2580\n"
        f"    {line}\n"
    )
    found = [f for f in load(text).findings if f.code == "E101"]
    assert [(f.line, f.column, f.hint) for f in found] == [(15, 5, "answers go in one order")]


def test_an_editor_is_told_the_same(load, kinds):
    from engine.config.schema import channel_schema
    from tests.config.test_schema import complaints

    schema = channel_schema(kinds)
    assert complaints(schema, channel("order_by: PID-3.1", "lanes: 8", "rate: 1000/h")) == []
    assert complaints(schema, channel("rate: fast"))
    assert complaints(schema, channel("order_by: PID-3.1", "lanes: 100"))


@pytest.mark.parametrize(("text", "per_s"), [("50/s", 50), ("30/m", 0.5), ("1800/h", 0.5), ("1 / s", 1)])
def test_a_rate_is_read_with_its_unit(text, per_s):
    assert parse_rate(text) == per_s


@pytest.mark.parametrize("text", ["", "50", "50s", "-1/s", "1.5/s", "50/sec", "s/50", "0/h"])
def test_a_rate_that_cannot_be_meant_is_refused(text):
    with pytest.raises(BadValue):
        parse_rate(text)
