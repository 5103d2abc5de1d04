"""`segmill worklist set-status`: a person gives a step another status."""

import os
import pwd
from collections.abc import Iterator

import pytest

from engine.cli import worklist_set_status
from engine.testing.sites import make_site
from tests.cli.conftest import RunningSite
from tests.cli.test_worklist import order

ME = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"
CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {station: [{when: {Modality: CT}, ae: [CT1]}]}}
  ris: {mllp: {host: 127.0.0.1, port: '${SEGMILL_RIS_PORT}'}}
"""
SITE = "admin: off\ndicom: {host: 127.0.0.1, port: 0, status: {to: orders/ris}}\n"
STUDY = "1.2.826.0.1.99.1"


@pytest.fixture
def scanned(tmp_path) -> Iterator[RunningSite]:
    started = RunningSite(make_site(tmp_path / "site", {"orders": CHANNEL}, SITE))
    started.send("orders", order(1), order(2))
    yield started
    started.stop()


def test_the_ordering_system_is_told_and_it_is_on_record(segmill, scanned):
    words = ("worklist", "set-status", STUDY, "S1", "completed", "--yes", "--reason", "Done on paper")
    said = segmill(*words, "--site", scanned.folder)
    assert (said.code, said.out) == (0, "")
    assert "1 step made COMPLETED" in said.err and "it is told by message 3" in said.err
    scanned.settled()
    (told,) = scanned.peer.received
    assert b"\rORC|SC|P1^HIS|F1^RIS||CM|" in told
    assert segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder).out.startswith("COMPLETED,")
    last = segmill("worklist", "history", STUDY, "S1", "--json", "--site", scanned.folder).lines[-1]
    assert (last["status"], last["who"], last["message"]) == ("COMPLETED", ME, None)
    row = segmill("audit", "--json", "--site", scanned.folder).lines[0]
    assert (row["actor"], row["action"], row["reason"]) == (ME, "set-status", "Done on paper")


def test_a_plan_touches_nothing(segmill, scanned):
    words = ("worklist", "set-status", STUDY, "S1", "CANCELED", "--plan", "--site", scanned.folder)
    said = segmill(*words)
    assert said.code == 0
    assert "becomes CANCELED" in said.err and "orders/ris is told of it" in said.err
    told = segmill(*words, "--json").json
    assert (told["from"], told["to"], told["told"]) == ("SCHEDULED", "CANCELED", "orders/ris")
    assert segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder).out.startswith("SCHEDULED,")
    told = segmill("worklist", "set-status", STUDY, "S1", "READY", "--plan", "--json", "--site", scanned.folder).json
    assert told["told"] is None, "ORC-5 has no word for it"


def test_the_same_again_is_no_mistake(segmill, scanned):
    words = ("worklist", "set-status", STUDY, "S1", "ARRIVED", "--yes", "--site", scanned.folder)
    assert segmill(*words, "--json").json["steps"] == 1
    said = segmill(*words)
    assert (said.code, "there is nothing to do" in said.err) == (0, True)
    assert segmill(*words, "--json").json["steps"] == 0
    assert len(segmill("audit", "--json", "--site", scanned.folder).lines) == 1


def test_under_one_key_it_is_done_once(segmill, scanned):
    words = ("worklist", "set-status", STUDY, "S1", "ARRIVED", "--yes", "--key", "K1", "--site", scanned.folder)
    assert segmill(*words, "--json").json["done_before"] is False
    back = ("worklist", "set-status", STUDY, "S1", "SCHEDULED", "--yes", "--site", scanned.folder)
    assert segmill(*back).code == 0
    again = segmill(*words)
    assert (again.code, "this was done before" in again.err) == (0, True)
    assert segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder).out.startswith("SCHEDULED,")


def test_what_has_ended_stays_so_but_by_force_with_a_reason(segmill, scanned):
    words = ("worklist", "set-status", STUDY, "S1")
    where = ("--yes", "--site", scanned.folder)
    assert segmill(*words, "COMPLETED", *where).code == 0
    said = segmill(*words, "SCHEDULED", *where)
    assert (said.code, "--force" in said.err) == (1, True)
    said = segmill(*words, "SCHEDULED", "--force", *where)
    assert (said.code, "--reason" in said.err) == (2, True)
    assert segmill(*words, "SCHEDULED", "--force", "--reason", "The wrong patient", *where).code == 0
    assert segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder).out.startswith("SCHEDULED,")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("1.2.9", "S1", "COMPLETED"), 1, "there is no such step"),
        ((STUDY, "S9", "COMPLETED"), 1, "there is no such step"),
        ((STUDY, "S1", "DONE"), 2, "DONE"),
        ((STUDY, "S1"), 2, "STATUS"),
        ((STUDY, "S1", "COMPLETED", "--name", "other"), 1, "there is no such step"),
    ],
)
def test_what_cannot_be_meant_is_said(segmill, scanned, words, code, told):
    said = segmill("worklist", "set-status", *words, "--yes", "--site", scanned.folder)
    assert (said.code, told in said.err) == (code, True), said.err


def test_with_nobody_to_ask_nothing_is_done(segmill, scanned):
    said = segmill("worklist", "set-status", STUDY, "S1", "COMPLETED", "--site", scanned.folder)
    assert (said.code, "say --yes" in said.err) == (2, True)
    assert segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder).out.startswith("SCHEDULED,")


def test_what_changed_while_somebody_was_asked_is_not_done(segmill, scanned, monkeypatch):
    def answer(question: str, *, yes: bool) -> None:
        scanned.send("orders", order(1, "XO", modality="MR", at="20260101130000"))

    monkeypatch.setattr(worklist_set_status, "confirm", answer)
    said = segmill("worklist", "set-status", STUDY, "S1", "COMPLETED", "--site", scanned.folder)
    assert (said.code, "nothing was done" in said.err) == (75, True)
    assert segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder).out.startswith("SCHEDULED,")


def test_without_an_engine_there_is_nobody_to_do_it(segmill, scanned):
    scanned.stop()
    said = segmill("worklist", "set-status", STUDY, "S1", "COMPLETED", "--yes", "--site", scanned.folder)
    assert (said.code, "no engine is running" in said.err) == (69, True)
