"""Another destination takes over: by code, at once or after a limit, in one transaction; for all when one is down."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.config.hours import HoursText, Timetable
from engine.model.envelope import Batch, Committed, Delivery, DeliveryResult, DraftDelivery
from engine.model.ids import DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.store import CommitUnknown, StoredDelivery
from engine.runtime.endings import CannotTakeOver, the_same_bytes
from engine.runtime.lane import Lane, LaneSettings
from engine.runtime.policy import MOST_REDIRECTS, Action, Policy
from engine.testing import messages
from engine.wiring import guard
from tests.runtime.engines import SiteUnderTest, channel
from tests.runtime.parts import (
    EPR,
    LAB,
    CountingMeter,
    ScriptedSink,
    SetClock,
    WatchedStore,
    owned_tasks,
    received,
    turns,
    until,
)

SPARE = DestinationName("spare")
AE, AR = Refused("AE", "204", b"MSA|AE|C1", "the receiver answered AE 204"), Refused("AR")
DOWN, SILENT = Unreachable("nobody there"), Unanswered("no answer")
TO_SPARE = Action("redirect", to=SPARE)
AT_ONCE = {"first_s": 0.0, "most_s": 0.05, "jitter": 0.0}


class Pair:
    """One lane with a policy, and the lane that takes over, on one store."""

    def __init__(self, store, committer, clock, tasks) -> None:
        self.store, self.committer, self.clock, self.tasks = store, committer, clock, tasks
        self.queries = store.queries()
        self.meter = CountingMeter()
        self.sinks: dict[str, ScriptedSink] = {}
        self.lanes: dict[str, Lane] = {}
        committer.on_redirected = self.offer
        self.fed = 0

    def make(self, sink: ScriptedSink, policy: Policy, *, redirected=the_same_bytes, table=None) -> Lane:
        for name, taken, by in ((EPR, sink, policy), (SPARE, ScriptedSink(), Policy())):
            settings = LaneSettings(LAB, name, by, redirected=redirected, table=table if name == EPR else None)
            self.sinks[name] = taken
            self.lanes[name] = Lane(settings, taken, self.queries, self.committer, self.clock, self.meter)
            guard(self.lanes[name], self.clock)
        return self.lanes[EPR]

    def start(self) -> None:
        for lane in self.lanes.values():
            self.tasks.spawn(lane.run(), f"deliver {lane.name}")

    def offer(self, deliveries) -> None:
        for delivery in deliveries:
            self.lanes[delivery.destination].offer(delivery)

    async def feed(self, count: int = 1) -> None:
        wanted = self.fed + count

        def stored(_: MessageSeq, deliveries: list[Delivery]) -> None:
            self.fed += 1
            self.offer(deliveries)

        for _ in range(count):
            self.committer.put(received(EPR), stored, lambda _: None)
        await until(lambda: self.fed == wanted)

    def rows(self, seq: int = 1) -> list[StoredDelivery]:
        return list(self.queries.deliveries(MessageSeq(seq)))

    def states(self, seq: int = 1) -> list[tuple[str, str]]:
        return [(row.destination, row.state) for row in self.rows(seq)]


@pytest.fixture
async def pair(store, committer, clock):
    async with owned_tasks() as (tasks, failures):
        yield Pair(store, committer, clock, tasks)
        assert failures == []


OVER = [(EPR, "redirected"), (SPARE, "delivered")]


@pytest.mark.parametrize(
    ("outcome", "policy"),
    [
        (AE, Policy(on_refused=TO_SPARE)),
        (AR, Policy(on_rejected=TO_SPARE)),
        (SILENT, Policy(on_unanswered=TO_SPARE)),
        (DOWN, Policy(on_unreachable=TO_SPARE)),
        (Unsendable("a VT in it"), Policy(on_unsendable=TO_SPARE)),
    ],
    ids=["refused", "rejected", "unanswered", "unreachable", "unsendable"],
)
async def test_another_destination_takes_over_and_the_lane_goes_on(pair, outcome, policy) -> None:
    pair.make(ScriptedSink(outcome), policy)
    pair.start()
    await pair.feed()
    await until(lambda: pair.states() == OVER)
    first, second = pair.rows()
    assert (second.origin, first.attempts, second.attempts) == (first.id, 1, 1)
    assert "spare" in first.note
    assert pair.meter.counts["redirected",] == 1
    assert [d.body for call in pair.sinks[SPARE].calls for d in call] == [pair.sinks[EPR].calls[0][0].body]


async def test_what_the_first_one_answered_stays_with_it(pair) -> None:
    pair.make(ScriptedSink(AE), Policy(on_refused=TO_SPARE))
    pair.start()
    await pair.feed()
    await until(lambda: pair.states() == OVER)
    (first, _) = pair.rows()
    assert (first.code, first.answer) == ("AE 204", b"MSA|AE|C1")


async def test_first_some_tries_then_the_other_and_each_try_is_kept(pair) -> None:
    answers = [Refused("AE", "207", b"MSA|AE|%d" % n) for n in (1, 2, 3)]
    policy = Policy(on_refused=Action("retry", most_attempts=3, then="redirect", to=SPARE), **AT_ONCE)
    pair.make(ScriptedSink(*answers), policy)
    pair.start()
    await pair.feed()
    await until(lambda: pair.states() == OVER)
    assert [(a.number, a.answer) for a in pair.queries.attempts(MessageSeq(1))] == [
        (1, b"MSA|AE|1"),
        (2, b"MSA|AE|2"),
    ]
    last = pair.rows()[0]
    assert (last.attempts, last.answer) == (3, b"MSA|AE|3")


async def test_the_answer_of_a_delivery_that_arrives_is_kept_with_it(pair) -> None:
    pair.make(ScriptedSink(Delivered(b"MSA|AA|C1")), Policy())
    pair.start()
    await pair.feed()
    await until(lambda: pair.states() == [(EPR, "delivered")])
    assert [row.answer for row in pair.rows()] == [b"MSA|AA|C1"]
    assert pair.queries.attempts(MessageSeq(1)) == []


async def test_where_the_other_cannot_be_given_it_a_person_must_look(pair, caplog) -> None:
    def refuse(delivery: Delivery, to: DestinationName) -> DraftDelivery:
        raise CannotTakeOver("PID-5 cannot be written in its character set")

    pair.make(ScriptedSink(AE), Policy(on_refused=TO_SPARE), redirected=refuse)
    pair.start()
    with caplog.at_level(logging.WARNING, logger="segmill.lane"):
        await pair.feed()
        await until(lambda: pair.states() == [(EPR, "held")])
    assert "it cannot go to spare: PID-5" in pair.rows()[0].note
    assert "it cannot go to spare: PID-5" in caplog.text


async def test_a_message_that_went_on_too_often_is_held(pair) -> None:
    """A check refuses circles, but people redirect too, and channels change."""
    pair.make(ScriptedSink(), Policy(on_refused=TO_SPARE))
    await pair.feed()

    def to_and_fro(store) -> None:
        waiting = DeliveryId(1)
        for number in range(MOST_REDIRECTS):
            store.commit(Batch(results=[DeliveryResult(waiting, "held", 1, 1)]))
            to = DraftDelivery(SPARE if number % 2 == 0 else EPR, None)
            (made,) = store.redirect_deliveries([(waiting, to)], "by anna")
            waiting = made.id

    await pair.committer.call(to_and_fro)
    pair.sinks[EPR].script = [AE]
    pair.start()
    await until(lambda: pair.states()[-1] == (EPR, "held"))
    assert len(pair.states()) == MOST_REDIRECTS + 1


class TestWhileItIsDown:
    """A limit that ends in a redirect counts from when the destination went down, and frees the whole queue."""

    async def test_what_waits_goes_to_the_other_untried_and_the_first_is_still_probed(self, pair) -> None:
        policy = Policy(
            on_unreachable=Action("retry", most_attempts=2, then="redirect", to=SPARE),
            first_s=0.0,
            most_s=0.0,
            jitter=0.0,
        )
        pair.make(ScriptedSink(DOWN, DOWN), policy)
        await pair.feed(3)
        pair.start()
        await until(lambda: pair.states(1) == OVER)
        await until(lambda: all(pair.rows(n)[-1].state == "delivered" for n in (2, 3)))
        assert pair.states(2) == [(EPR, "delivered")], "it was probed with the next one, and was back"

    async def test_a_queue_of_many_does_not_wait_out_a_limit_each(self, pair, caplog) -> None:
        policy = Policy(
            on_unreachable=Action("retry", most_age_s=900.0, then="redirect", to=SPARE),
            first_s=600.0,
            most_s=600.0,
            jitter=0.0,
        )
        pair.make(ScriptedSink(*[DOWN] * 99), policy)
        pair.start()
        await pair.feed(20)
        await until(lambda: pair.lanes[EPR].state == "down")
        assert pair.sinks[EPR].sent == [1]
        pair.clock.ahead_s = 901.0
        pair.lanes[EPR]._wake_all()
        await until(lambda: all(pair.states(n) == OVER for n in range(1, 21)))
        assert len(pair.sinks[EPR].sent) <= 3, "tried by a probe or two, not by each"
        assert pair.sinks[SPARE].sent == sorted(pair.sinks[SPARE].sent)
        untried = [row for n in range(3, 21) for row in pair.rows(n) if row.state == "redirected"]
        assert {(row.attempts, row.code) for row in untried} == {(0, "unreachable")}
        assert all(row.note.startswith("not tried: nobody there") for row in untried)
        told = [record.message for record in caplog.records if "still down" in record.message]
        assert told == [f"lab/{EPR} is still down: what comes for it goes to {SPARE} instead"], "once, not for each"

    async def test_a_limit_that_ends_otherwise_is_each_messages_own(self, pair) -> None:
        policy = Policy(
            on_unreachable=Action("retry", most_age_s=900.0, then="skip"), first_s=600.0, most_s=600.0, jitter=0.0
        )
        pair.make(ScriptedSink(*[DOWN] * 99), policy)
        pair.start()
        await pair.feed(3)
        await until(lambda: pair.lanes[EPR].state == "down")
        pair.clock.ahead_s = 901.0
        pair.lanes[EPR]._wake_all()
        await until(lambda: pair.states(1) == [(EPR, "failed")])
        await turns(50)
        assert pair.states(2) == pair.states(3) == [(EPR, "queued")]


class TestLimits:
    """What a limit counts, over restarts and closed hours."""

    async def again(self, pair, policy, *script, table=None) -> None:
        """The engine is stopped, and another one goes on with the store."""
        for lane in pair.lanes.values():
            lane.drain()
        await pair.committer.drained()
        pair.make(ScriptedSink(*script), policy, table=table)
        pair.start()

    async def test_a_limit_in_time_outlives_a_restart(self, pair) -> None:
        policy = Policy(on_rejected=Action("retry", most_age_s=3600.0), first_s=60.0, most_s=60.0, jitter=0.0)
        pair.make(ScriptedSink(AR), policy)
        pair.start()
        await pair.feed()
        await until(lambda: pair.lanes[EPR].attempts == 1)
        await self.again(pair, policy, AR, AR)
        pair.clock.ahead_s = 1800.0
        pair.lanes[EPR].retry_now()
        await until(lambda: pair.lanes[EPR].attempts == 2)
        assert pair.states() == [(EPR, "queued")]
        await self.again(pair, policy, AR)
        pair.clock.ahead_s = 3601.0
        pair.lanes[EPR].retry_now()
        await until(lambda: pair.states() == [(EPR, "held")])

    async def test_a_limit_in_attempts_begins_anew_with_a_release(self, pair) -> None:
        policy = Policy(on_rejected=Action("retry", most_attempts=2), **AT_ONCE)
        pair.make(ScriptedSink(AR, AR, AR, AR), policy)
        pair.start()
        await pair.feed()
        await until(lambda: pair.states() == [(EPR, "held")])
        assert pair.rows()[0].attempts == 2
        await pair.committer.call(lambda s: s.move_deliveries([DeliveryId(1)], "queued", "released"))
        pair.lanes[EPR].reread()
        await until(lambda: pair.states() == [(EPR, "held")] and pair.rows()[0].attempts == 4)

    @pytest.mark.parametrize("days", [-400, 400])
    async def test_a_wall_clock_that_jumps_uses_no_limit_up(self, pair, days) -> None:
        """R13."""
        policy = Policy(on_rejected=Action("retry", most_age_s=3600.0), **AT_ONCE)
        pair.make(ScriptedSink(*[AR] * 5), policy)
        pair.start()
        await pair.feed()
        await until(lambda: pair.rows()[0].attempts >= 1)
        pair.clock.wall_ahead_s = days * 86400.0
        await until(lambda: pair.states() == [(EPR, "delivered")])


def night(clock) -> Timetable:
    """Hours that begin in half an hour of the clock, and last an hour."""
    now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC)
    begin = (now.hour * 60 + now.minute + 30) % 1440
    end = (begin + 60) % 1440
    return Timetable([HoursText(f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}")], "UTC")


class TestHours:
    """Outside of its hours a destination gets nothing, and everybody can see why."""

    async def test_messages_wait_until_it_opens_and_go_in_order(self, pair) -> None:
        table = night(pair.clock)
        pair.make(ScriptedSink(), Policy(), table=table)
        pair.start()
        await pair.feed(3)
        lane = pair.lanes[EPR]
        await until(lambda: lane.state == "waiting")
        assert lane.last_note.startswith("closed until ")
        assert lane.last_note.endswith("(UTC)")
        assert pair.sinks[EPR].sent == []
        lane.retry_now()
        await turns(20)
        assert pair.sinks[EPR].sent == [], "a retry is not a reason to send at noon"
        pair.clock.wall_ahead_s = 1800.0 + 60.0
        lane._wake_all()
        await until(lambda: pair.sinks[EPR].sent == [1, 2, 3])
        assert lane.last_note == ""

    async def test_a_limit_does_not_run_while_it_is_closed(self, pair) -> None:
        policy = Policy(on_rejected=Action("retry", most_age_s=7200.0), first_s=0.0, most_s=0.0, jitter=0.0)
        table = night(pair.clock)
        pair.clock.ahead_s = 1800.0 + 1800.0  # open for half an hour
        pair.make(ScriptedSink(AR, AR), policy, table=table)
        pair.sinks[EPR].gate.clear()
        pair.start()
        await pair.feed()
        await until(lambda: pair.sinks[EPR].busy)
        pair.sinks[EPR].gate.set()
        await until(lambda: len(pair.sinks[EPR].sent) == 3)
        await until(lambda: pair.states() == [(EPR, "delivered")])

    async def test_a_day_later_two_hours_of_trying_are_not_over(self, pair) -> None:
        policy = Policy(on_rejected=Action("retry", most_age_s=7200.0), first_s=600.0, most_s=600.0, jitter=0.0)
        table = night(pair.clock)
        pair.clock.ahead_s = 1800.0 + 1800.0
        pair.make(ScriptedSink(AR, AR, AR), policy, table=table)
        pair.start()
        await pair.feed()
        await until(lambda: pair.lanes[EPR].attempts == 1)
        for days, attempts in ((1, 2), (2, 3)):  # an hour open on each of them
            pair.clock.ahead_s = 3600.0 + days * 86400.0
            pair.lanes[EPR].retry_now()
            await until(lambda n=attempts: pair.rows()[0].attempts == n)
            assert pair.states() == [(EPR, "queued" if days == 1 else "held")]

    async def test_a_closed_night_is_no_reason_to_go_elsewhere(self, pair) -> None:
        """It is down and closed: what waits, waits for its hours; and the limit runs in them only."""
        policy = Policy(
            on_unreachable=Action("retry", most_age_s=1800.0, then="redirect", to=SPARE),
            first_s=60.0,
            most_s=60.0,
            jitter=0.0,
        )
        table = night(pair.clock)
        pair.clock.ahead_s = 1800.0 + 3600.0 - 120.0  # it closes in two minutes
        lane = pair.make(ScriptedSink(*[DOWN] * 99), policy, table=table)
        pair.start()
        await pair.feed(2)
        await until(lambda: lane.state == "down")
        pair.clock.ahead_s += 3600.0
        lane._wake_all()
        await until(lambda: lane.last_note.startswith("closed until"))
        await turns(50)
        assert pair.states(1) == pair.states(2) == [(EPR, "queued")]
        pair.clock.ahead_s = 86400.0 + 1800.0 + 60.0  # open again, and down for a minute or three of open time
        lane._wake_all()
        await until(lambda: len(pair.sinks[EPR].sent) >= 2)
        await turns(50)
        assert pair.states(2) == [(EPR, "queued")]
        pair.clock.ahead_s = 86400.0 + 3600.0
        lane._wake_all()
        await until(lambda: pair.states(1) == OVER and pair.states(2) == OVER)


class InTwoSteps(WatchedStore):
    """A mutant: the old delivery ends in one transaction, and the new one is queued in the next."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock)
        self.late: list[tuple[DeliveryId, DraftDelivery]] = []
        self.crashed = False

    def crash(self) -> None:
        super().crash()
        self.crashed = True

    def commit(self, batch: Batch) -> Committed:
        if self.crashed:
            return super().commit(batch)
        late, self.late = self.late, []
        for ended in batch.results:
            if ended.redirect is not None:
                self.late.append((ended.delivery_id, ended.redirect))
                ended.state, ended.redirect = "failed", None
        committed = super().commit(batch)
        committed.redirected += self.redirect_deliveries(late, "late") if late else []
        return committed


