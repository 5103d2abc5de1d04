"""Reload: the whole site is read first, then what differs is exchanged between two messages; nothing is lost by it."""

import asyncio
import logging
from pathlib import Path

import pytest

from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.reload import ReloadReport
from engine.testing.messages import adt, orm
from tests.ports import free_port
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes, isolate
from tests.runtime.parts import turns, until
from tests.runtime.wires import Wire

OUT = DestinationName("out")


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(), "orm": channel(accept="ORM^*")})


def write(site: SiteUnderTest, name: str, text: str, path: str = "channel.yaml") -> None:
    target = site.folder / "channels" / name / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def remove(site: SiteUnderTest, name: str) -> None:
    (site.folder / "channels" / name / "channel.yaml").unlink()


async def reload(site: SiteUnderTest) -> ReloadReport:
    return await site.engine.control.reload()


async def plan(site: SiteUnderTest) -> ReloadReport:
    return await site.engine.control.plan()


async def exchange(wire: Wire, control_id: str) -> str:
    await wire.send(adt(control_id=control_id))
    (code,) = codes([await wire.answer()])
    return code


def lane_of(site: SiteUnderTest, name: str = "adt") -> object:
    return site.running_channel(name).lanes[OUT]


def queued(site: SiteUnderTest, destination: str = "out", name: str = "adt") -> int:
    depths = site.store.queries().depths()
    return sum(d.queued for d in depths if (d.channel, d.destination) == (name, destination))


def renamed(to: str) -> str:
    return channel(steps=f"steps: [{{set: {{MSH-5: {to}}}}}]")


class TestNothingChanged:
    async def test_a_reload_of_the_same_files_touches_nothing(self, site) -> None:
        async with site.running():
            wire, lane, edition = await site.wire(), lane_of(site), site.running_channel().compiled
            report = await reload(site)
            assert (report.outcome, report.exit_code) == ("unchanged", 0)
            assert lane_of(site) is lane and site.running_channel().compiled is edition
            assert await exchange(wire, "A1") == "AA"

    async def test_an_unchanged_channel_keeps_connection_lane_and_counts_while_another_changes(self, site) -> None:
        async with site.running():
            other = await site.wire("orm")
            lane, before = lane_of(site, "orm"), site.running_channel("orm").compiled
            write(site, "adt", renamed("NEW"))
            report = await reload(site)
            assert [change.channel for change in report.channels] == ["adt"]
            assert lane_of(site, "orm") is lane and site.running_channel("orm").compiled is before
            await other.send(orm(control_id="O1"))
            assert codes([await other.answer()]) == ["AA"]


