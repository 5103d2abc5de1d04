"""The engine of the console's browser tests, as a process: 10,000 messages over MLLP, one receiver down, one refusing.

`python -m tests.e2e.console_engine FOLDER` prints one line of JSON once all is through, and runs until its standard
input ends. Everything in it is invented; some of it is written to break a page.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from engine.adapters.api.access import FIRST_USER, Access
from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.app import Engine
from engine.cli.support_bundle import SiteSupport
from engine.config.site import load_site
from engine.hl7.delimiters import STANDARD
from engine.hl7.escape import escape
from engine.model.access import SITE, Grants
from engine.pipeline.registry import load_kinds
from engine.ports.operations import By
from engine.ports.worklist import QueryRecord
from engine.runtime import bench
from engine.testing.messages import Observation, adt, oru, scheduled
from engine.testing.peers import ReceivingPeer
from engine.testing.sites import make_site
from engine.worklist.item import Attributes
from tests.ports import closed_port

REPOSITORY = Path(__file__).parents[2]
ZONE = "Europe/Berlin"
PASSWORD = "correct horse battery staple"
USERS: dict[str, Grants] = {
    "viewer": {SITE: "viewer"},
    "operator": {SITE: "operator"},
    "analyst": {SITE: "analyst"},
    "admin": {SITE: "admin"},
    "adt-viewer": {"adt": "viewer"},
}
"""By what they are: each name is the user's, too."""

ADMISSIONS, RESULTS, STEPS = 9_000, 700, 300
TOTAL = ADMISSIONS + RESULTS + STEPS
MISSES = {"FERR": 20, "TROP": 8, "XYZ": 2}
"""Codes that no table has: so many results are held for each."""
WITHOUT_NUMBER = 5
"""Admissions that are held for an analyst: the patient has no number of ours."""
REFUSED = 4
FILTERED = 40

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</textarea><script>alert(1)</script>",
    "</title><svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "{{7*7}}{% raise %}${7*7}",
    "<!--<a href='//evil.example'>-->",
    "<style>body{display:none}</style>",
    "<base href=//evil.example/>",
    "\u202egnirts desrever\u202c",
    "zero\u200bwidth\u2066isolate\u2069",
    '=HYPERLINK("//evil.example")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "A" * 300,
    "\U0001f9ea\u0301\u0301\u0301",
)
"""Each stands in the family name of an admission, as a patient's name might."""

TABLES = {name: (REPOSITORY / "channels" / name / "tables") for name in ("adt", "results", "scanners")}

ADT = """
description: Patient movements from the HIS to the RIS
listen: {{mllp: {{port: 0, max_message: 40MB}}}}
accept: [ADT^*]
from: MSH-3.1 == "HIS"
steps:
  - name: production only
    filter: MSH-11.1 == "P"
  - name: what the RIS needs
    validate: {{required: [PID-3, PID-5.1], mode: reject}}
  - name: our own patient number
    validate: {{required: ['PID-3[5 == "MR"].1'], mode: hold}}
  - copy: {{PID-3: 'PID-3[5 == "MR"]'}}
  - map: {{PID-8: tables/sex.csv, otherwise: default(U)}}
  - map: {{PV1-3.1: tables/wards.csv, otherwise: hold}}
  - set: {{MSH-5: RIS, MSH-6: RADIOLOGY}}
  - delete: [PID-19]
routes:
  - to: ris
  - to: archive
    when: MSH-9.2 == "A02"
destinations:
  ris:
    mllp: {{host: 127.0.0.1, port: {ris}}}
  archive:
    file: {{folder: out/adt, name: "{{MSH-10}}.hl7"}}
"""
RESULTS_CHANNEL = """
description: Laboratory results to the patient record
listen: {{mllp: {{port: 0}}}}
accept: [ORU^R01]
from: MSH-3.1 == "LAB"
steps:
  - name: codes of the record
    map: {{"OBX[*]-3.1": tables/codes.csv, otherwise: hold}}
  - name: flags
    map: {{"OBX[*]-8[*]": tables/flags.csv, otherwise: keep}}
  - set: {{MSH-5: EPR}}
routes:
  - to: epr
  - to: portal
    when: any OBX-8 in ["HH", "LL"]
destinations:
  epr:
    mllp: {{host: 127.0.0.1, port: {epr}}}
    order_by: 'PID-3[5 == "MR"].1'
    lanes: 2
  portal:
    mllp: {{host: 127.0.0.1, port: {portal}}}
    on_refused: hold
"""
ORDERS = """
description: Scheduled procedures onto the worklist, and to a RIS that is down
listen: {{mllp: {{port: 0}}}}
accept: [ORM^O01]
from: MSH-3.1 == "RIS"
steps:
  - map: {{"OBR[*]-24.1": tables/modalities.csv, otherwise: keep}}
routes:
  - to: modalities
  - to: ris
destinations:
  modalities:
    worklist: {{authority: NORTH, station: tables/stations.csv}}
  ris:
    mllp: {{host: 127.0.0.1, port: {down}}}
"""
SETTINGS = f"""
environment: test
time_zone: {ZONE}
admin: off
console: {{port: 0, idle: 2h}}
dicom: {{host: 127.0.0.1, port: 0}}
limits: {{low_disk: 0B, free_disk: 0B}}
retention: {{bodies: 90d, messages: 400d}}
"""

