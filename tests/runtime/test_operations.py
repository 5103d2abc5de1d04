"""What people do to queues beside a running engine: nothing is lost, nothing goes twice, order is kept."""

import asyncio
import logging
import random
from collections import Counter
from pathlib import Path

import pytest

from engine.model.envelope import Intake
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered, Unreachable
from engine.ports.control import Order, OrderRefused
from engine.ports.operations import ACT_FROM, INTAKE, By
from engine.ports.store import StoreFull
from engine.runtime import committer as committing
from engine.runtime import operations
from engine.runtime.lane import Lane
from engine.runtime.message_orders import MessageOrders
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes, err
from tests.runtime.parts import ScriptedSink, turns, until

ADT = ChannelName("adt")
OUT = DestinationName("out")
SPARE = DestinationName("spare")
TWO = channel(destinations="{out: {kept: {}}, spare: {kept: {}}}")
HELD = "steps:\n  - map: {PV1-2: tables/x.csv, otherwise: hold}"
AE = Refused("AE")


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": TWO})


def by(key: str = "", **more: str) -> By:
    return By("anna (uid 1000)", key=key, **more)


def out_lane(site: SiteUnderTest) -> Lane:
    return site.running_channel().lanes[OUT]


async def send(site: SiteUnderTest, *payloads: bytes) -> list[bytes]:
    wire = await site.wire()
    await wire.send(*payloads)
    return await wire.answers(len(payloads))


def members(site: SiteUnderTest, *states: str, to: DestinationName = OUT) -> list[tuple[DeliveryId, str]]:
    queries = site.store.queries()
    rows = [d for m in site.messages() for d in queries.deliveries(m.seq)]
    return [(d.id, d.state) for d in rows if d.destination == to and (not states or d.state in states)]


async def pause(site: SiteUnderTest, action: str = "pause", to: DestinationName = OUT, key: str = "") -> None:
    await site.engine.control.operate(Order(action, by(key, reason="RIS moves"), lanes=[(ADT, to)]))


async def waiting(site: SiteUnderTest, adt, count: int) -> None:
    """So many deliveries queued behind a pause."""
    await pause(site)
    await send(site, *(adt(control_id=f"A{n}", ward=str(n)) for n in range(count)))


def states(site: SiteUnderTest) -> Counter[str]:
    return Counter(state for _, state in members(site))


class TestPause:
    async def test_a_paused_destination_starts_no_attempt_and_goes_on_in_order(self, site, adt) -> None:
        async with site.running() as engine:
            await waiting(site, adt, 3)
            (status,) = await engine.control.status()
            lane = next(lane for lane in status.lanes if lane.destination == OUT)
            await until(lambda: out_lane(site).state == "paused")
            assert (lane.queued, lane.paused_by) == (3, "anna (uid 1000): RIS moves")
            assert site.kept.bodies("adt/out") == []
            assert await engine.control.ready() == (True, "paused: adt/out")
            assert engine.meter.lane("adt", "out").is_paused
            await pause(site, "resume")
            await site.delivered("adt/out", 3)
            assert site.kept_sinks["adt/out"].sent == [1, 2, 3]
            assert await engine.control.ready() == (True, "")
            assert not engine.meter.lane("adt", "out").is_paused

    async def test_it_lasts_over_a_restart_and_a_crash(self, site, adt) -> None:
        async with site.running(stop=False):
            await waiting(site, adt, 1)
        for stop in (True, False):
            async with site.running(stop=stop) as engine:
                await until(lambda: out_lane(site).state == "paused")
                assert [p.destination for p in await engine.control.paused()] == [OUT]
                assert site.kept.bodies("adt/out") == []
        async with site.running():
            await pause(site, "resume")
            await site.delivered("adt/out", 1)

    async def test_the_attempt_at_hand_comes_to_its_end(self, site, adt) -> None:
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        async with site.running():
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
            await until(lambda: sink.busy)
            await pause(site)
            sink.gate.set()
            await until(lambda: states(site) == {"delivered": 1, "queued": 1})
            await until(lambda: out_lane(site).state == "paused")

    async def test_a_paused_intake_is_told_to_the_sender_who_keeps_the_message(self, site, adt) -> None:
        async with site.running() as engine:
            (first,) = await send(site, adt(control_id="A1"))
            await pause(site, to=INTAKE)
            again, other = await send(site, adt(control_id="A1"), adt(control_id="A2"))
            assert again == first, "what is stored is answered as it was"
            assert (codes([other]), err(other)) == (["AR"], ["207"])
            assert len(site.messages()) == 1
            await site.delivered("adt/out", 1)
            (status,) = await engine.control.status()
            assert status.intake_paused_by == "anna (uid 1000): RIS moves"
            assert await engine.control.ready() == (True, "paused: adt (intake)")
        async with site.running():
            assert codes(await send(site, adt(control_id="A2"))) == ["AR"], "after a restart, too"
            await pause(site, "resume", to=INTAKE)
            assert codes(await send(site, adt(control_id="A2"))) == ["AA"]

    async def test_what_is_not_there_is_not_paused(self, site) -> None:
        async with site.running() as engine:
            for lane in ((ADT, DestinationName("nowhere")), (ChannelName("lab"), OUT)):
                with pytest.raises(OrderRefused, match="there is no"):
                    await engine.control.operate(Order("pause", by(), lanes=[(ADT, OUT), lane]))
            assert await engine.control.paused() == [], "and nothing of it"

    async def test_a_pause_of_what_the_files_no_longer_have_can_be_ended(self, site) -> None:
        async with site.running():
            await pause(site, to=SPARE)
        (site.folder / "channels/adt/channel.yaml").write_text(channel())
        async with site.running() as engine:
            assert len(await engine.control.paused()) == 1
            await pause(site, "resume", to=SPARE)
            assert await engine.control.paused() == []


