"""A command line to call as a person would, a site to call it on, and an engine that runs on it."""

import asyncio
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender, SendReport
from engine.app import Engine
from engine.cli.main import run
from engine.config.site import LoadedSite, load_site
from engine.pipeline.registry import load_kinds
from engine.testing.peers import ReceivingPeer


@dataclass(slots=True)
class Called:
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON object."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Segmill = Callable[..., Called]


@pytest.fixture
def segmill(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Segmill:
    """`segmill("check", site)`: call it in this process, without colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("SEGMILL_SITE", raising=False)

    def call(*words: object) -> Called:
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return Called(code, said.out, said.err)

    return call


def copy_site(folder: Path, repository: Path) -> Path:
    """A site with the shipped channels in `folder`."""
    shutil.copytree(repository / "channels", folder / "channels", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "segmill.yaml").write_text("environment: test\nadmin: off\n")
    return folder


@pytest.fixture
def site(tmp_path: Path, repository: Path) -> Path:
    """A site with the shipped channels."""
    return copy_site(tmp_path / "site", repository)


class RunningSite:
    """An engine on a site's folder, on a thread of its own, with a receiver for everything it sends."""

    def __init__(self, folder: Path, *answers: str) -> None:
        self.folder = folder
        self._answers = answers or ("AA",)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main)
        self._thread.start()
        assert self._ready.wait(100), "the engine does not start"
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as exc:
            self._failure = exc
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with ReceivingPeer(*self._answers) as self.peer:
            ports = dict.fromkeys(
                ("SEGMILL_ADT_PORT", "SEGMILL_ORDERS_PORT", "SEGMILL_RESULTS_PORT", "SEGMILL_SCANNERS_PORT"), "0"
            )
            receivers = dict.fromkeys(("SEGMILL_RIS_PORT", "SEGMILL_EPR_PORT"), str(self.peer.address[1]))

            def read() -> LoadedSite:
                return load_site(self.folder, load_kinds(), {**ports, **receivers})

            self.engine = Engine(read(), reread=read)
            await self.engine.start()
            self._ready.set()
            await self._stop.wait()
            await self.engine.stop()

    def port(self, channel: str) -> int:
        return self.engine.addresses[channel][1]

    def send(self, channel: str, *messages: bytes) -> SendReport:
        """Send, and wait until nothing is queued any more but what stands still."""

        report = self.send_only(channel, *messages)
        self.settled()
        return report

    def send_only(self, channel: str, *messages: bytes) -> SendReport:
        """Send, and wait for the answers only."""
        work = Sender(Target(*self.engine.addresses[channel]), messages).run()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def settled(self, but: Sequence[str] = ()) -> None:
        """Wait until nothing is queued any more but what stands still, and but for these destinations."""

        async def work() -> None:
            async with asyncio.timeout(20):
                while any(
                    lane.queued
                    and lane.state != "stopped"
                    and not (lane.state in ("waiting", "down") and lane.attempts)
                    and lane.destination not in but
                    for status in await self.engine.control.status()
                    for lane in status.lanes
                ):
                    await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(work(), self._loop).result(60)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)


@pytest.fixture
def running(site: Path) -> Iterator[RunningSite]:
    """The shipped channels at work."""
    started = RunningSite(site)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[RunningSite]:
    """The same, shared by the tests of one file."""
    started = RunningSite(copy_site(tmp_path_factory.mktemp("shared") / "site", repository))
    yield started
    started.stop()


@pytest.fixture
def run_site_with() -> Iterator[Callable[..., RunningSite]]:
    """`run_site_with(folder, "AE", "AA")`: a site whose receiver answers so."""
    started: list[RunningSite] = []

    def start(folder: Path, *answers: str) -> RunningSite:
        started.append(RunningSite(folder, *answers))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard error a terminal, and standard output one or none."""

    def make(*, out: bool = False) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: out)

    return make
