"""What keys to search by cost the whole engine: its processor's time a message with the default keys and without any.

A million stored messages are to leave the rate of intake where it was, within 10 % (DESIGN section 9), and an engine at
its limit is at that of its processor. Both run in turns on the same path as in `bench_path`, and each pair gives one
ratio, so that what else the machine does falls on both. The time is the process's own: user and system, from when it is
warm to the last delivery, and what keys cost behind the traffic within.

`python tests/bench/bench_keys.py [--count N] [--repeats N] [--connections N]`.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.hl7.search_keys import DEFAULT_KEYS
from tests.bench.bench_path import engine

MOST_RATIO = 1.10
WITHOUT = "keys: {" + ", ".join(f"{name}: []" for name in DEFAULT_KEYS) + "}\n"


def processor_us(connections: int, count: int, settings: str) -> float:
    """Microseconds of the processor a message."""
    run = engine(connections, count, 32, "senders", settings=settings)
    return run["processor_s"] / count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    args = parser.parse_args()
    pairs = []
    for at in range(args.repeats):
        both = {s: processor_us(args.connections, args.count, s) for s in (("", WITHOUT) if at % 2 else (WITHOUT, ""))}
        pairs.append((both[""], both[WITHOUT]))
    ratio = statistics.median(with_keys / without for with_keys, without in pairs)
    with_keys, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    numbers = f"{with_keys:.1f} us of the processor a message with the default keys, {without:.1f} us without"
    slow = "   MORE THAN A TENTH" if ratio > MOST_RATIO else ""
    print(f"{ratio:8.3f}  keys to search by / none, {args.connections} senders (bare sockets): {numbers}{slow}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