class TestDeliveries:
    async def test_what_is_held_steps_aside_and_the_next_goes(self, site, adt) -> None:
        async with site.running() as engine:
            await waiting(site, adt, 3)
            report = await engine.control.operate(Order("hold", by(), members(site)[:1]))
            assert (report.deliveries, report.left) == (1, ())
            await pause(site, "resume")
            await until(lambda: states(site) == {"held": 1, "delivered": 2})
            assert site.kept_sinks["adt/out"].sent == [2, 3]
            await engine.control.operate(Order("release", by(), members(site, "held")))
            await until(lambda: states(site) == {"delivered": 3})
            assert site.kept_sinks["adt/out"].sent == [2, 3, 1]

    async def test_a_head_that_never_gets_through_can_be_skipped(self, site, adt) -> None:
        """The reason for all of this: one message blocks a destination, and somebody decides."""
        site.kept.sinks["adt/out"] = ScriptedSink(*[Unreachable("refused")] * 3)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
            await until(lambda: out_lane(site).attempts)
            order = Order("skip", by(reason="sent by hand"), members(site, "queued")[:1])
            assert (await engine.control.operate(order)).deliveries == 1
            site.kept_sinks["adt/out"].script.clear()
            await until(lambda: states(site) == {"failed": 1, "delivered": 1})
            (row, *_) = site.store.queries().deliveries(MessageSeq(1))
            assert row.note == "skipped by anna (uid 1000): sent by hand"

    async def test_one_that_is_being_sent_is_waited_for_and_if_it_arrives_nothing_is_done(self, site, adt) -> None:
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
            await until(lambda: sink.busy)
            planned = members(site, "queued")
            asking = asyncio.get_running_loop().create_task(engine.control.operate(Order("skip", by(), planned)))
            await until(lambda: out_lane(site)._still)
            sink.gate.set()
            with pytest.raises(
                OrderRefused, match=r"1 of 2 have changed since the plan \(delivered now: 1\)"
            ) as refused:
                await asking
            assert refused.value.is_temporary
            await until(lambda: states(site) == {"delivered": 2})
            assert sink.sent == [1, 2], "the lane goes on by itself"

    async def test_an_attempt_that_does_not_end_is_not_waited_for_for_ever(self, site, adt, monkeypatch) -> None:
        monkeypatch.setattr(operations, "LET_GO_S", 0.02)
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await until(lambda: sink.busy)
            with pytest.raises(OrderRefused, match="an attempt is under way"):
                await engine.control.operate(Order("hold", by(), members(site)))
            sink.gate.set()
            await until(lambda: states(site) == {"delivered": 1})

    async def test_an_attempt_whose_record_the_store_has_no_room_for_is_on_record_before_it_is_moved(
        self, tmp_path, adt, monkeypatch
    ) -> None:
        """Its receiver may have it: released later, it must go out as one that was tried."""
        monkeypatch.setattr(committing, "RETRY_S", 0.01)
        once = "{out: {kept: {}, retry: {first: 1h, most: 1h}}}"
        site = SiteUnderTest(tmp_path / "site", {"adt": channel(destinations=once)})
        sink = site.kept.sinks["adt/out"]
        async with site.running() as engine:
            await site.slow_disk(adt(control_id="A0"))
            await until(lambda: states(site) == {"delivered": 1} and out_lane(site).is_settled)
            sink.script[:] = [Unanswered("no answer")]
            sink.gate.clear()
            await send(site, adt(control_id="A1"))
            await until(lambda: sink.busy)
            planned = members(site, "queued")
            batches = len(site.store.batches)
            with site.store.commits_held():
                sink.gate.set()
                await until(lambda: len(site.store.batches) > batches)
                site.store.fail_next(StoreFull("no room"))
                asking = asyncio.get_running_loop().create_task(engine.control.operate(Order("skip", by(), planned)))
                await until(lambda: out_lane(site)._still)
                await turns()
            assert (await asking).deliveries == 1
            await engine.control.operate(Order("release", by(), members(site, "failed")))
            await until(lambda: states(site) == {"delivered": 2})
            assert [(d.id, d.attempts) for d in sink.calls[-1]] == [(planned[0][0], 1)]

    async def test_where_that_record_does_not_come_the_person_is_told_so(self, tmp_path, adt, monkeypatch) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": channel()})
        sink = site.kept.sinks["adt/out"]
        async with site.running() as engine:
            await site.slow_disk(adt(control_id="A0"))
            await until(lambda: states(site) == {"delivered": 1} and out_lane(site).is_settled)
            sink.gate.clear()
            await send(site, adt(control_id="A1"))
            await until(lambda: sink.busy)
            planned = members(site, "queued")
            monkeypatch.setattr(operations, "LET_GO_S", 0.02)
            batches = len(site.store.batches)
            with site.store.commits_held():
                sink.gate.set()
                await until(lambda: len(site.store.batches) > batches and out_lane(site).state != "sending")
                with pytest.raises(
                    OrderRefused, match="cannot be recorded now: see whether the store has room"
                ) as told:
                    await engine.control.operate(Order("hold", by(), planned))
                assert told.value.is_temporary
            await until(lambda: states(site) == {"delivered": 2})

    async def test_what_goes_elsewhere_keeps_its_order_there(self, site, adt) -> None:
        async with site.running() as engine:
            await waiting(site, adt, 5)
            report = await engine.control.operate(Order("redirect", by(), members(site), to=SPARE))
            assert report.deliveries == 5
            bodies = await site.delivered("adt/spare", 5)
            assert [f"|{n}" in body.decode() for n, body in enumerate(bodies)] == [True] * 5
            await pause(site, "resume")
            assert states(site) == {"redirected": 5}
            assert site.kept.bodies("adt/out") == []

    async def test_what_goes_elsewhere_is_written_as_that_destination_wants_it(self, tmp_path, adt) -> None:
        two = channel(destinations="{out: {kept: {}}, spare: {kept: {}, charset: UNICODE UTF-8, order_by: PID-3.1}}")
        site = SiteUnderTest(tmp_path / "s", {"adt": two})
        async with site.running() as engine:
            await pause(site)
            await send(site, adt(control_id="A1", family="M\u00fcller", charset="8859/1").replace(b"\xc3\xbc", b"\xfc"))
            assert (await engine.control.operate(Order("redirect", by(), members(site), to=SPARE))).deliveries == 1
            (body,) = await site.delivered("adt/spare", 1)
            assert "M\u00fcller".encode() in body
            assert b"UNICODE UTF-8" in body

    async def test_a_redirect_to_nowhere_is_refused_with_nothing_done(self, site, adt) -> None:
        async with site.running() as engine:
            await waiting(site, adt, 1)
            with pytest.raises(OrderRefused, match="has no destination nowhere") as refused:
                await engine.control.operate(Order("redirect", by(), members(site), to=DestinationName("nowhere")))
            assert not refused.value.is_temporary
            assert states(site) == {"queued": 1}

    async def test_a_destination_is_tried_now(self, site, adt, clock) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(Unreachable("refused"))
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await until(lambda: out_lane(site).state in ("down", "waiting") and out_lane(site).attempts)
            await engine.control.operate(Order("retry", by(), lanes=[(ADT, OUT)]))
            await until(lambda: states(site) == {"delivered": 1})

    async def test_a_delivery_is_tried_now(self, site, adt) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(Unreachable("refused"))
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await until(lambda: out_lane(site).attempts and not out_lane(site)._in_hand)
            await engine.control.operate(Order("retry", by(), members(site, "queued")))
            await until(lambda: states(site) == {"delivered": 1})

    async def test_a_key_that_is_held_up_goes_on_when_its_first_is_skipped(self, tmp_path, adt) -> None:
        site = SiteUnderTest(tmp_path / "s", {"adt": KEYED})
        site.kept.sinks["adt/out"] = sink = ScriptedSink(Refused("AR"))
        async with site.running() as engine:
            await send(site, adt(control_id="A1", mrn="1"))
            await until(lambda: sink.calls and not out_lane(site)._in_hand)
            await send(site, adt(control_id="A2", mrn="1"), adt(control_id="A3", mrn="2"))
            await until(lambda: states(site) == {"queued": 2, "delivered": 1})
            await engine.control.operate(Order("skip", by(), members(site, "queued")[:1]))
            await until(lambda: states(site) == {"failed": 1, "delivered": 2})
            assert sink.sent == [1, 3, 2]

    async def test_a_stopped_destination_stays_so_when_others_of_it_are_moved(self, tmp_path, adt) -> None:
        stop = channel(destinations="{out: {kept: {}, on_refused: stop}, spare: {kept: {}}}")
        site = SiteUnderTest(tmp_path / "s", {"adt": stop})
        site.kept.sinks["adt/out"] = ScriptedSink(AE, AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2"), adt(control_id="A3"))
            await until(lambda: out_lane(site).state == "stopped")
            await engine.control.operate(Order("skip", by(), members(site, "queued")[1:2]))
            await until(lambda: out_lane(site).state == "stopped" and not out_lane(site)._still)
            assert len(site.kept_sinks["adt/out"].calls) == 1
            await engine.control.operate(Order("skip", by(), members(site, "queued")[:1]))
            site.kept_sinks["adt/out"].script.clear()
            await until(lambda: states(site) == {"failed": 2, "delivered": 1})

    async def test_a_store_without_room_moves_nothing_and_the_run_can_be_asked_again(
        self, site, adt, monkeypatch
    ) -> None:
        monkeypatch.setattr(operations, "SLICE", 2)
        async with site.running() as engine:
            await waiting(site, adt, 5)
            operate, left = site.store.operate, [2]

            def full(change):
                left[0] -= 1
                if left[0] == 0:
                    raise StoreFull("no room")
                return operate(change)

            site.store.operate = full  # type: ignore[method-assign]
            order = Order("hold", by("run-7"), members(site))
            report = await engine.control.operate(order)
            assert (report.deliveries, len(report.left)) == (2, 3)
            report = await engine.control.operate(order)
            assert (report.deliveries, report.left) == (5, ())
            assert states(site) == {"held": 5}


class TestOnce:
    async def test_the_same_key_again_answers_with_the_first_report(self, site, adt) -> None:
        order = Order("resend", by("run-1"), messages=[MessageSeq(1)])
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await site.delivered("adt/out", 1)
            first = await engine.control.operate(order)
            assert (first.messages, first.deliveries) == (1, 1)
            assert await engine.control.operate(order) == first
            await site.delivered("adt/out", 2)
        async with site.running() as engine:
            assert await engine.control.operate(order) == first, "over a restart, too"
            with pytest.raises(OrderRefused, match="used for something else"):
                await engine.control.operate(Order("resend", by("run-1"), messages=[MessageSeq(2)]))
            again = await engine.control.operate(Order("resend", by("run-2"), messages=[MessageSeq(1)]))
            assert again == first
            await site.delivered("adt/out", 3)
        assert len(site.kept.bodies("adt/out")) == 3

    async def test_two_who_ask_at_once_under_one_key_get_one_run(self, site, adt) -> None:
        order = Order("resend", by("run-1"), messages=[MessageSeq(1)])
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await site.delivered("adt/out", 1)
            reports = await asyncio.gather(*(engine.control.operate(order) for _ in range(4)))
            assert len(set(reports)) == 1
            await site.delivered("adt/out", 2)
            assert len(members(site)) == 2

    async def test_a_run_that_was_cut_off_goes_on_where_it_was(self, site, adt, monkeypatch) -> None:
        """Killed between two slices: what was done is not done again, and the rest is."""
        monkeypatch.setattr(operations, "MESSAGES_SLICE", 3)
        order = Order("resend", by("run-1"), messages=[MessageSeq(n) for n in range(1, 11)])
        async with site.running(stop=False) as engine:
            await send(site, *(adt(control_id=f"A{n}") for n in range(10)))
            await site.delivered("adt/out", 10)
            await pause(site)
            gather, slices = MessageOrders.gather, [0]

            async def cut(self, *args):
                slices[0] += 1
                if slices[0] == 3:
                    raise RuntimeError("killed here")
                return await gather(self, *args)

            monkeypatch.setattr(MessageOrders, "gather", cut)
            with pytest.raises(RuntimeError, match="killed here"):
                await engine.control.operate(order)
            monkeypatch.setattr(MessageOrders, "gather", gather)
        async with site.running() as engine:
            assert len(members(site)) == 16
            report = await engine.control.operate(order)
            assert (report.messages, report.deliveries) == (10, 10)
            assert Counter(
                d.seq for m in site.messages() for d in site.store.queries().deliveries(m.seq)
            ) == dict.fromkeys(range(1, 11), 2)


class TestAgain:
    @pytest.fixture
    def site(self, tmp_path: Path) -> SiteUnderTest:
        files = {"channel.yaml": channel(steps=HELD), "tables/x.csv": "from,to\nO,OUT\nI,IN\n"}
        return SiteUnderTest(tmp_path / "site", {"adt": files})

    async def test_as_it_was_received_or_by_a_version_or_as_it_is(self, site, adt) -> None:
        async with site.running():
            await send(site, adt(control_id="A1", patient_class="O"))
            assert b"|OUT|" in (await site.delivered("adt/out", 1))[0]
        (site.folder / "channels/adt/tables/x.csv").write_text("from,to\nO,AMB\n")
        async with site.running() as engine:
            (message,) = site.messages()
            seqs = [message.seq]
            for as_of, word in ((None, b"|AMB|"), ("received", b"|AMB|"), (message.version, b"|OUT|")):
                count = len(site.kept.bodies("adt/out"))
                report = await engine.control.operate(Order("reprocess", by(), messages=seqs, as_of=as_of))
                assert report.messages == 1, report
                assert word in (await site.delivered("adt/out", count + 1))[-1]
            # Processed again, a message has the version that it was processed with.
            assert site.messages()[0].version == message.version

    async def test_a_version_that_is_not_recorded_is_said(self, site, adt) -> None:
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"))
            report = await engine.control.operate(Order("reprocess", by(), messages=[MessageSeq(1)], as_of=99))
            assert report.left == ((1, "no version 99 of a channel is recorded"),)

    async def test_an_edited_message_is_a_new_one_and_not_its_senders(self, site, adt) -> None:
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"))
            await site.delivered("adt/out", 1)
            raw = adt(control_id="A1", patient_class="I")
            report = await engine.control.operate(
                Order("edit", by("k", reason="class corrected"), messages=[MessageSeq(1)], raw=raw)
            )
            assert (report.made, report.deliveries, report.left) == ((2,), 1, ())
            assert b"|IN|" in (await site.delivered("adt/out", 2))[1]
            edited = site.messages()[1]
            assert (edited.sender, edited.peer, edited.ack_code, edited.raw) == (
                "(edited)",
                "edited by anna (uid 1000)",
                "",
                raw,
            )
            assert [f.code for f in load_findings(edited.findings)] == ["I241"]
            queries = site.store.queries()
            assert queries.links(MessageSeq(2)).origin == 1
            assert list(queries.links(MessageSeq(1)).edited) == [2]
            # Its sender may still send those very bytes, and they are not taken for a resend of the edited one.
            assert codes(await send(site, raw)) == ["AA"]
            assert len(site.messages()) == 3

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (lambda raw: b"nonsense", "cannot be read"),
            (lambda raw: raw.replace(b"|A1|", b"||"), "MSH-10"),
            (lambda raw: raw.replace(b"ADT^A01", b"ORU^R01"), "E234"),
            (lambda raw: raw + b"ZZZ|" + b"x" * 20_000_000 + b"\r", "longer than"),
        ],
    )
    async def test_an_edited_message_that_cannot_be_taken_is_said_and_not_stored(self, site, adt, change, why) -> None:
        async with site.running() as engine:
            raw = adt(control_id="A1", patient_class="O")
            await send(site, raw)
            report = await engine.control.operate(Order("edit", by(), messages=[MessageSeq(1)], raw=change(raw)))
            assert report.made == ()
            assert why in report.left[0][1]
            assert len(site.messages()) == 1

    async def test_an_edited_message_may_be_held_as_any_other(self, site, adt) -> None:
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"))
            raw = adt(control_id="A1", patient_class="X")
            report = await engine.control.operate(Order("edit", by(), messages=[MessageSeq(1)], raw=raw))
            assert report.made == (2,)
            assert "it is held: E214" in report.left[0][1]


