"""Sources beside MLLP in a whole engine: the same intake, the same promise, and no harm to others."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import httpx2
import pytest

from engine.adapters.sources.inbox import Inbox, InboxUnavailable
from engine.app import EngineFailed, load_site
from engine.config.kinds import Kinds
from engine.config.listen import ListenOptions
from engine.ports.source import Context, Place, SourceUnavailable
from tests.ports import free_port
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes
from tests.runtime.parts import until

FROM_FOLDER = "{folder: in, every: 50ms, stable: 0}"


def from_folder(listen: str = FROM_FOLDER, **more: str) -> str:
    return channel(**more).replace("listen: {mllp: {port: 0}}", f"listen: {{file: {listen}}}")


def put(site: SiteUnderTest, name: str, content: bytes) -> None:
    inbox = site.folder / "in"
    inbox.mkdir(exist_ok=True)
    (inbox / f"{name}.tmp").write_bytes(content)
    (inbox / f"{name}.tmp").rename(inbox / name)


def names(site: SiteUnderTest, folder: str) -> list[str]:
    path = site.folder / "in" / folder
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


@pytest.fixture
def site(tmp_path: Path) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": from_folder()})


class TestFiles:
    async def test_a_file_goes_through_the_channel_and_is_put_away(self, site, adt) -> None:
        async with site.running() as engine:
            put(site, "a.hl7", adt(control_id="C1") + adt(control_id="C2"))
            assert await site.delivered("adt/out", 2) == [adt(control_id="C1"), adt(control_id="C2")]
            await until(lambda: names(site, "done") == ["a.hl7"])
            (status,) = await engine.control.status()
            assert (status.listening, status.received) == ("folder in", 2)
        assert site.states() == ["processed", "processed"]
        assert {message.peer for message in site.messages()} == {"file"}

    @pytest.mark.parametrize("wants", ["NE", "ER"])
    async def test_a_message_that_wants_no_answer_is_put_away_all_the_same(self, site, adt, wants) -> None:
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1", accept_ack=wants, application_ack=wants))
            await until(lambda: names(site, "done"))
        assert site.states() == ["processed"]

    async def test_a_refused_message_that_wants_no_answer_is_set_aside_all_the_same(self, tmp_path, adt) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": from_folder(accept="ORU^R01")})
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1", accept_ack="NE", application_ack="NE"))
            await until(lambda: len(names(site, "failed")) == 2)
        text = (site.folder / "in" / "failed" / "a.hl7.findings.txt").read_text()
        assert "message 1: control id C1, refused, stored as 1\n  E234 MSH-9.1" in text

    async def test_the_same_file_again_is_recognised(self, site, adt) -> None:
        async with site.running():
            for name in ("a.hl7", "b.hl7"):
                put(site, name, adt(control_id="C1"))
                await until(lambda name=name: name in names(site, "done"))
            assert site.running_channel().outcomes == {"processed": 1, "duplicate": 1}

    async def test_twice_in_one_file_is_once(self, site, adt) -> None:
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1") * 2)
            await until(lambda: names(site, "done"))
            assert site.running_channel().outcomes == {"processed": 1, "duplicate": 1}

    async def test_a_held_message_is_ours(self, tmp_path, adt) -> None:
        steps = "steps: [{map: {PV1-2: t.csv, otherwise: hold}}]\nack: {when_held: AE}"
        files = {"channel.yaml": from_folder(steps=steps), "t.csv": "from,to\nA,B\n"}
        site = SiteUnderTest(tmp_path / "site", {"adt": files})
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1"))
            await until(lambda: names(site, "done"))
        assert site.states() == ["held"]

    async def test_killed_after_the_commit_the_file_is_read_again_and_nothing_is_processed_twice(
        self, site, adt, monkeypatch
    ) -> None:
        def never(self: Inbox, name: str, *, delete: bool) -> None:
            raise InboxUnavailable("the folder is away")

        with monkeypatch.context() as patched:
            patched.setattr(Inbox, "done", never)
            async with site.running(stop=False):
                put(site, "a.hl7", adt(control_id="C1") + adt(control_id="C2"))
                await until(lambda: site.running_channel().outcomes.get("processed") == 2)
        assert names(site, "done") == []
        async with site.running():
            await until(lambda: names(site, "done") == ["a.hl7"])
            assert site.running_channel().outcomes == {"duplicate": 2}

    async def test_while_the_disk_is_nearly_full_files_wait_and_are_taken_when_there_is_room(self, site, adt) -> None:
        async with site.running() as engine:
            engine._show_room(False)
            put(site, "a.hl7", adt(control_id="C1"))
            await until(lambda: site.running_channel().outcomes.get("refused"))
            assert names(site, "done") == names(site, "failed") == []
            engine._show_room(True)
            await until(lambda: names(site, "done"))
        assert site.states() == ["processed"]

    async def test_channels_share_a_folder_by_what_they_accept(self, tmp_path, adt, oru) -> None:
        both = {"adt": from_folder(), "lab": from_folder(accept="ORU^R01")}
        site = SiteUnderTest(tmp_path / "site", both)
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1") + oru(control_id="C2"))
            assert await site.delivered("adt/out", 1) == [adt(control_id="C1")]
            assert await site.delivered("lab/out", 1) == [oru(control_id="C2")]

    async def test_a_channel_with_its_ack_when_stored_and_one_beside_it_on_mllp(self, tmp_path, adt) -> None:
        site = SiteUnderTest(tmp_path / "site", {"adt": from_folder(more="ack: {when: stored}"), "wire": channel()})
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1"))
            await site.delivered("adt/out", 1)
            wire = await site.wire("wire")
            await wire.send(adt(control_id="C2"))
            assert codes(await wire.answers(1)) == ["AA"]

    async def test_no_room_is_left_taken_up(self, site, adt) -> None:
        async with site.running() as engine:
            put(site, "a.hl7", b"".join(adt(control_id=f"C{number}") for number in range(300)))
            await until(lambda: names(site, "done"))
            source = next(listener for listener in engine._listeners if listener.address.startswith("folder"))
            inlet = source._inlets[0]
            assert (inlet.in_hand, inlet._room.in_hand_bytes) == (0, 0)


class TestHttp:
    @pytest.fixture
    def site(self, tmp_path: Path) -> SiteUnderTest:
        both = {
            "adt": channel().replace("{mllp: {port: 0}}", "{http: {port: PORT, path: /adt}}"),
            "lab": channel(accept="ORU^R01").replace("{mllp: {port: 0}}", "{http: {port: PORT, path: /lab}}"),
        }
        port = free_port()
        return SiteUnderTest(tmp_path / "site", {name: text.replace("PORT", str(port)) for name, text in both.items()})

    async def post(self, site: SiteUnderTest, content: bytes, path: str) -> httpx2.Response:
        headers = {"Content-Type": "application/hl7-v2; charset=utf-8"}
        address = site.engine.control.listening["adt"].address
        async with httpx2.AsyncClient(timeout=10) as client:
            return await client.post(f"http://{address}{path}", content=content, headers=headers)

    async def test_statuses_of_a_whole_engine(self, site, adt, oru) -> None:
        async with site.running() as engine:
            good = await self.post(site, adt(control_id="C1"), "/adt")
            assert (good.status_code, codes([good.content])) == (200, ["AA"])
            again = await self.post(site, adt(control_id="C1"), "/adt")
            assert again.content == good.content
            foreign = await self.post(site, oru(control_id="C2"), "/adt")
            assert (foreign.status_code, codes([foreign.content])) == (400, ["AR"])
            assert (await self.post(site, oru(control_id="C2"), "/lab")).status_code == 200
            assert (await self.post(site, b"no message", "/adt")).status_code == 400
            quiet = adt(control_id="C3", accept_ack="NE", application_ack="NE")
            assert (await self.post(site, quiet, "/adt")).status_code == 204
            batch = await self.post(
                site, b"BHS|^~\\&|A\r" + adt(control_id="C4") + adt(control_id="C5") + b"BTS|2\r", "/adt"
            )
            assert (batch.status_code, batch.content.count(b"MSA|AA|")) == (200, 2)
            engine._show_room(False)
            full = await self.post(site, adt(control_id="C6"), "/adt")
            assert (full.status_code, codes([full.content])) == (503, ["AR"])
        assert site.states() == ["processed", "rejected", "processed", "rejected", *["processed"] * 3]

    async def test_a_stop_answers_what_is_in_hand(self, site, adt) -> None:
        async with site.running() as engine:
            answer = asyncio.gather(self.post(site, adt(control_id="C1"), "/adt"))
            await until(lambda: site.running_channel().received)
            await engine.stop()
            (got,) = await answer
            assert got.status_code == 200


class BrokenSettings(ListenOptions):
    """What stands under `broken:`."""


class Broken:
    """A source that fails in each way."""

    name: ClassVar[str] = "broken"
    model: ClassVar[type[BrokenSettings]] = BrokenSettings
    address = "nowhere"
    connection_count = 0

    def __init__(self) -> None:
        self.runs = 0
        self.cannot_start = ""

    def open(self, places: Sequence[Place], context: Context) -> "Broken":
        return self

    async def start(self) -> None:
        if self.cannot_start:
            raise SourceUnavailable(self.cannot_start)

    async def run(self) -> None:
        self.runs += 1
        raise ValueError("quotes Zzyzx")

    async def stop(self, deadline_s: float) -> None:
        raise ValueError("quotes Zzyzx")

    def abort(self) -> None:
        raise ValueError("quotes Zzyzx")


class TestSomebodysSource:
    @pytest.fixture
    def broken(self) -> Broken:
        return Broken()

    @pytest.fixture
    def site(self, tmp_path: Path, broken: Broken) -> SiteUnderTest:
        text = channel().replace("{mllp: {port: 0}}", "{broken: {}}")
        site = SiteUnderTest(tmp_path / "site", {"bad": text, "good": channel()}, MEMORY)
        sources = {**site.kinds.sources, "broken": broken}
        site.kinds = Kinds(site.kinds.steps, site.kinds.sinks, sources)  # type: ignore[arg-type]
        return site

    async def test_one_that_fails_is_started_again_and_its_neighbours_do_not_notice(
        self, site, broken, adt, caplog, monkeypatch
    ) -> None:
        monkeypatch.setattr("engine.runtime.sources.FIRST_RESTART_S", 0.01)
        with caplog.at_level(logging.INFO):
            async with site.running():
                await until(lambda: broken.runs > 2)
                wire = await site.wire("good")
                await wire.send(adt(control_id="C1"))
                assert codes(await wire.answers(1)) == ["AA"]
        assert "ValueError at test_sources.py" in caplog.text
        assert "Zzyzx" not in caplog.text

    async def test_one_that_cannot_be_opened_is_a_sentence(self, site, broken) -> None:
        broken.cannot_start = "the pager is switched off"
        with pytest.raises(EngineFailed, match="channel bad: the pager is switched off"):
            await site.make().start()


def test_a_port_or_folder_of_two_channels_has_one_set_of_settings(tmp_path: Path) -> None:
    site = SiteUnderTest(
        tmp_path / "site",
        {"a": from_folder(), "b": from_folder("{folder: ./in, every: 1s, stable: 0}", accept="ORU^R01")},
    )
    (finding,) = load_site(site.folder, site.kinds, {}).findings
    assert finding.code == "E142"
    assert "'every' differs from channel 'a', which listens on the same folder in" in finding.message
