"""Every example in a command's help does what it says: each is run as it stands, but for ports."""

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import click
import pytest

from engine.cli.command import COMMANDS
from engine.cli.main import run
from engine.cli.main import segmill as group
from engine.cli.store import DECRYPT, ENCRYPT, ROTATE
from engine.testing import messages
from engine.testing.messages import Observation
from tests.adapters.dicom.servers import item, serving
from tests.forked import shared

READY = {"demo": "still running", "run": "started", "listen": "listening on "}
"""Commands that run until they are stopped, and what they say when they are ready for that."""


def examples() -> list[str]:
    ctx = click.Context(group)
    return [example for name in COMMANDS for example in group.get_command(ctx, name).examples]


def runs_on(words: list[str]) -> bool:
    return words[0] in READY and "--once" not in words


@pytest.fixture(scope="module")
def place(module_site, repository):
    """A folder where a reader of the help might stand: a site whose engine runs, another site, samples."""
    shutil.copytree(repository / "samples", module_site.folder / "samples")
    shutil.copytree(repository / "channels", module_site.folder / "my-site" / "channels")
    (module_site.folder / "secret.key").write_text("0123456789abcdef0123456789abcdef")
    (module_site.folder / "my-site" / "segmill.yaml").write_text("admin: {port: 0}\n")
    module_site.send("adt", messages.adt(control_id="A1"))
    (module_site.folder / "segmill.log").write_text("2026-01-02 03:04:05,678 INFO segmill: started\n")
    assert run(["backup", "-q", "--site", str(module_site.folder), str(module_site.folder / "backups" / "monday")]) == 0
    unknown = Observation("FERR", "Ferritin", "88")
    module_site.send("results", *(messages.oru(control_id=f"R{n}", observations=[unknown]) for n in (1, 2)))
    return module_site


@pytest.fixture(scope="module")
def scanners_port():
    """Of a worklist server."""
    with serving([item(1)]) as server:
        yield server.scp.port


STOPPED = {*ENCRYPT, *DECRYPT, *ROTATE}
"""What needs an engine that is stopped, and a key that is named: test_store.py."""


@pytest.mark.parametrize("example", [e for e in examples() if e not in STOPPED and not runs_on(shlex.split(e)[1:])])
def test_an_example_works_as_typed(segmill, place, scanners_port, tmp_path, monkeypatch, example):
    text = example.replace("127.0.0.1:2575", f"127.0.0.1:{place.port('adt')}")
    text = text.replace("127.0.0.1:11112", f"127.0.0.1:{scanners_port}")
    words = shlex.split(text.replace("/tmp/segmill-demo", str(tmp_path / "demo")))
    assert words[0] == "segmill"
    monkeypatch.chdir(tmp_path if words[1] == "init" else place.folder)
    if words[1:3] == ["tables", "release"]:
        segmill("reload")  # its help says so: another example may have added a row
    said = segmill(*words[1:])
    while said.code == 75 and "changed since the plan" in said.err:
        said = segmill(*words[1:])  # as it says: what another example sent again is still being delivered
    assert said.code in (0, 1), said.err
    assert said.out or said.err
    assert "defect" not in said.err


@pytest.mark.parametrize("example", [e for e in examples() if runs_on(shlex.split(e)[1:])])
def test_an_example_that_runs_until_it_is_stopped_works_as_typed(segmill, place, monkeypatch, example):
    monkeypatch.chdir(place.folder)
    words = shlex.split(example)[1:]
    ports = dict.fromkeys(
        (
            "SEGMILL_ADT_PORT",
            "SEGMILL_ORDERS_PORT",
            "SEGMILL_RESULTS_PORT",
            "SEGMILL_SCANNERS_PORT",
            "SEGMILL_ADMIN_PORT",
        ),
        "0",
    )
    process = subprocess.Popen(
        [*shared().python, "-m", "engine", *(word.replace("6661", "0") for word in words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ports, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stderr is not None
        said = ""
        while READY[words[0]] not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        if words[0] == "listen":
            most = words[words.index("--count") + 1] if "--count" in words else "1"
            to = said.split("listening on ")[1].split()[0].rstrip(",")
            segmill("send", "samples/adt", "--to", to, "--count", most, "--set", "MSH-10=E{n}")
        if "--count" not in words:
            process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, said + rest
    assert "Traceback" not in said + rest
