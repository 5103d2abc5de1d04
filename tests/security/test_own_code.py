"""What a python step can reach: its message, and files to read; nothing else (reliability.md SEC9)."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from pydantic import ConfigDict

from engine.config.base import ConfigModel
from engine.config.kinds import Kinds
from engine.config.site import load_version
from engine.pipeline.registry import load_steps
from engine.pipeline.run import REFUSED as REFUSAL
from engine.runtime.worker import Worker, WorkerLimits
from engine.testing import messages

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CHANNEL = """
listen: {mllp: {port: 2575}}
steps:
  - python: steps.py:work
routes: [{to: a}]
destinations: {a: {anywhere: {}}}
"""
REFUSED = {
    "a connection": "socket.create_connection(('127.0.0.1', 9))",
    "a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a look-up of a name": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "the engine's control socket": "socket.socket(socket.AF_UNIX).connect('control.sock')",
    "a port": "socket.create_server(('127.0.0.1', 0))",
    "another program in its place": "os.execv('/bin/true', ['true'])",
    "a program beside it": "os.posix_spawn('/bin/true', ['true'], {})",
    "a copy of itself": "os.fork()",
    "a signal to the engine": "os.kill(os.getppid(), 0)",
    "a signal to a group": "os.killpg(os.getpgid(os.getppid()), 0)",
    "a new file": "open(FOLDER + '/new', 'x')",
    "a file written over": "open(FOLDER + '/there', 'w')",
    "a file added to": "open(FOLDER + '/there', 'a')",
    "a file read and written": "open(FOLDER + '/there', 'r+')",
    "a file without a name": "os.open(FOLDER, os.O_TMPFILE | os.O_WRONLY)",
    "a file moved": "os.rename(FOLDER + '/there', FOLDER + '/elsewhere')",
    "a file replaced": "os.replace(FOLDER + '/there', FOLDER + '/other')",
    "a file deleted": "os.unlink(FOLDER + '/there')",
    "a file cut off": "os.truncate(FOLDER + '/there', 0)",
    "rights changed": "os.chmod(FOLDER + '/there', 0o777)",
    "times changed": "os.utime(FOLDER + '/there', (1, 1))",
    "a link": "os.symlink('/etc', FOLDER + '/etc')",
    "a hard link": "os.link(FOLDER + '/there', FOLDER + '/twice')",
    "a folder": "os.mkdir(FOLDER + '/folder')",
    "a folder deleted": "os.rmdir(FOLDER + '/empty')",
    "a pipe with a name": "os.mkfifo(FOLDER + '/pipe')",
    "the root": "os.chroot(FOLDER)",
    "a mount": "call(b'mount', b'none', FOLDER.encode(), b'tmpfs', 0, None)",
    "a namespace": "call(b'unshare', 0x10000000)",
    "the engine's memory": "call(b'ptrace', 16, os.getppid(), None, None)",
    "the engine's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE)",
    "the engine's processors": "os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0))",
    "the engine's turns": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 0)",
    "a key typed": "fcntl.ioctl(0, 0x5412, b'x')",
    "the machine's clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
    "the machine's name": "socket.sethostname(socket.gethostname())",
    "memory that stays": "call(b'shmget', 0, 4096, 0o1600)",
    "a queue that stays": "call(b'mq_open', b'/segmill-test', os.O_CREAT | os.O_RDWR, 0o600, None)",
}
CODE = """
import ctypes, fcntl, os, resource, socket, time, urllib.request

FOLDER = {folder!r}

def call(name, *given):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name.decode())(*given) != 0:
        raise OSError(ctypes.get_errno(), "refused")

def work(message, context):
    match message.get("PID-5.1"):
{cases}
        case "READ":
            message.set("PID-5.1", open(FOLDER + "/there").read())
        case "URL":
            urllib.request.urlopen("http://127.0.0.1:9")
        case "MISSING":
            open(FOLDER + "/missing")
        case "OWN LIMITS":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.sched_setaffinity(0, os.sched_getaffinity(0))
        case _:
            raise LookupError("no such case")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")


class Anywhere(ConfigModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class AnySink:
    name = "anywhere"
    model = Anywhere


@pytest.fixture
async def worker(tmp_path):
    (tmp_path / "there").write_text("AS IT WAS")
    (tmp_path / "empty").mkdir()
    cases = "".join(f"        case {name!r}:\n            {code}\n" for name, code in REFUSED.items())
    code = CODE.format(folder=str(tmp_path), cases=cases)
    steps = load_steps()
    kinds = Kinds(steps=steps, sinks={"anywhere": AnySink()})
    files = {"channel.yaml": CHANNEL.encode(), "steps.py": code.encode()}
    loaded, findings = load_version("test", files, kinds)
    assert loaded is not None, findings
    made = Worker(loaded, WorkerLimits(10.0, 60.0, 256 * 2**20, 64_000_000))
    yield made
    await made.close()


async def test_a_step_reaches_nobody_starts_nothing_and_changes_no_file(worker, tmp_path):
    before = {path.name: path.stat() for path in tmp_path.iterdir()}
    for name in REFUSED:
        raw = messages.adt(family=name)
        result = await worker.run(raw, NOW)
        assert [finding.code for finding in result.findings] == ["E201"], name
        assert "PermissionError" in result.findings[0].text, f"{name}: {result.findings[0].text}"
        assert result.findings[0].text.endswith(REFUSAL)
    assert worker.starts == 1, "each was refused, and none ended the process"
    after = {path.name: path.stat() for path in tmp_path.iterdir()}
    assert {name: (s.st_ino, s.st_size, s.st_mode, s.st_mtime_ns) for name, s in after.items()} == {
        name: (s.st_ino, s.st_size, s.st_mode, s.st_mtime_ns) for name, s in before.items()
    }


async def test_the_rig_sees_what_a_step_may_do(worker):
    """A case that were refused for another reason would show nothing: reading is let through."""
    result = await worker.run(messages.adt(family="READ"), NOW)
    assert (result.state, result.findings) == ("processed", ())
    assert result.deliveries[0].body is not None and b"AS IT WAS" in result.deliveries[0].body


async def test_what_is_refused_is_said_also_where_a_library_calls_it_otherwise(worker):
    (finding,) = (await worker.run(messages.adt(family="URL"), NOW)).findings
    assert "URLError at steps.py:" in finding.text and finding.text.endswith(REFUSAL)
    (finding,) = (await worker.run(messages.adt(family="MISSING"), NOW)).findings
    assert "FileNotFoundError" in finding.text and REFUSAL not in finding.text


async def test_a_step_may_set_what_is_its_own(worker):
    assert (await worker.run(messages.adt(family="OWN LIMITS"), NOW)).state == "processed"


def test_threads_run_for_any_user_and_other_processes_for_none() -> None:
    """Root is not bound by RLIMIT_NPROC, so what it may is no proof for the user that the engine has."""
    code = """
import os, threading
from engine.runtime.confine import confine
if os.getuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
assert confine()
thread = threading.Thread(target=print, args=("ran",))
thread.start()
thread.join()
try:
    os.fork()
except PermissionError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["ran", "refused"], "")
