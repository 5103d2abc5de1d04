"""What operating the engine costs its senders: their answers while it is scraped, forgets, and is searched.

One engine with 200 channels and so many messages of two years ago in its store, 8 senders of 1 kB ADT. Two ways to load
it. On a schedule, so many messages a second whatever the engine does, latency counted from the moment each was due (no
coordinated omission): 1,000/s is about the peak of a large hospital. And saturated: each sender waits for its answer
and sends the next at once, so that both cores are full, of the load as much as of the engine; what takes a tenth of the
machine then shows as that tenth, whoever takes it.

Each operation takes turns with the phase without any, on the same engine; a round begins with a new copy of the store.
Of the rounds the median of each figure is shown, and how far the rounds of it lie apart, which is the noise. The bare
server, which parses and stores nothing, shows what of a figure is the machine and the load generator.

`python tests/bench/bench_operations.py [OLD MESSAGES] [--rates 1000,200] [--messages 10000] [--rounds 3] [--only WHAT]`
"""

import argparse
import asyncio
import json
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from engine.adapters.search_pages import older_page  # noqa: E402
from engine.adapters.stores.queries import SqliteQueries  # noqa: E402
from engine.adapters.stores.sqlite import SqliteStore  # noqa: E402
from engine.config.search import parse_search  # noqa: E402
from engine.config.search_keys import DeclaredKeys  # noqa: E402
from engine.model.envelope import Batch  # noqa: E402
from engine.ports.clock import from_us  # noqa: E402
from engine.testing.sites import make_site  # noqa: E402
from tests.bench.bench_search import BATCH, batch_of  # noqa: E402
from tests.ports import free_port  # noqa: E402

LOAD = Path(__file__).with_name("load.py")
SENDERS, CHANNELS, OLD, MESSAGES, ROUNDS = 8, 200, 200_000, 10_000, 3
RATES = "1000,200"
MOST_STALL_MS = 100.0
MOST_SCRAPE_S = 0.050
MOST_TIMES, MOST_MORE_MS = 1.25, 1.0
"""On a schedule an operation may lengthen p99 by this factor, or by so much."""
MOST_TIMES_SATURATED = 1.5
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
TEXT = "nobody-has-this"
NOTHING, SCRAPE, COMMAND, CONSOLE, RETENTION = "nothing", "scrape", "command", "console", "retention"
SAID = {
    NOTHING: "nothing else",
    SCRAPE: f"a scrape of {CHANNELS} channels each second",
    COMMAND: "a search for a text by the command, again and again, each with its start and its reading of the site",
    CONSOLE: "a search for a text as the console does it, again and again",
    RETENTION: "retention at work",
}
Row = dict[str, float]


async def run(*words: str, **more: int | None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, *words, **more)  # type: ignore[arg-type]


