"""The key of a delivery: of the message as it is routed, the same each time, and no longer than a store should keep."""

from datetime import UTC, datetime

import pytest

from engine.hl7.message import Message
from engine.model.envelope import DraftDelivery
from engine.pipeline.compile import compile_channel
from engine.pipeline.keys import KEPT_KEY_CHARS, MOST_KEY_CHARS, key_of
from engine.pipeline.registry import load_kinds, load_steps
from engine.testing.sites import make_site

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CHANNEL = """\
listen: {mllp: {port: 2575}}
steps:
  - set: {PID-3.1: '=upper(PID-3.1)'}
routes: [{to: epr}, {to: ris}, {to: json}]
destinations:
  epr: {mllp: {host: h, port: 1}, order_by: PID-3.1, lanes: 4, priority: 'OBR-27.6 == "S"'}
  ris: {mllp: {host: h, port: 2}}
  json: {file: {folder: out}, format: json, order_by: 'concat(PID-3.1, "/", PV1-19.1)'}
"""


@pytest.fixture
def compiled(tmp_path):
    from engine.config.site import load_site

    site = load_site(make_site(tmp_path / "site", {"adt": CHANNEL}), load_kinds(), {})
    assert site.is_valid, site.findings
    return compile_channel(site.channels[0], load_steps())


def message(patient: str = "p1", visit: str = "v1", priority: str = "R") -> Message:
    text = (
        "MSH|^~\\&|HIS|MAIN|||20260102||ORM^O01|C1|P|2.5\r"
        f"PID|||{patient}^^^H\rPV1||I|||||||||||||||||{visit}\rOBR|||||||||||||||||||||||||||^^^^^{priority}\r"
    )
    return Message.parse(text.encode())


def keys(result) -> dict[str, tuple[str | None, bool]]:
    return {draft.destination: (draft.key, draft.urgent) for draft in result.deliveries}


def test_it_is_of_the_message_as_it_is_routed_to_that_destination(compiled):
    result = compiled.run(message(priority="S"), NOW)
    assert keys(result) == {"epr": ("P1", True), "ris": (None, False), "json": ("P1/v1", False)}
    assert keys(compiled.run(message(), NOW))["epr"] == ("P1", False)


def test_the_same_message_has_the_same_key_each_time(compiled):
    assert compiled.run(message(), NOW) == compiled.run(message(), datetime(2031, 5, 6, tzinfo=UTC))


def test_what_has_no_value_there_has_the_empty_key(compiled):
    assert keys(compiled.run(message(patient=""), NOW))["epr"] == ("", False)


def test_what_takes_over_from_another_destination_has_a_key_of_its_own(compiled):
    body = message(patient="P7", priority="S").to_bytes()
    assert compiled.for_another(body, "ris", "epr") == DraftDelivery("epr", None, "P7", True)
    assert compiled.for_another(body, "epr", "ris").key is None


def test_a_long_value_is_cut_and_told_apart_by_its_digest():
    long, other = "x" * 500, "x" * 499 + "y"
    assert key_of("x" * MOST_KEY_CHARS) == "x" * MOST_KEY_CHARS
    assert key_of(long).startswith("x" * KEPT_KEY_CHARS + "#") and len(key_of(long)) < MOST_KEY_CHARS
    assert key_of(long) == key_of(long) != key_of(other)


@pytest.mark.parametrize("value", ["a\udce4", "\0old", "p\0q"])
def test_a_key_is_a_text_that_any_store_can_hold(value):
    key = key_of(value)
    assert key.encode("utf-8") and "\0" not in key


def test_a_message_whose_key_cannot_be_worked_out_is_held_and_goes_nowhere(tmp_path):
    from engine.config.site import load_site

    long = CHANNEL.replace("order_by: PID-3.1", "order_by: 'concat(PID-3.1, PID-3.1, PID-3.1, PID-3.1)'")
    site = load_site(make_site(tmp_path / "site", {"adt": long}), load_kinds(), {})
    compiled = compile_channel(site.channels[0], load_steps())
    result = compiled.run(message(patient="x" * 400_000), NOW)
    assert (result.state, result.deliveries) == ("held", [])
    assert [f.step for f in result.findings] == ["order of epr"] and "xxx" not in result.findings[0].text
