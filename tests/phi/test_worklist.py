"""No patient data outside the store, by way of a worklist: markers in every field of orders, ADT and queries."""

import asyncio
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.model.finding import load_findings
from tests.adapters.hand_offs.fakes import FakeArchive, FakeOrthanc
from tests.adapters.hand_offs.rest_peer import Reply, RestPeer
from tests.runtime.engines import SiteUnderTest
from tests.runtime.parts import until

MARKER = re.compile("zq[0-9]{3}qz", re.IGNORECASE)
SETTINGS = "admin: off\nshutdown: 5s\ndicom: {host: 127.0.0.1, port: 0}\n"
HAND_OFFS = """\
hand_offs:
  wlm: {folder: {path: %s}}
  orthanc: {orthanc: {url: 'http://127.0.0.1:%d'}}
  archive: {dcm4chee: {url: 'http://127.0.0.1:%d/dcm4chee-arc/aets/WORKLIST/rs'}}
"""
CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['*']
routes: [{to: modalities}]
destinations: {modalities: {worklist: {}}}
"""


def marked(segment: str, fields: int, **kept: str) -> str:
    """A segment with a marker in each field, but for those that are given."""
    made = [kept.get(f"f{n}", f"ZQ{n:03}QZ^ZQ{n:03}QZ") for n in range(1, fields + 1)]
    return "|".join([segment, *made])


def message(id: str, type_: str, *segments: str) -> bytes:
    header = f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000||{type_}|{id}|P|2.5.1"
    return ("\r".join([header, *segments]) + "\r").encode()


PID = marked("PID", 30, f7="19800101", f8="F")
ORC = marked("ORC", 24, f1="NW", f5="SC", f7="^^^20260102103000", f9="20260101120000")
OBR = marked("OBR", 44, f18="ZQ018QZ", f19="ZQ019QZ", f20="ZQ020QZ", f24="CT")
ORDERS = [
    message("M1", "ORM^O01", PID, ORC, OBR),
    message("M2", "ORM^O01", PID.replace("ZQ003QZ", "ZQ103QZ"), ORC.replace("NW", "XO"), OBR),  # another patient
    message("M3", "ORM^O01", PID, ORC, OBR.replace("|CT|", "|ZQ024QZ|")),  # no such modality
    message("M4", "ORM^O01", PID, ORC, OBR, "ZDS|{ZQ001QZ}"),  # no UID
    message("M5", "ORM^O01", PID, ORC, OBR.replace("|ZQ018QZ|", "|ZQ018QZZQ018QZZQ018QZ|")),  # too long
    message("M6", "ADT^A40", "EVN|A40|20260101120000", PID, "MRG|ZQ003QZ"),  # with itself
    message("M7", "ADT^A08", "EVN|A08|20260101120000", PID),
    message("M8", "ORU^R01", PID, OBR),
]


@asynccontextmanager
async def peers_until_the_end(*peers: RestPeer) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for peer in peers:
            await peer.stop()


@pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")
async def test_no_marker_is_seen_outside_of_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with_orthanc, with_archive = FakeOrthanc(), FakeArchive()
    # What they answer quotes what they were sent, as real ones do.
    orthanc = RestPeer(lambda asked: Reply(400, asked.body) if asked.method == "PUT" else with_orthanc(asked))
    archive = RestPeer(lambda asked: Reply(500, asked.body) if "status" in asked.target else with_archive(asked))
    await orthanc.start()
    await archive.start()
    settings = SETTINGS + HAND_OFFS % (tmp_path / "worklist", orthanc.port, archive.port)
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, settings)
    async with site.running() as engine, peers_until_the_end(orthanc, archive):
        wire = await site.wire("orders")
        await wire.send(*ORDERS)
        answers = await wire.answers(len(ORDERS))
        queries = engine._queries
        await until(lambda: all(depth.queued == 0 for depth in queries.depths()))
        words = [
            "-W",
            "-aec",
            "SEGMILL",
            "-k",
            "PatientID=ZQ003QZ",
            "-k",
            "PatientName=ZQ005QZ*",
            "-k",
            "AccessionNumber",
        ]
        process = await asyncio.create_subprocess_exec(
            "findscu", *words, "127.0.0.1", str(engine.dicom_port), stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        (asked,) = await engine.control.asked()
        assert asked.answers == 1, "the markers are on the worklist, and were looked for"
        await until(lambda: len(list((tmp_path / "worklist").glob("*.wl"))) == 1, 60)
        await until(lambda: any(asked.method == "PUT" for asked in orthanc.asked) and with_archive.steps, 60)
        ended = message(
            "M9",
            "ORM^O01",
            PID,
            ORC.replace("NW", "CA").replace("|SC|", "|CA|").replace("0101120000", "0101120001"),
            OBR,
        )
        await wire.send(ended)
        answers += await wire.answers(1)
        await until(lambda: any("status" in asked.target for asked in archive.asked), 60)
        await until(lambda: list((tmp_path / "worklist").glob("*.wl")) == [], 60)
        messages = list(queries.messages(newest_first=False))
        deliveries = [delivery for one in messages for delivery in queries.deliveries(one.seq)]
        states = [one.state for one in messages]
        told = [str([load_findings(one.findings) for one in messages])]
        told += [f"{delivery.note} {delivery.code}" for delivery in deliveries]
        told += [answer.decode("latin-1") for answer in answers]
        told += [engine.meter.render()[1].decode(), json.dumps([str(row) for row in await engine.control.status()])]
        told.append(str(asked))
        told.append(str(await engine.control.hand_offs()))
        told += [path.name for path in (tmp_path / "worklist").iterdir()]
    told.append(caplog.text)
    assert states.count("rejected") == 4 and [d.state for d in deliveries].count("held") == 2
    for text in told:
        assert not MARKER.search(text), text