async def killed_at_every_moment(tmp_path: Path, store: type[WatchedStore]) -> set[tuple[str, ...]]:
    """Kills an engine at one turn of its loop after another, while it redirects; what each left behind."""
    destinations = "{out: {kept: {}, on_refused: redirect(spare)}, spare: {kept: {}}}"
    seen: set[tuple[str, ...]] = set()
    for moment in range(24):
        site = SiteUnderTest(tmp_path / f"s{moment}", {"adt": channel(destinations=destinations)})
        site.store = store(site.clock)
        refused, taken = ScriptedSink(*[Refused("AE")] * 9), ScriptedSink()
        site.kept.sinks |= {"adt/out": refused, "adt/spare": taken}
        refused.gate.clear()
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(messages.adt(control_id="A1"))
            await wire.answer()
            await until(lambda sink=refused: sink.busy)
            refused.gate.set()
            for _ in range(moment):
                site.engine._committer.hurry()
                await asyncio.sleep(0)
        states = site.delivery_states()
        seen.add(tuple(states))
        assert states in (["queued"], ["redirected", "queued"], ["redirected", "delivered"]), states
        async with site.running():
            await until(lambda s=site: s.delivery_states() == ["redirected", "delivered"])
        assert len({delivery.id for call in taken.calls for delivery in call}) == 1
    return seen


