"""A channel that joins fragments no more, and one that does so again, whatever else goes on at that moment."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.model.envelope import Batch, Committed, Delivery, Reprocessed
from engine.model.ids import MessageSeq
from engine.model.states import IllegalMove
from engine.ports.store import StoreError, StoreFull
from engine.runtime import joining
from engine.testing.messages import adt
from tests.runtime.engines import SiteUnderTest, channel
from tests.runtime.parts import until
from tests.runtime.test_fragments import JOIN, cut, enhanced
from tests.runtime.test_reload import reload, remove, write


@pytest.fixture
def site(tmp_path: Path, clock) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(more=JOIN), "other": channel(accept="ORM^*")}, clock=clock)


async def first_of_two(site: SiteUnderTest) -> None:
    wire = await site.wire()
    await wire.send(cut(enhanced(adt), 2)[0])
    await wire.answer()


class TestNoRoom:
    @pytest.fixture
    def full(self, site, monkeypatch) -> list[bool]:
        """Whether the store takes no change of what it has; how often it was asked, behind that."""
        state, commit = [True], site.store.commit

        def committing(batch: Batch) -> Committed:
            if batch.reprocessed and state[0]:
                state.append(True)
                raise StoreFull("no room")
            return commit(batch)

        monkeypatch.setattr(joining, "STORE_RETRY_S", 0.01)
        monkeypatch.setattr(site.store, "commit", committing)
        return state

    async def test_a_store_without_room_has_them_held_when_there_is_room_again(self, site, full) -> None:
        async with site.running():
            await first_of_two(site)
            write(site, "adt", channel())
            await reload(site)
            await until(lambda: len(full) > 2)
            assert site.states() == ["waiting"]
            full[0] = False
            await until(lambda: site.states() == ["held"])

    async def test_so_it_is_at_a_start(self, site, full) -> None:
        async with site.running():
            await first_of_two(site)
        write(site, "adt", channel())
        async with site.running():
            await until(lambda: len(full) > 2)
            full[0] = False
            await until(lambda: site.states() == ["held"])

    async def test_a_channel_that_leaves_waits_for_that(self, site, full) -> None:
        async with site.running() as engine:
            await first_of_two(site)
            remove(site, "adt")
            await reload(site)
            await until(lambda: len(full) > 2)
            assert engine._assembly is not None and "adt" in engine._assembly.leaving
            full[0] = False
            await until(lambda: not engine._assembly.leaving)
            assert site.states() == ["held"]

    async def test_files_that_join_again_by_then_take_them_up(self, site, full) -> None:
        async with site.running():
            await first_of_two(site)
            write(site, "adt", channel())
            await reload(site)
            await until(lambda: len(full) > 2)
            write(site, "adt", channel(more=JOIN))
            await reload(site)
            await until(lambda: not site.running_channel().has_left_over)
            full[0] = False
            wire = await site.wire()
            await wire.send(cut(enhanced(adt), 2)[1])
            assert len(await wire.answers(2)) == 2
            assert site.states() == ["joined", "joined", "processed"]


class TestAStoreThatCannotSay:
    @pytest.fixture
    def unreadable(self, monkeypatch) -> list[bool]:
        """Whether the store cannot be read; how often it was asked then, behind that."""
        state = [False]
        parts = joining.waiting_parts

        def reading(*asked: Any) -> Any:
            if state[0]:
                state.append(True)
                raise StoreError("the store cannot be read (SQLITE_IOERR_READ)")
            return parts(*asked)

        monkeypatch.setattr(joining, "STORE_RETRY_S", 0.01)
        monkeypatch.setattr(joining, "waiting_parts", reading)
        return state

    async def test_it_is_asked_again_until_they_are_held_and_said_once(self, site, unreadable, caplog) -> None:
        async with site.running():
            await first_of_two(site)
            unreadable[0] = True
            write(site, "adt", channel())
            await reload(site)
            await until(lambda: len(unreadable) > 3)
            assert site.states() == ["waiting"] and site.running_channel().has_left_over
            unreadable[0] = False
            await until(lambda: site.states() == ["held"] and not site.running_channel().has_left_over)
        said = [r for r in caplog.records if "adt: fragments that it joins no more are held later" in r.getMessage()]
        assert [r.levelname for r in said] == ["ERROR"] and "SQLITE_IOERR_READ" in said[0].getMessage()

    async def test_a_channel_that_leaves_waits_for_that(self, site, unreadable) -> None:
        async with site.running() as engine:
            await first_of_two(site)
            unreadable[0] = True
            remove(site, "adt")
            await reload(site)
            await until(lambda: len(unreadable) > 2)
            assert engine._assembly is not None and "adt" in engine._assembly.leaving
            unreadable[0] = False
            await until(lambda: not engine._assembly.leaving)
            assert site.states() == ["held"]

    @pytest.mark.parametrize("error", [IllegalMove("moved by a person"), ValueError("not to be held")])
    async def test_one_that_cannot_be_held_does_not_keep_the_others_waiting(self, site, monkeypatch, error) -> None:
        commit, first = site.store.commit, [MessageSeq(1)]

        def committing(batch: Batch) -> Committed:
            if any(item.seq in first for item in batch.reprocessed):
                raise error
            return commit(batch)

        monkeypatch.setattr(site.store, "commit", committing)
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(*cut(enhanced(adt), 3)[:2])
            await wire.answers(2)
            remove(site, "adt")
            await reload(site)
            await until(lambda: engine._assembly is not None and not engine._assembly.leaving)
            assert site.states() == ["waiting", "held"]


async def test_files_that_join_again_while_the_last_ones_are_being_held_are_not_undone_by_that(
    site, monkeypatch
) -> None:
    async with site.running() as engine:
        await first_of_two(site)
        committer, gate, asked = engine._committer, asyncio.Event(), []
        assert committer is not None
        reprocess = committer.reprocess

        def slow(item: Reprocessed) -> "asyncio.Future[list[Delivery]]":
            async def later() -> list[Delivery]:
                await gate.wait()
                return await reprocess(item)

            asked.append(item)
            return engine._tasks.spawn(later(), "held later")

        monkeypatch.setattr(committer, "reprocess", slow)
        write(site, "adt", channel())
        await reload(site)
        await until(lambda: asked)
        write(site, "adt", channel(more=JOIN))
        await reload(site)
        gate.set()
        await until(lambda: site.states() == ["held"])
        wire = await site.wire()
        await wire.send(*cut(enhanced(adt, control_id="G1"), 2, prefix="G"))
        assert len(await wire.answers(3)) == 3
        assert site.states()[1:] == ["joined", "joined", "processed"]
