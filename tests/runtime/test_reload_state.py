"""What a reload must not lose: waiting senders, fragments, numbers, backlogs, pauses, keys, files, certificates."""

import asyncio
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from engine import reloading
from engine.hl7.message import Message
from engine.model.envelope import AckUpdate
from engine.model.ids import ChannelName, DestinationName
from engine.model.outcome import Delivered, Refused
from engine.ports.control import Order
from engine.ports.operations import By
from engine.ports.reload import FileError, ReloadReport
from engine.ports.store import StoreBusy, StoreFull
from engine.testing.messages import adt
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes, isolate, msa
from tests.runtime.parts import SetClock, turns, until
from tests.runtime.test_fragments import cut, enhanced
from tests.runtime.test_reload import exchange, plan, reload, remove, write
from tests.runtime.test_sources import from_folder, names, put
from tests.runtime.wires import Wire

OUT = DestinationName("out")
STEPS = "steps: [{set: {MSH-5: NEW}}]"
BY = By("tester", "because")


def site_of(tmp_path: Path, text: str, settings: str = MEMORY) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": text}, settings)


class TestAnswersOfDestinations:
    DELIVERED = "ack: {when: delivered(out)}"

    async def test_a_sender_that_waits_gets_its_answer_over_a_change_of_steps_and_of_the_destination(
        self, tmp_path
    ) -> None:
        site = site_of(tmp_path, channel(more=self.DELIVERED))
        async with site.running():
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            await until(lambda: sink.calls)
            write(site, "adt", channel(more=self.DELIVERED, steps=STEPS, destinations="{out: {kept: {}, window: 2}}"))
            task = asyncio.get_running_loop().create_task(reload(site))
            await until(lambda: site.running_channel().lanes[OUT].settings.window == 2)
            assert await wire.is_silent()
            sink.gate.set()
            assert [msa(answer) for answer in await wire.answers(2)] == [("AA", "A1"), ("AA", "A2")]
            assert (await task).outcome == "taken"
            assert await exchange(wire, "A3") == "AA"

    async def test_who_waits_is_still_told_when_the_files_answer_at_once_from_now_on(
        self, tmp_path, monkeypatch
    ) -> None:
        monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
        site = site_of(tmp_path, channel(more=self.DELIVERED))
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
            write(site, "adt", channel())
            await reload(site)
            assert await exchange(other, "A2") == "AA", "answered with its commit"
            assert await wire.is_silent()
            sink.script[:] = [Delivered()]
            sink.gate.set()
            assert codes([await wire.answer()]) == ["AA"]
            await until(lambda: site.running_channel().lanes[OUT].watcher is None)

    @pytest.mark.parametrize("then", ["", "ack: {when: stored}", "ack: {when: delivered(other)}"])
    async def test_a_resend_of_what_waited_by_the_files_before_is_answered_by_those_there_are(
        self, tmp_path, then
    ) -> None:
        """It has no stored answer: its sender got nothing, for as long as the window of duplicates reaches back."""
        more = {
            "routes": "[{to: out}, {to: other, when: PV1-2 == 'Z'}]",
            "destinations": "{out: {kept: {}}, other: {kept: {}}}",
        }
        site = site_of(tmp_path, channel(more=self.DELIVERED, **more))
        async with site.running(stop=False):
            wire, sink = await site.wire(), site.kept.sinks["adt/out"]
            sink.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
        write(site, "adt", channel(more=then, **more))
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="A1"), adt(control_id="A2"))
            first, second = await wire.answers(2)
            assert [msa(first), msa(second)] == [("AA", "A1"), ("AA", "A2")]
            await wire.send(adt(control_id="A1"))
            assert await wire.answer() == first, "from the store"
            assert site.messages()[0].ack == first
            sink.gate.set()
            await until(lambda: site.delivery_states() == ["delivered"] * 2)

    async def test_a_store_that_is_full_for_a_moment_takes_a_resends_answer_before_that_is_told(
        self, tmp_path, monkeypatch
    ) -> None:
        """Else a no could follow it, once the files are changed back."""
        site = site_of(tmp_path, channel(more=self.DELIVERED))
        async with site.running():
            wire, sink = await site.wire(), site.kept.sinks["adt/out"]
            sink.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
            write(site, "adt", channel())
            await reload(site)
            amend, refused = site.store.amend_acks, []

            def full_at_first(updates: object) -> object:
                if len(refused) < 2:
                    refused.append(updates)
                    raise StoreFull("no room") if len(refused) == 1 else StoreBusy("another process has it")
                return amend(updates)

            monkeypatch.setattr(site.store, "amend_acks", full_at_first)
            again = await site.wire()
            await again.send(adt(control_id="A1"))
            answer = await again.answer()
            assert msa(answer) == ("AA", "A1")
            assert site.messages()[0].ack == answer
            assert len(refused) == 2
            sink.gate.set()
            await wire.answer()

    async def test_resends_at_a_time_get_the_one_answer_that_is_stored(self, tmp_path, monkeypatch) -> None:
        """Two were looked at before the answer to either was on record: the second is told what the first was."""
        site = site_of(tmp_path, channel(more=self.DELIVERED))
        async with site.running():
            wire, sink = await site.wire(), site.kept.sinks["adt/out"]
            sink.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
            write(site, "adt", channel())
            await reload(site)
            amend, are_there, asked = site.store.amend_acks, threading.Event(), []

            def once_both_are_there(updates: list[AckUpdate]) -> object:
                assert are_there.wait(60)
                asked.extend(updates)
                return amend(updates)

            monkeypatch.setattr(site.store, "amend_acks", once_both_are_there)
            first, second = await site.wire(), await site.wire()
            await first.send(adt(control_id="A1"))
            await second.send(adt(control_id="A1"))
            await until(lambda: site.running_channel().outcomes.get("duplicate") == 2)
            are_there.set()
            answers = [await first.answer(), await second.answer()]
            assert len({update.ack for update in asked}) == 2
            assert answers == [site.messages()[0].ack] * 2
            assert msa(answers[0]) == ("AA", "A1")
            sink.gate.set()
            await wire.answer()

    async def test_a_resend_is_told_no_yes_where_that_cannot_be_recorded_now(self, tmp_path, monkeypatch) -> None:
        site = site_of(tmp_path, channel(more=self.DELIVERED))
        async with site.running():
            wire, sink = await site.wire(), site.kept.sinks["adt/out"]
            sink.gate.clear()
            await wire.send(adt(control_id="A1"))
            await until(lambda: sink.calls)
            write(site, "adt", channel())
            await reload(site)

            def full(updates: object) -> None:
                raise StoreFull("no room")

            monkeypatch.setattr(site.store, "amend_acks", full)
            assert await exchange(await site.wire(), "A1") == "AR"
            assert site.messages()[0].ack == b""
            sink.gate.set()
            await wire.answer()


