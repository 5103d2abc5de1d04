"""The whole engine: how it starts, what it does when a part fails, how it stops, and what people may ask of it."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine import app
from engine.adapters.stores.writing import Writing
from engine.app import ConfigurationError, Engine, EngineFailed, load_site
from engine.exit_codes import STORE_FAILED
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Refused, Unreachable
from engine.ports.control import By, Order
from engine.ports.store import CommitUnknown, StoreBusy, StoreError, StoreFull
from engine.runtime import lookout
from engine.runtime.policy import Action, Rules
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes, isolate, msa
from tests.runtime.parts import ScriptedSink, turns, until
from tests.runtime.wires import Wire

SQLITE = "admin: off\nshutdown: 5s\n"
AE = Refused("AE")


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel()})


def on_disk(tmp_path: Path, **channels: str | Mapping[str, str | bytes]) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", channels or {"adt": channel()}, SQLITE)


def seqs(*numbers: int) -> list[MessageSeq]:
    return [MessageSeq(number) for number in numbers]


async def send(site: SiteUnderTest, *payloads: bytes, name: str = "adt") -> list[bytes]:
    wire = await site.wire(name)
    await wire.send(*payloads)
    return await wire.answers(len(payloads))


class TestStart:
    async def test_nobody_is_answered_before_everything_behind_the_answer_stands(self, site, monkeypatch) -> None:
        seen: list[tuple[bool, bool]] = []
        start = app.Listener.start

        async def watched(self, *how, **options):
            engine = site.engine
            tasks = {task.get_name() for task in asyncio.all_tasks()}
            seen.append(("deliver adt/out" in tasks, engine.control.not_ready != ""))
            return await start(self, *how, **options)

        monkeypatch.setattr(app.Listener, "start", watched)
        async with site.running() as engine:
            assert seen == [(True, True)]
            assert await engine.control.ready() == (True, "")

    async def test_a_port_that_is_taken_is_named_and_nothing_stays_open(self, tmp_path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            site = on_disk(tmp_path, a=channel(), b=channel(port=f"{{port: {port}}}"))
            threads = set(threading.enumerate())
            engine = site.make()
            with pytest.raises(EngineFailed, match=f"channel b cannot listen on 127.0.0.1:{port}.*ss -ltnp") as failed:
                await engine.start()
            assert failed.value.exit_code == 69
            first = engine.addresses["a"]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*first)
            left = {t.name for t in set(threading.enumerate()) - threads if not t.name.startswith("asyncio")}
            assert left == set()
            assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
            assert not (site.folder / "data" / "control.sock").exists()
        async with site.running():
            pass  # the store is free again, too

    async def test_a_host_that_does_not_exist_is_told_in_words(self, tmp_path) -> None:
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(port="{port: 0, host: no.such.host.invalid}")})
        with pytest.raises(EngineFailed) as failed:
            await site.make().start()
        assert failed.value.exit_code == 69 and "Unknown error" not in failed.value.sentence

    async def test_a_second_engine_on_the_store_is_turned_away(self, tmp_path) -> None:
        site = on_disk(tmp_path)
        async with site.running():
            first = site.engine
            with pytest.raises(EngineFailed) as failed:
                await site.make().start()
            assert failed.value.exit_code == 75
            site.engine = first
            assert codes(await send(site, b"MSH|^~\\&|A|B|C|D|1||ADT^A01|1|P|2.5.1\r")) == ["AA"]

    async def test_a_site_with_errors_does_not_start(self, tmp_path) -> None:
        site = SiteUnderTest(tmp_path / "s", {"adt": "nonsense: here\n"})
        with pytest.raises(ConfigurationError) as failed:
            Engine(load_site(site.folder, site.kinds, {}))
        assert failed.value.exit_code == 78 and failed.value.findings

    @pytest.mark.skipif(os.geteuid() != 0 and not os.access("/proc", os.R_OK), reason="needs /proc")
    async def test_a_data_folder_that_cannot_be_made_is_told_in_words(self, tmp_path) -> None:
        site = SiteUnderTest(tmp_path / "s", {"adt": channel()}, "admin: off\ndata: /proc/nowhere\n")
        with pytest.raises(EngineFailed, match="/proc/nowhere") as failed:
            await site.make().start()
        assert failed.value.exit_code == 74

    async def test_a_store_that_is_full_at_the_start_ends_it_in_words(self, site, monkeypatch) -> None:
        def full(*_: object) -> None:
            raise StoreFull("no room left")

        monkeypatch.setattr(site.store, "channel_version", full)
        with pytest.raises(EngineFailed, match="no room left") as failed:
            await site.make().start()
        assert failed.value.exit_code == 74

    async def test_own_code_that_does_not_load_ends_the_start_in_words(self, tmp_path) -> None:
        files = {
            "channel.yaml": channel(steps="steps:\n  - python: steps.py:stamp"),
            "steps.py": "raise KeyError(1)\n\n\ndef stamp(message, run):\n    pass\n",
        }
        site = SiteUnderTest(tmp_path / "s", {"adt": files})
        with pytest.raises(EngineFailed, match="channel adt") as failed:
            await site.make().start()
        assert failed.value.exit_code == 78
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    async def test_own_code_is_ready_when_the_engine_is(self, tmp_path) -> None:
        files = {
            "channel.yaml": channel(steps="steps:\n  - python: steps.py:stamp"),
            "steps.py": "def stamp(message, run):\n    pass\n",
        }
        site = SiteUnderTest(tmp_path / "s", {"adt": files})
        async with site.running():
            assert site.running_channel().isolated.starts == 1

    async def test_what_waits_for_a_destination_that_is_gone_is_kept_and_said(self, tmp_path, adt, caplog) -> None:
        site = on_disk(tmp_path)
        async with site.running(deadline_s=0.3):
            site.kept_sinks["adt/out"].gate.clear()
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
        (site.folder / "channels/adt/channel.yaml").write_text(
            channel(routes="[{to: new}]", destinations="{new: {kept: {}}}")
        )
        with caplog.at_level(logging.WARNING):
            async with site.running():
                await send(site, adt(control_id="A3"))
                await site.delivered("adt/new", 1)
        assert "2 deliveries wait for adt/out" in caplog.text
        (site.folder / "channels/adt/channel.yaml").write_text(channel())
        site.kept_sinks["adt/out"].gate.set()
        site.kept_sinks["adt/out"].calls.clear()
        async with site.running():
            assert len(await site.delivered("adt/out", 2)) == 2

    async def test_stored_messages_of_a_channel_that_is_gone_are_said(self, tmp_path, adt, caplog) -> None:
        files = {"adt": channel(more="ack: {when: stored}"), "other": channel()}
        site = SiteUnderTest(tmp_path / "s", files)
        async with site.running(stop=False):
            isolate(site).gate.clear()
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
        for file in (site.folder / "channels/adt").iterdir():
            file.unlink()
        (site.folder / "channels/adt").rmdir()
        with caplog.at_level(logging.WARNING):
            async with site.running():
                pass
        assert "2 messages of channel adt" in caplog.text
        assert site.states() == ["received"] * 2


class TestSettings:
    """What a file says has its effect."""

    async def test_every_choice_about_a_destination_reaches_its_lane(self, tmp_path) -> None:
        chosen = (
            "{out: {kept: {}, on_refused: skip, on_rejected: stop, on_unanswered: hold, window: 7,"
            " retry: {first: 2s, most: 9s, jitter: 50%, limit: 5}}}"
        )
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(destinations=chosen)})
        async with site.running():
            (lane,) = site.running_channel().lanes.values()
            policy = lane.settings.policy
            assert lane.settings.window == 7
            assert (policy.on_refused, policy.on_rejected) == (Rules(Action("skip")), Rules(Action("stop")))
            assert (policy.on_unanswered, policy.on_unreachable) == (Action("hold"), Action("retry"))
            assert (policy.first_s, policy.most_s, policy.jitter, policy.most_attempts) == (2.0, 9.0, 0.5, 5)

    async def test_what_may_be_repeated_after_a_crash_counts_a_batch_of_the_sink(self, site, monkeypatch) -> None:
        """A batch of 64 that was sent and not recorded is 64 deliveries in doubt, whatever the window says."""
        site.kept.sinks["adt/out"] = ScriptedSink(max_batch=64)
        told: list[tuple[str, str, int]] = []
        lane_window = site.store.lane_window

        def watched(name: ChannelName, destination: DestinationName, window: int, order_by: str = "") -> DeliveryId:
            told.append((name, destination, window))
            return lane_window(name, destination, window, order_by)

        monkeypatch.setattr(site.store, "lane_window", watched)
        async with site.running():
            assert told == [("adt", "out", 64)]

    async def test_limits_bound_all_ports_together(self, tmp_path, adt) -> None:
        limits = "limits: {connections: 2, intake_memory: 64MiB}\n"
        site = SiteUnderTest(tmp_path / "s", {"a": channel(), "b": channel()}, MEMORY + limits)
        async with site.running() as engine:
            (room,) = {listener.room for listener in engine._listeners}
            assert room.most_bytes == 64 * 1024**2
            wires = [await site.wire("a"), await site.wire("b")]
            await until(lambda: sum(listener.connection_count for listener in engine._listeners) == 2)
            third = await site.wire("a")
            assert await third.rest() == b""
            await wires[0].send(adt(control_id="1"))
            assert msa(await wires[0].answer()) == ("AA", "1")

    async def test_connections_leave_file_descriptors_for_the_store(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr("resource.getrlimit", lambda _: (256, 4096))
        site = SiteUnderTest(tmp_path / "s", {"a": channel()})
        async with site.running() as engine:
            assert 100 < engine._listeners[0].room.most_connections < 256

    async def test_the_largest_message_always_fits(self, tmp_path) -> None:
        limits = "limits: {intake_memory: 1MiB}\n"
        site = SiteUnderTest(tmp_path / "s", {"a": channel(port="{port: 0, max_message: 8MiB}")}, MEMORY + limits)
        async with site.running() as engine:
            assert engine._listeners[0].room.most_bytes == 16 * 1024**2
            big = b"MSH|^~\\&|A|B|C|D|1||ADT^A01|1|P|2.5.1\rNTE|1||" + b"x" * 7_000_000 + b"\r"
            assert codes(await send(site, big, name="a")) == ["AA"]


class TestTrouble:
    async def test_an_unknown_outcome_ends_the_engine_at_once_though_a_receiver_is_silent(self, site, adt) -> None:
        async with site.running() as engine:
            site.kept_sinks["adt/out"].gate.clear()
            await send(site, adt(control_id="A1"))
            await until(lambda: site.kept_sinks["adt/out"].calls)
            site.store.fail_next(StoreError("what is this"))
            wire = await site.wire()
            await wire.send(adt(control_id="A2"))
            async with asyncio.timeout(60):  # a stop that waited for the receiver would take its whole deadline
                with pytest.raises(EngineFailed) as failed:
                    await engine.wait_closed()
                assert failed.value.exit_code == 74
                assert await engine.control.ready() == (False, failed.value.sentence)
                await engine.stop(deadline_s=600.0)

    async def test_a_task_that_fails_ends_the_engine_in_good_order(self, site, adt) -> None:
        async def defect() -> None:
            raise KeyError("a defect")

        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            engine._tasks.spawn(defect(), "housekeeping")
            with pytest.raises(EngineFailed, match="housekeeping") as failed:
                await engine.wait_closed()
            assert failed.value.exit_code == 70
            await engine.stop()
        assert site.states() == ["processed"]

    async def test_the_look_around_goes_on_when_the_store_cannot_be_read(self, site, monkeypatch) -> None:
        monkeypatch.setattr(lookout, "LOOK_S", 0.002)
        looks: list[int] = []
        async with site.running() as engine:
            depths = engine._queries.depths

            def failing():
                looks.append(1)
                if len(looks) < 4:
                    raise StoreBusy("locked")
                return depths()

            monkeypatch.setattr(engine._lookout, "_depths", failing)
            await until(lambda: len(looks) > 8)
            assert engine._failed is None

    async def test_a_large_queue_is_counted_off_the_loop(self, site, monkeypatch) -> None:
        monkeypatch.setattr(lookout, "LOOK_S", 0.002)
        main = threading.get_ident()
        where: list[bool] = []
        async with site.running() as engine:
            depths = engine._queries.depths

            def watched():
                where.append(threading.get_ident() == main)
                return depths()

            monkeypatch.setattr(engine._lookout, "_depths", watched)
            monkeypatch.setattr(engine._queries, "depths", watched)
            await until(lambda: len(where) > 3)
            await engine.control.status()
        assert not any(where)

    async def test_on_a_nearly_full_disk_messages_are_refused_until_there_is_room(
        self, tmp_path, adt, monkeypatch
    ) -> None:
        monkeypatch.setattr(lookout, "LOOK_S", 0.002)
        site = on_disk(tmp_path)
        free = 10**9
        asked: set[str] = set()
        statvfs = os.statvfs

        def measured(path):
            asked.add(str(path))
            real = list(statvfs(path))
            real[0] = real[1] = 1
            real[3] = real[4] = free
            return os.statvfs_result(real)

        monkeypatch.setattr(lookout.os, "statvfs", measured)
        async with site.running() as engine:
            assert codes(await send(site, adt(control_id="A1"))) == ["AA"]
            free = 1000
            await until(lambda: engine.control.not_ready)
            assert codes(await send(site, adt(control_id="A2"))) == ["AR"]
            assert "nearly full" in (await engine.control.ready())[1]
            free = 10**9
            await until(lambda: not engine.control.not_ready)
            assert codes(await send(site, adt(control_id="A2"))) == ["AA"]
        free = 1000
        async with site.running() as engine:
            assert "nearly full" in (await engine.control.ready())[1], "a start does not hide it"
            assert codes(await send(site, adt(control_id="A3"))) == ["AR"]
        assert asked == {str(site.folder / "data")}

    async def test_a_destination_that_fails_leaves_its_neighbours_alone(self, tmp_path, adt) -> None:
        site = SiteUnderTest(
            tmp_path / "s",
            {"adt": channel(routes="[{to: bad}, {to: good}]", destinations="{bad: {kept: {}}, good: {kept: {}}}")},
        )
        site.kept.sinks["adt/bad"] = ScriptedSink(*[Unreachable("down")] * 100)
        async with site.running():
            await send(site, *(adt(control_id=f"A{n}") for n in range(50)))
            assert len(await site.delivered("adt/good", 50)) == 50
            assert [c[0].id for c in site.kept_sinks["adt/bad"].calls] == [1] * len(site.kept_sinks["adt/bad"].calls)


class TestStop:
    async def test_under_load_a_stop_loses_nothing_and_repeats_nothing(self, tmp_path, adt) -> None:
        """Four senders that send again until they are answered, five stops under way, one at the end."""
        site = on_disk(tmp_path)
        acknowledged: set[str] = set()
        over = False

        async def sender(name: str) -> None:
            number = 0
            while not over:
                try:
                    wire = await Wire.open(site.engine.addresses["adt"])
                except (OSError, KeyError):
                    await asyncio.sleep(0.002)
                    continue
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    while not over:
                        await wire.send(adt(control_id=f"{name}N{number}"))
                        code, control_id = msa(await wire.answer())
                        assert (code, control_id) == ("AA", f"{name}N{number}")
                        acknowledged.add(control_id)
                        number += 1
                wire.reset()

        async with asyncio.timeout(60):
            senders = []
            for _ in range(5):
                before = len(acknowledged)
                async with site.running():
                    if not senders:
                        senders = [asyncio.get_running_loop().create_task(sender(f"S{n}")) for n in range(4)]
                    await until(lambda before=before: len(acknowledged) > before + 60)
            over = True
            await asyncio.gather(*senders)
            async with site.running() as engine:
                await until(lambda: all(not d.queued for d in engine._queries.depths()))
        ids = [body.split(b"|")[9].decode() for body in site.kept.bodies("adt/out")]
        assert Counter(ids) == Counter(acknowledged | set(ids)), "a delivery was repeated"
        assert acknowledged <= set(ids)
        for name in ("S0", "S1", "S2", "S3"):
            mine = [int(i.split("N")[1]) for i in ids if i.startswith(name + "N")]
            assert mine == list(range(len(mine)))

    async def test_queues_go_on_in_order_after_a_restart(self, tmp_path, adt) -> None:
        site = on_disk(tmp_path)
        async with site.running(deadline_s=0.3):
            site.kept_sinks["adt/out"].gate.clear()
            await send(site, *(adt(control_id=f"A{n}") for n in range(40)))
        site.kept_sinks["adt/out"].gate.set()
        site.kept_sinks["adt/out"].calls.clear()
        async with site.running():
            await send(site, *(adt(control_id=f"A{n}") for n in range(40, 50)))
            bodies = await site.delivered("adt/out", 50)
        assert [body.split(b"|")[9] for body in bodies] == [b"A%d" % n for n in range(50)]

    async def test_a_receiver_that_is_silent_does_not_hold_the_stop_up_past_its_deadline(self, tmp_path, adt) -> None:
        site = on_disk(tmp_path)
        async with site.running(deadline_s=0.3) as engine:
            site.kept_sinks["adt/out"].gate.clear()
            await send(site, adt(control_id="A1"))
            await until(lambda: site.kept_sinks["adt/out"].calls)
            async with asyncio.timeout(60):  # a stop that waited for the receiver would not end
                await engine.stop(deadline_s=0.5)
        async with site.running(deadline_s=0.3) as engine:
            (row,) = engine._queries.deliveries(MessageSeq(1))
            assert row.attempts >= 1, "that it may have been sent is on record"

    async def test_what_cannot_be_recorded_in_time_is_marked_after_the_next_start(self, site, adt) -> None:
        async with site.running() as engine:
            await site.slow_disk(adt(control_id="A0"))
            await until(lambda: site.delivery_states() == ["delivered"])
            site.kept_sinks["adt/out"].gate.clear()
            await send(site, adt(control_id="A1"))
            await until(lambda: len(site.kept_sinks["adt/out"].calls) == 2)
            hold = site.store.commits_held()
            hold.__enter__()
            site.kept_sinks["adt/out"].gate.set()
            stopping = asyncio.get_running_loop().create_task(engine.stop(deadline_s=0.3))
            await until(lambda: len(site.store.batches) == 3)
            for _ in range(1000):
                if engine._committer is None:
                    break
                await asyncio.sleep(0.001)
            site.store.fail_next(StoreFull("no"))
            hold.__exit__(None, None, None)
            await stopping
        async with site.running() as engine:
            (row,) = engine._queries.deliveries(MessageSeq(2))
            assert row.maybe_sent or row.attempts

    async def test_a_second_call_waits_for_the_first(self, site) -> None:
        async with site.running() as engine:
            stops = [asyncio.get_running_loop().create_task(engine.stop()) for _ in range(3)]
            await asyncio.gather(*stops)
            await engine.wait_closed()
            assert site.kept_sinks["adt/out"].is_closed

    @pytest.mark.parametrize("error", [StoreFull("no room"), CommitUnknown("a sync failed")], ids=lambda e: str(e))
    async def test_an_end_that_cannot_be_recorded_ends_in_words_and_loses_nothing(
        self, tmp_path, adt, monkeypatch, error
    ) -> None:
        site = on_disk(tmp_path)

        def fails(self: Writing) -> None:
            raise error

        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            with monkeypatch.context() as patched:
                patched.setattr(Writing, "end_run", fails)
                await engine.stop()
            with pytest.raises(EngineFailed, match=f"counts as a crash at the next start: {error}") as failed:
                await engine.wait_closed()
            assert failed.value.exit_code == STORE_FAILED
        async with site.running():
            await send(site, adt(control_id="A2"))
        assert [body.split(b"|")[9] for body in site.kept.bodies("adt/out")] == [b"A1", b"A2"]

    async def test_nothing_is_left_behind(self, tmp_path, adt) -> None:
        threads = set(threading.enumerate())
        site = on_disk(tmp_path)
        async with site.running():
            await send(site, adt(control_id="A1"))
        gc.collect()
        left = {t.name for t in set(threading.enumerate()) - threads if not t.name.startswith("asyncio")}
        assert left == set()
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        assert sorted(p.name for p in (site.folder / "data").iterdir() if p.suffix != ".lock") == ["segmill.db"]

    async def test_not_ready_while_it_stops(self, site, adt, monkeypatch) -> None:
        monkeypatch.setattr(lookout, "LOOK_S", 0.002)
        async with site.running() as engine:
            site.kept_sinks["adt/out"].gate.clear()
            await send(site, adt(control_id="A1"))
            stopping = asyncio.get_running_loop().create_task(engine.stop(deadline_s=60))
            for _ in range(20):
                await asyncio.sleep(0.002)
                assert (await engine.control.ready()) == (False, "the engine is stopping")
            site.kept_sinks["adt/out"].gate.set()
            await stopping


HELD = "steps:\n  - map: {PV1-2: tables/x.csv, otherwise: hold}"


class TestControl:
    @pytest.fixture
    def site(self, tmp_path: Path) -> SiteUnderTest:
        files = {"channel.yaml": channel(steps=HELD), "tables/x.csv": "from,to\nO,OUT\n"}
        return SiteUnderTest(tmp_path / "site", {"adt": files})

    async def test_a_held_message_goes_through_its_channel_as_it_is_now(self, site, adt) -> None:
        async with site.running() as engine:
            assert codes(await send(site, adt(control_id="A1"))) == ["AA"]
            report = await engine.control.release(seqs(1))
            assert report.messages == 0 and "held again" in report.left[0][1]
        (site.folder / "channels/adt/tables/x.csv").write_text("from,to\nI,IN\n")
        async with site.running() as engine:
            report = await engine.control.release(seqs(1, 99))
            assert (report.messages, report.deliveries) == (1, 1)
            assert report.left == ((99, "there is no such message"),)
            assert b"|IN|" in (await site.delivered("adt/out", 1))[0]

    async def test_a_held_delivery_is_sent_again_when_it_is_released(self, site, adt) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"), adt(control_id="A2", patient_class="O"))
            await until(lambda: site.delivery_states() == ["held", "delivered"])
            report = await engine.control.release(seqs(1))
            assert report.deliveries == 1 and report.left == ()
            await until(lambda: site.delivery_states() == ["delivered"] * 2)
            assert site.kept_sinks["adt/out"].sent == [1, 2, 1]

    async def test_a_lane_that_stopped_goes_on_when_its_head_is_released_and_not_for_another(
        self, tmp_path, adt
    ) -> None:
        chosen = "{out: {kept: {}, on_refused: stop}}"
        site = SiteUnderTest(tmp_path / "s", {"adt": channel(destinations=chosen)})
        site.kept.sinks["adt/out"] = ScriptedSink(AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2"))
            (lane,) = site.running_channel().lanes.values()
            await until(lambda: lane.state == "stopped")
            report = await engine.control.release(seqs(2))
            assert report.deliveries == 0 and report.left
            await turns(50)
            assert site.kept_sinks["adt/out"].sent == [1]
            report = await engine.control.release(seqs(1))
            assert report.deliveries == 1
            await until(lambda: site.delivery_states() == ["delivered"] * 2)

    async def test_a_lane_that_stopped_goes_on_though_a_second_run_of_its_head_is_held(self, tmp_path, adt) -> None:
        """It is held, and a delivery of its first run is owed all the same: a release lets both go on."""
        stops = "{out: {kept: {}, on_refused: stop}}"
        files = {"channel.yaml": channel(steps=HELD, destinations=stops), "tables/x.csv": "from,to\nI,IN\n"}
        site = SiteUnderTest(tmp_path / "s", {"adt": files})
        site.kept.sinks["adt/out"] = ScriptedSink(AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"))
            (lane,) = site.running_channel().lanes.values()
            await until(lambda: lane.state == "stopped")
            (site.folder / "channels/adt/tables/x.csv").write_text("from,to\nO,OUT\n")
            assert (await engine.control.reload()).outcome == "taken"
            await engine.control.operate(Order("reprocess", By(), messages=seqs(1)))
            assert [message.state for message in site.messages()] == ["held"]
            report = await engine.control.release(seqs(1))
            assert report.deliveries == 1 and "held again" in report.left[0][1]
            await until(lambda: site.delivery_states() == ["delivered"])

    async def test_a_resend_sends_the_same_bytes_as_a_new_delivery(self, site, adt) -> None:
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"))
            await site.delivered("adt/out", 1)
            report = await engine.control.resend(seqs(1, 7), None)
            assert (report.messages, report.deliveries) == (1, 1)
            one, again = await site.delivered("adt/out", 2)
            assert one == again
            report = await engine.control.resend(seqs(1), [DestinationName("nowhere")])
            assert report.messages == 0 and "no destination nowhere" in report.left[0][1]

    async def test_what_cannot_be_sent_again_is_left_with_the_reason(self, site, adt) -> None:
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"), adt(control_id="A2", patient_class="O"))
            await site.delivered("adt/out", 2)
            (row,) = site.store.queries().deliveries(MessageSeq(1))
            site.store._rows.deliveries[row.id].stored = app.replace(  # as when nothing was edited on the way
                site.store._rows.deliveries[row.id].stored, body=None
            )
            site.store.damage(MessageSeq(1))
            report = await engine.control.resend(seqs(1, 2), None)
            assert report.messages == 1
            ((seq, why),) = report.left
            assert seq == 1 and "checksum" in why

    async def test_a_move_that_somebody_else_made_first_is_left_with_the_reason(self, site, adt, monkeypatch) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(AE, AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"))
            await until(lambda: site.delivery_states() == ["held"])
            both = await asyncio.gather(
                engine.control.discard(seqs(1), "not wanted"), engine.control.release(seqs(1)), return_exceptions=True
            )
            assert not [report for report in both if isinstance(report, BaseException)]
            assert sum(report.deliveries for report in both) <= 2
            assert sum(len(report.left) for report in both) <= 1

    async def test_a_store_without_room_is_a_reason_and_no_defect(self, site, adt, monkeypatch) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"), adt(control_id="A2"))
            await until(lambda: site.delivery_states() == ["held"])

            def full(*_: object) -> None:
                raise StoreFull("no room left")

            monkeypatch.setattr(site.store, "operate", full)
            for report in (
                await engine.control.discard(seqs(2), "not wanted"),
                await engine.control.release(seqs(1)),
                await engine.control.resend(seqs(1), None),
            ):
                assert report.messages == report.deliveries == 0
                assert "room" in report.left[0][1]

    async def test_a_message_is_processed_again(self, site, adt) -> None:
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"), b"nonsense")
            await site.delivered("adt/out", 1)
            report = await engine.control.reprocess(seqs(1, 2))
            assert (report.messages, report.deliveries) == (1, 1)
            assert report.left == ((2, "a rejected message is not processed again"),)
            await site.delivered("adt/out", 2)

    async def test_what_is_not_wanted_is_given_up(self, site, adt) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2", patient_class="O"))
            await until(lambda: site.delivery_states() == ["held"])
            report = await engine.control.discard(seqs(1, 2), "test data")
            assert (report.messages, report.deliveries) == (1, 1)
            assert site.states() == ["discarded", "processed"] and site.delivery_states() == ["failed"]

    async def test_a_request_that_is_given_up_half_way_leaves_no_delivery_behind(self, site, adt, monkeypatch) -> None:
        """The one who asked has gone; the lane hears of the new delivery all the same, and in its order."""
        async with site.running() as engine:
            await send(site, adt(control_id="A1", patient_class="O"))
            await site.delivered("adt/out", 1)
            begun, go_on = threading.Event(), threading.Event()
            operate = site.store.operate

            def slow(*args):
                begun.set()
                go_on.wait(5)
                return operate(*args)

            monkeypatch.setattr(site.store, "operate", slow)
            asking = asyncio.get_running_loop().create_task(engine.control.resend(seqs(1), None))
            await until(begun.is_set)
            asking.cancel()
            await asyncio.wait([asking])
            go_on.set()
            await until(lambda: len(site.kept.bodies("adt/out")) == 2, within_s=3)
            await send(site, adt(control_id="A2", patient_class="O"))
            await site.delivered("adt/out", 3)
            assert site.kept_sinks["adt/out"].sent == [1, 2, 3]

    async def test_status_says_what_runs_and_what_waits(self, site, adt) -> None:
        site.kept.sinks["adt/out"] = ScriptedSink(AE)
        async with site.running() as engine:
            await send(site, adt(control_id="A1"), adt(control_id="A2", patient_class="O"))
            await until(lambda: site.delivery_states() == ["held"])
            (status,) = await engine.control.status()
            assert status.received == 2 and status.outcomes == {"held": 1, "processed": 1}
            assert status.connections == 1 and status.listening.startswith("127.0.0.1:")
            (lane,) = status.lanes
            assert (lane.state, lane.queued, lane.held) == ("idle", 0, 1)
