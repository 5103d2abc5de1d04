"""A large block is looked at in turns: others are served in between, and what comes of it is as ever."""

import hashlib
from pathlib import Path

import pytest

from engine.runtime import large
from tests.runtime.engines import SiteUnderTest, channel, msa
from tests.runtime.parts import until

SIZE = 2000


@pytest.fixture(autouse=True)
def _small_sizes(monkeypatch) -> None:
    monkeypatch.setattr("engine.runtime.intake.LARGE_BYTES", SIZE)
    monkeypatch.setattr(large, "TURN_BYTES", 10)


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel()})


@pytest.fixture
def document(adt):
    def made(control_id: str, size: int = SIZE) -> bytes:
        return adt(control_id=control_id) + b"OBX|1|ED|PDF||" + b"A" * size + b"\r"

    return made


class TestTurns:
    async def test_other_senders_are_served_in_between(self, site, adt, document) -> None:
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            await wire.send(document("L", 100_000))
            await until(lambda: site.engine._receivers[0]._batches.running)
            for number in range(3):
                await other.send(adt(control_id=f"S{number}"))
                assert msa(await other.answer()) == ("AA", f"S{number}")
            assert [m.control_id for m in site.messages()] == ["S0", "S1", "S2"], "10,000 turns are not over yet"
            assert msa(await wire.answer()) == ("AA", "L")

    async def test_a_turn_looks_at_no_more_than_its_share(self, document) -> None:
        payload = document("L", 5000)
        seen = large.Seen("utf-8")
        turns = sum(1 for _ in seen.look(payload))
        assert turns >= len(payload) // 10
        assert seen.body_hash == hashlib.blake2b(payload, digest_size=16).digest()

    async def test_it_is_read_as_the_port_is_set_when_it_is_taken(self, document) -> None:
        payload = document("L").replace(b"OBX|1|", b"NTE|1||\xe4\rOBX|1|")
        for fallback, text in (("iso8859-5", "ф"), ("cp1252", "ä")):
            seen = large.Seen("cp1252")
            for _ in seen.look(payload):
                pass
            assert seen.message(fallback).get("NTE-3") == text

    async def test_what_is_small_is_taken_at_once(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="S"))
            assert msa(await wire.answer()) == ("AA", "S")
            assert not site.engine._receivers[0]._batches.running


class TestOrder:
    async def test_what_comes_behind_it_on_its_connection_waits(self, site, adt, document) -> None:
        batch = b"BHS|^~\\&|HIS\r" + adt(control_id="B1") + document("B2") + b"BTS|2\r"
        sent = [adt(control_id="S1"), document("L1"), adt(control_id="S2"), document("L2"), batch, document("L3")]
        async with site.running():
            wire = await site.wire()
            await wire.send(*sent, adt(control_id="S3"))
            answers = await wire.answers(7)
            told = [[line[7:].decode() for line in answer.split(b"\r") if line[:3] == b"MSA"] for answer in answers]
            assert told == [["S1"], ["L1"], ["S2"], ["L2"], ["B1", "B2"], ["L3"], ["S3"]]
            expected = ["S1", "L1", "S2", "L2", "B1", "B2", "L3", "S3"]
            assert [m.control_id for m in site.messages()] == expected
            bodies = await site.delivered("adt/out", 8)
            assert [body.split(b"|")[9].decode() for body in bodies] == expected
            assert not site.engine._receivers[0]._batches.running

    async def test_what_is_too_long_behind_it_waits_too(self, tmp_path, adt, document) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": channel(port="{port: 0, max_message: 4000}")})
        async with site.running():
            wire = await site.wire()
            await wire.send(document("L"), document("X", 5000), adt(control_id="S"))
            assert [msa(answer) for answer in await wire.answers(3)] == [("AA", "L"), ("AE", "X"), ("AA", "S")]

    async def test_sent_again_meanwhile_it_is_one_message(self, site, document) -> None:
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            await wire.send(document("L"), document("L"))
            await other.send(document("L"))
            told = [*(await wire.answers(2)), await other.answer()]
            assert [msa(answer) for answer in told] == [("AA", "L")] * 3
            assert len(site.messages()) == 1


class TestEnds:
    async def test_what_cannot_be_read_is_refused_and_kept(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(b"garbage " * 500, adt(control_id="S"))
            first, second = await wire.answers(2)
            assert b"MSA|AR|" in first and msa(second) == ("AA", "S")
            assert site.states() == ["rejected", "processed"]

    async def test_cut_off_by_us_it_is_not_taken(self, site, adt, document) -> None:
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            await wire.send(document("L", 100_000))
            batches = site.engine._receivers[0]._batches
            await until(lambda: batches.running)
            next(iter(batches.running)).abort()
            await until(lambda: not batches.running)
            await other.send(adt(control_id="S"))
            assert msa(await other.answer()) == ("AA", "S")
            assert [m.control_id for m in site.messages()] == ["S"]

    async def test_a_defect_costs_its_own_connection_alone(self, site, adt, document, monkeypatch, caplog) -> None:
        def defect(*_: object) -> bool:
            raise KeyError("a defect")

        monkeypatch.setattr(large, "may_be_several", defect)
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            await wire.send(document("L"), adt(control_id="S1"))
            assert await wire.rest() == b""
            await other.send(adt(control_id="S2"))
            assert msa(await other.answer()) == ("AA", "S2")
            assert [m.control_id for m in site.messages()] == ["S2"]
        assert "a large block is given up" in caplog.text and "KeyError" in caplog.text

    async def test_a_stop_answers_what_has_been_read(self, site, document) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(document("L", 20_000))
            await until(lambda: site.engine._receivers[0]._batches.running)
            await site.engine.stop(deadline_s=30)
            assert msa(await wire.answer()) == ("AA", "L")
