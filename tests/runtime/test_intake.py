"""Intake: every block is answered by the book, positively only what is stored, and a resend changes nothing."""

import asyncio
import logging
from pathlib import Path

import pytest

from engine.model.finding import load_findings
from engine.ports.store import CommitUnknown, StoreBusy, StoreFull
from engine.runtime import channels as channels_module
from engine.runtime import intake as module
from engine.runtime import recent
from tests.ports import free_port
from tests.runtime.engines import SiteUnderTest, channel, codes, err, isolate, msa
from tests.runtime.parts import turns, until

STEP = "steps:\n  - set: {MSH-5: RIS}"


@pytest.fixture
def site(tmp_path: Path, clock) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel()}, clock=clock)


def site_of(tmp_path: Path, **channels) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", channels)


class TestAnswers:
    async def test_a_message_is_stored_delivered_and_accepted(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")
            assert await site.delivered("adt/out", 1) == [adt(control_id="A1")]
            (message,) = site.messages()
            assert (message.control_id, message.sender, message.message_type) == ("A1", "HIS|NORTH", "ADT^A01")
            assert (message.state, message.ack_code, message.peer) == ("processed", "AA", "127.0.0.1")

    async def test_an_accept_leaves_only_after_the_commit(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire = await site.wire()
            with site.store.commits_held():
                await wire.send(adt(control_id="A1"))
                await until(lambda: len(site.store.batches) == 2)
                assert await wire.is_silent()
            assert msa(await wire.answer()) == ("AA", "A1")

    @pytest.mark.parametrize(
        ("accept", "application", "expected"),
        [
            ("AL", "NE", ["CA"]),
            ("AL", "AL", ["CA", "AA"]),
            ("NE", "AL", ["AA"]),
            ("NE", "SU", ["AA"]),
            ("ER", "AL", ["AA"]),
            ("NE", "NE", []),
            ("ER", "ER", []),
        ],
    )
    async def test_enhanced_mode_answers_what_the_sender_asked_for(
        self, site, adt, accept, application, expected
    ) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack=accept, application_ack=application), adt(control_id="END"))
            found = [msa(await wire.answer()) for _ in range(len(expected) + 1)]
            assert found == [*((code, "A1") for code in expected), ("AA", "END")]
            assert await site.delivered("adt/out", 2)

    async def test_ids_of_our_answers_are_never_the_same_twice(self, site, adt) -> None:
        ids = set()
        for run in range(3):
            async with site.running():
                wire = await site.wire()
                await wire.send(*(adt(control_id=f"R{run}A{n}") for n in range(100)))
                ids |= {answer.split(b"|")[9] for answer in await wire.answers(100)}
        assert len(ids) == 300 and max(map(len, ids)) <= 20

    async def test_pipelined_messages_of_many_senders_are_answered_in_their_order(self, site, adt) -> None:
        async with site.running():
            wires = [await site.wire() for _ in range(8)]
            await asyncio.gather(
                *(w.send(*(adt(control_id=f"W{k}N{n}") for n in range(200))) for k, w in enumerate(wires))
            )
            for number, wire in enumerate(wires):
                assert [msa(a)[1] for a in await wire.answers(200)] == [f"W{number}N{n}" for n in range(200)]
            bodies = await site.delivered("adt/out", 1600)
            for number in range(8):
                mine = [b.split(b"|")[9] for b in bodies if b.split(b"|")[9].startswith(b"W%dN" % number)]
                assert mine == [b"W%dN%d" % (number, n) for n in range(200)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("payload", "code", "hl7_code", "finding"),
        [
            (b"this is no message", "AR", "100", "E233"),
            (b"MSH|^~\\&", "AR", None, "E234"),
            (b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01||P|2.5.1\r", "AR", "101", "E231"),
            (b"MSH|^~\\&|A|B|C|D|20260101||ORM^O01|1|P|2.5.1\r", "AR", "200", "E234"),
            (b"MSH|^~\\&|A|B|C|D|20260101||ADT^A99|1|P|2.5.1\r", "AR", "201", "E235"),
        ],
    )
    async def test_what_is_not_for_us_is_refused_by_name_and_kept(
        self, tmp_path, payload, code, hl7_code, finding
    ) -> None:
        site = site_of(tmp_path, adt=channel(accept="ADT^A01"))
        async with site.running():
            wire = await site.wire()
            await wire.send(payload)
            answer = await wire.answer()
            assert f"MSA|{code}".encode() in answer
            if hl7_code:
                assert err(answer) == [hl7_code] or hl7_code.encode() in answer
            (message,) = site.messages()
            assert message.state == "rejected" and message.raw == payload and message.ack in answer
            assert [f.code for f in load_findings(message.findings)] == [finding]

    async def test_a_message_longer_than_the_limit_is_refused_with_its_id(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, adt=channel(port="{port: 0, max_message: 1KiB}"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="BIG", more=["NTE|1||" + "x" * 2000]), adt(control_id="A2"))
            big, small = await wire.answers(2)
            assert msa(big) == ("AE", "BIG") and err(big) == ["207"]
            assert msa(small) == ("AA", "A2")
            assert [m.state for m in site.messages()] == ["rejected", "processed"]

    async def test_a_rejected_message_may_be_sent_again_and_is_processed_then(self, tmp_path, adt) -> None:
        strict = "steps:\n  - validate: {required: [PV1-50]}"
        site = site_of(tmp_path, adt=channel(steps=strict))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer())[0] == "AE"
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer())[0] == "AE"
            assert site.states() == ["rejected", "rejected"]
        (site.folder / "channels/adt/channel.yaml").write_text(channel())
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer())[0] == "AA"
            assert await site.delivered("adt/out", 1) == [adt(control_id="A1")]

    @pytest.mark.parametrize("when_held", ["AA", "AE"])
    async def test_a_held_message_is_ours_unless_the_site_says_otherwise(self, tmp_path, adt, when_held) -> None:
        steps = "steps:\n  - map: {PV1-2: tables/x.csv, otherwise: hold}"
        files = {"channel.yaml": channel(steps=steps, more=f"ack: {{when_held: {when_held}}}")}
        site = site_of(tmp_path, adt={**files, "tables/x.csv": "from,to\nZ,Y\n"})
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == (when_held, "A1")
            assert site.states() == ["held"]

    async def test_filtered_on_purpose_is_accepted(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, adt=channel(steps='steps:\n  - filter: PV1-2 == "X"'))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")
            assert site.states() == ["filtered"]


