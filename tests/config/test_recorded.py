"""What a recorded version made senders wait for, read from its files alone."""

import json

import pytest

from engine.config.files import SUBSTITUTED_FILE
from engine.config.recorded import awaited_by


def files(text: str, **substituted: str) -> dict[str, bytes]:
    found = {"channel.yaml": text.encode()}
    if substituted:
        found[SUBSTITUTED_FILE] = json.dumps({f"${{{key}}}": value for key, value in substituted.items()}).encode()
    return found


@pytest.mark.parametrize(
    ("ack", "expected"),
    [
        ("ack: {when: delivered(ris)}", "ris"),
        ("ack: {when: delivered( ris ), timeout: 3s}", "ris"),
        ("ack: {when: processed}", ""),
        ("ack: {when: stored}", ""),
        ("ack: {mode: auto}", ""),
        ("ack: delivered(ris)", ""),
        ("accept: ['ADT^*']", ""),
        ("- a list", ""),
        ("", ""),
        ("ack: {when: [", ""),
    ],
)
def test_the_destination_whose_answer_is_waited_for(ack: str, expected: str) -> None:
    assert awaited_by(files(ack)) == expected


def test_a_reference_stands_for_what_the_version_recorded() -> None:
    assert awaited_by(files("ack: {when: '${WHEN}'}", WHEN="delivered(ris)")) == "ris"
    assert awaited_by(files("ack: {when: 'delivered(${WHO})'}", WHO="lab")) == "lab"


def test_a_version_without_files_promises_nothing() -> None:
    assert awaited_by({}) == ""


def test_tables_and_code_of_the_version_are_not_looked_at() -> None:
    there = files("ack: {when: delivered(ris)}\nsteps: [{map: {PID-3: big.csv}}, {python: steps.py:f}]")
    assert awaited_by(there | {"big.csv": b"\xff\xfe", "steps.py": b"raise SystemExit"}) == "ris"
