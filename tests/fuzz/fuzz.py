"""Drives the targets by coverage with atheris: `python -m tests.fuzz.fuzz --seconds 600`.

Each target has a process and a share of the time; those of a short run are forks, as imports take longer than it does.
What it found worth keeping stays in `.fuzz/corpus` for the next run; what broke is printed, and kept in
`.fuzz/crashes`. A file of that goes to `tests/fuzz/regressions/<target>/` together with the repair, where the ordinary
tests run it for ever.

An input that takes more than a tenth of a second of the processor counts as broken; being watched by the fuzzer costs
four times as much.
"""

import argparse
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).parents[2]
WORK = REPOSITORY / ".fuzz"
REGRESSIONS = Path(__file__).parent / "regressions"
SHORT_RUN = {
    "framing": 8_000,
    "message": 5_000,
    "validation": 3_000,
    "conversion": 1_500,
    "ack": 12_000,
    "path": 25_000,
    "expression": 25_000,
    "config": 700,
    "intake": 7_000,
}
"""Inputs of each target in a short run: about a minute together. With a seed they are the same ones each time, so
that a check of one commit does not find by luck what another check of it did not; the long run looks further."""
MOST_SECONDS = 0.4
MOST_MEMORY_MB = 1024
STARTING_S = 60
"""Imports under instrumentation, and the seeds."""
HANGS_S, SHORT_HANGS_S = 120, 600
"""One input, and a whole search, of a short run, which may have to wait for a core. What only is slow is found by the
processor's clock."""


class SlowInput(AssertionError):
    """An input took longer than any of its size may."""


def guarded(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target with a bound on its time, by the processor's clock, so that a busy machine proves nothing."""

    def once(data: bytes) -> None:
        begun = time.process_time()
        run(data)
        if time.process_time() - begun > MOST_SECONDS:
            fastest = min(_seconds(run, data) for _ in range(3))
            if fastest > MOST_SECONDS:
                raise SlowInput(f"{len(data)} bytes took {fastest:.3f} s")

    return once


def _seconds(run: Callable[[bytes], None], data: bytes) -> float:
    begun = time.process_time()
    run(data)
    return time.process_time() - begun


def search(name: str, arguments: Sequence[str]) -> NoReturn:
    """Fuzz one target in this process."""
    instrumented()
    fuzz(name, arguments)


def instrumented() -> None:
    """Import the targets so that the fuzzer sees what they do. Takes longer than a short search."""
    import atheris

    with atheris.instrument_imports(include=["engine"], enable_loader_override=False):
        import tests.fuzz.targets  # noqa: F401


def fuzz(name: str, arguments: Sequence[str]) -> NoReturn:
    import atheris

    from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], guarded(TARGETS[name].run))
    atheris.Fuzz()
    raise AssertionError("the fuzzer ends the process")


@dataclass(frozen=True)
class Search:
    """One target's, made ready: what the fuzzer is told, and where it writes."""

    name: str
    arguments: list[str]
    log: Path
    crashes: Path
    crashed_before: frozenset[Path]
    most_s: float
    """A search that takes longer hangs."""

    def ended(self, code: int) -> bool:
        """Tell what came of it; whether nothing broke."""
        text = self.log.read_text(errors="replace")
        done = re.search(r"stat::number_of_executed_units: (\d+)", text)
        rate = re.search(r"stat::average_exec_per_sec: +(\d+)", text)
        memory = re.search(r"stat::peak_rss_mb: +(\d+)", text)
        is_clean = code == 0 and done is not None
        if is_clean:
            assert done is not None
            figures = f"{int(done[1]):>10,} inputs, {rate[1] if rate else '?':>6}/s, {memory[1] if memory else '?'} MB"
            print(f"{self.name:<12} {figures}, clean", flush=True)
            return True
        print(f"{self.name:<12} BROKE (exit code {code})\n{_tail(text)}", flush=True)
        for path in sorted(set(self.crashes.iterdir()) - self.crashed_before):
            found = path.read_bytes()
            again = f"python -m tests.fuzz.fuzz --one {self.name} {path}"
            print(f"\n{path} ({len(found)} bytes):\n{found[:1000]!r}\nagain: {again}")
        return False