class TestSharedPorts:
    async def test_channels_on_one_port_share_it_by_type_and_sender(self, tmp_path, adt, oru) -> None:
        port = f"{{port: {free_port()}}}"
        site = site_of(
            tmp_path,
            a=channel(accept="ADT^*", more='from: MSH-3.1 == "HIS"', port=port),
            b=channel(accept="ADT^*", more='from: MSH-3.1 == "OLD"', port=port),
            c=channel(accept="ORU^*", port=port),
        )
        async with site.running():
            assert len(set(site.engine.addresses.values())) == 1
            wire = await site.wire("a")
            sent = [adt(control_id="1"), adt(control_id="2", sender=("OLD", "X")), oru(control_id="3")]
            await wire.send(*sent, adt(control_id="4", sender=("WHO", "X")), adt(control_id="5", trigger="A99"))
            answers = await wire.answers(5)
            assert codes(answers) == ["AA", "AA", "AA", "AR", "AA"]
            for lane, body in zip(("a/out", "b/out", "c/out"), sent, strict=True):
                assert (await site.delivered(lane, 1))[0] == body
            assert [m.channel for m in site.messages()] == ["a", "b", "c", "a", "a"]

    async def test_a_slow_channel_keeps_the_order_of_answers_on_its_connection(self, tmp_path, adt, oru) -> None:
        port = f"{{port: {free_port()}}}"
        site = site_of(tmp_path, slow=channel(port=port), fast=channel(accept="ORU^*", port=port))
        async with site.running():
            pipeline = isolate(site, "slow")
            pipeline.gate.clear()
            wire, other = await site.wire("slow"), await site.wire("slow")
            await wire.send(adt(control_id="1"), oru(control_id="2"), adt(control_id="3"), oru(control_id="4"))
            await other.send(oru(control_id="5"))
            assert msa(await other.answer()) == ("AA", "5")
            assert await wire.is_silent()
            assert await site.delivered("fast/out", 3)
            pipeline.gate.set()
            assert [msa(a) for a in await wire.answers(4)] == [("AA", str(n)) for n in range(1, 5)]


