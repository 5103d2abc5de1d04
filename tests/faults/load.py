"""Senders that send again until they are told AA, a receiver that remembers, and an engine in a process of its own."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from engine.testing.peers import ReceivingPeer
from tests.ports import free_port

SCRIPT = Path(__file__).with_name("failing_engine.py")
END = b"\x1c\r"

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}, ack_timeout: 5m}}
    retry: {{first: 20ms, most: 50ms}}
"""


def message(control_id: str, size: int) -> bytes:
    head = f"MSH|^~\\&|{control_id.partition('N')[0]}|HOSP|X|Y|20260102030405||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
    return (head + "PID|1||1^^^HOSP^MR||Testperson^Anna\r" + f"NTE|1||{'x' * size}\r").encode()


class Load:
    """One site under load."""

    def __init__(self, folder: Path, *, senders: int = 4, size: int = 200, data: Path | None = None) -> None:
        self.folder = folder
        self.senders = senders
        self.size = size
        self.port = free_port()
        self.receiver = ReceivingPeer("AA")
        self.acknowledged: list[str] = []
        self.answers: Counter[str] = Counter()
        self.answered_at = 0.0
        self._data = data or folder / "data"
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> "Load":
        await self.receiver.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it runs, where it is strace
                await process.wait()
        await self.receiver.stop()

    def write_site(self, settings: str = "") -> None:
        channel = self.folder / "channels" / "load"
        channel.mkdir(parents=True)
        (channel / "channel.yaml").write_text(CHANNEL.format(port=self.port, receiver=self.receiver.address[1]))
        place = f"data: {self._data}\nstore: sqlite:{self._data}/segmill.db\n"
        (self.folder / "segmill.yaml").write_text(f"admin: off\n{place}{settings}")

    # -- the engine -----------------------------------------------------------------------------

    async def start(self, *faults: str, under: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        """An engine that listens. `under`: a command that runs it."""
        process = await asyncio.create_subprocess_exec(
            *under,
            sys.executable,
            "-m",
            f"tests.faults.{SCRIPT.stem}",
            str(self.folder),
            *faults,
            cwd=SCRIPT.parents[2],
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(process)
        async with asyncio.timeout(60):
            while process.returncode is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
        return process

    async def stop(self, process: asyncio.subprocess.Process) -> int:
        """SIGTERM, and the exit code."""
        # Run under strace, the engine is its child.
        known = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = known.read_text().split() if known.exists() else []
        os.kill(int(children[0]) if children else process.pid, signal.SIGTERM)
        return await asyncio.wait_for(process.wait(), 60)

    # -- the senders ----------------------------------------------------------------------------

    def send(self) -> None:
        """Begin to send, for as long as this is open or until `until_delivered`."""
        self._tasks = [asyncio.get_running_loop().create_task(self._send(n)) for n in range(self.senders)]

    async def _send(self, sender: int) -> None:
        number = 0
        while not self._over:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    while not self._over:
                        control_id = f"S{sender}N{number}"
                        writer.write(b"\x0b" + message(control_id, self.size) + END)
                        answer = await asyncio.wait_for(reader.readuntil(END), 10)
                        code, _, told = answer.split(b"MSA|")[1].split(b"\r")[0].decode().partition("|")
                        assert told.partition("|")[0] == control_id, "an answer to another message"
                        self.answers[code] += 1
                        self.answered_at = time.monotonic()
                        if code == "AA":
                            self.acknowledged.append(control_id)
                            number += 1
                        else:
                            await asyncio.sleep(0.005)
                finally:
                    writer.close()
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def until_delivered(self) -> None:
        """Send no more, and wait until everything that was acknowledged has arrived."""
        self._over = True
        await asyncio.gather(*self._tasks)
        await self.until(lambda: set(self.acknowledged) <= set(self.delivered()))

    # -- what came of it ------------------------------------------------------------------------

    def delivered(self) -> list[str]:
        return [payload.split(b"|", 10)[9].decode() for payload in self.receiver.received]

    def judge(self, *, most_repeats: int = 0) -> None:
        """Nothing acknowledged is lost, nothing out of order, and what came twice is marked."""
        delivered = self.delivered()
        assert not set(self.acknowledged) - set(delivered), "acknowledged and not delivered"
        first = list(dict.fromkeys(delivered))
        for sender in range(self.senders):
            mine = [int(i.partition("N")[2]) for i in first if i.startswith(f"S{sender}N")]
            assert mine == sorted(mine), "out of order"
        twice = [i for i, count in Counter(delivered).items() if count > 1]
        assert len(twice) <= most_repeats, f"repeated: {twice}"
        store = sqlite3.connect(f"file:{self._data}/segmill.db?mode=ro", uri=True)
        try:
            marks = dict(
                store.execute(
                    "SELECT m.control_id, max(d.maybe_sent) OR max(d.attempts) > 1 FROM message m"
                    " JOIN delivery d ON d.seq = m.seq GROUP BY m.control_id"
                ).fetchall()
            )
            again = store.execute("SELECT control_id FROM message WHERE state <> 4 GROUP BY 1 HAVING count(*) > 1")
            assert again.fetchall() == [], "stored twice"
        finally:
            store.close()
        assert all(marks[i] for i in twice), "a repeat without a mark"
