"""R12, P3, P8, E1, E2: own code that runs wild harms its message alone; a worker that dies takes nothing along."""

import asyncio
import sys
import time

import pytest

from engine.model.envelope import DraftDelivery
from engine.model.ids import DestinationName
from engine.pipeline.run import Result
from engine.runtime import worker
from engine.runtime.intake import Receiver
from engine.runtime.worker import Worker
from tests.faults import poison_rig
from tests.faults.ledger import Ledger, needs
from tests.faults.sites import until_caught
from tests.faults.sizes import size

pytestmark = pytest.mark.timeout(900)

SHORT = ("LOOP", "HUGE", "MANY", "SEGFAULT", "FORKS", "STOP", "CLOSE", "FORGED", "THREAD", "PATCHED")


@pytest.fixture(autouse=True)
def _linux() -> None:
    needs("R12", sys.platform == "linux", "the bounds of a worker process are Linux's")


def write(ledger: Ledger, what: str, found: poison_rig.Found) -> None:
    ledger.write(
        "R12",
        what,
        poisonous=found.poison,
        held=found.held,
        honest=found.honest,
        kills=found.kills,
        processes=found.starts,
        violations=len(found.violations),
        longest_stall_ms=found.longest_stall_ms,
    )


async def test_own_code_that_runs_wild_harms_its_message_alone(tmp_path, ledger):
    found = await poison_rig.poison(tmp_path, SHORT)
    write(ledger, "poison, short", found)
    assert found.violations == []
    assert found.honest > 20


@pytest.mark.fault
async def test_every_kind_of_poison_three_times(tmp_path, ledger):
    found = await poison_rig.poison(tmp_path, [*poison_rig.POISON] * 3, honest=4)
    write(ledger, "poison, every kind three times", found)
    assert found.violations == []


async def test_workers_that_are_killed_and_stopped_lose_nothing_and_send_nothing_twice(tmp_path, ledger):
    found = await poison_rig.deaths(tmp_path, seed=8, messages_each=40, every=6)
    write(ledger, "workers killed and stopped, short", found)
    assert found.violations == []
    assert found.kills > 0


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(size(2, 4)))
async def test_workers_that_are_killed_and_stopped_for_longer(tmp_path, ledger, seed):
    found = await poison_rig.deaths(tmp_path, seed=seed, messages_each=600, senders=3, every=15)
    write(ledger, f"workers killed and stopped, seed {seed}", found)
    assert found.violations == []


class TestMutants:
    """An engine with one promise broken: the rig says so."""

    async def test_one_that_waits_for_the_worker_on_the_loop(self, tmp_path, monkeypatch):
        inner = Worker._exchange

        async def waiting(self: Worker, *arguments: object) -> object:
            if self._child is not None and self._child.is_ready:
                time.sleep(0.5)  # noqa: TID251 - the defect
            return await inner(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Worker, "_exchange", waiting)
        found = await poison_rig.poison(tmp_path, ["OS_EXIT"])
        assert found.longest_stall_ms > 400  # it slept on the loop for longer, on any machine

    async def test_one_whose_other_channels_wait_for_the_worker(self, tmp_path, monkeypatch):
        exchange, take_one, busy = Worker._exchange, Receiver.take_one, []

        async def noted(self: Worker, *arguments: object) -> object:
            busy.append(self)
            try:
                return await exchange(self, *arguments)  # type: ignore[arg-type]
            finally:
                busy.remove(self)

        def waiting(self: Receiver, *arguments: object) -> None:
            if busy:
                asyncio.get_running_loop().call_later(0.005, waiting, self, *arguments)
            else:
                take_one(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Worker, "_exchange", noted)
        monkeypatch.setattr(Receiver, "take_one", waiting)
        found = await poison_rig.poison(tmp_path, ["FORGED"], timeout="300ms")
        assert found.violations == ["while FORGED was in hand the honest channel got nothing done"]

    @pytest.mark.fault
    async def test_one_that_believes_what_it_is_told(self, tmp_path, monkeypatch):
        def believing(about: dict, content: bytes, loaded: object) -> Result:
            deliveries = [DraftDelivery(DestinationName(name), None) for name, _ in about["deliveries"]]
            return Result(about["state"], deliveries, ())

        monkeypatch.setattr(worker, "_result", believing)
        found = await poison_rig.poison(tmp_path, ["FORGED"])
        assert any("FORGED" in violation for violation in found.violations)

    async def test_one_that_blames_at_the_first_death(self, tmp_path, monkeypatch):
        monkeypatch.setattr(worker, "ATTEMPTS", 1)

        async def look(site: int) -> poison_rig.Found:
            folder = tmp_path / f"site-{site}"
            folder.mkdir()
            return await poison_rig.deaths(folder, seed=8 + site, messages_each=15, every=4)

        await until_caught(look, lambda found: any("not blamed twice" in one for one in found.violations))
