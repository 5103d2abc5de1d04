"""What a message of 20 MB costs the other senders: their p99 without it, and while it comes again and again.

DESIGN section 9: "other senders' p99 unharmed". One engine, 8 senders of 1 kB ADT to one receiver, each waiting for its
answers; then the same with one more sender, who sends a document of 20 MB to MLLP and to a file, ten times.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from engine.testing.peers import ReceivingPeer  # noqa: E402
from engine.testing.sites import make_site  # noqa: E402
from tests.e2e.test_large_message import CHANNEL, EDITS, document, send  # noqa: E402
from tests.ports import free_port  # noqa: E402

LOAD = Path(__file__).with_name("load.py")
SENDERS, MESSAGES, TIMES = 8, 4000, 10
SMALL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
    window: 64
"""


async def load(port: int, tag: str) -> dict[str, float]:
    words = ["senders", "--port", str(port), "--connections", str(SENDERS), "--count", str(MESSAGES), "--tag", tag]
    done = await asyncio.create_subprocess_exec(sys.executable, str(LOAD), *words, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    return dict(json.loads(out))


async def documents(port: int) -> list[float]:
    took = []
    for n in range(TIMES):
        payload = document(f"DOC{n}")
        began = time.perf_counter()
        assert b"MSA|AA|" in await send(port, payload)
        took.append(time.perf_counter() - began)
    return took


async def main() -> None:
    small_port, large_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with ReceivingPeer("AA") as small, ReceivingPeer("AA") as large:
            large.received.clear()
            big = CHANNEL.format(port=large_port, receiver=large.address[1], folder=folder / "out", steps=EDITS)
            little = SMALL.format(port=small_port, receiver=small.address[1])
            site = make_site(folder / "site", {"big": big, "small": little}, "admin: off\n")
            engine = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "engine", "run", str(site), stderr=asyncio.subprocess.PIPE
            )
            assert engine.stderr is not None
            async for line in engine.stderr:
                if b"started" in line:
                    break
            await load(small_port, "WARM")
            alone = await load(small_port, "ALON")
            beside, took = await asyncio.gather(load(small_port, "BESI"), documents(large_port))
            engine.terminate()
            await engine.communicate()
    middle = sorted(took)[len(took) // 2]
    print(f"{SENDERS} senders of 1 kB, alone: p50 {alone['p50_ms']:.2f} ms, p99 {alone['p99_ms']:.2f} ms")
    print(f"beside {TIMES} documents of 20 MB: p50 {beside['p50_ms']:.2f} ms, p99 {beside['p99_ms']:.2f} ms")
    print(f"longest {alone['max_ms']:.0f} ms alone, {beside['max_ms']:.0f} ms beside them")
    print(f"p99 ratio {beside['p99_ms'] / alone['p99_ms']:.1f}; a document is answered in {middle:.2f} s")
    print("in one commit each (before ADR 30), two free cores: p99 3.2 ms alone, 349 ms beside; answered in 0.4 s")


if __name__ == "__main__":
    asyncio.run(main())