class TestABadFile:
    async def test_it_leaves_everything_as_it_runs_and_is_told_with_file_line_and_column(self, site, caplog) -> None:
        async with site.running():
            wire = await site.wire()
            write(site, "adt", renamed("NEW"))
            write(site, "orm", channel(accept="ORM^*", steps="steps: [{mapp: {PV1-2: t.csv}}]"))
            with caplog.at_level(logging.ERROR):
                report = await reload(site)
            assert (report.outcome, report.exit_code) == ("rejected", 78)
            (error,) = report.errors
            assert (error.code, error.file, error.line, error.column) == ("E102", "channels/orm/channel.yaml", 3, 10)
            assert "channels/orm/channel.yaml:3:10 E102 unknown step 'mapp'" in caplog.text
            assert await exchange(wire, "A1") == "AA"
            (body,) = await site.delivered("adt/out", 1)
            assert b"|NEW|" not in body, "also the channel whose own file is good runs as before"

    async def test_own_code_that_does_not_load_rejects_all_of_it(self, site) -> None:
        async with site.running():
            await site.wire()
            write(site, "orm", channel(accept="ORM^*", steps="steps: [{set: {MSH-5: X}}]"))
            write(site, "adt", channel(steps="steps: [{python: 'steps.py:go'}]"))
            write(site, "adt", "import nowhere_at_all\n\n\ndef go(message, context):\n    pass\n", "steps.py")
            before = site.running_channel("orm").version
            report = await reload(site)
            assert (report.outcome, report.exit_code) == ("rejected", 78)
            assert "channel adt" in report.sentence
            assert site.running_channel("orm").version == before
            assert site.running_channel("adt").isolated is None

    async def test_a_port_that_is_taken_rejects_all_of_it(self, site) -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with site.running():
            wire = await site.wire()
            write(site, "adt", channel(port=f"{{port: {port}}}", destinations="{out: {kept: {}, window: 2}}"))
            write(site, "orm", channel(accept="ORM^*", port="{port: 0, idle_timeout: 1h}"))
            other = await site.wire("orm")
            lane = lane_of(site)
            report = await reload(site)
            assert (report.outcome, report.exit_code) == ("rejected", 69)
            for way in (other, await site.wire("orm")):
                await way.send(orm(control_id="O1"))
                assert codes([await way.answer()]) == ["AA"], "a port that was to change is as it was"
            assert lane_of(site) is lane and set(site.engine._assembly.windows) >= {lane}
            assert len(site.engine._assembly.windows) == 2
            assert f"cannot listen on 127.0.0.1:{port}" in report.sentence
            assert await exchange(wire, "A1") == "AA"
            server.close()
            await server.wait_closed()
            report = await reload(site)
            assert report.outcome == "taken"
            assert site.engine.addresses["adt"][1] == port
            assert await wire.rest() == b"", "the old port answered what was in hand and closed"
            assert await exchange(await site.wire(), "A2") == "AA"


class TestStepsAndTables:
    async def test_connections_stay_and_each_message_is_recorded_with_its_version(self, site) -> None:
        async with site.running():
            wire = await site.wire()
            assert await exchange(wire, "A1") == "AA"
            write(site, "adt", renamed("NEW"))
            report = await reload(site)
            (change,) = report.channels
            assert (change.what, change.connections) == (("steps",), 0)
            assert await exchange(wire, "A2") == "AA"
            first, second = await site.delivered("adt/out", 2)
            assert b"|NEW|" not in first and b"|NEW|" in second
            versions = [message.version for message in site.messages()]
            assert len(set(versions)) == 2
            assert site.running_channel().version == versions[1]

    async def test_a_mended_table_lets_a_held_message_go_on_without_a_restart(self, tmp_path) -> None:
        text = channel(steps="steps: [{map: {PV1-2: t.csv, otherwise: hold}}]")
        site = SiteUnderTest(tmp_path / "site", {"adt": {"channel.yaml": text, "t.csv": "from,to\nX,Y\n"}})
        async with site.running() as engine:
            wire = await site.wire()
            assert await exchange(wire, "A1") == "AA"
            (held,) = site.messages(states=("held",))
            write(site, "adt", "from,to\nX,Y\nI,INPATIENT\n", "t.csv")
            report = await reload(site)
            assert [change.what for change in report.channels] == [("t.csv",)]
            report = await engine.control.release([MessageSeq(held.seq)])
            assert (report.messages, report.left) == (1, ())
            (body,) = await site.delivered("adt/out", 1)
            assert b"INPATIENT" in body

    async def test_a_message_in_another_process_ends_by_the_files_it_began_with(self, site) -> None:
        async with site.running():
            wire = await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: pipeline.taken)
            old = site.running_channel().version
            write(site, "adt", renamed("NEW"))
            report = await reload(site)
            assert report.outcome == "taken"
            assert not pipeline.is_closed, "a message is with it"
            await wire.send(adt(control_id="A2"))
            pipeline.gate.set()
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            await until(lambda: pipeline.is_closed)
            first, second = site.messages()
            assert first.version == old and second.version == site.running_channel().version
            bodies = await site.delivered("adt/out", 2)
            assert [b"|NEW|" in body for body in bodies] == [False, True]

    async def test_what_waits_for_its_turn_is_processed_and_recorded_by_the_new_files(self, site) -> None:
        write(site, "adt", channel(more="ack: {when: stored}"))
        async with site.running():
            wire = await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            await until(lambda: pipeline.taken)
            old = site.running_channel().version
            write(site, "adt", renamed("NEW"))
            await reload(site)
            pipeline.gate.set()
            bodies = await site.delivered("adt/out", 2)
            assert [b"|NEW|" in body for body in bodies] == [False, True]
            assert [message.version for message in site.messages()] == [old, site.running_channel().version]


