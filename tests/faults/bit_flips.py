"""A store that was stopped, with one bit of it turned, and what an engine then makes of it (reliability.md D7, R18)."""

import logging
import random
import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.adapters.stores.codes import DAMAGED_NOTE, GONE_NOTE
from engine.adapters.stores.row_checks import ROW_DAMAGED_NOTE
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DeliveryResult
from engine.model.finding import Finding, dump_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.ports.store import CommitUnknown, StoreError
from engine.testing.store_contract import intake
from tests.faults.kill_rig import frame

CHANNEL, LANES = ChannelName("rig"), (DestinationName("ris"), DestinationName("epr"))
MESSAGES = 150
TABLES = ("message", "delivery", "body", "channel", "lane", "meta", "tally", "hour", "sequence")


def make_store(folder: Path) -> None:
    """Messages of all kinds, of which some were delivered, some are held and some wait; bodies small and large.

    As after kill -9: the newest commits are in the write-ahead log only.
    """
    living = folder / "living" / "segmill.db"
    store = SqliteStore(living)
    store.open()
    store.read_keys_by(lambda _channel, raw: [("mrn", raw[-7:].decode("ascii", "replace"))] if len(raw) % 3 else [])
    for destination in LANES:
        store.lane_window(CHANNEL, destination, 1)
    store.channel_version(CHANNEL, {"channel.yaml": b"routes: []\n" * 40})
    findings = dump_findings((Finding("E232", "warning", "a control id was used again"),))
    for number in range(MESSAGES):
        raw = payload(number)
        made = intake(*LANES, channel=CHANNEL, raw=raw, control_id=f"S0N{number}", bodies=[None, b"E" + raw])
        made = replace(made, findings=findings if number % 5 == 0 else "", ack=b"MSA|AA|" + str(number).encode())
        batch = Batch([made])
        if number % 3 == 1:
            states = ("delivered", "held") if number % 2 else ("delivered", "delivered")
            ids = (DeliveryId(2 * number - 1), DeliveryId(2 * number))
            batch.results = [
                DeliveryResult(id_, state, 1, 1_700_000_000_000_000, 0, "AA", "a note", b"an answer")
                for id_, state in zip(ids, states, strict=True)
            ]
        store.commit(batch)
        if number == MESSAGES * 2 // 3:
            store.checkpoint()
    stopped = folder / "stopped"
    stopped.mkdir()
    for name in ("segmill.db", "segmill.db-wal"):
        shutil.copy(living.with_name(name), stopped / name)
    store.close()


@dataclass
class Outcome:
    """What came of one flip. `reports`: how the engine told of it; `changed`: tables that read differently now."""

    file: str
    reports: set[str] = field(default_factory=set)
    quarantined: int = 0
    altered: int = 0
    vanished: int = 0
    changed: set[str] = field(default_factory=set)


class _Listening(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def deliverable(store: SqliteStore) -> dict[tuple[str, int], bytes]:
    """What would be sent, and to whom."""
    found: dict[tuple[str, int], bytes] = {}
    for destination in LANES:
        for delivery in store.queued(CHANNEL, destination, DeliveryId(0), 10_000):
            found[destination, delivery.id] = delivery.body
    return found


def rows(path: Path) -> dict[str, object]:
    """All that any reader could see, by table; what cannot be read is the error's name."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.text_factory = bytes
    try:
        found: dict[str, object] = {}
        for table in TABLES:
            try:
                found[table] = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            except sqlite3.Error as error:
                found[table] = type(error).__name__
        return found
    finally:
        db.close()


def tells_of_damage(store: SqliteStore) -> bool:
    """Whether anything that a person looks at says that it is damaged."""
    queries = store.queries()
    try:
        found = list(queries.messages(bodies=True))
        return any("E250" in message.findings for message in found) or any(
            delivery.note in (DAMAGED_NOTE, GONE_NOTE, ROW_DAMAGED_NOTE)
            for message in found
            for delivery in queries.deliveries(message.seq, bodies=True)
        )
    finally:
        queries.close()


def true_body(lane: str, id_: int) -> bytes:
    """What delivery `id_` was made with."""
    raw = payload((id_ - 1) // 2)
    return raw if lane == LANES[0] else b"E" + raw


def payload(number: int) -> bytes:
    return frame(0, number)[1:-2] + b"NTE|1||" + b"t" * (number * 97 % 9000) + b"\r"


class Flips:
    """Turns bits of one store, each in a fresh copy of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_store(folder)
        self._stopped = folder / "stopped"
        self._contents = {path.name: path.read_bytes() for path in sorted(self._stopped.iterdir())}
        whole = self._open(folder / "whole", None)
        self._good, self._rows = whole
        shutil.rmtree(folder / "whole")
        assert len(self._good) > MESSAGES

    def _open(self, place: Path, outcome: Outcome | None) -> tuple[dict[tuple[str, int], bytes], dict[str, object]]:
        if not place.exists():
            shutil.copytree(self._stopped, place)
        ear = _Listening()
        log = logging.getLogger("segmill")
        log.addHandler(ear)
        store = SqliteStore(place / "segmill.db")
        found: dict[tuple[str, int], bytes] = {}
        read: dict[str, object] = {}
        try:
            store.open()
            try:
                found = deliverable(store)
                if outcome is not None and tells_of_damage(store):
                    outcome.reports.add("when read")
            finally:
                store.close()
            read = rows(place / "segmill.db")
        except (StoreError, CommitUnknown) as error:
            if outcome is None:
                raise
            outcome.reports.add(f"refused: {type(error).__name__}")
        finally:
            log.removeHandler(ear)
        if outcome is not None and ear.heard:
            outcome.reports.add("log")
        return found, read

    def flip(self, chance: random.Random) -> Outcome:
        """One bit: two in three times in the file, else in its log."""
        name = chance.choice(["segmill.db", "segmill.db", "segmill.db-wal"])
        at = chance.randrange(len(self._contents[name]) * 8)
        outcome = Outcome(name)
        place = self._folder / "flipped"
        shutil.copytree(self._stopped, place)
        content = bytearray(self._contents[name])
        content[at // 8] ^= 1 << (at % 8)
        (place / name).write_bytes(content)
        found, read = self._open(place, outcome)
        self._judge(outcome, found, read)
        shutil.rmtree(place)
        return outcome

    def _judge(self, outcome: Outcome, found: dict[tuple[str, int], bytes], read: dict[str, object]) -> None:
        outcome.altered = sum(true_body(*key) != body for key, body in found.items())
        if not read:
            return
        outcome.vanished = len(self._good) - len(found)
        outcome.changed = {table for table in TABLES if read[table] != self._rows[table]}
        delivery = read["delivery"]
        if isinstance(delivery, list):
            notes = [row for row in delivery if any(isinstance(v, bytes) and b"checksum" in v for v in row)]
            outcome.quarantined = len(notes)
            if notes:
                outcome.reports.add("quarantine")


def tally(outcomes: list[Outcome]) -> dict[str, int]:
    """The figures for the ledger."""
    silent = [o for o in outcomes if not o.reports and (o.changed or o.vanished)]
    how = Counter(
        "refused" if any(r.startswith("refused") for r in o.reports) else "reported" for o in outcomes if o.reports
    )
    return {
        "flips": len(outcomes),
        "altered_messages_delivered": sum(o.altered for o in outcomes),
        "without_any_effect": sum(not o.reports and not o.changed and not o.vanished for o in outcomes),
        "start_refused": how["refused"],
        "reported": how["reported"],
        "unreported": len(silent),
        "most_quarantined_by_one": max(o.quarantined for o in outcomes),
    }
