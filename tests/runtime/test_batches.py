"""Batches: each member for itself, one answer for all, in slices, in order, and resumed after a crash."""

import asyncio
from pathlib import Path

import pytest

from engine.model.finding import load_findings
from engine.ports.store import CommitUnknown, StoreFull
from engine.runtime import batch as module
from tests.ports import free_port
from tests.runtime.engines import SiteUnderTest, channel, codes, err, isolate, msa
from tests.runtime.parts import turns, until


def site_of(tmp_path: Path, batch: str = "", **more) -> SiteUnderTest:
    port = "{port: 0}" if not batch else f"{{port: 0, batch: {batch}}}"
    return SiteUnderTest(tmp_path / "site", {"adt": channel(port=port, **more)})


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return site_of(tmp_path)


def header(name: str, own: str) -> bytes:
    return f"{name}|^~\\&|HIS|NORTH|SEGMILL|NORTH|20260102||||{own}\r".encode()


def batch(messages: list[bytes], own: str = "B1", count: int | None = None) -> bytes:
    return header("BHS", own) + b"".join(messages) + f"BTS|{len(messages) if count is None else count}\r".encode()


def parts(answer: bytes) -> list[str]:
    """The names of the answer's segments, MSA with its code and id, BTS and FTS with their counts."""
    told = []
    for line in answer.decode().split("\r")[:-1]:
        fields = line.split("|")
        told.append(
            "|".join(fields[:3]) if fields[0] == "MSA" else "|".join(fields[:2]) if "TS" in fields[0] else fields[0]
        )
    return told


