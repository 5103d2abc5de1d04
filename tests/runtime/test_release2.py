"""MLLP Release 2 on a port: every block is committed once it is kept, or said not to be."""

import asyncio
from pathlib import Path

import pytest

from engine.model.outcome import Delivered
from engine.ports.store import StoreFull
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, msa
from tests.runtime.parts import until

ACK = b"\x0b\x06\x1c\r"
NAK = b"\x0b\x15\x1c\r"


def site_of(tmp_path: Path, port: str = "{port: 0, release: 2}", **options) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(port=port, **options)}, MEMORY)


async def next_block(wire, within_s: float = 5.0) -> bytes:
    return await asyncio.wait_for(wire.reader.readuntil(b"\x1c\r"), within_s)


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return site_of(tmp_path)


class TestCommits:
    async def test_a_block_is_committed_after_it_is_stored_and_before_its_answer(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire = await site.wire()
            with site.store.commits_held():
                await wire.send(adt(control_id="A1"))
                await until(lambda: len(site.store.batches) == 2)
                assert await wire.is_silent()
            assert await next_block(wire) == ACK
            assert msa(await wire.answer()) == ("AA", "A1")

    async def test_what_cannot_be_kept_is_refused_and_taken_when_it_comes_again(self, site, adt) -> None:
        async with site.running():
            site.store.fail_next(StoreFull("full"))
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await next_block(wire) == NAK
            assert await wire.is_silent(), "no answer to what is to be sent again"
            await wire.send(adt(control_id="A1"))
            assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", "A1")]

    async def test_a_block_that_is_written_again_is_committed_again_and_processed_once(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            for _ in range(3):
                await wire.send(adt(control_id="A1"))
                assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", "A1")]
            assert len(site.messages()) == 1 and len(await site.delivered("adt/out", 1)) == 1

    async def test_a_message_that_asks_for_no_answer_is_committed_all_the_same(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="NE", application_ack="NE"))
            assert await next_block(wire) == ACK
            assert await wire.is_silent()

    @pytest.mark.parametrize("payload", [b"no message", b"MSH|^~\\&|A|B|C|D|20260101||ZZZ^Z01|1|P|2.5.1\r"])
    async def test_what_is_refused_for_good_is_kept_and_committed(self, site, payload) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(payload)
            assert await next_block(wire) == ACK
            assert b"MSA|AR|" in await wire.answer()
            assert site.states() == ["rejected"]

    async def test_a_batch_is_one_block_with_one_commit(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(b"BHS|^~\\&\r" + adt(control_id="A1") + adt(control_id="A2") + b"BTS|2\r")
            assert await next_block(wire) == ACK
            assert (await wire.answer()).count(b"MSA|AA") == 2
            site.store.fail_next(StoreFull("full"))
            await wire.send(b"BHS|^~\\&\r" + adt(control_id="B1") + adt(control_id="B2") + b"BTS|2\r")
            assert await next_block(wire) == NAK

    async def test_the_commit_does_not_wait_for_a_destinations_answer(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, more="ack: {when: delivered(out)}")
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        sink.script[:] = [Delivered()]
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await next_block(wire) == ACK
            assert await wire.is_silent()
            sink.gate.set()
            assert msa(await wire.answer()) == ("AA", "A1")

    async def test_a_port_of_release_1_sends_no_such_block(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "{port: 0}")
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")


class TestOurAnswers:
    async def test_commits_of_our_answers_are_read_and_passed_over(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            for number, commit in enumerate((ACK, NAK, b"")):
                await wire.send(adt(control_id=f"A{number}"))
                assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", f"A{number}")]
                await wire.raw(commit)
            assert len(site.messages()) == 3


STRICT = "{port: 0, release: 2, answers_committed: require, commit_timeout: 150ms, commit_retries: 2}"


class TestRequired:
    async def test_one_answer_is_under_way_at_a_time(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, STRICT.replace("150ms", "20s"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            blocks = [await next_block(wire) for _ in range(3)]
            assert sorted(blocks, key=len)[:2] == [ACK, ACK]
            assert msa(max(blocks, key=len)[1:-2]) == ("AA", "A1")
            assert await wire.is_silent()
            await wire.raw(ACK)
            assert msa(await wire.answer()) == ("AA", "A2")
            await wire.raw(ACK)
            await wire.raw(ACK)  # one too many
            await wire.send(adt(control_id="A3"))
            assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", "A3")]

    async def test_an_answer_that_is_refused_or_not_committed_is_written_again(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, STRICT)
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await next_block(wire) == ACK
            first = await wire.answer()
            await wire.raw(NAK)
            assert await wire.answer() == first
            assert await wire.answer() == first, "no commit in time"
            await wire.raw(ACK)
            await wire.send(adt(control_id="A2"))
            assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", "A2")]

    async def test_a_sender_that_never_commits_is_hung_up_on_and_gets_the_answer_when_it_comes_again(
        self, tmp_path, adt
    ) -> None:
        site = site_of(tmp_path, STRICT)
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await next_block(wire) == ACK
            said = [await wire.answer() for _ in range(3)]
            assert len(set(said)) == 1
            assert await wire.rest() == b""
            again = await site.wire()
            await again.send(adt(control_id="A1"))
            assert [await next_block(again), await again.answer()] == [ACK, said[0]]
            assert len(site.messages()) == 1

    async def test_while_we_do_not_read_no_commit_is_late(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, STRICT)
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", "A1")]
            (connection,) = engine._listeners[0]._connections
            connection.hold()  # a channel that cannot keep up, or a full room
            await wire.raw(ACK)
            await asyncio.sleep(0.8)
            assert await wire.is_silent(), "the commit is in the network, and it is we who let it lie there"
            connection.let_go()
            await wire.send(adt(control_id="A2"))
            assert [await next_block(wire), msa(await wire.answer())] == [ACK, ("AA", "A2")]

    async def test_a_sender_that_will_send_no_more_gets_all_answers(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, STRICT.replace("150ms", "20s"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            wire.end()
            rest = await wire.rest()
            assert rest.count(ACK) == 2 and rest.count(b"MSA|AA|A") == 2

    async def test_a_stop_does_not_wait_for_commits(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, STRICT.replace("150ms", "20s"))
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            await until(lambda: len(site.messages()) == 2)
            await engine.stop(deadline_s=5)
            assert (await wire.rest()).count(b"MSA|AA|A") == 2
