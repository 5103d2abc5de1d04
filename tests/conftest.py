"""What every test may ask for. The builders themselves ship in `engine.testing`."""

import asyncio
import gc
import os
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from engine.pipeline import registry
from engine.testing import messages
from engine.testing.sites import make_site as write_site
from tests import schedule
from tests.faults import ledger as fault_ledger
from tests.forked import Forked, end_shared
from tests.forked import shared as shared_fork
from tests.leftovers import RunFolder

REPOSITORY = Path(__file__).parent.parent

# The same examples every run, and no judgement of a busy machine's speed; a search for new ones is asked for:
# HYPOTHESIS_PROFILE=search make test
settings.register_profile("steady", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


RUN_FOLDER = pytest.StashKey[RunFolder]()
LEFT = pytest.StashKey[list[str]]()


class SiteMaker(Protocol):
    def __call__(self, channels: Mapping[str, str | Mapping[str, str | bytes]], settings: str = "") -> Path: ...


def pytest_configure(config: pytest.Config) -> None:
    """Of a run with workers, the process that starts them; they have its folder from it."""
    # Else pytest-asyncio makes a loop to put back behind each test, and the first `asyncio.run` drops it, unclosed.
    asyncio.set_event_loop(None)
    if not hasattr(config, "workerinput"):
        config.stash[RUN_FOLDER] = RunFolder()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """All workers have ended by now. A run that leaves something behind has failed."""
    end_shared()
    folder = session.config.stash.get(RUN_FOLDER, None)
    if folder is not None and (left := folder.left()):
        session.config.stash[LEFT] = left
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(RUN_FOLDER, None):
        folder.remove()
        del config.stash[RUN_FOLDER]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: the collector of cycles does not walk it, now or beside the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker, as the tests are given out; alone, as they stand."""
    if hasattr(config, "workerinput"):
        items[:] = schedule.in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    return schedule.ByFile(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The ledger of the fault rigs, where any ran; and what was left behind."""
    rows = fault_ledger.lines(terminalreporter.stats)
    if rows:
        terminalreporter.section("fault ledger")
        for row in rows:
            terminalreporter.write_line(row)
    if left := terminalreporter.config.stash.get(LEFT, []):
        terminalreporter.section("FAILED: left in the folder of temporary files", red=True)
        for name in left:
            terminalreporter.write_line(name)


@pytest.fixture(scope="session", autouse=True)
def looked_up_once() -> Iterator[None]:
    """What is installed stays so in a run; each look reads the metadata of a hundred packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", cache(registry.entry_points))
        yield


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> fault_ledger.Ledger:
    """`ledger.write("R1", "kill -9", kills=150, lost=0)`: a line in the ledger at the end of the run."""
    return fault_ledger.Ledger(request.node.user_properties)


@pytest.fixture
def adt():
    """`adt(control_id=..., trigger=..., ...) -> bytes`: a synthetic ADT message."""
    return messages.adt


@pytest.fixture
def oru():
    """`oru(control_id=..., observations=..., ...) -> bytes`: a synthetic ORU^R01 message."""
    return messages.oru


@pytest.fixture
def orm():
    """`orm(control_id=..., order_control=..., ...) -> bytes`: a synthetic ORM^O01 message."""
    return messages.orm


@pytest.fixture
def make_site(tmp_path: Path) -> SiteMaker:
    """`make_site({"adt": yaml_text}, settings=...) -> Path`: a site folder in the test's own temporary one."""

    def make(channels: Mapping[str, str | Mapping[str, str | bytes]], settings: str = "") -> Path:
        return write_site(tmp_path / "site", channels, settings)

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    """The clone these tests stand in: `channels/`, `samples/`, `engine/docs/`."""
    return REPOSITORY


@pytest.fixture(scope="session")
def forked() -> Forked:
    """`[*forked.python, "-m", "engine", "check"]`: `segmill check` at the price of a fork."""
    return shared_fork()


@pytest.fixture(scope="session")
def samples(repository: Path) -> Path:
    """The folder of synthetic messages."""
    return repository / "samples"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """A folder of foreign messages, one a file, named by SEGMILL_CORPUS; skips where there is none."""
    named = os.environ.get("SEGMILL_CORPUS", "")
    if not named:
        pytest.skip("SEGMILL_CORPUS names no folder of foreign messages")
    folder = Path(named)
    assert folder.is_dir(), f"SEGMILL_CORPUS is not a folder: {folder}"
    return folder