class TestRecord:
    async def test_every_action_is_on_record_and_logs_hold_none_of_its_words(self, site, adt, caplog) -> None:
        caplog.set_level(logging.DEBUG)
        who = by(scope='--where PID-5.1 == "Testperson"', reason="Testperson called")
        async with site.running() as engine:
            await waiting(site, adt, 3)
            await engine.control.operate(Order("hold", who, members(site)[:1]))
            await engine.control.operate(Order("skip", who, members(site, "queued")[:1]))
            await engine.control.operate(Order("redirect", who, members(site, "queued"), to=SPARE))
            await engine.control.release([MessageSeq(1)], who)
            await engine.control.resend([MessageSeq(1)], None, who)
            await engine.control.reprocess([MessageSeq(2)], who)
            await engine.control.operate(Order("read", who, messages=[MessageSeq(1)]))
            await pause(site, "resume")
        actions = [row.action for row in site.store.queries().audit()]
        assert actions == ["pause", "hold", "skip", "redirect", "release", "resend", "reprocess", "read", "resume"]
        assert "Testperson" not in caplog.text


async def test_a_bulk_gives_others_their_turn_between_its_slices(site, adt, monkeypatch) -> None:
    """Counted, not timed: while it runs, what comes in is committed between two slices, never behind all of them."""
    monkeypatch.setattr(operations, "SLICE", 10)
    async with site.running() as engine:
        await waiting(site, adt, 200)
        done: list[str] = site.store.done
        operate = site.store.operate

        def watched(change):
            done.append("slice")
            return operate(change)

        monkeypatch.setattr(site.store, "operate", watched)
        wire = await site.wire()
        done.clear()
        bulk = asyncio.get_running_loop().create_task(engine.control.operate(Order("hold", by(), members(site))))
        number = 0
        while not bulk.done():
            number += 1
            await wire.send(adt(control_id=f"B{number}"))
            await wire.answer()
        assert (await bulk).deliveries == 200
        first, last = done.index("slice"), len(done) - done[::-1].index("slice")
        assert done.count("slice") == 20
        assert done[first:last].count("commit") >= 10, done


