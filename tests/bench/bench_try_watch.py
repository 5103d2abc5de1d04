"""`segmill try --watch`: from a file that is saved to the screen that is drawn anew, on a real pseudo-terminal.

The shipped channel adt on one of its cases is watched; each round changes one text in its channel.yaml, and ends with
the new text on a whole screen. The watcher waits up to 0.1 s until it looks, and 0.025 s until the file stands still;
the rest is loading, compiling and running. Processor time is that of the watching process over the rounds, so that a
machine that is busy with something else can judge, too.
`python tests/bench/bench_try_watch.py` prints the row; `make bench` prints all benches.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.cli.init import make_site
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
MOST_S = 0.3
"""What a person takes for at once (issue 6)."""
MESSAGE = "channels/adt/cases/admit/in.hl7"


def processor_s(pid: int) -> float:
    """User and system time of a process up to now (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        make_site(site, ["adt"], environment="test", admin_port=9464)
        channel = site / "channels" / "adt" / "channel.yaml"
        command = [sys.executable, "-m", "engine", "try", "adt", MESSAGE, "--watch"]
        terminal = Terminal(command, site, {**os.environ, "PYTHONPATH": str(ROOT)}, columns=160)
        now = "RADIOLOGY"
        terminal.until(lambda screen: f'"{now}"' in screen and "Ctrl-C ends --" in screen)
        taken: list[float] = []
        began = processor_s(terminal.pid)
        for number in range(ROUNDS):
            then, now = now, f"RADIO{number}"
            text = channel.read_text().replace(f"MSH-6: {then}", f"MSH-6: {now}")
            saved = time.perf_counter()
            channel.write_text(text)
            terminal.until(lambda screen, now=now: f'"{now}"' in screen and "Ctrl-C ends --" in screen)
            taken.append(time.perf_counter() - saved)
            threading.Event().wait(0.05 * (number % 5))  # saves must not fall into step with the watcher's looks
        used = (processor_s(terminal.pid) - began) / ROUNDS
        terminal.close()
    print(f"{'save to redraw':<24} {'median':>9} {'worst':>9} {'at most':>9} {'processor time each':>21}")
    told = (statistics.median(taken), max(taken), MOST_S)
    print(
        f"{ROUNDS:>3} saves                "
        + "".join(f" {1e3 * one:>6.0f} ms" for one in told)
        + f" {1e3 * used:>18.0f} ms"
    )


if __name__ == "__main__":
    main()
