"""A thousand clients for 256 file descriptors: whoever has no place is turned away, and nothing else suffers (C8, R19)."""

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
            reader, writer = await asyncio.open_connection("127.0.0.1", self.site.port)
            self.open.append(writer)

    def go(self) -> None:
        for writer in self.open:
            writer.close()
        self.open.clear()


@pytest.mark.timeout(120)
async def test_a_thousand_clients_leave_the_engine_its_descriptors(tmp_path: Path, ledger: Ledger) -> None:
    """Each message needs descriptors of its own: a connection for its receiver, a file for its folder."""
    needs("R19", can_open(4000), "this process may not open 4,000 descriptors")
    async with outside(tmp_path, CHANNEL, "shutdown: 5s\n") as site:
        # Its standard error is kept: what it could not open, asyncio would say there.
        await site.run(under=("prlimit", f"--nofile={LIMIT}:{LIMIT}"))
        honest = asyncio.get_running_loop().create_task(site.honest(400))
        crowd = Crowd(site)
        most = 0
        for _ in range(6):
            await crowd.come(CLIENTS)
            most = max(most, site.descriptors())
            await asyncio.sleep(0)
            crowd.go()
        await honest
        await site.until_connections(0)
        await site.honest(20, "AFTER")
        async with asyncio.timeout(60):
            while await site.queued():
                await asyncio.sleep(0.05)
        turned_away = site.events()["refused_limit"]
        await site.end()
        (failed,) = site.rows("SELECT count(*) FROM delivery WHERE attempts > 1 OR state <> 1")[0]
        ledger.write(
            "R19",
            f"{LIMIT} descriptors, {CLIENTS:,} clients at once, six times",
            most_descriptors=most,
            turned_away=turned_away,
            honest_answered=420,
            attempts_that_found_none_left=failed,
        )
        assert turned_away > CLIENTS
        assert failed == 0, "a delivery found no descriptor"
        assert " ERROR " not in site.said() and "asyncio" not in site.said(), site.said()[-2000:]
