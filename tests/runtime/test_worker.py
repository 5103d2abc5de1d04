"""A channel's own code can loop, die or eat memory: its message is held, its neighbours go on."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from pydantic import ConfigDict

from engine.config.base import ConfigModel
from engine.config.kinds import Kinds
from engine.config.site import LoadedChannel, load_version
from engine.pipeline.registry import load_steps
from engine.runtime import worker as worker_module
from engine.runtime.worker import Worker, WorkerFailed, WorkerLimits, _Child
from engine.testing import messages

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CHANNEL = """
listen: {mllp: {port: 2575}}
steps:
  - python: steps.py:work
routes: [{to: a}, {to: b}]
destinations: {a: {anywhere: {}}, b: {anywhere: {}}}
"""
CODE = """
import ctypes, fcntl, os, re, signal, subprocess, sys, threading, time


def spin():
    while True:
        pass


def work(message, context):
    match message.get("PID-5.1"):
        case "LOOP":
            while True:
                pass
        case "REDOS":
            re.fullmatch("(a+)+b", "a" * 64)
        case "STOP":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "SEGFAULT":
            ctypes.string_at(0)
        case "CLOSE":
            os.closerange(3, 64)
        case "FORK":
            os.fork()
        case "SPAWN":
            subprocess.run(["true"])
        case "THREAD":
            threading.Thread(target=spin, daemon=True).start()
        case "MANY":
            message.set("ZZZ-1", "~".join(["x" * 100] * 100_000))
        case "WAIT":
            time.sleep(3600)
        case "EXIT":
            os._exit(3)
        case "KILL":
            os.kill(os.getpid(), 9)
        case "QUIT":
            sys.exit()
        case "MEMORY":
            hoard = []
            while True:
                hoard.append("x" * 10_000_000)
        case "HUGE":
            "x" * 10**12
        case "PRINT":
            print("to stdout" * 100_000, flush=True)
            os.write(1, b"to the descriptor" * 1000)
            sys.stderr.write("to stderr" * 100_000)
        case "GARBAGE":
            for number in range(3, 20):
                try:
                    os.write(number, bytes(8) + b"[]" * 100)
                except OSError:
                    pass
        case "FLOOD":
            for number in range(3, 20):
                try:
                    fcntl.fcntl(number, 1031, 1_048_576)  # F_SETPIPE_SZ: all of it is there at once
                    os.write(number, (bytes([0, 0, 0, 1]) + bytes(4) + b"!") * 100_000)
                except OSError:
                    pass
        case "READ":
            message.set("ZZZ-1", sys.stdin.read() + "|end")
        case "RAISE":
            raise KeyError(message.get("PID-5.1"))
        case "TELL":
            message.set("ZZZ-1", context.now.isoformat())
            message.set("ZZZ-2", context.channel)
            message.set("ZZZ-3", ",".join(sorted(os.environ)))
            message.set("ZZZ-4", str(os.getpid()))
    message.set("MSH-6", "DONE")
