"""A fault at every system call of the store (reliability.md D2, D3, R3): nothing positive after a sync that failed, an
exit or a refusal, a clean start afterwards, nothing acknowledged lost, and what came twice is marked."""

import asyncio
import os
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults import shim
from tests.faults.kill_rig import CHANNEL, Rig
from tests.faults.ledger import Ledger
from tests.faults.nursery import EngineProcess, Nursery
from tests.faults.receivers import Receiver
from tests.faults.senders import Senders
from tests.faults.sizes import size
from tests.ports import free_port

EXIT_STORE_FAILED = 74
CALLS = ("pwrite", "fdatasync", "fsync", "ftruncate", "open", "pread", "write", "unlink")
ERRORS = ("EIO", "ENOSPC", "EINTR", "short", "EDQUOT", "EROFS", "kill")
SHORT_CALLS = ("pwrite", "pread", "write")


@dataclass(frozen=True)
class Point:
    """The fault: `error` at the `number`-th `call` on a file of the store."""

    call: str
    error: str
    number: int

    @property
    def messages(self) -> int:
        """So many reach the call, and some go on behind it: a message alone costs eight writes and a sync."""
        return 16 + (self.number // 4 if self.call == "pwrite" else self.number)

    def __str__(self) -> str:
        return f"{self.error} at {self.call} {self.number}"


@dataclass
class Found:
    """What came of all points."""

    points: int = 0
    fired: int = 0
    acknowledged: int = 0
    refused: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Points(Rig):
    """One site whose store is made anew for every point, and the engines that it takes."""

    channel = CHANNEL
    settings = "admin: off\nlimits: {free_disk: 0, low_disk: 0}\n"

    def __init__(self, folder: Path, library: Path, found: Found, mutant: str | None = None) -> None:
        super().__init__(folder, seed=0, mutant=mutant)
        self.nursery = Nursery(folder.parent / f"{folder.name}.log", preload=library)
        self.found = found
        self.report = folder.parent / f"{folder.name}.report"
        self.data = folder / "data"

    async def _engine(self, point: Point | None) -> EngineProcess:
        asked = point and shim.order(point.call, point.error, point.number, self.report, path=str(self.data))
        return await self.nursery.start(self.folder, system_call=asked, mutant=self.mutant if point else None)

    async def each(self, points: Sequence[Point]) -> None:
        self.write_site()
        async with self.nursery:
            for point in points:
                await self._fresh()
                try:
                    async with asyncio.timeout(60):
                        await self._one(point)
                except (AssertionError, TimeoutError) as error:
                    self.found.wrong.append(f"{point}: {type(error).__name__} {error}")
                finally:
                    self._hang_up()

    async def counts(self, messages: int) -> dict[str, int]:
        """How often each call is made while so many messages go through."""
        self.write_site()
        seen: dict[str, int] = {}
        async with self.nursery:
            for call in CALLS:
                await self._fresh()
                await self._load(Point(call, "count", 0), messages)
                lines = self.report.read_text().splitlines()
                seen[call] = max(int(line.split()[1]) for line in lines if line.startswith("seen"))
                self._hang_up()
        return seen

    def _hang_up(self) -> None:
        for receiver in self.receivers.values():
            receiver.stop()

    async def _fresh(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.report.unlink(missing_ok=True)
        self.receivers = {"receiver": Receiver()}
        await self.receivers["receiver"].start()
        port, receiver = free_port(), self.receivers["receiver"].port
        self.port = port
        (self.folder / "channels" / "rig" / "channel.yaml").write_text(CHANNEL.format(port=port, receiver=receiver))

    async def _load(self, point: Point, messages: int) -> tuple[Senders, int | None]:
        """An engine with the fault, until it has ended or carried so many; its exit code if it ended by itself."""
        senders = Senders(self.port)
        engine = await self._engine(point)
        senders.start()
        loop = asyncio.get_running_loop()
        through = loop.create_task(senders.until(messages))
        ended = loop.create_task(engine.wait())
        try:
            await asyncio.wait([through, ended], return_when=asyncio.FIRST_COMPLETED)
            alone = engine.returncode
            await senders.stop()
            engine.terminate()
            stopped = await engine.wait()
            assert alone is not None or stopped in (0, EXIT_STORE_FAILED, -9), f"it stopped with {stopped}"
        finally:
            through.cancel()
            ended.cancel()
        return senders, alone

    async def _one(self, point: Point) -> None:
        found = self.found
        found.points += 1
        senders, alone = await self._load(point, point.messages)
        report = self.report.read_text() if self.report.exists() else ""
        found.fired += "fired" in report
        found.ends["went on" if alone is None else f"ended with {alone}"] += 1
        assert "AA after a failed sync" not in report, "a positive answer after a failed sync"
        assert alone in (None, EXIT_STORE_FAILED, -9), f"it ended with {alone}: {self.nursery.log.read_text()[-600:]}"
        assert alone != -9 or point.error == "kill"
        assert set(senders.answers) <= {"AA", "AR"}, senders.answers
        found.refused += senders.answers["AR"]
        # And again, with nothing in the way.
        engine = await self._engine(None)
        before = len(senders.acknowledged)
        senders.start()
        await senders.until(before + 6)
        await senders.stop()
        self.verdict.acknowledged = set(senders.acknowledged)
        await self._drained()
        engine.terminate()
        assert await engine.wait() == 0, f"the engine after it ended with {engine.returncode}: {engine.errors()}"
        self.verdict.cycles = 1
        self._judge()
        found.acknowledged += len(senders.acknowledged)
        self.verdict.assert_promise_kept()


def points_of(seen: dict[str, int], most: int, errors: Sequence[str] = ERRORS) -> list[Point]:
    """Every fault that makes sense, at every call up to the `most`-th that is made at all."""
    return [
        Point(call, error, number)
        for call in CALLS
        for error in errors
        if error != "short" or call in SHORT_CALLS
        for number in range(1, min(seen[call], most) + 1)
    ]


def sample(points: Sequence[Point], count: int, chance: random.Random) -> list[Point]:
    """A third at the writes of messages, a third at syncs, the rest at anything."""
    writes = [point for point in points if point.call == "pwrite" and point.number > 100]
    syncs = [point for point in points if point.call == "fdatasync"]
    third = count // 3
    return [
        *chance.sample(writes, third),
        *chance.sample(syncs, third),
        *chance.sample(list(points), count - 2 * third),
    ]


async def run_points(folder: Path, library: Path, points: Sequence[Point], at_once: int) -> Found:
    found = Found()
    rigs = []
    for number in range(at_once):
        site = folder / f"site-{number}"
        site.mkdir()
        rigs.append(Points(site, library, found).each(points[number::at_once]))
    await asyncio.gather(*rigs)
    return found


def tell(ledger: Ledger, what: str, found: Found) -> None:
    ends = {end.replace(" ", "_"): count for end, count in sorted(found.ends.items())}
    ledger.write(
        "R3", what, faults=found.points, fired=found.fired, acknowledged=found.acknowledged, refused=found.refused,
        wrong=len(found.wrong), **ends,
    )  # fmt: skip


@pytest.mark.timeout(300)
async def test_R3_a_fault_at_a_system_call_of_the_store_loses_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """A sample of all faults at any call that a start and sixty messages make, each kind of call with its share."""
    library = shim.build("R3", tmp_path)
    site = tmp_path / "counting"
    site.mkdir()
    seen = await Points(site, library, Found()).counts(60)
    every = points_of(seen, 1000)
    points = sample(every, 54, random.Random(3))
    found = await run_points(tmp_path, library, points, at_once=2)
    tell(ledger, f"a fault at a system call, {len(points)} of {len(every)}", found)
    assert not found.wrong, "\n".join(found.wrong)
    assert found.fired >= len(points) * 3 // 4, found


@pytest.mark.fault
@pytest.mark.timeout(3600)
async def test_R3_a_fault_at_every_system_call_of_the_store_loses_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """EIO, ENOSPC, EINTR and short writes at each call up to the 40th and each 24th up to the 400th, at each 24th that
    only reads, and the other errors at a sixtieth of all; at night up to the 100th, each eighth, and a twentieth."""
    library = shim.build("R3", tmp_path)
    site = tmp_path / "counting"
    site.mkdir()
    most = int(os.environ.get("SEGMILL_CALLS", "400"))
    seen = await Points(site, library, Found()).counts(most)
    each, every = size(40, 100), size(24, 8)
    points = [point for point in points_of(seen, most, ERRORS[:4]) if point.number <= each or point.number % every == 0]
    points = [point for point in points if point.call != "pread" or point.number % every == 0]
    points += points_of(seen, most, ERRORS[4:])[:: size(60, 20)]
    found = await run_points(tmp_path, library, points, at_once=2)
    tell(ledger, f"a fault at each system call up to the {each}th, each {every}th to the {most}th, long", found)
    assert not found.wrong, "\n".join(found.wrong[:40])


@pytest.mark.timeout(180)
async def test_R1m_failing_calls_catch_an_engine_that_goes_on_after_a_failed_sync(
    tmp_path: Path, ledger: Ledger
) -> None:
    found = Found()
    site = tmp_path / "site"
    site.mkdir()
    mutant = Points(site, shim.build("R3", tmp_path), found, mutant="goes-on-after-a-failed-sync")
    await mutant.each([Point("fdatasync", "EIO", number) for number in (33, 40)])
    ledger.write("R1m", "mutant goes-on-after-a-failed-sync", faults=found.points, wrong=len(found.wrong))
    assert any("a positive answer after a failed sync" in wrong for wrong in found.wrong), found.wrong
