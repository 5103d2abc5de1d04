"""A whole engine that traces: each step of a message's journey arrives, and messages never wait for a collector."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapters import tracing
from engine.app import ConfigurationError, Engine
from engine.config import traces
from engine.config.site import load_site
from tests.adapters.collector import attributes, collector
from tests.ports import closed_port
from tests.runtime.engines import SiteUnderTest, channel, codes
from tests.runtime.parts import until

SETTINGS = "admin: off\nstore: 'memory:'\ntraces: {{url: 'http://127.0.0.1:{port}', sample: 1.0}}\n"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EVERY_S", 0.02)
    monkeypatch.setattr(tracing, "STOP_S", 60.0)


def site(folder: Path, port: int, **changes: str) -> SiteUnderTest:
    return SiteUnderTest(folder / "site", {"adt": channel(**changes)}, SETTINGS.format(port=port))


async def test_a_journey_from_the_wire_to_the_receiver(tmp_path: Path, adt) -> None:
    with collector() as there:
        two = {"destinations": "{out: {kept: {}}, other: {kept: {}}}", "routes": "[{to: out}, {to: other}]"}
        place = site(tmp_path, there.port, **two)
        async with place.running():
            wire = await place.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            await place.delivered("adt/out", 2)
            await place.delivered("adt/other", 2)
    spans = [(attributes(span)["segmill.message"], span.name) for span in there.spans]
    names = ["commit", "decide", "deliver other", "deliver out", "message"]
    assert sorted(spans) == [(seq, name) for seq in (1, 2) for name in names]
    assert len({span.trace_id for span in there.spans}) == 2


async def test_one_that_is_answered_when_stored_is_traced_through_its_channel(tmp_path: Path, adt) -> None:
    with collector() as there:
        place = site(tmp_path, there.port, more="ack: {when: stored}")
        async with place.running():
            wire = await place.wire()
            await wire.send(adt())
            await place.delivered("adt/out", 1)
    spans = {span.name: span for span in there.spans}
    assert sorted(spans) == ["commit", "decide", "deliver out", "message", "process"]
    assert attributes(spans["message"])["segmill.state"] == "received"
    assert attributes(spans["process"])["segmill.state"] == "processed"
    assert spans["process"].parent_span_id == spans["message"].span_id


async def test_messages_come_and_go_without_a_collector(tmp_path: Path, adt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "STOP_S", 0.05)
    with closed_port() as port:
        place = site(tmp_path, port)
        async with place.running() as engine:
            wire = await place.wire()
            await wire.send(adt())
            assert codes([await wire.answer()]) == ["AA"]
            await place.delivered("adt/out", 1)
            numbers = engine.meter.trace_numbers
            assert numbers is not None
            await until(lambda: not numbers.is_up)
            assert b"segmill_trace_collector_up 0.0" in engine.meter.render()[1]


async def test_without_it_nothing_is_told_and_nothing_is_loaded(tmp_path: Path) -> None:
    place = SiteUnderTest(tmp_path / "site", {"adt": channel()})
    async with place.running() as engine:
        assert engine._committer is not None and engine._committer.tracing is None
        assert place.running_channel().tracing is None
    code = "import sys, engine.app, engine.cli.main; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_without_the_extra_it_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = site(tmp_path, 4318)
    assert load_site(place.folder, place.kinds, {}).findings == []
    monkeypatch.setattr(traces, "find_spec", lambda name: None)
    (found,) = load_site(place.folder, place.kinds, {}).findings
    assert found.code == "E565" and found.is_error and "pip install 'segmill[otel]'" in (found.hint or "")


@pytest.mark.parametrize(
    "bad",
    ["{url: collector}", "{url: 'http://u:p@c'}", "{url: 'http://c', tls: {}}", "{url: 'http://c', sample: 2}", "{}"],
)
def test_mistakes_in_the_settings_are_found(tmp_path: Path, bad: str) -> None:
    place = SiteUnderTest(tmp_path / "site", {"adt": channel()}, f"traces: {bad}\n")
    loaded = load_site(place.folder, place.kinds, {})
    assert not loaded.is_valid and all(finding.code.startswith("E10") for finding in loaded.findings)


def test_an_engine_is_not_made_of_such_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "find_spec", lambda name: None)
    place = site(tmp_path, 4318)
    with pytest.raises(ConfigurationError):
        Engine(load_site(place.folder, place.kinds, {}))
