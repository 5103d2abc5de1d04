"""The steps of a stored message whose channel has Python of the site: apart from the engine, for who may read."""

import html
import os
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.adapters.api.versions import Versions
from engine.adapters.console import own_steps
from engine.adapters.console.flow import recompute
from engine.model.access import SITE
from engine.ports.bench import BenchBusy, Stepped
from engine.runtime.bench import BenchLimits, ProcessBench
from engine.testing.sites import make_site
from tests.adapters.api.rig import SETTINGS, Running
from tests.adapters.api.test_messages_and_orders import PATIENT, adt, send
from tests.adapters.console.people import Person, person

CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
steps:
  - set: {PV1-2: O, ZSE-1: "${SITE_TOKEN:-hush-hush}"}
  - python: steps.py:change
routes: [{to: out}]
destinations: {out: {file: {folder: out, name: "{MSH-10}.hl7"}}}
"""
STEPS = """
import os
def change(message, context):
    if message.get("MSH-10").startswith("LOOP") and not os.environ.get("PATH"):
        while message.get("PV1-2") == "O" and message.get("ZSE-1") == "stand-in":
            pass
    message.set("PV1-3.1", "WEST")
    message.set("PID-5.2", "of process " + str(os.getpid()))
"""
PLAIN = "listen: {mllp: {port: 0}}\naccept: ['*']\nisolate: process\nsteps:\n  - set: {PV1-2: O}\nroutes: [{to: out}]\n"
PLAIN += "destinations: {out: {file: {folder: plain}}}\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Messages 1 and 2 are of own code, the second one of such that loops on the bench; 3 of a process without it."""
    channels = {"own": {"channel.yaml": CHANNEL, "steps.py": STEPS}, "plain": {"channel.yaml": PLAIN}}
    started = Running(make_site(tmp_path_factory.mktemp("own") / "site", channels, SETTINGS))
    try:
        bench = started.engine.console._bench
        assert isinstance(bench, ProcessBench)
        bench._limits = BenchLimits(timeout_s=40.0)  # a busy machine is no failure
        send(started, "own", adt("A1"), adt("LOOP"))
        send(started, "plain", adt("P1"))
        started.settled()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def operator(engine: Running) -> Person:
    return person(engine, "operator", {SITE: "operator"})


def test_no_process_is_started_for_who_only_looks(engine, operator):
    bench = engine.engine.console._bench
    before = bench.starts
    for seen_by, offer in ((operator, True), (person(engine, "viewer", {SITE: "viewer"}), False)):
        shown = seen_by.get("/messages/1")
        assert shown.status == 200 and "This channel runs in a process of its own" in shown.words
        assert ("Show the values and steps" in shown.words) is offer and PATIENT not in shown.text
    assert bench.starts == before


def test_who_shows_the_values_sees_each_step_and_which_one_changed_what(engine, operator):
    delivered = sorted(one.name for one in (engine.folder / "out").iterdir())
    files = (engine.folder / "channels/own/steps.py").stat().st_mtime_ns
    shown = operator.post("/messages/1")
    assert shown.status == 200
    assert "PV1-3.1 WARD1 WEST" in shown.words or "PV1-3 WARD1 WEST" in shown.words
    assert "2 python steps.py:change" in shown.words and "1 set" in shown.words
    assert f"of process {os.getpid()}" not in shown.words, "the engine's own process"
    (delivery,) = engine.queries.deliveries(1, bodies=True)
    assert b"WEST" in delivery.body and b"hush-hush" in delivery.body
    steps = shown.text.split('<section id="steps"')[1].split("</section>")[0]
    assert "for <code>${SITE_TOKEN}</code> something else stood in" in steps and "hush-hush" not in steps
    table = shown.words.rsplit("What it carries otherwise than what came in", 1)[1]
    assert "2 python steps.py:change" in table
    assert sorted(one.name for one in (engine.folder / "out").iterdir()) == delivered
    assert (engine.folder / "channels/own/steps.py").stat().st_mtime_ns == files
    assert len(list(engine.queries.deliveries(1))) == 1


def test_a_channel_with_a_process_and_no_python_is_told_as_well(operator):
    shown = operator.post("/messages/3")
    assert shown.status == 200 and "1 set" in shown.words and "stood in" not in shown.words


def test_code_that_does_not_end_leaves_the_rest_of_the_page(operator):
    shown = operator.post("/messages/2")
    assert shown.status == 200
    # By processor time, or by the clock where the machine has none left for it.
    assert re.search(
        r"The steps cannot be told here: it took (more than 2 s of processor time|longer than 40 s)", shown.words
    )
    assert "Journey" in shown.words and PATIENT in shown.words


@pytest.mark.parametrize("seq", [1, 3])
def test_a_plan_says_that_it_does_not_run_such_a_channel_and_where_its_steps_are(engine, operator, seq):
    bench = engine.engine.console._bench
    before = bench.starts
    shown = operator.get(f"/messages/plan?action=reprocess&seq={seq}")
    assert shown.status == 200 and "cannot be run" not in shown.words
    assert "in that channel's own process; a plan does not run it" in html.unescape(shown.words)
    assert "What its steps made of it before is on its page" in shown.words
    assert bench.starts == before


def test_where_the_bench_has_no_place_the_page_says_so(engine, operator, monkeypatch):
    async def busy(*_: object) -> Stepped:
        raise BenchBusy

    monkeypatch.setattr(engine.engine.console._bench, "stepped", busy)
    shown = operator.post("/messages/1")
    assert shown.status == 200 and "many try something at this moment (E530)" in shown.words


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"raw": None}, "its bytes are no longer kept"),
        ({"raw": b"MSH|^~\\&|" + b"x" * 300_000}, "it is longer than 256 kB"),
        ({"state": "rejected"}, "it never came as far as the channel's steps"),
        ({"version": 999_999}, "version 999999 of the channel is not recorded"),
    ],
)
def test_what_cannot_be_run_again_takes_no_process(engine, changed, said):
    stored = replace(engine.queries.message(1), **changed)
    assert own_steps._job(engine.queries, Versions(), stored) is None
    assert said in recompute(engine.queries, Versions(), stored, show_values=True).flow.why_not


def test_files_that_do_not_load_any_more_are_named_by_their_code(engine):
    stored = engine.queries.message(1)
    problem = {"code": "E135", "file": "x", "line": 1, "column": 1, "length": 1, "message": "m", "hint": ""}
    told = Stepped.model_validate({"problems": [problem]})
    flow = recompute(engine.queries, Versions(), stored, show_values=True, told=told).flow
    assert flow.why_not == "the version's files cannot be run again (E135)" and not flow.steps


def test_another_end_than_the_stored_one_is_said(engine):
    stored = engine.queries.message(1)
    flow = recompute(engine.queries, Versions(), stored, show_values=True, told=Stepped(state="held")).flow
    assert flow.differs == "held"
