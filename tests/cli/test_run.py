"""`segmill run`: the engine as a process that operations start and stop."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from engine.testing import messages
from tests.forked import shared

PORTS = dict.fromkeys(("SEGMILL_ADT_PORT", "SEGMILL_ORDERS_PORT", "SEGMILL_RESULTS_PORT", "SEGMILL_SCANNERS_PORT"), "0")


class Running:
    """`segmill run SITE` in a process of its own; as an interpreter starts it, tests/e2e do."""

    def __init__(self, site: Path, *words: object) -> None:
        repository = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [*shared().python, "-m", "engine", "run", str(site), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **PORTS, "PYTHONPATH": str(repository)},
        )
        self.said = ""

    def until(self, words: str) -> str:
        assert self.process.stderr is not None
        while words not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        return self.said

    def address(self, channel: str) -> str:
        found = re.search(rf"{channel} on (127\.0\.0\.1:\d+)", self.until("started"))
        assert found
        return found[1]

    def end(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        self.said += err
        assert out == ""
        return self.process.returncode

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop_and_then_ends_with_0(segmill, site, tmp_path, number):
    message = tmp_path / "m.hl7"
    message.write_bytes(messages.adt())
    with Running(site) as running:
        assert segmill("send", message, "--to", running.address("adt")).code == 0
        assert running.end(number) == 0
    assert "Testperson" not in running.said
    assert "Traceback" not in running.said
    assert segmill("messages", "--site", site, "--json").json["control_id"] == "ADT00001"
    assert not (site / "data" / "control.sock").exists()


def test_a_site_with_errors_is_not_started_and_all_errors_are_shown(site):
    path = site / "channels" / "adt" / "channel.yaml"
    path.write_text(path.read_text().replace("filter:", "filtre:").replace("- to: archive", "- to: archiv"))
    with Running(site) as running:
        assert running.end() == 78
    assert "E102" in running.said
    assert "archiv" in running.said
    assert "segmill check" in running.said


def test_a_second_engine_on_the_same_store_is_refused(site):
    with Running(site) as first:
        first.until("started")
        with Running(site) as second:
            assert second.end() == 75
        assert "in use by another engine" in second.said
        assert first.end(signal.SIGTERM) == 0


def test_a_port_that_is_taken_is_named(site):
    with Running(site) as first:
        port = first.address("adt").rpartition(":")[2]
        path = site / "channels" / "adt" / "channel.yaml"
        path.write_text(path.read_text().replace("${SEGMILL_ADT_PORT:-2575}", port))
        with Running(site, "--data", site / "other") as second:
            assert second.end() == 69
        assert f"cannot listen on 127.0.0.1:{port}" in second.said
        assert first.end(signal.SIGTERM) == 0


def test_an_address_of_another_machine_is_named_without_a_made_up_port(tmp_path):
    channel = tmp_path / "channels" / "all"
    channel.mkdir(parents=True)
    (channel / "channel.yaml").write_text("listen: {mllp: {host: 192.0.2.1, port: 0}}\n")
    with Running(tmp_path) as refused:
        assert refused.end() == 69
    assert "channel all cannot listen on a free port of 192.0.2.1: Cannot assign" in refused.said
    assert "ip address shows" in refused.said


def test_the_data_can_be_kept_elsewhere(segmill, site, tmp_path):
    message = tmp_path / "m.hl7"
    message.write_bytes(messages.adt())
    data = tmp_path / "var"
    with Running(site, "--data", data) as running:
        segmill("send", message, "--to", running.address("adt"))
        assert segmill("release", "1", "--data", data).code == 1  # nothing to release, said by the engine
        assert running.end(signal.SIGTERM) == 0
    assert not (site / "data").exists()
    assert segmill("messages", "--data", data, "--json").json["control_id"] == "ADT00001"


def test_log_lines_can_be_json(site):
    with Running(site, "--json") as running:
        running.until("started")
        assert running.end(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in running.said.splitlines()]
    assert all(line["schema"] == 1 and line["level"] and line["at"].endswith("Z") for line in lines)
    assert lines[-1]["text"] == "stopped"


def test_probes_and_metrics_are_on_the_admin_port(site):
    settings = site / "segmill.yaml"
    settings.write_text("environment: test\nadmin: {port: 0}\n")
    with Running(site, "--json") as running:
        said = running.until("started")
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found, f"the start does not say where the probes are: {said}"
        with urllib.request.urlopen(f"{found[0]}/readyz") as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{found[0]}/metrics") as answer:
            assert b'segmill_messages_received_total{channel="adt"} 0.0' in answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{found[0]}/v1/status")
        assert running.end(signal.SIGTERM) == 0
