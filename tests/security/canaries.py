"""A site whose traffic has a marker in every field, and a hunt for markers in files, however they are written.

An engine of its own process takes what other tests of patient data send, and besides batches, fragments, a message that
is stored in pieces, orders that make a worklist, performed steps of a scanner, and what people do; two receivers answer
with the patient's data in ERR, and without sense.
"""

import asyncio
import base64
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from engine.adapters.control_client import ControlClient
from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sealing import Sealing, opened
from engine.adapters.stores.unlocking import opened_keys, sealed_at
from engine.mllp.framing import BlockDecoder
from engine.model.store_key import StoreKeys
from engine.testing.sites import make_site
from tests.phi.test_no_patient_data import CHANNEL, DEAF_S, END, PROFILE, VT, Mail, babble, exchange, quoting
from tests.phi.test_worklist import OBR, ORC, PID, marked, message
from tests.phi.test_worklist_status import STUDY, perform

PLANTED: Final = re.compile(rb"zq[0-9]{3,5}qz|1\.2\.826\.0\.1\.99\.[0-9]", re.IGNORECASE)
"""Three digits in a worklist's traffic, five in all other; and the UIDs of studies and performed steps."""
WIDE: Final = re.compile(rb"z\0q\0(?:[0-9]\0){3,5}q\0z|z\0\0\0q\0\0\0(?:[0-9]\0\0\0){3,5}q", re.IGNORECASE)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{14,}")
WITHIN_S: Final = 240

JOINED = """
listen: {mllp: {port: 0}}
accept: [ORU^R01]
fragments: {dsc: {timeout: 10m}}
routes: [{to: folder}]
destinations: {folder: {file: {folder: parts}}}
"""
ORDERS = """
listen: {mllp: {port: 0}}
accept: ['*']
routes: [{to: modalities}]
destinations: {modalities: {worklist: {too_long: {AccessionNumber: {hash16: true}}}}}
"""
LARGE = """
listen: {mllp: {port: 0, max_message: 4MB}}
accept: [MDM^T02]
routes: [{to: folder}]
destinations: {folder: {file: {folder: large}}}
"""
PASSED = """
listen: {{mllp: {{port: 0}}}}
accept: ['*']
ack: {{when: delivered(ris)}}
routes: [{{to: ris}}]
destinations: {{ris: {{mllp: {{host: 127.0.0.1, port: {refusing}}}}}}}
"""
SETTINGS = """
admin: off
shutdown: 5s
dicom: {host: 127.0.0.1, port: 0}
hand_offs: {wlm: {folder: {path: wlm}}}
"""
CHANNELS: Final = ("all", "joined", "large", "orders", "passed")


def found_in(content: bytes) -> set[str]:
    """The ways in which markers are written in these bytes."""
    ways = {name for name, pattern in (("plain", PLANTED), ("utf-16", WIDE)) if pattern.search(content)}
    for name, decoded in _decoded(content):
        if name not in ways and (PLANTED.search(decoded) or WIDE.search(decoded)):
            ways.add(name)
    return ways


