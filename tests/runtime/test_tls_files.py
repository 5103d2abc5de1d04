"""A bad TLS file stops what needs it, and no more (ADR 58): at a start, while it runs, and at a reload."""

import base64
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from engine.adapters.api.oidc import Provider
from engine.adapters.api.problems import Problem
from engine.adapters.errors import ConfigError, TlsFilesError
from engine.adapters.metrics_numbers import TraceNumbers
from engine.adapters.tls import client_context, revocations_of, server_context
from engine.adapters.tracing import OtlpTracing
from engine.adapters.waiting import WaitingSink
from engine.app import EngineFailed, load
from engine.certificates import show_certificates
from engine.config.oidc import OidcOptions
from engine.config.traces import TracesOptions
from engine.exit_codes import CONFIGURATION
from engine.model.outcome import Delivered, Unreachable
from engine.testing.messages import adt as message
from engine.testing.peers import ReceivingPeer
from engine.testing.sink_contract import delivery as a_delivery
from engine.testing.sites import make_site
from tests.adapters.test_metrics import samples
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes
from tests.runtime.parts import ScriptedSink, SetClock, until
from tests.security.test_tls_matrix import NOW, authority

CHANNEL = """\
listen: {{mllp: {{port: 0}}}}
accept: ['ADT^*']
routes: [{{to: out}}, {{to: ris}}]
destinations:
  out: {{kept: {{}}}}
  ris: {{mllp: {{host: 127.0.0.1, port: {port}, tls: {{ca: ca.crt, certificate: ris.crt, key: ris.key}}}}}}
"""


@pytest.fixture(scope="module")
def ours() -> trustme.CA:
    return trustme.CA()


def issue(ours: trustme.CA, folder: Path, stem: str, days: float) -> None:
    made = ours.issue_cert("127.0.0.1", not_before=NOW - timedelta(days=90), not_after=NOW + timedelta(days=days))
    made.cert_chain_pems[0].write_to_path(str(folder / f"{stem}.crt"))
    made.private_key_pem.write_to_path(str(folder / f"{stem}.key"))
    ours.cert_pem.write_to_path(str(folder / "ca.crt"))


def by_place(site: SiteUnderTest, metric: str) -> Mapping[str, float]:
    found = samples(site.engine.meter)
    return {dict(labels)["place"]: value for (name, labels), value in found.items() if name == metric}


def unusable(site: SiteUnderTest) -> Mapping[str, float]:
    return by_place(site, "segmill_tls_files_unusable")


def server_of(ours: trustme.CA, folder: Path) -> ssl.SSLContext:
    folder.mkdir(exist_ok=True)
    issue(ours, folder, "server", 30)
    return server_context(certificate=folder / "server.crt", key=folder / "server.key", client_ca=folder / "ca.crt")


def end(ours: trustme.CA, folder: Path) -> None:
    issue(ours, folder, "ris", -1)


def spoil(ours: trustme.CA, folder: Path) -> None:
    issue(ours, folder, "ris", 30)
    (folder / "ris.key").write_text("no key")


@pytest.mark.parametrize("how", [end, spoil])
async def test_a_destination_waits_for_its_files_and_all_else_goes_on(tmp_path, ours, caplog, how):
    async with ReceivingPeer("AA", tls=server_of(ours, tmp_path / "peer")) as peer:
        site = SiteUnderTest(tmp_path / "site", {"adt": CHANNEL.format(port=peer.address[1])})
        folder = site.folder / "channels" / "adt"
        how(ours, folder)
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(message())
            assert codes([await wire.answer()]) == ["AA"]
            await site.delivered("adt/out", 1)
            lane = site.running_channel().lanes["ris"]
            await until(lambda: lane.state == "down")
            assert "ris." in lane.last_note
            assert unusable(site) == {"adt/ris": 1.0}
            assert engine.meter.tls.waiting() == {"adt/ris": lane.last_note}
            assert (await engine.control.ready())[0], "messages are taken"
            issue(ours, folder, "ris", 30)
            assert (await engine.control.reload()).exit_code == 0
            await until(lambda: len(peer.received) == 1)
            assert unusable(site) == {"adt/ris": 0.0}
            assert engine.meter.tls.waiting() == {}
        told = [record.message for record in caplog.records if "E595" in record.message]
        assert len(told) == 1 and told[0].startswith("E595 adt/ris waits for its TLS files: ")


async def test_an_attempt_finds_files_that_were_put_right_without_a_reload(tmp_path, ours):
    issue(ours, tmp_path, "ris", -1)
    made: list[ScriptedSink] = []

    def make() -> ScriptedSink:
        client_context(ca=tmp_path / "ca.crt", certificate=tmp_path / "ris.crt", key=tmp_path / "ris.key")
        made.append(ScriptedSink())
        return made[-1]

    with pytest.raises(TlsFilesError, match="expired") as first:
        make()
    sink = WaitingSink(make, str(first.value))
    sink.recorded()
    (outcome,) = await sink.send([a_delivery()])
    assert isinstance(outcome, Unreachable) and outcome.note == sink.why_unready
    issue(ours, tmp_path, "ris", 30)
    (outcome,) = await sink.send([a_delivery()])
    assert isinstance(outcome, Delivered) and sink.why_unready == ""
    await sink.send([a_delivery()])
    assert len(made) == 1 and len(made[0].calls) == 2
    await sink.close()


