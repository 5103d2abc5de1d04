"""`segmill doctor`: each thing that can be wrong is found, told with what to do, and nothing is changed by looking."""

import os
import re
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from engine.adapters.stores.schema import load_migrations
from engine.adapters.stores.sqlite import SqliteStore
from engine.app import load
from engine.cli import examining
from engine.cli.environment import environment_findings
from engine.config.codes import CODES
from engine.model.envelope import Batch
from engine.testing import messages
from engine.testing.store_contract import EPR, intake
from tests.cli.conftest import copy_site
from tests.security.test_tls_matrix import authority


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site with a store, on which no engine runs."""
    folder = tmp_path / "site"
    (folder / "channels" / "lab").mkdir(parents=True)
    (folder / "segmill.yaml").write_text("admin: off\nlimits: {low_disk: 0B, free_disk: 0B, connections: 10}\n")
    (folder / "channels" / "lab" / "channel.yaml").write_text(
        "listen: {mllp: {port: 0}}\nroutes: [{to: epr}]\ndestinations: {epr: {file: {folder: out}}}\n"
    )
    store = SqliteStore(folder / "data" / "segmill.db")
    store.open()
    store.commit(Batch([intake(EPR) for _ in range(10)]))
    store.close()
    return folder


@pytest.fixture(autouse=True)
def an_ordinary_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What this one happens to be is not what is tested."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(examining, "TIMESYNC", tmp_path / "no-timesync")


def codes(said) -> dict[str, list[str]]:
    """The codes that were found, by topic."""
    return {t["name"]: [f["code"] for f in t["findings"]] for t in said.json["topics"] if t["findings"]}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_where_all_is_well_each_thing_is_named_and_nothing_was_changed(segmill, site) -> None:
    before = {k: v for k, v in listing(site).items() if not k.endswith(("-shm", "-wal"))}
    said = segmill("doctor", site, "--json")
    assert (said.code, codes(said)) == (0, {})
    assert [t["name"] for t in said.json["topics"]] == [
        "versions", "site", "engine", "store", "encryption", "disk", "surroundings", "certificates", "clock",
        "open files", "permissions",
    ]  # fmt: skip
    assert all(t["well"] for t in said.json["topics"])
    assert segmill("doctor", site).out.count("ok ") == 11
    assert {k: v for k, v in listing(site).items() if not k.endswith(("-shm", "-wal"))} == before


def test_a_mistake_in_the_files_is_told_with_its_place(segmill, site) -> None:
    (site / "channels" / "lab" / "channel.yaml").write_text("listen: {mllp: {port: 0}}\nacept: [ADT^A01]\n")
    said = segmill("doctor", site, "--json")
    assert said.code == 1
    assert "E101" in codes(said)["site"]
    assert "channels/lab/channel.yaml:2:1" in segmill("doctor", site).out


@pytest.mark.parametrize("is_deep", [False, True])
def test_a_damaged_store(segmill, site, is_deep) -> None:
    store = site / "data" / "segmill.db"
    content = bytearray(store.read_bytes())
    content[8192 : len(content)] = bytes(len(content) - 8192)
    store.write_bytes(content)
    said = segmill("doctor", site, "--json", *(["--deep"] if is_deep else []))
    assert said.code == 1
    assert codes(said) == {"store": ["E491"]}


def test_a_file_that_is_no_store_and_stores_of_other_versions(segmill, site) -> None:
    store = site / "data" / "segmill.db"
    latest = len(load_migrations())
    for version, code, exit_code in ((latest + 1, "E499", 1), (latest - 1, "W499", 0)):
        db = sqlite3.connect(store)
        db.execute(f"PRAGMA user_version = {version}")
        db.close()
        said = segmill("doctor", site, "--json")
        assert (said.code, codes(said)) == (exit_code, {"store": [code]})
    store.unlink()
    sqlite3.connect(store).execute("CREATE TABLE x (y)").connection.close()
    assert codes(segmill("doctor", site, "--json")) == {"store": ["E491"]}


def test_a_store_that_another_process_holds(segmill, site, monkeypatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        examining.sqlite3, "connect", lambda *given, timeout=0, **more: connect(*given, timeout=0, **more)
    )
    db = connect(site / "data" / "segmill.db", isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    said = segmill("doctor", site, "--json")
    db.close()
    (topic,) = [t for t in said.json["topics"] if t["name"] == "store"]
    assert [f["code"] for f in topic["findings"]] == ["E491"]
    assert "locked" in topic["findings"][0]["message"]


def test_little_room_and_none(segmill, site) -> None:
    settings = site / "segmill.yaml"
    for limits, code, exit_code in (("low_disk: 900000GB", "W492", 0), ("free_disk: 900000GB", "E492", 1)):
        settings.write_text(
            f"admin: off\nlimits: {{low_disk: 0B, connections: 10, {limits}}}\n".replace(
                "low_disk: 0B, connections: 10, low_disk", "connections: 10, low_disk"
            )
        )
        said = segmill("doctor", site, "--json")
        assert (said.code, codes(said)) == (exit_code, {"disk": [code]})


def test_a_log_that_a_reader_holds(segmill, site, monkeypatch) -> None:
    monkeypatch.setattr(examining, "LARGE_LOG_BYTES", 0)
    (site / "data" / "segmill.db-wal").write_bytes(bytes(100))
    assert codes(segmill("doctor", site, "--json")) == {"store": ["W493"]}


@pytest.mark.parametrize(("days", "code", "exit_code"), [(-3, "E495", 1), (5, "W495", 0), (90, None, 0)])
def test_days_of_certificates(segmill, site, days, code, exit_code) -> None:
    now = datetime.now(UTC)
    lab = site / "channels" / "lab"
    made = trustme.CA().issue_cert(
        "here", not_before=now - timedelta(days=400), not_after=now + timedelta(days=days, hours=1)
    )
    (lab / "own.crt").write_bytes(made.cert_chain_pems[0].bytes())
    made.private_key_pem.write_to_path(str(lab / "own.key"))
    (lab / "own.key").chmod(0o600)
    (site / "channels" / "lab" / "channel.yaml").write_text(
        "listen: {mllp: {port: 0, tls: {certificate: own.crt, key: own.key}}}\nroutes: [{to: epr}]\n"
        "destinations: {epr: {file: {folder: out}}}\n"
    )
    said = segmill("doctor", site, "--json")
    assert codes(said).get("certificates") == ([code] if code else None)
    assert said.code == exit_code
    (topic,) = [t for t in said.json["topics"] if t["name"] == "certificates"]
    assert topic["well"] == (f"the first ends in {days} days" if days >= 0 else f"the first ended {-days} days ago")


@pytest.mark.parametrize(
    ("hours", "code", "exit_code"), [(-1, "E594", 1), (2, "W594", 0), (20, None, 0)], ids=["ended", "soon", "good"]
)
def test_a_list_of_revoked_certificates_tells_of_its_end(segmill, site, hours, code, exit_code) -> None:
    """Made two days before: a twentieth of its life is two hours and a half."""
    lab = site / "channels" / "lab"
    made = trustme.CA().issue_cert("here")
    (lab / "own.crt").write_bytes(made.cert_chain_pems[0].bytes())
    made.private_key_pem.write_to_path(str(lab / "own.key"))
    (lab / "own.key").chmod(0o600)
    them, pem = authority("Hospital CA")
    (lab / "ca.crt").write_bytes(pem)
    (lab / "no.crl").write_bytes(them.revoke(7, ends=datetime.now(UTC) + timedelta(hours=hours)))
    tls = "{certificate: own.crt, key: own.key, client_ca: ca.crt, client_crl: no.crl}"
    (lab / "channel.yaml").write_text(
        f"listen: {{mllp: {{port: 0, tls: {tls}}}}}\nroutes: [{{to: epr}}]\n"
        "destinations: {epr: {file: {folder: out}}}\n"
    )
    said = segmill("doctor", site, "--json")
    # The authority of the test has ten days.
    found = [one for one in codes(said)["certificates"] if one != "W495"]
    assert (found, said.code) == ([code] if code else [], exit_code)
    loaded = load(site, {})
    found = [(one.code, one.file, one.line) for one in environment_findings(loaded, site)]
    assert found == ([(code, "channels/lab/channel.yaml", 1)] if code else [])


def test_a_clock_that_went_back_or_was_never_set(segmill, site, monkeypatch, tmp_path) -> None:
    store = SqliteStore(site / "data" / "segmill.db")
    store.open()
    ahead = int((datetime.now(UTC) + timedelta(hours=2)).timestamp() * 1_000_000)
    store.commit(Batch([intake(received_at_us=ahead)]))
    store.close()
    (tmp_path / "timesync").mkdir()
    monkeypatch.setattr(examining, "TIMESYNC", tmp_path / "timesync")
    said = segmill("doctor", site, "--json")
    assert codes(said) == {"clock": ["W496", "W496"]}
    assert re.search(r"received 1(19|20) minutes from now", said.out)
    monkeypatch.setattr(examining, "RELEASED", datetime.now(UTC) + timedelta(days=1))
    said = segmill("doctor", site, "--json")
    assert (said.code, codes(said)["clock"][0]) == (1, "E496")


def test_fewer_open_files_than_connections(segmill, site) -> None:
    settings = site / "segmill.yaml"
    settings.write_text("admin: off\nlimits: {low_disk: 0B, free_disk: 0B, connections: 1000000}\n")
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[0]), before[1]))
    try:
        assert codes(segmill("doctor", site, "--json")) == {"open files": ["W497"]}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_store_that_others_may_read_and_an_engine_as_root(segmill, site, monkeypatch) -> None:
    monkeypatch.setattr(examining, "_is_within_private", lambda path: False)
    (site / "data" / "segmill.db").chmod(0o644)
    (site / "data" / "segmill.db-wal").unlink(missing_ok=True)
    said = segmill("doctor", site)
    assert said.code == 0
    assert f"W498 {site / 'data' / 'segmill.db'}: others than its owner may read" in said.out
    assert "as root" not in said.out
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "this runs as root" in segmill("doctor", site).out


def test_a_sqlite_that_is_too_old(segmill, site, monkeypatch) -> None:
    monkeypatch.setattr(
        examining, "sqlite3",
        SimpleNamespace(**{**vars(sqlite3), "sqlite_version_info": (3, 20, 0), "sqlite_version": "3.20.0"}),
    )  # fmt: skip
    said = segmill("doctor", site, "--json")
    assert codes(said)["versions"] == ["E499"]


def test_a_running_engine_is_asked_and_one_that_is_not_ready_told(segmill, run_site_with, tmp_path, repository) -> None:
    running = run_site_with(copy_site(tmp_path / "large", repository))
    running.send("adt", messages.adt(control_id="A1"))
    said = segmill("doctor", running.folder, "--json")
    (topic,) = [t for t in said.json["topics"] if t["name"] == "engine"]
    assert topic == {"name": "engine", "well": "it runs, and takes messages", "findings": []}
    running.engine.control.not_ready = "it is asked for a test"
    assert codes(segmill("doctor", running.folder, "--json"))["engine"] == ["E494"]
    running.engine.control.not_ready = ""


def test_every_code_that_it_gives_has_a_story() -> None:
    text = Path(examining.__file__).read_text()
    given = {
        word.strip('"') for word in text.replace("(", " ").replace(",", " ").split() if word[1:4] in ("E49", "W49")
    }
    assert len(given) >= 13
    assert given <= set(CODES)


def test_a_site_without_a_store_yet_and_one_in_memory(segmill, site) -> None:
    shutil.rmtree(site / "data")
    assert segmill("doctor", site, "--json").code == 0
    (site / "segmill.yaml").write_text("admin: off\nstore: 'memory:'\nlimits: {connections: 10}\n")
    assert segmill("doctor", site, "--json").code == 0
