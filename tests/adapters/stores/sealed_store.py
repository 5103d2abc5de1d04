"""A store with something of every kind in it, to be encrypted, opened and looked at."""

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DeliveryResult, DraftDelivery, Piece
from engine.model.ids import ChannelName, DestinationName
from engine.model.store_key import NO_KEYS, StoreKey, StoreKeys
from engine.testing.store_contract import intake, result

CHANNEL, RIS, PACS = ChannelName("adt"), DestinationName("ris"), DestinationName("pacs")
ONE = StoreKeys(StoreKey(bytes(range(32))))
OTHER = StoreKeys(StoreKey(bytes(range(1, 33))))

MARKER = b"HUEBNER-4711"
"""Stands in every value that is to be sealed."""


def fill(store: SqliteStore, messages: int = 12) -> None:
    """Messages, answers, attempts, keys, an edited body, a body in pieces."""
    store.lane_window(CHANNEL, RIS, 1, "PID-3.1")
    store.read_keys_by(lambda channel, raw: [("mrn", MARKER.decode())])
    for n in range(messages):
        raw = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|%d|P|2.5.1\rPID|||%s-%d\r" % (n, MARKER, n)
        drafts = [DraftDelivery(RIS, None, key=f"{MARKER.decode()}-{n % 3}"), DraftDelivery(PACS, raw + b"NTE|1|\r")]
        made = store.commit(
            Batch([intake(channel=CHANNEL, control_id=f"C{n}", raw=raw, ack=b"MSA|AA|%s" % MARKER, deliveries=drafts)])
        ).deliveries[0]
        said = b"MSA|AE|%d|%s" % (n, MARKER)
        if n % 2:
            store.commit(
                Batch([], results=[result(made[0], "queued", attempts=1, at_us=5 + n, code="AR", answer=said)])
            )
        if n % 3:
            done = DeliveryResult(made[0].id, "delivered", 2, 100 + n, 0, "AA", "a note", said)
            store.commit(Batch([], results=[done]))
    large = (b"OBX|1|ED|%s" % MARKER) * 60_000
    half = len(large) // 2
    store.commit(Batch([], pieces=[Piece(large, 0, half)]))
    store.commit(Batch([], pieces=[Piece(large, half, len(large))]))
    store.commit(Batch([intake(RIS, channel=CHANNEL, control_id="LARGE", raw=large)]))


def made(path: Path, keys: StoreKeys = NO_KEYS, messages: int = 12) -> Path:
    """Such a store, closed."""
    with opened(path, keys) as store:
        fill(store, messages)
    return path


def opened(path: Path, keys: StoreKeys = NO_KEYS) -> "closing[SqliteStore]":
    store = SqliteStore(path, keys=keys)
    store.open()
    return closing(store)


def told(path: Path, keys: StoreKeys = NO_KEYS) -> list[object]:
    """All that a reader is told of the store."""
    found: list[object] = []
    with closing(SqliteStore(path, keys=keys).queries()) as queries:
        for message in queries.messages(newest_first=False, bodies=True):
            found += [message, *queries.deliveries(message.seq, bodies=True), *queries.attempts(message.seq)]
            found += list(queries.known(CHANNEL, message.sender, message.control_id, 0))
        found += [row.key for row in queries.queued_rows(CHANNEL, RIS, 0, 100)]
    return found


def hits(folder: Path, marker: bytes = MARKER) -> list[str]:
    """Files of a folder in which the marker stands, also where something is left behind the values of a page."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and marker in path.read_bytes())


def hashes(path: Path) -> dict[str, str]:
    """Of the store's file and its log."""
    files = [path.with_name(path.name + name) for name in ("", "-wal")]
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in files if file.exists() and file.stat().st_size}


def change(path: Path, statement: str, *values: object) -> None:
    """As damage, or somebody with the file in hand, would."""
    with closing(sqlite3.connect(path)) as db:
        db.create_function("crc_of", -1, lambda *parts: 0)
        db.execute(statement, values)
        db.commit()


def one(path: Path, question: str, *values: object) -> object:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(question, values).fetchone()[0]