class TestWholeEngine:
    """Channel files, the pipeline's forms and character sets, and a stop at the worst moment."""

    async def test_what_takes_over_is_written_as_the_other_reads_it(self, tmp_path) -> None:
        destinations = (
            "{out: {kept: {}, charset: 8859/1, on_refused: redirect(spare)}, spare: {kept: {}, charset: UNICODE UTF-8}}"
        )
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(destinations=destinations)})
        site.kept.sinks["adt/out"] = ScriptedSink(Refused("AE"))
        async with site.running():
            wire = await site.wire()
            await wire.send(messages.adt(control_id="A1", family="Müller", charset="UNICODE UTF-8"))
            (body,) = await site.delivered("adt/spare", 1)
        assert "Müller".encode() in body
        assert b"|UNICODE UTF-8" in body
        assert "Müller".encode("latin-1") in site.kept.bodies("adt/out")[0]

    async def test_the_key_of_what_takes_over_is_read_off_what_it_gets(self, tmp_path) -> None:
        destinations = (
            "{out: {mllp: {host: h, port: 1}}, first: {kept: {}, on_refused: redirect(second)},"
            " second: {mllp: {host: 127.0.0.1, port: 1}, order_by: PID-3.1, lanes: 2}}"
        )
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(destinations=destinations, routes="[{to: first}]")})
        site.kept.sinks["adt/first"] = ScriptedSink(Refused("AE"))
        async with site.running():
            wire = await site.wire()
            await wire.send(messages.adt(control_id="A1", mrn="4711"))
            await until(lambda: site.delivery_states() == ["redirected", "queued"])
            queries = site.store.queries()
            assert queries.deliveries(MessageSeq(1))[1].key == "4711"

    async def test_a_file_says_who_takes_over_and_the_metrics_tell(self, tmp_path) -> None:
        destinations = "{out: {kept: {}, on_refused: {204: redirect(spare), otherwise: skip}}, spare: {kept: {}}}"
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(destinations=destinations)})
        site.kept.sinks["adt/out"] = ScriptedSink(Refused("AE", "204"), Refused("AE", "102"))
        async with site.running() as engine:
            wire = await site.wire()
            for control_id in ("A1", "A2"):
                await wire.send(messages.adt(control_id=control_id))
                await wire.answer()
            await until(lambda: sorted(site.delivery_states()) == ["delivered", "failed", "redirected"])
            assert engine.meter.lane("adt", "out").redirects == 1
        assert [b"A1" in body for body in site.kept.bodies("adt/spare")] == [True]

    async def test_killed_at_any_moment_of_a_redirect_the_message_is_with_one_of_the_two(self, tmp_path) -> None:
        """Never with both, never with neither: the engine dies at each turn of its loop, and another goes on."""
        assert len(await killed_at_every_moment(tmp_path, WatchedStore)) >= 2, "before and after the transaction"

    async def test_that_finds_a_store_that_redirects_in_two_steps(self, tmp_path) -> None:
        with pytest.raises(AssertionError, match="failed"):
            await killed_at_every_moment(tmp_path, InTwoSteps)

    @pytest.mark.parametrize("kept", [True, False])
    async def test_a_commit_whose_end_is_not_known_leaves_one_of_the_two(self, tmp_path, kept) -> None:
        """reliability.md section 0, row 4."""
        destinations = "{out: {kept: {}, on_refused: redirect(spare)}, spare: {kept: {}}}"
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(destinations=destinations)})
        refused = site.kept.sinks["adt/out"] = ScriptedSink(*[Refused("AE")] * 9)
        refused.gate.clear()
        async with site.running(stop=False) as engine:
            wire = await site.wire()
            await wire.send(messages.adt(control_id="A1"))
            await wire.answer()
            await until(lambda: refused.busy)
            site.store.fail_next(CommitUnknown("the disk says EIO"), kept=kept)
            refused.gate.set()
            await until(lambda: engine._committer.dead)
            assert site.kept.bodies("adt/spare") == [], "nothing goes on before the commit is certain"
        assert site.delivery_states() == (["redirected", "queued"] if kept else ["queued"])
        async with site.running():
            await until(lambda: site.delivery_states() == ["redirected", "delivered"])
