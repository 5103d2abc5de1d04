"""The worklist as pages: masked in lists, revealed on record, a status by hand, and a query tried out."""

import re
from collections.abc import Iterator

import pytest

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.model.access import SITE
from engine.testing.sites import make_site
from tests.adapters.api.rig import Running
from tests.adapters.console.visitor import Visitor
from tests.cli.test_worklist import CHANNEL, order

SETTINGS = """
admin: off
environment: test
console: {port: 0}
dicom: {host: 127.0.0.1, port: 0, modalities: {MR1: {own_items_only: true}}, status: {to: orders/ris}}
"""
STUDY = "1.2.826.0.1.99.1"
STEP = f"/worklist/main/step?study={STUDY}&step=S1"
PATIENT = ("900001", "Muster")
DAY = "day=2026-01-02"


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    """A CT, an MR without a station, and a CT that was cancelled."""
    channel = CHANNEL + '  ris: {file: {folder: ris, name: "{MSH-10}.hl7"}}\n'
    started = Running(make_site(tmp_path_factory.mktemp("worklist") / "site", {"orders": channel}, SETTINGS))
    sent = [order(1), order(2, modality="MR"), order(3), order(3, "CA", at="20260101130000")]
    report = started.do(Sender(Target(*started.engine.addresses["orders"]), sent).run())
    assert report.codes == {"AA": 4}
    started.settled()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operator(running) -> Visitor:
    return Visitor(running, running.user("operator", {SITE: "operator"}))


@pytest.fixture(scope="module")
def viewer(running) -> Visitor:
    return Visitor(running, running.user("viewer", {SITE: "viewer"}))


def rows(running, action: str) -> list:
    return [row for row in running.queries.audit(0, 10_000) if row.action == action]


def steps_in(shown) -> list[str]:
    return re.findall(r'step=([A-Z0-9]+)">', shown.text)


def test_a_day_is_listed_as_scanners_see_it_without_what_a_patient_is_known_by(viewer):
    shown = viewer.open(f"/worklist?{DAY}")
    assert steps_in(shown) == ["S1", "S2"]
    assert "10:30" in shown.words and "CT head" in shown.words and "/messages/1" in shown.text
    assert all(value not in shown.text for value in PATIENT)
    assert steps_in(viewer.open(f"/worklist?{DAY}&status=all")) == ["S1", "S2", "S3"]
    assert steps_in(viewer.open(f"/worklist?{DAY}&status=CANCELED")) == ["S3"]
    assert steps_in(viewer.open(f"/worklist?{DAY}&modality=MR")) == ["S2"]
    assert steps_in(viewer.open(f"/worklist?{DAY}&station=CT1")) == ["S1"]
    assert steps_in(viewer.open("/worklist?day=2026-01-03&status=all")) == []
    assert steps_in(viewer.open("/worklist?day=any&status=all")) == ["S1", "S2", "S3"]
    assert viewer.open("/worklist?day=2026-13-45").status == 422


def test_pages_go_on_by_a_cursor_and_leave_nothing_out(running, viewer, monkeypatch):
    from engine.adapters.console import worklist

    monkeypatch.setattr(worklist, "PAGE", 2)
    first = viewer.open(f"/worklist?{DAY}&status=all")
    assert steps_in(first) == ["S1", "S2"]
    further = re.search(r'rel="next" href="([^"]+)"', first.text)[1].replace("&amp;", "&")
    second = viewer.open(further)
    assert steps_in(second) == ["S3"] and 'rel="prev"' not in first.text
    back = re.search(r'rel="prev" href="([^"]+)"', second.text)[1].replace("&amp;", "&")
    assert steps_in(viewer.open(back)) == ["S1", "S2"]


def test_a_step_is_shown_masked_and_revealed_on_record(operator, viewer, running):
    shown = viewer.open(STEP)
    assert shown.status == 200 and "(0010,0010)" in shown.text and "•••••" in shown.text
    assert all(value not in shown.text for value in PATIENT)
    assert viewer.forged("/worklist/main/step/values", ("study", STUDY), ("step", "S1")).status == 403
    before = len(rows(running, "read"))
    revealed = operator.send(operator.open(STEP), "/step/values")
    assert all(value in revealed.text for value in PATIENT)
    row = rows(running, "read")[-1]
    assert len(rows(running, "read")) == before + 1 and STUDY in row.ids
    assert viewer.open("/worklist/main/step?study=1.2.3&step=S1").status == 404


