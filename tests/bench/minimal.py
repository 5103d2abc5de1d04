"""The least that a durable path can be, as a yardstick: what is left when all that an engine is for is taken away.

One asyncio process, no parser, no channel, no step, no checksum, no duplicate check, no limits, no time-outs, no
metrics: frames are cut at their end, everything that waits is committed in one SQLite transaction with its sync,
a fixed answer goes out, the same bytes go to a receiver, and its answer is recorded with the next commit. It loses
nothing that it acknowledged, and that is all it can do.

Run by `bench_path.py` as `python minimal.py PORT...`, the ports of its receivers; its own port on the first line.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
from pathlib import Path

VT, END = b"\x0b", b"\x1c\r"
MOST_UNRECORDED = 32
SETUP = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 10000;
CREATE TABLE message (seq INTEGER PRIMARY KEY, control_id TEXT, ack BLOB, body BLOB);
CREATE INDEX message_by_control_id ON message (control_id);
CREATE TABLE delivery (id INTEGER PRIMARY KEY, lane INTEGER, state INTEGER, body BLOB);
"""


class Bench:
    """Messages that wait for the commit, deliveries that were answered, and the one connection to the store."""

    def __init__(self, store: Path) -> None:
        self.db = sqlite3.connect(store, isolation_level=None, cached_statements=256)
        self.db.executescript(SETUP)
        self.loop = asyncio.get_running_loop()
        self.lanes: list[Out] = []
        self.waiting: list[tuple[In, bytes, bytes, int]] = []
        self.delivered: list[int] = []
        self.seq = 0
        self.asked = False

    def ask(self) -> None:
        if not self.asked:
            self.asked = True
            self.loop.call_soon(self.commit)

    def commit(self) -> None:
        self.asked = False
        waiting, self.waiting = self.waiting, []
        delivered, self.delivered = self.delivered, []
        first = self.seq + 1
        messages: list[object] = []
        deliveries: list[object] = []
        answers: list[bytes] = []
        for _, payload, control_id, lane in waiting:
            self.seq += 1
            answer = b"\x0bMSH|^~\\&|R|H|S|H|20260102030405||ACK^A01^ACK|R%b|P|2.5.1\rMSA|AA|%b\r\x1c\r" % (
                control_id,
                control_id,
            )
            answers.append(answer)
            messages += (self.seq, control_id, answer, payload)
            deliveries += (self.seq, lane, payload)
        run = self.db.execute
        run("BEGIN IMMEDIATE")
        if waiting:
            run("INSERT INTO message VALUES " + ",".join(["(?, ?, ?, ?)"] * len(waiting)), messages)
            run("INSERT INTO delivery VALUES " + ",".join(["(?, ?, 0, ?)"] * len(waiting)), deliveries)
        if delivered:
            run(f"UPDATE delivery SET state = 1 WHERE id IN ({','.join('?' * len(delivered))})", delivered)
        run("COMMIT")
        for id_, (source, payload, control_id, lane) in enumerate(waiting, first):
            source.transport.write(answers[id_ - first])
            self.lanes[lane].offer(id_, payload, control_id)


class In(asyncio.BufferedProtocol):
    def __init__(self, path: Bench) -> None:
        self.path = path
        self.view = memoryview(bytearray(65536))
        self.held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.held += self.view[:nbytes]
        while (end := self.held.find(END)) >= 0:
            payload, self.held = self.held[1:end], self.held[end + 2 :]
            fields = payload.split(b"|", 10)
            lane = int(fields[2][3:]) % len(self.path.lanes)  # MSH-3 is APP00, APP01 ...
            self.path.waiting.append((self, payload, fields[9], lane))
            self.path.ask()


class Out(asyncio.BufferedProtocol):
    def __init__(self, path: Bench) -> None:
        self.path = path
        self.view = memoryview(bytearray(65536))
        self.held = b""
        self.queue: list[tuple[int, bytes, bytes]] = []
        self.outstanding: tuple[int, bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def offer(self, id_: int, payload: bytes, control_id: bytes) -> None:
        if self.outstanding is None:
            self.outstanding = (id_, control_id)
            self.transport.write(VT + payload + END)
        else:
            self.queue.append((id_, payload, control_id))

    def buffer_updated(self, nbytes: int) -> None:
        self.held += self.view[:nbytes]
        if not self.held.endswith(END):
            return
        assert self.outstanding is not None and b"MSA|AA|" + self.outstanding[1] in self.held
        self.path.delivered.append(self.outstanding[0])
        self.held, self.outstanding = b"", None
        if len(self.path.delivered) >= MOST_UNRECORDED:
            self.path.ask()
        if self.queue:
            self.offer(*self.queue.pop(0))


async def main(ports: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Bench(Path(folder) / "minimal.db")
        for port in ports:
            _, lane = await path.loop.create_connection(lambda: Out(path), "127.0.0.1", port)
            path.lanes.append(lane)
        server = await path.loop.create_server(lambda: In(path), "127.0.0.1", 0)
        print(json.dumps([server.sockets[0].getsockname()[1]]), flush=True)
        await path.loop.run_in_executor(None, sys.stdin.read)
        server.close()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
