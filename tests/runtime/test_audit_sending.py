"""A whole engine whose audit has a repository: start and stop are on record, and messages never wait for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.adapters.tls import server_context
from engine.config.site import load_site
from engine.ports.control import By
from engine.testing.messages import adt
from tests.adapters.audit_schema import check
from tests.adapters.syslog_server import Authority, SyslogServer
from tests.runtime.engines import SiteUnderTest, channel, codes
from tests.runtime.parts import until

SETTINGS = """
admin: off
store: 'memory:'
audit:
  syslog: {{host: localhost, port: {port}, tls: {{ca: ../ca.crt}}}}
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SyslogServer]:
    certificate, key = Authority(tmp_path).issue("server")
    made = SyslogServer(server_context(certificate=certificate, key=key))
    await made.start()
    yield made
    await made.stop()


def site(tmp_path: Path, port: int, settings: str = SETTINGS) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel()}, settings.format(port=port))


def types_of(messages: list[bytes]) -> list[str]:
    roots = [check(message.partition(b"\xef\xbb\xbf")[2].decode()) for message in messages]
    return [
        code.attrib["originalText"] for root in roots for code in root.findall("EventIdentification/EventTypeCode[1]")
    ]


async def test_start_and_stop_are_on_record_and_sent(server: SyslogServer, tmp_path: Path) -> None:
    place = site(tmp_path, server.port)
    async with place.running() as engine:
        await engine.control.put_on_record(By("anna (uid 1000)"), "reload")
        await server.got(2)
    assert types_of(await server.got(3)) == ["Application Start", "Software Configuration", "Application Stop"]
    assert place.store.queries().audit_sent() == 3, "an orderly end leaves nothing to be sent again"


async def test_messages_come_and_go_while_nobody_takes_the_audit(tmp_path: Path, server: SyslogServer) -> None:
    port = server.port
    await server.stop()
    place = site(tmp_path, port)
    async with place.running() as engine:
        wire = await place.wire("adt")
        await wire.send(adt())
        assert codes([await wire.answer()]) == ["AA"]
        await place.delivered("adt/out", 1)
        numbers = engine.meter.audit_numbers
        assert numbers is not None
        await until(lambda: numbers.failures > 0 and numbers.waiting == 1)
        assert not numbers.is_up and numbers.oldest_us > 0
        await server.start(port)
        await until(lambda: numbers.is_up)
        assert types_of(await server.got(1)) == ["Application Start"]


async def test_without_a_repository_nothing_of_it_is_there(tmp_path: Path) -> None:
    place = site(tmp_path, 1, "admin: off\nstore: 'memory:'\n")
    async with place.running() as engine:
        assert engine.meter.audit_numbers is None
        assert b"segmill_audit_export" not in engine.meter.render()[1]
    assert place.store.queries().audit_head().last == 0


async def test_where_its_files_cannot_be_used_the_record_waits_and_messages_do_not(
    tmp_path: Path, server: SyslogServer, caplog: pytest.LogCaptureFixture
) -> None:
    place = site(tmp_path, server.port)
    good = (tmp_path / "ca.crt").read_text()
    (tmp_path / "ca.crt").write_text("no certificate")
    async with place.running() as engine:
        numbers = engine.meter.audit_numbers
        assert numbers is not None
        await until(lambda: numbers.failures > 0)
        wire = await place.wire("adt")
        await wire.send(adt())
        assert codes([await wire.answer()]) == ["AA"]
        assert "holds no certificate" in engine.meter.tls.waiting()["audit"]
        (tmp_path / "ca.crt").write_text(good)
        assert types_of(await server.got(1)) == ["Application Start"], "it is looked at again by itself"
        assert engine.meter.tls.waiting() == {}
    assert sum("E595 audit" in record.message for record in caplog.records) == 1


async def test_its_settings_need_a_new_start(tmp_path: Path, server: SyslogServer) -> None:
    place = site(tmp_path, server.port)
    async with place.running() as engine:
        text = (place.folder / "segmill.yaml").read_text()
        (place.folder / "segmill.yaml").write_text(text.replace("host: localhost", "host: localhost, source: east"))
        report = await engine.control.plan()
        assert any("audit" in line for line in report.needs_restart), report


@pytest.mark.parametrize(
    ("syslog", "code"),
    [
        ("{host: arr.example.org, transport: udp}", "W561"),
        ("{host: arr.example.org, tls: {verify: false}}", "W562"),
        ("{host: arr.example.org, tls: {ca: gone.pem}}", "E132"),
        ("{host: arr.example.org, transport: udp, tls: {}}", "E103"),
        ("{host: arr.example.org, transport: tcp}", "E105"),
    ],
)
def test_mistakes_in_the_settings_are_found(tmp_path: Path, syslog: str, code: str) -> None:
    place = SiteUnderTest(tmp_path / "site", {"adt": channel()}, f"audit: {{syslog: {syslog}}}\n")
    found = load_site(place.folder, place.kinds, {}).findings
    assert [finding.code for finding in found] == [code]
