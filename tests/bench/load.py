"""Load for the benches: senders that wait for each answer, receivers that acknowledge, and the yardstick server.

Each runs as a process of its own (`python tests/bench/load.py senders ...`) and speaks raw sockets, so that
what is measured is the program under test and not this file. One line of JSON on stdout at the end.
"""

import argparse
import asyncio
import json
import select
import socket
import sys
import time
from collections.abc import Iterator

VT, END = b"\x0b", b"\x1c\r"

ADT = (
    "MSH|^~\\&|{app}|GENERAL|SEGMILL|HOSPITAL|20260102030405||ADT^A01^ADT_A01|@@@@@@@@@@@@|P|2.5.1|||AL|NE\r"
    "EVN|A01|20260102030405||||20260102030300\r"
    "PID|1||4711001^^^GENERAL^MR~999887777^^^SSA^SS||Testperson^Anna^Maria^^^^L||19800214|F||2106-3^White^HL70005|"
    "12 Example Street^^Sampletown^ST^12345^USA^H||^PRN^PH^^1^555^0100|^WPN^PH^^1^555^0199|eng|M|CHR|"
    "880001^^^GENERAL^AN||||N||||||||N\r"
    "PD1|||General Hospital^^10010|1234^Doctor^Otto^^^Dr^MD^^NPI\r"
    "NK1|1|Testperson^Bernd|SPO^Spouse^HL70063|12 Example Street^^Sampletown^ST^12345^USA|^PRN^PH^^1^555^0101\r"
    "PV1|1|I|W3^312^2^GENERAL^^BED^^3|E|||1234^Doctor^Otto^^^Dr^MD|5678^Referrer^Rita^^^Dr^MD||MED||||7|||1234^Doctor^Otto"
    "^^^Dr^MD|INP|V100234^^^GENERAL^VN|SELF||||||||||||||||||||GENERAL||A|||20260102030000\r"
    "AL1|1|DA|70618^Penicillin^RXNORM|SV|Rash|20150101\r"
    "DG1|1||I10^Essential hypertension^I10|||A\r"
    "IN1|1|PLAN1|4001|Example Insurance|PO Box 1^^Sampletown^ST|||G100||||20260101|||HMO|Testperson^Anna|SEL|19800214\r"
)


def message(app: str) -> tuple[bytes, bytes]:
    """The frame of one 1 kB ADT before and after its 12-character MSH-10."""
    before, after = (VT + ADT.format(app=app).encode() + END).split(b"@@@@@@@@@@@@")
    return before, after