class TestPorts:
    async def test_other_settings_of_a_port_close_its_connections_in_order_and_no_one_is_refused(self, site) -> None:
        async with site.running() as engine:
            wire = await site.wire()
            address = engine.addresses["adt"]
            pipeline = isolate(site)
            pipeline.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: pipeline.taken)
            write(site, "adt", channel(port="{port: 0, idle_timeout: 1h}"))
            planned = await plan(site)
            assert [(c.channel, c.connections) for c in planned.channels] == [("adt", 1)]
            task = asyncio.get_running_loop().create_task(reload(site))
            await until(lambda: site.engine._assembly.closing)
            late = await Wire.open(address)  # the port is open all the time
            site.wires.append(late)
            await late.send(adt(control_id="A2"))
            pipeline.gate.set()
            assert codes([await wire.answer()]) == ["AA"], "what was in hand is answered"
            assert codes([await late.answer()]) == ["AA"]
            assert [message.control_id for message in site.messages()] == ["A1", "A2"]
            assert await wire.rest() == b""
            report = await task
            assert report.outcome == "taken" and engine.addresses["adt"] == address
            assert not site.engine._assembly.closing

    async def test_channels_of_one_port_come_and_go_without_a_connection_being_closed(self, tmp_path) -> None:
        port = free_port()
        shared = f"{{port: {port}}}"
        site = SiteUnderTest(tmp_path / "site", {"adt": channel(port=shared)})
        async with site.running():
            wire = await site.wire()
            order = orm(control_id="O1")
            await wire.send(order)
            assert codes([await wire.answer()]) == ["AR"]
            write(site, "aaa", channel(accept="ORM^*", port=shared))
            report = await reload(site)
            assert [(c.channel, c.change, c.connections) for c in report.channels] == [("aaa", "added", 0)]
            await wire.send(order)
            assert codes([await wire.answer()]) == ["AA"]
            assert len(await site.delivered("aaa/out", 1)) == 1
            remove(site, "aaa")
            report = await reload(site)
            assert [(c.channel, c.change, c.connections) for c in report.channels] == [("aaa", "removed", 0)]
            await wire.send(order.replace(b"O1", b"O2"))
            assert codes([await wire.answer()]) == ["AR"]
            assert await exchange(wire, "A1") == "AA"

    async def test_an_address_that_one_of_our_own_ports_is_in_the_way_of_is_taken_after_it(self, tmp_path) -> None:
        port = free_port()
        site = SiteUnderTest(tmp_path / "site", {"adt": channel(port=f"{{port: {port}}}")})
        async with site.running() as engine:
            write(site, "adt", channel(port=f"{{port: {port}, host: 0.0.0.0}}"))
            report = await reload(site)
            assert (report.outcome, report.exit_code) == ("taken", 0)
            assert engine.addresses["adt"] == ("0.0.0.0", port)
            wire = await Wire.open(("127.0.0.1", port))
            site.wires.append(wire)
            assert await exchange(wire, "A1") == "AA"