"""


class AnyOptions(ConfigModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class AnySink:
    name = "anywhere"
    model = AnyOptions


def loaded(code: str = CODE, channel: str = CHANNEL, files: Mapping[str, str] | None = None) -> LoadedChannel:
    kinds = Kinds(steps=load_steps(), sinks={"anywhere": AnySink()})
    contents = {"channel.yaml": channel, "steps.py": code, **(files or {})}
    made, findings = load_version("test", {name: text.encode() for name, text in contents.items()}, kinds)
    assert made is not None, findings
    return made


@asynccontextmanager
async def worker(*, deadline_s: float = 10.0, timeout_s: float = 60.0, memory_bytes: int = 256 * 2**20, **about):
    output_bytes = about.pop("output_bytes", 64_000_000)
    made = Worker(loaded(**about), WorkerLimits(deadline_s, timeout_s, memory_bytes, output_bytes))
    try:
        yield made
    finally:
        await made.close()


def adt(name: str, control_id: str = "1") -> bytes:
    return messages.adt(family=name, control_id=control_id)


def ids(result) -> list[str]:
    return [body.split(b"|")[9].decode() for body in (d.body for d in result.deliveries) if body is not None]


async def test_a_message_comes_back_as_the_channel_made_it():
    async with worker() as made:
        result = await made.run(adt("TELL"), NOW)
    assert result.state == "processed"
    assert [d.destination for d in result.deliveries] == ["a", "b"]
    first, second = (d.body for d in result.deliveries)
    assert first is second and first is not None
    told = first.decode().split("\r")[-2].split("|")
    assert told[1] == "2026-01-02T03:04:05.678901+00:00"
    assert told[2] == "test"


async def test_own_code_sees_nothing_of_the_engines_environment():
    async with worker() as made:
        result = await made.run(adt("TELL"), NOW)
    told = result.deliveries[0].body.decode().split("\r")[-2].split("|")
    assert set(told[3].split(",")) <= {"PYTHONHASHSEED", "LC_CTYPE"}
    assert int(told[4]) != os.getpid()


async def test_order_is_kept_among_messages_that_wait():
    async with worker() as made:
        results = await asyncio.gather(*(made.run(adt("X", f"M{n}"), NOW) for n in range(50)))
        assert [ids(result)[0] for result in results] == [f"M{n}" for n in range(50)]
        assert made.starts == 1


@pytest.mark.parametrize(
    ("name", "limits", "how"),
    [
        ("LOOP", {"deadline_s": 0.3}, "took more than 0.3 s of processor time"),
        ("REDOS", {"deadline_s": 0.3}, "took more than 0.3 s of processor time"),
        ("WAIT", {"timeout_s": 0.4}, "took longer than 0.4 s"),
        ("STOP", {"timeout_s": 0.4}, "took longer than 0.4 s"),
    ],
)
async def test_a_message_that_takes_too_long_is_tried_twice_and_held(name, limits, how):
    async with worker(**limits) as made:
        result = await made.run(adt(name), NOW)
        assert result.state == "held"
        assert [(f.code, f.text) for f in result.findings] == [("E220", f"step 1 (steps.py:work) {how}, 2 times")]
        # Two for the message, one that makes itself ready for the next, and one to spare from now on.
        assert made.starts == 4
        # The short limit is for a message that waits for ever: a good one takes its time on a busy machine.
        made._deadline._wall_s = 3600.0
        assert (await made.run(adt("X"), NOW)).state == "processed"
        assert made.starts == 4


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("EXIT", " with exit code 3"),
        ("KILL", " by signal 9"),
        ("QUIT", " with exit code 0"),
        ("SEGFAULT", " by signal 11"),
        ("CLOSE", " with exit code 1"),
    ],
)
async def test_a_message_that_ends_its_process_is_tried_twice_and_held(name, how, monkeypatch):
    monkeypatch.setattr(worker_module, "LAST_WORDS_S", 30.0)  # as long as it takes on a busy machine
    async with worker() as made:
        result = await made.run(adt(name), NOW)
        assert [(f.code, f.text) for f in result.findings] == [
            ("E221", f"the channel's own code ended its process{how}, 2 times")
        ]
        assert (await made.run(adt("X"), NOW)).state == "processed"


@pytest.mark.parametrize("name", ["MEMORY", "HUGE"])
async def test_a_message_that_eats_memory_is_held_and_the_next_has_a_new_process(name):
    async with worker(memory_bytes=128 * 2**20) as made:
        result = await made.run(adt(name), NOW)
        assert result.state == "held"
        assert "MemoryError" in result.findings[0].text
        assert (await made.run(adt("X"), NOW)).state == "processed"
        assert made.starts == 2


async def test_what_own_code_prints_or_reads_does_not_disturb_the_protocol():
    async with worker() as made:
        assert (await made.run(adt("PRINT"), NOW)).state == "processed"
        result = await made.run(adt("READ"), NOW)
        assert b"ZZZ|\\F\\end" in (result.deliveries[0].body or b"")
        assert made.starts == 1


async def test_code_that_writes_into_the_protocol_loses_its_process_and_no_other_message():
    async with worker() as made:
        result = await made.run(adt("GARBAGE"), NOW)
        assert [(result.state, f.code) for f in result.findings] == [("held", "E221")]
        assert ids(await made.run(adt("X", "AFTER"), NOW))[0] == "AFTER"


async def test_an_exception_holds_the_message_and_keeps_the_process():
    async with worker() as made:
        result = await made.run(adt("RAISE"), NOW)
        assert [(f.code, f.step) for f in result.findings] == [("E201", "1 python steps.py:work, channel.yaml:4")]
        assert "KeyError at steps.py:" in result.findings[0].text
        assert (await made.run(adt("X"), NOW)).state == "processed"
        assert made.starts == 1


async def test_neighbours_of_a_bad_message_are_not_touched():
    async with worker() as made:
        names = ["X", "EXIT", "X", "RAISE", "X"]
        results = await asyncio.gather(*(made.run(adt(name, f"M{n}"), NOW) for n, name in enumerate(names)))
        assert [result.state for result in results] == ["processed", "held", "processed", "held", "processed"]


async def test_the_loop_goes_on_while_own_code_blocks():
    """Other work of the engine runs hundreds of times while one message takes its whole deadline."""
    async with worker(deadline_s=0.5) as made:
        await made.start()
        turns = 0
        running = True

        async def work() -> None:
            nonlocal turns
            while running:
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await made.run(adt("LOOP"), NOW)
            running = False
    assert turns > 200


async def test_a_large_message_goes_through():
    async with worker() as made:
        raw = adt("X") + b"OBX|1|ED|||" + b"Q" * 3_000_000 + b"\r"
        result = await made.run(raw, NOW)
        assert len(result.deliveries[0].body or b"") > 3_000_000


async def test_code_that_does_not_load_is_said_at_the_start():
    async with worker(code="def work(m, c): pass\n\n1 / 0\n") as made:
        with pytest.raises(WorkerFailed, match=r"steps.py does not load: ZeroDivisionError at steps.py:3"):
            await made.start()
        result = await made.run(adt("X"), NOW)
        assert [(result.state, f.code) for f in result.findings] == [("held", "E222")]


async def test_code_that_ends_the_process_while_it_loads_is_said_too():
    async with worker(code="import os\nos._exit(4)\n\n\ndef work(m, c): pass\n") as made:
        with pytest.raises(WorkerFailed, match="exit code 4"):
            await made.start()


async def test_a_machine_that_cannot_start_a_process_holds_the_message(monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    async with worker() as made:
        result = await made.run(adt("X"), NOW)
    assert [(f.code, f.text) for f in result.findings] == [
        ("E222", "the channel's process does not start: No such file or directory")
    ]


async def test_a_call_that_is_given_up_leaves_no_process_in_the_middle_of_it():
    async with worker(deadline_s=60) as made:
        await made.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await made.run(adt("LOOP"), NOW)
        result = await made.run(adt("X", "AFTER"), NOW)
        assert ids(result)[0] == "AFTER"


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
@pytest.mark.parametrize("name", ["FORK", "SPAWN"])
async def test_own_code_starts_no_process_whoever_runs_the_engine(name):
    async with worker() as made:
        result = await made.run(adt(name), NOW)
        assert [f.code for f in result.findings] == ["E201"]
        assert "PermissionError" in result.findings[0].text
        assert made.starts == 1


async def test_a_thread_that_is_left_behind_goes_with_its_process_and_no_other_message_is_blamed():
    async with worker(deadline_s=1) as made:
        assert (await made.run(adt("THREAD"), NOW)).state == "processed"
        first = made.starts
        for _ in range(3):
            assert (await made.run(adt("X"), NOW)).state == "processed"
        assert (first, made.starts) == (2, 2)


async def test_what_the_steps_make_of_a_message_has_a_bound():
    async with worker(output_bytes=1_000_000) as made:
        result = await made.run(adt("MANY"), NOW)
        assert [f.code for f in result.findings] == ["E223"]
        assert (result.state, result.deliveries) == ("held", [])
        assert made.starts == 1


async def test_a_process_that_died_while_nobody_asked_costs_no_message_a_try():
    async with worker() as made:
        assert (await made.run(adt("X"), NOW)).state == "processed"
        child = made._child.process
        os.kill(made.pid, signal.SIGKILL)
        await child.wait()
        assert (await made.run(adt("X"), NOW)).state == "processed"
        assert made.starts == 2


async def test_a_step_may_have_a_deadline_of_its_own_shorter_or_longer_than_the_messages():
    steps = "  - {python: 'steps.py:quick', deadline: 100ms}\n"
    steps += "  - {python: 'steps.py:work', deadline: 1s, isolate: process}\n"
    channel = CHANNEL.replace("  - python: steps.py:work\n", steps)
    code = "import time\ndef use(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n"
    code += "def quick(m, c):\n    if m.get('PID-5.1') == 'FIRST': use(60)\n"
    code += "def work(m, c): use(0.5)\n"
    async with worker(deadline_s=0.2, channel=channel, code=code) as made:
        assert (await made.run(adt("X"), NOW)).state == "processed"
        held = await made.run(adt("FIRST"), NOW)
        assert [f.text for f in held.findings] == [
            "step 1 (steps.py:quick) took more than 0.1 s of processor time, 2 times"
        ]


async def test_any_channel_can_have_a_process_and_there_nothing_but_its_deadline_bounds_the_work():
    steps = "isolate: {deadline: 30s}\nsteps:\n  - set: {MSH-6: X}\n"
    channel = CHANNEL.replace("steps:\n  - python: steps.py:work\n", steps)
    async with worker(channel=channel) as made:
        result = await made.run(adt("X"), NOW)
        assert (result.state, made.starts) == ("processed", 1)
        assert (result.deliveries[0].body or b"").split(b"|")[5] == b"X"


async def test_the_process_ends_with_the_engine_even_in_the_middle_of_own_code(tmp_path):
    """kill -9 of the engine mid transform (reliability.md P3): nothing goes on running behind it."""
    script = f"""
