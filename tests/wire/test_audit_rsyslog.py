"""The audit into a real syslog server: Debian's rsyslog with TLS (RFC 5425) and by UDP (RFC 5426)."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.app import Engine
from engine.config.site import load_site
from engine.model.ids import MessageSeq
from engine.pipeline.registry import load_kinds
from engine.ports.control import By
from engine.testing.sites import make_site
from tests.adapters.audit_schema import check
from tests.adapters.syslog_server import Authority
from tests.ports import free_port

RSYSLOGD = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
HAS_TLS = any(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so"))
pytestmark = pytest.mark.skipif(
    RSYSLOGD is None or not HAS_TLS, reason="rsyslog with TLS is not installed (Debian's rsyslog and rsyslog-gnutls)"
)

CONFIG = """
global(workDirectory="{folder}" maxMessageSize="64k"
  defaultNetstreamDriverCAFile="{folder}/ca.crt"
  defaultNetstreamDriverCertFile="{folder}/server.crt" defaultNetstreamDriverKeyFile="{folder}/server.key")
template(name="kept" type="list") {{
  constant(value="{{") property(name="app-name" format="jsonf") constant(value=",")
  property(name="msgid" format="jsonf") constant(value=",") property(name="pri" format="jsonf") constant(value=",")
  property(name="timereported" dateFormat="rfc3339" format="jsonf") constant(value=",")
  property(name="msg" format="jsonf") constant(value="}}\\n")
}}
ruleset(name="audit") {{ action(type="omfile" file="{folder}/got" template="kept" asyncWriting="off") }}
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name"
  permittedPeer=["engine.example.org"])
input(type="imtcp" port="{tls}" address="127.0.0.1" ruleset="audit")
module(load="imudp")
input(type="imudp" port="{udp}" address="127.0.0.1" ruleset="audit")
"""
CHANNEL = "listen: {mllp: {port: 0}}\naccept: ['*']\nroutes: [{to: out}]\ndestinations: {out: {file: {folder: out}}}\n"
SETTINGS = """
admin: off
audit:
  syslog: {{host: localhost, port: {port}, transport: {transport}{tls}}}
"""
TLS = ", tls: {{ca: {folder}/ca.crt, certificate: {folder}/client.crt, key: {folder}/client.key}}"


class Rsyslog:
    """A server of its own, in the foreground, that can die and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = Authority(folder)
        authority.issue("server")
        authority.issue("client", "engine.example.org")
        self.tls, self.udp = free_port(), free_port()
        self._config = folder / "rsyslog.conf"
        self._config.write_text(CONFIG.format(folder=folder, tls=self.tls, udp=self.udp))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert RSYSLOGD is not None
        with (self.folder / "log").open("ab") as log:
            command = [RSYSLOGD, "-n", "-f", str(self._config), "-i", str(self.folder / "pid")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None
            (self.folder / "pid").unlink(missing_ok=True)

    def got(self) -> list[dict[str, str]]:
        path = self.folder / "got"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def records(self) -> list[int]:
        """The numbers of the records that came, in the order of their coming; each message is valid."""
        found = []
        for message in self.got():
            root = check(message["msg"].lstrip("\ufeff "))
            (number,) = [d for d in root.iter("ParticipantObjectDetail") if d.attrib["type"] == "record"]
            found.append(int(_plain(number.attrib["value"])))
        return found


def _plain(text: str) -> str:
    import base64

    return base64.b64decode(text).decode()


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    folder = tmp_path / "rsyslog"
    folder.mkdir()
    made = Rsyslog(folder)
    made.start()
    yield made
    made.kill()


@asynccontextmanager
async def engine_of(folder: Path, rsyslog: Rsyslog, transport: str = "tls") -> AsyncIterator[Engine]:
    tls = TLS.format(folder=rsyslog.folder) if transport == "tls" else ""
    port = rsyslog.tls if transport == "tls" else rsyslog.udp
    if not folder.exists():
        make_site(folder, {"adt": CHANNEL}, SETTINGS.format(port=port, transport=transport, tls=tls))
    loaded = load_site(folder, load_kinds(), {})
    assert loaded.is_valid, loaded.findings
    engine = Engine(loaded, announce=lambda text: None)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def _do(engine: Engine, count: int) -> None:
    for _ in range(count):
        await engine.control.put_on_record(By("anna from 10.1.2.3"), "read", messages=[MessageSeq(7)])


async def test_the_audit_arrives_with_all_its_fields(rsyslog: Rsyslog, tmp_path: Path) -> None:
    async with engine_of(tmp_path / "site", rsyslog) as engine:
        await _do(engine, 3)
        await until(lambda: len(rsyslog.got()) >= 4)
    await until(lambda: len(rsyslog.got()) >= 5)
    assert rsyslog.records() == [1, 2, 3, 4, 5]
    first, second = rsyslog.got()[:2]
    assert {(one["app-name"], one["msgid"], one["pri"]) for one in (first, second)} == {
        ("segmill", "DICOM+RFC3881", "85")
    }
    assert "Application Start" in first["msg"] and "Patient Record" in second["msg"]
    assert "Application Stop" in rsyslog.got()[4]["msg"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)", first["timereported"])


async def test_a_server_that_dies_misses_nothing(rsyslog: Rsyslog, tmp_path: Path) -> None:
    site = tmp_path / "site"
    async with engine_of(site, rsyslog) as engine:
        await until(lambda: len(rsyslog.got()) >= 1)
        for _ in range(3):
            await _do(engine, 20)
            rsyslog.kill()
            await _do(engine, 20)
            rsyslog.start()
            last = engine._queries.audit_head().last
            await until(lambda last=last: last in rsyslog.records())  # type: ignore[misc]
    last += 1  # the stop
    await until(lambda: last in rsyslog.records())
    came = rsyslog.records()
    assert set(came) == set(range(1, last + 1)), "each is there"
    first_times = list(dict.fromkeys(came))
    assert first_times == sorted(first_times), "and for the first time in order"


async def test_what_was_recorded_while_nobody_listened_comes_after_the_next_start(
    rsyslog: Rsyslog, tmp_path: Path
) -> None:
    rsyslog.kill()
    async with engine_of(tmp_path / "site", rsyslog) as engine:
        await _do(engine, 5)
    assert rsyslog.got() == []
    rsyslog.start()
    async with engine_of(tmp_path / "site", rsyslog):
        await until(lambda: len(rsyslog.got()) >= 8)
    assert rsyslog.records()[:8] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_by_udp_it_arrives_as_well(rsyslog: Rsyslog, tmp_path: Path) -> None:
    async with engine_of(tmp_path / "site", rsyslog, "udp") as engine:
        await _do(engine, 1)
        await until(lambda: {1, 2} <= set(rsyslog.records()))
