"""What a resend is told stays: a yes leaves with its record, a time-out's no is not the end, nor are other files."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.model.envelope import AckUpdate
from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused
from engine.ports.control import By, Order
from engine.ports.store import StoreBusy, StoreError, StoreFull
from engine.runtime import recorded_answers as module
from engine.runtime.endings import MOST_ANSWER_BYTES
from tests.runtime.engines import SiteUnderTest, channel, codes, err, msa
from tests.runtime.parts import until
from tests.runtime.test_answers import rsp, site_of

LANE, OUT = "adt/ris", "adt/out"
BOTH = '[{to: ris, when: PV1-2 != "X"}, {to: out, when: PV1-2 != "X"}]'
TWO = "{ris: {kept: {}, retry: {first: 20ms, most: 50ms}}, out: {kept: {}}}"
OTHERWISE = "{ris: {kept: {}, retry: {first: 20ms, most: 60ms}}, out: {kept: {}}}"
WAITS = "delivered(ris), timeout: 30s"


def files(ack: str, destinations: str = TWO, port: str = "{port: 0}") -> str:
    return channel(more=f"ack: {{when: {ack}}}", routes=BOTH, destinations=destinations, port=port)


@pytest.fixture
def site(tmp_path: Path, clock) -> SiteUnderTest:
    made = site_of(tmp_path, files(WAITS), clock=clock)
    for lane in (LANE, OUT):
        made.kept.sinks[lane].gate.clear()
    return made


async def reload(site: SiteUnderTest, ack: str, destinations: str = TWO, port: str = "{port: 0}") -> None:
    (site.folder / "channels/adt/channel.yaml").write_text(files(ack, destinations, port))
    report = await site.engine.control.reload()
    assert report.outcome == "taken", report.sentence


async def taken(site: SiteUnderTest, message: bytes) -> Any:
    """The wire of a sender whose message both destinations have in hand."""
    wire = await site.wire()
    await wire.send(message)
    await until(lambda: site.kept.sinks[LANE].calls and site.kept.sinks[OUT].calls)
    return wire


async def told_of_a_time_out(site: SiteUnderTest, message: bytes, answers: int = 1) -> Any:
    wire = await taken(site, message)
    for _ in range(answers - 1):
        await wire.answer()
    site.clock.ahead_s += 31
    assert codes([await wire.answer()]) == ["AE"]
    await until(lambda: site.messages()[0].ack_code == "AE")
    return wire


async def released(site: SiteUnderTest, lane: str, *outcomes: Any) -> None:
    """What a destination says at last, and its record."""
    site.kept.sinks[lane].script[:] = outcomes
    site.kept.sinks[lane].gate.set()
    where = DestinationName(lane.partition("/")[2])

    def is_ended() -> bool:
        queries = site.store.queries()
        rows = [row for m in site.messages() for row in queries.deliveries(m.seq) if row.destination == where]
        return all(row.state != "queued" for row in rows)

    await until(is_ended)


async def asked_again(site: SiteUnderTest, message: bytes) -> bytes:
    wire = await site.wire()
    await wire.send(message)
    answer = await wire.answer()
    wire.close()
    return answer


@pytest.mark.parametrize("last", [Delivered(), Refused("AE", "207")], ids=["yes", "no"])
async def test_a_resend_waits_with_the_first_copy_whatever_destination_the_files_name_now(site, adt, last) -> None:
    """Each would have the answer of another destination: one may be a yes, and the other a no."""
    async with site.running():
        first = await taken(site, adt(control_id="A1"))
        await reload(site, "delivered(out), timeout: 30s")
        second = await site.wire()
        await second.send(adt(control_id="A1"))
        await until(lambda: site.running_channel().outcomes.get("duplicate") == 1)
        await released(site, OUT, Delivered())
        assert await first.is_silent() and await second.is_silent(), "it is ris that was promised to answer"
        await released(site, LANE, last)
        answers = [await first.answer(), await second.answer()]
        assert answers[0] == answers[1] == site.messages()[0].ack
        assert codes(answers) == ["AA" if isinstance(last, Delivered) else "AE"] * 2


async def test_who_asks_once_a_yes_is_on_record_is_told_that_and_no_answer_to_come(site, adt) -> None:
    """An earlier copy may still wait for ris, by the files of before or again of now: ris may say no."""
    async with site.running():
        first = await taken(site, adt(control_id="A1"))
        await reload(site, "processed")
        yes = await asked_again(site, adt(control_id="A1"))
        assert msa(yes) == ("AA", "A1")
        for waits in (WAITS, "delivered(out), timeout: 30s"):
            await reload(site, waits)
            assert await asked_again(site, adt(control_id="A1")) == yes
        await released(site, LANE, Refused("AE", "207"))
        assert codes([await first.answer()]) == ["AE"], "that is what it was promised"
        assert await asked_again(site, adt(control_id="A1")) == yes == site.messages()[0].ack


async def test_a_copy_that_came_before_has_the_destinations_own_words(site, adt) -> None:
    async with site.running():
        first = await taken(site, adt(control_id="A1"))
        await reload(site, "processed")
        yes = await asked_again(site, adt(control_id="A1"))
        await released(site, LANE, Delivered(rsp("A1"), "AA"))
        assert await first.answer() == rsp("A1")
        assert await asked_again(site, adt(control_id="A1")) == yes == site.messages()[0].ack


async def test_who_asks_while_a_yes_is_on_its_way_to_the_record_has_that_one(site, adt, monkeypatch) -> None:
    """A person sends it to `out` again meanwhile: what that says to the second one would be another answer."""
    async with site.running() as engine:
        first = await told_of_a_time_out(site, adt(control_id="A1"))
        await released(site, OUT, Delivered(rsp("A1"), "AA"))
        await reload(site, "delivered(out), timeout: 30s")
        site.kept.sinks[OUT].gate.clear()
        monkeypatch.setattr(module, "TRIES", 10**6)
        monkeypatch.setattr(module, "TRY_AGAIN_S", 0.001)
        amend, refused = site.store.amend_acks, list[int]()

        def busy(updates: Sequence[AckUpdate]) -> object:
            refused.append(len(updates))
            raise StoreBusy("not now")

        monkeypatch.setattr(site.store, "amend_acks", busy)
        await first.send(adt(control_id="A1"))
        await until(lambda: refused)
        await engine.control.operate(
            Order("resend", By(), messages=[MessageSeq(1)], destinations=[DestinationName("out")])
        )
        second = await site.wire()
        await second.send(adt(control_id="A1"))
        await until(lambda: site.running_channel().outcomes.get("duplicate") == 2)
        assert await first.is_silent() and await second.is_silent()
        monkeypatch.setattr(site.store, "amend_acks", amend)
        assert [await first.answer(), await second.answer()] == [rsp("A1")] * 2
        await released(site, OUT, Refused("AE", "207"))
        assert await asked_again(site, adt(control_id="A1")) == rsp("A1") == site.messages()[0].ack
        assert engine._committer.amendments.owed(MessageSeq(1)) is None


async def test_what_a_person_sends_again_to_who_refused_it_is_waited_for(site, adt) -> None:
    """It took the first run of the message, and refused the second: that no is on record, and a yes may follow."""
    async with site.running() as engine:
        wire = await told_of_a_time_out(site, adt(control_id="A1"))
        await released(site, OUT, Delivered())
        await reload(site, "delivered(out), timeout: 30s")
        site.kept.sinks[OUT].gate.clear()
        await engine.control.operate(Order("reprocess", By(), messages=[MessageSeq(1)]))
        await released(site, OUT, Refused("AE", "207"))
        no = site.messages()[0].ack
        assert codes([no]) == ["AE"]
        site.kept.sinks[OUT].gate.clear()
        await engine.control.release([MessageSeq(1)])
        await wire.send(adt(control_id="A1"))
        assert await wire.is_silent()
        await released(site, OUT, Delivered())
        assert codes([await wire.answer()]) == ["AA"]


class TestAStoreThatTakesNoRecord:
    """The files said `delivered(ris)` when it came and say `processed` now: its answer is due, and is new."""

    @pytest.fixture
    def fails(self, site, monkeypatch) -> Callable[[type[Exception]], Sequence[int]]:
        """Have answers refused; gives how many were. `None` ends that."""
        monkeypatch.setattr(module, "TRY_AGAIN_S", 0.0)
        amend = site.store.amend_acks

        def start(error: type[Exception] | None) -> list[int]:
            refused: list[int] = []

            def refusing(updates: Sequence[AckUpdate]) -> object:
                refused.append(len(updates))
                raise error("no room")

            monkeypatch.setattr(site.store, "amend_acks", amend if error is None else refusing)
            return refused

        return start

    async def test_many_that_ask_at_a_time_take_few_calls_of_it_and_each_is_told(
        self, site, adt, fails, monkeypatch
    ) -> None:
        """One call for each would take a commit's time for each: they would come faster than they are told."""
        many = [adt(control_id=f"A{number}") for number in range(100)]
        async with site.running(deadline_s=0.2):
            first = await taken(site, many[0])
            for message in many[1:]:
                await first.send(message)
            await until(lambda: len(site.messages()) == 100)
            await reload(site, "processed")
            refused = fails(StoreFull)
            all_ask, refuses = threading.Event(), site.store.amend_acks

            def refusing_once_all_ask(updates: Sequence[AckUpdate]) -> object:
                assert all_ask.wait(60)
                return refuses(updates)

            monkeypatch.setattr(site.store, "amend_acks", refusing_once_all_ask)
            wire = await site.wire()
            for message in many:
                await wire.send(message)
            await until(lambda: site.running_channel().outcomes.get("duplicate") == 100)
            all_ask.set()
            assert codes([await wire.answer() for _ in many]) == ["AR"] * 100
            assert len(refused) < 100 * module.TRIES / 2, "that many when each asks on its own"
            fails(None)
            for message in many:
                await wire.send(message)
            assert codes([await wire.answer() for _ in many]) == ["AA"] * 100

    @pytest.mark.parametrize("error", [StoreFull, StoreBusy])
    @pytest.mark.parametrize(("on_failure", "code"), [("AR", "AR"), ("AE", "AE")])
    async def test_a_yes_without_a_record_is_not_told(self, site, adt, fails, error, on_failure, code) -> None:
        async with site.running(deadline_s=0.2):
            await taken(site, adt(control_id="A1"))
            await reload(site, f"processed, on_store_failure: {on_failure}")
            refused = fails(error)
            no = await asked_again(site, adt(control_id="A1"))
            assert msa(no) == (code, "A1") and err(no) == ["207"]
            assert len(refused) == module.TRIES
            assert site.messages()[0].ack == b""
            fails(None)
            yes = await asked_again(site, adt(control_id="A1"))
            assert msa(yes) == ("AA", "A1") and site.messages()[0].ack == yes
            assert len(site.messages()) == 1

    async def test_where_senders_are_told_by_a_closed_connection_so_is_this_one(self, site, adt, fails) -> None:
        async with site.running(deadline_s=0.2):
            await taken(site, adt(control_id="A1"))
            await reload(site, "processed, on_store_failure: close")
            fails(StoreFull)
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.rest() == b""

    async def test_a_block_of_release_2_is_committed_as_its_message_is_kept(self, site, adt, fails) -> None:
        """A negative commit would have it written again and again, and what is kept needs no room."""
        async with site.running(deadline_s=0.2):
            await taken(site, adt(control_id="A1"))
            await reload(site, "processed", port="{port: 0, release: 2}")
            refused = fails(StoreFull)
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == b"\x06"
            no = await wire.answer()
            assert msa(no) == ("AR", "A1") and err(no) == ["207"] and len(refused) == module.TRIES
            batch = b"BHS|^~\\&|HIS|NORTH\r" + adt(control_id="A1") + adt(control_id="A2") + b"BTS|2\r"
            await wire.send(batch)
            assert await wire.answer() == b"\x06"
            both = await wire.answer()
            assert b"MSA|AR|A1" in both and b"MSA|AA|A2" in both
            fails(None)
            await wire.send(adt(control_id="A1"))
            assert [await wire.answer(), msa(await wire.answer())] == [b"\x06", ("AA", "A1")]
            assert [m.control_id for m in site.messages()] == ["A1", "A2"]

    async def test_what_was_said_at_accept_level_is_said_again_and_no_other(self, site, adt, fails) -> None:
        both = adt(control_id="A1", accept_ack="AL", application_ack="AL")
        async with site.running(deadline_s=0.2):
            first = await taken(site, both)
            accept = await first.answer()
            await reload(site, "processed")
            fails(StoreFull)
            wire = await site.wire()
            await wire.send(both)
            assert await wire.answer() == accept
            assert msa(await wire.answer()) == ("AR", "A1")
            fails(None)
            await wire.send(both)
            assert await wire.answer() == accept
            assert msa(await wire.answer()) == ("AA", "A1")

    async def test_a_yes_that_another_resend_has_on_record_is_told(self, site, adt, fails, monkeypatch) -> None:
        async with site.running(deadline_s=0.2):
            await taken(site, adt(control_id="A1"))
            await reload(site, "processed")
            amend, yes = site.store.amend_acks, rsp("A1")

            def too_late(updates: Sequence[AckUpdate]) -> object:
                amend([AckUpdate(updates[0].seq, "AA", yes)])
                raise StoreFull("no room")

            monkeypatch.setattr(site.store, "amend_acks", too_late)
            assert await asked_again(site, adt(control_id="A1")) == yes

    async def test_nothing_is_said_where_the_store_cannot_be_asked_either(self, site, adt, fails, monkeypatch) -> None:
        async with site.running(deadline_s=0.2) as engine:
            await taken(site, adt(control_id="A1"))
            await reload(site, "processed")
            refused = fails(StoreFull)
            queries = engine._queries
            asked = queries.message

            def gone(seq: MessageSeq) -> object:
                if refused:
                    raise StoreError("unreadable")
                return asked(seq)

            monkeypatch.setattr(queries, "message", gone)
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            assert await wire.rest() == b""

    async def test_a_no_needs_no_record(self, site, adt, fails) -> None:
        """A person gave the delivery up while its sender waited, and then the disk was full."""
        async with site.running(deadline_s=0.2) as engine:
            where = [(ChannelName("adt"), DestinationName("ris"))]
            await engine.control.operate(Order("pause", By(), lanes=where))
            wire = await site.wire()
            await wire.send(adt(control_id="A1"))
            await until(lambda: site.messages())
            refused = fails(StoreFull)
            site.clock.ahead_s += 31
            assert codes([await wire.answer()]) == ["AE"]
            await until(lambda: refused)
            (row,) = [r for r in site.store.queries().deliveries(MessageSeq(1)) if r.destination == "ris"]
            await engine.control.operate(Order("skip", By(), deliveries=[(row.id, "queued")]))
            no = await asked_again(site, adt(control_id="A1"))
            assert codes([no]) == ["AE"] and b"set aside" in no
            assert len(refused) == 1 + module.TRIES and site.messages()[0].ack == b""

    async def test_members_of_a_batch_that_are_told_so_make_the_block_one_that_was_not_kept(
        self, site, adt, fails
    ) -> None:
        async with site.running(deadline_s=0.2):
            await taken(site, adt(control_id="A1"))
            await reload(site, "processed")
            fails(StoreFull)
            batch = b"BHS|^~\\&|HIS|NORTH\r" + adt(control_id="A1") + adt(control_id="A2") + b"BTS|2\r"
            answer = await asked_again(site, batch)
            assert b"MSA|AR|A1" in answer and b"MSA|AA|A2" in answer