def senders(args: argparse.Namespace) -> None:
    """`count` messages over `connections` sockets, one outstanding each; latencies in microseconds."""
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    frames: dict[int, tuple[bytes, bytes]] = {}
    sent_at: dict[int, float] = {}
    for n in range(args.connections):
        sock = socket.create_connection((args.host, args.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = sock.fileno()
        socks[fd] = sock
        frames[fd] = message(f"APP{n:02d}")
        poll.register(fd, select.EPOLLIN)
    clock = time.perf_counter
    latencies: list[float] = []
    refused = sent = 0
    tag = args.tag
    started = clock()
    began = time.monotonic()
    for fd, sock in socks.items():
        sent_at[fd] = clock()
        before, after = frames[fd]
        sock.sendall(b"%b%b%08d%b" % (before, tag, sent, after))
        sent += 1
    answered = 0
    while answered < sent:
        for fd, _ in poll.poll(10):
            sock = socks[fd]
            data = sock.recv(65536)
            while data and not data.endswith(END):
                data += sock.recv(65536)
            if not data:
                raise SystemExit("the server closed a connection")
            now = clock()
            latencies.append(now - sent_at[fd])
            answered += 1
            if b"MSA|AA|" not in data and b"MSA|CA|" not in data:
                refused += 1
            if sent < args.count:
                sent_at[fd] = now
                before, after = frames[fd]
                sock.sendall(b"%b%b%08d%b" % (before, tag, sent, after))
                sent += 1
    took = clock() - started
    latencies.sort()
    print(
        json.dumps(
            {
                "count": answered,
                "began": began,
                "seconds": took,
                "rate": answered / took,
                "refused": refused,
                "p50_ms": latencies[len(latencies) // 2] * 1e3,
                "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
                "p999_ms": latencies[int(len(latencies) * 0.999)] * 1e3,
                "max_ms": latencies[-1] * 1e3,
            }
        ),
        flush=True,
    )


def schedule(args: argparse.Namespace) -> None:
    """`count` messages, `rate` of them a second on a fixed schedule, in turn over `connections` sockets.

    Latency counts from the moment a message was to be sent, whether its connection was free then or not: who waits for
    the answer before is late as well, so that one stall shows on all that came meanwhile (no coordinated omission).
    `late_p99_ms`: how late this program itself was, where the connection was free.
    """
    clock = time.perf_counter
    socks: list[socket.socket] = []
    frames: list[tuple[bytes, bytes]] = []
    for n in range(args.connections):
        sock = socket.create_connection((args.host, args.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks.append(sock)
        frames.append(message(f"APP{n:02d}"))
    width, tag, count, gap = args.connections, args.tag, args.count, 1 / args.rate
    following = list(range(width))
    """Of each connection, the number of its next message."""
    due_of: list[float | None] = [None] * width
    latencies: list[float] = []
    late: list[float] = []
    refused = 0
    began = time.monotonic()
    first = clock() + 0.05
    free_since = [first] * width
    while len(latencies) < count:
        now = clock()
        wait_s = 10.0
        for at in range(width):
            n = following[at]
            if due_of[at] is not None or n >= count:
                continue
            due = first + n * gap
            if due <= now:
                before, after = frames[at]
                socks[at].sendall(b"%b%b%08d%b" % (before, tag, n, after))
                due_of[at] = due
                following[at] = n + width
                late.append(now - max(due, free_since[at]))
            else:
                wait_s = min(wait_s, due - now)
        # Not epoll, whose time-out is in whole milliseconds.
        for sock in select.select([s for s, due in zip(socks, due_of, strict=True) if due is not None], (), (), wait_s)[
            0
        ]:
            data = sock.recv(65536)
            while data and not data.endswith(END):
                data += sock.recv(65536)
            if not data:
                raise SystemExit("the server closed a connection")
            at = socks.index(sock)
            due_then = due_of[at]
            assert due_then is not None
            free_since[at] = clock()
            latencies.append(free_since[at] - due_then)
            due_of[at] = None
            if b"MSA|AA|" not in data and b"MSA|CA|" not in data:
                refused += 1
    took = clock() - first
    latencies.sort()
    late.sort()
    print(
        json.dumps(
            {
                "count": count,
                "began": began,
                "seconds": took,
                "rate": count / took,
                "refused": refused,
                "p50_ms": latencies[count // 2] * 1e3,
                "p99_ms": latencies[int(count * 0.99)] * 1e3,
                "p999_ms": latencies[int(count * 0.999)] * 1e3,
                "max_ms": latencies[-1] * 1e3,
                "late_p99_ms": late[int(len(late) * 0.99)] * 1e3,
            }
        ),
        flush=True,
    )


def sender(args: argparse.Namespace) -> None:
    """As `senders`, by the engine's own load generator, `segmill send`: it checks every answer against its message."""
    from engine.adapters.mllp_connection import Target
    from engine.adapters.sender import Sender

    parts = [message(f"APP{n:02d}") for n in range(args.connections)]
    tag = args.tag

    def messages() -> Iterator[bytes]:
        for n in range(args.count):
            before, after = parts[n % len(parts)]
            yield b"%b%b%08d%b" % (before[1:], tag, n, after[: -len(END)])

    async def run() -> tuple[Sender, float]:
        began = time.monotonic()
        working = Sender(Target(args.host, args.port), messages(), connections=args.connections)
        await working.run()
        return working, began

    working, began = asyncio.run(run())
    report = working.report
    print(
        json.dumps(
            {
                "count": report.answered,
                "began": began,
                "seconds": report.elapsed_s,
                "rate": report.answered / report.elapsed_s,
                "refused": 0 if report.is_clean else 1,
                "p50_ms": report.percentile(0.5) * 1e3,
                "p99_ms": report.percentile(0.99) * 1e3,
                "max_ms": report.percentile(1.0) * 1e3,
            }
        ),
        flush=True,
    )


def receivers(args: argparse.Namespace) -> None:
    """Listen on `connections` ports, acknowledge everything, end after `count` messages; ports on the first line."""
    poll = select.epoll()
    listening: dict[int, socket.socket] = {}
    open_: dict[int, socket.socket] = {}
    for _ in range(args.connections):
        sock = socket.create_server(("127.0.0.1", 0))
        listening[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
    print(json.dumps([s.getsockname()[1] for s in listening.values()]), flush=True)
    got = 0
    last = 0.0
    while got < args.count:
        for fd, _ in poll.poll(30):
            if fd in listening:
                sock, _ = listening[fd].accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_[sock.fileno()] = sock
                poll.register(sock.fileno(), select.EPOLLIN)
                continue
            sock = open_[fd]
            data = sock.recv(65536)
            if not data:
                poll.unregister(fd)
                open_.pop(fd).close()
                continue
            while not data.endswith(END):
                data += sock.recv(65536)
            control_id = data.split(b"|", 10)[9]
            sock.sendall(
                b"\x0bMSH|^~\\&|R|H|S|H|20260102030405||ACK^A01^ACK|R%b|P|2.5.1\rMSA|AA|%b\r\x1c\r"
                % (control_id, control_id)
            )
            last = time.monotonic()
            got += 1
    print(json.dumps({"count": got, "ended": last}), flush=True)


class Bare(asyncio.Protocol):
    """The yardstick: frames cut, a fixed positive answer with the control id, nothing parsed, nothing stored."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(END)) >= 0:
            payload = self.buffer[1:end]
            self.buffer = self.buffer[end + 2 :]
            control_id = payload.split(b"|", 10)[9]
            self.transport.write(
                b"\x0bMSH|^~\\&|R|H|S|H|20260102030405||ACK^A01^ACK|R%b|P|2.5.1\rMSA|AA|%b\r\x1c\r"
                % (control_id, control_id)
            )


async def on_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The other yardstick: the same work as Bare does, on asyncio's streams."""
    try:
        while True:
            control_id = (await reader.readuntil(END)).split(b"|", 10)[9]
            writer.write(
                b"\x0bMSH|^~\\&|R|H|S|H|20260102030405||ACK^A01^ACK|R%b|P|2.5.1\rMSA|AA|%b\r\x1c\r"
                % (control_id, control_id)
            )
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


def bare(args: argparse.Namespace) -> None:
    """Serve until stdin closes; the port on the first line."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        if args.role == "streams":
            server = await asyncio.start_server(on_streams, "127.0.0.1", 0)
        else:
            server = await loop.create_server(Bare, "127.0.0.1", 0)
        print(json.dumps([server.sockets[0].getsockname()[1]]), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        server.close()

    asyncio.run(serve())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["senders", "schedule", "sender", "receivers", "bare", "streams"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--tag", type=lambda text: text.encode(), default=b"T000")
    args = parser.parse_args()
    roles = {"senders": senders, "schedule": schedule, "sender": sender, "receivers": receivers}
    (roles | {"bare": bare, "streams": bare})[args.role](args)


if __name__ == "__main__":
    main()
