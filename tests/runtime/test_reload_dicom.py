"""The DICOM port over reloads: what its settings say is taken up, and no scanner that is connected is cut off."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification  # type: ignore[attr-defined]

from engine.ports.reload import ReloadReport
from tests.ports import free_port
from tests.runtime.engines import SiteUnderTest, codes
from tests.runtime.parts import until

CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
ack: {when: delivered(modalities)}
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {authority: HIS, station: [{ae: [CT1]}]}}
"""
SITE = "admin: off\nstore: 'memory:'\nshutdown: 30s\n"
ORDER = (
    "MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000+0000||ORM^O01|M1|P|2.3.1||||||8859/1\r"
    "PID|1||900001^^^HIS^MR||Müller^Eva||19800203|F\rPV1|1|O\r"
    "ORC|NW|P1^HIS|F1^RIS||SC||^^^20260102103000||20260101120000+0000\r"
    "OBR|1|P1^HIS|F1^RIS|CTH^CT head^L^CTH^Head^L||||||||||||||A1|R1|S1||||CT\rZDS|1.2.826.0.1.99.1\r"
).encode("latin-1")


def settings(dicom: str = "", more: str = "") -> str:
    return f"{SITE}dicom: {{host: 127.0.0.1, port: 0{', ' if dicom else ''}{dicom}}}\n{more}"


def write(site: SiteUnderTest, text: str) -> None:
    (site.folder / "segmill.yaml").write_text(text)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[SiteUnderTest]:
    made = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, settings())
    async with made.running():
        wire = await made.wire("orders")
        await wire.send(ORDER)
        assert codes([await wire.answer()]) == ["AA"]
        yield made


def port_of(site: SiteUnderTest) -> int:
    port = site.engine.dicom_port
    assert port is not None
    return port


class Scanner:
    """One that keeps its association open."""

    def __init__(self, association: Association) -> None:
        self.association = association

    @classmethod
    async def connect(
        cls, port: int, title: str = "CT1", called: str = "SEGMILL", tls: ssl.SSLContext | None = None
    ) -> "Scanner":
        ae = AE(title)
        ae.add_requested_context(ModalityWorklistInformationFind)
        ae.add_requested_context(Verification)
        return cls(
            await asyncio.to_thread(
                ae.associate, "127.0.0.1", port, ae_title=called, tls_args=(tls, "127.0.0.1") if tls else None
            )
        )

    @property
    def is_let_in(self) -> bool:
        return self.association.is_established

    async def ask(self) -> tuple[list[Dataset], int]:
        """Its answers, and the status at their end."""
        query = Dataset()
        query.PatientName = ""
        query.PatientID = ""
        asked = self.association.send_c_find(query, ModalityWorklistInformationFind)
        told = await asyncio.to_thread(lambda: list(asked))
        return [answer for _, answer in told if answer is not None], told[-1][0].Status

    async def release(self) -> None:
        await asyncio.to_thread(self.association.release)


async def reload(site: SiteUnderTest) -> ReloadReport:
    return await site.engine.control.reload()


async def test_a_plan_says_what_would_change_and_changes_nothing(site: SiteUnderTest) -> None:
    write(site, settings("ae_title: RIS, limits: {answers: 7}, modalities: {CT1: {charset: ISO_IR 100}, MR1: {}}"))
    report = await site.engine.control.plan()
    assert report.outcome == "planned" and report.needs_restart == ()
    assert report.settings == (
        "dicom.ae_title: SEGMILL -> RIS",
        "dicom.modalities.CT1: added",
        "dicom.modalities.MR1: added",
        "dicom.limits.answers: 1000 -> 7",
    )
    scanner = await Scanner.connect(port_of(site))
    (answer,), _ = await scanner.ask()
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    await scanner.release()


async def test_charsets_and_limits_are_taken_up_by_an_association_that_stays_open(site: SiteUnderTest) -> None:
    port, scanner = port_of(site), await Scanner.connect(port_of(site))
    (answer,), status = await scanner.ask()
    assert (answer.SpecificCharacterSet, str(answer.PatientName), status) == ("ISO_IR 192", "Müller^Eva", 0)
    write(site, settings("modalities: {CT1: {charset: ISO_IR 100}}"))
    assert (await reload(site)).outcome == "taken"
    (answer,), _ = await scanner.ask()
    assert (answer.SpecificCharacterSet, str(answer.PatientName)) == ("ISO_IR 100", "Müller^Eva")
    write(site, settings("modalities: {CT1: {charset: ISO_IR 192}}"))
    report = await reload(site)
    assert report.settings == ("dicom.modalities.CT1.charset: ISO_IR 100 -> ISO_IR 192",)
    (answer,), _ = await scanner.ask()
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert port_of(site) == port, "the port was not opened anew"
    await scanner.release()


async def test_who_may_call_is_taken_up_and_who_is_in_stays_in_as_it_came(site: SiteUnderTest) -> None:
    write(site, settings("modalities: {CT1: {}, US1: {own_items_only: true}}"))
    await reload(site)
    known, own = await Scanner.connect(port_of(site)), await Scanner.connect(port_of(site), "US1")
    write(site, settings("modalities: {MR1: {}}, others: refuse, called: [RIS]"))
    assert (await reload(site)).outcome == "taken"
    for title, called, is_let_in in (("CT1", "RIS", False), ("MR1", "SEGMILL", False), ("MR1", "RIS", True)):
        other = await Scanner.connect(port_of(site), title, called)
        assert other.is_let_in == is_let_in, (title, called)
        if is_let_in:
            await other.release()
    assert len((await known.ask())[0]) == 1
    assert len((await own.ask())[0]) == 0, "what it was let in with does not widen"
    await known.release()
    await own.release()


