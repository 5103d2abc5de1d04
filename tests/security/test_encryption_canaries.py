"""Markers in every field of the traffic, and none in any file of an encrypted store (reliability.md 5, SEC1).

While the engine runs, after kill -9, after a clean stop, in a copy, after new keys, and where a store that was plain
was encrypted. That the hunt finds what it looks for is shown by the plain store, and by each column that is left plain.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.adapters.audit_check import ANCHOR, check_audit
from engine.adapters.stores.copying import copy_store
from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.store_key import StoreKey, StoreKeys
from tests.security.canaries import EngineProcess, Receivers, found_in, leaks, make, opened_columns, send_all

pytestmark = pytest.mark.timeout(900)
KEY = StoreKey(bytes(range(1, 33)))
KEYS = StoreKeys(KEY)

NO_MARKER = {
    "message.ack": "an answer names places and no values (tests/phi)",
    "message.body_hash": "a hash of the bytes: it would confirm a guess",
    "key_setup.secret": "what search keys are hashed with",
    "worklist_item.shown_accession": "made of the accession number",
    "hand_off_step.token": "a hash of what was handed over",
    "audit.counts": "counts, and a salt",
    "audit.hash": "a hash of the row",
    "audit_head.hash": "a hash of the row",
    "operation.digest": "a hash of what was asked for",
    "operation.report": "counts",
}
"""Columns that hold no text of a message: their own values are looked for."""
EMPTY = {
    "worklist_item.accession_issuer": "no HL7 field says who assigned it",
    "saved_search.name": "nobody signs in here; kept by the contract of stores",
    "saved_search.text": "nobody signs in here; kept by the contract of stores",
    "second_factor.secret": "nobody signs in here; kept by the contract of stores",
}


def with_key(folder: Path) -> str:
    """Settings of a site that has one."""
    file = folder / "store.key"
    file.write_text(KEY.line() + "\n")
    file.chmod(0o600)
    return f"encryption: {{key: '${{file:{file}}}'}}\n"


@dataclass
class Ran:
    """What was found at each stage, and how the store was left."""

    store: Path
    found: dict[str, dict[str, set[str]]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("canaries")
    with Receivers() as receivers:
        site = make(folder / "site", receivers, with_key(folder))
        told = Ran(site / "data" / "segmill.db")

        def look(stage: str) -> None:
            told.found[stage] = leaks(site / "data") | leaks(site / "temporary")

        engine = EngineProcess(site)
        try:
            send_all(engine, site)
            look("running")
        finally:
            engine.kill()
        look("killed")
        engine = EngineProcess(site)
        engine.stop()
        look("stopped")
        (folder / "copy").mkdir()
        copy_store(told.store, folder / "copy" / "segmill.db")
        told.found["copied"] = leaks(folder / "copy")
        yield told


@pytest.mark.parametrize("stage", ["running", "killed", "stopped", "copied"])
def test_no_marker_is_in_any_file(ran: Ran, stage: str) -> None:
    assert ran.found[stage] == {}


@pytest.fixture(scope="module")
def columns(ran: Ran) -> dict[str, list[bytes]]:
    return opened_columns(ran.store, KEYS)


@pytest.mark.parametrize("name", [f"{table.name}.{column.name}" for table in TABLES for column in table.columns])
def test_a_column_that_was_left_plain_would_be_found(ran: Ran, columns: dict[str, list[bytes]], name: str) -> None:
    values = columns.get(name, [])
    assert bool(values) == (name not in EMPTY)
    if name in NO_MARKER:
        kept = ran.store.read_bytes()
        assert not any(value in kept for value in values if len(value) > 8)
    elif values:
        assert found_in(b"\n".join(values)), "the traffic has no marker in it"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """A site whose store was plain, and what was found before and after."""
    folder = tmp_path_factory.mktemp("encrypted")
    with Receivers() as receivers:
        site = make(folder / "site", receivers, "")
        told = Ran(site / "data" / "segmill.db")
        engine = EngineProcess(site)
        try:
            send_all(engine, site)
        finally:
            engine.stop()
        told.found["plain"] = leaks(site / "data")
        with (site / "segmill.yaml").open("a") as settings:
            settings.write(with_key(folder))
        for stage, words in (("encrypted", ["encrypt"]), ("resealed", ["rotate", "--data-key"])):
            done = subprocess.run(
                [sys.executable, "-m", "engine", "store", *words, "--site", str(site)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            told.found[stage] = leaks(site / "data") | leaks(site / "temporary")
        engine = EngineProcess(site)
        engine.stop()
        told.found["started"] = leaks(site / "data")
        yield told


def test_a_plain_store_is_full_of_markers(encrypted: Ran) -> None:
    assert encrypted.found["plain"].get("segmill.db", set()) >= {"plain", "utf-16"}


@pytest.mark.parametrize("stage", ["encrypted", "resealed", "started"])
def test_no_marker_is_left_of_a_store_that_was_plain(encrypted: Ran, stage: str) -> None:
    assert encrypted.found[stage] == {}


def test_what_was_encrypted_later_is_what_was_plain(encrypted: Ran) -> None:
    """The same columns have something in them, and the record is whole."""
    there = {name for name, values in opened_columns(encrypted.store, KEYS).items() if values}
    assert there == {f"{table.name}.{column.name}" for table in TABLES for column in table.columns} - EMPTY.keys()
    queries = SqliteStore(encrypted.store, keys=KEYS).queries()
    try:
        assert check_audit(queries, encrypted.store.with_name(ANCHOR)).is_whole
    finally:
        queries.close()


@pytest.mark.parametrize(
    ("written", "way"),
    [
        (b"xxZQ00017QZxx", "plain"),
        (b"xxzq017qz", "plain"),
        ("ZQ00017QZ".encode("utf-16-le"), "utf-16"),
        ("ZQ00017QZ".encode("utf-16-be"), "utf-16"),
        (b"UElEfFpRMDAwMTdRWnx4", "base64"),
        (b"--7c5a51303030313751 5a".replace(b" ", b""), "hex"),
        (b"5A5130303031375 15A".replace(b" ", b""), "hex"),
    ],
)
def test_the_hunt_finds_a_marker_however_it_is_written(written: bytes, way: str) -> None:
    assert way in found_in(b"\0\1" + written + b"\2")