class TestOrder:
    async def test_what_was_answered_when_stored_is_not_overtaken_by_what_is_processed_at_once(self, tmp_path) -> None:
        site = site_of(tmp_path, channel(more="ack: {when: stored}"))
        async with site.running():
            wire, other = await site.wire(), await site.wire()
            pipeline = isolate(site)
            pipeline.gate.clear()
            for number in range(3):
                assert await exchange(wire, f"A{number}") == "AA"
            write(site, "adt", channel())
            await reload(site)
            await other.send(adt(control_id="B1"))
            await turns()
            assert await other.is_silent(), "its turn is behind what was taken before"
            pipeline.gate.set()
            assert codes([await other.answer()]) == ["AA"]
            bodies = await site.delivered("adt/out", 4)
            assert [body.split(b"|")[9] for body in bodies] == [b"A0", b"A1", b"A2", b"B1"]

    async def test_keys_of_another_order_go_behind_what_was_stored_under_the_old_one(self, tmp_path) -> None:
        site = site_of(tmp_path, channel(destinations="{out: {kept: {}, order_by: PID-3.1}}"))
        async with site.running():
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            for number in range(4):
                assert await exchange(wire, f"A{number}") == "AA"
            await until(lambda: sink.calls)
            write(site, "adt", channel(destinations="{out: {kept: {}, order_by: MSH-10}}"))
            planned = await plan(site)
            assert "destination out: order_by: PID-3.1 -> MSH-10" in planned.channels[0].what
            task = asyncio.get_running_loop().create_task(reload(site))
            await until(lambda: ChannelName("adt") and site.engine._assembly.lane_tasks)
            assert await exchange(wire, "A4") == "AA"
            sink.gate.set()
            await task
            await site.delivered("adt/out", 5)
            assert sink.sent == sorted(set(sink.sent))


class TestPauses:
    async def test_a_paused_destination_stays_paused_when_its_settings_change(self, tmp_path) -> None:
        site = site_of(tmp_path, channel())
        async with site.running() as engine:
            wire = await site.wire()
            await engine.control.operate(Order("pause", BY, lanes=[(ChannelName("adt"), OUT)]))
            assert await exchange(wire, "A1") == "AA"
            write(site, "adt", channel(destinations="{out: {kept: {}, window: 2}}"))
            assert (await reload(site)).outcome == "taken"
            lane = site.running_channel().lanes[OUT]
            await turns()
            assert (lane.settings.window, lane.state, site.kept.sinks["adt/out"].calls) == (2, "paused", [])
            await engine.control.operate(Order("resume", BY, lanes=[(ChannelName("adt"), OUT)]))
            assert len(await site.delivered("adt/out", 1)) == 1

    async def test_a_reload_waits_for_an_order_that_is_being_carried_out(self, tmp_path) -> None:
        site = site_of(tmp_path, channel())
        async with site.running() as engine:
            await site.wire()
            write(site, "adt", channel(steps=STEPS))
            before = site.running_channel().version
            async with engine.control.operator.lanes_stay.shared():
                task = asyncio.get_running_loop().create_task(reload(site))
                while not engine.control.operator.lanes_stay._door.locked():
                    await asyncio.sleep(0)
                await turns()
                assert site.running_channel().version == before
            assert (await task).outcome == "taken"
            assert site.running_channel().version != before