async def load(port: int, tag: str, rate: float | None, count: int) -> Row:
    role = ["senders"] if rate is None else ["schedule", "--rate", str(rate)]
    words = [*role, "--port", str(port), "--connections", str(SENDERS), "--count", str(count), "--tag", tag]
    done = await run(str(LOAD), *words, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    found: Row = json.loads(out)
    assert not found["refused"], "answers that are not positive"
    return found


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


def forgotten(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        metrics = str(answer.read(), "utf-8")
    found = re.search(r'^segmill_retention_pruned_total\{what="bodies"\} ([0-9.e+]+)$', metrics, re.M)
    return int(float(found[1])) if found else 0


async def again_and_again(work: Callable[[], Awaitable[object]], rest_s: float) -> list[object]:
    """Until it is cancelled. What each gave."""
    found = []
    with suppress(asyncio.CancelledError):
        while True:
            found.append(await work())
            await asyncio.sleep(rest_s)
    return found


def engine_that_searches(site: str) -> None:
    """The engine, with a thread beside it that searches as the console's page of messages does, while it is told to."""
    from engine.__main__ import main as segmill

    is_wanted = threading.Event()
    searches = 0

    def told() -> None:
        for line in sys.stdin:
            if line.strip() == "search":
                is_wanted.set()
            else:
                is_wanted.clear()
                print(searches, flush=True)

    def search() -> None:
        nonlocal searches
        queries = SqliteQueries(Path(site) / "data" / "segmill.db")
        search = parse_search(f"text:{TEXT}", (), from_us(time.time_ns() // 1000))
        while is_wanted.wait():
            older_page(queries, search, (), None, None, 50, lambda: not is_wanted.is_set())
            searches += 1

    for work in (told, search):
        threading.Thread(target=work, daemon=True).start()
    sys.argv = ["segmill", "run", site]
    segmill()


@dataclass(slots=True)
class Rig:
    """Where it all is, and what was measured: rows by (rate, operation), and what was done meanwhile."""

    folder: Path
    site: Path
    port: int
    admin: int
    rows: dict[tuple[float | None, str], list[Row]] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    scrapes: list[tuple[float, int]] = field(default_factory=list)
    spent: int = 0
    """Phases in which retention came to the end of what is old."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.admin}/metrics"

    def did(self, what: str, count: int) -> None:
        self.done[what] = self.done.get(what, 0) + count


@asynccontextmanager
async def engine_on(rig: Rig) -> AsyncIterator[asyncio.subprocess.Process]:
    """On a new copy of the old store."""
    data = rig.site / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    shutil.copy(rig.folder / "old.db", data / "segmill.db")
    words = (__file__, "--engine", str(rig.site))
    pipe = asyncio.subprocess.PIPE
    engine = await run(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    assert engine.stderr is not None
    try:
        async for line in engine.stderr:
            if b"started" in line:
                break
        else:
            raise SystemExit("the engine did not start")
        reading = asyncio.ensure_future(engine.stderr.read())  # noqa: TID251 - so that it never waits for us to read
        yield engine
    finally:
        if engine.returncode is None:
            engine.terminate()
        await engine.wait()
    await reading


async def segmill(*words: str) -> None:
    null = asyncio.subprocess.DEVNULL
    done = await run("-m", "engine", *words, stdout=null, stderr=null)
    try:
        assert await done.wait() == 0, words
    finally:
        if done.returncode is None:  # the phase is over, and the next is to be without it
            done.kill()
            await done.wait()


@asynccontextmanager
async def beside(rig: Rig, what: str, engine: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """An operation that goes on meanwhile."""

    async def by_command() -> None:
        await segmill("messages", "--site", str(rig.site), "--limit", "5", f"text:{TEXT}")

    async def scraped() -> None:
        rig.scrapes.append(await asyncio.to_thread(scrape, rig.url))

    if what in (SCRAPE, COMMAND):
        work, rest_s = (scraped, 1.0) if what == SCRAPE else (by_command, 0.0)
        again = asyncio.ensure_future(again_and_again(work, rest_s))  # noqa: TID251
        yield
        again.cancel()
        rig.did(what, len(await again))
    elif what == CONSOLE:
        assert engine.stdin is not None and engine.stdout is not None
        engine.stdin.write(b"search\n")
        yield
        engine.stdin.write(b"rest\n")
        rig.did(what, int(await engine.stdout.readline()))
    elif what == RETENTION:
        settings = rig.site / "segmill.yaml"
        before = settings.read_text()
        settings.write_text(f"{before}retention: {{bodies: 1d}}\n")
        await segmill("reload", str(rig.site))
        await segmill("retention", "--confirm", "--site", str(rig.site))  # and so at once
        while not (first := await asyncio.to_thread(forgotten, rig.url)):
            await asyncio.sleep(0.1)
        yield
        last = await asyncio.to_thread(forgotten, rig.url)
        await asyncio.sleep(0.5)
        rig.spent += await asyncio.to_thread(forgotten, rig.url) == last
        rig.did(what, last - first)
        settings.write_text(before)
    else:
        yield


async def one_round(rig: Rig, rate: float | None, count: int, operations: Sequence[str]) -> None:
    async with engine_on(rig) as engine:
        await load(rig.port, "WARM", None, 2000)
        for number, what in enumerate(operations):
            async with beside(rig, what, engine):
                row = await load(rig.port, f"P{number:03d}", rate, count)
            rig.rows.setdefault((rate, what), []).append(row)


async def bare_rows(rates: Sequence[float | None], count: int) -> None:
    bare = await run(str(LOAD), "bare", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert bare.stdin is not None and bare.stdout is not None
    (port,) = json.loads(await bare.stdout.readline())
    for rate in rates:
        row = await load(port, "BARE", rate, count)
        late = f", the generator late by {row['late_p99_ms']:.2f} ms at p99" if rate is not None else ""
        print(f"bare server, {name_of(rate)}: {figures(row)}{late}", flush=True)
    bare.stdin.close()
    await bare.wait()


def name_of(rate: float | None) -> str:
    return "saturated" if rate is None else f"{rate:,.0f}/s on a schedule"


def figures(row: Row) -> str:
    return (
        f"p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f}, p99.9 {row['p999_ms']:.2f}, "
        f"longest {row['max_ms']:.0f}, {row['rate']:,.0f}/s"
    )


def report(rig: Rig, rates: Sequence[float | None], operations: Sequence[str]) -> int:
    bad = 0
    for rate in rates:
        print(f"\n{name_of(rate)}, medians of {len(rig.rows[rate, NOTHING])} rounds:")
        base = rig.rows[rate, NOTHING]
        base_p99 = statistics.median(row["p99_ms"] for row in base)
        for what in operations:
            rows = rig.rows[rate, what]
            middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
            p99s = sorted(row["p99_ms"] for row in rows)
            times, more = middle["p99_ms"] / base_p99, middle["p99_ms"] - base_p99
            spread = f"p99 of the rounds {p99s[0]:.2f} to {p99s[-1]:.2f}"
            compared = "" if what == NOTHING else f"; p99 {times:.2f} times, {more:+.2f} ms"
            print(f"  {SAID[what]}: {figures(middle)} ({spread}){compared}")
            if what == NOTHING:
                continue
            is_over = times > MOST_TIMES and more > MOST_MORE_MS if rate else times > MOST_TIMES_SATURATED
            longest = middle["max_ms"]
            if longest > max(MOST_STALL_MS, 2 * statistics.median(row["max_ms"] for row in base)):
                print(f"    a stall of {longest:.0f} ms")
                is_over = True
            if is_over:
                print("    more than it may cost")
                bad = 1
    return bad


async def main(args: argparse.Namespace) -> int:
    rates: list[float | None] = [float(rate) for rate in args.rates.split(",") if rate]
    if not args.no_saturated:
        rates.append(None)
    operations = [NOTHING, *(what for what in SAID if what != NOTHING and (not args.only or what in args.only))]
    await bare_rows(rates, min(args.messages, 5000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        others, port, admin = free_port(), free_port(), free_port()
        receivers = await run(
            str(LOAD), "receivers", "--connections", "1", "--count", str(1 << 40), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert receivers.stdout is not None
            (receiver,) = json.loads(await receivers.stdout.readline())
            channels = {f"c{n}": OTHER.format(port=others, n=n, folder=folder) for n in range(CHANNELS - 1)}
            channels["small"] = SMALL.format(port=port, receiver=receiver)
            rig = Rig(folder, make_site(folder / "site", channels, f"admin: {{port: {admin}}}\n"), port, admin)
            old_store(folder / "old.db", args.old)
            for rate in rates:
                for _ in range(args.rounds):
                    await one_round(rig, rate, args.messages, operations)
            bad = report(rig, rates, operations)
            if SCRAPE in operations:
                async with engine_on(rig):
                    await load(port, "WARM", None, 2000)
                    alone = []
                    for _ in range(9):
                        await asyncio.sleep(1.0)  # asked again at once, it gives the page that it has
                        alone.append(await asyncio.to_thread(scrape, rig.url))
                middle = statistics.median(took for took, _ in alone)
                meanwhile = statistics.median(took for took, _ in rig.scrapes)
                print(
                    f"\nscrape of {CHANNELS} channels: {middle * 1e3:.1f} ms, {alone[0][1] / 1024:.0f} kB; "
                    f"beside the load {meanwhile * 1e3:.1f} ms (asked: under {MOST_SCRAPE_S * 1e3:.0f} ms)"
                )
                bad |= middle > MOST_SCRAPE_S
        finally:
            receivers.terminate()
            await receivers.wait()
    print("meanwhile: " + ", ".join(f"{what} {count:,}" for what, count in rig.done.items()))
    if rig.spent:
        print(f"in {rig.spent} phases retention came to its end: more old messages would show more")
    return int(bad)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=int, nargs="?", default=OLD)
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", choices=[what for what in SAID if what != NOTHING])
    parser.add_argument("--no-saturated", action="store_true")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine:
        engine_that_searches(asked.engine)
    else:
        sys.exit(asyncio.run(main(asked)))
