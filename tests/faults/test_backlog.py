"""A long queue: the start of an engine that has one, and memory while it grows (reliability.md R5, R19, E5, E6)."""

import asyncio
import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DraftDelivery, Intake
from engine.model.ids import ChannelName, DestinationName
from engine.runtime.queue_window import LOAD_LIMIT, MOST_IN_MEMORY
from engine.runtime.recent import MOST_REMEMBERED
from engine.testing.peers import Behaviour, ReceivingPeer
from tests.faults.ledger import Ledger
from tests.faults.load import END, message
from tests.faults.outside import MIB, Outside

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}, ack_timeout: 5m}}
    window: 64
    retry: {{first: 20ms, most: 50ms}}
"""
SIZE = 1000
MOST_MIB_AT_START = 150
MOST_MIB_WITH_A_BACKLOG = 200
FIRST = 300
"""How many the receiver takes; then it answers no more, and what is behind stays where it is."""


def prefill(path: Path, count: int) -> None:
    """A store with `count` messages that wait for the receiver, written by the store's own code in large batches."""
    store = SqliteStore(path)
    store.open()
    try:
        channel, to = ChannelName("load"), DestinationName("receiver")
        version = store.channel_version(channel, {"channel.yaml": b"before"})
        now_us = time.time_ns() // 1000 - count
        for at in range(0, count, 5000):
            intakes = []
            for number in range(at, min(at + 5000, count)):
                raw = message(f"S0N{number}", SIZE)
                digest = hashlib.blake2b(raw, digest_size=16).digest()
                intakes.append(
                    Intake(
                        number.to_bytes(16),
                        channel,
                        version,
                        now_us + number,
                        "S0|HOSP",
                        "127.0.0.1",
                        "ADT^A01",
                        f"S0N{number}",
                        digest,
                        raw,
                        "processed",
                        "AA",
                        deliveries=[DraftDelivery(to, None)],
                    )
                )
            store.commit(Batch(intakes=intakes))
            store.checkpoint()
    finally:
        store.close()


class Queue(Outside):
    """A site whose receiver remembers no bytes, only whether what came was next."""

    def __init__(self, folder: Path, *script: str, size: int = SIZE) -> None:
        super().__init__(folder, CHANNEL, senders=1, size=size)
        self.taken = 0
        self.out_of_turn: list[str] = []
        self.first_at = 0.0
        self.receiver = ReceivingPeer(*script, keep=False, on_message=self._took)

    def _took(self, payload: bytes, behaviour: Behaviour) -> None:
        self.first_at = self.first_at or time.monotonic()
        name = payload.split(b"|", 10)[9].decode()
        if behaviour.kind == "AA":
            if name != f"S0N{self.taken}":
                self.out_of_turn.append(name)
            self.taken += 1

    async def pump(self, first: int, count: int) -> None:
        """So many messages over one connection, a few hundred under way at a time; each is answered AA."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=MIB)
        for at in range(first, first + count, 200):
            some = range(at, min(at + 200, first + count))
            writer.write(b"".join(b"\x0b" + message(f"S0N{number}", self.size) + END for number in some))
            for number in some:
                answer = await asyncio.wait_for(reader.readuntil(END), 60)
                assert f"MSA|AA|S0N{number}\r".encode() in answer
        writer.close()


async def started(folder: Path, count: int, *words: str) -> dict[str, int | float]:
    """An engine starts on so many queued messages; what it read and held."""
    async with Queue(folder, *["AA"] * FIRST, "none") as site:
        site.write_site("shutdown: 1s\n")
        await asyncio.to_thread(prefill, folder / "data" / "segmill.db", count)
        began = time.monotonic()
        await site.run("counted", *words, script="tests.faults.changed_engine")
        listening_s = time.monotonic() - began
        await site.until(lambda: site.receiver.messages > FIRST, 60)
        held = site.memory("VmHWM")
        waiting = (await site.status())["lanes"][0]["queued"]
        found = re.search(r"read before listening: (\d+) queued, (\d+) known", site.said())
        assert found is not None
        first_s = site.first_at - began
        await site.end()
    assert site.out_of_turn == [] and site.taken == FIRST
    assert waiting >= count - FIRST - 64
    return {
        "queued": count,
        "rows_read_before_listening": int(found[1]),
        "ids_read_before_listening": int(found[2]),
        "process_to_listening_s": round(listening_s, 2),
        "to_first_delivery_s": round(first_s, 2),
        "most_MiB": round(held / MIB, 1),
    }


def judge_start(seen: dict[str, int | float]) -> None:
    """What is read before the ports are open does not grow with the queue."""
    assert seen["rows_read_before_listening"] <= MOST_IN_MEMORY + LOAD_LIMIT
    assert seen["ids_read_before_listening"] <= MOST_REMEMBERED
    assert seen["most_MiB"] < MOST_MIB_AT_START


@pytest.mark.timeout(120)
async def test_R5_an_engine_with_a_long_queue_listens_before_it_reads_it(tmp_path: Path, ledger: Ledger) -> None:
    seen = await started(tmp_path, 30_000)
    ledger.write("R5", "start with a queue", **seen)
    judge_start(seen)


@pytest.mark.timeout(120)
async def test_R5_the_rig_finds_an_engine_that_reads_its_whole_queue_at_the_start(tmp_path: Path) -> None:
    """Mirth #3089."""
    seen = await started(tmp_path, 10_000, "reads-all")
    with pytest.raises(AssertionError):
        judge_start(seen)


