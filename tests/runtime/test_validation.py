"""Validation and drift in a running engine: what is stored, counted, answered and logged."""

import logging
from pathlib import Path

import pytest

from engine.hl7.drift import LEAST
from engine.model.finding import load_findings
from engine.testing import messages
from tests.runtime.engines import SiteUnderTest, channel, codes
from tests.runtime.parts import SetClock

PROFILE = """\
standard: off
mode: warn
learned: {messages: 200, senders: [HIS|NORTH]}
fields:
  PID-3.4: {name: assigning authority, usage: RE, evidence: {of: 200, filled: 200}}
  PID-5: {usage: R, mode: reject}
  PID-8: {values: [F], mode: observe}
"""


def site(tmp_path: Path, *, validate: str = "{profile: p.yaml}", more: str = "") -> SiteUnderTest:
    text = channel(more=f"validate: {validate}\n{more}")
    return SiteUnderTest(tmp_path / "site", {"adt": {"channel.yaml": text, "p.yaml": PROFILE}}, clock=SetClock())


async def send(running: SiteUnderTest, *payloads: bytes) -> list[bytes]:
    wire = await running.wire()
    await wire.send(*payloads)
    return await wire.answers(len(payloads))


def drifting(count: int, *, start: int = 0, sender: tuple[str, str] = ("HIS", "NORTH")) -> list[bytes]:
    """Messages whose PID-3 has no assigning authority."""
    return [
        messages.adt(control_id=f"D{start + n}", mrn=f"{n + 1}", sender=sender).replace(b"^^^NORTH^MR", b"^^^^MR")
        for n in range(count)
    ]


def findings(running: SiteUnderTest) -> list[list[str]]:
    return [[f.code for f in load_findings(message.findings)] for message in running.messages()]


def metrics(running: SiteUnderTest) -> str:
    return running.engine.meter.render()[1].decode()


async def test_breaches_are_answered_stored_and_counted_by_rule(tmp_path):
    running = site(tmp_path)
    async with running.running():
        answers = await send(
            running,
            messages.adt(control_id="A1"),
            messages.adt(control_id="A2", family="", given=""),
            messages.adt(control_id="A3", sex="M"),
        )
        text = metrics(running)
    assert codes(answers) == ["AA", "AE", "AA"]
    assert running.states() == ["processed", "rejected", "processed"]
    assert findings(running) == [[], ["E280"], ["I280"]]
    assert 'segmill_validation_findings_total{channel="adt",mode="reject",rule="PID-5.usage"} 1.0' in text
    assert 'segmill_validation_findings_total{channel="adt",mode="observe",rule="PID-8.values"} 1.0' in text
    assert 'segmill_findings_total{channel="adt",code="E280"} 1.0' in text


async def test_a_message_that_is_stored_first_is_counted_too(tmp_path):
    running = site(tmp_path, more="ack: {when: stored}")
    async with running.running():
        answers = await send(running, messages.adt(control_id="A1", sex="M"))
        await running.delivered("adt/out", 1)
        text = metrics(running)
    assert codes(answers) == ["AA"]
    assert 'mode="observe",rule="PID-8.values"} 1.0' in text


async def test_drift_is_a_finding_a_metric_and_one_line_in_the_log(tmp_path, caplog):
    running = site(tmp_path)
    with caplog.at_level(logging.INFO, logger="segmill.drift"):
        async with running.running():
            await send(running, messages.adt(control_id="A1"))
            for message in drifting(LEAST + 20):
                running.clock.wall_ahead_s += 60
                await send(running, message)
            text = metrics(running)
    told = [message for message in running.messages() if "W282" in message.findings]
    assert len(told) == 1
    (finding,) = [f for f in load_findings(told[0].findings) if f.code == "W282"]
    assert finding.severity == "warning"
    assert finding.location == "PID-3.4"
    assert "PID-3.4 (assigning authority) had a value 200 of 200 times" in finding.text
    assert "since " in finding.text
    assert told[0].ack_code == "AA"
    assert 'segmill_profile_drift_senders{channel="adt",place="PID-3.4",sender="HIS|NORTH"} 1.0' in text
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "channel adt: PID-3.4" in caplog.text and "(HIS|NORTH)" in caplog.text


async def test_a_sender_that_the_profile_does_not_name_has_no_label_of_its_own(tmp_path, caplog):
    running = site(tmp_path)
    async with running.running():
        for message in drifting(LEAST, sender=("STRANGER", "X")):
            running.clock.wall_ahead_s += 60
            await send(running, message)
        text = metrics(running)
    assert 'segmill_profile_drift_senders{channel="adt",place="PID-3.4",sender="other"} 1.0' in text
    assert "STRANGER" not in text
    assert "STRANGER" not in caplog.text


@pytest.mark.parametrize("validate", ["{profile: p.yaml, drift: false}", "{profile: standard, mode: observe}"])
async def test_nothing_is_watched_where_it_is_not_wanted_or_nothing_was_learned(tmp_path, validate):
    running = site(tmp_path, validate=validate)
    async with running.running():
        assert running.running_channel().drift is None
        await send(running, *drifting(LEAST))
    assert not any("W282" in codes_of for codes_of in findings(running))


async def test_a_channel_in_a_process_of_its_own_validates_there(tmp_path):
    files = {
        "channel.yaml": channel(more="validate: {profile: p.yaml}\nsteps:\n  - python: steps.py:nothing"),
        "p.yaml": PROFILE,
        "steps.py": "def nothing(message, context):\n    pass\n",
    }
    running = SiteUnderTest(tmp_path / "site", {"adt": files})
    async with running.running():
        answers = await send(running, messages.adt(control_id="A2", family="", given=""))
        text = metrics(running)
    assert codes(answers) == ["AE"]
    assert 'mode="reject",rule="PID-5.usage"} 1.0' in text


async def test_a_defect_of_who_only_watches_costs_no_message(tmp_path, monkeypatch, caplog):
    def broken(self: object, message: object, now: object) -> None:
        raise KeyError("PATIENT")

    monkeypatch.setattr("engine.hl7.drift.DriftWatch.observe", broken)
    running = site(tmp_path)
    async with running.running():
        assert codes(await send(running, *drifting(2))) == ["AA", "AA"]
    assert caplog.text.count("drift cannot be watched") == 1
    assert "PATIENT" not in caplog.text
