"""Slow HTTP clients and a storm of scrapes on the admin port: messages go on, and a scrape gets its page (E7)."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, needs
from tests.faults.outside import Outside, can_open
from tests.runtime.parts import until

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}, keep_open: false}}
    retry: {{first: 20ms, most: 50ms}}
"""
SLOW = 320
LIMIT = 256
SCRAPES = 40


class Admin:
    """The admin port of an engine, and those who want something of it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.slow: list[asyncio.StreamWriter] = []
        self.pages = 0

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def linger(self, kind: int) -> None:
        """Silent, half a head, or a request whose answer is not read."""
        with contextlib.suppress(OSError):
            reader, writer = await self.open()
            self.slow.append(writer)
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            if kind:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"\r\n" if kind == 2 else b""))

    async def scrape(self) -> bool:
        """One honest scrape; whether the page came whole."""
        try:
            reader, writer = await self.open()
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            page = await asyncio.wait_for(reader.read(), 60)
            writer.close()
        except OSError:
            return False
        whole = page.startswith(b"HTTP/1.1 200") and b"segmill_messages_received_total" in page
        self.pages += whole
        return whole

    def leave(self) -> None:
        for writer in self.slow:
            writer.transport.abort()


async def abused(folder: Path, *words: str, scrapes: bool = True) -> dict[str, int]:
    """An engine with fewer descriptors than there are slow clients, of which each delivery needs one."""
    async with Outside(folder, CHANNEL) as site:
        site.write_site("admin: {port: 0}\n")
        limit = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
        await site.run(*words, under=limit, script="tests.faults.changed_engine")
        admin = Admin(int(site.said().split("/metrics,")[0].rsplit(":", 1)[1]))
        over = asyncio.Event()
        honest = asyncio.get_running_loop().create_task(site.honest(100 if scrapes else 20, until=over))
        await site.until_connections(1)
        for at in range(0, SLOW, 20):
            await asyncio.gather(*(admin.linger(number % 3) for number in range(at, at + 20)))
        await until(lambda: site.descriptors() > 40)
        most = site.descriptors()
        tries = 0
        if scrapes:
            # Beside them honest scrapes, one after the other: each gets its page at the first or the next try.
            while admin.pages < 20:
                tries += 1
                await admin.scrape()
            await asyncio.gather(*(admin.scrape() for _ in range(SCRAPES)))
        else:
            # However slowly they are taken: once all are in, there is a delivery that finds no descriptor.
            await until(lambda: site.rows("SELECT count(*) FROM delivery WHERE attempts > 1")[0][0] > 0)
        over.set()
        answered = await honest
        most = max(most, site.descriptors())
        admin.leave()
        async with asyncio.timeout(60):
            while await site.queued():
                await asyncio.sleep(0.05)
        await site.end()
        (failed,) = site.rows("SELECT count(*) FROM delivery WHERE attempts > 1 OR state <> 1")[0]
    return {
        "most_descriptors": most,
        "honest_answered": answered,
        "tries_for_20_pages": tries,
        "deliveries_that_failed": failed,
    }


@pytest.mark.timeout(120)
async def test_E7_slow_clients_and_scrapes_take_nothing_from_the_messages(tmp_path: Path, ledger: Ledger) -> None:
    needs("E7", can_open(3000), "this process may not open 3,000 descriptors")
    seen = await abused(tmp_path)
    ledger.write("E7", f"{SLOW} slow HTTP clients, then {SCRAPES} scrapes at once", **seen)
    assert seen["honest_answered"] >= 100 and seen["deliveries_that_failed"] == 0
    assert seen["tries_for_20_pages"] <= 40
    assert seen["most_descriptors"] < 100


@pytest.mark.fault
@pytest.mark.timeout(120)
async def test_E7_the_rig_finds_an_admin_port_that_takes_whoever_comes(tmp_path: Path) -> None:
    needs("E7", can_open(3000), "this process may not open 3,000 descriptors")
    seen = await abused(tmp_path, "patient-admin", scrapes=False)
    assert seen["deliveries_that_failed"] > 0, seen
