"""The first minute: `segmill demo` from nothing to a table, and what one can do next."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from engine.cli import demo_run
from engine.cli.exits import GOOD
from tests.forked import shared

# Each starts a demo, and some a dozen commands beside it.
pytestmark = pytest.mark.timeout(300)
REPOSITORY = Path(__file__).parents[2]


def demo(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine", "demo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"},
    )


def segmill(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shared().python, "-m", "engine", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, dict[str, object]]:
    """One demo that ran to its end, as JSON, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    began = time.monotonic()
    process = demo(folder, "--once", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return folder, {**json.loads(out), "took_s": time.monotonic() - began}


RECEIVED = {"adt": 120, "orders": 50, "results": 30, "scanners": 50}


def test_250_messages_go_through_four_channels(shown):
    _, told = shown
    rows = {row["channel"]: row for row in told["channels"]}
    assert {name: row["received"] for name, row in rows.items()} == RECEIVED
    assert sum(row["held"] for row in rows.values()) == 2
    assert sum(row["refused"] for row in rows.values()) == 2
    assert rows["orders"]["duplicates"] == 1
    # Two destinations each; what was refused, held or sent twice goes to neither.
    assert rows["adt"]["delivered"] == 2 * 119
    assert rows["orders"]["delivered"] == 2 * 49
    assert rows["results"]["delivered"] >= 2 * 27
    assert rows["scanners"]["delivered"] == 50
    assert told["worklist"]["steps"] == 50
    assert all(0 < row["p99_s"] < told["took_s"] for row in rows.values())


def test_what_was_held_and_refused_is_told_with_its_code(shown):
    _, told = shown
    stopped = told["stopped_short"]
    assert sorted(one["state"] for one in stopped) == ["held", "held", "refused", "refused"]
    assert all(re.fullmatch(r"E2\d\d", one["code"]) and one["text"] for one in stopped)


def test_the_output_is_where_it_says(shown):
    folder, told = shown
    files = list((folder / "demo" / "out").rglob("*.hl7"))
    archived = [path for path in files if "critical" not in path.parts]
    assert len(archived) == 119 + 49 + 27
    assert all(path.read_bytes().startswith(b"MSH|") for path in archived)
    for row in told["channels"]:
        for place in row["outputs"]:
            assert (
                place.startswith(("ris 127.0.0.1:", "epr 127.0.0.1:", "worklist 127.0.0.1:"))
                or (folder / place).is_dir()
            )


def test_the_demos_site_is_a_site_like_any_other(shown):
    folder, _ = shown
    assert segmill(folder, "check", "demo").returncode == 0
    assert segmill(folder, "test", "demo").returncode == 0
    held = segmill(folder, "messages", "--site", "demo", "--state", "held", "--json")
    assert len(held.stdout.splitlines()) >= 2


def test_it_runs_again_in_the_same_folder_and_nothing_is_taken_for_a_resend(shown):
    folder, _ = shown
    process = demo(folder, "--once", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    rows = {row["channel"]: row for row in json.loads(out)["channels"]}
    assert {name: row["received"] for name, row in rows.items()} == RECEIVED
    assert [row["duplicates"] for row in rows.values()] == [0, 1, 0, 0]
    assert json.loads(out)["worklist"]["steps"] == 50


def test_a_port_of_the_consoles_that_is_taken_after_it_was_looked_at_is_another_one(tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(
            demo_run, "PREFERRED", {**dict.fromkeys(demo_run.PREFERRED, 0), "SEGMILL_CONSOLE_PORT": port}
        )
        monkeypatch.setattr(demo_run, "_is_free", lambda port: True)
        assert demo_run.demo(tmp_path / "demo", once=True, as_json=True) == GOOD
        told = json.loads(capsys.readouterr().out)
    assert told["console"] not in (None, f"http://127.0.0.1:{port}")
    assert {row["channel"]: row["received"] for row in told["channels"]} == RECEIVED


def start_and_read(folder: Path, until: str) -> tuple["subprocess.Popen[str]", list[str]]:
    """A demo that keeps running, and its output up to the line with `until` in it."""
    process = demo(folder)
    said, lines = "", [""]
    assert process.stderr is not None
    assert process.stdout is not None
    try:
        while "still running" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        while until not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process, lines


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err


def signs_in(lines: list[str]) -> bool:
    """Whether the address, the name and the password that it printed let somebody in."""
    url = next(line.split()[1] for line in lines if line.startswith("console"))
    found = next(
        found for line in lines if (found := re.search(r"sign in as (\S+), once, with the password (\S+)", line))
    )
    assert found[2] not in url, "browsers and proxies keep addresses"
    form = urllib.parse.urlencode({"name": found[1], "password": found[2], "next": "/"}).encode()
    with urllib.request.urlopen(f"{url}/sign-in", form) as page:
        # It is for signing in once, and leads to where one's own is set; this client keeps no cookie.
        return bool(page.status == 200 and "/sign-in?next=/password" in page.url)


def test_it_keeps_running_until_ctrl_c_and_what_it_suggests_works(tmp_path):
    process, lines = start_and_read(tmp_path, "segmill release")
    try:
        assert signs_in(lines)
        metrics = next(line.split()[1] for line in lines if line.startswith("metrics"))
        suggested = [found[1] for line in lines if (found := re.search(r"(?:^|  )(segmill .*)", line))]
        with urllib.request.urlopen(metrics) as page:
            assert b'segmill_messages_received_total{channel="adt"} 120.0' in page.read()
        *tries, add, reload, release = suggested
        assert len(tries) == 7
        # Who has it in a virtual environment that is not active is told how to.
        activate = Path(sys.prefix, "bin", "activate")
        told = [line.split()[2] for line in lines if line.startswith("terminal")]
        assert told == ([] if shutil.which("segmill") or not activate.is_file() else [str(activate)])
        for command in tries:
            done = segmill(tmp_path, *command.split()[1:])
            assert done.returncode == 0, (command, done.stderr)
        second = demo(tmp_path, "--once")
        _, refused = second.communicate(timeout=60)
        assert second.returncode == 75
        assert "--dir" in refused
        # The row alone is not enough, and it says what is.
        added = segmill(tmp_path, *add.split()[1:])
        assert added.returncode == 0, added.stderr
        early = segmill(tmp_path, *release.split()[1:])
        assert early.returncode == 1
        assert "segmill reload, then release again" in early.stderr
        taken = segmill(tmp_path, *reload.split()[1:])
        assert taken.returncode == 0, taken.stderr
        assert "results changed: tables/codes.csv" in taken.stdout
        done = segmill(tmp_path, *release.split()[1:])
        assert done.returncode == 0, done.stderr
        assert "released: 1 message, 2 deliveries" in done.stderr
        end(process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")
def test_the_worklist_answers_findscu_as_the_printed_line_has_it(tmp_path):
    process, lines = start_and_read(tmp_path, "segmill release")
    try:
        ask = next(line.strip() for line in lines if line.strip().startswith("findscu "))
        query = next(line.split("segmill ", 1)[1] for line in lines if "segmill worklist query" in line)
        without_dcmtk = next(line.split("segmill ", 1)[1] for line in lines if "segmill dicom find" in line)
        asked = subprocess.run(shlex.split(ask), capture_output=True, timeout=60)
        found = asked.stdout + asked.stderr
        assert asked.returncode == 0, found
        by_hand = json.loads(segmill(tmp_path, *query.split(), "--json").stdout)
        assert found.count(b"(Pending)") == by_hand["answers"] > 0, found
        ours = [json.loads(line) for line in segmill(tmp_path, *without_dcmtk.split(), "--json").stdout.splitlines()]
        assert sum("00400100" in answer["dicom"] for answer in ours) == by_hand["answers"]
        assert found.count(b"ScheduledStationAETitle") >= by_hand["answers"]
        end(process)
    finally:
        process.kill()
        process.wait()


def test_a_site_that_somebody_works_with_gets_no_invented_patients(tmp_path):
    assert segmill(tmp_path, "init", "demo").returncode == 0
    process = demo(tmp_path, "--once")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 73
    assert "is not the demo's (environment: test)" in err
    assert out == ""
    assert not (tmp_path / "demo" / "data").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    process = demo(tmp_path, "--once")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 73
    assert "--dir" in err
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["thesis.txt"]
