"""`ack: {when: delivered(x)}`: the sender is told what x says, once, and never anything positive before that."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from engine.adapters.outgoing import control_id_of
from engine.hl7.message import Message
from engine.model.envelope import AckUpdate
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.control import By, Order
from engine.ports.store import StoreBusy
from engine.runtime import answers as module
from engine.testing.peers import ReceivingPeer
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes, err, msa
from tests.runtime.parts import turns, until

ROUTES = '[{to: ris, when: PV1-2 != "X"}, {to: out}]'
TWO = "{ris: {kept: {}, retry: {first: 20ms, most: 50ms}}, out: {kept: {}}}"
LANE = "adt/ris"


def waiting(more: str = "", **options) -> str:
    given = {"routes": ROUTES, "destinations": TWO, **options}
    return channel(more=f"ack: {{when: delivered(ris){more}}}", **given)


def rsp(control_id: str, code: str = "AA", kind: str = "RSP^K11^RSP_K11") -> bytes:
    return (
        f"MSH|^~\\&|RIS|NORTH|HIS|NORTH|20260102||{kind}|R{control_id}|P|2.5.1\rMSA|{code}|{control_id}\r"
        f"QAK|1|OK\rZDS|1.2.3\r"
    ).encode()


def ack(control_id: str, code: str, hl7_code: str = "") -> bytes:
    tail = f"ERR|||{hl7_code}|E\r" if hl7_code else ""
    return f"MSH|^~\\&|RIS|NORTH|HIS|NORTH|20260102||ACK|R1|P|2.5.1\rMSA|{code}|{control_id}\r{tail}".encode()


@pytest.fixture
def site(tmp_path: Path, clock) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": waiting()}, clock=clock)


def site_of(tmp_path: Path, text: str, settings: str = MEMORY, clock=None) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": text}, settings, clock=clock)


async def times_out(site: SiteUnderTest) -> None:
    """The time-out of the senders that wait, once one does."""
    await until(lambda: any(map(len, site.running_channel().all_answers)))
    site.clock.ahead_s += 31


def says(site: SiteUnderTest, *outcomes) -> None:
    site.kept.sinks[LANE].script[:] = outcomes


class TestWhatTheSenderIsTold:
    async def test_a_functional_answer_goes_back_byte_for_byte_and_not_before_it_is_there(self, site, adt) -> None:
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        says(site, Delivered(rsp("A1"), "AA"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
            assert site.messages()[0].ack_code == ""
            assert await wire.is_silent()
            sink.gate.set()
            assert await wire.answer() == rsp("A1")
            (message,) = site.messages()
            assert (message.ack_code, message.ack) == ("AA", rsp("A1"))

    async def test_nothing_positive_leaves_before_its_record_is_on_stable_storage(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            sink = site.kept.sinks[LANE]
            sink.gate.clear()
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await until(lambda: len(sink.calls) == 2)
            await until(lambda: site.engine._committer._idle.is_set())
            with site.store.commits_held():
                seen = len(site.store.batches)
                sink.gate.set()
                await until(lambda: len(site.store.batches) > seen)
                assert await wire.is_silent()
            assert msa(await wire.answer()) == ("AA", "A1")

    @pytest.mark.parametrize(
        ("outcome", "code", "hl7_code", "state"),
        [
            (Delivered(ack("A1", "AA")), "AA", None, "delivered"),
            (Delivered(ack("A1", "CA")), "AA", None, "delivered"),
            (Delivered(note="written"), "AA", None, "delivered"),
            (Refused("AE", "101", ack("A1", "AE", "101")), "AE", "101", "held"),
            (Refused("CR", "203", ack("A1", "CR")), "AR", "203", "held"),
            (Refused("AR", "204", ack("A1", "AR")), "AR", "204", "held"),
            (Refused("AE", "", rsp("A1", "AE")), "AE", None, "held"),
            (Unsendable("a start byte in it"), "AE", "207", "held"),
        ],
        ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
    )
    async def test_what_x_says_is_what_the_sender_gets(self, site, adt, outcome, code, hl7_code, state) -> None:
        says(site, outcome)
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            answer = await wire.answer()
            assert msa(answer) == (code, "A1")
            if hl7_code:
                assert err(answer) == [hl7_code]
            (message,) = site.messages()
            assert (message.ack_code, message.ack) == (code, answer)
            assert site.delivery_states()[0] == state

    async def test_a_refusal_that_may_pass_is_tried_again_while_the_sender_waits(self, site, adt) -> None:
        says(site, Unreachable("down"), Refused("AR", "207"), Unanswered("silence"), Delivered(rsp("A1")))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("A1")
            assert len(site.kept.sinks[LANE].calls) == 4

    async def test_the_answer_gets_the_control_id_that_the_sender_knows(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, waiting(steps="steps:\n  - set: {MSH-10: INNER1}"))
        says(site, Delivered(rsp("INNER1")))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("INNER1").replace(b"MSA|AA|INNER1", b"MSA|AA|A1")

    async def test_what_does_not_go_to_x_is_answered_at_once(self, tmp_path, adt) -> None:
        text = waiting(steps='steps:\n  - filter: PID-3.1 != "FILTERED"\n  - validate: {required: [PID-5]}')
        site = site_of(tmp_path, text)
        site.kept.sinks[LANE].gate.clear()
        async with site.running():
            wire = await site.wire()
            elsewhere = Message.parse(adt(control_id="A1"))
            elsewhere.set("PV1-2", "X")
            filtered = Message.parse(adt(control_id="A2"))
            filtered.set("PID-3.1", "FILTERED")
            refused = Message.parse(adt(control_id="A3"))
            refused.set("PID-5", "")
            await wire.send(elsewhere.to_bytes(), filtered.to_bytes(), refused.to_bytes())
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "A1"), ("AA", "A2"), ("AE", "A3")]
            assert not site.kept.sinks[LANE].calls
            site.kept.sinks[LANE].gate.set()

    async def test_pipelined_messages_are_answered_in_their_order(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            aside = Message.parse(adt(control_id="B"))
            aside.set("PV1-2", "X")
            await wire.send(*(adt(control_id=f"A{n}") for n in range(50)), aside.to_bytes())
            assert [msa(a)[1] for a in await wire.answers(51)] == [*(f"A{n}" for n in range(50)), "B"]

    async def test_x_over_mllp_answers_for_real(self, tmp_path, adt) -> None:
        async with ReceivingPeer("AA", "AE") as peer:
            text = channel(
                more="ack: {when: delivered(ris)}",
                routes="[{to: ris}]",
                destinations=f"{{ris: {{mllp: {{host: 127.0.0.1, port: {peer.address[1]}}}}}}}",
            )
            site = site_of(tmp_path, text)
            async with site.running():
                wire = await site.wire()
                await wire.send(adt(control_id="A1"), adt(control_id="A2"))
                assert [msa(a) for a in await wire.answers(2)] == [("AA", "A1"), ("AE", "A2")]


class TestEnhancedMode:
    @pytest.mark.parametrize(
        ("accept", "application", "outcome", "expected"),
        [
            ("AL", "AL", Delivered(), ["CA", "AA"]),
            ("AL", "AL", Refused("AE"), ["CA", "AE"]),
            ("NE", "AL", Delivered(), ["AA"]),
            ("AL", "ER", Delivered(), ["CA"]),
            ("AL", "ER", Refused("AE"), ["CA", "AE"]),
            ("AL", "SU", Refused("AE"), ["CA"]),
            ("AL", "NE", Refused("AE"), ["CA"]),
            ("ER", "SU", Delivered(), ["AA"]),
            ("NE", "NE", Delivered(), []),
        ],
    )
    async def test_each_level_is_answered_as_asked_for(self, site, adt, accept, application, outcome, expected) -> None:
        says(site, outcome)
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack=accept, application_ack=application))
            assert [msa(a) for a in await wire.answers(len(expected))] == [(code, "A1") for code in expected]
            await until(lambda: site.delivery_states()[:1] not in ([], ["queued"]))
            assert await wire.is_silent()
            (message,) = site.messages()
            stored = [msa(part)[0] for part in message.ack.split(b"\x1c\r\x0b") if part]
            assert stored == expected and message.ack_code == (expected[-1] if expected else "")

    async def test_the_accept_level_does_not_wait_for_x_nor_for_other_answers(self, site, adt) -> None:
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
            assert msa(await wire.answer()) == ("CA", "A1")
            await wire.send(adt(control_id="A2", accept_ack="AL", application_ack="AL"))
            assert msa(await wire.answer()) == ("CA", "A2")
            sink.gate.set()
            assert [msa(a) for a in await wire.answers(2)] == [("AA", "A1"), ("AA", "A2")]

    async def test_a_sender_that_will_send_no_more_still_gets_the_second_answer(self, site, adt) -> None:
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
            wire.end()
            assert msa(await wire.answer()) == ("CA", "A1")
            sink.gate.set()
            assert msa(await wire.answer()) == ("AA", "A1")
            assert await wire.rest() == b""

    async def test_the_application_behind_an_accepting_receiver_is_waited_for(self, tmp_path, adt) -> None:
        async with ReceivingPeer("CA+AE", "CA+AA", "CA") as peer:
            text = channel(
                more="ack: {when: delivered(ris)}",
                routes="[{to: ris}]",
                destinations=f"{{ris: {{mllp: {{host: 127.0.0.1, port: {peer.address[1]}, ack_timeout: 5m}}}}}}",
            )
            site = site_of(tmp_path, text)
            async with site.running():
                wire = await site.wire()
                asks = [adt(control_id=f"A{n}", accept_ack="NE", application_ack="AL") for n in range(3)]
                await wire.send(*asks)
                await peer.until_received(3)
                connection = site.running_channel().lanes[DestinationName("ris")]._sinks[0]._connection
                await until(lambda: connection._exchange._so_far)
                connection._arm(0.0)  # its CA is there, and its application is waited for in vain
                assert codes(await wire.answers(3)) == ["AE", "AA", "AA"]
                assert peer.messages == 3


class TestTimeOuts:
    @pytest.mark.parametrize(("more", "code"), [("", "AE"), (", on_timeout: AR", "AR")])
    async def test_a_sender_is_told_of_a_time_out_and_its_message_goes_on(self, tmp_path, adt, more, code) -> None:
        site = site_of(tmp_path, waiting(f", timeout: 30s{more}"))
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        says(site, Delivered(rsp("A1")))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await times_out(site)
            answer = await wire.answer()
            assert msa(answer) == (code, "A1") and err(answer) == ["207"]
            assert b"destination ris did not answer within 30 s" in answer
            await until(lambda: site.messages()[0].ack_code == code)
            (message,) = site.messages()
            assert [f.code for f in load_findings(message.findings)] == ["E238"] and message.state == "processed"
            sink.gate.set()
            await until(lambda: site.messages()[0].ack_code == "AA")
            assert site.messages()[0].ack == rsp("A1")
            assert await wire.is_silent(), "it was told already"
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("A1"), "a resend gets what x said in the end"
            assert len(sink.calls) == 1 and len(site.messages()) == 1

    async def test_a_resend_after_a_time_out_waits_again(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, waiting(", timeout: 30s"))
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await times_out(site)
            assert codes([await wire.answer()]) == ["AE"]
            await until(lambda: site.messages()[0].ack_code == "AE")
            await wire.send(adt(control_id="A1"))
            assert await wire.is_silent()
            sink.gate.set()
            assert msa(await wire.answer()) == ("AA", "A1")
            assert len(site.messages()) == 1

    async def test_a_time_out_with_both_levels_follows_the_accept(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, waiting(", timeout: 30s"))
        site.kept.sinks[LANE].gate.clear()
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
            await times_out(site)
            assert codes(await wire.answers(2)) == ["CA", "AE"]
            await until(lambda: site.messages()[0].ack_code == "AE")
            assert [msa(part)[0] for part in site.messages()[0].ack.split(b"\x1c\r\x0b")] == ["CA", "AE"]

    async def test_too_many_that_wait_are_not_read_from(self, site, adt, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_WAITING", 4)
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            wires = [await site.wire() for _ in range(6)]
            for number, wire in enumerate(wires):
                await wire.send(adt(control_id=f"W{number}"))
                await until(lambda n=number: len(site.messages()) == n + 1)
            await wires[5].send(adt(control_id="LATER"))
            assert await wires[5].is_silent() and len(site.messages()) == 6
            sink.gate.set()
            for number, wire in enumerate(wires):
                assert msa(await wire.answer()) == ("AA", f"W{number}")
            assert msa(await wires[5].answer()) == ("AA", "LATER")


class TestResends:
    async def test_a_resend_while_the_first_waits_waits_with_it(self, site, adt) -> None:
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        says(site, Delivered(rsp("A1")))
        async with site.running():
            first, second = await site.wire(), await site.wire()
            await first.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
            await second.send(adt(control_id="A1"))
            assert await second.is_silent()
            sink.gate.set()
            assert await first.answer() == await second.answer() == rsp("A1")
            assert len(site.messages()) == len(sink.calls) == 1

    @pytest.mark.parametrize("bytes_are_kept", [True, False], ids=["kept", "forgotten"])
    async def test_a_resend_of_what_ended_with_no_answer_on_record_gets_one_also_when_its_bytes_are_forgotten(
        self, tmp_path, adt, monkeypatch, bytes_are_kept
    ) -> None:
        """The time-out's answer found the store busy; then a person gave the delivery up, and retention its bytes."""
        site = site_of(tmp_path, waiting(", timeout: 30s"))

        def busy(store: object, *, updates: object) -> None:
            raise StoreBusy("somebody has it")

        async with site.running() as engine:
            where = [(ChannelName("adt"), DestinationName(LANE.partition("/")[2]))]
            await engine.control.operate(Order("pause", By(), lanes=where))
            wire = await site.wire()
            with monkeypatch.context() as patched:
                patched.setattr(module, "_amend", busy)
                await wire.send(adt(control_id="A1"))
                await times_out(site)
                assert codes([await wire.answer()]) == ["AE"]
                await turns(20)
            (message,) = site.messages()
            assert message.ack == b""
            (row,) = [r for r in site.store.queries().deliveries(message.seq) if r.destination == "ris"]
            report = await engine.control.operate(Order("skip", By(), deliveries=[(row.id, "queued")]))
            assert report.deliveries == 1
            if not bytes_are_kept:
                found = site.store._rows.messages[message.seq]
                found.stored = replace(found.stored, raw=None)
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AE", "A1")
            await until(lambda: site.messages()[0].ack_code == "AE")

    async def test_a_yes_that_was_recorded_since_a_resend_was_looked_at_is_not_followed_by_a_no(
        self, tmp_path, adt, monkeypatch
    ) -> None:
        """The delivery was given up with no answer on record; a person releases it again, and x takes it meanwhile."""
        site = site_of(tmp_path, waiting(", timeout: 30s"))

        def busy(store: object, *, updates: object) -> None:
            raise StoreBusy("somebody has it")

        async with site.running() as engine:
            where = [(ChannelName("adt"), DestinationName(LANE.partition("/")[2]))]
            await engine.control.operate(Order("pause", By(), lanes=where))
            wire = await site.wire()
            with monkeypatch.context() as patched:
                patched.setattr(module, "_amend", busy)
                await wire.send(adt(control_id="A1"))
                await times_out(site)
                assert codes([await wire.answer()]) == ["AE"]
                await turns(20)
            (message,) = site.messages()
            (row,) = [r for r in site.store.queries().deliveries(message.seq) if r.destination == "ris"]
            await engine.control.operate(Order("skip", By(), deliveries=[(row.id, "queued")]))
            amend, asked = site.store.amend_acks, []

            def after_the_yes(updates: list[AckUpdate]) -> object:
                asked.extend(updates)
                amend([AckUpdate(message.seq, "AA", rsp("A1"))])
                return amend(updates)

            monkeypatch.setattr(site.store, "amend_acks", after_the_yes)
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("A1") == site.messages()[0].ack
            assert [update.ack_code for update in asked] == ["AE"]

    async def test_a_resend_of_what_was_refused_gets_the_refusal_again(self, site, adt) -> None:
        says(site, Refused("AE", "101", ack("A1", "AE", "101")))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            first = await wire.answer()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == first
            assert len(site.kept.sinks[LANE].calls) == 1

    @pytest.mark.parametrize("store", ["memory", "sqlite"])
    async def test_an_engine_that_dies_while_a_sender_waits_gives_the_answer_to_its_resend(
        self, tmp_path, adt, store
    ) -> None:
        site = site_of(tmp_path, waiting(), MEMORY if store == "memory" else "admin: off\n")
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running(stop=store == "sqlite", deadline_s=0.3):
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
        says(site, Delivered(rsp("A1")))
        async with site.running():
            wire = await site.wire()
            await until(lambda: len(sink.calls) == 2)
            await wire.send(adt(control_id="A1"))
            assert await wire.is_silent(), "its delivery is under way again"
            sink.gate.set()
            assert await wire.answer() == rsp("A1")
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("A1")
            assert len(sink.calls) == 2

    async def test_an_answer_that_came_while_nobody_waited_is_kept_for_the_resend(self, site, adt) -> None:
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
            assert msa(await wire.answer()) == ("CA", "A1")
            await until(lambda: sink.calls)
        says(site, Delivered(rsp("A1")))
        sink.gate.set()
        async with site.running():
            await until(lambda: site.messages()[0].ack_code == "AA")
            wire = await site.wire()
            await wire.send(adt(control_id="A1", accept_ack="AL", application_ack="AL"))
            assert msa(await wire.answer()) == ("CA", "A1")
            assert await wire.answer() == rsp("A1")

    async def test_what_was_discarded_is_answered_with_an_error(self, site, adt) -> None:
        """Set aside without an end of its lane: damaged bytes, or a person."""
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
        rows = site.store._rows.deliveries
        (id_,) = [id_ for id_, row in rows.items() if row.stored.destination == "ris"]
        rows[id_].stored = replace(rows[id_].stored, state="held", note="the stored bytes do not match")
        sink.gate.set()
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            answer = await wire.answer()
            assert msa(answer) == ("AE", "A1") and err(answer) == ["207"]

    async def test_a_persons_resend_never_turns_a_yes_into_a_no(self, site, adt) -> None:
        says(site, Delivered(), Refused("AE", "101"))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert codes([await wire.answer()]) == ["AA"]
            await site.engine.control.resend([MessageSeq(1)], None)
            await until(lambda: "held" in site.delivery_states())
            assert site.messages()[0].ack_code == "AA"

    async def test_members_of_a_batch_are_answered_together(self, site, adt) -> None:
        says(site, Delivered(), Refused("AE", "101"))
        async with site.running():
            wire = await site.wire()
            batch = b"BHS|^~\\&|HIS|NORTH\r" + adt(control_id="A1") + adt(control_id="A2") + b"BTS|2\r"
            await wire.send(batch)
            answer = await wire.answer()
            assert [line for line in answer.split(b"\r") if line.startswith(b"MSA")][0:1] == [b"MSA|AA|A1"]
            assert b"MSA|AE|A2" in answer