# -- under load -----------------------------------------------------------------------------------------


KEYED = channel(destinations="{out: {kept: {}, order_by: PID-3.1}, spare: {kept: {}, order_by: PID-3.1}}")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [MEMORY, "admin: off\nshutdown: 5s\n"], ids=["memory", "sqlite"])
@pytest.mark.parametrize("lanes", [TWO, KEYED], ids=["fifo", "keyed"])
async def test_bulk_operations_beside_a_running_engine_keep_order_and_lose_and_double_nothing(
    tmp_path: Path, adt, lanes: str, settings: str, seed: int, monkeypatch
) -> None:
    """Messages keep coming, the receiver refuses and fails now and then, and people hold, release, skip, redirect,
    retry, pause and resume in bulk, in slices of 7. At the end: each delivery has come to one end, each that was
    delivered was taken by its receiver exactly once, and but for what was released, each lane's order, or that of each
    of its keys, is that of its ids."""
    monkeypatch.setattr(operations, "SLICE", 7)
    rng = random.Random(seed)
    site = SiteUnderTest(tmp_path / "s", {"adt": lanes}, settings)
    outcomes = [Delivered()] * 20 + [AE] * 2 + [Unreachable("refused")]
    taken: dict[str, list[tuple[int, str]]] = {}
    for name in ("out", "spare"):
        site.kept.sinks[f"adt/{name}"] = sink = ScriptedSink()
        taken[name] = []
        _count(sink, taken[name], outcomes, rng)
    async with site.running() as engine:
        wire = await site.wire()
        released: set[int] = set()

        def rows() -> list[tuple[DeliveryId, str, DestinationName]]:
            queries = engine._queries
            found = [d for m in queries.messages(newest_first=False) for d in queries.deliveries(m.seq)]
            return [(d.id, d.state, d.destination) for d in found]

        async def act() -> None:
            action = rng.choice(["hold", "release", "skip", "redirect", "retry", "pause", "resume"])
            if action in ("pause", "resume"):
                await engine.control.operate(Order(action, by(), lanes=[(ADT, rng.choice([OUT, SPARE]))]))
                return
            possible = ACT_FROM[action]  # type: ignore[index]  # one of them
            wanted = [(id_, state) for id_, state, _ in rows() if state in possible and rng.random() < 0.5]
            if action == "release":
                released.update(id_ for id_, _ in wanted)
            to = rng.choice([OUT, SPARE]) if action == "redirect" else None
            if wanted:
                try:
                    await engine.control.operate(Order(action, by(), wanted, to=to))  # type: ignore[arg-type]
                except OrderRefused as refused:
                    assert refused.is_temporary

        for number in range(12):
            await wire.send(*(adt(control_id=f"A{number}-{n}", mrn=str(n % 3)) for n in range(8)))
            await wire.answers(8)
            await act()
        for name in ("out", "spare"):
            site.kept_sinks[f"adt/{name}"].script.clear()
        outcomes[:] = [Delivered()]
        paused = [(p.channel, p.destination) for p in await engine.control.paused()]
        if paused:
            await engine.control.operate(Order("resume", by(), lanes=paused))
        await engine.control.operate(Order("retry", by(), lanes=[(ADT, OUT), (ADT, SPARE)]))
        await until(lambda: not any(state == "queued" for _, state, _ in rows()), within_s=30)
        ends = rows()
        messages = len(list(engine._queries.messages()))
        delivered = {id_ for id_, state, _ in ends if state == "delivered"}
        assert Counter(id_ for id_, _ in taken["out"] + taken["spare"]) == dict.fromkeys(delivered, 1)
        redirected = sum(state == "redirected" for _, state, _ in ends)
        assert len(ends) == messages + redirected, "each redirect has one that took over, and nothing else was added"
        for name in ("out", "spare"):
            for key in {key for _, key in taken[name]} if lanes == KEYED else [None]:
                in_order = [id_ for id_, of in taken[name] if id_ not in released and key in (None, of)]
                assert in_order == sorted(in_order), (name, key)


