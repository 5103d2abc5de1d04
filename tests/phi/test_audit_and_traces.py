"""Markers in every place of messages, searches and reasons: none leaves with the audit or with traces, unasked."""

import base64
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.adapters import tracing
from engine.adapters.tls import server_context
from engine.model.ids import MessageSeq
from engine.ports.control import By
from tests.adapters.collector import collector
from tests.adapters.syslog_server import Authority, SyslogServer
from tests.runtime.engines import SiteUnderTest

MARKER = re.compile("zq[0-9]{5}qz", re.IGNORECASE)
MESSAGE = (
    b"MSH|^~\\&|HIS|HOSP|EPR|HOSP|20260101||ADT^A01|A1|P|2.5.1|ZQ00001QZ\r"
    b"EVN||20260101|||ZQ00002QZ\r"
    b"PID|1||ZQ00003QZ^^^HOSP||ZQ00004QZ^ZQ00005QZ||19700101|F|||ZQ00006QZ\r"
    b"PV1|1|I|ZQ00007QZ\rZZZ|ZQ00008QZ\r"
)
SETTINGS = """
admin: off
store: 'memory:'
audit:
  syslog: {{host: localhost, port: {syslog}, tls: {{ca: ../ca.crt}}{more}}}
traces: {{url: 'http://127.0.0.1:{traces}', sample: 1.0}}
"""
CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
steps:
  - map: {PID-3.1: tables/none.csv, otherwise: hold}
    when: MSH-10 == "A2"
routes: [{to: out}]
destinations: {out: {kept: {}}}
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SyslogServer]:
    certificate, key = Authority(tmp_path).issue("server")
    made = SyslogServer(server_context(certificate=certificate, key=key))
    await made.start()
    yield made
    await made.stop()


def opened(message: bytes) -> str:
    """With what is hidden in base64."""
    text = message.decode()
    hidden = re.findall(r'(?:value="|Query>)([A-Za-z0-9+/=]*)', text)
    return text + " ".join(base64.b64decode(one).decode() for one in hidden)


@pytest.mark.parametrize("asked", [False, True])
async def test_no_marker_leaves_unasked(
    server: SyslogServer,
    tmp_path: Path,
    asked: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "EVERY_S", 0.02)
    monkeypatch.setattr(tracing, "STOP_S", 60.0)
    caplog.set_level(logging.DEBUG)
    with collector() as there:
        more = ", patients: true, words: true" if asked else ""
        settings = SETTINGS.format(syslog=server.port, traces=there.port, more=more)
        files = {"channel.yaml": CHANNEL, "tables/none.csv": "from,to\nA,B\n"}
        place = SiteUnderTest(tmp_path / "site", {"adt": files}, settings)
        async with place.running() as engine:
            wire = await place.wire()
            await wire.send(MESSAGE, MESSAGE.replace(b"|A1|", b"|A2|"))
            await wire.answers(2)
            await place.delivered("adt/out", 1)
            by = By("anna from 10.1.2.3", "she is ZQ00009QZ", 'where PID-3.1 == "ZQ00003QZ"')
            for action in ("read", "search", "export", "resend", "discard", "reload", "pause"):
                await engine.control.put_on_record(by, action, messages=[MessageSeq(1), MessageSeq(2)])
            await server.got(8)
            metrics = engine.meter.render()[1].decode()
    sent = [opened(message) for message in server.messages]
    found = {marker for text in sent for marker in MARKER.findall(text)}
    assert found == ({"ZQ00003QZ", "ZQ00009QZ"} if asked else set())
    assert {span.name for span in there.spans} == {"message", "decide", "commit", "deliver out"}
    assert not MARKER.search("".join(raw.decode("latin-1") for raw in there.raw))
    assert not MARKER.search(metrics)
    ours = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert not MARKER.search(ours)
