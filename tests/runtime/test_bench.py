"""Texts that people are editing are tried in processes that can harm nothing, and that are replaced when they try."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from engine.ports.bench import MOST_BODY, BenchBusy, CaseTried, Source, Stepped, Tried
from engine.runtime import bench as bench_module
from engine.runtime.bench import BenchLimits, ProcessBench
from engine.runtime.bench_child import NICENESS
from engine.runtime.bench_told import MOST_SAID, MOST_TOLD, SHOWN
from engine.testing import messages
from tests.runtime.parts import until

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WARDS = b"from,to\n3W,W03\n"
TEXT = b"""listen: {mllp: {port: 2575}}
accept: ["*"]
steps:
  - map: {PV1-3.1: tables/wards.csv, otherwise: hold}
routes: [{to: out}]
destinations: {out: {file: {folder: out}}}
"""
OWN = b"""listen: {mllp: {port: 2575}}
accept: ["*"]
steps:
  - python: steps.py:change
routes: [{to: out}]
destinations: {out: {file: {folder: out}}}
"""


@pytest.fixture(scope="module")
def bench() -> Iterator[ProcessBench]:
    """One for all: a process is started with the first test."""
    # By the clock no limit: on a busy machine a process of low priority waits long for its second of processor time.
    made = ProcessBench(BenchLimits(cpu_s=1.0, timeout_s=3600.0, start_s=3600.0, memory_bytes=128 << 20))
    yield made
    made.close()


def source(channel: str = "adt", **files: bytes) -> Source:
    return Source(channel, {"tables/wards.csv": WARDS, **files}, {"${SITE}": "north"})


def tried(bench: ProcessBench, text: bytes = TEXT, sample: bytes | None = None, of: Source | None = None) -> Tried:
    raw = messages.adt(ward="3W") if sample is None else sample
    return asyncio.run(bench.tried(of or source(), text, raw, NOW))


def own(bench: ProcessBench, code: str, channel: str = "own", sample: bytes | None = None) -> Tried:
    return tried(bench, OWN, sample, source(channel, **{"steps.py": code.encode()}))


def test_each_step_is_told_with_what_it_changed_and_the_row_it_took(bench):
    message = tried(bench).message
    assert message is not None
    (step,) = message.steps
    assert [(c.path, c.before, c.after) for c in step.changes] == [("PV1-3.1", "3W", "W03")]
    assert [(one.table, one.key, one.row) for one in step.lookups] == [("tables/wards.csv", "3W", 2)]
    assert (message.state, message.answer, message.type) == ("processed", "answer AA", "ADT^A01")
    assert "MSA|AA|ADT00001" in message.acks[0]
    (output,) = message.outputs
    assert output.to == ["out"] and "|W03" in output.text and not output.is_same
    assert [(one.to, one.taken) for one in message.routes] == [("out", True)]


def test_what_is_wrong_in_the_text_is_told_at_its_place(bench):
    found = tried(bench, TEXT.replace(b"map:", b"mapp:"))
    assert found.message is None
    assert [(one.code, one.file, one.line, one.column) for one in found.problems] == [
        ("E102", "channels/adt/channel.yaml", 4, 5)
    ]


def test_one_process_serves_one_text_after_the_other(bench):
    tried(bench)
    before = bench.starts
    for ward in (b"W04", b"W05"):
        changed = Source("adt", {"tables/wards.csv": b"from,to\n3W," + ward + b"\n"}, {})
        message = tried(bench, of=changed).message
        assert message is not None and f"|{ward.decode()}" in message.outputs[0].text
    assert bench.starts == before


def test_a_secret_and_the_files_of_the_machine_stay_where_they_are(bench, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("TOPSECRET")
    monkeypatch.setenv("DB_PASSWORD", "TOPSECRET")
    monkeypatch.setenv("PLAIN", "TOPSECRET")
    text = f"""listen: {{mllp: {{port: 2575}}}}
accept: ["*"]
steps:
  - set:
      PID-5.1: ${{file:{tmp_path}/secret}}
      PID-5.2: "\\x24{{file:{tmp_path}/secret}}"
      PID-5.3: ${{DB_PASSWORD}}
      PID-5.4: ${{SITE}}