class TestFragments:
    JOIN = "fragments: {dsc: join}"

    async def test_a_message_in_fragments_is_joined_over_a_reload_by_the_files_of_its_last_one(self, tmp_path) -> None:
        site = site_of(tmp_path, channel(more=self.JOIN))
        async with site.running():
            wire = await site.wire()
            first, second, third = cut(enhanced(adt), 3)
            await wire.send(first)
            assert msa(await wire.answer()) == ("CA", "F1")
            write(site, "adt", channel(more="fragments: {dsc: {timeout: 5m}}", steps=STEPS))
            assert (await reload(site)).outcome == "taken"
            await wire.send(second, third)
            assert [msa(answer) for answer in await wire.answers(3)] == [("CA", "F2"), ("CA", "F3"), ("AA", "F1")]
            (body,) = await site.delivered("adt/out", 1)
            assert b"|NEW|" in body
            assert site.messages()[-1].version == site.running_channel().version

    async def test_fragments_that_nobody_joins_any_more_go_to_a_person(self, tmp_path) -> None:
        site = site_of(tmp_path, channel(more=self.JOIN))
        async with site.running():
            wire = await site.wire()
            await wire.send(cut(enhanced(adt), 2)[0])
            await wire.answer()
            write(site, "adt", channel())
            await reload(site)
            await until(lambda: site.states() == ["held"])
            await until(lambda: site.running_channel().fragments is None)
            write(site, "adt", channel(more=self.JOIN))
            await reload(site)
            first, second = cut(enhanced(adt, control_id="G1"), 2, prefix="G")
            await wire.send(first, second)
            assert len(await wire.answers(3)) == 3
            assert len(await site.delivered("adt/out", 1)) == 1


class TestNumbers:
    async def test_numbers_go_on_over_a_reload(self, tmp_path) -> None:
        def numbered(number: int) -> bytes:
            message = Message.parse(adt(control_id=f"N{number}"))
            message.set("MSH-13", str(number))
            return message.to_bytes()

        site = site_of(tmp_path, channel(more="sequence: on"))
        async with site.running():
            wire = await site.wire()
            await wire.send(numbered(41))
            assert codes([await wire.answer()]) == ["AA"]
            write(site, "adt", channel(more="sequence: on", steps=STEPS))
            await reload(site)
            await wire.send(numbered(43))
            assert codes([await wire.answer()]) == ["AE"], "42 was expected"
            await wire.send(numbered(42))
            assert codes([await wire.answer()]) == ["AA"]
            write(site, "adt", channel())
            await reload(site)
            await wire.send(numbered(99))
            assert codes([await wire.answer()]) == ["AA"], "nobody looks at numbers now"


class TestSources:
    async def test_an_unchanged_source_is_not_opened_anew_and_uses_the_new_steps(self, tmp_path) -> None:
        site = site_of(tmp_path, from_folder())
        async with site.running() as engine:
            (opened,) = engine._assembly.sources.values()
            write(site, "adt", from_folder(steps=STEPS))
            assert (await reload(site)).outcome == "taken"
            assert list(engine._assembly.sources.values()) == [opened]
            put(site, "a.hl7", adt(control_id="C1"))
            (body,) = await site.delivered("adt/out", 1)
            assert b"|NEW|" in body

    async def test_other_settings_of_a_source_open_it_anew_and_a_new_folder_is_taken_up(self, tmp_path) -> None:
        site = site_of(tmp_path, from_folder())
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1"))
            await site.delivered("adt/out", 1)
            write(site, "adt", from_folder("{folder: in, every: 60ms, stable: 0}"))
            assert (await reload(site)).outcome == "taken"
            put(site, "b.hl7", adt(control_id="C2"))
            await site.delivered("adt/out", 2)
            await until(lambda: names(site, "done") == ["a.hl7", "b.hl7"])
            write(site, "adt", channel())
            assert (await reload(site)).outcome == "taken"
            assert await exchange(await site.wire(), "C3") == "AA"
            put(site, "c.hl7", adt(control_id="C4"))
            write(site, "adt", from_folder())
            assert (await reload(site)).outcome == "taken"
            bodies = await site.delivered("adt/out", 4)
            assert [body.split(b"|")[9] for body in bodies] == [b"C1", b"C2", b"C3", b"C4"]

    async def test_of_a_source_that_went_no_files_are_told_of_for_ever(self, tmp_path) -> None:
        """Its alert would never end."""
        site = site_of(tmp_path, from_folder(accept="ORU^R01"))
        async with site.running() as engine:
            put(site, "a.hl7", adt(control_id="C1", accept_ack="NE", application_ack="NE"))

            def told() -> list[tuple[int, int]]:
                return [of.files for of in engine.meter.listeners.values() if of.files is not None]

            await until(lambda: told() == [(0, 1)])
            write(site, "adt", channel())
            assert (await reload(site)).outcome == "taken"
            assert told() == [(0, 0)]