class TestFilesThatAreChangedBack:
    async def test_what_the_destination_said_meanwhile_is_the_answer_word_for_word(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            (await taken(site, adt(control_id="A1"))).close()
            site.clock.ahead_s += 31
            await until(lambda: site.messages()[0].ack_code == "AE")
            await reload(site, "processed")
            await released(site, LANE, Delivered(rsp("A1"), "AA"))
            await reload(site, WAITS)
            assert await asked_again(site, adt(control_id="A1")) == rsp("A1") == site.messages()[0].ack

    async def test_so_it_is_where_a_person_had_it_processed_again_by_the_files_between(self, site, adt) -> None:
        async with site.running(deadline_s=0.2) as engine:
            wire = await told_of_a_time_out(site, adt(control_id="A1"))
            await reload(site, "delivered(out), timeout: 30s")
            report = await engine.control.operate(Order("reprocess", By(), messages=[MessageSeq(1)]))
            assert report.messages == 1
            await reload(site, WAITS)
            await released(site, LANE, Delivered(rsp("A1"), "AA"), Delivered(rsp("A1"), "AA"))
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == rsp("A1")
            await until(lambda: site.messages()[0].ack == rsp("A1"))

    @pytest.mark.parametrize("last", [Delivered(), Refused("AE", "207")], ids=["yes", "no"])
    async def test_who_still_waits_has_the_stored_answer_though_a_person_had_it_processed_again(
        self, site, adt, last
    ) -> None:
        """By files that name another destination, which speaks first: its yes would be on record, beside a no."""
        async with site.running() as engine:
            wire = await taken(site, adt(control_id="A1"))
            await reload(site, "delivered(out), timeout: 30s")
            report = await engine.control.operate(Order("reprocess", By(), messages=[MessageSeq(1)]))
            assert report.messages == 1
            await released(site, OUT, Delivered(rsp("A1"), "AA"), Delivered(rsp("A1"), "AA"))
            assert await wire.is_silent() and site.messages()[0].ack == b""
            await released(site, LANE, last, last)
            assert await wire.answer() == site.messages()[0].ack

    async def test_an_answer_that_is_too_long_to_be_kept_with_its_delivery_is_a_yes_of_ours(self, site, adt) -> None:
        long = rsp("A1") + b"NTE|1||" + b"x" * MOST_ANSWER_BYTES + b"\r"
        async with site.running(deadline_s=0.2):
            await told_of_a_time_out(site, adt(control_id="A1"))
            await reload(site, "processed")
            await released(site, LANE, Delivered(long, "AA"))
            await reload(site, WAITS)
            yes = await asked_again(site, adt(control_id="A1"))
            assert msa(yes) == ("AA", "A1") and b"QAK" not in yes

    async def test_a_no_within_a_functional_answer_stays_however_long_it_is(self, site, adt) -> None:
        long = rsp("A1", "AE") + b"NTE|1||" + b"x" * MOST_ANSWER_BYTES + b"\r"
        async with site.running(deadline_s=0.2):
            wire = await taken(site, adt(control_id="A1"))
            await released(site, LANE, Delivered(long, "AE"))
            assert await wire.answer() == long
            assert await asked_again(site, adt(control_id="A1")) == long

    async def test_a_sender_that_waits_all_the_while_is_told_what_the_destination_says(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            wire = await taken(site, adt(control_id="A1"))
            await reload(site, "delivered(out), timeout: 30s")
            await reload(site, WAITS)
            await released(site, LANE, Delivered(rsp("A1"), "AA"))
            assert await wire.answer() == rsp("A1")

    async def test_one_that_waits_through_another_change_and_a_start_of_the_lane_anew_is_told(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            wire = await taken(site, adt(control_id="A1"))
            await wire.send(adt(control_id="A2"))
            await until(lambda: len(site.messages()) == 2)
            await reload(site, "processed", OTHERWISE)
            await released(site, LANE, Delivered(rsp("A1"), "AA"), Delivered(rsp("A2"), "AA"))
            assert await wire.answer() == rsp("A1")
            assert await wire.answer() == rsp("A2"), "another lane has it, and is listened to as well"

    async def test_who_is_still_owed_an_answer_by_files_before_is_let_go_when_all_are_told(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            wire = await taken(site, adt(control_id="A1"))
            await reload(site, "processed")
            running = site.running_channel()
            assert [len(one) for one in running.all_answers] == [1]
            await released(site, LANE, Delivered(rsp("A1"), "AA"))
            assert await wire.answer() == rsp("A1")
            await until(lambda: not running.all_answers)
            assert running.lanes[DestinationName("ris")].watcher is None


class TestATimeOutIsNotTheEnd:
    async def test_files_that_wait_for_nobody_answer_what_was_told_of_a_time_out(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            await told_of_a_time_out(site, adt(control_id="A1"))
            await reload(site, "processed")
            yes = await asked_again(site, adt(control_id="A1"))
            assert msa(yes) == ("AA", "A1") and site.messages()[0].ack == yes
            await released(site, LANE, Refused("AE", "101"))
            assert await asked_again(site, adt(control_id="A1")) == yes

    async def test_so_do_files_that_wait_for_a_destination_which_it_does_not_go_to(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            await told_of_a_time_out(site, adt(control_id="A1"))
            third = TWO.replace("}}}", "}}, third: {kept: {}}}")
            more = "ack: {when: delivered(third)}"
            text = channel(more=more, routes=BOTH.replace("]", ", {to: third}]"), destinations=third)
            (site.folder / "channels/adt/channel.yaml").write_text(text)
            await site.engine.control.reload()
            assert codes([await asked_again(site, adt(control_id="A1"))]) == ["AA"]

    async def test_so_do_they_where_a_person_had_it_processed_again_by_them(self, site, adt) -> None:
        """Its findings are those of the new run, and its sender was told of the time-out all the same."""
        async with site.running(deadline_s=0.2) as engine:
            await told_of_a_time_out(site, adt(control_id="A1"))
            await reload(site, "processed")
            report = await engine.control.operate(Order("reprocess", By(), messages=[MessageSeq(1)]))
            assert report.messages == 1
            yes = await asked_again(site, adt(control_id="A1"))
            assert msa(yes) == ("AA", "A1") and site.messages()[0].ack == yes

    async def test_who_waits_is_told_of_it_within_the_time_that_the_files_say_now(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            wire = await taken(site, adt(control_id="A1"))
            await reload(site, "delivered(ris), timeout: 5s")
            other = await site.wire()
            await other.send(adt(control_id="A2"))
            await until(lambda: len(site.running_channel().delivered or ()) == 2)
            site.clock.ahead_s += 6
            assert codes([await other.answer()]) == ["AE"]
            assert codes([await wire.answer()]) == ["AE"]

    async def test_what_the_destination_refused_stays_refused(self, site, adt) -> None:
        async with site.running(deadline_s=0.2):
            wire = await told_of_a_time_out(site, adt(control_id="A1"))
            await wire.send(adt(control_id="A1"))
            await released(site, LANE, Refused("AE", "101"))
            no = await wire.answer()
            assert err(no) == ["101"]
            await reload(site, "processed")
            assert await asked_again(site, adt(control_id="A1")) == no

    async def test_what_was_only_accepted_gets_its_second_answer(self, site, adt) -> None:
        both = adt(control_id="A1", accept_ack="AL", application_ack="AL")
        async with site.running(deadline_s=0.2):
            first = await taken(site, both)
            accept = await first.answer()
            await reload(site, "processed")
            wire = await site.wire()
            await wire.send(both)
            assert await wire.answer() == accept
            assert msa(await wire.answer()) == ("AA", "A1")
            assert site.messages()[0].ack_code == "AA"

    async def test_where_no_second_one_was_asked_for_the_first_is_all_again(self, site, adt) -> None:
        one = adt(control_id="A1", accept_ack="AL", application_ack="NE")
        async with site.running(deadline_s=0.2):
            first = await taken(site, one)
            accept = await first.answer()
            await reload(site, "processed")
            assert await asked_again(site, one) == accept == site.messages()[0].ack