import asyncio, sys
sys.path[:] = {sys.path!r}
from tests.runtime.test_worker import NOW, adt, worker

async def main():
    async with worker() as made:
        await made.start()
        print(made.pid, flush=True)
        await made.run(adt("WAIT"), NOW)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    pid = int(await process.stdout.readline())
    assert _is_running(pid)
    process.kill()
    await process.communicate()
    for _ in range(1000):
        if not _is_running(pid):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the worker outlived its engine")


async def test_a_process_that_said_more_than_was_read_leaves_nothing_open(monkeypatch):
    """Its pipe is full, so that its end is never read: it must be closed all the same (reliability.md R12)."""
    made: list[_Child] = []
    spawn = Worker._spawn

    async def spawning(self: Worker) -> _Child:
        made.append(await spawn(self))
        return made[-1]

    monkeypatch.setattr(Worker, "_spawn", spawning)
    async with worker() as runner:
        result = await runner.run(adt("FLOOD"), NOW)
        assert [finding.code for finding in result.findings] == ["E221"]
    assert len(made) >= 2
    for child in made:
        assert child.process.returncode is not None
        assert child.transport.is_closing()
        pipe = child.transport.get_pipe_transport(1)
        assert pipe is not None and pipe.is_closing()


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


async def test_it_runs_the_version_that_was_loaded_whatever_the_folder_holds_now(make_site):
    site = make_site({"test": {"channel.yaml": CHANNEL, "steps.py": "def work(m, c): raise SystemExit\n"}})
    made = loaded()
    here = LoadedChannel(
        **{name: getattr(made, name) for name in LoadedChannel.__slots__} | {"folder": site / "channels" / "test"}
    )
    runner = Worker(here, WorkerLimits(deadline_s=10))
    try:
        assert (await runner.run(adt("X"), NOW)).state == "processed"
    finally:
        await runner.close()
