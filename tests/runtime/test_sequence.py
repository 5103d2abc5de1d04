"""The sequence number protocol (hl7.md item 64): each number once, in its turn, over crashes too."""

from pathlib import Path

import pytest

from engine.hl7.message import Message
from engine.ports.store import StoreFull
from engine.runtime.sequence import number_of
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, err, isolate
from tests.runtime.parts import until


@pytest.fixture
def site(tmp_path: Path, clock) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(more="sequence: on")}, clock=clock)


@pytest.fixture
def numbered(adt):
    def make(number: object, control_id: str = "", **given) -> bytes:
        message = Message.parse(adt(control_id=control_id or f"N{number}", **given))
        message.set("MSH-13", str(number))
        return message.to_bytes()

    return make


def msa(answer: bytes) -> tuple[str, str, str]:
    """MSA-1, MSA-2 and MSA-4."""
    (line,) = [line for line in answer.split(b"\r") if line.startswith(b"MSA")]
    fields = [*line.decode().split("|"), "", "", ""]
    return fields[1], fields[2], fields[4]


async def ask(wire, payload: bytes) -> tuple[str, str, str]:
    await wire.send(payload)
    return msa(await wire.answer())


class TestLink:
    async def test_numbers_are_taken_in_turn_and_the_first_is_the_base(self, site, numbered) -> None:
        async with site.running():
            wire = await site.wire()
            assert await ask(wire, numbered(41)) == ("AA", "N41", "41")
            assert await ask(wire, numbered(42)) == ("AA", "N42", "42")
            assert len(await site.delivered("adt/out", 2)) == 2

    async def test_a_sender_may_ask_where_its_link_stands(self, site, numbered) -> None:
        async with site.running():
            wire = await site.wire()
            assert await ask(wire, numbered(0, "Q1")) == ("AA", "Q1", "-1")
            assert await ask(wire, numbered(7)) == ("AA", "N7", "7")
            assert await ask(wire, numbered(0, "Q1")) == ("AA", "Q1", "8")
            assert site.states() == ["filtered", "processed", "filtered"]
            assert len(await site.delivered("adt/out", 1)) == 1

    async def test_a_header_alone_is_enough_to_ask(self, site) -> None:
        async with site.running():
            wire = await site.wire()
            assert await ask(wire, b"MSH|^~\\&|HIS|NORTH|||20260102||ADT^A01|Q1|P|2.5.1|-1\r") == ("AA", "Q1", "-1")

    async def test_a_link_can_be_started_anew(self, site, numbered) -> None:
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(7))
            assert await ask(wire, numbered(-1, "R1")) == ("AA", "R1", "-1")
            assert await ask(wire, numbered(0, "Q1")) == ("AA", "Q1", "-1")
            assert await ask(wire, numbered(100)) == ("AA", "N100", "100")
            assert await ask(wire, numbered(101)) == ("AA", "N101", "101")

    async def test_the_last_one_again_is_acknowledged_and_not_processed(self, site, numbered) -> None:
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(5))
            assert await ask(wire, numbered(5)) == ("AA", "N5", "6")
            assert len(site.messages()) == 1

    async def test_another_message_with_the_last_number_is_not_told_that_we_have_it(self, site, numbered) -> None:
        """A sender that counts anew without saying so: what was never stored is not acknowledged."""
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(5))
            assert await ask(wire, numbered(5, "OTHER")) == ("AE", "OTHER", "6")
            assert site.states() == ["processed", "rejected"] and "E239" in site.messages()[1].findings
            assert await ask(wire, numbered(6)) == ("AA", "N6", "6")

    @pytest.mark.parametrize("number", [3, 4, 7, 999])
    @pytest.mark.parametrize(("accept", "code"), [("", "AE"), ("AL", "CE")])
    async def test_a_number_out_of_turn_is_refused_with_the_one_that_is_due(
        self, site, numbered, number, accept, code
    ) -> None:
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(5))
            await wire.send(numbered(number, accept_ack=accept))
            answer = await wire.answer()
            assert msa(answer) == (code, f"N{number}", "6") and err(answer) == ["207"]
            assert site.states() == ["processed", "rejected"] and "E239" in site.messages()[1].findings
            assert await ask(wire, numbered(6)) == ("AA", "N6", "6")

    @pytest.mark.parametrize("written", ["x", "-2", "1.5", "9" * 16])
    async def test_what_is_no_number_is_refused(self, site, numbered, written) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(numbered(written, "A1"))
            answer = await wire.answer()
            assert msa(answer) == ("AE", "A1", "-1") and err(answer) == ["102"]

    async def test_each_sender_has_a_link_of_its_own_and_may_do_without(self, site, numbered, adt) -> None:
        async with site.running():
            wire = await site.wire()
            assert (await ask(wire, numbered(5)))[2] == "5"
            assert (await ask(wire, numbered(1, "B1", sender=("LIS", "SOUTH"))))[2] == "1"
            assert await ask(wire, adt(control_id="A1")) == ("AA", "A1", "")
            assert (await ask(wire, numbered(6)))[2] == "6"

    async def test_without_the_option_a_number_means_nothing(self, tmp_path, numbered) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": channel()})
        async with site.running():
            wire = await site.wire()
            assert await ask(wire, numbered(5)) == ("AA", "N5", "")
            assert await ask(wire, numbered(9)) == ("AA", "N9", "")