@pytest.mark.fault
@pytest.mark.timeout(1800)
async def test_R5_an_engine_with_a_million_queued_messages_listens_before_it_reads_them(
    tmp_path: Path, ledger: Ledger
) -> None:
    seen = await started(tmp_path, 1_000_000)
    ledger.write("R5", "start with a queue, long", **seen)
    judge_start(seen)


# -- a queue that grows ---------------------------------------------------------------------------


@contextmanager
def memory_limit(size: int) -> Iterator[Path | None]:
    """A cgroup with so much memory; None where none can be made."""
    one, two = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, name = (one, "memory.limit_in_bytes") if (one / "memory.limit_in_bytes").exists() else (two, "memory.max")
    group = parent / f"net-rigs-{time.time_ns()}"
    try:
        group.mkdir()
        (group / name).write_text(str(size))
    except OSError:
        if group.is_dir():
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


async def growing(folder: Path, count: int, limit: Path | None, size: int) -> dict[str, int | float | str]:
    """The receiver is not there while `count` messages come; then it is, and gets them all, in order."""
    async with Queue(folder, size=size) as site:
        await site.receiver.stop()
        site.write_site()
        await site.run(script="tests.faults.changed_engine")
        if limit is not None:
            assert site.process is not None
            (limit / "cgroup.procs").write_text(str(site.process.pid))
        await site.pump(0, count // 3)
        early = site.memory()
        await site.pump(count // 3, count - count // 3)
        late, most = site.memory(), site.memory("VmHWM")
        assert (await site.status())["lanes"][0]["queued"] == count
        host, port = site.receiver.address
        async with asyncio.timeout(60):
            while True:
                try:
                    await site.receiver.start(host, port)
                    break
                except OSError:
                    await asyncio.sleep(0.1)
        await site.until(lambda: site.taken >= count, 60 + count / 100)
        while await site.queued():
            await asyncio.sleep(0.1)
        drained = site.memory("VmHWM")
        await site.end()
    assert site.out_of_turn == [] and site.taken == count
    return {
        "messages": count,
        "MiB_after_a_third": round(early / MIB, 1),
        "MiB_after_all": round(late / MIB, 1),
        "most_MiB": round(max(most, drained) / MIB, 1),
        "cgroup": "256 MiB" if limit is not None else "none can be made here",
        "delivered_in_order": site.taken,
        "lost": count - site.taken,
    }


@pytest.mark.timeout(120)
async def test_R19_a_queue_that_grows_is_on_disk_and_not_in_memory(tmp_path: Path, ledger: Ledger) -> None:
    """Three thousand messages more are fifteen megabytes; what a lane holds is full after the first thousand."""
    with memory_limit(256 * MIB) as limit:
        seen = await growing(tmp_path, 4500, limit, 5000)
    ledger.write("R19", "receiver gone, the queue grows", **seen)
    assert float(seen["MiB_after_all"]) - float(seen["MiB_after_a_third"]) < 12
    assert float(seen["most_MiB"]) < MOST_MIB_WITH_A_BACKLOG


@pytest.mark.fault
@pytest.mark.timeout(3600)
async def test_R19_a_queue_of_600_000_grows_and_goes_in_256_mib(tmp_path: Path, ledger: Ledger) -> None:
    """Five minutes at 2,000 a second."""
    with memory_limit(256 * MIB) as limit:
        seen = await growing(tmp_path, 600_000, limit, SIZE)
    ledger.write("R19", "receiver gone, the queue grows, long", **seen)
    assert float(seen["most_MiB"]) < MOST_MIB_WITH_A_BACKLOG
