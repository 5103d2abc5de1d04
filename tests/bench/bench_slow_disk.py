"""The whole path on a disk whose sync takes 1 ms and 5 ms longer (DESIGN section 9; reliability.md 3.3, 3.4).

The yardstick is what a perfect group commit would give: every sender's message in every sync, and nothing but the sync
costs time. Its length is measured in the same run, on the same disk, through the same preloaded library.

`python tests/bench/bench_slow_disk.py` prints the rows; it needs a C compiler for the library.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_path import engine

SOURCE = Path(__file__).with_name("slow_sync.c")

TIME_A_SYNC = """
import json, os, sys, time
times = []
with open(os.path.join(sys.argv[1], "probe"), "wb", buffering=0) as file:
    for _ in range(60):
        file.seek(0)
        file.write(b"x" * 32768)
        began = time.perf_counter()
        os.fdatasync(file.fileno())
        times.append(time.perf_counter() - began)
print(json.dumps(sorted(times)[30]))
"""


def build(folder: Path) -> Path | None:
    """The library, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "slow_sync.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def sync_s(folder: Path, env: dict[str, str]) -> float:
    """How long one sync takes here, in seconds."""
    words = [sys.executable, "-c", TIME_A_SYNC, str(folder)]
    done = subprocess.run(words, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def rows(repeats: int = 2, window: int = 32) -> list[tuple[str, float, str]]:
    """(what, ratio to a perfect group commit, in numbers)."""
    out: list[tuple[str, float, str]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEGMILL_BENCH_DIR")) as name:
        library = build(Path(name))
        if library is None:
            return [("durable path on a slow disk: skipped, there is no C compiler", 0.0, "")]
        for extra_ms in (1, 5):
            env = {"LD_PRELOAD": str(library), "SYNC_US": str(extra_ms * 1000)}
            for connections in (1, 8, 32):
                count = connections * (400 if extra_ms == 1 else 120)
                one = sync_s(Path(name), env)
                runs = [engine(connections, count, window, "senders", env) for _ in range(repeats)]
                rate = statistics.median(run["rate"] for run in runs)
                through = statistics.median(run["end_to_end"] for run in runs)
                perfect = connections / one
                what = f"durable path, sync +{extra_ms} ms, {connections} senders / one sync for all of them"
                detail = (
                    f"{rate:,.0f}/s acknowledged, {through:,.0f}/s delivered, {perfect:,.0f}/s if only the sync "
                    f"of {one * 1e3:.2f} ms cost time; ACK p50 {runs[0]['p50_ms']:.1f} ms"
                )
                out.append((what, rate / perfect, detail))
    return out


def main() -> None:
    for what, ratio, detail in rows():
        print(f"{ratio:8.3f}  {what}: {detail}")


if __name__ == "__main__":
    main()