class TestCertificates:
    @pytest.fixture
    def ca(self) -> trustme.CA:
        return trustme.CA()

    def renew(self, site: SiteUnderTest, ca: trustme.CA) -> bytes:
        cert = ca.issue_cert("localhost")
        folder = site.folder / "channels" / "adt"
        cert.private_key_pem.write_to_path(folder / "own.key")
        (folder / "own.crt").write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(cert.cert_chain_pems[0].bytes().decode())

    async def test_a_renewed_certificate_is_taken_up_and_connections_stay(self, tmp_path, ca) -> None:
        text = channel(port="{port: 0, tls: {certificate: own.crt, key: own.key}}")
        site = SiteUnderTest(tmp_path / "site", {"adt": {"channel.yaml": channel()}}, clock=SetClock())
        self.renew(site, ca)
        write(site, "adt", text)
        context = ssl.create_default_context()
        ca.configure_trust(context)
        async with site.running() as engine:

            async def connect() -> Wire:
                wire = await site.wire(ssl=context, server_hostname="localhost")
                assert await exchange(wire, f"T{len(site.wires)}") == "AA"
                return wire

            def shown(wire: Wire) -> bytes:
                return wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

            before = await connect()
            new = self.renew(site, ca)
            assert shown(before) != new
            report = await reload(site)
            (change,) = report.channels
            assert change.notes == ("new connections are made with the new certificates; those there are stay",)
            assert await exchange(before, "A1") == "AA"
            assert shown(await connect()) == new
            (site.folder / "channels/adt/own.crt").write_text("nothing")
            report = await reload(site)
            assert (report.outcome, report.exit_code) == ("rejected", 78)
            assert shown(await connect()) == new
            assert engine.addresses["adt"][1]


class TestStop:
    async def test_a_stop_comes_behind_a_reload_and_ends_what_is_leaving(self, tmp_path) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": channel(), "orm": channel(accept="ORM^*")})
        async with site.running(deadline_s=1.0) as engine:
            wire = await site.wire()
            sink = site.kept.sinks["adt/out"]
            sink.gate.clear()
            assert await exchange(wire, "A1") == "AA"
            await until(lambda: sink.calls)
            remove(site, "adt")
            await reload(site)
            assert engine._assembly.leaving
        assert sink.is_closed
        assert set(site.delivery_states()) == {"queued"}, "its attempt was cut off, and it stays"


def test_an_error_without_a_line_is_told_without_one(caplog):
    error = FileError("E100", "my-site", 0, 0, 0, "there is no folder 'channels' here", "start a site: segmill init")
    reloading._tell(ReloadReport("rejected", "the site's files have 1 error", errors=(error,), exit_code=78))
    assert "my-site E100 there is no folder 'channels' here (start a site: segmill init)" in caplog.messages


async def test_a_lane_that_stands_still_goes_on_though_the_message_is_held_for_what_is_gone(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("engine.leaving.LOOK_S", 0.01)
    both = "{out: {kept: {}, on_refused: stop}, other: {kept: {}, on_refused: hold}}"
    site = site_of(tmp_path, channel(routes="[{to: out}, {to: other}]", destinations=both))
    for lane in ("adt/out", "adt/other"):
        site.kept.sinks[lane].script[:] = [Refused("AE")]
    async with site.running() as engine:
        wire = await site.wire()
        await exchange(wire, "A1")
        await until(lambda: site.delivery_states() == ["queued", "held"])
        await until(lambda: site.running_channel().lanes[OUT].is_stopped)
        write(site, "adt", channel(destinations="{out: {kept: {}, on_refused: stop}}"))
        await reload(site)
        await until(lambda: not site.running_channel().leaving)
        (message,) = site.messages()
        report = await engine.control.release([message.seq])
        assert report.left == ((message.seq, "channel adt has no destination other"),)
        await until(lambda: site.delivery_states() == ["delivered", "held"])