class TestWhatMovesIt:
    async def test_a_message_that_is_rejected_does_not(self, tmp_path, numbered) -> None:
        text = channel(more="sequence: on", steps="steps:\n  - validate: {required: [PID-5]}")
        site = SiteUnderTest(tmp_path / "site", {"adt": text})
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(1))
            bad = Message.parse(numbered(2))
            bad.set("PID-5", "")
            assert await ask(wire, bad.to_bytes()) == ("AE", "N2", "2")
            assert await ask(wire, numbered(2)) == ("AA", "N2", "2")

    async def test_a_message_that_cannot_be_stored_does_not_nor_what_was_sent_behind_it(self, site, numbered) -> None:
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(1))
            site.store.fail_next(StoreFull("full"))
            await wire.send(numbered(2), numbered(3))
            assert [msa(a) for a in await wire.answers(2)] == [("AR", "N2", ""), ("AE", "N3", "2")]
            await wire.send(numbered(2), numbered(3), numbered(4))
            assert [msa(a)[2] for a in await wire.answers(3)] == ["2", "3", "4"]

    async def test_pipelined_messages_wait_for_their_turn(self, site, numbered) -> None:
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire, other = await site.wire(), await site.wire()
            await wire.send(*(numbered(n) for n in range(1, 6)))
            await until(lambda: pipeline.taken)
            await other.send(numbered(6), numbered(9))
            assert len(pipeline.taken) == 1
            pipeline.gate.set()
            assert [msa(a) for a in await wire.answers(5)] == [("AA", f"N{n}", str(n)) for n in range(1, 6)]
            assert [msa(a) for a in await other.answers(2)] == [("AA", "N6", "6"), ("AE", "N9", "7")]
            assert [b.split(b"|")[9] for b in await site.delivered("adt/out", 6)] == [b"N%d" % n for n in range(1, 7)]

    async def test_members_of_a_batch_take_their_turns_with_what_was_found_about_it(self, site, numbered) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(b"BHS|^~\\&|HIS\r" + b"".join(numbered(n) for n in range(1, 4)) + b"BTS|9\r")
            assert (await wire.answer()).count(b"MSA|AA|") == 3
            assert ["W340" in m.findings for m in site.messages()] == [True] * 3

    async def test_a_defect_with_one_message_does_not_keep_those_behind_it(
        self, site, numbered, monkeypatch, caplog
    ) -> None:
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire, other = await site.wire(), await site.wire()
            await wire.send(numbered(1))
            await until(lambda: pipeline.taken)
            receiver = site.engine._receivers[0]
            accepts = site.running_channel().compiled.accepts

            def failing(message):
                if message.get("MSH-10") == "N2":
                    raise ValueError("Testperson")
                return accepts(message)

            await other.send(numbered(2), numbered(3))
            third = await site.wire()
            await third.send(numbered(2, "T2"))
            await until(lambda: len(receiver._channels[0].sequences._busy["HIS|NORTH"]) == 3)
            monkeypatch.setattr(site.running_channel().compiled, "accepts", failing)
            pipeline.gate.set()
            assert msa(await wire.answer()) == ("AA", "N1", "1")
            assert await other.rest() == b""
            assert msa(await third.answer())[:2] == ("AA", "T2")
            assert "Testperson" not in caplog.text

    @pytest.mark.parametrize("settings", [MEMORY, "admin: off\n"], ids=["memory", "sqlite"])
    async def test_the_link_stands_where_it_stood_after_a_crash(self, tmp_path, numbered, settings) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": channel(more="sequence: on")}, settings)
        async with site.running(stop=settings != MEMORY):
            wire = await site.wire()
            await ask(wire, numbered(1))
            await ask(wire, numbered(2))
        async with site.running():
            wire = await site.wire()
            assert await ask(wire, numbered(2)) == ("AA", "N2", "3")
            assert await ask(wire, numbered(4)) == ("AE", "N4", "3")
            assert await ask(wire, numbered(3)) == ("AA", "N3", "3")
            await ask(wire, numbered(-1, "R1"))
        async with site.running():
            wire = await site.wire()
            assert await ask(wire, numbered(0, "Q2")) == ("AA", "Q2", "-1")

    async def test_a_resend_after_a_new_start_of_the_link_is_its_base_and_not_processed_again(
        self, site, numbered
    ) -> None:
        async with site.running():
            wire = await site.wire()
            await ask(wire, numbered(5))
            await ask(wire, numbered(-1, "R1"))
            assert await ask(wire, numbered(5)) == ("AA", "N5", "5")
            assert await ask(wire, numbered(6)) == ("AA", "N6", "6")
            assert len(await site.delivered("adt/out", 2)) == 2


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0", 0),
        ("-1", -1),
        ("+7", 7),
        (" 12 ", 12),
        ("007", 7),
        ("", None),
        ("-", None),
        ("-2", None),
        ("\u0663", None),
    ],
)
def test_numbers_as_they_are_written(written, number) -> None:
    assert number_of(written) == number
