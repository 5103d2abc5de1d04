"""A run of tests says what its tests left behind, and leaves nothing itself: `leftovers`."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leftovers import PREFIX, remove_abandoned
from tests.simulation.engines import simulated
from tests.simulation.history import run
from tests.simulation.worklists import run as run_worklists

REPOSITORY = Path(__file__).parents[1]
TESTS = """\
import tempfile

def test_one_that_leaves_a_folder():
    tempfile.mkdtemp(prefix="left-by-a-test-")

def test_one_that_does_not():
    with tempfile.TemporaryDirectory(prefix="left-by-none-"):
        pass

def test_one_with_what_lasts_for_the_run(forked):
    assert forked.python
"""
KILLED = """\
import os, signal
from tests.leftovers import RunFolder
folder = RunFolder()
(folder.path / "something").mkdir()
os.kill(os.getpid(), signal.SIGKILL)
"""


def environment(place: Path) -> dict[str, str]:
    """Of a process that is no part of this run."""
    own = ("PYTEST_", "TMPDIR")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(own)}, "TMPDIR": str(place)}


def entries(place: Path) -> list[str]:
    return sorted(one.name for one in place.iterdir() if not one.name.startswith("pytest-of-"))


@pytest.fixture
def place() -> Iterator[Path]:
    """For what is temporary in another run. Of a short name: paths of sockets have a bound."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
def test_a_run_that_leaves_a_folder_has_failed_says_which_and_removes_it(tmp_path: Path, place: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    words = ["-c", str(REPOSITORY / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path / "test_it.py")],
        cwd=REPOSITORY,
        env=environment(place),
        capture_output=True,
        text=True,
    )
    said = ended.stdout + ended.stderr
    assert "3 passed" in said, said
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, said
    _, _, told = said.partition("FAILED: left in the folder of temporary files")
    assert [line[:15] for line in told.splitlines()[1:2]] == ["left-by-a-test-"], said
    assert told.count("left-by-") == 1
    assert entries(place) == []


def test_what_a_killed_run_left_goes_with_the_next_and_what_is_in_use_stays(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=REPOSITORY, env=environment(tmp_path))
    assert killed.returncode == -signal.SIGKILL
    (left,) = entries(tmp_path)
    strange = tmp_path / f"{PREFIX}of-somebody-else"
    strange.mkdir()
    assert remove_abandoned(tmp_path) == [tmp_path / left]
    assert entries(tmp_path) == [strange.name]


def test_the_folder_of_this_very_run_stays() -> None:
    here = Path(tempfile.gettempdir())
    assert here.name.startswith(PREFIX)
    assert here not in remove_abandoned(here.parent)
    assert here.is_dir()


def test_histories_leave_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sites' own have gone long before their engines start."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with simulated():
        run(0)
        run_worklists(0)
    assert list(tmp_path.iterdir()) == []
