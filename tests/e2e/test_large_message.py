"""A document of 20 MB in OBX-5, through MLLP to MLLP and to a file (DESIGN section 9)."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from engine.testing import messages
from engine.testing.peers import ReceivingPeer
from engine.testing.sites import make_site
from tests.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")

SIZE = 20_000_000
MOST_COPIES = 4
CONSTANT = 10_000_000
"""Beyond the copies: the sockets' buffers, what the allocator keeps."""

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1, max_message: 32MB}}
ack: {{mode: original}}
{steps}
routes: [{{to: receiver}}, {{to: archive}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
  archive:
    file: {{folder: "{folder}", name: "{{MSH-10}}.hl7"}}
"""
EDITS = "steps:\n  - set: {MSH-5: ARCHIVE, PID-8: '=lower(PID-8)'}\n"
EDITS_ITS_SEGMENT = "steps:\n  - each: OBX\n    do:\n      - set: {OBX-11: F}\n"


def document(control_id: str, size: int = SIZE) -> bytes:
    head = messages.oru(control_id=control_id)
    return head + b"OBX|9|ED|PDF^Report^L||^AP^PDF^Base64^" + b"JVBERi0xLjcK" * (size // 12) + b"||||||P\r"


class Process:
    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def _kilobytes(self, key: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise AssertionError(key)

    @property
    def now(self) -> int:
        return self._kilobytes("VmRSS") * 1024

    @property
    def peak(self) -> int:
        return self._kilobytes("VmHWM") * 1024

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")


@asynccontextmanager
async def running(tmp_path: Path, receiver: int, steps: str) -> AsyncIterator[tuple[Process, int, Path]]:
    port, folder = free_port(), tmp_path / "out"
    folder.mkdir()
    text = CHANNEL.format(port=port, receiver=receiver, folder=folder, steps=steps)
    site = make_site(tmp_path / "site", {"big": text}, "admin: off\n")
    engine = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "run", str(site), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert engine.stderr is not None
        async for line in engine.stderr:
            if b"started" in line:
                break
        yield Process(engine.pid), port, folder
        engine.send_signal(signal.SIGTERM)
        await asyncio.wait_for(engine.communicate(), 30)
        assert engine.returncode == 0
    finally:
        if engine.returncode is None:
            engine.kill()
            await engine.communicate()  # to the end of its pipe as well: else that is open when the loop closes


async def send(port: int, payload: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x0b" + payload + b"\x1c\r")
    await writer.drain()
    answer = await reader.readuntil(b"\x1c\r")
    writer.close()
    return answer


def kept(store: Path) -> list[bytes]:
    """The large bodies in the store, which were written piece by piece."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as reader:
        return [row[0] for row in reader.execute("SELECT bytes FROM whole_body WHERE length(bytes) > 1000000")]


async def until_file(path: Path) -> bytes:
    for _ in range(3000):
        if path.exists():
            return path.read_bytes()
        await asyncio.sleep(0.01)
    raise AssertionError(path.name)


@pytest.mark.parametrize(
    ("steps", "family"),
    [
        ("", "Testperson"),
        (EDITS, "Testperson"),
        (EDITS_ITS_SEGMENT, "Testperson"),
        (EDITS, "Täst€person"),
        (f"isolate: process\n{EDITS}", "Testperson"),
        (f"isolate: process\n{EDITS_ITS_SEGMENT}", "Testperson"),
    ],
    ids=["as-it-came", "edited", "its-segment-edited", "edited-utf-8", "isolated", "isolated-its-segment-edited"],
)
async def test_a_document_of_20_mb_arrives_whole_and_is_no_more_than_four_times_in_memory(
    tmp_path, ledger, steps, family
):
    async with (
        ReceivingPeer("AA") as receiver,
        running(tmp_path, receiver.address[1], steps) as (process, port, folder),
    ):
        for n in range(20):
            assert b"MSA|AA|" in await send(port, document(f"WARM{n}", 12_000))
        await receiver.until_received(20)
        await until_file(folder / "WARM19.hl7")
        before = process.now
        process.forget_peak()
        sent = document("BIG").replace(b"Testperson", family.encode())
        assert b"MSA|AA|BIG" in await send(port, sent)
        await receiver.until_received(21)
        filed = await until_file(folder / "BIG.hl7")
        peak = process.peak - before
        assert receiver.received[-1] == filed
        assert set(kept(tmp_path / "site" / "data" / "segmill.db")) == {sent, filed}
        if not steps:
            assert filed == sent
        else:
            assert len(filed) - len(sent) in range(-20, 20) and b"Base64^JVBERi0xLjcK" in filed
            assert filed.split(b"\r")[-2].split(b"|")[5] == sent.split(b"\r")[-2].split(b"|")[5]
        copies = (peak - CONSTANT) / len(sent)
        ledger.write("S9", "20 MB message, peak", copies=peak / len(sent), megabytes=peak // 1_000_000)
        assert copies <= MOST_COPIES, f"{peak} bytes"
