"""`segmill plan` and `segmill reload`, as a person or a script calls them."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from engine.testing import messages
from engine.testing.messages import Observation
from engine.testing.sites import make_site
from engine.watching import is_of_a_channel
from tests.forked import shared

REPOSITORY = Path(__file__).parents[2]
UNKNOWN = Observation("FERR", "Ferritin", "88")


def channel_file(site: Path, name: str) -> Path:
    return site / "channels" / name / "channel.yaml"


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


class TestOnARunningEngine:
    def test_a_mended_table_is_planned_reloaded_and_lets_the_message_go(self, segmill, site, running) -> None:
        running.send("results", messages.oru(control_id="R1", observations=[UNKNOWN]))
        with (site / "channels/results/tables/codes.csv").open("a") as table:
            table.write("FERR,N0099-9,Ferritin\n")
        planned = segmill("plan", site)
        assert (planned.code, planned.out.splitlines()[0]) == (0, "results changed: tables/codes.csv")
        taken = segmill("reload", site, "--json")
        assert taken.code == 0
        assert taken.json["outcome"] == "taken"
        assert [(c["channel"], c["what"], c["connections"]) for c in taken.json["channels"]] == [
            ("results", ["tables/codes.csv"], 0)
        ]
        assert segmill("reload", site).err.strip() == "the files say what runs already"
        assert segmill("release", "--all", "--yes", "--site", site, "--json").json["messages"] == 1

    def test_cases_that_a_change_makes_fail_are_named_before_it_is_done(self, segmill, site, running) -> None:
        assert segmill("plan", site, "--json").json["failing_cases"] == {}
        replace_in(channel_file(site, "adt"), 'filter: MSH-11.1 == "P"', 'filter: MSH-11.1 == "T"')
        planned = segmill("plan", site)
        assert planned.code == 1
        assert "cases would fail: admit, admit-sent-twice, " in planned.out and ", ...; segmill test adt" in planned.out
        assert "cases would fail" in planned.err
        report = segmill("plan", site, "--json")
        assert (report.code, list(report.json["failing_cases"])) == (1, ["adt"])
        assert "admit" in report.json["failing_cases"]["adt"]
        # Nothing holds up who wants it all the same.
        assert segmill("reload", site).code == 0

    def test_an_error_is_shown_with_its_line_and_everything_runs_on(self, segmill, site, running) -> None:
        replace_in(channel_file(site, "adt"), "steps:", "stepps:")
        for command in ("plan", "reload"):
            said = segmill(command, site)
            assert said.code == 78
            assert "channels/adt/channel.yaml:" in said.err and "unknown key 'stepps'" in said.err
            assert "everything runs on as before" in said.err
        assert segmill("reload", site, "--json").json["errors"][0]["code"] == "E101"
        assert running.send("adt", messages.adt(control_id="A1")).codes["AA"] == 1

    def test_what_needs_a_restart_is_told_by_the_exit_code(self, segmill, site, running) -> None:
        with (site / "segmill.yaml").open("a") as settings:
            settings.write("store: sqlite:data/other.db\nshutdown: 7s\n")
        # The socket is where the running engine has it.
        said = segmill("reload", "--data", site / "data")
        assert said.code == 1
        assert "store: sqlite:data/segmill.db -> sqlite:data/other.db" in said.out and "needs a restart" in said.out
        assert "shutdown: 10s -> 7s" in said.out
        assert "data/segmill.db is left as it is; nothing waits in it" in said.out

    def test_another_store_is_told_with_what_waits_in_this_one(self, segmill, site, running) -> None:
        assert segmill("queue", "pause", "adt/ris", "--site", site).code == 0
        running.send_only("adt", messages.adt(control_id="A1"))
        running.settled(but=("ris",))
        with (site / "segmill.yaml").open("a") as settings:
            settings.write("store: sqlite:data/other.db\n")
        said = segmill("plan", "--data", site / "data", "--json")
        (note,) = said.json["notes"]
        assert "data/segmill.db is left as it is; what it has stays there, with 1 delivery" in note

    def test_a_start_on_a_new_store_tells_what_waits_in_the_old_one(self, segmill, site, run_site_with, caplog) -> None:
        running = run_site_with(site)
        assert segmill("queue", "pause", "adt/ris", "--site", site).code == 0
        running.send_only("adt", messages.adt(control_id="A1"))
        running.settled(but=("ris",))
        running.stop()
        with (site / "segmill.yaml").open("a") as settings:
            settings.write("store: sqlite:elsewhere/segmill.db\n")
        run_site_with(site)
        assert "elsewhere/segmill.db is new and empty, and something waits in" in caplog.text
        assert "data/segmill.db (1 queued deliveries)" in caplog.text

    def test_a_removed_destination_and_channel_are_told_with_what_waits(self, segmill, site, running) -> None:
        running.send("results", messages.oru(control_id="R1", observations=[UNKNOWN]))
        channel_file(site, "results").unlink()
        report = segmill("plan", site, "--json").json
        (change,) = report["channels"]
        assert (change["channel"], change["change"], change["held"]) == ("results", "removed", 1)
        assert "1 held message stay" in " ".join(change["notes"])


class TestWithoutAnEngine:
    def test_a_reload_says_that_there_is_none(self, segmill, site) -> None:
        said = segmill("reload", site)
        assert said.code == 69 and "no engine is running" in said.err

    def test_a_plan_compares_with_what_the_store_knows(self, segmill, site, running) -> None:
        running.send("adt", messages.adt(control_id="A1"))
        running.send("results", messages.oru(control_id="R1", observations=[UNKNOWN]))
        running.stop()
        assert "nothing to take up" not in segmill("plan", site).out
        replace_in(channel_file(site, "adt"), "description:", "description: better")
        channel_file(site, "results").unlink()
        said = segmill("plan", site, "--json")
        assert said.code == 0
        told = {change["channel"]: (change["change"], change["held"]) for change in said.json["channels"]}
        added = {"orders": ("added", 0), "scanners": ("added", 0)}
        assert told == {"adt": ("changed", 0), **added, "results": ("removed", 1)}

    def test_errors_in_the_files_are_told(self, segmill, site) -> None:
        replace_in(channel_file(site, "adt"), "steps:", "stepps:")
        assert segmill("plan", site).code == 78


FILE = "listen: {mllp: {port: 0}}\nroutes: [{to: out}]\ndestinations: {out: {file: {folder: out, name: x.hl7}}}\n"


class Process:
    """`segmill run` on a site of one channel."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.site = make_site(folder, {"adt": FILE}, "admin: off\n")
        self._process = subprocess.Popen(
            [*shared().python, "-m", "engine", "run", str(self.site), "--json", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def until_said(self, what: str) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if what in json.loads(line)["text"]:
                return str(json.loads(line)["text"])
        raise AssertionError(f"never said: {what}")

    def write(self, text: str) -> None:
        channel_file(self.site, "adt").write_text(text)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        self.until_said("stopped")
        return self._process.wait(20)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
def test_sighup_reloads_and_the_log_says_what_came_of_it(tmp_path: Path) -> None:
    with contextlib.closing(Process(tmp_path / "site")) as engine:
        engine.until_said("started")
        engine.write(FILE.replace("routes", "steps: [{set: {MSH-5: X}}]\nroutes"))
        engine.signal(signal.SIGHUP)
        assert engine.until_said("reload: channel adt") == "reload: channel adt changed (steps)"
        engine.write(FILE.replace("routes", "rutes"))
        engine.signal(signal.SIGHUP)
        assert "channels/adt/channel.yaml:2:1 E101" in engine.until_said("E101")
        assert engine.end() == 0


def test_a_watching_engine_takes_up_each_change_and_none_of_a_broken_one(tmp_path: Path) -> None:
    with contextlib.closing(Process(tmp_path / "site", "--watch")) as engine:
        engine.until_said("watching")
        engine.write(FILE.replace("routes", "steps: [{set: {MSH-5: X}}]\nroutes"))
        assert engine.until_said("reload: channel adt") == "reload: channel adt changed (steps)"
        engine.write(FILE.replace("routes", "rutes"))
        engine.until_said("E101")
        (engine.site / "segmill.yaml").write_text("admin: off\nshutdown: 7s\n")
        engine.write(FILE)
        engine.until_said("reload: channel adt changed (steps)")
        assert engine.end() == 0


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("adt/channel.yaml", True),
        ("adt/tables/wards.csv", True),
        ("adt/steps.py", True),
        ("cases/channel.yaml", True),
        ("adt/cases/one/in.hl7", False),
        ("adt/.channel.yaml.swp", False),
        ("adt/channel.yaml~", False),
        ("adt/__pycache__/steps.cpython-311.pyc", False),
    ],
)
def test_what_a_watching_engine_looks_at(path: str, matters: bool) -> None:
    assert is_of_a_channel(Path(path)) is matters


def test_keys_that_a_reload_brings_count_for_what_comes_then(segmill, running):
    running.send("adt", messages.adt(control_id="BEFORE", family="Testperson"))
    settings = running.folder / "segmill.yaml"
    settings.write_text(settings.read_text() + "keys: {family: PID-5.1}\n")
    assert "keys.family: added" in segmill("plan", running.folder).out
    assert segmill("reload", running.folder).code == 0
    running.send("adt", messages.adt(control_id="AFTER", family="Testperson"))
    said = segmill("messages", "--site", running.folder, "family=testperson", "--json")
    assert [one["control_id"] for one in said.lines] == ["AFTER"]
