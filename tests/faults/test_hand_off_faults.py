"""A folder of worklist files through kill -9 and a full disk: whoever reads it sees whole files, and sooner or later
exactly what is on the worklist (dicom.md section 3)."""

import threading
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from engine.adapters.stores.queries import SqliteQueries
from engine.testing.sites import make_site
from engine.worklist.item import ItemKey
from engine.worklist.matching import compile_query
from tests.faults.disks import resize, small_tmpfs
from tests.faults.ledger import Ledger
from tests.faults.test_operation_kills import until
from tests.faults.test_worklist_kills import CHANNEL, EngineProcess, Pace, Stream
from tests.runtime.parts import until as until_async
from tests.wire.test_worklist_engine import order, send
from tests.wire.test_worklist_hand_offs import handed, status
from tests.wire.test_worklist_hand_offs import site as site_with

IN_PLACE = """
import os, sys, time
from engine.adapters.hand_offs import folder
from engine.cli.main import main

real_replace = os.replace


def write(self, where, name, content):
    into = self.open(where)
    opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640, dir_fd=into)
    os.write(opened, content[:300])
    time.sleep(0.001)
    os.write(opened, content[300:])
    os.close(opened)
    return name


folder._Root.write = write
folder.os.replace = lambda *args, **options: real_replace(*args, **options) if "src_dir_fd" not in options else None
sys.argv = ["segmill", "run", sys.argv[1]]
main()
"""
"""An engine that writes files where readers look for them."""


class Reader:
    """Reads all files of a folder again and again, as Orthanc does: without a lock, while they are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: list[str] = []
        self.rounds = 0
        self._read: dict[bytes, ItemKey | None] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def read(self) -> set[ItemKey]:
        """The steps that are there."""
        found: set[ItemKey] = set()
        for file in self.folder.glob("*.wl"):
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                continue  # it was there when the names were read
            if content not in self._read:
                self._read[content] = self._key(file, content)
            known = self._read[content]
            if known is not None:
                found.add(known)
        return found

    def _key(self, file: Path, content: bytes) -> ItemKey | None:
        try:
            dataset = dcmread(BytesIO(content))
            step = dataset.ScheduledProcedureStepSequence[0]
            assert dataset.RequestedProcedureID, "it stands behind most others"
            return ItemKey(str(dataset.StudyInstanceUID), str(step.ScheduledProcedureStepID))
        except Exception as error:
            self.broken.append(f"{file.name}: {len(content)} bytes, {type(error).__name__}")
            return None

    def _run(self) -> None:
        while not self._over.is_set():
            self.read()
            self.rounds += 1
            self._over.wait(0.005)


def run(site: Path, folder: Path, kills: tuple[int, ...], program: str = "") -> tuple[Reader, set[ItemKey], int]:
    """Orders stream in while the engine is killed at so many; the reader, what is on the worklist, and how many."""
    stream, reader = Stream(Pace()), Reader(folder)
    engine = EngineProcess(site, program)
    stream.port = engine.port
    queries: SqliteQueries | None = None
    try:
        stream.start()
        reader.start()
        for number in kills:
            until(lambda: len(stream.acknowledged) >= number)  # noqa: B023
            engine.kill()
            engine = EngineProcess(site, program)
            stream.port = engine.port
        until(lambda: len(stream.acknowledged) >= kills[-1] + 40)
        stream.stop()
        queries = SqliteQueries(site / "data" / "segmill.db")
        until(lambda: all(depth.queued == 0 for depth in queries.depths()))
        shown = on_worklist(queries)
        if not program:
            until(lambda: reader.read() == shown)
    finally:
        stream.stop()
        reader.stop()
        engine.kill()
        if queries is not None:
            queries.close()
    return reader, shown, len(stream.acknowledged)


def on_worklist(queries: SqliteQueries) -> set[ItemKey]:
    with queries.worklist("main") as view:
        return {one.item.key for one in view.candidates(compile_query({}), 100_000)}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "worklist"
    folder.mkdir()
    (folder / "theirs.txt").write_text("not ours")
    settings = f"admin: off\nhand_offs: {{wlm: {{folder: {{path: {folder}}}}}}}\n"
    return make_site(tmp_path / "site", {"orders": CHANNEL}, settings)


def test_readers_see_whole_files_and_in_the_end_the_worklist_whenever_the_engine_was_killed(
    site: Path, tmp_path: Path, ledger: Ledger
) -> None:
    kills = (25, 60, 110)
    folder = tmp_path / "worklist"
    reader, shown, acknowledged = run(site, folder, kills)
    assert reader.broken == [] and reader.rounds > len(kills)
    assert reader.read() == shown and len(shown) >= acknowledged
    assert (folder / "theirs.txt").read_text() == "not ours"
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []
    ledger.write("R1", "kill -9, a folder of worklist files", kills=len(kills), files=len(shown), torn=0, lost=0)


def test_files_that_are_written_in_place_are_caught(site: Path, tmp_path: Path) -> None:
    reader, _, _ = run(site, tmp_path / "worklist", (25, 60, 110), IN_PLACE)
    assert reader.broken


async def test_a_full_disk_keeps_what_is_there_and_takes_the_rest_when_there_is_room(
    tmp_path: Path, ledger: Ledger
) -> None:
    with small_tmpfs("R4", tmp_path / "disk", "200k") as disk:
        worklist = disk / "worklist"
        made = site_with(tmp_path, f"folder: {{path: {worklist}}}")
        async with made.running():
            assert await send(made, order()) == ["AA"]
            await handed(made, 1)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"\0" * 4096)
            reader = Reader(worklist)
            orders = [order(id=f"M{n}", number=str(n), patient=f"90000{n}") for n in range(2, 6)]
            assert await send(made, *orders) == ["AA"] * 4, "orders are taken all the same"
            await until_async(lambda: status(made)[0] == "down", 60)
            assert made.engine._hand_offs is not None
            (one,) = made.engine._hand_offs.status
            assert "is full" in one.why
            assert len(reader.read()) == 1 and reader.broken == []
            resize(disk, "4m")
            await until_async(lambda: status(made) == ("up", 5), 60)
            assert len(reader.read()) == 5 and reader.broken == []
    ledger.write("R4", "disk full, a folder of worklist files", waited=4, torn=0, lost=0)