def _count(sink: ScriptedSink, taken: list[tuple[int, str]], outcomes: list[object], rng: random.Random) -> None:
    """The receiver's own list of what it took, in its order; what it says is drawn."""
    send_on = sink.send

    async def send(deliveries):
        sink.script = [rng.choice(outcomes) for _ in deliveries]  # type: ignore[misc]  # outcomes
        said = await send_on(deliveries)
        pairs = zip(deliveries, said, strict=True)
        taken.extend((d.id, d.key or "") for d, outcome in pairs if isinstance(outcome, Delivered))
        return said

    sink.send = send  # type: ignore[method-assign]


class TestMutants:
    """The property above, or a test beside it, sees these."""

    async def test_a_lane_that_does_not_stand_still_sends_what_was_taken_away(self, site, adt, monkeypatch) -> None:
        from contextlib import nullcontext

        monkeypatch.setattr(Lane, "standing_still", lambda self: nullcontext())

        async def at_once(self, ids):
            return None

        monkeypatch.setattr(Lane, "let_go_of", at_once)
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await until(lambda: sink.busy)
            await engine.control.operate(Order("skip", by(), members(site)))
            assert states(site) == {"failed": 1}
            sink.gate.set()
            await until(lambda: not sink.busy)
            assert sink.sent == [1], "the receiver has it, and the store says that it was given up"

    async def test_a_lane_that_does_not_read_again_sends_what_was_taken_away(self, site, adt, monkeypatch) -> None:
        sink = site.kept.sinks["adt/out"]
        sink.script = [Unreachable("refused")]
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            await until(lambda: out_lane(site).attempts and not out_lane(site)._in_hand)
            monkeypatch.setattr(Lane, "reread", lambda self, **_: None)
            await engine.control.operate(Order("skip", by(), members(site)))
            out_lane(site).retry_now()
            await until(lambda: len(sink.calls) == 2)
            assert states(site) == {"failed": 1}


