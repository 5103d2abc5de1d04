"""A thousand clients for 256 file descriptors: who has no place is turned away, and nothing else suffers (C8, R19)."""

import asyncio
import socket
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
NONE_LEFT = "no file descriptor is left"


class Crowd:
    """Clients that connect and say nothing."""

    def __init__(self, site: Outside) -> None:
        self.site = site
        self.open: list[socket.socket] = []

    async def come(self, count: int) -> None:
        """So many in one moment; until each was let in or turned away, or the engine has no descriptor left."""
        seen = self._judged()
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.site.port))
            self.open.append(client)
        async with asyncio.timeout(60):
            while NONE_LEFT not in self.site.said() and self._judged() < seen + count:
                await asyncio.sleep(0.1)

    def _judged(self) -> int:
        events = self.site.events()
        return events["accepted"] + events["refused_limit"]

    def go(self) -> None:
        for client in self.open:
            client.close()
        self.open.clear()


async def crowded(folder: Path, *words: str, crowds: int = 4) -> tuple[dict[str, int], str]:
    """An engine that crowds come to, and an honest sender beside them: what was seen, and what it said.

    Each message needs descriptors of its own: a connection to its receiver, a file in its folder.
    """
    async with outside(folder, CHANNEL, "shutdown: 5s\n") as site:
        limit = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
        await site.run(*words, under=limit, script="tests.faults.changed_engine")
        most = 0
        over = asyncio.Event()
        honest = asyncio.get_running_loop().create_task(site.honest(until=over))
        await site.until_connections(1)
        for _ in range(crowds):
            crowd = Crowd(site)
            await crowd.come(CLIENTS)
            most = max(most, site.descriptors())
            crowd.go()
            await site.until_connections(1)
        over.set()
        answered = await honest
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
            "honest_answered": answered + 20,
            "attempts_that_found_none_left": failed,
            "accepts_that_found_none_left": events["no_descriptor"],
        }
        return seen, site.said()


@pytest.mark.timeout(120)
async def test_R19_a_thousand_clients_leave_the_engine_its_descriptors(tmp_path: Path, ledger: Ledger) -> None:
    needs("R19", can_open(4000), "this process may not open 4,000 descriptors")
    seen, said = await crowded(tmp_path)
    ledger.write("R19", f"{LIMIT} descriptors, {CLIENTS:,} clients at once, four times", **seen)
    assert seen["turned_away"] > CLIENTS
    assert seen["attempts_that_found_none_left"] == 0 and seen["accepts_that_found_none_left"] == 0
    assert " ERROR " not in said and "asyncio" not in said, said[-2000:]


@pytest.mark.timeout(120)
async def test_R19_the_rig_finds_an_engine_that_keeps_no_descriptor_back(tmp_path: Path) -> None:
    needs("R19", can_open(4000), "this process may not open 4,000 descriptors")
    seen, said = await crowded(tmp_path, "no-reserve", crowds=1)
    assert seen["attempts_that_found_none_left"] or seen["accepts_that_found_none_left"], seen
    assert NONE_LEFT in said
