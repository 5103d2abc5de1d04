"""dcmtk's findscu asks for a worklist whose store is encrypted: it finds what it would find in a plain one."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from engine.model.store_key import StoreKey
from tests.runtime.engines import SiteUnderTest
from tests.runtime.parts import until

CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations: {modalities: {worklist: {}}}
"""
NAMES = ("Muster^Anna", "Müller^Eva", "Mustermann^Max")
STEP = "ScheduledProcedureStepSequence[0]"
PENDING = re.compile(r"Find Response: [0-9]+ \(Pending\)")


def order(number: int, name: str) -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000||ORM^O01|M{number}|P|2.3.1||||||UNICODE UTF-8",
        f"PID|1||90000{number}^^^HIS^MR||{name}||19800203|F",
        f"ORC|NW|P{number}^HIS|F{number}^RIS||SC||^^^2026010210300{number}",
        f"OBR|1|P{number}^HIS|F{number}^RIS|CTH^CT head^L||||||||||||||A{number}|R{number}|S{number}||||CT",
        f"ZDS|1.2.826.0.1.99.{number}",
    ]
    return ("\r".join(segments) + "\r").encode()


@pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")
async def test_a_scanner_finds_the_items_of_an_encrypted_store(tmp_path: Path) -> None:
    key = tmp_path / "store.key"
    key.write_text(StoreKey.make().line())
    key.chmod(0o600)
    settings = f"admin: off\ndicom: {{host: 127.0.0.1, port: 0}}\nencryption: {{key: '${{file:{key}}}'}}\n"
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, settings)
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(*(order(number, name) for number, name in enumerate(NAMES, start=1)))
        assert all(b"MSA|AA|" in answer for answer in await wire.answers(len(NAMES)))
        await until(lambda: all(depth.queued == 0 for depth in engine._queries.depths()))
        store = site.folder / "data" / "segmill.db"
        assert b"Muster" not in store.read_bytes() + store.with_name("segmill.db-wal").read_bytes()

        async def found(*keys: str) -> int:
            words = [word for key in (*keys, "PatientSex") for word in ("-k", key)]
            process = await asyncio.create_subprocess_exec(
                *("findscu", "-v", "-W", "-aec", "SEGMILL", *words, "127.0.0.1", str(engine.dicom_port)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said
            return len(PENDING.findall(said.decode("latin-1")))

        assert await found("PatientName=MUSTER*") == 2
        assert await found("PatientName=Muster^Anna") == 1
        assert await found("PatientName=Nobody*") == 0
        assert await found("PatientName=Muster*", f"{STEP}.ScheduledProcedureStepStartDate=20260103") == 0
        assert await found("PatientID=900002") == 1
        assert await found("AccessionNumber=A3") == 1
        assert await found("StudyInstanceUID=1.2.826.0.1.99.1") == 1
        assert await found(f"{STEP}.Modality=CT", f"{STEP}.ScheduledProcedureStepStartDate=20260102") == 3