async def test_the_mutant_that_forgets_how_far_it_came_is_seen(site, adt, monkeypatch) -> None:
    """As the run that was cut off goes on where it was; here its progress is not stored with its slices."""
    monkeypatch.setattr(operations, "MESSAGES_SLICE", 3)
    monkeypatch.setattr(operations, "_on", lambda progress, report, done, of: None)
    order = Order("resend", by("run-1"), messages=[MessageSeq(n) for n in range(1, 7)])
    async with site.running() as engine:
        await send(site, *(adt(control_id=f"A{n}") for n in range(6)))
        await site.delivered("adt/out", 6)
        for _ in range(2):
            await engine.control.operate(order)
        assert len(members(site)) == 18, "twice, which the tests of keys would say"


async def test_a_changed_host_is_followed_by_what_waits(tmp_path: Path, adt) -> None:
    """Field.md 10: queued messages go where the files say now, not where they said when the message came."""
    from engine.testing.peers import ReceivingPeer

    async with ReceivingPeer("AA") as old, ReceivingPeer("AA") as new:

        def to(peer: ReceivingPeer) -> str:
            host, port = peer.address
            return channel(destinations=f"{{out: {{mllp: {{host: {host}, port: {port}}}}}}}")

        site = SiteUnderTest(tmp_path / "s", {"adt": to(old)})
        async with site.running():
            await waiting(site, adt, 3)
        (site.folder / "channels/adt/channel.yaml").write_text(to(new))
        async with site.running():
            await pause(site, "resume")
            await until(lambda: new.messages == 3)
        assert old.messages == 0