routes: [{{to: out}}]
destinations: {{out: {{file: {{folder: out}}}}}}
""".encode()
    found = tried(bench, text)
    assert "TOPSECRET" not in found.model_dump_json()
    assert set(found.stood_in) == {f"${{file:{tmp_path}/secret}}", "${DB_PASSWORD}"}
    assert found.message is not None and "stand-in^stand-in^stand-in^north" in found.message.outputs[0].text
    found = tried(bench, text.replace(b"${SITE}", b"${PLAIN}"))
    assert [(one.code, one.line) for one in found.problems] == [("E531", 8)]
    outside = TEXT.replace(b"tables/wards.csv", b"../../../../../etc/passwd")
    assert "root:" not in tried(bench, outside).model_dump_json()


def test_code_that_loops_loses_its_process_and_the_next_text_gets_another(bench):
    found = own(bench, "def change(message, context):\n    while True:\n        pass\n")
    assert found.ended == "it took more than 1 s of processor time"
    message = own(bench, "def change(message, context):\n    message.set('PID-5.1', 'X')\n").message
    assert message is not None and message.state == "processed"


def test_code_that_eats_memory_is_held_and_ends_with_its_process_at_most(bench):
    found = own(bench, "def change(message, context):\n    x = bytearray(1 << 30)\n")
    assert found.message is not None and found.message.state == "held"


@pytest.mark.parametrize(
    "act",
    [
        "__import__('socket').socket()",
        "__import__('socket').socketpair()",
        "__import__('os').fork()",
        "open({path!r}, 'wb', buffering=0).write(b'x')",
    ],
)
def test_code_has_no_network_no_children_and_no_files(bench, tmp_path, act):
    path = tmp_path / "written"
    code = f"def change(message, context):\n    {act.format(path=str(path))}\n    message.set('PID-5.1', 'DONE')\n"
    found = own(bench, code)
    assert found.message is not None and found.message.state == "held"
    assert not path.exists() or path.read_bytes() == b""


def test_code_that_ends_its_process_is_told_of(bench, monkeypatch):
    monkeypatch.setattr(bench_module, "LAST_WORDS_S", 30.0)  # as long as it takes on a busy machine
    code = "import os\ndef change(message, context):\n    os._exit(7)\n"
    assert own(bench, code).ended == "the process that tried it ended with exit code 7"


def test_what_code_writes_into_the_answer_is_not_believed(bench):
    code = (
        "import os\ndef change(message, context):\n"
        "    for fd in range(3, 20):\n"
        "        try:\n"
        "            os.write(fd, b'\\x00\\x00\\x00\\x02\\x00\\x00\\x00\\x02{}{}')\n"
        "        except OSError:\n"
        "            pass\n"
    )
    found = own(bench, code)
    assert found.message is None and "wrote into the answer" in found.ended


def test_code_of_one_channel_does_not_see_what_others_try(bench):
    code = (
        "import os\nSEEN = []\ndef change(message, context):\n"
        "    SEEN.append(message.get('PID-5.1'))\n    message.set('PID-5.2', f'{os.getpid()}')\n"
    )

    def pid(channel: str) -> str:
        message = own(bench, code, channel).message
        assert message is not None
        return next(c.after or "" for c in message.steps[0].changes if c.path == "PID-5.2")

    assert pid("one") == pid("one")
    assert pid("one") != pid("two")


def test_a_case_is_run_and_its_differences_are_told(bench):
    raw = messages.adt(ward="3W")
    made: CaseTried = asyncio.run(bench.case_of(source(), TEXT, raw, b""))
    assert set(made.files) == {"in.hl7", "ack.hl7", "out.out.hl7"} and made.is_good
    files = {name: text.encode() for name, text in made.files.items()}
    assert asyncio.run(bench.cased(source(), TEXT, files)).is_good
    files["out.out.hl7"] = files["out.out.hl7"].replace(b"W03", b"W99")
    found = asyncio.run(bench.cased(source(), TEXT, files))
    assert [(one.path, one.expected, one.actual) for one in found.differences] == [("PV1-3.1", '"W99"', '"W03"')]


def test_a_case_of_somebodys_message_has_no_name_of_his(bench):
    raw = messages.adt(ward="3W", family="Testperson")
    made = asyncio.run(bench.case_of(source(), TEXT, raw, b"k" * 32))
    assert made.files and "Testperson" not in "".join(made.files.values())


def test_too_many_at_a_time_are_turned_away(monkeypatch):
    monkeypatch.setattr(bench_module, "MOST_WAITING", 1)
    bench = ProcessBench(BenchLimits(start_s=120.0))

    async def two() -> list[object]:
        asked = (bench.tried(source(), TEXT, messages.adt(), NOW) for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    try:
        assert [type(one) for one in asyncio.run(two())] == [Tried, BenchBusy]
    finally:
        bench.close()


def test_a_stop_ends_what_is_being_tried():
    bench = ProcessBench(BenchLimits(cpu_s=3600.0, timeout_s=3600.0, start_s=120.0))
    code = b"def change(message, context):\n    while True:\n        pass\n"

    async def stopped() -> Tried:
        async def stop() -> None:
            await until(lambda: bool(bench._all))
            await asyncio.to_thread(bench.close)

        of = source("own", **{"steps.py": code})
        found, _ = await asyncio.gather(bench.tried(of, OWN, messages.adt(ward="3W"), NOW), stop())
        return found

    assert asyncio.run(stopped()).ended
    assert not bench._all


def test_the_processes_are_of_low_priority(bench):
    tried(bench)
    child = bench._idle[0]
    lowest = 19
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(lowest, own + NICENESS)


# -- a message that was taken before ---------------------------------------------------------------------------


def stepped(bench: ProcessBench, code: str, raw: bytes, channel: str = "own") -> Stepped:
    of = source(channel, **{"steps.py": code.encode()})
    return asyncio.run(bench.stepped(of, OWN, raw, NOW))


def test_the_steps_of_a_stored_message_are_told_at_the_time_it_came(bench):
    code = "def change(message, context):\n    message.set('PID-5.2', context.now.isoformat())\n"
    told = stepped(bench, code, messages.adt())
    assert (told.state, told.ended, told.left_out) == ("processed", "", 0)
    (step,) = told.steps
    assert [(c.path, c.after) for c in step.changes] == [("PID-5.2", NOW.isoformat())]
    assert [(one.to, one.taken) for one in told.routes] == [("out", True)]


def test_what_intake_asks_is_not_asked_of_a_stored_message_again(bench):
    text = OWN.replace(b'["*"]', b'["ORU^R01"]')
    of = source("own", **{"steps.py": b"def change(message, context):\n    pass\n"})
    assert asyncio.run(bench.stepped(of, text, messages.adt(), NOW)).state == "processed"


def test_a_stored_message_that_loops_or_cannot_be_read_says_why(bench):
    looping = stepped(bench, "def change(message, context):\n    while True:\n        pass\n", messages.adt())
    assert (looping.state, looping.ended) == ("", "it took more than 1 s of processor time")
    unreadable = stepped(bench, "def change(message, context):\n    pass\n", b"\x00\x01")
    assert unreadable.state == "" and unreadable.ended
    broken = stepped(bench, "import no_such_module\ndef change(message, context):\n    pass\n", messages.adt())
    assert broken.state == "" and [one.code for one in broken.problems] == ["E135"]


def test_what_one_version_of_the_code_leaves_behind_is_not_there_for_another(bench):
    first = "import builtins\nbuiltins.LEFT = 'L'\ndef change(message, context):\n    message.set('PID-5.2', 'X')\n"
    second = (
        "import builtins\ndef change(message, context):\n    message.set('PID-5.2', getattr(builtins, 'LEFT', 'N'))\n"
    )
    stepped(bench, first, messages.adt())
    (step,) = stepped(bench, second, messages.adt()).steps
    assert [(c.path, c.after) for c in step.changes] == [("PID-5.2", "N")]


# -- what is told has a bound: reading it holds the engine's interpreter ---------------------------------------


def test_so_many_things_are_told_and_how_it_ended_is_among_them(bench):
    code = (
        "RUN = []\ndef change(message, context):\n    RUN.append(0)\n"
        "    for n in range(1, 1001):\n        message.set(f'ZZY-{n}', str(len(RUN)))\n"
    )
    text = OWN.replace(b"  - python: steps.py:change\n", b"  - python: steps.py:change\n" * 20)
    found = tried(bench, text, None, source("own", **{"steps.py": code.encode()})).message
    assert found is not None and found.state == "processed"
    assert len(found.outputs) == len(found.routes) == 1 and len(found.steps[1].changes) == SHOWN
    changes = sum(len(one.changes) for one in found.steps)
    assert MOST_TOLD - 100 < changes <= MOST_TOLD
    assert changes + found.left_out == 1 + 19 * 1000, "the first step adds the segment"


def test_long_texts_are_cut_until_the_answer_is_short(bench):
    code = "def change(message, context):\n    for n in range(1, 302):\n        message.set(f'ZZY-{n}', 'x' * 3900)\n"
    found = own(bench, code, sample=messages.adt() + b"ZZY|1\r")
    assert found.message is not None and not found.ended
    assert len(found.model_dump_json().encode()) <= MOST_SAID
    (step,) = found.message.steps
    assert len(step.changes) == SHOWN and "(3900 characters)" in (step.changes[1].after or "")
    (output,) = found.message.outputs
    assert output.size_bytes > MOST_BODY and output.text.endswith("... (cut)")
