"""Kill -9 while scanners begin and end steps: what moved is told once, and nothing is told that did not move.

The engine is a process of its own. A mutant stores what is told one transaction after the move: the rig is trusted
because it catches that one.
"""

import asyncio
import re
import socket
from collections import Counter
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from engine.adapters.stores.queries import SqliteQueries
from engine.hl7.message import Message
from engine.testing.sites import make_site
from engine.worklist.item import ItemKey
from engine.worklist.status import ORDER_STATUS
from tests.faults.sites import until_caught
from tests.faults.test_worklist_kills import EngineProcess, order

CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
ack: {when: delivered(modalities)}
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {}}
  ris: {file: {folder: out}}
"""
SETTINGS = "admin: off\ndicom: {host: 127.0.0.1, port: 0, status: {to: orders/ris}}\n"
STEPS = 24
KILLS = (7, 15, 30)
"""After so many answers to scanners the engine is killed."""

LATE = """
import sys
from engine.adapters.stores import performed
from engine.cli.main import main

right, waiting = performed.tell_of, []


def late(worklist, changes, at_us, rows, tell):
    for one in waiting:
        right(one[0], one[1], one[2], rows, one[4])
    waiting[:] = [(worklist, changes, at_us, None, tell)] if changes else []
    return [], []


performed.tell_of = late
sys.argv = ["segmill", "run", sys.argv[1]]
main()
"""
"""An engine that tells of a move with the next one."""


class ScannedEngine(EngineProcess):
    """One that scanners reach, too."""

    def __init__(self, site: Path, program: str = "") -> None:
        super().__init__(site, program)
        scanners = re.search(r"scanners reach worklist main on port ([0-9]+)", self.said)
        assert scanners, self.said
        self.dicom_port = int(scanners[1])


class Scanner:
    """Begins and ends the steps, one after the other; says again what was not answered."""

    def __init__(self) -> None:
        self.answered = 0

    def work(self, port: int, until: int) -> None:
        """Until so many answers were given, on one association."""
        ae = AE("CT1")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        ae.add_requested_context(ModalityPerformedProcedureStep)
        association = ae.associate("127.0.0.1", port, ae_title="SEGMILL")
        assert association.is_established
        while self.answered < until:
            number, is_end = divmod(self.answered, 2)
            told, uid = Dataset(), f"1.2.3.{number}"
            if is_end:
                told.PerformedProcedureStepStatus = "COMPLETED"
                reply, _ = association.send_n_set(told, ModalityPerformedProcedureStep, uid)
            else:
                told.PerformedProcedureStepStatus = "IN PROGRESS"
                scheduled = Dataset()
                scheduled.StudyInstanceUID = f"1.2.826.0.1.99.0.{number}"
                scheduled.ScheduledProcedureStepID = f"S0N{number}"
                told.ScheduledStepAttributesSequence = [scheduled]
                reply, _ = association.send_n_create(told, ModalityPerformedProcedureStep, uid)
            # Kept before a kill, and the answer was lost: 0x0111 and 0x0110 say so.
            assert reply.Status in (0, 0x0111, 0x0110), reply
            self.answered += 1
        association.abort()


def send(port: int) -> None:
    """The orders, each acknowledged, and on the worklist, before the next."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for number in range(STEPS):
            connection.sendall(order(0, number))
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                answer += connection.recv(4096)
            assert b"MSA|AA|" in answer


def run(site: Path, program: str = "") -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """What moved, and what was told, by step and status, after all kills."""
    engine = ScannedEngine(site, program)
    scanner = Scanner()
    try:
        send(engine.port)
        for kill in KILLS:
            scanner.work(engine.dicom_port, kill)
            engine.kill()
            engine = ScannedEngine(site, program)
        scanner.work(engine.dicom_port, 2 * STEPS)
    finally:
        engine.kill()
    return counted(site)


def counted(site: Path) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    queries = SqliteQueries(site / "data" / "segmill.db")
    try:
        told: Counter[tuple[str, str]] = Counter()
        for stored in queries.messages(newest_first=False, bodies=True):
            if stored.sender != "(worklist)":
                continue
            assert stored.raw is not None
            message = Message.parse(stored.raw)
            (delivery,) = queries.deliveries(stored.seq)
            assert delivery.destination == "ris"
            told[message.get("OBR-20") or "", message.get("ORC-5") or ""] += 1
        moved: Counter[tuple[str, str]] = Counter()
        with queries.worklist("main") as view:
            for number in range(STEPS):
                key = ItemKey(f"1.2.826.0.1.99.0.{number}", f"S0N{number}")
                for row in view.history(key):
                    if row.who.startswith("MPPS"):
                        moved[key.step_id, ORDER_STATUS[row.status]] += 1
        return moved, told
    finally:
        queries.close()


def test_what_moved_is_told_once_over_kills(tmp_path: Path) -> None:
    moved, told = run(make_site(tmp_path / "site", {"orders": CHANNEL}, SETTINGS))
    assert moved == Counter({(f"S0N{number}", code): 1 for number in range(STEPS) for code in ("IP", "CM")})
    assert told == moved


@pytest.mark.fault
async def test_the_rig_catches_an_engine_that_tells_later(tmp_path: Path) -> None:
    async def look(site: int) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        folder = make_site(tmp_path / f"site-{site}", {"orders": CHANNEL}, SETTINGS)
        return await asyncio.to_thread(run, folder, LATE)

    await until_caught(look, lambda both: both[0] != both[1])
