"""Hand-offs in a whole engine: orders and ADT by MLLP, and what others have then, whatever was down meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.ports.reload import ReloadReport
from tests.adapters.hand_offs.fakes import FakeArchive, FakeOrthanc
from tests.adapters.hand_offs.rest_peer import RestPeer
from tests.runtime.engines import SiteUnderTest
from tests.runtime.parts import until as until_within
from tests.wire.test_worklist_engine import ORDERS, adt, order, send

SETTINGS = """\
admin: off
shutdown: 5s
hand_offs:
  wlm: {folder: {path: worklist}}
  orthanc: {orthanc: {url: 'http://127.0.0.1:%d'}}
  archive: {dcm4chee: {url: 'http://127.0.0.1:%d/dcm4chee-arc/aets/WORKLIST/rs', patients: update}}
"""
LATER = "20260101123000+0000"


class Others:
    """A folder, an Orthanc and an archive, and an engine that hands its worklist over to all of them."""

    def __init__(self, folder: Path, store: str) -> None:
        self.orthanc, self.archive = FakeOrthanc(), FakeArchive()
        self.peers = RestPeer(self.orthanc), RestPeer(self.archive)
        self.folder = folder
        self.store = store
        self.site: SiteUnderTest = None  # type: ignore[assignment]

    async def start(self) -> None:
        for peer in self.peers:
            await peer.start()
        settings = SETTINGS % tuple(peer.port for peer in self.peers) + self.store
        self.site = SiteUnderTest(self.folder / "site", {"orders": ORDERS % "delivered(modalities)"}, settings)

    @property
    def counts(self) -> tuple[int, int, int]:
        files = list((self.site.folder / "worklist").glob("*.wl"))
        return len(files), len(self.orthanc.items), len(self.archive.shown)

    async def have(self, *counts: int) -> None:
        """Wait until so many steps are in the folder, in Orthanc and in the archive."""
        try:
            await until_within(lambda: self.counts == counts, 60)
        except TimeoutError:
            raise AssertionError(f"it came to {self.counts}") from None

    @property
    def patients(self) -> set[str]:
        found = {tags["PatientID"] for tags in self.orthanc.items.values()}
        return found | {str(step.PatientID) for step in self.archive.steps.values()}


@asynccontextmanager
async def others_of(folder: Path, store: str) -> AsyncIterator[Others]:
    made = Others(folder, store)
    await made.start()
    try:
        yield made
    finally:
        for peer in made.peers:
            await peer.stop()


@pytest.fixture(params=["", "store: 'memory:'\n"], ids=["sqlite", "memory"])
async def others(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Others]:
    async with others_of(tmp_path, request.param) as made:
        yield made


def orders(first: int, last: int) -> list[bytes]:
    return [order(id=f"M{n}", number=str(n), patient=f"90000{n}") for n in range(first, last + 1)]


async def test_all_have_what_scanners_are_to_see(others: Others) -> None:
    async with others.site.running():
        assert await send(others.site, *orders(1, 3)) == ["AA"] * 3
        await others.have(3, 3, 3)
        assert await send(others.site, order("CA", "CA", id="C1", at=LATER)) == ["AA"]
        await others.have(2, 2, 2)
        assert len(others.archive.steps) == 3, "the archive keeps what was cancelled, as such"
        text = others.site.engine.meter.render()[1].decode()
        assert 'segmill_hand_off_up{hand_off="orthanc"} 1.0' in text
        assert 'segmill_hand_off_waiting_steps{hand_off="wlm"} 0.0' in text
        assert 'segmill_hand_off_steps_total{event="handed",hand_off="wlm"} 3.0' in text


async def test_a_merge_of_patients_reaches_all(others: Others) -> None:
    async with others.site.running():
        assert await send(others.site, *orders(1, 1)) == ["AA"]
        await others.have(1, 1, 1)
        assert await send(others.site, adt("A40", id="A1", patient="900009", prior="900001")) == ["AA"]
        await until_within(lambda: others.patients == {"900009"}, 60)
        await others.have(1, 1, 1)


async def test_who_was_away_while_the_engine_was_started_anew_gets_what_came_meanwhile(tmp_path: Path) -> None:
    async with others_of(tmp_path, "") as others:
        async with others.site.running():
            assert await send(others.site, *orders(1, 2)) == ["AA"] * 2
            await others.have(2, 2, 2)
            for peer in others.peers:
                await peer.stop()
            assert await send(others.site, *orders(3, 4), order("CA", "CA", id="C1", at=LATER)) == ["AA"] * 3
            await others.have(3, 2, 2)
        async with others.site.running() as engine:
            away = {"archive": "down", "orthanc": "down", "wlm": "up"}
            await until_within(lambda: states(others) == away, 60)
            assert await send(others.site, *orders(5, 5)) == ["AA"]
            await others.have(4, 2, 2)
        for peer in others.peers:
            await peer.start()
        async with others.site.running() as engine:
            await others.have(4, 4, 4)
            await until_within(lambda: set(states(others).values()) == {"up"}, 60)
            assert [one.handed for one in engine._hand_offs.status] == [4, 4, 4]


async def test_what_a_hand_off_that_is_gone_left_there_is_said(tmp_path: Path, caplog) -> None:
    async with others_of(tmp_path, "") as others:
        async with others.site.running():
            assert await send(others.site, *orders(1, 1)) == ["AA"]
            await others.have(1, 1, 1)
        file = others.site.folder / "segmill.yaml"
        lines = [line for line in file.read_text().splitlines() if "dcm4chee" not in line]
        file.write_text("\n".join(lines) + "\n")
        async with others.site.running():
            assert "1 steps were handed over by hand-off archive, which the site's files no longer have" in caplog.text


async def test_another_worklist_takes_away_what_was_handed_over(tmp_path: Path) -> None:
    async with others_of(tmp_path, "") as others:
        async with others.site.running():
            assert await send(others.site, *orders(1, 2)) == ["AA"] * 2
            await others.have(2, 2, 2)
        file = others.site.folder / "segmill.yaml"
        file.write_text(file.read_text().replace("orthanc: {orthanc", "orthanc: {worklist: none, orthanc"))
        async with others.site.running():
            await others.have(2, 0, 2)


def settings(others: Others, *lines: str) -> str:
    return "\n".join(["admin: off", "shutdown: 5s", "hand_offs:", *(f"  {line}" for line in lines)]) + "\n"


async def reload(others: Others, text: str) -> ReloadReport:
    (others.site.folder / "segmill.yaml").write_text(text)
    report = await others.site.engine.control.reload()
    assert report.outcome == "taken", report
    return report


def states(others: Others) -> dict[str, str]:
    return {one.name: one.state for one in others.site.engine._hand_offs.status}


async def test_a_reload_adds_changes_and_ends_hand_offs(tmp_path: Path, caplog) -> None:
    async with others_of(tmp_path, "") as others:
        orthanc = f"orthanc: {{orthanc: {{url: 'http://127.0.0.1:{others.peers[0].port}'}}}}"
        async with others.site.running():
            assert await send(others.site, *orders(1, 2)) == ["AA"] * 2
            await others.have(2, 2, 2)
            other = "wlm: {folder: {path: worklist, titles: [SEGMILL]}}"
            report = await reload(others, settings(others, other, orthanc))
            assert report.needs_restart == ()
            await until_within(lambda: states(others) == {"orthanc": "up", "wlm": "up"}, 60)
            folder = others.site.folder / "worklist"
            await until_within(lambda: len(list((folder / "SEGMILL").glob("*.wl"))) == 2, 60)
            assert list(folder.glob("*.wl")) == [], "what stood in the old place is gone"
            assert "2 steps were handed over by hand-off archive" in caplog.text
            assert 'hand_off="archive"' not in others.site.engine.meter.render()[1].decode()
            asked = len(others.peers[0].asked)
            assert await send(others.site, *orders(3, 3)) == ["AA"]
            await until_within(lambda: len(others.orthanc.items) == 3, 60)
            assert len(others.peers[0].asked) == asked + 1, "one that did not change ran on"
            assert len(others.archive.steps) == 2


async def test_a_reload_whose_hand_off_cannot_be_set_up_changes_nothing(tmp_path: Path) -> None:
    async with others_of(tmp_path, "") as others, others.site.running():
        (others.site.folder / "ca.pem").write_text("no certificate")
        bad = "new: {orthanc: {url: 'https://127.0.0.1:1', tls: {ca: ca.pem}}}"
        before = states(others)
        (others.site.folder / "segmill.yaml").write_text(settings(others, "wlm: {folder: {path: other}}", bad))
        report = await others.site.engine.control.reload()
        assert report.outcome == "rejected" and "hand-off new" in report.sentence
        assert states(others).keys() == before.keys()
        assert await send(others.site, *orders(1, 1)) == ["AA"]
        await others.have(1, 1, 1)
