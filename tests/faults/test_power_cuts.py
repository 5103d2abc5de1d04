"""Power cuts at any moment, replayed block by block: what was acknowledged is in the store, what is marked delivered is
in the folder, the store is whole (reliability.md D1, R2; mutants of R1m)."""

import asyncio
import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pytest

from engine.adapters.sinks import folder as sink_folder
from engine.adapters.sinks.file import FileSink, FileSinkSettings
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered
from engine.ports.clock import SystemClock
from engine.ports.store import StoreError
from tests.faults.disks import LoggedDisk
from tests.faults.kill_rig import frame
from tests.faults.large_rig import LargeReceiver, large_message
from tests.faults.ledger import Ledger
from tests.faults.nursery import EngineProcess, Nursery
from tests.faults.power_cut import Cut, States
from tests.faults.receivers import END, Receiver
from tests.ports import free_port

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}, {{to: folder}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
    retry: {{first: 20ms, most: 50ms}}
  folder:
    file: {{folder: {out}, name: "{{MSH-10}}.hl7"}}
"""
SENDERS = 4
EMPTY = Path("/dev/shm")


Payload = Callable[[int, int], bytes]
"""What a sender sends as its n-th message, between VT and FS."""


def small(sender: int, number: int) -> bytes:
    return frame(sender, number)[1:-2]


@dataclass
class Record:
    """What happened on the disk: its log, from where on power may be cut, and when each message was acknowledged."""

    log: Path
    size: int
    start: int
    promised: list[tuple[str, int]] = field(default_factory=list)
    """(control id, the log's length when it was said)."""
    payload: Payload = small


@dataclass
class Tally:
    """What was found in all states."""

    states: int = 0
    with_loss: int = 0
    lost: int = 0
    corrupt: int = 0
    files_missing: int = 0
    repaired: int = 0
    kept: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> "Tally":
        self.states += other.states
        self.with_loss += other.with_loss
        self.lost += other.lost
        self.corrupt += other.corrupt
        self.files_missing += other.files_missing
        self.repaired += other.repaired
        self.kept += other.kept
        return self

    def figures(self) -> dict[str, int]:
        return {
            "states": self.states,
            "lost": self.lost,
            "states_with_loss": self.with_loss,
            "corrupt": self.corrupt,
            "files_missing": self.files_missing,
            "disks_repaired": self.repaired,
        }


def promised_by(record: Record, cut: Cut) -> set[str]:
    return {control_id for control_id, at in record.promised if at <= cut.position}


def file_is_whole(folder: Path, control_id: str, payload: Payload) -> bool:
    sender, _, number = control_id[1:].partition("N")
    path = folder / f"{control_id}.hl7"
    return path.is_file() and path.read_bytes() == payload(int(sender), int(number))


# -- the store ----------------------------------------------------------------------------------


def look_at_store(record: Record, cut: Cut, disk: Path, tally: Tally) -> None:
    """Open it as the engine does, with recovery, check and all; then compare with what was said by then."""
    promised = promised_by(record, cut)
    tally.states += 1
    tally.kept[cut.kept] += 1
    store = SqliteStore(disk / "data" / "segmill.db")
    try:
        store.open()
    except StoreError:
        tally.corrupt += 1
        tally.lost += len(promised)
        tally.with_loss += bool(promised)
        return
    try:
        rows, delivered, integrity = contents(store)
    finally:
        store.close()
    lost = len(promised - rows)
    tally.lost += lost
    tally.with_loss += bool(lost)
    tally.corrupt += integrity != "ok"
    tally.files_missing += sum(not file_is_whole(disk / "out", control_id, record.payload) for control_id in delivered)


def contents(store: SqliteStore) -> tuple[set[str], set[str], str]:
    """Control ids with their bytes in order, those marked as delivered to the folder, and SQLite's integrity check."""
    queries = store.queries()
    try:
        rows = {m.control_id for m in queries.messages(bodies=True) if m.raw is not None}
    finally:
        queries.close()
    db = sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)
    try:
        delivered = db.execute(
            "SELECT m.control_id FROM delivery d JOIN message m ON m.seq = d.seq JOIN lane l ON l.id = d.lane"
            " WHERE l.destination = 'folder' AND d.state = 1"
        ).fetchall()
        integrity = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    finally:
        db.close()
    return rows, {row[0] for row in delivered}, integrity


def look_at_stores(record: Record, cuts: list[Cut]) -> Tally:
    tally = Tally()
    states = States(record.log, record.size, EMPTY)
    states.each(cuts, lambda cut, disk: look_at_store(record, cut, disk, tally))
    tally.repaired = states.repaired
    return tally


async def _send(sender: int, port: int, record: Record, disk: LoggedDisk, over: asyncio.Event) -> None:
    number = 0
    while not over.is_set():
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while not over.is_set():
                    writer.write(b"\x0b" + record.payload(sender, number) + END)
                    answer = await reader.readuntil(END)
                    assert b"MSA|AA|" in answer, answer
                    record.promised.append((f"S{sender}N{number}", disk.position()))
                    number += 1
            finally:
                writer.close()
        await asyncio.sleep(0.01)


async def write_store(
    disk: LoggedDisk,
    place: Path,
    lives: int,
    each: int,
    mutant: str | None = None,
    payload: Payload = small,
) -> Record:
    """Engines on the disk under load, killed and started anew, until so many messages are acknowledged."""
    receiver = Receiver() if payload is small else LargeReceiver()
    await receiver.start()
    port = free_port()
    site = place / "site"
    (site / "channels" / "rig").mkdir(parents=True)
    text = CHANNEL.format(port=port, receiver=receiver.port, out=disk.folder / "out")
    (site / "channels" / "rig" / "channel.yaml").write_text(text)
    data = disk.folder / "data"
    limits = "limits: {free_disk: 0, low_disk: 0}\n"
    (site / "segmill.yaml").write_text(f"admin: off\ndata: {data}\nstore: sqlite:{data}/segmill.db\n{limits}")
    record = Record(disk.log, disk.size, 0, payload=payload)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with Nursery(place / "engine.log") as nursery:
        senders: list[asyncio.Task[None]] = []
        try:
            for life in range(lives):
                engine = await nursery.start(site, mutant=mutant)
                if not senders:
                    # Power may be cut from the first message on: before, there is no store yet to be found.
                    senders = [loop.create_task(_send(n, port, record, disk, over)) for n in range(SENDERS)]
                await until_acknowledged(record, engine, senders, (life + 1) * each)
                record.start = record.start or record.promised[0][1]
                if life < lives - 1:
                    engine.kill()
                else:
                    over.set()
                    await asyncio.gather(*senders)
                    engine.terminate()
                await engine.wait()
        finally:
            over.set()
            for task in senders:
                task.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
            receiver.stop()
    return record


async def until_acknowledged(
    record: Record, engine: EngineProcess, senders: list[asyncio.Task[None]], count: int
) -> None:
    async with asyncio.timeout(60):
        while len(record.promised) < count:
            assert engine.returncode is None, engine.errors()
            for sender in senders:
                assert not sender.done(), sender.exception()
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def logged_store(
    place: Path, lives: int, each: int, mutant: str | None = None, payload: Payload = small
) -> AsyncIterator[tuple[Record, States]]:
    """A store's life on a logged disk, which is gone from the machine when its states are looked at."""
    with LoggedDisk("R2", place / "logged") as disk:
        record = await write_store(disk, place, lives, each, mutant, payload)
    yield record, States(record.log, record.size, EMPTY)


@pytest.mark.timeout(240)
async def test_R2_no_power_cut_loses_what_was_acknowledged(tmp_path: Path, ledger: Ledger) -> None:
    async with logged_store(tmp_path, lives=3, each=150) as (record, states):
        cuts = states.cuts(240, seed=1, start=record.start)
        tally = look_at_stores(record, cuts)
    ledger.write("R2", "power cut, store", acknowledged=len(record.promised), **tally.figures())
    assert (tally.lost, tally.corrupt, tally.files_missing) == (0, 0, 0), tally
    assert min(tally.kept[kept] for kept in ("none", "all", "some", "torn")) >= 50


@pytest.mark.timeout(240)
async def test_R2_no_power_cut_loses_a_large_message_that_was_acknowledged(tmp_path: Path, ledger: Ledger) -> None:
    """Its pieces and its own commit are cut off like anything else; what an earlier life left of one is gone."""
    async with logged_store(tmp_path, lives=2, each=6, payload=large_message) as (record, states):
        cuts = states.cuts(60, seed=30, start=record.start)
        tally = look_at_stores(record, cuts)
    ledger.write("R2", "power cut, large messages", acknowledged=len(record.promised), **tally.figures())
    assert (tally.lost, tally.corrupt, tally.files_missing) == (0, 0, 0), tally


@pytest.mark.fault
@pytest.mark.timeout(3600)
async def test_R2_no_power_cut_of_5000_loses_what_was_acknowledged(tmp_path: Path, ledger: Ledger) -> None:
    """4,000 of the store, 1,000 of the file sink; two processes look at them."""
    seed = int(os.environ.get("SEGMILL_SEED", "5000"))
    whole = Tally()
    async with logged_store(tmp_path, lives=6, each=250) as (record, states):
        cuts = states.cuts(4000, seed=seed, start=record.start)
        # Neighbours in time stay together: each process makes its disk from the one before.
        parts = [cuts[:2000], cuts[2000:]]
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            loop = asyncio.get_running_loop()
            for tally in await asyncio.gather(
                *(loop.run_in_executor(pool, look_at_stores, record, part) for part in parts)
            ):
                whole += tally
    ledger.write("R2", "power cut, store, long", acknowledged=len(record.promised), **whole.figures())
    assert (whole.lost, whole.corrupt, whole.files_missing) == (0, 0, 0), whole
    files = await cut_file_sink(tmp_path / "files", 300, 1000, seed)
    ledger.write("R2", "power cut, files, long", **files.figures())
    assert files.files_missing == 0, files


@pytest.mark.timeout(120)
async def test_R1m_power_cuts_catch_a_store_that_syncs_too_rarely(tmp_path: Path, ledger: Ledger) -> None:
    """`synchronous = NORMAL`: the log is synced at checkpoints only (reliability.md section 0, row 3)."""
    async with logged_store(tmp_path, lives=1, each=150, mutant="normal-sync") as (record, states):
        tally = look_at_stores(record, states.cuts(60, seed=2, start=record.start))
    ledger.write("R1m", "mutant normal-sync", **tally.figures())
    assert tally.lost, tally


# -- files --------------------------------------------------------------------------------------


async def write_files(disk: LoggedDisk, count: int) -> Record:
    """The engine's own file sink, one delivery at a time; each is promised when the sink says so."""
    sink = FileSink.open(
        FileSinkSettings(folder=str(disk.folder / "out"), name="{MSH-10}.hl7"),
        folder=disk.folder / "channels" / "rig",
        lane="rig/folder",
        clock=SystemClock(),
    )
    record = Record(disk.log, disk.size, disk.position())
    for number in range(count):
        seq = MessageSeq(number + 1)
        body = frame(0, number)[1:-2]
        delivery = Delivery(DeliveryId(seq), seq, ChannelName("rig"), DestinationName("folder"), body, 0)
        (outcome,) = await sink.send([delivery])
        assert isinstance(outcome, Delivered), outcome
        record.promised.append((f"S0N{number}", disk.position()))
    await sink.close()
    return record


def look_at_files(record: Record, cut: Cut, disk: Path, tally: Tally) -> None:
    tally.states += 1
    tally.kept[cut.kept] += 1
    missing = sum(
        not file_is_whole(disk / "out", control_id, record.payload) for control_id in promised_by(record, cut)
    )
    tally.files_missing += missing
    tally.lost += missing
    tally.with_loss += bool(missing)
    # What is under its own name at all is whole: nobody may read half a file.
    for path in (disk / "out").glob("*.hl7"):
        tally.corrupt += not file_is_whole(disk / "out", path.stem, record.payload)


async def cut_file_sink(place: Path, count: int, states: int, seed: int) -> Tally:
    with LoggedDisk("R2", place) as disk:
        record = await write_files(disk, count)
    tally = Tally()
    made = States(record.log, record.size, EMPTY)
    made.each(made.cuts(states, seed, record.start), lambda cut, folder: look_at_files(record, cut, folder, tally))
    tally.repaired = made.repaired
    return tally


@pytest.mark.timeout(120)
async def test_R2_no_power_cut_loses_a_file_that_was_delivered(tmp_path: Path, ledger: Ledger) -> None:
    tally = await cut_file_sink(tmp_path / "files", 80, 60, seed=3)
    ledger.write("R2", "power cut, files", **tally.figures())
    assert (tally.files_missing, tally.corrupt) == (0, 0), tally


@pytest.mark.timeout(120)
async def test_R1m_power_cuts_catch_a_file_sink_that_does_not_sync_its_folder(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_folder.Writing, "sync", lambda self: self._to_sync.clear())
    tally = await cut_file_sink(tmp_path / "files", 40, 24, seed=4)
    ledger.write("R1m", "mutant no-folder-sync", **tally.figures())
    assert tally.files_missing, tally