def test_a_status_is_planned_confirmed_told_and_on_record(operator, running):
    plan = operator.send(operator.open(STEP), "/step/plan", ("to", "STARTED"))
    assert "Make it STARTED?" in plan.words and "orders/ris gets a message that says so" in plan.words
    assert "It is SCHEDULED" in plan.words
    stale = operator.send(operator.open(STEP), "/step/plan", ("to", "ARRIVED"))
    done = operator.send(plan, "/step/status", ("reason", "Began on paper"))
    assert "The step is STARTED now. It is told by message" in done.words
    assert rows(running, "set-status")[-1].reason == "Began on paper"
    refused = operator.send(stale, "/step/status", ("reason", "Too late"))
    assert refused.status == 409 and "nothing was done" in refused.words
    assert "Make it ARRIVED?" in refused.words
    back = operator.send(operator.open(STEP), "/step/plan", ("to", "SCHEDULED"))
    assert "The step is SCHEDULED now." in operator.send(back, "/step/status", ("reason", "The wrong entry")).words


def test_what_has_ended_needs_force_and_says_so(operator, running):
    path = "/worklist/main/step?study=1.2.826.0.1.99.3&step=S3"
    plan = operator.send(operator.open(path), "/step/plan", ("to", "SCHEDULED"))
    assert "You do it by force, and say why" in plan.words
    refused = operator.send(plan, "/step/status")
    assert refused.status == 409 and "needs a reason" in refused.words
    done = operator.send(plan, "/step/status", ("reason", "Cancelled by mistake"))
    assert "The step is SCHEDULED now." in done.words
    back = operator.send(operator.open(path), "/step/plan", ("to", "CANCELED"))
    operator.send(back, "/step/status", ("reason", "After all"))


def test_a_viewer_gives_no_status(viewer, running):
    fields = [("study", STUDY), ("step", "S1"), ("to", "READY")]
    assert viewer.forged("/worklist/main/step/plan", *fields).status == 403
    more = [("planned", "SCHEDULED"), ("revision", "0"), ("key", "k")]
    assert viewer.forged("/worklist/main/step/status", *fields, *more).status == 403


def test_a_query_is_answered_as_the_server_would_masked_and_on_record(operator, viewer, running):
    assert viewer.open("/worklist/main/ask").status == 403
    form = operator.open("/worklist/main/ask")
    found = operator.send(form, "/ask", ("PatientName", "muster*"), ("Modality", "MR"))
    assert "1 answer" in found.words and steps_in(found) == ["S2"]
    assert "Without Modality there would be 2." in found.words
    assert "Muster" not in re.sub(r'(value|placeholder)="[^"]*"', "", found.text) and "900001" not in found.text
    assert found.path.endswith("/ask")
    row = rows(running, "search")[-1]
    assert "PatientName=muster* Modality=MR" in row.scope
    before = len(rows(running, "read"))
    shown = operator.send(form, "/ask", ("PatientName", "muster*"), ("Modality", "MR"), ("values", "true"))
    assert "Muster^Anna" in shown.text and "900001" in shown.text
    assert len(rows(running, "read")) == before + 1 and "1.2.826.0.1.99.2" in rows(running, "read")[-1].ids


def test_a_scanner_that_sees_its_own_steps_only_gets_no_others(operator):
    found = operator.send(operator.open("/worklist/main/ask"), "/ask", ("calling", "MR1"))
    assert "A scanner would get an empty list" in found.words and "own_items_only" in found.words


def test_a_key_that_is_no_value_is_told_as_a_scanner_would_hear_it(operator):
    form = operator.open("/worklist/main/ask")
    found = operator.send(form, "/ask", ("ScheduledProcedureStepStartDate", "tomorrow"))
    assert found.status == 422 and "A900: ScheduledProcedureStepStartDate" in found.words
