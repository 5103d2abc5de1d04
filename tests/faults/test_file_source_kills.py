"""kill -9 of a real engine while files come in and go out as files: the ledger of both folders and the store."""

import random
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

from engine.testing import messages
from engine.testing.sites import make_site
from tests.forked import shared

CHANNEL = """\
listen: {file: {folder: in, every: 50ms, stable: 0}}
routes: [{to: out}]
destinations:
  out:
    file: {folder: out, name: "{MSH-10}.hl7"}
"""
FILES, PER_FILE = 150, 4


def start(site: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*shared().python, "-m", "engine", "run", str(site)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()


def wait_until(condition, within_s: float = 60.0) -> None:
    until, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < until, "it takes too long"
        pause.wait(0.001)  # the engine is to have the processor


@pytest.mark.parametrize(
    "seed", [1, pytest.param(2, marks=pytest.mark.fault), pytest.param(3, marks=pytest.mark.fault)]
)
def test_no_file_is_lost_and_no_message_processed_twice(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    site = make_site(tmp_path / "site", {"adt": CHANNEL}, "admin: off\n")
    inbox, ids = site / "in", []
    inbox.mkdir()
    written = 0
    kills = 0
    engine = start(site)
    try:
        while written < FILES:
            for _ in range(FILES // 5):
                these = [f"K{written}N{number}" for number in range(PER_FILE)]
                ids += these
                content = b"".join(messages.adt(control_id=control_id) for control_id in these)
                (inbox / f"{written:04}.tmp").write_bytes(content)
                (inbox / f"{written:04}.tmp").rename(inbox / f"{written:04}.hl7")
                written += 1
            # Somewhere in the middle of them: what is put away, or already in the other folder, sets the time.
            mark = written - chance.randrange(5, FILES // 5)
            wait_until(lambda mark=mark: len(names(inbox / "done")) >= mark)
            shared().kill(engine)
            engine.wait()
            kills += 1
            engine = start(site)
        wait_until(lambda: len(names(inbox / "done")) == FILES and len(names(site / "out")) == len(ids))
    finally:
        engine.terminate()
        engine.wait(30)
    assert kills == 5
    assert names(inbox) == names(inbox / "failed") == set()
    assert names(site / "out") == {f"{control_id}.hl7" for control_id in ids}
    db = sqlite3.connect(site / "data" / "segmill.db")
    stored = [row[0] for row in db.execute("SELECT control_id FROM message")]
    db.close()
    assert sorted(stored) == sorted(ids), "each once"