class TestAnswers:
    async def test_every_batch_of_a_file_has_its_own(self, site, adt, oru) -> None:
        raw = (
            header("FHS", "F1") + batch([adt(control_id="1")]) + batch([oru(control_id="2"), adt(control_id="3")], "B2")
        )
        async with site.running():
            wire = await site.wire()
            await wire.send(raw + b"FTS|2\r")
            answer = await wire.answer()
            assert parts(answer) == [
                "FHS", "BHS", "MSH", "MSA|AA|1", "BTS|1",
                "BHS", "MSH", "MSA|AR|2", "ERR", "MSH", "MSA|AA|3", "BTS|2", "FTS|2",
            ]  # fmt: skip
            ids = [line.split(b"|")[10:] for line in answer.split(b"\r") if line[1:3] == b"HS"]
            assert [reference for _, reference in ids] == [b"F1", b"B1", b"B2"]
            assert len({own for own, _ in ids}) == 3

    async def test_a_trailer_without_its_header_is_no_part_of_the_last_message(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="1") + b"BTS|1\r")
            assert msa(await wire.answer()) == ("AA", "1")
            (message,) = site.messages()
            assert b"BTS" not in message.raw

    async def test_members_that_nobody_can_take_have_their_answer_in_their_place(self, site, adt, oru) -> None:
        members = [adt(control_id="1"), b"MSH1|broken\r", adt(control_id="")[:-1] + b"\r", oru(control_id="4")]
        members[1] = b'MSH"^~\\&"A\r'
        async with site.running():
            wire = await site.wire()
            await wire.send(batch([*members, adt(control_id="5")]))
            answer = await wire.answer()
            told = [part for part in parts(answer) if part.startswith(("MSA", "BTS"))]
            assert told == ["MSA|AA|1", "MSA|AR|", "MSA|AR|", "MSA|AR|4", "MSA|AA|5", "BTS|5"]
            assert site.states() == ["processed", "rejected", "rejected", "rejected", "processed"]

    async def test_two_answers_to_a_member_are_both_in_it(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(batch([adt(control_id="1", accept_ack="AL", application_ack="AL"), adt(control_id="2")]))
            assert parts(await wire.answer()) == [
                "BHS", "MSH", "MSA|CA|1", "MSH", "MSA|AA|1", "MSH", "MSA|AA|2", "BTS|3",
            ]  # fmt: skip

    async def test_a_member_that_is_owed_nothing_has_nothing_in_it(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(batch([adt(control_id="1", accept_ack="NE", application_ack="NE"), adt(control_id="2")]))
            assert parts(await wire.answer()) == ["BHS", "MSH", "MSA|AA|2", "BTS|1"]

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ("all", ["BHS", "MSH", "MSA|AA|1", "MSH", "MSA|AR|2", "ERR", "BTS|2"]),
            ("errors", ["BHS", "MSH", "MSA|AR|2", "ERR", "BTS|1"]),
            ("report", ["BHS", "BTS|0"]),
        ],
    )
    async def test_a_port_answers_with_what_it_is_set_to(self, tmp_path, adt, oru, answer, told) -> None:
        site = site_of(tmp_path, f"{{answer: {answer}}}")
        async with site.running():
            wire = await site.wire()
            await wire.send(batch([adt(control_id="1"), oru(control_id="2")]))
            found = await wire.answer()
            assert parts(found) == told
            assert (b"2 messages: 1 accepted, 1 refused" in found) == (answer == "report")

    async def test_a_batch_of_errors_may_be_empty(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "{answer: errors}")
        async with site.running():
            wire = await site.wire()
            await wire.send(batch([adt(control_id="1")]))
            assert parts(await wire.answer()) == ["BHS", "BTS|0"]

    async def test_without_a_header_one_answer_may_stand_for_all(self, tmp_path, adt, oru) -> None:
        """The first that says no: a sender that looks at one answer must not take a refusal for a yes."""
        site = site_of(tmp_path, "{without_header: one}")
        async with site.running():
            wire = await site.wire()
            await wire.send(
                adt(control_id="1") + adt(control_id="2"),
                adt(control_id="3") + oru(control_id="4") + oru(control_id="5"),
                adt(control_id="END"),
            )
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "1"), ("AR", "4"), ("AA", "END")]

    async def test_channels_of_a_port_share_a_batch_and_its_answer_waits_for_all(self, tmp_path, adt, oru) -> None:
        port = "{port: 25799}"
        files = {"adt": channel(port=port), "lab": channel(accept="ORU^*", port=port)}
        site = SiteUnderTest(tmp_path / "site", _on_a_free_port(files))
        async with site.running():
            pipeline = isolate(site, "lab")
            pipeline.gate.clear()
            wire = await site.wire()
            await wire.send(batch([adt(control_id="1"), oru(control_id="2"), adt(control_id="3")]))
            assert len(await site.delivered("adt/out", 2)) == 2
            assert await wire.is_silent()
            pipeline.gate.set()
            assert parts(await wire.answer()) == [
                "BHS", "MSH", "MSA|AA|1", "MSH", "MSA|AA|2", "MSH", "MSA|AA|3", "BTS|3",
            ]  # fmt: skip
            assert len(await site.delivered("lab/out", 1)) == 1


def _on_a_free_port(files: dict[str, str]) -> dict[str, str]:
    port = free_port()
    return {name: text.replace("25799", str(port)) for name, text in files.items()}


class TestCounts:
    async def test_a_false_count_is_noted_on_every_member(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(batch([adt(control_id="1"), adt(control_id="2")], count=3) + adt(control_id="3"))
            answer = await wire.answer()
            assert b"BTS|2|BTS-1 says 3 messages, and there are 2\r" in answer
            found = [[f.code for f in load_findings(m.findings)] for m in site.messages()]
            assert found == [["W340"], ["W340"], []]
            assert len(await site.delivered("adt/out", 3)) == 3

    async def test_a_false_count_may_refuse_the_batch(self, tmp_path, adt, oru) -> None:
        site = site_of(tmp_path, "{count: reject}")
        async with site.running():
            wire = await site.wire()
            await wire.send(
                batch([adt(control_id="1"), oru(control_id="2")], count=3),
                header("FHS", "F") + batch([adt(control_id="3")]) + b"FTS|2\r",
                batch([adt(control_id="4")]),
            )
            found = await wire.answers(3)
            told = [[part for part in parts(answer) if part.startswith("MSA")] for answer in found]
            assert told == [["MSA|AE|1", "MSA|AE|2"], ["MSA|AE|3"], ["MSA|AA|4"]]
            assert err(found[1]) == ["207"]
            assert site.states() == ["rejected"] * 3 + ["processed"]
            assert [load_findings(m.findings)[0].code for m in site.messages()[:3]] == ["E264"] * 3

    async def test_what_was_accepted_before_is_never_refused_for_a_count(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "{count: reject}")
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="1"))
            await wire.answer()
            await wire.send(batch([adt(control_id="1"), adt(control_id="2")], count=1))
            assert parts(await wire.answer())[1:-1] == ["MSH", "MSA|AA|1", "MSH", "MSA|AE|2", "ERR"]


