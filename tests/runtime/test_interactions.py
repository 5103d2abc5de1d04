"""Where two things happen at once that are each tested alone: a reload beside redirects, orders, keys and removals."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest

from engine.exchange import Exchange
from engine.leaving import Leaving
from engine.model.ids import ChannelName, DestinationName
from engine.model.outcome import Refused
from engine.ports.control import Order
from engine.ports.operations import By
from engine.runtime.channels import RunningChannel
from engine.runtime.lane import Lane
from engine.runtime.policy import Action, Policy
from engine.testing.messages import adt
from tests.runtime.engines import SiteUnderTest, channel, codes, isolate
from tests.runtime.keyed import DOWN, Bench
from tests.runtime.parts import owned_tasks, turns, until
from tests.runtime.test_reload import exchange, queued, reload, remove, write

ADT = ChannelName("adt")
OUT = DestinationName("out")
SPARE = DestinationName("spare")
STEPS = "steps: [{set: {MSH-5: NEW}}]"
AE = Refused("AE")
BY = By("tester", "because")
ON = channel(destinations="{out: {kept: {}, on_refused: redirect(spare)}, spare: {kept: {}}}")
ALONE = channel(destinations="{out: {kept: {}}}")
BESIDE = channel(destinations="{out: {kept: {}}, spare: {kept: {}}}")


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
    monkeypatch.setattr("engine.exchange.SETTLE_S", 0.01)


@pytest.fixture
async def bench(store, committer, clock) -> AsyncIterator[Bench]:
    async with owned_tasks() as (tasks, failures):
        yield Bench(store, committer, clock, tasks)
        assert failures == []


def site_of(tmp_path: Path, text: str) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": text, "other": channel(accept="ORM^*")})


class TestRedirects:
    async def test_a_channel_that_leaves_sends_on_what_its_policy_redirects(self, tmp_path) -> None:
        site = site_of(tmp_path, ON)
        async with site.running() as engine:
            sink = site.kept.sinks["adt/out"]
            sink.script[:] = [AE]
            sink.gate.clear()
            assert await exchange(await site.wire(), "A1") == "AA"
            await until(lambda: sink.busy)
            remove(site, "adt")
            assert (await reload(site)).outcome == "taken"
            sink.gate.set()
            await site.delivered("adt/spare", 1)
            await until(lambda: ADT not in engine._assembly.leaving)
            assert site.delivery_states() == ["redirected", "delivered"]

    @pytest.mark.parametrize("after", [ALONE, channel(destinations="{new: {kept: {}}}", routes="[{to: new}]")])
    async def test_a_destination_that_leaves_stays_for_what_others_may_send_on_to_it(self, tmp_path, after) -> None:
        site = site_of(tmp_path, ON)
        async with site.running():
            sink = site.kept.sinks["adt/out"]
            sink.script[:] = [AE, AE]
            sink.gate.clear()
            wire = await site.wire()
            for control_id in ("A1", "A2"):
                assert await exchange(wire, control_id) == "AA"
            await until(lambda: sink.busy)
            write(site, "adt", after)
            assert (await reload(site)).outcome == "taken"
            await asyncio.sleep(0.1)  # some looks at what waits
            sink.gate.set()
            await site.delivered("adt/spare", 1)
            await until(lambda: not site.running_channel().leaving)
            assert queued(site) == queued(site, "spare") == 0


class TestSeveralReloads:
    async def test_a_destination_stays_for_a_message_that_is_in_a_process_since_the_reload_before_the_last(
        self, tmp_path
    ) -> None:
        site = site_of(tmp_path, BESIDE)
        async with site.running():
            wire = await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: pipeline.taken)
            write(site, "adt", channel(destinations="{out: {kept: {}}, spare: {kept: {}}}", steps=STEPS))
            assert (await reload(site)).outcome == "taken"
            write(site, "adt", channel(destinations="{spare: {kept: {}}}", routes="[{to: spare}]"))
            assert (await reload(site)).outcome == "taken"
            await asyncio.sleep(0.1)  # some looks at what waits
            pipeline.gate.set()
            assert codes([await wire.answer()]) == ["AA"]
            await site.delivered("adt/out", 1)
            await until(lambda: not site.running_channel().leaving)

    async def test_what_waited_for_a_destination_that_was_renamed_can_be_moved_after_a_restart(self, tmp_path) -> None:
        site = site_of(tmp_path, BESIDE)
        async with site.running() as engine:
            await engine.control.operate(Order("pause", BY, lanes=[(ADT, OUT)]))
            wire = await site.wire()
            for number in range(5):
                assert await exchange(wire, f"A{number}") == "AA"
            write(site, "adt", channel(destinations="{new: {kept: {}}}", routes="[{to: new}]"))
            assert (await reload(site)).outcome == "taken"
        async with site.running() as engine:
            queries = site.store.queries()
            planned = [(d.id, d.state) for m in site.messages() for d in queries.deliveries(m.seq)]
            order = Order("redirect", BY, deliveries=planned, to=DestinationName("new"))
            assert (await engine.control.operate(order)).deliveries == 5
            bodies = await site.delivered("adt/new", 5)
            assert [body.split(b"|")[9] for body in bodies] == [b"A0", b"A1", b"A2", b"A3", b"A4"]


class TestOrders:
    async def test_nothing_is_taken_from_a_lane_that_ends_its_attempt_after_a_reload(self, tmp_path) -> None:
        site = site_of(tmp_path, BESIDE)
        async with site.running() as engine:
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            assert await exchange(await site.wire(), "A1") == "AA"
            await until(lambda: sink.busy)
            write(site, "adt", channel(destinations="{out: {kept: {}, window: 2}, spare: {kept: {}}}"))
            assert (await reload(site)).outcome == "taken"
            (delivery,) = [d for m in site.messages() for d in site.store.queries().deliveries(m.seq)]
            order = Order("redirect", BY, deliveries=[(delivery.id, "queued")], to=SPARE)
            task = asyncio.get_running_loop().create_task(engine.control.operate(order))
            await turns(200)
            await asyncio.sleep(0.1)
            assert not task.done(), "it may have arrived already"
            sink.gate.set()
            await asyncio.wait({task})
            await until(lambda: queued(site) == 0)
            await turns(200)
            assert site.kept.bodies("adt/spare") == []
            assert site.delivery_states() == ["delivered"]


class TestWhatIsGone:
    async def test_what_is_held_for_it_stays_held(self, tmp_path) -> None:
        site = site_of(tmp_path, BESIDE)
        async with site.running() as engine:
            site.kept.sinks["adt/out"].script[:] = [AE, AE]
            wire = await site.wire()
            for control_id in ("A1", "A2"):
                assert await exchange(wire, control_id) == "AA"
            await until(lambda: site.delivery_states() == ["held", "held"])
            write(site, "adt", channel(destinations="{spare: {kept: {}}}", routes="[{to: spare}]"))
            assert (await reload(site)).outcome == "taken"
            await until(lambda: not site.running_channel().leaving)
            first, second = site.messages()
            report = await engine.control.release([first.seq], BY)
            assert report.deliveries == 0 and "out" in report.left[0][1]
            (delivery,) = site.store.queries().deliveries(second.seq)
            report = await engine.control.operate(Order("release", BY, deliveries=[(delivery.id, "held")]))
            assert report.deliveries == 0 and "out" in report.left[0][1]
            assert site.delivery_states() == ["held", "held"]

    async def test_nothing_is_sent_to_it_again(self, tmp_path) -> None:
        both = "[{to: out}, {to: spare}]"
        site = site_of(tmp_path, channel(destinations="{out: {kept: {}}, spare: {kept: {}}}", routes=both))
        async with site.running() as engine:
            assert await exchange(await site.wire(), "A1") == "AA"
            await site.delivered("adt/out", 1)
            await site.delivered("adt/spare", 1)
            write(site, "adt", channel(destinations="{spare: {kept: {}}}", routes="[{to: spare}]"))
            assert (await reload(site)).outcome == "taken"
            await until(lambda: not site.running_channel().leaving)
            (message,) = site.messages()
            await engine.control.resend([message.seq], None, BY)
            await site.delivered("adt/spare", 2)
            assert queued(site) == 0


class TestWantedAgain:
    """The files have again what is about to be closed, while the reload that says so is being prepared."""

    @pytest.fixture
    def about_to_close(self, monkeypatch) -> asyncio.Event:
        """Nothing is found to be owed before a reload has looked at what is there, and is found then at once."""
        looked = asyncio.Event()
        any_waits, prepare_ports = Leaving._any_waits, Exchange._prepare_ports

        async def waits(self: Leaving, lanes: Iterable[Lane]) -> bool:
            found = await any_waits(self, lanes)
            return not looked.is_set() or found

        async def prepare(self: Exchange, channels: Mapping[ChannelName, RunningChannel]) -> None:
            if self._assembly.leaving or any(channel.leaving for channel in self._assembly.channels.values()):
                looked.set()
                await asyncio.sleep(0.1)  # some looks at what is owed
            await prepare_ports(self, channels)

        monkeypatch.setattr(Leaving, "_any_waits", waits)
        monkeypatch.setattr(Exchange, "_prepare_ports", prepare)
        return looked

    async def test_a_channel_goes_on_with_all_its_parts(self, tmp_path, monkeypatch) -> None:
        site = site_of(tmp_path, channel(more="ack: {when: stored}"))
        owes, asked, looked = Leaving._owes, asyncio.Event(), asyncio.Event()
        prepare_ports = Exchange._prepare_ports

        async def slowly(self: Leaving, channel: RunningChannel) -> bool:
            found = await owes(self, channel)
            asked.set()
            await looked.wait()
            return found

        async def prepare(self: Exchange, channels: Mapping[ChannelName, RunningChannel]) -> None:
            if self._assembly.wanted_again:
                looked.set()
                await asyncio.sleep(0.1)  # some looks at what is owed
            await prepare_ports(self, channels)

        monkeypatch.setattr(Leaving, "_owes", slowly)
        monkeypatch.setattr(Exchange, "_prepare_ports", prepare)
        async with site.running():
            assert await exchange(await site.wire(), "A1") == "AA"
            await site.delivered("adt/out", 1)
            text = (site.folder / "channels/adt/channel.yaml").read_text()
            remove(site, "adt")
            assert (await reload(site)).outcome == "taken"
            await asked.wait()
            write(site, "adt", text)
            assert (await reload(site)).outcome == "taken"
            assert looked.is_set()
            assert await exchange(await site.wire(), "A2") == "AA"
            assert len(await site.delivered("adt/out", 2)) == 2

    async def test_a_channel_that_is_back_before_its_port_has_closed_joins_fragments(self, tmp_path) -> None:
        site = site_of(tmp_path, channel(more="fragments: {dsc: join}"))
        async with site.running() as engine:
            wire = await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: pipeline.taken)
            text = (site.folder / "channels/adt/channel.yaml").read_text()
            remove(site, "adt")
            assert (await reload(site)).outcome == "taken"
            assert engine._assembly.closing, "what it has in hand is still to be answered"
            write(site, "adt", text)
            assert (await reload(site)).outcome == "taken"
            pipeline.gate.set()
            assert codes([await wire.answer()]) == ["AA"]
            await until(lambda: not engine._assembly.closing)
            await turns(100)
            assert site.running_channel().joins_fragments

    async def test_a_destination_that_closed_meanwhile_is_opened_with_its_new_order(
        self, tmp_path, about_to_close
    ) -> None:
        site = site_of(tmp_path, BESIDE)
        async with site.running():
            assert await exchange(await site.wire(), "A1") == "AA"
            await site.delivered("adt/out", 1)
            write(site, "adt", channel(destinations="{spare: {kept: {}}}", routes="[{to: spare}]"))
            assert (await reload(site)).outcome == "taken"
            assert OUT in site.running_channel().leaving
            write(site, "adt", channel(destinations="{out: {kept: {}, order_by: PID-3.1, lanes: 3}}"))
            assert (await reload(site)).outcome == "taken"
            assert about_to_close.is_set()
            assert await exchange(await site.wire(), "A2") == "AA"
            await site.delivered("adt/out", 2)
            assert site.running_channel().lanes[OUT].settings.keyed_from > 1, "the store knows of its order"


class TestMarks:
    async def test_what_a_crash_left_in_doubt_stays_marked_when_it_is_passed_on_untried(self, bench, store) -> None:
        to_spare = Policy(on_unreachable=Action("redirect", to=SPARE), first_s=600, most_s=600)
        bench.make(start=False)
        await bench.feed("A", "B", "C")
        store.crash()
        store.open()
        bench.receiver.answer = lambda _: DOWN
        bench.make(lanes=1, policy=to_spare)
        await until(lambda: sum(row.state == "redirected" for row in bench.rows()) == 3)
        assert len(bench.receiver.sent) < 3, "the others are passed on"
        bench.clock.ahead_s += 1
        store.crash()
        store.open()
        assert [row.maybe_sent for row in bench.rows() if row.state == "redirected"] == [True, True, True]


class TestKeys:
    async def test_what_is_in_a_process_when_the_order_changes_goes_before_the_new_keys(self, tmp_path) -> None:
        site = site_of(tmp_path, ALONE)
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: pipeline.taken)
            write(site, "adt", channel(destinations="{out: {kept: {}, order_by: PID-3.1}}"))
            assert (await reload(site)).outcome == "taken"
            await asyncio.sleep(0.1)  # a lane that did not wait for it would have begun
            pipeline.gate.set()
            assert codes([await wire.answer()]) == ["AA"]
            assert await exchange(other, "A2") == "AA"
            sink = site.kept.sinks["adt/out"]
            await site.delivered("adt/out", 2)
            (first,), (second,) = sink.calls
            assert first.id < site.running_channel().lanes[OUT].settings.keyed_from
            assert (first.key, bool(second.key)) == (None, True)

    @pytest.mark.parametrize("window", [1, 8])
    async def test_a_key_that_both_orders_have_goes_on_behind_what_the_old_one_ended(self, bench, window) -> None:
        bench.make(start=False, order_by="PID-3.1")
        await bench.feed("A", "B", "A")
        bench.make(start=False, order_by="upper(PID-3.1)", window=window)
        await bench.feed("A", "B", "A")
        bench.task = bench.tasks.spawn(bench.lane.run(), "deliver")
        await bench.all_delivered()
        assert [d.id for d in bench.receiver.sent][:3] == [1, 2, 3]
