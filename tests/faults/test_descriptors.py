"""A thousand clients for 256 file descriptors: who has no place is turned away, and nothing else suffers (C8, R19)."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, needs
from tests.faults.outside import Outside, can_open, outside

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}, {{to: folder}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}, keep_open: false}}
    retry: {{first: 20ms, most: 50ms}}
  folder:
    file: {{folder: out}}
    retry: {{first: 20ms, most: 50ms}}
"""
LIMIT = 256
CLIENTS = 1000


class Crowd:
    """Clients that connect and say nothing."""

    def __init__(self, site: Outside) -> None:
        self.site = site
        self.open: list[asyncio.StreamWriter] = []

    async def come(self, count: int) -> int:
        """So many at once; how many of them were let in and not turned away at once."""
        await asyncio.gather(*(self._knock() for _ in range(count)))
        return len(self.open)

    async def _knock(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.site.port)
            self.open.append(writer)

    def go(self) -> None:
        for writer in self.open:
            writer.close()
        self.open.clear()


async def crowded(folder: Path, *words: str) -> tuple[dict[str, int], str]:
    """An engine that six crowds come to, and an honest sender beside them: what was seen, and what it said.

    Each message needs descriptors of its own: a connection to its receiver, a file in its folder.
    """
    async with outside(folder, CHANNEL, "shutdown: 5s\n") as site:
        limit = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
        await site.run(*words, under=limit, script="tests.faults.changed_engine")
        honest = asyncio.get_running_loop().create_task(site.honest(400))
        crowd = Crowd(site)
        most = 0
        for _ in range(6):
            await crowd.come(CLIENTS)
            most = max(most, site.descriptors())
            crowd.go()
        await honest
        await site.until_connections(0)
        await site.honest(20, "AFTER")
        async with asyncio.timeout(60):
            while await site.queued():
                await asyncio.sleep(0.05)
        events = site.events()
        await site.end()
        (failed,) = site.rows("SELECT count(*) FROM delivery WHERE attempts > 1 OR state <> 1")[0]
        seen = {
            "most_descriptors": most,
            "turned_away": events["refused_limit"],
            "honest_answered": 420,
            "attempts_that_found_none_left": failed,
            "accepts_that_found_none_left": events["no_descriptor"],
        }
        return seen, site.said()


@pytest.mark.timeout(120)
async def test_a_thousand_clients_leave_the_engine_its_descriptors(tmp_path: Path, ledger: Ledger) -> None:
    needs("R19", can_open(4000), "this process may not open 4,000 descriptors")
    seen, said = await crowded(tmp_path)
    ledger.write("R19", f"{LIMIT} descriptors, {CLIENTS:,} clients at once, six times", **seen)
    assert seen["turned_away"] > CLIENTS
    assert seen["attempts_that_found_none_left"] == 0 and seen["accepts_that_found_none_left"] == 0
    assert " ERROR " not in said and "asyncio" not in said, said[-2000:]


@pytest.mark.timeout(120)
async def test_the_rig_finds_an_engine_that_keeps_no_descriptor_back(tmp_path: Path) -> None:
    needs("R19", can_open(4000), "this process may not open 4,000 descriptors")
    seen, said = await crowded(tmp_path, "no-reserve")
    assert seen["attempts_that_found_none_left"] or seen["accepts_that_found_none_left"], seen
    assert "no file descriptor is left" in said
