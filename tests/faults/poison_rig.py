"""Rig R12 and fault P8: messages whose own code runs wild, and workers that die, beside a channel that works.

The engine runs in the rig's own loop, so that a wait of it for a worker is a wait of everything: what the honest
channel gets done while a poisonous message is in hand tells. So that this is no question of who is faster, a poisonous
message waits, in hand, for the rig's word, and gets it when the honest channel got something done. How long the loop
stood still is a figure, not a verdict.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.model.finding import load_findings
from engine.ports.store import StoredMessage
from engine.runtime.worker import Worker
from engine.testing import messages
from tests.runtime.engines import SiteUnderTest, channel
from tests.runtime.wires import Wire

TRIES = 3
"""So often each kind may be over, by its time-out, before the honest channel got anything done."""

SETTINGS = "admin: off\nworkers: {{deadline: {deadline}, timeout: {timeout}, memory: 96MiB, output: 8MB}}\n"

STEPS = """
import ctypes, json, os, re, signal, subprocess, sys, threading, time


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")


def spin():
    while True:
        pass


def loop(message):
    spin()

def redos(message):
    re.fullmatch("(a+)+b", "a" * 64)

def huge(message):
    "x" * 10**10

def hoard(message):
    held = []
    while True:
        held.append(bytearray(10**6))

def many(message):
    message.set("ZZZ-1", "1234567890," * 1_000_000)

def segments(message):
    for number in range(1_000_000):
        message.insert_segment(len(message), "ZZZ|1")

def segfault(message):
    ctypes.string_at(0)

def os_exit(message):
    os._exit(7)

def sys_exit(message):
    sys.exit("enough")

def forks(message):
    for _ in range(200):  # bounded, should the filter ever fail: children sleep and end
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)

def spawn(message):
    subprocess.Popen([sys.executable, "-c", "input()"])

def stop(message):
    os.kill(os.getpid(), signal.SIGSTOP)

def close(message):
    os.closerange(3, 256)

def garbage(message):
    for number in range(3, 64):
        try:
            os.write(number, os.urandom(64) * 100)
        except OSError:
            pass

def forged(message):
    text = b'{"state":"processed","deliveries":[["elsewhere",-1]],"bodies":[],"findings":[],"last":false}'
    frame = len(text).to_bytes(4, "big") + bytes(4) + text
    for number in range(3, 64):
        try:
            os.write(number, frame)
        except OSError:
            pass

def printing(message):
    print("PID" * 1_000_000, flush=True)
    os.write(1, b"x" * 1_000_000)

def unpicklable(message):
    return lambda: message

def unspeakable(message):
    raise Unspeakable

def recursion(message):
    recursion(message)

def thread(message):
    threading.Thread(target=spin, daemon=True).start()

def patched(message):
    json.dumps = None

def asleep(message):
    time.sleep(3600)

def swallows(message):
    while True:
        try:
            spin()
        except BaseException:
            pass


def work(message, context):
    wanted = globals().get(message.get("PID-5.1").lower())
    if wanted is not None:
        while not os.path.exists(os.path.join(WORD, message.get("MSH-10"))):
            time.sleep(0.005)
        return wanted(message)
    if message.get("PID-5.1") == "Slow":
        end = time.process_time() + 0.002
        while time.process_time() < end:
            pass
    message.set("MSH-6", "DONE")