class TestDestinations:
    async def test_another_sink_takes_over_when_the_attempt_in_hand_has_ended_and_has_all_that_waits(
        self, site
    ) -> None:
        async with site.running():
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            for number in range(5):
                assert await exchange(wire, f"A{number}") == "AA"
            await until(lambda: sink.busy)
            before = lane_of(site)
            write(site, "adt", channel(destinations="{out: {kept: {}, window: 2}}"))
            planned = await plan(site)
            assert [(c.waiting, c.what) for c in planned.channels] == [(5, ("destination out: window: 1 -> 2",))]
            task = asyncio.get_running_loop().create_task(reload(site))
            await until(lambda: lane_of(site) is not before)
            assert await exchange(wire, "A5") == "AA"
            await turns()
            assert len(sink.calls) == 1, "the one in hand is awaited"
            sink.gate.set()
            assert (await task).outcome == "taken"
            await site.delivered("adt/out", 6)
            assert sink.sent == sorted(set(sink.sent)), "each once, in order"
            await until(lambda: set(site.delivery_states()) == {"delivered"})

    async def test_reloads_on_top_of_each_other_keep_the_order(self, site) -> None:
        async with site.running():
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            for number in range(3):
                assert await exchange(wire, f"A{number}") == "AA"
            await until(lambda: sink.busy)
            for window in (2, 3, 4):
                write(site, "adt", channel(destinations=f"{{out: {{kept: {{}}, window: {window}}}}}"))
                await site.engine._reloader._reload([])
                assert await exchange(wire, f"B{window}") == "AA"
            sink.gate.set()
            await site.delivered("adt/out", 6)
            assert sink.sent == sorted(set(sink.sent))

    async def test_what_waits_for_a_removed_destination_still_goes_there_and_then_it_is_closed(
        self, site, monkeypatch
    ) -> None:
        monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
        async with site.running() as engine:
            wire = await site.wire()
            old = site.kept.sinks["adt/out"]
            old.gate.clear()
            for number in range(3):
                assert await exchange(wire, f"A{number}") == "AA"
            write(site, "adt", channel(routes="[{to: other}]", destinations="{other: {kept: {}}}"))
            report = await reload(site)
            (change,) = report.channels
            assert change.waiting == 3 and "3 deliveries for out still go out" in " ".join(change.notes)
            assert await exchange(wire, "A3") == "AA"
            await site.delivered("adt/other", 1)
            (status,) = [row for row in await engine.control.status() if row.channel == "adt"]
            assert [lane.destination for lane in status.lanes] == ["other", "out"] and status.lanes[1].queued == 3
            old.gate.set()
            await site.delivered("adt/out", 3)
            await until(lambda: not site.running_channel().leaving)
            await until(lambda: old.is_closed)
            assert queued(site) == 0

    async def test_a_destination_that_comes_back_while_it_leaves_goes_on_in_order(self, site, monkeypatch) -> None:
        monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
        text = (site.folder / "channels/adt/channel.yaml").read_text()
        async with site.running():
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            for number in range(3):
                assert await exchange(wire, f"A{number}") == "AA"
            write(site, "adt", channel(routes="[{to: other}]", destinations="{other: {kept: {}}}"))
            await reload(site)
            write(site, "adt", text)
            task = asyncio.get_running_loop().create_task(reload(site))
            await until(lambda: OUT in site.running_channel().lanes)
            assert await exchange(wire, "A3") == "AA"
            sink.gate.set()
            await task
            await site.delivered("adt/out", 4)
            assert sink.sent == sorted(set(sink.sent))


