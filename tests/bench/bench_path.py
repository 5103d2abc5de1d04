"""Durable intake to MLLP delivery, against bare asyncio MLLP servers that parse and store nothing (DESIGN section 9).

The engine receives 1 kB ADT messages, validates them lightly, runs four transform steps, commits with fsync, answers,
delivers over MLLP to eight receivers and records each delivery. The rate is messages divided by the time from the first
byte sent to the last delivery acknowledged. Yardsticks, with the same senders in the same run: an asyncio server on
streams (what `asyncio.start_server` gives), and one on a plain `asyncio.Protocol`. A third yardstick is the least that
a durable path can be (`minimal.py`): commit with a sync, answer, deliver, record, and no engine around it. What the
engine takes longer than that is the price of all that it does. Two kinds of senders: `segmill send`, which is the load
generator that comes with the engine, and bare sockets on epoll, which cost next to nothing and so show the bare servers
at their best.

`python tests/bench/bench_path.py [--count N]` prints the rows; `make bench` prints all benches.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOAD = Path(__file__).with_name("load.py")
MINIMAL = Path(__file__).with_name("minimal.py")
LANES = 8

CHANNEL = """\
description: Bench feed
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
steps:
  - validate:
      required: [PID-3.1, PID-5.1, PV1-2]
      length: {{PID-5.1: 50}}
  - set:
      MSH-5: RIS
      PID-2.1: =PID-3[5 == "MR"].1
  - map: {{PID-8: tables/sex.csv, otherwise: hold}}
  - copy: {{PV1-50: PV1-19}}
  - delete: [PID-19, PD1]
routes:
{routes}
destinations:
{destinations}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def program(*words: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, **env} if env else None,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def first_line(running: subprocess.Popen[str]) -> list[int]:
    assert running.stdout is not None
    return list(json.loads(running.stdout.readline()))


def send(port: int, connections: int, count: int, tag: str, load: str = "senders") -> dict[str, float]:
    words = [load, "--port", str(port), "--connections", str(connections), "--count", str(count), "--tag", tag]
    done = subprocess.run(
        [sys.executable, str(LOAD), *words], capture_output=True, text=True, check=True, cwd=LOAD.parents[2]
    )
    return dict(json.loads(done.stdout))


def yardstick(role: str, connections: int, count: int, load: str) -> float:
    with program(str(LOAD), role) as server:
        port = first_line(server)[0]
        send(port, connections, 2000, "WARM", load)
        return send(port, connections, count, "YARD", load)["rate"]


def minimal(connections: int, count: int, load: str) -> float:
    """Messages a second, to the last delivery, through the least path that is durable."""
    warm = min(1000, count)
    with (
        program(str(LOAD), "receivers", "--connections", str(LANES), "--count", str(warm + count)) as sink,
        program(str(MINIMAL), *map(str, first_line(sink))) as path,
    ):
        port = first_line(path)[0]
        send(port, connections, warm, "WARM", load)
        result = send(port, connections, count, "MINI", load)
        assert sink.stdout is not None
        return count / (json.loads(sink.stdout.readline())["ended"] - result["began"])


def write_site(folder: Path, port: int, receivers: list[int], window: int, settings: str = "") -> None:
    channel = folder / "channels" / "bench"
    (channel / "tables").mkdir(parents=True)
    (channel / "tables" / "sex.csv").write_text("from,to\nF,F\nM,M\nO,U\n")
    routes = "\n".join(
        f"  - to: r{n}\n    when: MSH-3 in [{', '.join(json.dumps(f'APP{k:02d}') for k in range(n, 128, LANES))}]"
        for n in range(LANES)
    )
    destinations = "\n".join(
        f"  r{n}:\n    mllp: {{host: 127.0.0.1, port: {p}}}\n    window: {window}" for n, p in enumerate(receivers)
    )
    (channel / "channel.yaml").write_text(CHANNEL.format(port=port, routes=routes, destinations=destinations))
    (folder / "segmill.yaml").write_text(f"admin: off\n{settings}")


def processor_s(pid: int) -> float:
    """Seconds of the processor that a process has had; 0 where the system does not say."""
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def engine(
    connections: int,
    count: int,
    window: int,
    load: str,
    env: Mapping[str, str] | None = None,
    settings: str = "",
) -> dict[str, float]:
    """One run of the engine, with `env` added to its environment and `settings` to its site; its rate to the last
    delivery is `end_to_end`, and what it had of the processor since it was warm `processor_s`."""
    warm = min(1000, count)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEGMILL_BENCH_DIR")) as name:
        folder = Path(name)
        with program(str(LOAD), "receivers", "--connections", str(LANES), "--count", str(warm + count)) as sink:
            port = free_port()
            write_site(folder, port, first_line(sink), window, settings)
            with program("-m", "engine", "run", str(folder), env=env) as running:
                wait_for(port)
                send(port, connections, warm, "WARM", load)
                before = processor_s(running.pid)
                result = send(port, connections, count, "BNCH", load)
                assert sink.stdout is not None
                end = json.loads(sink.stdout.readline())
                assert end["count"] == warm + count
                assert not result["refused"]
                result["processor_s"] = processor_s(running.pid) - before
                result["end_to_end"] = count / (end["ended"] - result["began"])
                return result


def wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)  # noqa: TID251 - a bench script, not the engine
    raise SystemExit("the engine did not start")


LOADS = {"sender": "segmill send", "senders": "bare sockets"}


def rows(count: int = 12_000, repeats: int = 3, window: int = 32) -> list[tuple[str, float, str]]:
    """(what, ratio to the yardstick, in numbers)."""
    out: list[tuple[str, float, str]] = []
    for load, named in LOADS.items():
        for connections in (8, 32):
            streams, plain, least, runs = [], [], [], []
            for _ in range(repeats):  # interleaved, so that a busy moment of the machine falls on all alike
                streams.append(yardstick("streams", connections, count, load))
                plain.append(yardstick("bare", connections, count, load))
                least.append(minimal(connections, count, load))
                runs.append(engine(connections, count, window, load))
            rate = statistics.median(run["end_to_end"] for run in runs)
            p50, p99 = (statistics.median(run[key] for run in runs) for key in ("p50_ms", "p99_ms"))
            yards = {
                "bare asyncio streams server": streams,
                "bare asyncio protocol server": plain,
                "least durable path": least,
            }
            for name, rates in yards.items():
                yard = statistics.median(rates)
                what = f"durable path / {name}, {connections} senders ({named})"
                numbers = f"{rate:,.0f}/s in and delivered, {yard:,.0f}/s the yardstick"
                out.append((what, rate / yard, f"{numbers}; ACK p50 {p50:.2f} ms, p99 {p99:.2f} ms"))
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--window", type=int, default=32)
    args = parser.parse_args()
    for what, ratio, detail in rows(args.count, args.repeats, args.window):
        print(f"{ratio:8.3f}  {what}: {detail}")


if __name__ == "__main__":
    main()
