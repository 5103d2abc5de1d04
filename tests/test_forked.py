"""A fork of a process that has imported everything ends as an interpreter does, but for taking the imports apart."""

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.forked import Forked

ENDS = {
    "pass": 0,
    "raise SystemExit": 0,
    "raise SystemExit(3)": 3,
    "raise SystemExit(-1)": 255,
    "raise SystemExit('a reason')": 1,
    "raise ValueError('a fault')": 1,
    "raise KeyboardInterrupt": -2,
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": -15,
}


def python(forked: Forked, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*forked.python, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("code", ENDS)
def test_the_code_is_that_of_an_interpreter(forked: Forked, code: str):
    assert python(forked, code).returncode == ENDS[code]


def test_the_reason_and_the_traceback_are_told(forked: Forked):
    assert python(forked, "raise SystemExit('a reason')").stderr == "a reason\n"
    told = python(forked, "raise ValueError('a fault')").stderr
    assert told.startswith("Traceback")
    assert told.endswith("ValueError: a fault\n")


def test_what_was_written_is_out_before_the_end(forked: Forked):
    assert python(forked, "import sys; sys.stdout.write('out'); sys.stderr.write('err')").stdout == "out"


def test_threads_are_waited_for_and_what_was_registered_is_called(forked: Forked):
    code = (
        "import atexit, threading\n"
        "asked = threading.Event()\n"
        "atexit.register(print, 'at exit', flush=True)\n"
        "threading.Thread(target=lambda: (asked.wait(), print('thread', flush=True))).start()\n"
        "asked.set()\n"
    )
    assert python(forked, code).stdout == "thread\nat exit\n"


def test_what_the_child_left_behind_in_circles_complains(forked: Forked):
    """A coroutine that was never awaited, seen by the collector alone."""
    code = "async def work(): pass\ncircle = [work()]\ncircle.append(circle)\ndel circle\n"
    assert "never awaited" in python(forked, code).stderr


def test_an_output_that_nobody_reads_is_told_by_the_interpreter(forked: Forked):
    with subprocess.Popen(
        [*forked.python, "-c", "import sys; sys.stdin.read(); sys.stdout.write('x')"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        child.stdout.close()
        child.stdin.close()
        told = child.stderr.read()
    assert child.returncode != 0
    assert "BrokenPipeError" in told


def test_a_signal_that_comes_as_the_child_has_ended_changes_nothing_of_its_end(forked: Forked):
    with subprocess.Popen(
        [*forked.python, "-c", "print('begun', flush=True); input(); raise SystemExit(3)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None and client.stdout is not None and client.stderr is not None
        assert client.stdout.readline() == "begun\n"
        behind = Path("/proc", str(forked.pid_of(client.pid)))
        client.send_signal(signal.SIGSTOP)
        client.stdin.write("\n")
        client.stdin.close()
        while behind.exists():
            threading.Event().wait(0.01)
        client.send_signal(signal.SIGTERM)
        client.send_signal(signal.SIGCONT)
        assert client.stderr.read() == ""
    assert client.returncode == 3
