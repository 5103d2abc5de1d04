"""What a start has to read and to load before ports are open does not grow with the queue (reliability.md R5)."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.runtime import recent
from engine.runtime.listener import Listener
from engine.testing.sites import make_site
from tests.runtime.engines import SiteUnderTest, channel
from tests.runtime.parts import until
from tests.runtime.test_engine import on_disk
from tests.runtime.test_reload import write

NEEDLESS = (
    "authlib",
    "engine.adapters.console",
    "engine.adapters.stores.memory",
    "httpx2",
    "jinja2",
    "opentelemetry",
    "psycopg",
    "pydicom",
    "pynetdicom",
    "rich",
)
"""What a site of MLLP and files needs neither to start nor while it runs."""
START = """\
import asyncio, json, sys
from pathlib import Path
from engine.app import Engine, load_kinds, load_site

async def main():
    engine = Engine(load_site(Path(sys.argv[1]), load_kinds(), {}), announce=lambda text: None)
    await engine.start()
    print(json.dumps([len(engine.addresses), [name for name in json.loads(sys.argv[2]) if name in sys.modules]]))
    await engine.stop()

asyncio.run(main())
"""
FILES = """\
listen: {mllp: {port: 0}}
routes: [{to: out}]
destinations: {out: {file: {folder: out}}}
"""


def test_a_start_loads_nothing_that_the_site_does_not_use(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", {"adt": FILES}, "admin: off\n")
    done = subprocess.run(
        [sys.executable, "-c", START, str(site), json.dumps(NEEDLESS)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [1, []]


async def test_of_more_ids_than_can_be_remembered_none_is_read(tmp_path: Path, adt, monkeypatch) -> None:
    monkeypatch.setattr(recent, "MOST_REMEMBERED", 3)
    site = on_disk(tmp_path)
    async with site.running():
        wire = await site.wire()
        for n in range(4):
            await wire.send(adt(control_id=f"A{n}"))
            await wire.answer()
    asked: list[int] = []
    monkeypatch.setattr(SqliteStore, "recent_ids", lambda self, since_us, limit: asked.append(limit))
    async with site.running() as engine:
        assert asked == []
        assert engine._assembly is not None and not engine._assembly.recent.is_complete
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await wire.answer()
        assert len(list(engine._queries.messages())) == 4, "the store knows it"


class TestOrphans:
    @pytest.fixture
    def counted(self, site, monkeypatch) -> list[int]:
        """How often all that waits was counted."""
        counts: list[int] = []
        queries = site.store.queries

        def watched() -> object:
            found = queries()
            depths = found.depths
            found.depths = lambda: counts.append(1) or depths()
            return found

        monkeypatch.setattr(site.store, "queries", watched)
        return counts

    @pytest.fixture
    def site(self, tmp_path: Path) -> SiteUnderTest:
        return SiteUnderTest(tmp_path / "site", {"adt": channel()})

    async def test_a_queue_is_counted_behind_the_start_where_all_lanes_are_there(
        self, site, counted, adt, monkeypatch
    ) -> None:
        before: list[int] = []
        listen = Listener.start

        async def listening(self: Listener, *given: Any, **named: Any) -> Any:
            before.append(len(counted))
            return await listen(self, *given, **named)

        monkeypatch.setattr(Listener, "start", listening)
        for runs in (1, 2):
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1"))
                await wire.answer()
                await until(lambda expected=runs: len(counted) >= expected)
            assert len(before) == runs and before[-1] <= runs - 1
            counted[:] = [1] * runs

    async def test_what_waits_for_a_lane_that_is_gone_is_told(self, site, counted, adt, caplog) -> None:
        site.kept.sinks["adt/out"].gate.clear()
        async with site.running(deadline_s=0.2):
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await wire.answer()
        write(site, "adt", channel(routes="[{to: other}]", destinations="{other: {kept: {}}}"))
        with caplog.at_level(logging.WARNING):
            async with site.running():
                pass
        assert counted and "1 deliveries wait for adt/out, which the site's files no longer have" in caplog.text