async def test_limits_on_associations_are_taken_up(site: SiteUnderTest) -> None:
    write(site, settings("modalities: {CT1: {associations: 1}}"))
    await reload(site)
    first = await Scanner.connect(port_of(site))
    assert not (await Scanner.connect(port_of(site))).is_let_in
    write(site, settings("modalities: {CT1: {associations: 2}}"))
    await reload(site)
    second = await Scanner.connect(port_of(site))
    assert first.is_let_in and second.is_let_in
    await first.release()
    await second.release()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_another_port_opens_before_the_old_one_closes_and_who_is_in_may_finish(site: SiteUnderTest) -> None:
    before, scanner = port_of(site), await Scanner.connect(port_of(site))
    after = free_port()
    write(site, settings().replace("port: 0", f"port: {after}"))

    async def meanwhile() -> None:
        await until(lambda: site.engine.dicom_port == after)
        other = await Scanner.connect(after)
        assert len((await other.ask())[0]) == 1
        assert len((await scanner.ask())[0]) == 1, "on the port that was"
        await other.release()
        await scanner.release()

    report, _ = await asyncio.gather(reload(site), meanwhile())
    assert (report.outcome, report.exit_code, report.pending) == ("taken", 0, ())
    assert not is_open(before)


async def test_a_port_that_is_taken_refuses_all_of_it(site: SiteUnderTest) -> None:
    port, version = port_of(site), site.running_channel("orders").version
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        write(site, settings("ae_title: RIS").replace("port: 0", f"port: {taken}"))
        (site.folder / "channels/orders/channel.yaml").write_text(f"description: other\n{CHANNEL}")
        report = await reload(site)
    assert (report.outcome, report.exit_code) == ("rejected", 69)
    assert f"dicom cannot listen on 127.0.0.1:{taken}" in report.sentence
    assert port_of(site) == port and site.running_channel("orders").version == version
    scanner = await Scanner.connect(port)
    assert len((await scanner.ask())[0]) == 1
    await scanner.release()


async def test_certificates_that_cannot_be_read_refuse_all_of_it(site: SiteUnderTest) -> None:
    port = port_of(site)
    (site.folder / "no.crt").write_text("nothing")
    (site.folder / "no.key").write_text("nothing")
    write(site, settings("tls: {certificate: no.crt, key: no.key}, modalities: {CT1: {charset: ISO_IR 100}}"))
    report = await reload(site)
    assert (report.outcome, report.exit_code) == ("rejected", 78)
    scanner = await Scanner.connect(port)
    assert scanner.is_let_in, "without TLS, as before"
    (answer,), _ = await scanner.ask()
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    await scanner.release()


async def test_the_channels_that_cannot_be_had_close_the_port_that_was_opened_for_them(site: SiteUnderTest) -> None:
    after = free_port()
    write(site, settings().replace("port: 0", f"port: {after}"))
    (site.folder / "channels/orders/channel.yaml").write_text(CHANNEL + "steps: [{python: 'steps.py:go'}]\n")
    (site.folder / "channels/orders/steps.py").write_text("import nowhere_at_all\n\n\ndef go(m, c):\n    pass\n")
    assert (await reload(site)).outcome == "rejected"
    with socket.create_server(("127.0.0.1", after)):
        assert site.engine.dicom_port != after


async def test_a_port_comes_and_goes(tmp_path: Path) -> None:
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, SITE)
    async with site.running() as engine:
        assert engine.dicom_port is None
        write(site, settings())
        assert (await reload(site)).settings == ("dicom",)
        port = port_of(site)
        scanner = await Scanner.connect(port)
        await scanner.ask()
        await scanner.release()
        assert [record.calling for record in await engine.control.asked()] == ["CT1"]
        write(site, SITE)
        assert (await reload(site)).outcome == "taken"
        assert engine.dicom_port is None
        assert not is_open(port)


async def test_a_worklist_that_another_name_is_given_is_the_one_that_is_asked(site: SiteUnderTest) -> None:
    scanner = await Scanner.connect(port_of(site))
    write(site, settings("worklist: other"))
    assert (await reload(site)).settings == ("dicom.worklist: main -> other",)
    assert (await scanner.ask())[0] == []
    await scanner.release()


async def test_renewed_certificates_are_taken_up_and_associations_stay(tmp_path: Path) -> None:
    ca = trustme.CA()
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, settings("tls: {certificate: own.crt, key: own.key}"))

    def renew() -> bytes:
        issued = ca.issue_cert("127.0.0.1")
        (site.folder / "own.crt").write_bytes(issued.cert_chain_pems[0].bytes())
        (site.folder / "own.key").write_bytes(issued.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    context = ssl.create_default_context()
    ca.configure_trust(context)

    def shown() -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", port_of(site)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            return encrypted.getpeercert(binary_form=True)

    first = renew()
    async with site.running():
        assert await asyncio.to_thread(shown) == first
        scanner = await Scanner.connect(port_of(site), tls=context)
        second = renew()
        assert second != first
        report = await reload(site)
        assert (report.outcome, report.settings) == ("taken", ("dicom.tls: certificates",))
        assert await asyncio.to_thread(shown) == second
        assert (await scanner.ask())[1] == 0
        await scanner.release()
