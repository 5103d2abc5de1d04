"""What operating the engine costs its senders: their p99 while it is scraped, forgets, and is searched.

One engine with 200 channels and so many messages of two years ago in its store, 8 senders of 1 kB ADT that wait for
their answers. Each row is a phase beside the phase without any of it, in the same run (DESIGN section 9: no stall over
100 ms from checkpoints, retention or scrape). `python tests/bench/bench_operations.py [OLD MESSAGES]`.
"""

import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from engine.adapters.stores.sqlite import SqliteStore  # noqa: E402
from engine.config.search_keys import DeclaredKeys  # noqa: E402
from engine.model.envelope import Batch  # noqa: E402
from engine.testing.peers import ReceivingPeer  # noqa: E402
from engine.testing.sites import make_site  # noqa: E402
from tests.bench.bench_search import BATCH, batch_of  # noqa: E402
from tests.ports import free_port  # noqa: E402

LOAD = Path(__file__).with_name("load.py")
SENDERS, MESSAGES, CHANNELS, OLD = 8, 6000, 200, 200_000
MOST_STALL_MS = 100.0
SMALL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
    window: 64
"""
OTHER = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
from: MSH-3 == "S{n}"
routes: [{{to: receiver}}]
destinations:
  receiver:
    file: {{folder: {folder}/{n}}}
"""
Phase = Callable[[], Awaitable[object]]


async def load(port: int, tag: str) -> dict[str, float]:
    words = ["senders", "--port", str(port), "--connections", str(SENDERS), "--count", str(MESSAGES), "--tag", tag]
    done = await asyncio.create_subprocess_exec(sys.executable, str(LOAD), *words, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    return dict(json.loads(out))


def old_store(path: Path, count: int) -> None:
    store = SqliteStore(path)
    store.read_keys_by(DeclaredKeys({}, {}).of)
    store.open()
    for first in range(0, count, BATCH):
        store.commit(Batch([replace(one, deliveries=()) for one in batch_of(first).intakes]))  # what waits stays
        store.checkpoint()
    store.close()


def scrape(url: str) -> tuple[float, int]:
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=30) as answer:
        size = len(answer.read())
    return time.perf_counter() - began, size


def told(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read(), "utf-8")


def forgotten(metrics: str) -> int:
    found = re.search(r'^segmill_retention_pruned_total\{what="bodies"\} ([0-9.e+]+)$', metrics, re.M)
    return int(float(found[1])) if found else 0


async def again_and_again(work: Phase, rest_s: float) -> list[object]:
    """Until it is cancelled. What each gave."""
    found = []
    try:
        while True:
            found.append(await work())
            await asyncio.sleep(rest_s)
    except asyncio.CancelledError:
        return found


async def engine_on(site: Path) -> asyncio.subprocess.Process:
    engine = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "run", str(site), stderr=asyncio.subprocess.PIPE
    )
    assert engine.stderr is not None
    async for line in engine.stderr:
        if b"started" in line:
            asyncio.ensure_future(engine.stderr.read())  # noqa: TID251, RUF006 - so that it never waits for us to read
            return engine
    raise SystemExit("the engine did not start")


async def main(old: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, others, admin = free_port(), free_port(), free_port()
        async with ReceivingPeer("AA") as peer:
            channels = {f"c{n}": OTHER.format(port=others, n=n, folder=folder) for n in range(CHANNELS - 1)}
            channels["small"] = SMALL.format(port=port, receiver=peer.address[1])
            site = make_site(folder / "site", channels, f"admin: {{port: {admin}}}\n")
            (site / "data").mkdir(exist_ok=True)
            old_store(site / "data" / "segmill.db", old)
            url = f"http://127.0.0.1:{admin}/metrics"
            rows: list[tuple[str, dict[str, float]]] = []

            async def search() -> int:
                words = ["-m", "engine", "messages", "--site", str(site), "--limit", "5", "text:nobody-has-this"]
                done = await asyncio.create_subprocess_exec(
                    sys.executable, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
                )
                assert await done.wait() == 0
                return 1

            engine = await engine_on(site)
            await load(port, "WARM")
            rows.append(("nothing else", await load(port, "ALON")))
            scraping = asyncio.ensure_future(again_and_again(lambda: asyncio.to_thread(scrape, url), 1.0))  # noqa: TID251
            rows.append(("a scrape of 200 channels each second", await load(port, "SCRA")))
            scraping.cancel()
            scrapes = await scraping
            searching = asyncio.ensure_future(again_and_again(search, 0.0))  # noqa: TID251
            rows.append((f"a search for text in {old:,} messages, again and again", await load(port, "SEAR")))
            searching.cancel()
            searches = await searching
            alone = [await asyncio.to_thread(scrape, url) for _ in range(21)]
            engine.terminate()
            await engine.wait()
            with (site / "segmill.yaml").open("a") as settings:
                settings.write("retention: {bodies: 1d}\n")
            engine = await engine_on(site)
            await load(port, "WAR2")
            while not forgotten(await asyncio.to_thread(told, url)):  # the first pass is half a minute after the start
                await asyncio.sleep(0.5)
            before = forgotten(await asyncio.to_thread(told, url))
            rows.append(("retention at work", await load(port, "RETE")))
            after = forgotten(await asyncio.to_thread(told, url))
            engine.terminate()
            await engine.wait()
    base = rows[0][1]
    for said, row in rows:
        print(
            f"{said}: p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms, longest {row['max_ms']:.0f} ms, "
            f"{row['rate']:.0f}/s; p99 {row['p99_ms'] / base['p99_ms']:.1f} times"
        )
    middle = statistics.median(took for took, _ in alone)
    print(f"scrape of {CHANNELS} channels: {middle * 1e3:.1f} ms, {alone[0][1] / 1024:.0f} kB (asked: under 50 ms)")
    print(f"{len(scrapes)} scrapes and {len(searches)} searches meanwhile")
    print(f"{after - before:,} bodies forgotten meanwhile")
    assert after > before, "retention had nothing to do: its row shows nothing; more old messages"
    bad = 0 if middle < 0.050 else 1
    for said, row in rows[1:]:
        if row["max_ms"] > max(MOST_STALL_MS, 2 * base["max_ms"]):
            print(f"a stall of {row['max_ms']:.0f} ms: {said}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else OLD)))