class TestSlices:
    """A long batch is taken a slice at a time."""

    @pytest.fixture(autouse=True)
    def _short_slices(self, monkeypatch) -> None:
        monkeypatch.setattr(module, "SLICE_S", 0.0)
        monkeypatch.setattr(module, "MOST_UNSETTLED", 8)

    async def test_members_and_what_comes_behind_keep_their_order(self, site, adt) -> None:
        first = [adt(control_id=f"A{n}") for n in range(40)]
        second = [adt(control_id=f"B{n}") for n in range(40)]
        async with site.running():
            wire = await site.wire()
            await wire.send(batch(first), adt(control_id="X"), batch(second), b"garbage", adt(control_id="Y"))
            assert [len(msas(await wire.answer())) for _ in range(5)] == [40, 1, 40, 1, 1]
            bodies = await site.delivered("adt/out", 82)
            assert bodies == [*first, adt(control_id="X"), *second, adt(control_id="Y")]
            assert not site.engine._receivers[0]._batches.running

    async def test_other_senders_go_in_between(self, site, adt) -> None:
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            await wire.send(batch([adt(control_id=f"A{n}") for n in range(2000)]))
            await other.send(adt(control_id="X"))
            assert codes([await other.answer()]) == ["AA"]
            assert len(site.messages()) < 2000
            assert len(msas(await wire.answer())) == 2000

    async def test_no_more_than_so_many_members_wait_for_the_disk(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire = await site.wire()
            with site.store.commits_held():
                await wire.send(batch([adt(control_id=f"A{n}") for n in range(1, 100)]))
                await turns(200)
                assert site.running_channel().received == 1 + 8
            assert len(msas(await wire.answer())) == 99

    async def test_the_store_may_fill_up_in_the_middle(self, site, adt) -> None:
        members = [adt(control_id=f"A{n}") for n in range(50)]
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A"))
            await wire.answer()
            site.store.fail_next(StoreFull("full"))
            await wire.send(batch(members))
            told = msas(await wire.answer())
            assert {"AA", "AR"} == {code for code, _ in told} and len(told) == 50
            await wire.send(batch(members))
            assert {code for code, _ in msas(await wire.answer())} == {"AA"}
            assert sorted(await site.delivered("adt/out", 51)) == sorted([adt(control_id="A"), *members])

    async def test_a_store_without_room_may_close_and_nothing_of_the_batch_stays(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, more="ack: {on_store_failure: close}")
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire = await site.wire()
            with site.store.commits_held():
                await wire.send(batch([adt(control_id=f"A{n}") for n in range(1, 50)]))
                await until(lambda: site.running_channel().received == 1 + 8)
                await turns(50)
                site.store.fail_next(StoreFull("full"))
                site.store.fail_next(StoreFull("full"))
            assert await wire.rest() == b""
            await until(lambda: not site.engine._receivers[0]._batches.running)

    async def test_an_unknown_outcome_says_nothing_of_the_batch(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            site.store.fail_next(CommitUnknown("gone"))
            await wire.send(batch([adt(control_id=f"A{n}") for n in range(50)]))
            assert await wire.rest() == b""

    async def test_a_defect_closes_the_connection_and_no_other(self, site, adt, monkeypatch, caplog) -> None:
        async with site.running():
            receiver = site.engine._receivers[0]
            take = receiver.take_one

            def taking(raw, reply, now_us, noted=(), seen=None):
                if b"|A20|" in raw:
                    raise ValueError("Testperson")
                return take(raw, reply, now_us, noted, seen)

            monkeypatch.setattr(receiver, "take_one", taking)
            wire, other = await site.wire(), await site.wire()
            await wire.send(batch([adt(control_id=f"A{n}") for n in range(50)]), adt(control_id="X"))
            assert await wire.rest() == b""
            await other.send(adt(control_id="Y"))
            assert codes([await other.answer()]) == ["AA"]
            assert "Testperson" not in caplog.text and "given up" in caplog.text

    async def test_a_defect_behind_a_batch_leaves_nobody_waiting(self, site, adt, monkeypatch, caplog) -> None:
        async with site.running():
            receiver = site.engine._receivers[0]
            take = receiver.take_one

            def taking(raw, reply, now_us, noted=(), seen=None):
                if b"|X|" in raw:
                    raise ValueError("Testperson")
                return take(raw, reply, now_us, noted, seen)

            monkeypatch.setattr(receiver, "take_one", taking)
            wire = await site.wire()
            members = [adt(control_id=f"A{n}") for n in range(50)]
            await wire.send(batch(members), adt(control_id="X"), adt(control_id="Y"))
            assert b"|Y\r" not in await wire.rest()
            assert "Testperson" not in caplog.text
            assert not receiver._batches.running

    async def test_a_batch_cut_off_by_a_crash_goes_on_when_it_is_sent_again(self, site, adt) -> None:
        members = [adt(control_id=f"A{n}") for n in range(60)]
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(batch(members))
            await until(lambda: len(site.messages()) >= 20)
        done = len(site.messages())
        assert 20 <= done < 60
        before = {m.control_id: m.ack for m in site.messages()}
        async with site.running():
            wire = await site.wire()
            await wire.send(batch(members))
            answer = await wire.answer()
            assert [control_id for _, control_id in msas(answer)] == [f"A{n}" for n in range(60)]
            assert all(ack in answer for ack in before.values())
            assert [m.control_id for m in site.messages()] == [f"A{n}" for n in range(60)]
            # A delivery that the crash cut off goes out twice, so 60 bodies need not be 60 messages.
            await until(lambda: len(set(site.kept.bodies("adt/out"))) >= 60)
            bodies = site.kept.bodies("adt/out")
            assert sorted(set(bodies), key=bodies.index) == members

    async def test_a_stop_in_the_middle_answers_what_it_can(self, site, adt) -> None:
        members = [adt(control_id=f"A{n}") for n in range(300)]
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(batch(members))
            await until(lambda: site.messages())
            await engine.stop()
            answer = await wire.rest()
            assert len(msas(answer[1:-2])) == 300


def msas(answer: bytes) -> list[tuple[str, str]]:
    """MSA-1 and MSA-2 of every answer in one."""
    lines = [line.decode().split("|") for line in answer.split(b"\r") if line.startswith(b"MSA")]
    return [(fields[1], fields[2]) for fields in lines]


async def test_ten_thousand_messages_in_one_block_leave_the_loop_free(tmp_path, adt) -> None:
    """Other senders are answered all the while: it is taken in slices, with so many members in hand at most."""
    site = SiteUnderTest(tmp_path / "site", {"adt": channel(steps="steps:\n  - set: {MSH-5: RIS}")}, "admin: off\n")
    payload = batch([adt(control_id=f"A{n}") for n in range(10_000)])
    async with site.running():
        wire, other = await site.wire(), await site.wire()
        await wire.send(payload)
        answered = 0
        reading = asyncio.get_running_loop().create_task(wire.answer(60))
        while not reading.done():
            await other.send(adt(control_id=f"X{answered}"))
            assert msa(await other.answer())[0] == "AA"
            answered += 1
        assert len(msas(await reading)) == 10_000
        # Taken in one go, the other would have its first answer when the batch has its own.
        assert answered >= 20
