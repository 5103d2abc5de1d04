"""A step of a worklist gets another status by the API."""

from collections.abc import Iterator

import pytest

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.model.access import SITE
from engine.testing.sites import make_site
from tests.adapters.api.rig import Running
from tests.cli.test_worklist import order

CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {station: [{when: {Modality: CT}, ae: [CT1]}]}}
"""
STUDY = "1.2.826.0.1.99.1"
ADDRESS = f"/worklists/main/steps/{STUDY}/S1"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory) -> Iterator[Running]:
    folder = make_site(tmp_path_factory.mktemp("steps"), {"orders": CHANNEL}, "admin: off\nconsole: {port: 0}\n")
    running = Running(folder)
    report = running.do(Sender(Target(*running.engine.addresses["orders"]), [order(1), order(2)]).run())
    assert report.codes == {"AA": 2}
    running.settled()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def operator(scanned):
    return scanned.token("operator", {SITE: "operator"})


def body(shown, to, **more):
    return {"to": to, "planned": shown["status"], "revision": shown["revision"], **more}


def test_a_step_moves_from_what_was_seen_and_it_is_on_record(scanned, operator):
    before = scanned.ask("GET", ADDRESS, headers=operator).json
    reply = scanned.ask("POST", ADDRESS + "/status", body(before, "ARRIVED", reason="At the desk"), operator)
    assert (reply.status, reply.json["steps"], reply.json["done_before"]) == (200, 1, False), reply.raw
    after = scanned.ask("GET", ADDRESS, headers=operator).json
    assert (after["status"], after["history"][-1]["status"]) == ("ARRIVED", "ARRIVED")
    row = next(row for row in scanned.queries.audit(0, 1000) if row.action == "set-status")
    assert (row.reason, row.actor) == ("At the desk", "token operator from 127.0.0.1")
    # The same from what was seen before: somebody else was there meanwhile.
    again = scanned.ask("POST", ADDRESS + "/status", body(before, "READY"), operator)
    assert again.status == 409
    assert scanned.ask("GET", ADDRESS, headers=operator).json["status"] == "ARRIVED"


def test_what_has_ended_comes_back_by_force_and_with_a_reason_alone(scanned, operator):
    address = "/worklists/main/steps/1.2.826.0.1.99.2/S2"
    shown = scanned.ask("GET", address, headers=operator).json
    assert scanned.ask("POST", address + "/status", body(shown, "COMPLETED"), operator).status == 200
    shown = scanned.ask("GET", address, headers=operator).json
    assert scanned.ask("POST", address + "/status", body(shown, "SCHEDULED"), operator).status == 409
    assert scanned.ask("POST", address + "/status", body(shown, "SCHEDULED", force=True), operator).status == 409
    forced = body(shown, "SCHEDULED", force=True, reason="The wrong patient", key="K1")
    assert scanned.ask("POST", address + "/status", forced, operator).json["done_before"] is False
    assert scanned.ask("POST", address + "/status", forced, operator).json["done_before"] is True
    assert scanned.ask("GET", address, headers=operator).json["status"] == "SCHEDULED"


def test_a_step_that_is_not_there_is_not_there(scanned, operator):
    asked = {"to": "ARRIVED", "planned": "SCHEDULED", "revision": 1}
    assert scanned.ask("POST", "/worklists/main/steps/1.2.3/S9/status", asked, operator).status == 404


def test_the_key_of_one_is_not_the_key_of_another(scanned, operator):
    other = scanned.token("other", {SITE: "operator"})
    shown = scanned.ask("GET", ADDRESS, headers=operator).json
    to, back = ("READY", "SCHEDULED") if shown["status"] != "READY" else ("SCHEDULED", "READY")
    assert scanned.ask("POST", ADDRESS + "/status", body(shown, to, key="same"), operator).json["steps"] == 1
    shown = scanned.ask("GET", ADDRESS, headers=operator).json
    reply = scanned.ask("POST", ADDRESS + "/status", body(shown, back, key="same"), other)
    assert (reply.status, reply.json["done_before"]) == (200, False)
