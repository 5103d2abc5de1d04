"""Everyone who takes steps over keeps the contract: a folder, and both APIs against fakes of their documentation."""

import asyncio
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from engine.adapters.hand_offs.dcm4chee import Dcm4cheeItems
from engine.adapters.hand_offs.folder import WlFolder
from engine.adapters.hand_offs.orthanc import NO_API, OrthancWorklists
from engine.adapters.hand_offs.wl_file import name_of, wl_file
from engine.config.hand_offs import Dcm4cheeOptions, FolderOptions, OauthOptions, OrthancOptions
from engine.ports.hand_off import Gone, Handed, Kept, NotTaken, Taker, TakerDown
from engine.testing.hand_off_contract import (
    NAMES,
    TakerContract,
    handed_over,
    step_of,
    with_status,
    without,
)
from engine.worklist.attributes import SPS
from tests.adapters.hand_offs.fakes import FakeArchive, FakeOrthanc
from tests.adapters.hand_offs.rest_peer import Reply, RestPeer

FOREIGN = "somebody.wl"


class FolderBench:
    """`title`: '' for files in the folder itself."""

    keeps_off = False

    def __init__(self, site: Path, **options: object) -> None:
        self.site = site
        self.options = FolderOptions(path="worklist", **options)
        self.folder = site / "worklist"
        self.takers: list[Taker] = []

    def taker(self) -> Taker:
        made = WlFolder(self.options, self.site, "wlm")
        self.takers.append(made)
        return made

    def read(self, folder: Path | None = None) -> Mapping[tuple[str, str], str]:
        found = {}
        for file in (folder or self.read_from).glob(f"segmill-wlm-{'?' * 32}.wl"):
            dataset = dcmread(file)
            step = dataset.ScheduledProcedureStepSequence[0]
            found[str(dataset.StudyInstanceUID), str(step.ScheduledProcedureStepID)] = str(dataset.PatientName)
        return found

    @property
    def read_from(self) -> Path:
        return self.folder / self.options.titles[0] if self.options.titles else self.folder

    async def there(self) -> Mapping[tuple[str, str], str]:
        return self.read()

    async def lose(self) -> None:
        for file in self.read_from.glob("segmill-wlm-*.wl"):
            file.unlink()

    async def add_foreign(self) -> None:
        # Also one that is named as another hand-off's, and one that is nearly ours.
        for name in (FOREIGN, f"segmill-other-{'0' * 32}.wl", f"segmill-wlm-{'0' * 31}.wl"):
            (self.read_from / name).write_text("theirs")

    async def has_foreign(self) -> bool:
        return (self.read_from / FOREIGN).read_text() == "theirs" and len(list(self.read_from.glob("*.wl"))) >= 3

    async def down(self) -> None:
        self.folder.rename(self.site / "unmounted")

    async def up(self) -> None:
        (self.site / "unmounted").rename(self.folder)