def prepared(name: str, seconds: int, seed: int, *, short: bool = False) -> Search:
    from tests.fuzz.targets import MOST_BYTES, TARGETS

    target = TARGETS[name]
    seeds, corpus, crashes = (WORK / kind / name for kind in ("seeds", "corpus", "crashes"))
    if short:
        corpus = WORK / "short" / name  # what longer runs kept would lead it elsewhere
        shutil.rmtree(corpus, ignore_errors=True)
    for folder in (seeds, corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (seeds / hashlib.sha1(data).hexdigest()).write_bytes(data)
    words = WORK / f"{name}.dict"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words))
    folders = [str(folder) for folder in (corpus, seeds, REGRESSIONS / name) if folder.is_dir()]
    arguments = [
        f"-runs={SHORT_RUN[name]}" if short else f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={MOST_BYTES}",
        f"-artifact_prefix={crashes}/",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-timeout={HANGS_S if short else 20}",
        "-print_final_stats=1",
        "-reload=0",
        f"-dict={words}",
        *folders,
    ]
    most_s = SHORT_HANGS_S if short else seconds + STARTING_S
    return Search(name, arguments, WORK / f"{name}.log", crashes, frozenset(crashes.iterdir()), most_s)


def run_alone(one: Search, seed: int) -> bool:
    """In an interpreter of its own; whether nothing broke."""
    with one.log.open("w") as out:
        try:
            code = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.fuzz", "--one", one.name, "--", *one.arguments],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=one.most_s,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
            out.write("\nit did not end in time\n")
    return one.ended(code)


def run_forked(searches: Iterable[Search], at_once: int) -> bool:
    """Each in a fork of this process, which has imported the targets for all; whether nothing broke."""
    waiting, is_clean = deque(searches), True
    running: dict[int, tuple[Search, int, float]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            one = waiting.popleft()
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                _forked(one)
            running[pid] = one, os.pidfd_open(pid), time.monotonic() + one.most_s
        until = min(deadline for _, _, deadline in running.values())
        select.select([watched for _, watched, _ in running.values()], [], [], max(0.0, until - time.monotonic()))
        for pid, (one, watched, deadline) in list(running.items()):
            is_late = time.monotonic() >= deadline
            if is_late:
                signal.pidfd_send_signal(watched, signal.SIGKILL)
            ended, status = os.waitpid(pid, 0 if is_late else os.WNOHANG)
            if not ended:
                continue
            del running[pid]
            os.close(watched)
            code = os.waitstatus_to_exitcode(status)
            if is_late and code == -signal.SIGKILL:
                with one.log.open("a") as out:
                    out.write("\nit did not end in time\n")
            is_clean &= one.ended(code)
    return is_clean


def _forked(one: Search) -> NoReturn:
    try:
        log = os.open(one.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        fuzz(one.name, one.arguments)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(70)


def _quoted(word: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02X}" for b in word)


def _tail(text: str) -> str:
    """What the fuzzer said of the failure: from the exception on, without the bytes in hexadecimal."""
    at = text.find("=== Uncaught Python exception")
    return text[at:][:6000] if at >= 0 else text[-3000:]


def main() -> int:
    """Every target in turn, or `--one`: with a file, that input once, under a debugger if need be."""
    parser = argparse.ArgumentParser(description="Fuzz what reads other people's bytes.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--short", action="store_true", help="so many inputs of each target, in place of a time")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="of a short run (default: all cores)"
    )
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--one", metavar="TARGET")
    parser.add_argument("rest", nargs="*", metavar="FILE")
    given = parser.parse_args()
    if given.one and given.rest and not given.rest[0].startswith("-"):
        from tests.fuzz.targets import TARGETS

        for name in given.rest:
            TARGETS[given.one].run(Path(name).read_bytes())
        return 0
    if given.one and given.rest:
        search(given.one, given.rest)
    try:
        import atheris  # noqa: F401
    except ImportError as error:
        print(f"skip: no fuzzing here, as atheris cannot be imported ({error}); pip install -e '.[fuzz]'")
        return 0
    if given.short:
        if os.environ.get("PYTHONHASHSEED") != str(given.seed):
            again = {**os.environ, "PYTHONHASHSEED": str(given.seed)}
            os.execve(sys.executable, [sys.executable, "-m", "tests.fuzz.fuzz", *sys.argv[1:]], again)
        instrumented()
    from tests.fuzz.targets import TARGETS

    names = [given.one] if given.one else list(TARGETS)
    shares = sum(TARGETS[name].share for name in names)
    searches = [
        prepared(name, max(1, given.seconds * TARGETS[name].share // shares), given.seed, short=given.short)
        # The longest first, so that none is alone at the end.
        for name in sorted(names, key=lambda name: -TARGETS[name].share)
    ]
    if given.short:
        # Those with a number of inputs find the same side by side.
        return 0 if run_forked(searches, given.processes) else 1
    clean = [run_alone(one, given.seed) for one in searches]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
