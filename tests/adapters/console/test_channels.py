"""Channels in the console: how they stand, their files with what is wrong in them, their cases, and a reload."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.adapters.console.channel_files import Looked, text_of, texts
from engine.config.finding import ConfigFinding
from engine.model.access import SITE
from tests.adapters.api.rig import CHANNEL, Running
from tests.adapters.console.people import Person, engine_of, person


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with engine_of(tmp_path_factory.mktemp("channels") / "site") as made:
        yield made


@pytest.fixture(scope="module")
def analyst(engine: Running) -> Person:
    return person(engine, "analyst", {SITE: "analyst"})


@pytest.fixture
def file(engine: Running) -> Iterator[Path]:
    """channel.yaml of adt, which is as it was afterwards."""
    path = engine.folder / "channels" / "adt" / "channel.yaml"
    before = path.read_text()
    yield path
    path.write_text(before)


def test_the_list_has_what_runs_and_what_is_on_disk_only(engine, analyst):
    new = engine.folder / "channels" / "zz-new"
    new.mkdir()
    (new / "channel.yaml").write_text(CHANNEL)
    try:
        words = analyst.get("/channels").words
        assert "adt listening" in words and "zz-new not taken up" in words
    finally:
        (new / "channel.yaml").unlink()
        new.rmdir()


def test_who_may_see_one_channel_sees_that_one(engine):
    viewer = person(engine, "adt-viewer", {"adt": "viewer"})
    shown = viewer.get("/channels")
    assert "/channels/adt" in shown.text and "results" not in shown.words
    assert viewer.get("/channels/results").status == 404
    page = viewer.get("/channels/adt")
    assert page.status == 200 and "tables/wards.csv" not in page.text, "the text of files is for those who may read"
    for path in ("/try", "/try/adt", "/reload", "/users", "/audit"):
        assert viewer.get(path).status in (403, 404), path
    assert viewer.post("/channels/adt/cases").status == 403


def test_findings_stand_at_their_lines(analyst, file):
    file.write_text(CHANNEL.replace("map:", "mapp:"))
    shown = analyst.get("/channels/adt")
    line = (
        CHANNEL.replace("map:", "mapp:").split("\n").index("  - mapp: {PV1-3.1: tables/wards.csv, otherwise: hold}") + 1
    )
    assert f'class="row marked" id="L{line}"' in shown.text
    assert "E102" in shown.words and "did you mean 'map'?" in shown.words
    assert "1 error a reload is refused" in shown.words


def test_a_difference_is_told_line_by_line_and_in_words(analyst, file):
    file.write_text(CHANNEL.replace("otherwise: hold", "otherwise: keep"))
    assert "changed" in analyst.get("/channels").words
    shown = analyst.get("/channels/adt?view=difference")
    assert "- - map: {PV1-3.1: tables/wards.csv, otherwise: hold}" in shown.words
    assert "+ - map: {PV1-3.1: tables/wards.csv, otherwise: keep}" in shown.words
    assert "In words Otherwise than what runs: steps" in shown.words


def test_the_other_files_and_the_ways_are_shown(analyst):
    shown = analyst.get("/channels/adt?view=files")
    assert "tables/wards.csv" in shown.words and 'id="tables/wards.csv-L2"' in shown.text and "WARD1,W01" in shown.words
    shown = analyst.get("/channels/adt?view=ways")
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in shown.text and "style=" not in shown.text


def test_cases_are_run_with_the_files_on_disk(engine, analyst):
    case = engine.folder / "channels" / "adt" / "cases" / "one"
    case.mkdir(parents=True)
    (case / "in.hl7").write_text("MSH|^~\\&|A|B|C|D|20260101||ADT^A01|X1|P|2.5\nPV1|1|I|WARD1\n")
    shown = analyst.post("/channels/adt/cases")
    assert (shown.status, shown.location) == (303, "/channels/adt?view=cases")
    words = analyst.get("/channels/adt?view=cases").words
    assert "one failed" in words, words[-1500:]
    (case / "ack.hl7").write_text("MSH|^~\\&|C|D|A|B|20260102030405+0000||ACK^A01^ACK|CASE1|P|2.5\nMSA|AA|X1\n")
    out = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|X1|P|2.5\nPV1|1|I|W01\n"
    for name in ("out", "other"):
        (case / f"out.{name}.hl7").write_text(out)
    assert analyst.post("/channels/adt/cases", {"case": "one"}).status == 303
    words = analyst.get("/channels/adt?view=cases").words
    assert "one good processed" in words
    assert "1 good" in analyst.get("/channels").words
    (case / "out.out.hl7").write_text(out.replace("W01", "W99"))
    words = analyst.get("/channels/adt?view=cases").words
    assert "have changed since" not in words, "a case is no file of the channel"
    assert analyst.post("/channels/adt/cases").status == 303
    words = analyst.get("/channels/adt?view=cases").words
    assert 'out.out.hl7:1 PV1-3 "W99" "W01"' in words
    assert analyst.post("/channels/adt/cases", {"case": "../../results"}).status == 404


def test_a_reload_is_planned_and_then_confirmed_with_a_reason(engine, analyst, file):
    assert "Nothing to take up" in analyst.get("/reload").words
    file.write_text(CHANNEL.replace("otherwise: hold", "otherwise: keep"))
    shown = analyst.get("/reload")
    assert "Would change: 1 channel" in shown.words and "adt changed steps" in shown.words
    plan = shown.field("plan")
    file.write_text(CHANNEL.replace("otherwise: hold", "otherwise: reject"))
    refused = analyst.post("/reload", {"plan": plan, "reason": "T-1"})
    assert refused.status == 409 and "changed since the plan was shown" in refused.words
    assert "reload" not in engine.actions()
    done = analyst.post("/reload", {"plan": refused.field("plan"), "reason": "T-1"})
    assert (done.status, done.location) == (303, "/reload")
    assert "reload" in engine.actions()
    row = engine.queries.audit(0, 100_000)[-1]
    assert (row.action, row.reason, row.actor) == ("reload", "T-1", "analyst from 127.0.0.1")
    assert "Changed: 1 channel" in analyst.get("/reload").words
    file.write_text(CHANNEL)
    again = analyst.get("/reload")
    assert analyst.post("/reload", {"plan": again.field("plan"), "reason": "back"}).status == 303


def test_a_bad_file_is_refused_whole_and_told_at_its_place(engine, analyst, file):
    before = engine.actions().count("reload")
    file.write_text(CHANNEL.replace("map:", "mapp:"))
    shown = analyst.get("/reload")
    assert "Refused" in shown.words and "/channels/adt#L" in shown.text and "E102" in shown.words
    assert 'name="plan"' not in shown.text
    assert engine.actions().count("reload") == before


def test_what_stands_in_a_file_runs_nothing_in_the_page(engine, analyst, file):
    hostile = "</code><script>alert(1)</script>{{7*7}}\u202e"
    file.write_text(CHANNEL.replace("map:", f"'{hostile}':") + f"# {hostile}\n")
    table = file.parent / "tables" / "hostile.csv"
    table.write_text(f"from,to\n{hostile},x\n")
    try:
        for path in ("/channels/adt", "/channels/adt?view=files", "/channels/adt?view=difference", "/reload"):
            shown = analyst.get(path)
            assert shown.status == 200 and "<script>alert" not in shown.text and "\u202e" not in shown.text, path
    finally:
        table.unlink()


def test_what_is_secret_in_a_file_is_not_shown(analyst, file):
    file.write_text(CHANNEL + "# password: TOPSECRET\n")
    for path in ("/channels/adt", "/channels/adt?view=difference", "/try/adt"):
        shown = analyst.get(path)
        assert shown.status == 200 and "TOPSECRET" not in shown.text, path


def test_a_caret_stands_under_what_is_meant():
    found = ConfigFinding("E102", "f", 2, 4, 3, "m")
    text = text_of("f", b"first\n\tab <mark>\n", [found, ConfigFinding("E100", "f", 0, 0, 0, "n")], "f")
    (marked,) = text.lines[1].findings
    assert (marked.lead, marked.caret) == ("\t  ", "^^^")
    assert [one.code for one in text.rest] == ["E100"]


@pytest.mark.parametrize(
    "written",
    [
        "password: >-\n    hunter2\n  user: anna",
        "password:\n    hunter2\n  user: anna",
        "- password: |\n\n      hunter2\n  user: anna",
        "url: http://me:hunter2@host/x\n  user: anna",
        "password: 'some\n    hunter2'\n  user: anna",
    ],
)
def test_a_password_on_further_lines_or_in_an_address_is_not_shown(written):
    content = f"email:\n  {written}\n".encode()
    (shown,) = texts(Looked("adt", Path(), None, None, {"channel.yaml": content}, ()))
    told = "\n".join(line.text for line in shown.lines)
    edited = Looked("adt", Path(), None, None, {"channel.yaml": content}, ()).text
    assert "hunter2" not in told + edited and "user: anna" in told and "user: anna" in edited
    assert edited.count("\n") == content.count(b"\n"), "findings stand at the same lines"