class TestResends:
    async def test_a_resend_gets_the_same_answer_and_is_not_processed_again(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            first = await wire.answer()
            other = await site.wire()
            await other.send(adt(control_id="A1"), adt(control_id="A1"))
            assert await other.answers(2) == [first, first]
            assert len(site.messages()) == 1
            assert site.running_channel().outcomes == {"processed": 1, "duplicate": 2}
        assert len(site.kept.bodies("adt/out")) == 1

    async def test_a_resend_while_the_first_is_on_its_way_waits_for_the_same_commit(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire, other = await site.wire(), await site.wire()
            with site.store.commits_held():
                await wire.send(adt(control_id="A1"))
                await until(lambda: len(site.store.batches) == 2)
                await other.send(adt(control_id="A1"))
                await wire.send(adt(control_id="A1"))
                assert await other.is_silent()
            first, again = await wire.answers(2)
            assert first == again == await other.answer()
            assert len(site.messages()) == 2
            assert not site.engine._receivers[0]._on_the_way

    async def test_a_resend_after_a_restart_is_known(self, site, adt) -> None:
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            first = await wire.answer()
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == first
            assert len(site.messages()) == 1

    async def test_a_resend_after_a_crash_between_commit_and_answer_is_known(self, site, adt) -> None:
        """The window of every honest sender's duplicate (reliability.md P2)."""
        async with site.running(stop=False):
            wire = await site.wire()
            settle = module.Reply.settle
            try:
                module.Reply.settle = lambda self, answer: None  # type: ignore[method-assign]
                await wire.send(adt(control_id="A1"))
                await until(lambda: site.messages())
            finally:
                module.Reply.settle = settle  # type: ignore[method-assign]
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")
            assert len(site.messages()) == 1
            await site.delivered("adt/out", 1)
        assert len(site.kept.bodies("adt/out")) <= 2

    async def test_the_same_id_with_other_content_is_processed_and_reported(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A1", ward="4W"))
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            await wire.send(adt(control_id="A1", ward="5W"), adt(control_id="A1", ward="4W"))
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            found = [[f.code for f in load_findings(m.findings)] for m in site.messages()]
            assert found[0] == [] and found[2] == ["E232"] and len(found) == 3

    async def test_another_sender_may_use_the_same_id(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A1", sender=("LIS", "SOUTH")))
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            assert [m.findings for m in site.messages()] == ["", ""]

    async def test_past_its_window_a_resend_is_a_new_message(self, tmp_path, adt, clock) -> None:
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(more="duplicates: {window: 1h}")}, clock=clock)
        async with site.running():
            wire = await site.wire()
            for ahead, count in ((0, 1), (3500, 1), (3700, 2)):
                clock.ahead_s = ahead
                await wire.send(adt(control_id="A1"))
                await wire.answer()
                assert len(site.messages()) == count

    async def test_with_the_recognition_off_every_message_is_new(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, adt=channel(more="duplicates: off"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A1"))
            await wire.answers(2)
            assert await site.delivered("adt/out", 2)

    async def test_a_resend_is_known_past_the_ids_that_are_remembered(self, tmp_path, adt, monkeypatch) -> None:
        monkeypatch.setattr(recent, "MOST_REMEMBERED", 3)
        site = site_of(tmp_path, adt=channel())
        async with site.running():
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(10)))
            first = await wire.answers(10)
            await wire.send(*(adt(control_id=f"A{n}") for n in range(10)))
            assert await wire.answers(10) == first
            assert len(site.messages()) == 10

    async def test_a_message_whose_first_try_was_refused_may_be_sent_again(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            site.store.fail_next(StoreFull("full"))
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AR", "A1")
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")

    async def test_a_defect_while_a_message_is_made_does_not_silence_its_resends(
        self, site, adt, monkeypatch, caplog
    ) -> None:
        """Its first try is forgotten, and does not have the resends wait for it for ever."""
        async with site.running():
            made = module.answer_result
            defects = [ValueError("Testperson")]

            def answer_result(*args):
                if defects:
                    raise defects.pop()
                return made(*args)

            monkeypatch.setattr(module, "answer_result", answer_result)
            wire = await site.wire()
            with caplog.at_level(logging.ERROR):
                await wire.send(adt(control_id="A1"))
                assert await wire.rest() == b""
            assert "Testperson" not in caplog.text
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer(within_s=3)) == ("AA", "A1")

    async def test_a_store_that_cannot_be_read_now_refuses_and_keeps_the_connection(
        self, site, adt, monkeypatch
    ) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await wire.answer()
            known = site.engine._queries.known
            busy = [StoreBusy("locked")]

            def failing(*args):
                if busy:
                    raise busy.pop()
                return known(*args)

            monkeypatch.setattr(site.engine._queries, "known", failing)
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AR", "A1")
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")


class TestBatches:
    async def test_messages_of_one_block_are_answered_one_by_one(self, site, adt, oru) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="1") + oru(control_id="2") + adt(control_id="3"), adt(control_id="4"))
            assert [msa(a) for a in await wire.answers(4)] == [("AA", "1"), ("AR", "2"), ("AA", "3"), ("AA", "4")]
            assert await site.delivered("adt/out", 3) == [adt(control_id=n) for n in "134"]

    async def test_a_batch_is_answered_with_a_batch(self, site, adt) -> None:
        header = (
            b"FHS|^~\\&|HIS|NORTH|SEGMILL|NORTH|20260102||||F77\rBHS|^~\\&|HIS|NORTH|SEGMILL|NORTH|20260102||||B88\r"
        )
        async with site.running():
            wire = await site.wire()
            await wire.send(header + adt(control_id="1") + adt(control_id="2") + b"BTS|2\rFTS|1\r")
            lines = (await wire.answer()).split(b"\r")
            assert [line[:3] for line in lines] == [b"FHS", b"BHS", b"MSH", b"MSA", b"MSH", b"MSA", b"BTS", b"FTS", b""]
            assert lines[0].split(b"|")[2] == b"SEGMILL" and lines[0].split(b"|")[11] == b"F77"
            assert lines[1].split(b"|")[11] == b"B88" and lines[6] == b"BTS|2"

    @pytest.mark.parametrize("before", [b"", b" ", b"\t", b"\xef\xbb\xbf", b"\r", b"\n"])
    async def test_two_messages_in_a_block_are_never_taken_for_one(self, site, adt, before) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="1") + before + adt(control_id="2"))
            assert b"MSA|AA|1" in await wire.answer()
            assert b"MSA|AA|2" in await wire.answer()
            assert len(await site.delivered("adt/out", 2)) == 2

    async def test_nothing_of_a_batch_is_said_before_all_of_it_is_stored(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire = await site.wire()
            with site.store.commits_held():
                await wire.send(adt(control_id="1") + adt(control_id="2"))
                await until(lambda: len(site.store.batches) == 2)
                assert await wire.is_silent()
            assert codes(await wire.answers(2)) == ["AA", "AA"]

    async def test_a_resent_batch_is_answered_as_before(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            both = adt(control_id="1") + adt(control_id="2")
            await wire.send(both, both)
            answers = await wire.answers(4)
            assert answers[:2] == answers[2:] and len(site.messages()) == 2

    async def test_an_empty_batch_is_answered_with_an_empty_one(self, site) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(b"BHS|^~\\&|A|B|C|D|20260102||||B1\rBTS|0\r")
            assert (await wire.answer()).split(b"\r")[-2] == b"BTS|0"


class TestStoredFirst:
    """`ack: {when: stored}`: the answer is for the bytes, the pipeline comes behind, in order."""

    @pytest.fixture
    def site(self, tmp_path: Path, clock) -> SiteUnderTest:
        files = {"adt": channel(more="ack: {when: stored}", steps=STEP)}
        return SiteUnderTest(tmp_path / "site", files, clock=clock)

    async def test_the_answer_does_not_wait_for_the_pipeline(self, site, adt) -> None:
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(5)))
            assert codes(await wire.answers(5)) == ["AA"] * 5
            assert site.states() == ["received"] * 5 and site.kept.bodies("adt/out") == []
            pipeline.gate.set()
            bodies = await site.delivered("adt/out", 5)
            assert [body.split(b"|")[9] for body in bodies] == [b"A%d" % n for n in range(5)]
            assert all(body.split(b"|")[4] == b"RIS" for body in bodies)
            await until(lambda: site.states() == ["processed"] * 5)

    async def test_what_a_crash_left_unprocessed_is_processed_after_the_start_and_before_what_is_new(
        self, site, adt
    ) -> None:
        async with site.running(stop=False):
            isolate(site).gate.clear()
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(30)))
            assert codes(await wire.answers(30)) == ["AA"] * 30
        assert site.states() == ["received"] * 30
        async with site.running():
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(30, 40)))
            await wire.answers(10)
            bodies = await site.delivered("adt/out", 40)
            assert [body.split(b"|")[9] for body in bodies] == [b"A%d" % n for n in range(40)]

    async def test_a_full_store_between_makes_the_pipeline_wait_and_keeps_the_order(
        self, site, adt, monkeypatch
    ) -> None:
        monkeypatch.setattr(channels_module, "STORE_RETRY_S", 0.01)
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(5)))
            await wire.answers(5)
            for _ in range(4):
                site.store.fail_next(StoreFull("full"))
            pipeline.gate.set()
            bodies = await site.delivered("adt/out", 5)
            assert [body.split(b"|")[9] for body in bodies] == [b"A%d" % n for n in range(5)]

    async def test_what_does_not_fit_in_memory_waits_in_the_store(self, site, adt, monkeypatch) -> None:
        from engine.runtime import backlog

        monkeypatch.setattr(backlog, "MOST_IN_MEMORY", 5)
        monkeypatch.setattr(backlog, "LOAD_LIMIT", 3)
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(40)))
            await wire.answers(40)
            assert len(site.running_channel().backlog) <= 6
            pipeline.gate.set()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(40, 60)))
            await wire.answers(20)
            bodies = await site.delivered("adt/out", 60)
            assert [body.split(b"|")[9] for body in bodies] == [b"A%d" % n for n in range(60)]

    async def test_a_stop_does_not_wait_for_what_the_store_keeps_anyway(self, site, adt) -> None:
        async with site.running() as engine:
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire = await site.wire()
            await wire.send(*(adt(control_id=f"A{n}") for n in range(20)))
            await wire.answers(20)
            await until(lambda: len(pipeline.taken) == 1)
            stopping = asyncio.get_running_loop().create_task(engine.stop(deadline_s=30))
            await turns()
            pipeline.gate.set()
            await asyncio.wait_for(stopping, 5)
        assert site.states() == ["processed"] + ["received"] * 19
        async with site.running():
            await site.delivered("adt/out", 20)
            await until(lambda: site.states() == ["processed"] * 20)

    async def test_a_pipeline_that_fails_by_a_defect_holds_its_message_and_goes_on(self, site, adt, caplog) -> None:
        async with site.running() as engine:
            pipeline = isolate(site)
            pipeline.defect = KeyError("Testperson")
            wire = await site.wire()
            with caplog.at_level(logging.ERROR):
                await wire.send(adt(control_id="A1"))
                await wire.answer()
                await until(lambda: site.states() == ["held"])
            assert "Testperson" not in caplog.text
            pipeline.defect = None
            await wire.send(adt(control_id="A2"))
            await wire.answer()
            await until(lambda: site.states() == ["held", "processed"])
            assert engine._failed is None

    async def test_damaged_bytes_are_held_and_not_processed(self, site, adt) -> None:
        async with site.running(stop=False):
            isolate(site).gate.clear()
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            await wire.answers(2)
        site.store.damage(1)  # type: ignore[arg-type]
        async with site.running():
            await until(lambda: site.states() == ["held", "processed"])