async def test_the_metric_of_the_end_follows_files_that_were_put_right_without_a_reload(tmp_path, ours):
    site = SiteUnderTest(tmp_path / "site", {"adt": CHANNEL.format(port=1)})
    folder = site.folder / "channels" / "adt"
    issue(ours, folder, "ris", -1)
    async with site.running() as engine:
        before = by_place(site, "segmill_certificate_not_after_timestamp_seconds")["adt/ris"]
        issue(ours, folder, "ris", 30)
        (sink,) = site.running_channel().lanes["ris"]._sinks
        await sink.send([a_delivery()])
        assert engine.meter.tls.waiting() == {}
        after = by_place(site, "segmill_certificate_not_after_timestamp_seconds")["adt/ris"]
        assert after - before == 31 * 86_400


async def test_a_reload_to_bad_files_is_refused_and_all_runs_on(tmp_path, ours):
    site = SiteUnderTest(tmp_path / "site", {"adt": CHANNEL.format(port=1)})
    folder = site.folder / "channels" / "adt"
    issue(ours, folder, "ris", 30)
    async with site.running() as engine:
        lane = site.running_channel().lanes["ris"]
        issue(ours, folder, "ris", -1)
        report = await engine.control.reload()
        assert report.exit_code == CONFIGURATION
        assert site.running_channel().lanes["ris"] is lane
        assert unusable(site) == {"adt/ris": 0.0}


async def test_a_listeners_own_bad_file_keeps_the_engine_from_its_start(tmp_path, ours):
    port = "{port: 0, tls: {certificate: own.crt, key: own.key}}"
    site = SiteUnderTest(tmp_path / "site", {"adt": channel(port=port)})
    issue(ours, site.folder / "channels" / "adt", "own", -1)
    with pytest.raises(EngineFailed, match=r"channel adt: .*own\.crt expired on .*: put the renewed one"):
        await site.make().start()


async def test_a_hand_off_waits_for_its_files(tmp_path, ours, caplog):
    text = "hand_offs: {wlm: {orthanc: {url: 'https://127.0.0.1:1', tls: {certificate: o.crt, key: o.key}}}}\n"
    orders = channel(destinations="{out: {worklist: {}}}")
    site = SiteUnderTest(tmp_path / "site", {"adt": orders}, MEMORY + text)
    issue(ours, site.folder, "o", -1)
    async with site.running() as engine:
        hand_offs = engine._hand_offs
        assert hand_offs is not None
        await until(lambda: hand_offs.status[0].state == "down")
        assert hand_offs.status[0].kind == "orthanc" and "expired" in hand_offs.status[0].why
        assert unusable(site) == {"hand_offs/wlm": 1.0}
        issue(ours, site.folder, "o", 30)
        # By itself, and now it is the other side that is away.
        await until(lambda: hand_offs.status[0].why.startswith("no connection"))
        assert unusable(site) == {"hand_offs/wlm": 0.0}
    assert sum("E595 hand-off wlm" in record.message for record in caplog.records) == 1


def test_traces_wait_for_their_files(tmp_path, ours):
    issue(ours, tmp_path, "t", -1)
    options = TracesOptions.model_validate(
        {"url": "https://collector", "tls": {"certificate": "t.crt", "key": "t.key"}}
    )
    numbers = TraceNumbers()
    made = OtlpTracing(options, tmp_path, "", "x", SetClock(), numbers)
    assert "expired" in made.why_unready() and not numbers.is_up
    issue(ours, tmp_path, "t", 30)
    assert made.why_unready() == ""


async def test_an_engine_whose_traces_wait_starts(tmp_path, ours, caplog):
    text = "traces: {url: 'https://127.0.0.1:1', tls: {certificate: t.crt, key: t.key}}\n"
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, MEMORY + text)
    issue(ours, site.folder, "t", -1)
    async with site.running():
        wire = await site.wire()
        await wire.send(message())
        assert codes([await wire.answer()]) == ["AA"]
        assert unusable(site) == {"traces": 1.0}
    assert sum("E595 traces" in record.message for record in caplog.records) == 1


