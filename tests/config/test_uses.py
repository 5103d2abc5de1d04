"""What a channel uses: found wherever it can stand, at its place, and not where it only looks alike."""

import pytest

from engine.config.site import load_version
from engine.config.uses import is_of_field, is_of_name, uses_of
from engine.hl7.path import compile_path
from engine.pipeline.registry import load_kinds

CHANNEL = """\
listen: {mllp: {port: 2575, host: 10.1.1.1}}
accept: [ADT^A01]
from: MSH-3.1 == "HIS"
steps:
  - filter: PV1-2 == "I"
  - set: {PID-5.1: "=upper(PID-5.1)", ZIN-1: "PID-7"}
  - map: {PV1-3.1: tables/wards.csv}
  - when: table("tables/wards.csv", PV1-6.1, "") == "x"
    delete: [PID-19]
  - each: OBX
    when: OBX-2 == "NM"
    do:
      - set: {OBX-8: H}
  - python: steps.py:weigh
routes:
  - to: ris
    when: PID-8 == "F"
destinations:
  ris:
    mllp: {host: "${RIS_HOST:-ris.local}", port: 6661}
    order_by: PID-3.1
  web:
    http: {url: "https://epr.local/hl7/in"}
validate: {profile: profiles/ris.yaml}
"""
FILES = {
    "channel.yaml": CHANNEL.encode(),
    "tables/wards.csv": b"from,to\nA,B\n",
    "profiles/ris.yaml": b"fields:\n  ZIN-9: {usage: R}\n"
    b"segments:\n  ZDS:\n    fields:\n      1.1: {usage: R}\n  ZZZ: {usage: O}\n",
    "steps.py": b'def weigh(message, context):\n    message.set("ZPV-1", message.get("OBX-5"))\n',
}


@pytest.fixture(scope="module")
def uses():
    channel, findings = load_version("adt", FILES, load_kinds(), {"${RIS_HOST:-ris.local}": "ris.local"})
    assert channel is not None, findings
    return uses_of(channel)


@pytest.mark.parametrize(
    ("field", "places"),
    [
        ("MSH-3", ["from 3"]),
        ("PV1-2", ["steps 1 5"]),
        ("PID-5", ["steps 2 6", "steps 2 6"]),
        ("PID-5.1", ["steps 2 6", "steps 2 6"]),
        ("PID-5.2", []),
        ("PID-7", []),  # a text, not an expression
        ("ZIN-1", ["steps 2 6"]),
        ("PV1-6", ["steps 4 8"]),
        ("PID-19", ["steps 4 9"]),
        ("OBX-2", ["steps 5 10", "steps 5 11"]),  # `each: OBX` goes over all of it
        ("OBX-8", ["steps 5 10", "steps 5 13"]),
        ("PID-8", ["routes 1 17"]),
        ("PID-3", ["destinations ris 21"]),
        ("ZPV", ["steps.py 2"]),
        ("OBX-5", ["steps 5 10", "steps.py 2"]),
        ("PV2", []),
        ("ZIN-9", ["profiles/ris.yaml 2"]),
        ("ZDS-1", ["profiles/ris.yaml 6"]),
        ("ZDS-2", []),
        ("ZZZ-7", ["profiles/ris.yaml 7"]),
    ],
)
def test_a_field_is_found_wherever_it_is_read_or_written(uses, field, places):
    wanted = compile_path(field)
    assert [f"{use.where} {use.line}" for use in uses if is_of_field(use, wanted)] == places


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("wards.csv", ["steps 3 7", "steps 4 8"]),
        ("tables/wards.csv", ["steps 3 7", "steps 4 8"]),
        ("ards.csv", []),
        ("steps.py", ["steps 6 14"]),
        ("2575", ["listen mllp 1"]),
        ("257", []),
        ("10.1.1.1", ["listen mllp 1"]),
        ("1.1.1", []),
        ("ris.local", ["destinations ris 20"]),
        ("epr.local", ["destinations web 23"]),
        ("local", []),
        ("ris", ["routes 1 16", "destinations ris 19"]),
        ("ADT^A01", ["accept 1 2"]),
        ("PID-8", []),
    ],
)
def test_a_name_is_found_as_a_whole(uses, name, places):
    assert [f"{use.where} {use.line}" for use in uses if is_of_name(use, name)] == places


def test_a_secret_is_not_told(monkeypatch):
    text = CHANNEL.replace("https://epr.local/hl7/in", "https://epr.local/${file:token}")
    files = {**FILES, "channel.yaml": text.encode()}
    channel, findings = load_version(
        "adt", files, load_kinds(), {"${RIS_HOST:-ris.local}": "r", "${file:token}": "S3CRET"}
    )
    assert channel is not None, findings
    assert "S3CRET" not in repr(uses_of(channel))