class TestChannels:
    async def test_a_removed_channel_ends_what_it_accepted(self, site, monkeypatch) -> None:
        monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
        write(site, "adt", channel(more="ack: {when: stored}"))
        async with site.running() as engine:
            wire = await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            for number in range(3):
                assert await exchange(wire, f"A{number}") == "AA"
            remove(site, "adt")
            report = await reload(site)
            (change,) = report.channels
            assert (change.change, change.connections) == ("removed", 1)
            assert "3 messages accepted and not processed yet still go through it" in change.notes
            assert await wire.rest() == b""
            status = {row.channel: (row.listening != "", row.lanes[0].queued) for row in await engine.control.status()}
            assert status == {"orm": (True, 0), "adt": (False, 0)}, "it listens nowhere, and is shown while it owes"
            pipeline.gate.set()
            assert len(await site.delivered("adt/out", 3)) == 3
            await until(lambda: not engine._assembly.leaving)
            await until(lambda: pipeline.is_closed and site.kept.sinks["adt/out"].is_closed)

    async def test_a_channel_that_comes_back_while_it_leaves_is_the_same_one(self, site, monkeypatch) -> None:
        monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
        text = (site.folder / "channels/adt/channel.yaml").read_text()
        async with site.running() as engine:
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            for number in range(3):
                assert await exchange(wire, f"A{number}") == "AA"
            running = site.running_channel()
            remove(site, "adt")
            await reload(site)
            assert ChannelName("adt") in engine._assembly.leaving
            write(site, "adt", text)
            task = asyncio.get_running_loop().create_task(reload(site))
            await until(lambda: ChannelName("adt") in engine._channels)
            assert site.running_channel() is running
            again = await site.wire()
            assert await exchange(again, "A3") == "AA"
            sink.gate.set()
            assert (await task).outcome == "taken"
            await site.delivered("adt/out", 4)
            assert sink.sent == sorted(set(sink.sent))

    async def test_a_resend_over_a_channel_that_moved_to_another_port_is_recognised(self, site) -> None:
        async with site.running():
            wire = await site.wire()
            assert await exchange(wire, "A1") == "AA"
            port = free_port()
            write(site, "adt", channel(port=f"{{port: {port}}}"))
            assert (await reload(site)).outcome == "taken"
            assert await exchange(await site.wire(), "A1") == "AA"
            assert len(site.messages()) == 1

    async def test_a_longer_window_knows_what_came_before_it(self, site) -> None:
        write(site, "adt", channel(more="duplicates: off"))
        write(site, "orm", channel(accept="ORM^*", more="duplicates: off"))
        async with site.running() as engine:
            wire = await site.wire()
            assert await exchange(wire, "A1") == "AA"
            write(site, "adt", channel())
            await reload(site)
            assert await exchange(wire, "A1") == "AA"
            assert len(site.messages()) == 1, "a resend of what came when the window was off"
            await until(lambda: engine._assembly.recent.is_complete)


class TestSite:
    async def test_what_cannot_be_taken_up_live_is_told_and_the_rest_is(self, site) -> None:
        async with site.running() as engine:
            (site.folder / "segmill.yaml").write_text(MEMORY + "data: elsewhere\nlimits: {connections: 77}\n")
            report = await reload(site)
            assert (report.outcome, report.exit_code) == ("taken", 1)
            assert report.needs_restart == ("data: data -> elsewhere",)
            assert "needs a restart" in report.sentence
            (note,) = report.notes
            assert "control socket is in elsewhere" in note and "the store stays" in note
            again = await reload(site)
            assert (again.outcome, again.exit_code) == ("unchanged", 1)
            assert again.needs_restart == report.needs_restart, "until there was a restart"
            assert again.notes == report.notes and "needs a restart" in again.sentence
            assert engine._assembly.room.most_connections == 77

    async def test_one_reload_at_a_time(self, site) -> None:
        async with site.running() as engine:
            async with engine._reloader._turn:
                report = await reload(site)
            assert (report.outcome, report.exit_code) == ("busy", 75)

    async def test_an_engine_that_stops_takes_up_nothing_more(self, site) -> None:
        async with site.running() as engine:
            await engine._reloader.ended()
            write(site, "adt", renamed("NEW"))
            assert (await reload(site)).outcome == "busy"

    async def test_a_plan_touches_nothing(self, site) -> None:
        async with site.running():
            before = site.running_channel().compiled
            write(site, "adt", renamed("NEW"))
            remove(site, "orm")
            report = await plan(site)
            assert report.outcome == "planned"
            assert [(c.channel, c.change) for c in report.channels] == [("adt", "changed"), ("orm", "removed")]
            assert site.running_channel().compiled is before
            assert ChannelName("orm") in site.engine._channels