async def test_nobody_signs_in_by_a_provider_before_its_files_are_good(tmp_path, ours):
    issue(ours, tmp_path, "p", -1)
    values = {
        "issuer": "https://127.0.0.1:1",
        "client": "c",
        "roles": {"it": "admin"},
        "tls": {"certificate": "p.crt", "key": "p.key"},
    }
    provider = Provider(OidcOptions.model_validate(values), tmp_path, "https://segmill.example.org", SetClock())
    assert "expired" in provider.why_unready()
    with pytest.raises(Problem) as told:
        await provider.begin("/")
    assert told.value.code == "E573" and "its log says why" in told.value.detail
    assert str(tmp_path) not in told.value.detail, "which file is not for whoever opens the page"
    issue(ours, tmp_path, "p", 30)
    with pytest.raises(Problem) as told:
        await provider.begin("/")
    assert told.value.code == "E573" and "does not answer" in told.value.detail
    assert provider.why_unready() == ""
    await provider.close()


# -- lists of revoked certificates -----------------------------------------------------------------

LISTED = "listen: {mllp: {port: 0, tls: {certificate: own.crt, key: own.key, client_ca: ca.crt, client_crl: no.crl}}}\n"


def listed(folder: Path, ours: trustme.CA, **ends: timedelta) -> SiteUnderTest:
    """Its list was made two days ago."""
    them, pem = authority("Hospital CA")
    site = SiteUnderTest(folder / "site", {"adt": LISTED + "accept: ['ADT^*']\n"})
    issue(ours, site.folder / "channels" / "adt", "own", 30)
    (site.folder / "channels" / "adt" / "ca.crt").write_bytes(pem)
    text = b"".join(them.revoke(7, ends=NOW + end) for end in ends.values())
    (site.folder / "channels" / "adt" / "no.crl").write_bytes(text)
    return site


async def test_when_a_list_ends_is_a_metric_and_a_new_one_counts_from_the_reload_on(tmp_path, ours):
    site = listed(tmp_path, ours, first=timedelta(days=5), second=timedelta(days=3))
    async with site.running() as engine:
        ends = by_place(site, "segmill_revocation_list_next_update_timestamp_seconds")
        assert ends == {"adt": int((NOW + timedelta(days=3)).timestamp())}, "the one that ends first"
        made = by_place(site, "segmill_revocation_list_this_update_timestamp_seconds")
        assert made == {"adt": int((NOW - timedelta(days=2)).timestamp())}
        listed(tmp_path / "other", ours, first=timedelta(days=9))
        folder = tmp_path / "other" / "site" / "channels" / "adt"
        (site.folder / "channels" / "adt" / "no.crl").write_bytes((folder / "no.crl").read_bytes())
        (site.folder / "channels" / "adt" / "ca.crt").write_bytes((folder / "ca.crt").read_bytes())
        assert (await engine.control.reload()).exit_code == 0
        ends = by_place(site, "segmill_revocation_list_next_update_timestamp_seconds")
        assert ends == {"adt": int((NOW + timedelta(days=9)).timestamp())}


async def test_an_engine_with_a_list_that_has_ended_starts_and_says_so(tmp_path, ours, caplog):
    site = listed(tmp_path, ours, first=timedelta(hours=-1))
    async with site.running():
        pass
    assert sum("E594 the list of revoked certificates of adt ended" in r.message for r in caplog.records) == 1


def element(tag: int, *parts: bytes) -> bytes:
    """DER, of less than 128 bytes."""
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


@pytest.mark.parametrize("version", [b"", element(0x02, b"\x01")], ids=["v1", "v2"])
@pytest.mark.parametrize("behind", [b"", element(0x30)], ids=["nothing", "revoked ones"])
def test_a_list_that_promises_no_next_one_has_no_end(tmp_path, version, behind):
    made_at = element(0x17, b"260102030405Z")
    fields = element(0x30, version, element(0x30), element(0x30), made_at, behind)
    text = base64.b64encode(element(0x30, fields)).decode()
    (tmp_path / "no.crl").write_text(f"-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
    assert revocations_of(tmp_path / "no.crl") == [(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None)]


def test_a_torn_list_is_named(tmp_path):
    path = tmp_path / "torn.crl"
    path.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    with pytest.raises(ConfigError, match=r"torn\.crl holds a list of revoked certificates that cannot be read"):
        revocations_of(path)


def test_what_a_site_shows_is_put_to_the_meter(tmp_path, ours):
    from engine.adapters.metrics import PrometheusMeter

    tls = "{certificate: own.crt, key: own.key, client_ca: ca.crt, client_crl: no.crl}"
    folder = make_site(tmp_path / "site", {}, f"{MEMORY}dicom: {{port: 0, tls: {tls}}}\n")
    issue(ours, folder, "own", 30)
    them, _ = authority("Hospital CA")
    (folder / "no.crl").write_bytes(them.revoke(7))
    meter = PrometheusMeter()
    show_certificates(meter, load(folder, {}))
    assert list(meter.tls.lists) == ["dicom"] and list(meter.certificate_ends) == ["dicom"]
    found = meter.tls.lists["dicom"]
    assert not found.ends_soon(NOW.timestamp()), "a third of its life is left"
    assert found.ends_soon((NOW + timedelta(hours=21)).timestamp())
    assert datetime.fromtimestamp(found.ends_s, UTC) == (NOW + timedelta(days=1)).replace(microsecond=0)