class TestElsewhere:
    """A channel whose pipeline runs in another process: its answers wait, its neighbours do not."""

    async def test_messages_of_the_channel_keep_their_order(self, site, adt) -> None:
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wires = [await site.wire() for _ in range(3)]
            for number in range(15):
                await wires[number % 3].send(adt(control_id=f"A{number}"))
                await until(lambda number=number: len(site.running_channel().line) == number + 1)
            pipeline.gate.set()
            bodies = await site.delivered("adt/out", 15)
            assert [body.split(b"|")[9] for body in bodies] == [b"A%d" % n for n in range(15)]

    async def test_senders_wait_when_the_channel_cannot_keep_up(self, site, adt, monkeypatch) -> None:
        monkeypatch.setattr(channels_module, "MOST_IN_LINE", 20)
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wires = [await site.wire() for _ in range(30)]
            line = site.running_channel().line
            sending = []
            for number, wire in enumerate(wires):
                await wire.send(adt(control_id=f"W{number}N0"))
                await turns(5)
            await until(lambda: len(line) == 30)
            for number, wire in enumerate(wires):
                sending.append(wire.send(*(adt(control_id=f"W{number}N{n}") for n in range(1, 11))))
            await asyncio.gather(*sending)
            for _ in range(50):
                await asyncio.sleep(0.001)
            # The first twenty were not yet held when their line was not yet full; each of them may add one read.
            assert len(line) <= 30 + 20 * 10
            held = [c for c in site.engine._listeners[0]._connections if c.paused]
            assert len(held) >= 10
            pipeline.gate.set()
            for wire in wires:
                assert codes(await wire.answers(11)) == ["AA"] * 11
            assert not any(c.paused for c in site.engine._listeners[0]._connections)

    async def test_a_pipeline_that_fails_by_a_defect_holds_its_message_and_goes_on(self, site, adt) -> None:
        async with site.running() as engine:
            pipeline = isolate(site)
            pipeline.defect = KeyError("a defect")
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")
            assert site.states() == ["held"]
            pipeline.defect = None
            await wire.send(adt(control_id="A2"))
            assert msa(await wire.answer()) == ("AA", "A2")
            assert engine._failed is None

    async def test_a_defect_behind_the_pipeline_ends_the_connection_and_not_the_engine(
        self, site, adt, monkeypatch
    ) -> None:
        async with site.running() as engine:
            isolate(site)
            made = module.answer_result
            defects = [ValueError("a defect")]

            def answer_result(*args):
                if defects:
                    raise defects.pop()
                return made(*args)

            monkeypatch.setattr(module, "answer_result", answer_result)
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.rest() == b""
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer(within_s=3)) == ("AA", "A1")
            assert engine._failed is None

    async def test_own_code_of_a_channel_runs_and_is_answered_for(self, tmp_path, adt) -> None:
        files = {
            "channel.yaml": channel(steps="steps:\n  - python: steps.py:stamp"),
            "steps.py": "def stamp(message, run):\n    message.set('MSH-5', 'OWN')\n",
        }
        site = site_of(tmp_path, adt=files)
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")
            assert b"|OWN|" in (await site.delivered("adt/out", 1))[0]