class TestOtherFilesThanThoseItWasAcceptedBy:
    """What was promised when a message was accepted is what its sender is told, unless it asks again by other files."""

    TWO_WAYS = '[{to: ris, when: PV1-2 != "X"}, {to: out, when: PV1-2 != "X"}]'

    def other(self, site: SiteUnderTest, when: str) -> None:
        (site.folder / "channels/adt/channel.yaml").write_text(
            channel(more=f"ack: {{when: {when}}}", routes=self.TWO_WAYS, destinations=TWO)
        )

    async def start(self, site: SiteUnderTest, adt) -> None:
        """A message that waits for ris is stored, and neither destination has it yet; its sender has gone."""
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await until(lambda: site.kept.sinks[LANE].calls and site.kept.sinks["adt/out"].calls)
        wire.close()

    @pytest.fixture
    def both(self, tmp_path: Path) -> SiteUnderTest:
        site = site_of(tmp_path, waiting(routes=self.TWO_WAYS))
        for sink in (site.kept.sinks[LANE], site.kept.sinks["adt/out"]):
            sink.gate.clear()
        return site

    async def test_what_another_destination_says_is_not_its_answer(self, both, adt) -> None:
        async with both.running():
            await self.start(both, adt)
            self.other(both, "delivered(out)")
            await both.engine.control.reload()
            both.kept.sinks["adt/out"].gate.set()
            await until(lambda: "delivered" in both.delivery_states())
            assert both.messages()[0].ack_code == ""
            self.other(both, "delivered(ris)")
            await both.engine.control.reload()
            wire = await both.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.is_silent(), "ris has not said anything yet"
            says(both, Refused("AE", "101"))
            both.kept.sinks[LANE].gate.set()
            assert msa(await wire.answer()) == ("AE", "A1")

    async def test_a_sender_that_asks_again_is_told_by_the_files_of_now_and_a_yes_stays(self, both, adt) -> None:
        async with both.running():
            await self.start(both, adt)
            self.other(both, "processed")
            await both.engine.control.reload()
            wire = await both.wire()
            await wire.send(adt(control_id="A1"))
            yes = await wire.answer()
            assert msa(yes) == ("AA", "A1")
            self.other(both, "delivered(ris)")
            await both.engine.control.reload()
            says(both, Refused("AE", "101"))
            both.kept.sinks[LANE].gate.set()
            await until(lambda: "held" in both.delivery_states())
            again = await both.wire()
            await again.send(adt(control_id="A1"))
            assert await again.answer() == yes, "no later event turns it into a no"

    async def test_a_promise_of_before_a_start_by_other_files_is_kept_word_for_word(self, both, adt) -> None:
        async with both.running(stop=False):
            await self.start(both, adt)
        self.other(both, "delivered(ris), on_timeout: AR")
        says(both, Delivered(rsp("A1")))
        for sink in (both.kept.sinks[LANE], both.kept.sinks["adt/out"]):
            sink.gate.set()
        async with both.running():
            await until(lambda: both.messages()[0].ack_code == "AA")
            wire = await both.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("A1")

    async def test_a_promise_of_before_a_start_is_not_kept_by_another_destination(self, both, adt) -> None:
        async with both.running(stop=False):
            await self.start(both, adt)
        self.other(both, "delivered(out)")
        for sink in (both.kept.sinks[LANE], both.kept.sinks["adt/out"]):
            sink.gate.set()
        async with both.running():
            await until(lambda: both.delivery_states() == ["delivered", "delivered"])
            assert both.messages()[0].ack_code == "", "neither by the files of now, nor by whom they make one wait for"
            wire = await both.wire()
            await wire.send(adt(control_id="A1"))
            assert msa(await wire.answer()) == ("AA", "A1")