PEOPLE = ("Testperson", "Sampleton", "Mockwell", "Dummerly", "Fakenham", "Müstermann", "Placehold", "Exampel")
GIVEN = ("Anna", "Bruno", "Clara", "David", "Eva", "Felix", "Greta", "Hugo", "Ida", "Jonas")
WARDS = ("3W", "3E", "4W", "4E", "5S", "ICU", "ER", "OBS", "OPD")
EVENTS = ("A01", "A02", "A03", "A04", "A08", "A08", "A08", "A31")
ANALYTES = (("HB", "Haemoglobin", "g/dL"), ("K", "Potassium", "mmol/L"), ("CRP", "C-reactive protein", "mg/L"))
PROCEDURES = ((("CTHEAD", "CT head"), "CT"), (("MRKNEE", "MR knee"), "MR"), (("XRCHEST", "X-ray chest"), "XR"))


def person(number: int) -> dict[str, str]:
    """The same one for the same number."""
    return {
        "mrn": str(900_000 + number),
        "family": PEOPLE[number % len(PEOPLE)],
        "given": GIVEN[number % len(GIVEN)],
        "sex": "FM"[number % 2],
    }


def admissions(at: str) -> Iterator[bytes]:
    chance = Random(1)
    for number in range(ADMISSIONS):
        who = person(chance.randint(1, 400))
        more: dict[str, Any] = {}
        if number < len(HOSTILE):
            who |= {"mrn": str(990_000 + number), "family": escape(HOSTILE[number], STANDARD)}
        elif number < 100 and number % 20 == 0:
            who |= {"mrn": ""}
            more["national_id"] = f"NAT{number}"
        elif number < 200 and number % 25 == 1:
            who |= {"family": "", "given": ""}
        elif number % (ADMISSIONS // FILTERED) == 7:
            more["processing_id"] = "T"
        yield adt(
            trigger=chance.choice(EVENTS),
            control_id=f"A{number:05}",
            at=at,
            charset="UNICODE UTF-8",
            ward=chance.choice(WARDS),
            **who,
            **more,
        )


def results(at: str) -> Iterator[bytes]:
    chance = Random(2)
    misses = [code for code, count in MISSES.items() for _ in range(count)]
    for number in range(RESULTS):
        code, text, units = chance.choice(ANALYTES)
        if number % 20 == 3 and misses:
            code, text = misses.pop(0), "Unknown analyte"
        flag = "HH" if number % 35 == 5 else chance.choice("NHL")
        yield oru(
            control_id=f"R{number:05}",
            at=at,
            placer=f"P7{number:05}",
            filler=f"F6{number:05}",
            observations=[Observation(code, text, f"{chance.uniform(1, 20):.1f}", units=units, flags=flag)],
            charset="UNICODE UTF-8",
            **person(chance.randint(1, 400)),
        )


def steps(at: str, day: datetime) -> Iterator[bytes]:
    chance = Random(3)
    for number in range(STEPS):
        procedure, modality = PROCEDURES[number % len(PROCEDURES)]
        start = day.replace(hour=7, minute=0) + timedelta(minutes=number, days=number % 3 - 1)
        yield scheduled(
            control_id=f"S{number:05}",
            at=at,
            number=f"7{number:05}",
            procedure=procedure,
            modality=modality,
            start=f"{start:%Y%m%d%H%M00}",
            ward=chance.choice(WARDS),
            charset="UNICODE UTF-8",
            **person(chance.randint(1, 400)),
        )


def make(folder: Path, ports: dict[str, int]) -> Path:
    texts = {"adt": ADT, "results": RESULTS_CHANNEL, "orders": ORDERS}
    site = make_site(folder, {name: text.format(**ports) for name, text in texts.items()}, SETTINGS)
    for channel, source in (("adt", "adt"), ("results", "results"), ("orders", "scanners")):
        shutil.copytree(TABLES[source], site / "channels" / channel / "tables")
    for channel in ("adt", "results"):
        shutil.copytree(REPOSITORY / "channels" / channel / "cases", site / "channels" / channel / "cases")
    return site


async def people(access: Access) -> dict[str, str]:
    """Each user's session: what stands in the cookie."""
    sessions = {}
    for name, grants in USERS.items():
        by = By("the test")
        is_there = name == FIRST_USER
        one_time = await (access.give_password(by, name) if is_there else access.add_user(by, name, grants))
        first = await access.sign_in(name, one_time, "127.0.0.1")
        await access.change_password(first.signed, one_time, PASSWORD)
        sessions[name] = (await access.sign_in(name, PASSWORD, "127.0.0.1")).secret
    return sessions


def scanners_ask(engine: Engine, now: datetime) -> None:
    """As they are told after they were answered; one has a name that somebody wrote to break a page."""
    assert engine._scanners is not None and engine._scanners._asked is not None
    day, at_us = f"{now:%Y%m%d}", int(now.timestamp() * 1_000_000)
    for number, (calling, answers, status, modality) in enumerate(
        [("CT1", 34, 0, "CT"), ("MR2", 0, 0, "MR"), ("<b>XR3</b>", 0, 0xA900, "XR"), ("CT1", 1000, 0xA700, "")]
    ):
        step = {"ScheduledProcedureStepStartDate": (day,), "Modality": (modality,) if modality else ()}
        keys: Attributes = {
            "PatientID": ("900001",) if calling == "MR2" else (),
            "StudyInstanceUID": (),
            "ScheduledProcedureStepSequence": (step,),
        }
        without = {"PatientID": 41} if calling == "MR2" else {}
        unmatched = ("ScheduledProcedureStepStartDate",) if status == 0xA900 else ()
        record = QueryRecord(
            at_us - (3 - number) * 61_000_000,
            calling,
            "SEGMILL",
            f"10.20.0.{number}",
            keys,
            answers,
            without,
            unmatched,
            status,
        )
        engine._scanners._asked.queried(record)


async def settled(engine: Engine) -> None:
    """Until nothing waits but for the one that is down."""
    while True:
        lanes = [lane for one in await engine.control.status() for lane in one.lanes]
        if not any(lane.queued for lane in lanes if (lane.channel, lane.destination) != ("orders", "ris")):
            return
        await asyncio.sleep(0.05)


async def main(folder: Path, down: int) -> None:
    # The console's bench runs at low priority beside all other tests: by the clock it may take long.
    bench.BenchLimits = partial(bench.BenchLimits, timeout_s=600.0, start_s=600.0)
    async with ReceivingPeer(keep=False) as ris, ReceivingPeer(keep=False) as epr, ReceivingPeer("AE") as portal:
        ports = {"ris": ris.address[1], "epr": epr.address[1], "portal": portal.address[1], "down": down}
        site = make(folder, ports)
        loaded = load_site(site, load_kinds(), {})
        assert loaded.is_valid, loaded.findings
        engine = Engine(loaded, announce=lambda text: None, support=SiteSupport(site))
        await engine.start()
        try:
            assert engine.console is not None and engine.console.address is not None
            now = datetime.now(ZoneInfo(ZONE))
            at = now.strftime("%Y%m%d%H%M%S%z")
            feeds = {"adt": admissions(at), "results": results(at), "orders": steps(at, now)}
            await asyncio.gather(
                *(
                    Sender(Target(*engine.addresses[channel]), feed, connections=32 if channel == "adt" else 1).run()
                    for channel, feed in feeds.items()
                )
            )
            sessions = await people(engine.console.access)
            await settled(engine)
            scanners_ask(engine, now)
            told = {
                "url": "http://{}:{}".format(*engine.console.address),
                "sessions": sessions,
                "addresses": engine.addresses,
            }
            print(json.dumps(told), flush=True)
            await asyncio.to_thread(sys.stdin.read)
        finally:
            await engine.stop()


if __name__ == "__main__":
    with closed_port() as down:
        asyncio.run(main(Path(sys.argv[1]), down))