class TestStoreTrouble:
    @pytest.mark.parametrize("error", [StoreFull("full"), StoreBusy("locked")])
    @pytest.mark.parametrize(("choice", "code"), [("AR", "AR"), ("AE", "AE")])
    async def test_what_cannot_be_stored_is_refused_and_the_next_try_may_pass(
        self, tmp_path, adt, error, choice, code
    ) -> None:
        site = site_of(tmp_path, adt=channel(more=f"ack: {{on_store_failure: {choice}}}"))
        async with site.running():
            wire = await site.wire()
            site.store.fail_next(error)
            await wire.send(adt(control_id="A1"))
            answer = await wire.answer()
            assert msa(answer) == (code, "A1") and err(answer) == ["207"]
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")
            assert site.running_channel().outcomes == {"refused": 1, "processed": 1}

    async def test_or_the_connection_is_closed_without_a_word(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, adt=channel(more="ack: {on_store_failure: close}"))
        async with site.running():
            wire = await site.wire()
            site.store.fail_next(StoreFull("full"))
            await wire.send(adt(control_id="A1"))
            assert await wire.rest() == b""

    async def test_resends_that_waited_for_a_message_are_refused_with_it(self, site, adt) -> None:
        async with site.running() as engine:
            await site.slow_disk(adt(control_id="A0"))
            # The delivery of that is on record: else its commit would be the one that fails.
            await until(lambda: sum(depth.queued for depth in site.store.queries().depths()) == 0)
            before = len(site.store.batches)
            wire, other = await site.wire(), await site.wire()
            with site.store.commits_held():
                site.store.fail_next(StoreFull("full"))
                await wire.send(adt(control_id="A1"))
                await until(lambda: len(site.store.batches) > before)
                await other.send(adt(control_id="A1"))
                on_the_way = [receiver._on_the_way for receiver in engine._receivers]
                await until(lambda: any(waiting.also for each in on_the_way for waiting in each.values()))
            assert msa(await wire.answer()) == msa(await other.answer()) == ("AR", "A1")

    async def test_what_is_stored_is_still_answered_when_the_disk_is_nearly_full(self, site, adt) -> None:
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(adt(control_id="HELD"))
            assert b"MSA|AA|HELD" in await wire.answer()
            for receiver in engine._receivers:
                receiver.has_room = False
            await wire.send(adt(control_id="HELD"))
            assert b"MSA|AA|HELD" in await wire.answer(), "never a no after a yes"
            await wire.send(adt(control_id="HELD", trigger="A08"))
            assert b"MSA|AR|HELD" in await wire.answer(), "the same id with another body is not stored"
            await wire.send(adt(control_id="NEW"))
            assert b"MSA|AR|NEW" in await wire.answer()

    async def test_on_a_nearly_full_disk_messages_are_refused_and_deliveries_go_on(self, site, adt) -> None:
        async with site.running() as engine:
            site.kept_sinks["adt/out"].gate.clear()
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            await wire.answers(2)
            for receiver in engine._receivers:
                receiver.has_room = False
            await wire.send(adt(control_id="A3"), b"nonsense")
            refused, nonsense = await wire.answers(2)
            assert msa(refused) == ("AR", "A3") and b"MSA|AR" in nonsense
            site.kept_sinks["adt/out"].gate.set()
            await until(lambda: site.delivery_states() == ["delivered"] * 2)
            for receiver in engine._receivers:
                receiver.has_room = True
            await wire.send(adt(control_id="A3"))
            assert msa(await wire.answer()) == ("AA", "A3")

    async def test_after_an_unknown_outcome_nobody_is_told_anything(self, site, adt) -> None:
        async with site.running() as engine:
            wire, other = await site.wire(), await site.wire()
            site.store.fail_next(CommitUnknown("disk"), kept=True)
            await wire.send(adt(control_id="A1"))
            assert await wire.rest() == b""
            assert await other.rest() == b""
            assert engine._failed is not None and engine._failed.exit_code == 74


def test_sender_and_ids_of_hostile_messages_can_be_kept_and_logged() -> None:
    from engine.hl7.message import Message

    raw = b"MSH|^~\\&|A\x00\x1b[31m" + b"x" * 500 + b"|\xff\xfe|C|D|1||AD\x07T^A0\n1^X|ID\x1b\x00\xff|P|2.5.1\r"
    message = Message.parse(raw)
    for text in (module.sender_of(message), module.control_id_of(message), module.type_of(message)):
        assert text.isprintable() and len(text) <= 200
        text.encode("utf-8")


def test_a_message_without_fields_has_no_ids() -> None:
    from engine.hl7.message import Message

    message = Message.parse(b"MSH|^~\\&|\r")
    assert (module.sender_of(message), module.control_id_of(message), module.type_of(message)) == ("|", "", "")
