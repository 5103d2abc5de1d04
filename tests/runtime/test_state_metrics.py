"""What operations see of the whole: ready, certificates, room and retention (STYLE section 14; ux.md section 2.4)."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from engine.app import load_site
from engine.certificates import certificate_ends
from engine.config.kinds import Kinds
from engine.runtime.lookout import Lookout
from tests.adapters.test_metrics import samples, value
from tests.runtime.engines import MEMORY, SiteUnderTest, channel
from tests.runtime.parts import until

CHANNEL = """\
listen: {{mllp: {{port: 0, tls: {{certificate: {own}.crt, key: {own}.key}}}}}}
accept: ['ADT^*']
routes: [{{to: out}}, {{to: ris}}]
destinations:
  out: {{kept: {{}}}}
  ris: {{mllp: {{host: 127.0.0.1, port: 1, tls: {{certificate: ris.crt, key: ris.key}}}}}}
"""
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
LATER = SOON + timedelta(days=300)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issue(authority: trustme.CA, folder: Path, stem: str, ends: datetime) -> None:
    made = authority.issue_cert("localhost", not_after=ends)
    made.cert_chain_pems[0].write_to_path(str(folder / f"{stem}.crt"))
    made.private_key_pem.write_to_path(str(folder / f"{stem}.key"))


@pytest.fixture
def site(tmp_path: Path, authority: trustme.CA) -> SiteUnderTest:
    site = SiteUnderTest(tmp_path / "site", {"adt": CHANNEL.format(own="own"), "plain": channel()})
    folder = site.folder / "channels" / "adt"
    issue(authority, folder, "own", SOON)
    issue(authority, folder, "ris", LATER)
    return site


def shown(site: SiteUnderTest) -> dict[str, float]:
    name = "segmill_certificate_not_after_timestamp_seconds"
    found = samples(site.engine.meter)
    return {dict(labels)["place"]: end for (metric, labels), end in found.items() if metric == name}


async def test_each_certificate_that_is_shown_has_its_end_and_a_renewed_one_counts_from_the_reload_on(site, authority):
    async with site.running():
        assert shown(site) == {"adt": SOON.timestamp(), "adt/ris": LATER.timestamp()}
        issue(authority, site.folder / "channels" / "adt", "own", LATER)
        assert shown(site)["adt"] == SOON.timestamp()
        assert (await site.engine.control.reload()).exit_code == 0
        assert shown(site) == {"adt": LATER.timestamp(), "adt/ris": LATER.timestamp()}


def test_a_certificate_that_cannot_be_read_is_left_out_and_told(site, caplog):
    loaded = load_site(site.folder, site.kinds, {})
    (site.folder / "channels" / "adt" / "ris.crt").unlink()
    assert list(certificate_ends(loaded)) == ["adt"]
    assert "the certificate of adt/ris is not known" in caplog.text


def test_the_certificate_of_the_port_for_scanners_counts(tmp_path, authority):
    from engine.testing.sites import make_site

    text = MEMORY + "dicom: {port: 0, tls: {certificate: dicom.crt, key: dicom.key}}\n"
    folder = make_site(tmp_path / "site", {}, text)
    issue(authority, folder, "dicom", SOON)
    loaded = load_site(folder, Kinds(steps={}, sinks={}, sources={}), {})
    assert certificate_ends(loaded) == {"dicom": SOON.timestamp()}


def test_the_certificate_for_acknowledgements_that_connect_back_counts(tmp_path, authority):
    back = "{host: his, port: 1, tls: {certificate: b.crt, key: b.key}}"
    ack = f"{{mode: enhanced, app_ack: connect-back, connect_back: {back}}}"
    site = SiteUnderTest(tmp_path / "site", {"adt": channel(more=f"ack: {ack}")})
    issue(authority, site.folder / "channels" / "adt", "b", SOON)
    loaded = load_site(site.folder, site.kinds, {})
    assert loaded.is_valid, loaded.findings
    assert certificate_ends(loaded) == {"adt/ack": SOON.timestamp()}


def test_the_certificate_of_the_console_counts(tmp_path, authority):
    from engine.testing.sites import make_site

    text = MEMORY + "console: {port: 0, tls: {certificate: console.crt, key: console.key}}\n"
    folder = make_site(tmp_path / "site", {}, text)
    issue(authority, folder, "console", SOON)
    loaded = load_site(folder, Kinds(steps={}, sinks={}, sources={}), {})
    assert certificate_ends(loaded) == {"console": SOON.timestamp()}


async def test_ready_is_as_the_probe_says(site):
    async with site.running() as engine:
        assert value(engine.meter, "segmill_ready") == 1
        engine._show_room(False)
        assert (await engine.control.ready())[0] is False
        assert value(engine.meter, "segmill_ready") == 0
        engine._show_room(True)
        assert value(engine.meter, "segmill_ready") == 1
    assert value(site.engine.meter, "segmill_ready") == 0


async def test_the_files_of_the_store_are_weighed_with_its_log(tmp_path):
    told: list[tuple[int, int | None]] = []
    files = [tmp_path / "segmill.db", tmp_path / "segmill.db-wal"]
    lookout = Lookout(
        list, lambda depths: None, tmp_path, 0, lambda room: None, 0, lambda *both: told.append(both), files
    )
    await lookout.look()
    files[0].write_bytes(b"x" * 1000)
    await lookout.look()
    files[1].write_bytes(b"x" * 234)
    await lookout.look()
    assert [store for _, store in told] == [None, 1000, 1234]
    assert all(free > 0 for free, _ in told)


async def test_a_store_on_a_disk_shows_what_it_holds(tmp_path):
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, "admin: off\n")
    async with site.running() as engine:
        held = value(engine.meter, "segmill_store_bytes")
    assert held >= (site.folder / "data" / "segmill.db").stat().st_size > 0


async def test_a_pass_of_retention_is_dated(tmp_path):
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, MEMORY + "retention: {messages: 10d}\n")
    async with site.running() as engine:
        assert ("segmill_retention_pass_timestamp_seconds", ()) not in samples(engine.meter)
        before = site.clock.now_us() / 1e6
        await engine.control.keeping.one_pass()
        after = site.clock.now_us() / 1e6
        assert before <= value(engine.meter, "segmill_retention_pass_timestamp_seconds") <= after


async def test_where_nothing_is_forgotten_any_more_no_pass_can_be_late(tmp_path):
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, MEMORY + "retention: {messages: 10d}\n")
    passed = ("segmill_retention_pass_timestamp_seconds", ())
    async with site.running() as engine:
        await engine.control.keeping.one_pass()
        assert passed in samples(engine.meter)
        (site.folder / "segmill.yaml").write_text(MEMORY)
        assert (await engine.control.reload()).exit_code == 0
        assert passed not in samples(engine.meter)
        (site.folder / "segmill.yaml").write_text(MEMORY + "retention: {messages: 10d}\n")
        assert (await engine.control.reload()).exit_code == 0
        async with asyncio.timeout(60):
            await engine.control.keeping.run()  # ends at once: the one since the start goes on


async def test_a_message_that_a_start_finds_damaged_is_counted(tmp_path, adt):
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, "admin: off\n")
    async with site.running() as engine:
        assert value(engine.meter, "segmill_store_damaged_entries_total") == 0
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await wire.answers(1)
    with sqlite3.connect(site.folder / "data" / "segmill.db") as store:
        store.execute("UPDATE message SET state = 0, crc = crc + 1")  # received, and not processed yet
    store.close()
    async with site.running() as engine:
        assert value(engine.meter, "segmill_store_damaged_entries_total") == 1


async def test_a_receiver_that_a_reload_puts_elsewhere_is_not_down_for_ever_nor_is_one_that_it_took_away(tmp_path, adt):
    away = channel(destinations="{out: {mllp: {host: 127.0.0.1, port: 1}}}")
    site = SiteUnderTest(tmp_path / "site", {"adt": away, "orm": away.replace("ADT", "ORM")})
    lane = {"channel": "adt", "destination": "out"}

    def connected() -> float:
        return value(site.engine.meter, "segmill_destination_connected", **lane)

    async with site.running() as engine:
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await wire.answers(1)
        await until(lambda: connected() == 0)
        await until(lambda: value(engine.meter, "segmill_queue_depth", **lane, state="queued") == 1)
        (site.folder / "channels" / "adt" / "channel.yaml").write_text(channel())
        assert (await engine.control.reload()).exit_code == 0
        await until(lambda: len(site.kept.bodies("adt/out")) == 1)
        assert connected() == 1

        numbers = engine.meter.lane("adt", "out")
        numbers.connected(False)
        numbers.paused(True)
        numbers.stopped(True)
        engine.meter.channel("adt").intake_paused(True)
        (site.folder / "channels" / "adt" / "channel.yaml").unlink()
        assert (await engine.control.reload()).exit_code == 0
        await until(lambda: connected() == 1)
        assert value(engine.meter, "segmill_queue_paused", **lane) == 0
        assert value(engine.meter, "segmill_destination_stopped", **lane) == 0
        assert value(engine.meter, "segmill_intake_paused", channel="adt") == 0
