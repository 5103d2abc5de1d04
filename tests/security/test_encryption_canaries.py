"""Markers in every field of the traffic, and none in any file of an encrypted store (reliability.md 5, SEC1).

While the engine runs, after kill -9, after a clean stop, in a copy, after new keys, and where a store that was plain
was encrypted. That the hunt finds what it looks for is shown by the plain store, and by each column that is left plain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.adapters.stores.copying import copy_store
from engine.adapters.stores.sealed_tables import TABLES
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