def _decoded(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What looks like text for bytes, taken as that, wherever it begins."""
    for run in _BASE64.findall(content):
        text = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = text[start : start + (len(text) - start) // 4 * 4]
            yield "base64", base64.b64decode(part)
    for run in _HEX.findall(content):
        for start in range(2):
            yield "hex", bytes.fromhex(run[start : start + (len(run) - start) // 2 * 2].decode())


def leaks(folder: Path) -> dict[str, set[str]]:
    """Files in a folder and below that have markers, and how they are written there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            ways = found_in(path.read_bytes()) if path.is_file() else set()
        except FileNotFoundError:  # it was there a moment ago
            continue
        if ways or found_in(path.name.encode()):
            found[str(path.relative_to(folder))] = ways or {"its name"}
    return found


class Receivers:
    """Two peers on threads of their own: one refuses and quotes, the other babbles."""

    def __enter__(self) -> "Receivers":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self.refusing, self.babbling = (self._ask(self._listen(answer)) for answer in (quoting, babble))
        return self

    def __exit__(self, *words: object) -> None:
        self._ask(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _ask(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self, answer) -> int:  # type: ignore[no-untyped-def]
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            decoder = BlockDecoder()
            try:
                while data := await reader.read(65536):
                    for block in decoder.feed(data):
                        said = answer(block.payload)  # type: ignore[union-attr]
                        writer.write(VT + said + END if said.startswith(b"MSH") else said)
                        await writer.drain()
            except OSError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def make(folder: Path, receivers: Receivers, settings: str) -> Path:
    """The site."""
    everything = CHANNEL.format(refusing=receivers.refusing, babbling=receivers.babbling, deaf=DEAF_S)
    everything = everything.replace("on_rejected: hold\n", "on_rejected: hold\n    order_by: PID-3.1\n    lanes: 2\n")
    channels = {
        "all": {
            "channel.yaml": everything.replace("max_message: 30KB", "max_message: 30KB, batch: {answer: all}"),
            "tables/known.csv": "from,to\nA,1\n",
            "profile.yaml": PROFILE,
        },
        "joined": JOINED,
        "large": LARGE,
        "orders": ORDERS,
        "passed": PASSED.format(refusing=receivers.refusing),
    }
    site = make_site(folder, channels, SETTINGS + settings)
    (site / "temporary").mkdir()
    return site


class EngineProcess:
    """`segmill run` on the site, or a program in its place."""

    def __init__(self, site: Path, *program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *(program or ("-m", "engine", "run", str(site)))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "TMPDIR": str(site / "temporary")},
        )
        assert self.process.stderr is not None
        self.said = ""
        while not all(self._port(name) for name in (*CHANNELS, "dicom")):
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self._reads = threading.Thread(target=self._read, daemon=True)
        self._reads.start()
        self.ports = {name: self._port(name) for name in (*CHANNELS, "dicom")}

    def _port(self, name: str) -> int:
        words = "on port ([0-9]+)" if name == "dicom" else rf"(?:started:|,) {name} on [0-9.]+:([0-9]+)"
        found = re.search(words, self.said)
        return int(found[1]) if found else 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self._end() == 0, self.said

    def _end(self) -> int:
        code = self.process.wait(60)
        self._reads.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


# -- the traffic ------------------------------------------------------------------------------------


def send_all(engine: EngineProcess, site: Path) -> None:
    """Everything, once; ends when nothing is queued that could go."""
    asyncio.run(_messages(engine))
    client = ControlClient(site / "data")
    until(lambda: len(list((site / "wlm").glob("*.wl"))) == 3, lambda: client.get("/v1/hand_offs"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom's, of values that are too long
        assert perform(engine.ports["dicom"]) == [0, 0x0111, 0x0106]
    assert _discontinue(engine.ports["dicom"]) == [0, 0]
    _people(client)
    until(lambda: _is_settled(client), lambda: client.get("/v1/status"))


async def _messages(engine: EngineProcess) -> None:
    mail = Mail()
    for channel, payloads in (
        ("all", [*mail.to_everywhere(), _batch(mail)]),
        ("joined", _fragments(mail)),
        ("large", [_large(mail)]),
        ("orders", _orders()),
        ("passed", [mail.message("ADT^A01")]),
    ):
        for payload in payloads:
            assert await exchange(("127.0.0.1", engine.ports[channel]), payload), f"no answer from {channel}"


def _batch(mail: Mail) -> bytes:
    members = mail.message("ADT^A08") + mail.message("ADT^A31")
    return b"BHS|^~\\&|HIS\r" + members + f"BTS|2|{mail.marker()}\r".encode()


def _fragments(mail: Mail) -> list[bytes]:
    """One message in two, and half of another."""
    found = []
    for pointer, last in (("PTR1", False), ("PTR1", True), ("PTR2", False)):
        head = mail.msh("ORU^R01").split("|")
        head[13] = pointer if last else ""
        lines = ["|".join(head), mail.marker.segment("OBX" if last else "PID")]
        lines += [] if last else [f"DSC|{pointer}|F"]
        found.append("".join(f"{line}\r" for line in lines).encode())
    return found


def _large(mail: Mail) -> bytes:
    """So long that it is stored in pieces."""
    return mail.message("MDM^T02", "NORTH", mail.marker.segment("PID"), f"OBX|1|TX|||{mail.marker() * 300_000}")


def _orders() -> list[bytes]:
    pid = PID.replace("ZQ003QZ^ZQ003QZ", "ZQ003QZ^^^ZQ904QZ")
    other = pid.replace("ZQ003QZ", "ZQ103QZ")
    visit = marked("PV1", 50, f19="ZQ019QZ^^^ZQ919QZ")
    long = OBR.replace("|ZQ018QZ|", "|ZQ118QZ-0123456789-0123456789|").replace("ZQ020QZ", "ZQ120QZ")
    second = ORC.replace("ZQ002QZ", "ZQ202QZ").replace("ZQ003QZ", "ZQ203QZ")
    last = OBR.replace("ZQ018QZ", "ZQ418QZ").replace("ZQ020QZ", "ZQ420QZ")
    third = ORC.replace("ZQ002QZ", "ZQ402QZ").replace("ZQ003QZ", "ZQ403QZ")
    return [
        message("W1", "ORM^O01", pid, visit, ORC, OBR, f"ZDS|{STUDY}"),
        message("W2", "ORM^O01", pid, second, long, f"ZDS|{STUDY}.2"),
        message("W7", "ORM^O01", pid, third, last, f"ZDS|{STUDY}.3"),
        message("W3", "ORM^O01", other, _cancel("ZQ302QZ"), OBR.replace("ZQ018QZ", "ZQ318QZ")),
        message("W4", "ADT^A08", "EVN|A08|20260101120000", other),
        message("W5", "ADT^A40", "EVN|A40|20260101120000", pid, "MRG|ZQ103QZ^^^ZQ104QZ"),
        message("W6", "ORM^O01", pid, ORC, OBR.replace("|CT|", "|ZQ024QZ|")),
    ]


def _cancel(placer: str) -> str:
    """Of an order that nobody ever heard of."""
    return ORC.replace("|NW|", "|CA|").replace("|SC|", "|CA|").replace("ZQ002QZ", placer).replace("ZQ003QZ", "ZQ303QZ")


def _discontinue(port: int) -> list[int]:
    """A scanner with a name like a patient's, that gives up and says why."""
    scheduled, why, told = Dataset(), Dataset(), Dataset()
    scheduled.StudyInstanceUID = f"{STUDY}.2"
    scheduled.AccessionNumber = "ZQ521QZ"
    scheduled.ScheduledProcedureStepID = "ZQ120QZ"
    told.PerformedProcedureStepStatus = "IN PROGRESS"
    told.ScheduledStepAttributesSequence = [scheduled]
    told.PerformedStationAETitle = "ZQ523QZ"
    why.CodeValue, why.CodingSchemeDesignator, why.CodeMeaning = "ZQ524QZ", "ZQ525QZ", "ZQ526QZ"
    ae = AE("ZQ527QZ")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    association = ae.associate("127.0.0.1", port, ae_title="SEGMILL")
    uid = f"{STUDY}.77"
    made, _ = association.send_n_create(told, ModalityPerformedProcedureStep, uid)
    ended = Dataset()
    ended.PerformedProcedureStepStatus = "DISCONTINUED"
    ended.PerformedProcedureStepDiscontinuationReasonCodeSequence = [why]
    changed, _ = association.send_n_set(ended, ModalityPerformedProcedureStep, uid)
    association.release()
    return [made.Status, changed.Status]


def _people(client: ControlClient) -> None:
    mail = Mail()

    def order(action: str, **more: object) -> dict[str, object]:
        told = {"reason": f"for ZQ0{len(action)}3QZ", "scope": f"PID-3.1 == ZQ0{len(action)}4QZ"}
        return client.post("/v1/order", {"action": action, **told, "key": f"ZQ0{len(action)}5QZ{action}", **more})

    order("read", messages=[1])
    order("pause", lanes=[["all", "folder"]])
    order("resend", messages=[[1, 3]])
    client.post("/v1/release", {"seqs": [4, 5], "reason": "ZQ061QZ"})
    order("edit", messages=[1], raw=base64.b64encode(mail.message("ADT^A08")).decode())
    step = {"worklist": "main", "study_uid": STUDY, "step_id": "ZQ020QZ", "planned": "STARTED", "revision": 1}
    order("set-status", step={**step, "to": "COMPLETED"})


def _is_settled(client: ControlClient) -> bool:
    """What is paused, or held, is not waited for."""
    lanes = [lane for channel in client.get("/v1/status")["channels"] for lane in channel["lanes"]]
    return not any(lane["queued"] and lane["state"] != "paused" for lane in lanes)


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for it; `what` tells how things stand where it does not come."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, what()
        threading.Event().wait(0.1)


# -- what is behind the seals -----------------------------------------------------------------------


def opened_columns(store: Path, keys: StoreKeys) -> dict[str, list[bytes]]:
    """Every value that is sealed or a token, opened, by `table.column`; empty ones are left out."""
    found: dict[str, list[bytes]] = {}
    sealing = Sealing()
    sealed = sealed_at(store)
    sealing.unlock(opened_keys(store, sealed, keys))
    with closing(sqlite3.connect(store)) as db:
        for table in TABLES:
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table.name})")]
            for row in db.execute(f"SELECT * FROM {table.name}"):
                values = dict(zip(names, row, strict=True))
                # Tokens first: other values are bound to them.
                for column in sorted(table.columns, key=lambda one: one.kind != "token"):
                    value = values[column.name] = opened(sealing, table, column, values)
                    if value:
                        content = value if isinstance(value, bytes) else str(value).encode()
                        found.setdefault(f"{table.name}.{column.name}", []).append(content)
    return found