def test_an_edited_message_is_never_taken_for_a_senders() -> None:
    """No sender is called as an edited message's is: theirs have the bar of MSH-3|MSH-4."""
    from engine.hl7.message import Message
    from engine.runtime.edited import SENDER
    from engine.runtime.received import sender_of

    assert "|" not in SENDER
    assert "|" in sender_of(Message.parse(b"MSH|^~\\&|(edited)|"))
    assert Intake.__slots__[-1] == "origin"


class TestReload:
    async def test_a_changed_port_is_followed_by_what_waits_without_a_restart(self, tmp_path: Path, adt) -> None:
        from engine.testing.peers import ReceivingPeer

        async with ReceivingPeer("AA") as old, ReceivingPeer("AA") as new:

            def to(peer: ReceivingPeer) -> str:
                host, port = peer.address
                return channel(destinations=f"{{out: {{mllp: {{host: {host}, port: {port}}}}}}}")

            site = SiteUnderTest(tmp_path / "s", {"adt": to(old)})
            async with site.running() as engine:
                await waiting(site, adt, 3)
                (site.folder / "channels/adt/channel.yaml").write_text(to(new))
                assert (await engine.control.reload()).exit_code == 0
                await until(lambda: out_lane(site).state == "paused")
                assert new.messages == 0, "a pause lasts over a reload"
                await pause(site, "resume")
                await until(lambda: new.messages == 3)
            assert old.messages == 0

    async def test_what_was_planned_before_a_reload_is_done_after_it(self, site, adt) -> None:
        async with site.running() as engine:
            await waiting(site, adt, 3)
            planned = members(site)
            (site.folder / "channels/adt/channel.yaml").write_text(TWO + "description: another\n")
            assert (await engine.control.reload()).exit_code == 0
            assert (await engine.control.operate(Order("skip", by(), planned[:2]))).deliveries == 2
            await pause(site, "resume")
            await until(lambda: states(site) == {"failed": 2, "delivered": 1})

    async def test_what_waits_for_a_destination_that_the_files_no_longer_have_can_be_moved(self, site, adt) -> None:
        """It is sent to its end still, so its lane stands still while something is taken from it, as any other."""
        site.kept.sinks["adt/out"] = sink = ScriptedSink(*[Unreachable("refused")] * 50)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
            await until(lambda: sink.calls)
            one = channel(destinations="{spare: {kept: {}}}", routes="[{to: spare}]")
            (site.folder / "channels/adt/channel.yaml").write_text(one)
            assert (await engine.control.reload()).exit_code == 0
            assert OUT in site.running_channel().leaving
            planned = members(site, "queued")
            assert (await engine.control.operate(Order("redirect", by(), planned, to=SPARE))).deliveries == 2
            await until(lambda: states(site) == {"redirected": 2})
            await until(lambda: Counter(s for _, s in members(site, to=SPARE)) == {"delivered": 2})
            calls = len(sink.calls)
            await send(site, adt(control_id="A3"))
            await site.delivered("adt/spare", 3)
            assert len(sink.calls) == calls, "nothing of it is tried where it was"
