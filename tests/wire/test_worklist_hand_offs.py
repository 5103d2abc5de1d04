"""Other people's worklist servers serve the folder that we write: dcmtk's wlmscpfs, and Debian's Orthanc with its
sample plugin; and what Debian's Orthanc, which has no REST worklists, comes to (dicom.md section 3)."""

import asyncio
import json
import os
import shutil
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.adapters.dicom.charsets import UNICODE, charset_of
from engine.adapters.dicom.encode import dataset_of
from engine.adapters.hand_offs.orthanc import NEEDED
from engine.worklist.attributes import SPS
from engine.worklist.item import Item, ItemKey
from engine.worklist.matching import STATUS
from tests.adapters.hand_offs.fakes import FakeOrthanc
from tests.adapters.hand_offs.rest_peer import Asked, Reply, RestPeer
from tests.ports import free_port
from tests.runtime.engines import SiteUnderTest
from tests.runtime.parts import until as until_within
from tests.wire.test_worklist_engine import ORDERS, STEP, answers, order, send

ORTHANC_PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
FINDSCU = pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")
WLMSCPFS = pytest.mark.skipif(shutil.which("wlmscpfs") is None, reason="dcmtk's wlmscpfs is not installed")
ORTHANC = pytest.mark.skipif(
    not Path(ORTHANC_PROGRAM).exists() or not ORTHANC_PLUGIN.exists(), reason="Debian's Orthanc is not installed"
)

