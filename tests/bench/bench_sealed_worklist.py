"""What sealing costs a worklist: queries and writes on a sealed store beside those on a plain one, processor time.

    python -m tests.bench.bench_sealed_worklist [ITEMS]

By station, date, modality a query opens what it finds; by a patient's name it opens every name in its days.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.adapters.dicom.encode import encode
from engine.adapters.stores.sealing import TOKEN_KEY, TOKEN_KEY_BYTES, Sealing
from engine.adapters.stores.worklist import WorklistReading, WorklistRows
from engine.model.store_key import KEY_BYTES
from engine.worklist.changes import Put
from engine.worklist.item import Attributes
from engine.worklist.matching import compile_query, find
from tests.bench.worklist_sites import items

STEP = "ScheduledProcedureStepSequence"
DAY = {"ScheduledProcedureStepStartDate": ("20261115",)}
MONTH = {"ScheduledProcedureStepStartDate": ("20261101-20261130",)}
QUERIES: dict[str, Attributes] = {
    "station, modality, day": {STEP: ({**DAY, "ScheduledStationAETitle": ("CT_Q",), "Modality": ("CT",)},)},
    "station, month": {STEP: ({**MONTH, "ScheduledStationAETitle": ("CT_Q",)},)},
    "patient's number": {"PatientID": ("9{number}",)},
    "name, day": {"PatientName": ("Müller{number}*",), STEP: (DAY,)},
    "name, any day": {"PatientName": ("Müller{number}*",)},
}
TIMES = 20


def sealing() -> Sealing:
    made = Sealing()
    made.unlock({TOKEN_KEY: bytes(range(TOKEN_KEY_BYTES)), 1: bytes(range(KEY_BYTES))}, left=1 << 40)
    return made


def main(count: int) -> None:
    made = [replace(Put(item, None, "created"), encoded=encoded) for item, encoded in items(count)]
    number = made[7].item.patient.id[1:]
    print(f"{count:,} items; processor time, and how many are found")
    for name, one in (("plain", Sealing()), ("sealed", sealing())):
        with TemporaryDirectory() as folder:
            db = sqlite3.connect(Path(folder) / "store.db", isolation_level=None)
            for file in ("0007_worklist.sql",):
                db.executescript(files("engine.adapters.stores").joinpath("sql", "migrations", file).read_text())
            rows = WorklistRows(db.execute, lambda item: encode(item).dump(), one)
            db.execute("BEGIN")
            took = timed(lambda rows=rows: rows.apply("main", made, at_us=1, seq=1))
            db.execute("COMMIT")
            print(f"{name:7} {'write, each':24} {took / count * 1e6:9.0f} us")
            for words, query in QUERIES.items():
                asked = compile_query(filled(query, number))
                found: list[int] = []

                def ask(asked=asked, found=found, db=db, one=one) -> None:
                    reading = WorklistReading(db.execute, "main", one)
                    found[:] = [len(find(asked, [row.item for row in reading.candidates(asked, 2000)]).items)]

                ask()
                took = timed(lambda ask=ask: [ask() for _ in range(TIMES)]) / TIMES
                print(f"{name:7} {words:24} {took * 1e3:9.2f} ms  {found[0]:5}")
            db.close()


def filled(query: Attributes, number: str) -> Attributes:
    return {
        key: tuple(value.replace("{number}", number) if isinstance(value, str) else value for value in values)
        for key, values in query.items()
    }


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