class TestFolderForOrthanc(TakerContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> FolderBench:
        return FolderBench(tmp_path)


class TestFolderForWlmscpfs(TakerContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> FolderBench:
        return FolderBench(tmp_path, titles=("SEGMILL",))


class RestBench:
    """`program`: the fake behind the server."""

    keeps_off = True

    def __init__(self, site: Path, program: FakeOrthanc | FakeArchive) -> None:
        self.site = site
        self.peer = RestPeer(program)

    async def down(self) -> None:
        await self.peer.stop()

    async def up(self) -> None:
        await self.peer.start()


class OrthancBench(RestBench):
    def __init__(self, site: Path, missing: str = "leave") -> None:
        self.orthanc = FakeOrthanc()
        self.missing = missing
        self.keeps_off = missing == "leave"
        super().__init__(site, self.orthanc)

    def taker(self) -> Taker:
        options = OrthancOptions(url=f"http://127.0.0.1:{self.peer.port}", missing=self.missing)
        return OrthancWorklists(options, self.site, "wlm")

    async def there(self) -> Mapping[tuple[str, str], str]:
        return {
            (tags["StudyInstanceUID"], tags[SPS][0]["ScheduledProcedureStepID"]): tags["PatientName"]
            for id_, tags in self.orthanc.items.items()
            if id_ != "theirs"
        }

    async def lose(self) -> None:
        self.orthanc.items.clear()

    async def add_foreign(self) -> None:
        self.orthanc.items["theirs"] = {"PatientName": "Other"}

    async def has_foreign(self) -> bool:
        return self.orthanc.items["theirs"] == {"PatientName": "Other"}


class TestOrthanc(TakerContract):
    @pytest.fixture(params=["leave", "write"])
    async def bench(self, tmp_path: Path, request: pytest.FixtureRequest):
        made = OrthancBench(tmp_path, request.param)
        async with made.peer:
            yield made


class ArchiveBench(RestBench):
    def __init__(self, site: Path, **options: object) -> None:
        self.archive = FakeArchive()
        self.options = options
        super().__init__(site, self.archive)

    def taker(self) -> Taker:
        url = f"http://127.0.0.1:{self.peer.port}/dcm4chee-arc/aets/WORKLIST/rs"
        return Dcm4cheeItems(Dcm4cheeOptions(url=url, **self.options), self.site, "wlm")

    async def there(self) -> Mapping[tuple[str, str], str]:
        return {key: name for key, name in self.archive.shown.items() if key != ("9.9", "theirs")}

    async def lose(self) -> None:
        self.archive.steps.clear()

    async def add_foreign(self) -> None:
        one = step_of(99).shelved
        assert one is not None
        from engine.adapters.hand_offs.dcm4chee import json_of, patient_of
        from tests.adapters.hand_offs.fakes import Dataset, _patient

        made = Dataset.from_json(json_of(one.item))
        patient = Dataset.from_json(patient_of(one.item))
        self.archive.steps["9.9", "theirs"] = made
        self.archive.patients[_patient(patient)] = patient

    async def has_foreign(self) -> bool:
        return ("9.9", "theirs") in self.archive.steps


class TestDcm4chee(TakerContract):
    """Names are those of the archive's patients, so these are kept as the worklist has them."""

    @pytest.fixture
    async def bench(self, tmp_path: Path):
        made = ArchiveBench(tmp_path, patients="update")
        async with made.peer:
            yield made


# -- the folder -------------------------------------------------------------------------------------

HOLD = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(lock, fcntl.LOCK_SH if sys.argv[2] == "read" else fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""
"""Another process that holds a lock on a file, as wlmscpfs and another engine do, until it is told to let go."""


class Holder:
    def __init__(self, file: Path, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(file), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def let_go(self) -> None:
        self.process.communicate(b"\n")

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


async def test_a_change_waits_for_a_query_that_reads_the_folder(tmp_path: Path, monkeypatch) -> None:
    bench = FolderBench(tmp_path, titles=("SEGMILL",))
    taker = bench.taker()
    await taker.look([])
    tried = threading.Event()
    lockf = fcntl.lockf

    def noticed(descriptor: int, how: int) -> None:
        try:
            lockf(descriptor, how)
        except OSError:
            tried.set()
            raise

    monkeypatch.setattr("engine.adapters.hand_offs.folder.fcntl.lockf", noticed)
    with Holder(bench.folder / "SEGMILL" / "lockfile", "read") as query:
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(handed_over(taker, step_of(1)))
            assert await asyncio.to_thread(tried.wait, 30)
            assert bench.read() == {}
            query.let_go()
        assert taking.done() and len(bench.read()) == 1
    await taker.close()


async def test_a_query_that_never_ends_is_a_failure_and_no_standstill(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("engine.adapters.hand_offs.folder.LOCK_S", 0.1)
    bench = FolderBench(tmp_path, titles=("SEGMILL",))
    taker = bench.taker()
    await taker.look([])
    with Holder(bench.folder / "SEGMILL" / "lockfile", "read"):
        taken = await taker.take([step_of(1)])
    assert "lock" in taken.down and not taken.outcomes
    assert sorted(os.listdir(bench.folder / "SEGMILL")) == ["lockfile"], "nothing half done is left"
    await handed_over(taker, step_of(1))
    await taker.close()


async def test_two_engines_do_not_write_into_one_folder(tmp_path: Path) -> None:
    bench = FolderBench(tmp_path)
    bench.folder.mkdir()
    taker = bench.taker()
    with Holder(bench.folder / ".segmill-wlm.lock", "write") as other:
        with pytest.raises(TakerDown, match="another engine writes into"):
            await taker.look([])
        assert "another engine" in (await taker.take([step_of(1)])).down
        other.let_go()
    await taker.look([])
    await taker.close()


async def test_wlmscpfs_finds_its_lockfile_before_there_is_a_step(tmp_path: Path) -> None:
    bench = FolderBench(tmp_path, titles=("SEGMILL", "OTHER 1"))
    taker = bench.taker()
    await taker.look([])
    await taker.close()
    for title in ("SEGMILL", "OTHER 1"):
        mode = (bench.folder / title / "lockfile").stat().st_mode
        assert stat.S_ISREG(mode) and stat.S_IMODE(mode) == 0o660, "wlmscpfs opens it for writing, as another user"


async def test_a_folder_of_others_that_may_not_be_looked_into_is_in_nobodys_way(tmp_path: Path, monkeypatch) -> None:
    bench = FolderBench(tmp_path, titles=("SEGMILL",))
    (bench.folder / "THEIRS").mkdir(parents=True)
    opened = os.open

    def as_another_user(path: object, *args: object, **options: object) -> int:
        if path == "THEIRS":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr("engine.adapters.hand_offs.folder.os.open", as_another_user)
    taker = bench.taker()
    assert (await taker.look([])).removed == 0
    await handed_over(taker, step_of(1))
    assert len(bench.read()) == 1
    await taker.close()


async def test_a_step_follows_its_station_from_folder_to_folder(tmp_path: Path) -> None:
    bench = FolderBench(tmp_path, titles=("ALL",), by_station=True)
    taker = bench.taker()
    (had,) = await handed_over(taker, step_of(1, station="CT1"))
    assert len(bench.read(bench.folder / "CT1")) == len(bench.read(bench.folder / "ALL")) == 1
    (had,) = await handed_over(taker, step_of(1, station="CT2", had=had))
    assert (len(bench.read(bench.folder / "CT1")), len(bench.read(bench.folder / "CT2"))) == (0, 1)
    found = await taker.look([had])
    assert (found.lost, found.removed) == ([], 0)
    await handed_over(taker, without(step_of(1), had))
    assert bench.read(bench.folder / "CT2") == bench.read(bench.folder / "ALL") == {}
    await taker.close()


@pytest.mark.parametrize("title", ["../x", "a/b", "..", ".x", " CT", "CT.1", "Ä"])
async def test_a_station_that_cannot_be_a_folder_has_none(tmp_path: Path, title: str) -> None:
    bench = FolderBench(tmp_path, by_station=True)
    taker = bench.taker()
    (had,) = await handed_over(taker, step_of(1))
    made = step_of(1, had=had).shelved
    assert made is not None
    inner = {**made.item.step, "ScheduledStationAETitle": (title,)}
    moved = replace(made.item, attributes={**made.item.attributes, SPS: (inner,)})
    taken = await taker.take([replace(step_of(1, had=had), shelved=replace(made, item=moved))])
    (outcome,) = taken.outcomes
    assert isinstance(outcome, NotTaken) and outcome.why.startswith("W442 ")
    assert bench.read(bench.folder / "CT1") == {}, "its old station does not keep it"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["CT1", "worklist"]
    await taker.close()


async def test_other_settings_write_all_of_it_anew_and_leave_nothing_behind(tmp_path: Path) -> None:
    before = FolderBench(tmp_path, titles=("OLD",))
    taker = before.taker()
    handed = await handed_over(taker, step_of(1, NAMES[1]), step_of(2))
    await taker.close()
    after = FolderBench(tmp_path, titles=("NEW",), charset="ISO_IR 100")
    taker = after.taker()
    found = await taker.look(handed)
    assert sorted(found.lost) == sorted(one.key for one in handed) and found.removed == 2
    assert before.read() == {}
    await handed_over(taker, step_of(1, NAMES[1]), step_of(2))
    (file,) = (path for path in (after.folder / "NEW").glob("*.wl") if dcmread(path).PatientID == "900001")
    assert dcmread(file).SpecificCharacterSet == "ISO_IR 100" and "MÜLLER".encode("latin-1") in file.read_bytes()
    await taker.close()


async def test_a_file_that_was_damaged_or_exchanged_is_found_at_the_next_look(tmp_path: Path) -> None:
    bench = FolderBench(tmp_path)
    taker = bench.taker()
    one, two, three = await handed_over(taker, step_of(1), step_of(2), step_of(3))
    path = {had.key: bench.folder / f"segmill-wlm-{name_of(had.key)}.wl" for had in (one, two, three)}
    content = bytearray(path[one.key].read_bytes())
    content[-1] ^= 1
    path[one.key].write_bytes(content)
    secret = tmp_path / "secret"
    secret.write_text("do not touch")
    path[two.key].unlink()
    path[two.key].symlink_to(secret)
    assert (await taker.look([one, two, three])).lost == [one.key, two.key]
    await handed_over(taker, step_of(1), step_of(2))
    assert len(bench.read()) == 3 and not path[two.key].is_symlink()
    assert secret.read_text() == "do not touch"
    await taker.close()


async def test_a_subfolder_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    bench = FolderBench(tmp_path, titles=("SEGMILL",))
    outside = tmp_path / "outside"
    outside.mkdir()
    bench.folder.mkdir()
    (bench.folder / "SEGMILL").symlink_to(outside)
    taker = bench.taker()
    assert "link" in (await taker.take([step_of(1)])).down
    assert list(outside.iterdir()) == []
    await taker.close()


async def test_what_a_crash_left_is_removed_and_nobody_elses(tmp_path: Path) -> None:
    bench = FolderBench(tmp_path)
    bench.folder.mkdir()
    ours, theirs = f".segmill-wlm-{'a' * 32}.tmp", f".segmill-other-{'a' * 32}.tmp"
    for name in (ours, theirs):
        (bench.folder / name).write_bytes(b"half")
    taker = bench.taker()
    await taker.look([])
    await taker.close()
    assert sorted(os.listdir(bench.folder)) == [theirs, ".segmill-wlm.lock"]


async def test_a_folder_that_was_there_and_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """It may be a share that is not mounted: the files would go where nobody looks for them."""
    bench = FolderBench(tmp_path)
    taker = bench.taker()
    await handed_over(taker, step_of(1))
    shutil.rmtree(bench.folder)
    assert "does not exist" in (await taker.take([step_of(2)])).down
    assert not bench.folder.exists()
    await taker.close()


def test_a_file_has_all_that_a_worklist_must_have_whatever_the_step_lacks() -> None:
    made = step_of(1).shelved
    assert made is not None
    dataset = dcmread(BytesIO(wl_file(made)))
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence", "PatientBirthDate", "RequestedProcedureID"):
        assert keyword in dataset
    step = dataset.ScheduledProcedureStepSequence[0]
    assert step.ScheduledProcedureStepStatus == "SCHEDULED" and "ScheduledPerformingPhysicianName" in step
    tags = [int(element.tag) for element in dataset]
    assert tags == sorted(tags)


# -- Orthanc ----------------------------------------------------------------------------------------


@pytest.fixture
async def orthanc(tmp_path: Path):
    bench = OrthancBench(tmp_path)
    async with bench.peer:
        yield bench


async def test_what_orthanc_took_off_because_images_came_stays_off(orthanc: OrthancBench) -> None:
    taker = orthanc.taker()
    (had,) = await handed_over(taker, step_of(1))
    await orthanc.lose()
    (changed,) = await handed_over(taker, step_of(1, NAMES[1], had=had))
    assert not changed.is_shown and await orthanc.there() == {}, "a change of the patient does not bring it back"
    (changed,) = await handed_over(taker, step_of(1, NAMES[2], had=changed))
    assert not changed.is_shown and await orthanc.there() == {}
    assert (await taker.take([without(step_of(1), changed)])).outcomes == [Gone()]
    await taker.close()


async def test_orthanc_writes_again_what_is_missing_where_it_is_told_to(tmp_path: Path) -> None:
    bench = OrthancBench(tmp_path, "write")
    async with bench.peer:
        taker = bench.taker()
        await handed_over(taker, step_of(1))
        await bench.lose()
        hidden = Handed(step_of(1).key, "m", is_shown=False)
        assert (await taker.look([hidden])).lost == [hidden.key], "also what stayed off before the settings changed"
        await taker.close()


async def test_orthanc_keeps_nothing_of_ours_that_the_store_does_not_know(orthanc: OrthancBench) -> None:
    taker = orthanc.taker()
    await handed_over(taker, step_of(1), step_of(2))
    await orthanc.add_foreign()
    found = await taker.look([Handed(step_of(1).key, "m")])
    assert found.removed == 1 and set(await orthanc.there()) == {("1.2.1", "S1")} and await orthanc.has_foreign()
    await taker.close()


@pytest.mark.parametrize("method", ["take", "look"])
async def test_an_orthanc_without_the_api_is_told(orthanc: OrthancBench, method: str) -> None:
    orthanc.orthanc.has_plugin = False
    taker = orthanc.taker()
    if method == "take":
        assert (await taker.take([step_of(1)])).down == NO_API
    else:
        with pytest.raises(TakerDown, match=r"1\.12\.9"):
            await taker.look([])
    await taker.close()


async def test_a_step_that_is_refused_keeps_no_others_up(orthanc: OrthancBench) -> None:
    def refuse(asked):
        return Reply(400) if b"900002" in asked.body else orthanc.orthanc(asked)

    orthanc.peer._answer = refuse
    taker = orthanc.taker()
    taken = await taker.take([step_of(1), step_of(2), step_of(3)])
    assert [type(outcome) for outcome in taken.outcomes] == [Kept, NotTaken, Kept] and not taken.down
    assert "900002" not in str(taken) and "HTTP 400" in str(taken.outcomes[1])
    await taker.close()


async def test_after_three_failures_in_a_row_nothing_more_is_tried(orthanc: OrthancBench) -> None:
    orthanc.peer.failing = 500
    taker = orthanc.taker()
    taken = await taker.take([step_of(number) for number in range(1, 9)])
    assert len(taken.outcomes) == 3 and "HTTP 500" in taken.down
    assert len(orthanc.peer.asked) == 3
    await taker.close()


@pytest.mark.parametrize("status", [401, 429, 502, 503, 504, 302])
async def test_what_is_about_the_server_is_not_held_against_a_step(orthanc: OrthancBench, status: int) -> None:
    orthanc.peer.failing = status
    taker = orthanc.taker()
    taken = await taker.take([step_of(1), step_of(2)])
    assert not taken.outcomes and str(status) in taken.down
    await taker.close()


async def test_a_server_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    bench = OrthancBench(tmp_path)
    async with bench.peer:
        bench.peer.is_silent = True
        options = OrthancOptions(url=f"http://127.0.0.1:{bench.peer.port}", timeout=0.05)
        taker = OrthancWorklists(options, tmp_path, "wlm")
        (outcome,) = (await taker.take([step_of(1)])).outcomes
        assert outcome == NotTaken("no answer: time-out", is_theirs=True)
        with pytest.raises(TakerDown, match="time-out"):
            await taker.look([])
        await taker.close()


async def test_a_login_is_shown(tmp_path: Path) -> None:
    bench = OrthancBench(tmp_path)
    bench.orthanc.login = "Basic " + b64encode(b"segmill:secret").decode()
    async with bench.peer:
        options = OrthancOptions(url=f"http://127.0.0.1:{bench.peer.port}", user="segmill", password="secret")
        taker = OrthancWorklists(options, tmp_path, "wlm")
        await handed_over(taker, step_of(1))
        await taker.close()
        other = bench.taker()
        assert "login" in (await other.take([step_of(2)])).down
        await other.close()


# -- dcm4chee ---------------------------------------------------------------------------------------


@pytest.fixture
async def archive(tmp_path: Path):
    bench = ArchiveBench(tmp_path)
    async with bench.peer:
        yield bench


async def test_a_patient_that_the_archive_does_not_know_is_made_once(archive: ArchiveBench) -> None:
    taker = archive.taker()
    (had,) = await handed_over(taker, step_of(1))
    assert set(archive.archive.patients) == {("900001", "HIS")}
    archive.peer.asked.clear()
    await handed_over(taker, step_of(1, NAMES[1], had=had))
    assert [(one.method, one.target.rpartition("/")[2]) for one in archive.peer.asked] == [("POST", "mwlitems")]
    await taker.close()


async def test_a_step_waits_for_its_patient_where_the_archive_makes_its_own(tmp_path: Path) -> None:
    bench = ArchiveBench(tmp_path, patients="leave")
    async with bench.peer:
        taker = bench.taker()
        (outcome,) = (await taker.take([step_of(1)])).outcomes
        assert outcome == NotTaken("the archive does not know its patient (HTTP 404)")
        assert not bench.archive.patients
        await taker.close()


async def test_a_step_that_went_to_another_patient_is_made_anew(archive: ArchiveBench) -> None:
    taker = archive.taker()
    (had,) = await handed_over(taker, step_of(1))
    made = step_of(1).shelved
    assert made is not None
    item = replace(made.item, attributes={**made.item.attributes, "PatientID": ("900009",)})
    moved = replace(step_of(1, had=had), shelved=replace(made, item=item))
    await handed_over(taker, moved)
    (step,) = archive.archive.steps.values()
    assert step.PatientID == "900009"
    await taker.close()


async def test_a_merged_patient_is_told_and_not_made_again(archive: ArchiveBench) -> None:
    archive.archive.merged.add(("900001", "HIS"))
    taker = archive.taker()
    (outcome,) = (await taker.take([step_of(1)])).outcomes
    assert isinstance(outcome, NotTaken) and "merged" in outcome.why
    await taker.close()


async def test_what_becomes_of_a_step_is_told_and_what_ended_stays(archive: ArchiveBench) -> None:
    taker = archive.taker()
    (had,) = await handed_over(taker, step_of(1))
    for status in ("STARTED", "COMPLETED"):
        (had,) = await handed_over(taker, with_status(step_of(1), status, had))
        (step,) = archive.archive.steps.values()
        assert step.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == status and not had.is_shown
    assert (await taker.take([without(step_of(1), had)])).outcomes == [Gone()]
    assert len(archive.archive.steps) == 1, "it is forgotten here, and the archive needs it"
    await taker.close()


async def test_a_step_that_was_begun_by_mistake_is_to_be_done_again(archive: ArchiveBench) -> None:
    taker = archive.taker()
    (had,) = await handed_over(taker, step_of(1))
    (had,) = await handed_over(taker, with_status(step_of(1), "STARTED", had))
    (had,) = await handed_over(taker, step_of(1, had=had))
    assert had.is_shown and len(archive.archive.shown) == 1
    await taker.close()


async def test_ended_steps_go_where_they_are_to(tmp_path: Path) -> None:
    bench = ArchiveBench(tmp_path, ended="delete")
    async with bench.peer:
        taker = bench.taker()
        (had,) = await handed_over(taker, step_of(1))
        taken = await taker.take([with_status(step_of(1), "COMPLETED", had)])
        assert taken.outcomes == [Gone()] and not bench.archive.steps
        await taker.close()


@pytest.mark.parametrize("step_id", [".", ".."])
async def test_a_number_that_would_be_another_url_is_not_handed_over(archive: ArchiveBench, step_id: str) -> None:
    taker = archive.taker()
    (outcome,) = (await taker.take([step_of(1, step_id=step_id)])).outcomes
    assert isinstance(outcome, NotTaken) and "URL" in outcome.why
    assert archive.peer.asked == []
    await taker.close()


async def test_a_token_is_asked_for_and_renewed_when_it_is_called_back(tmp_path: Path) -> None:
    bench = ArchiveBench(tmp_path)
    bench.archive.token = "nobody knows"
    async with bench.peer:
        url = f"http://127.0.0.1:{bench.peer.port}"
        oauth = OauthOptions(url=f"{url}/token", client="segmill", secret="s&cret")
        options = Dcm4cheeOptions(url=f"{url}/dcm4chee-arc/aets/WORKLIST/rs", oauth=oauth)
        taker = Dcm4cheeItems(options, tmp_path, "wlm")
        await handed_over(taker, step_of(1), step_of(2))
        assert bench.archive.tokens_given == 1
        bench.archive.token = "another"
        await handed_over(taker, step_of(3))
        assert bench.archive.tokens_given == 2
        await taker.close()


async def test_an_ae_title_that_the_archive_does_not_have_is_told(archive: ArchiveBench) -> None:
    archive.archive.ae_title = "OTHER"
    taker = archive.taker()
    with pytest.raises(TakerDown, match="AE title"):
        await taker.look([])
    await taker.close()