async def test_a_stop_waits_for_the_answers_that_are_owed(site, adt) -> None:
    sink = site.kept.sinks[LANE]
    sink.gate.clear()
    async with site.running() as engine:
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await until(lambda: sink.calls)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.stop(deadline_s=5))
            await asyncio.sleep(0)
            sink.gate.set()
            assert msa(await wire.answer()) == ("AA", "A1")


async def test_a_control_id_that_its_character_set_cannot_write_stops_nothing(site, adt) -> None:
    """Broken ISO 2022: whoever may put that into MSH-10 must not be able to end the engine, nor to stop a lane."""
    odd = b"A\x1b1\xfc"
    raw = adt(control_id="A1").replace(b"|A1|", b"|" + odd + b"|")
    head, _, rest = raw.partition(b"\r")
    fields = [*head.split(b"|"), *[b""] * 18][:18]
    fields[17] = b"ISO IR87"
    raw = b"|".join(fields) + b"\r" + rest
    assert control_id_of(raw) == odd
    says(site, Delivered(rsp("A1"), "AA"))
    async with site.running():
        wire = await site.wire()
        await wire.send(raw)
        assert b"MSA|AA|" + odd + b"\r" in await wire.answer()
        await wire.send(adt(control_id="A2"))
        assert msa(await wire.answer()) == ("AA", "A2")
