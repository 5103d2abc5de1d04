"""Try it: a text and a message in, each step out; what is saved as a case; and what cannot be reached by it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine.adapters.api.problems import Problem
from engine.adapters.console.bench_calls import MOST_OF_ONE, asked
from engine.adapters.console.samples import sample_bytes, sample_text
from engine.adapters.console.try_case import write_case
from engine.model.access import SITE
from tests.adapters.api.rig import CHANNEL, Running
from tests.adapters.console.people import Person, engine_of, person

SAMPLE = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|X1|P|2.5\nPID|1||4711^^^H^MR||Testperson^Tina\nPV1|1|I|WARD1\n"
HOSTILE = "<script>alert(1)</script>'\"{{7*7}}\u202e</textarea>"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with engine_of(tmp_path_factory.mktemp("try") / "site") as made:
        yield made


@pytest.fixture(scope="module")
def analyst(engine: Running) -> Person:
    return person(engine, "analyst", {SITE: "analyst"})


def fields(**more: str) -> dict[str, str]:
    return {"text": CHANNEL, "sample": SAMPLE, **more}


def test_the_page_opens_with_the_file_on_disk(analyst):
    shown = analyst.get("/try/adt")
    assert shown.status == 200 and shown.field("text").strip() == CHANNEL.strip()
    assert "There is no message yet" in shown.words
    assert "/try/adt" in analyst.get("/try").text


def test_each_step_is_shown_by_the_button_as_by_the_script(analyst):
    for headers in ({}, {"x-fragment": "parts"}):
        shown = analyst.post("/try/adt", fields(), headers)
        assert shown.status == 200
        assert "PV1-3 WARD1 W01" in shown.words or "PV1-3.1 WARD1 W01" in shown.words
        assert "tables/wards.csv line 2 for PV1-3.1" in shown.words
        assert "answer AA" in shown.words and "MSA|AA|X1" in shown.words
        assert "<html" in shown.text or headers
    assert "<html" not in shown.text


def test_mistakes_are_told_by_line_and_column(analyst):
    shown = analyst.post("/try/adt", fields(text=CHANNEL.replace("map:", "mapp:")), {"x-fragment": "parts"})
    assert 'data-line="5" data-column="5"' in shown.text and "did you mean 'map'?" in shown.words
    assert "The text has errors" in shown.words and 'data-edited="yes"' in shown.text


def test_what_is_typed_runs_nothing_in_the_page(analyst):
    sample = SAMPLE.replace("Testperson", HOSTILE)
    text = CHANNEL.replace("WARD", "W") + f"# {HOSTILE}\nunknown-{HOSTILE}: 1\n"
    for sent in (fields(sample=sample), fields(text=text), fields(name=HOSTILE)):
        shown = analyst.post("/try/adt", sent)
        assert shown.status == 200 and "<script>alert" not in shown.text and "49" not in shown.field("sample")


def test_who_is_no_analyst_tries_nothing(engine):
    operator = person(engine, "operator", {SITE: "operator"})
    for path in ("/try/adt", "/try/adt/message", "/try/adt/case", "/try/adt/save"):
        assert operator.post(path, fields()).status == 403, path
    of_results = person(engine, "results-analyst", {"results": "analyst"})
    assert of_results.post("/try/adt", fields()).status == 404
    assert of_results.post("/try/results", fields()).status == 200


async def test_one_person_does_not_take_the_places_of_all():
    ended = asyncio.Event()
    trying: Counter[str] = Counter()

    def by(name: str) -> Any:
        return SimpleNamespace(who=SimpleNamespace(name=name), api=SimpleNamespace(trying=trying))

    async def question() -> str:
        await ended.wait()
        return "tried"

    async with asyncio.TaskGroup() as tasks:
        names = ["anna"] * MOST_OF_ONE + ["ben"]
        under_way = [tasks.create_task(asked(by(name), question())) for name in names]
        while sum(trying.values()) < len(names):
            await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await asked(by("anna"), question())
        ended.set()
    assert (refused.value.code, refused.value.status) == ("E530", 503)
    assert [one.result() for one in under_way] == ["tried"] * len(names)
    assert await asked(by("anna"), question()) == "tried" and not trying


def test_a_stored_message_is_read_on_record_only(engine, analyst):
    seq = _stored(engine)
    before = len(engine.actions())
    shown = analyst.post("/try/results/message", fields(number=str(seq)))
    assert shown.status == 200 and "Testperson" in shown.field("sample") and shown.field("origin") == str(seq)
    row = engine.queries.audit(before, 10)[0]
    assert (row.action, row.ids, row.actor) == ("read", f"messages {seq}", "analyst from 127.0.0.1")
    of_results = person(engine, "reader", {"results": "analyst"})
    assert of_results.post("/try/results/message", fields(number=str(seq))).status == 404, "a message of adt"
    assert analyst.post("/try/adt/message", fields(number="999999")).status == 404
    assert analyst.post("/try/adt/message", fields()).status == 422


def _stored(engine: Running) -> int:
    """A message of adt."""
    import asyncio

    async def send() -> None:
        reader, writer = await asyncio.open_connection(*engine.engine.addresses["adt"])
        writer.write(b"\x0b" + SAMPLE.replace("\n", "\r").encode() + b"\x1c\r")
        await reader.readuntil(b"\x1c\r")
        writer.close()

    engine.do(send())
    return next(int(one.seq) for one in engine.queries.messages())


def test_a_case_is_shown_whole_then_written_and_on_record(engine, analyst):
    shown = analyst.post("/try/adt/case", fields(name="new-one", deidentify="on"))
    assert shown.status == 200 and "Testperson" not in shown.text and "out.out.hl7" in shown.words
    folder = engine.folder / "channels" / "adt" / "cases" / "new-one"
    assert not folder.exists()
    sent = {name: shown.field(name) for name in ("text", "sample", "name", "digest", "how")}
    tampered = sent | {"digest": "0" * 64}
    assert analyst.post("/try/adt/save", tampered).status == 409 and not folder.exists()
    done = analyst.post("/try/adt/save", sent | {"reason": "T-2"})
    assert (done.status, done.location) == (303, "/channels/adt?view=cases")
    assert {one.name for one in folder.iterdir()} == {"in.hl7", "ack.hl7", "out.out.hl7", "out.other.hl7"}
    assert b"Testperson" not in (folder / "in.hl7").read_bytes()
    row = engine.queries.audit(0, 100_000)[-1]
    assert (row.action, row.ids, row.reason) == ("case", "adt/cases/new-one", "T-2")
    assert row.scope == "a message de-identified"
    assert analyst.post("/channels/adt/cases", {"case": "new-one"}).status == 303
    assert "new-one good" in analyst.get("/channels/adt?view=cases").words
    assert analyst.post("/try/adt/save", sent).status == 409, "a folder that is there is never touched"
    assert analyst.get("/try/adt?case=new-one").status == 200


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", ".hidden", "x" * 65, "a b"])
def test_a_case_has_a_plain_name(analyst, name):
    assert analyst.post("/try/adt/case", fields(name=name)).status == 422


def test_a_case_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    from pathlib import Path

    folder = tmp_path / "channel" / "cases" / "one"
    (tmp_path / "channel").mkdir()

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_case(folder, {"in.hl7": "x"})
    assert list(folder.parent.iterdir()) == [] and list((tmp_path / "channel").iterdir()) == [folder.parent]


def test_a_large_message_is_for_the_command_line(analyst):
    shown = analyst.post("/try/adt", fields(sample=SAMPLE + "NTE|1||" + "x" * 300_000))
    assert shown.status == 413 and "segmill try" in shown.words


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("", b""),
        ("MSH|^~\\&|A\nPID|1", b"MSH|^~\\&|A\rPID|1\r"),
        ("\x0bMSH|^~\\&|A\nPID|1\n\x1c\n", b"MSH|^~\\&|A\rPID|1\r"),
        ("MSH|^~\\&|A|||||||||||||||8859/1\nPID|\u00fc", b"MSH|^~\\&|A|||||||||||||||8859/1\rPID|\xfc\r"),
        ("MSH|^~\\&|A|||||||||||||||8859/1\nPID|\u20ac", "MSH|^~\\&|A|||||||||||||||8859/1\rPID|\u20ac\r".encode()),
        ("PID|\u00fc", "PID|\u00fc".encode()),
    ],
)
def test_what_is_pasted_becomes_bytes_by_its_charset(text, raw):
    assert sample_bytes(text) == raw


def test_a_message_as_text_and_back_is_the_message():
    raw = b"MSH|^~\\&|A||||||ADT^A01|1|P|2.5||||||8859/1\rPID|1||\xfc\r"
    assert sample_bytes(sample_text(raw)) == raw
    assert sample_text(b"\xff\x00rubbish") == "\\xff\\x00rubbish"