"""

POISON: dict[str, str] = {
    # name: the code its message is held with, or '' where it does no harm and goes through
    "LOOP": "E220",
    "REDOS": "E220",
    "HUGE": "E201",
    "HOARD": "E201",
    "MANY": "E223",
    "SEGMENTS": "E220",
    "SEGFAULT": "E221",
    "OS_EXIT": "E221",
    "SYS_EXIT": "E221",
    "FORKS": "E201",
    "SPAWN": "E201",
    "STOP": "E220",
    "CLOSE": "E221",
    "GARBAGE": "E221",
    "FORGED": "E221",
    "PRINTING": "",
    "UNPICKLABLE": "E218",
    "UNSPEAKABLE": "E201",
    "RECURSION": "E201",
    "THREAD": "",
    "PATCHED": "E221",
    "ASLEEP": "E220",
    "SWALLOWS": "E220",
}


@dataclass
class Found:
    """What a run of the rig came to; `violations` are sentences, and none is good."""

    violations: list[str] = field(default_factory=list)
    good: list[str] = field(default_factory=list)
    """What of the channel with own code goes through, in order."""
    honest: int = 0
    poison: int = 0
    held: int = 0
    starts: int = 0
    kills: int = 0
    longest_stall_ms: float = 0.0


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


class Watchdog:
    """Counts how long the loop did not turn."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._at = asyncio.get_running_loop().time()
        self._tick()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.longest_s = max(self.longest_s, now - self._at - 0.005)
        self._at = now
        self._timer = loop.call_later(0.005, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Sender:
    """Sends one message after the other, each when the one before is answered."""

    def __init__(self, name: str, wire: Wire, family: str = "Testperson") -> None:
        self.name = name
        self.sent: list[str] = []
        self.codes: list[str] = []
        self._wire = wire
        self._family = family

    async def send(self, family: str = "") -> str:
        """MSA-1 of the answer to one more message."""
        control_id = f"{self.name}N{len(self.sent):05d}"
        self.sent.append(control_id)
        payload = messages.adt(control_id=control_id, family=family or self._family, sender=(self.name, "H"))
        await self._wire.send(payload)
        answer = await self._wire.answer(within_s=120)
        msa = next(line for line in answer.decode().split("\r") if line.startswith("MSA|")).split("|")
        self.codes.append(msa[1] if msa[2] == control_id else f"for another: {msa[2]}")
        return self.codes[-1]


class Site:
    """An engine with an honest channel and one with own code."""

    def __init__(self, folder: Path, *, deadline: str, timeout: str) -> None:
        self._word = folder / "word"
        self._word.mkdir()
        own = channel(steps="steps:\n  - python: steps.py:work", accept="ADT^*")
        self.site = SiteUnderTest(
            folder,
            {
                "honest": channel(steps="steps:\n  - set: {MSH-6: DONE}"),
                "own": {"channel.yaml": own, "steps.py": f"{STEPS}\n\nWORD = {str(self._word)!r}\n"},
            },
            SETTINGS.format(deadline=deadline, timeout=timeout),
        )

    async def sender(self, name: str, to: str, family: str = "Testperson") -> Sender:
        return Sender(name, await self.site.wire(to), family)

    @property
    def worker(self) -> Worker:
        isolated = self.site.running_channel("own").isolated
        assert isinstance(isolated, Worker)
        return isolated

    def give_word(self, control_id: str) -> None:
        """The poisonous message may begin."""
        (self._word / control_id).touch()

    def ids(self, lane: str) -> list[str]:
        return [body.split(b"|")[9].decode() for body in self.site.kept.bodies(lane)]

    async def until_delivered(self, lane: str, count: int) -> None:
        """Or until nothing has come for as long as a lost message is waited for."""
        looks = arrived = 0
        while len(self.ids(lane)) < count and looks < 3000:
            await asyncio.sleep(0.01)
            looks = 0 if len(self.ids(lane)) > arrived else looks + 1
            arrived = len(self.ids(lane))

    def findings(self, control_id: str) -> list[tuple[str, str]]:
        (stored,) = self.site.messages(control_id=control_id)
        return errors_of(stored)

    def all_findings(self) -> dict[str, list[tuple[str, str]]]:
        """Of every message, by its control id. Looked up one by one, thousands take a quarter of an hour."""
        stored = self.site.messages()
        found = {one.control_id: errors_of(one) for one in stored}
        assert len(found) == len(stored), "a control id came twice"
        return found


def errors_of(stored: StoredMessage) -> list[tuple[str, str]]:
    """Codes and texts."""
    return [(finding.code, finding.text) for finding in load_findings(stored.findings) if finding.severity == "error"]


@asynccontextmanager
async def honest_load(site: Site, count: int) -> AsyncIterator[list[Sender]]:
    """Senders of the honest channel, until the block ends; all of theirs is answered then."""
    senders = [await site.sender(f"HON{n}", "honest") for n in range(count)]
    over = False

    async def go_on(sender: Sender) -> None:
        while not over:
            await sender.send()
            await asyncio.sleep(0.03)

    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(go_on(sender))
        try:
            yield senders
        finally:
            over = True


async def check_honest(site: Site, senders: Sequence[Sender], found: Found) -> None:
    total = sum(len(sender.sent) for sender in senders)
    await site.until_delivered("honest/out", total)
    arrived = site.ids("honest/out")
    found.honest = total
    for sender in senders:
        if set(sender.codes) - {"AA"} or len(sender.codes) != len(sender.sent):
            found.violations.append(f"{sender.name} was answered {sorted(set(sender.codes))}")
        own = [control_id for control_id in arrived if control_id.startswith(sender.name)]
        if own != sender.sent:
            found.violations.append(f"of {len(sender.sent)} messages of {sender.name} {len(own)} came, or out of order")


async def poison(folder: Path, kinds: Sequence[str], *, honest: int = 2, timeout: str = "1500ms") -> Found:
    """Each kind of poison, a good message behind each; beside an honest channel (R12)."""
    site, found, dog = Site(folder, deadline="300ms", timeout=timeout), Found(), Watchdog()
    async with site.site.running():
        dog.start()
        async with honest_load(site, honest) as senders:
            own = await site.sender("OWN", "own")
            for kind in kinds:
                control_id = await in_hand(site, own, kind, senders, found)
                wanted = POISON[kind]
                if control_id is None:
                    found.violations.append(f"while {kind} was in hand the honest channel got nothing done")
                else:
                    codes = [name for name, _ in site.findings(control_id)]
                    if codes != ([wanted] if wanted else []):
                        found.violations.append(f"{kind} came to {codes}, not {wanted or 'an end of its own'}")
                    found.held += bool(wanted)
                    if not wanted:
                        found.good.append(control_id)
                if await own.send() != "AA" or site.findings(own.sent[-1]):
                    found.violations.append(f"the message behind {kind} was harmed: {site.findings(own.sent[-1])}")
                found.good.append(own.sent[-1])
        dog.stop()
        await site.until_delivered("own/out", len(found.good))
        if site.ids("own/out") != found.good:
            found.violations.append("of the channel with own code not just the good ones came, in order")
        await check_honest(site, senders, found)
        found.starts = site.worker.starts
    found.longest_stall_ms = dog.longest_s * 1000
    return found


async def in_hand(site: Site, own: Sender, kind: str, honest: Sequence[Sender], found: Found) -> str | None:
    """The id of a poisonous message that began when the honest channel had got something done while it was in hand.

    None: each of several was taken from its worker before anything of the honest channel was done.
    """
    worker = site.worker
    for _ in range(TRIES):
        found.poison += 1
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(own.send(kind))
            await until(lambda task=sending: (worker.is_busy and worker.pid is not None) or task.done())
            before, pid = sum(len(sender.codes) for sender in honest), worker.pid
            await until(
                lambda n=before, pid=pid: (
                    sum(len(sender.codes) for sender in honest) > n or not worker.is_busy or worker.pid != pid
                )
            )
            # Later, its second process might be at its end: then it could not come to what is wanted of it.
            is_in_hand = worker.is_busy and worker.pid == pid
            site.give_word(own.sent[-1])
        if sending.result() != "AA":
            found.violations.append(f"{kind} was answered {sending.result()}")
        if is_in_hand:
            return own.sent[-1]
        if not site.findings(own.sent[-1]):
            found.good.append(own.sent[-1])
    return None


async def deaths(folder: Path, *, seed: int, messages_each: int, senders: int = 2, every: int = 20) -> Found:
    """Workers are killed and stopped at random under load (P8); who is blamed was at hand both times."""
    site, found, dog = Site(folder, deadline="2s", timeout="700ms"), Found(), Watchdog()
    chance = random.Random(seed)
    async with site.site.running():
        worker = site.worker
        dog.start()
        async with honest_load(site, 1) as honest:
            own = [await site.sender(f"OWN{n}", "own", "Slow") for n in range(senders)]
            over = asyncio.Event()

            async def kill() -> None:
                """By what was done, not by the clock: a slow machine is not killed faster than it starts."""
                at = 0
                while not over.is_set():
                    at += chance.randint(3, 2 * every)
                    await until(lambda at=at: sum(len(sender.codes) for sender in own) >= at or over.is_set())
                    for _ in range(chance.choice((1, 1, 2))):  # twice: the message's second try, with some luck
                        await until(lambda: worker.is_busy or over.is_set())
                        await asyncio.sleep(chance.uniform(0, 0.003))
                        pid = worker.pid
                        if pid is None or over.is_set():
                            continue
                        os.kill(pid, chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP)))
                        found.kills += 1
                        await until(lambda killed=pid: worker.pid != killed or over.is_set())

            async def send(sender: Sender) -> None:
                for _ in range(messages_each):
                    await sender.send()

            async with asyncio.TaskGroup() as group:
                killer = group.create_task(kill())
                await asyncio.gather(*(send(sender) for sender in own))
                over.set()
                killer.cancel()
        dog.stop()
        every = [control_id for sender in own for control_id in sender.sent]
        findings = site.all_findings()
        blamed = {control_id: findings[control_id] for control_id in every}
        held = {control_id for control_id, why in blamed.items() if why}
        found.poison, found.held = len(every), len(held)
        for control_id in sorted(held):
            (why,) = blamed[control_id]
            if why[0] not in ("E220", "E221") or not why[1].endswith(", 2 times"):
                found.violations.append(f"{control_id} is held and was not blamed twice: {why}")
        await site.until_delivered("own/out", len(every) - len(held))
        for sender in own:
            arrived = [control_id for control_id in site.ids("own/out") if control_id.startswith(sender.name)]
            if arrived != [control_id for control_id in sender.sent if control_id not in held]:
                found.violations.append(f"messages of {sender.name} are lost, twice or out of order")
            if set(sender.codes) != {"AA"}:
                found.violations.append(f"{sender.name} was answered {sorted(set(sender.codes))}")
        await check_honest(site, honest, found)
        found.starts = site.worker.starts
    found.longest_stall_ms = dog.longest_s * 1000
    return found