WAIT_S = 60.0


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; programs take a while to start where others run beside them."""
    await until_within(condition, WAIT_S)


WITHOUT_REST = "orthanc: {url: 'http://127.0.0.1:%d'}"


def site(folder: Path, hand_off: str, store: str = "sqlite") -> SiteUnderTest:
    settings = f"admin: off\nshutdown: 5s\nhand_offs:\n  wlm:\n    {hand_off}\n"
    if store == "memory":
        settings += "store: 'memory:'\n"
    return SiteUnderTest(folder / "site", {"orders": ORDERS % "delivered(modalities)"}, settings)


def status(under_test: SiteUnderTest) -> tuple[str, int]:
    """How the one hand-off stands, and how many steps are there."""
    assert under_test.engine._hand_offs is not None
    (one,) = under_test.engine._hand_offs.status
    return one.state, one.handed


async def handed(under_test: SiteUnderTest, count: int) -> None:
    """Wait until so many steps are there."""
    await until(lambda: status(under_test) == ("up", count))


@asynccontextmanager
async def server(command: Sequence[str], port: int) -> AsyncIterator[None]:
    """A program that listens on `port`, from then on."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: process.returncode is not None or _listens(port))
        assert process.returncode is None, f"{command[0]} ended with {process.returncode}"
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def find(port: int, called: str, *keys: str, calling: str = "CT1") -> str:
    """What findscu prints for these keys."""
    asked = [part for key in ("PatientName", "PatientID", "SpecificCharacterSet", *keys) for part in ("-k", key)]
    command = ["findscu", "-v", "-W", "-aet", calling, "-aec", called, *asked, "127.0.0.1", str(port)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode("utf-8", "replace")


# -- wlmscpfs ---------------------------------------------------------------------------------------


@asynccontextmanager
async def wlmscpfs(folder: Path) -> AsyncIterator[int]:
    """dcmtk's, with the character set of its files; it leaves out files that lack anything of type 1."""
    port = free_port()
    async with server(["wlmscpfs", "-csk", "-efr", "-dfp", str(folder), str(port)], port):
        yield port


@FINDSCU
@WLMSCPFS
async def test_wlmscpfs_serves_what_is_handed_over_and_no_more_than_that(tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    made = site(tmp_path, f"folder: {{path: {worklist}, titles: [SEGMILL, OTHER]}}")
    async with made.running():
        await handed(made, 0)
        async with wlmscpfs(worklist) as port:
            assert answers(await find(port, "SEGMILL")) == 0
            assert await send(made, order(), order(id="M2", number="2", patient="900002", modality="MR")) == ["AA"] * 2
            await handed(made, 2)
            for called in ("SEGMILL", "OTHER"):
                found = await find(port, called, f"{STEP}.Modality=CT", f"{STEP}.ScheduledStationAETitle=CT1")
                assert answers(found) == 1, found
                assert "Müller^Eva" in found and "ISO_IR 192" in found
                assert answers(await find(port, called)) == 2
            assert await send(made, order("CA", "CA", id="M3", at="20260101123000+0000")) == ["AA"]
            await handed(made, 1)
            assert answers(await find(port, "SEGMILL")) == 1
            assert answers(await find(port, "SEGMILL", "PatientID=900001")) == 0


@FINDSCU
@WLMSCPFS
async def test_wlmscpfs_answers_each_station_with_its_own_steps(tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    made = site(tmp_path, f"folder: {{path: {worklist}, by_station: true}}")
    async with made.running():
        assert await send(made, order(), order(id="M2", number="2", patient="900002", modality="MR")) == ["AA"] * 2
        await handed(made, 2)
        async with wlmscpfs(worklist) as port:
            assert "900001" in (ct := await find(port, "CT1")) and answers(ct) == 1
            for station in ("MR1", "MR2"):
                assert "900002" in (mr := await find(port, station)) and answers(mr) == 1
            assert "Association Rejected" in (nobody := await find(port, "US1")), nobody


@FINDSCU
@WLMSCPFS
async def test_a_query_of_wlmscpfs_waits_for_a_change_that_is_under_way(tmp_path: Path, monkeypatch) -> None:
    worklist = tmp_path / "worklist"
    made = site(tmp_path, f"folder: {{path: {worklist}, titles: [SEGMILL]}}")
    begun, to_end = threading.Event(), threading.Event()
    replace = os.replace

    def held_up(*args: Any, **options: Any) -> None:
        begun.set()
        assert to_end.wait(30)
        replace(*args, **options)

    async with made.running(), wlmscpfs(worklist) as port:
        await handed(made, 0)
        monkeypatch.setattr("engine.adapters.hand_offs.folder.os.replace", held_up)
        assert await send(made, order()) == ["AA"]
        await until(begun.is_set)
        inode = (worklist / "SEGMILL" / "lockfile").stat().st_ino
        try:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(find(port, "SEGMILL"))
                await until(lambda: asking.done() or waits_for_a_lock(inode))
                assert not asking.done(), asking.result()
                to_end.set()
        finally:
            to_end.set()
        assert answers(asking.result()) == 1, "it was answered from the folder as it is after the change"


def waits_for_a_lock(inode: int) -> bool:
    """Whether a process waits for a lock on a file (proc(5), /proc/locks)."""
    return any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


# -- Orthanc ----------------------------------------------------------------------------------------


@asynccontextmanager
async def orthanc(folder: Path, worklist: Path | None) -> AsyncIterator[tuple[int, int]]:
    """Debian's, with its sample plugin on a folder of files or without it. Its DICOM and HTTP ports."""
    dicom, http = free_port(), free_port()
    configuration: dict[str, object] = {
        "Name": "Test",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFindWorklist": True,
        "DicomCheckCalledAet": False,
        "DefaultEncoding": "Utf8",
        "Plugins": [str(ORTHANC_PLUGIN)] if worklist is not None else [],
        "Worklists": {"Enable": worklist is not None, "Database": str(worklist)},
        "DicomModalities": {"ct1": ["CT1", "127.0.0.1", 104]},
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration))
    async with server([ORTHANC_PROGRAM, str(file)], http):
        await until(lambda: _listens(dicom))
        yield dicom, http


@FINDSCU
@ORTHANC
async def test_orthanc_serves_what_is_handed_over_and_no_more_than_that(tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    made = site(tmp_path, f"folder: {{path: {worklist}}}")
    async with made.running():
        await handed(made, 0)
        async with orthanc(tmp_path, worklist) as (port, _):
            assert answers(await find(port, "ORTHANC")) == 0
            assert await send(made, order(), order(id="M2", number="2", patient="900002", modality="MR")) == ["AA"] * 2
            await handed(made, 2)
            found = await find(port, "ORTHANC", f"{STEP}.Modality=CT", f"{STEP}.ScheduledStationAETitle=CT1")
            assert answers(found) == 1, found
            assert "Müller^Eva" in found
            assert answers(await find(port, "ORTHANC")) == 2
            assert await send(made, order("CA", "CA", id="M3", at="20260101123000+0000")) == ["AA"]
            await handed(made, 1)
            assert answers(await find(port, "ORTHANC")) == 1


@ORTHANC
async def test_an_orthanc_without_rest_worklists_is_told_from_one_that_is_down(tmp_path: Path, caplog) -> None:
    async with orthanc(tmp_path, None) as (_, http):
        made = site(tmp_path, WITHOUT_REST % http)
        async with made.running():
            await until(lambda: status(made)[0] == "down")
            assert made.engine._hand_offs is not None
            (one,) = made.engine._hand_offs.status
            assert "1.12.9" in one.why
            assert await send(made, order()) == ["AA"], "orders are taken all the same"
    assert len([record for record in caplog.records if "hand-off wlm is down" in record.message]) == 1


class OrthancsOwnReader(FakeOrthanc):
    """The REST worklists as the plugin has them, in folder mode: what it is given is read by a real Orthanc, with the
    reader of JSON that the plugin has, too, and written as `ID.wl` for that Orthanc's worklist plugin to serve."""

    def __init__(self, http: int, folder: Path) -> None:
        super().__init__()
        self._base = f"http://127.0.0.1:{http}"
        self._folder = folder

    def _put(self, id_: str, asked: Asked) -> Reply:
        reply = super()._put(id_, asked)
        if reply.status == 200:
            body = json.dumps({"Tags": self.items[id_], "Force": True}).encode()
            made = json.loads(self._ask("POST", "/tools/create-dicom", body))
            (self._folder / f"{id_}.wl").write_bytes(self._ask("GET", f"/instances/{made['ID']}/file"))
            self._ask("DELETE", f"/instances/{made['ID']}")
        return reply

    def _delete(self, id_: str) -> Reply:
        (self._folder / f"{id_}.wl").unlink()
        return super()._delete(id_)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self._base + path, body, method=method)
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return bytes(answer.read())


@FINDSCU
@ORTHANC
async def test_what_orthanc_is_given_by_rest_is_what_its_own_reader_makes_of_it(tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    worklist.mkdir()
    async with orthanc(tmp_path, worklist) as (port, http), RestPeer(OrthancsOwnReader(http, worklist)) as peer:
        made = site(tmp_path, WITHOUT_REST % peer.port)
        async with made.running():
            assert await send(made, order(), order(id="M2", number="2", patient="900002", modality="MR")) == ["AA"] * 2
            await handed(made, 2)
            found = await find(port, "ORTHANC", f"{STEP}.Modality=CT", f"{STEP}.ScheduledStationAETitle=CT1")
            assert answers(found) == 1
            assert "Müller^Eva" in found
            files = {str(file.AccessionNumber): file for file in map(dcmread, worklist.glob("*.wl"))}
            assert sorted(files) == ["A1", "A2"]
            with made.engine._queries.worklist("main") as view:
                item = view.item(ItemKey("1.2.826.0.1.99.1", "S1"))
            assert item is not None
            assert differing(files["A1"], item) == []
            assert "AccessionNumber" in differing(files["A2"], item), "the other one is another"
            assert await send(made, order("CA", "CA", id="M3")) == ["AA"]
            await until(lambda: len(list(worklist.glob("*.wl"))) == 1)
            assert answers(await find(port, "ORTHANC", f"{STEP}.Modality=CT")) == 0
            assert answers(await find(port, "ORTHANC", f"{STEP}.Modality=MR")) == 1


def differing(read: Dataset, item: Item) -> list[str]:
    """Attributes of an item that its file does not have as the item has them."""
    whole, _ = dataset_of({**item.attributes, SPS: ({**item.step, STATUS: (item.status,)},)}, charset_of(UNICODE))
    return [
        element.keyword
        for element in whole
        if (element.value or element.keyword in NEEDED) and read.get(element.keyword) != _without_empty(element.value)
    ]


def _without_empty(value: Any) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str) or not any(isinstance(one, Dataset) for one in value):
        return value
    for one in value:
        for element in list(one):
            element.value = _without_empty(element.value)
            if not element.value:
                del one[element.tag]
    return value
