"""A whole engine for tests: real channel files, real sockets, and a store and destinations that can be held."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.app import Engine, load_site
from engine.config.base import ConfigModel
from engine.config.kinds import Kinds
from engine.model.ids import ChannelName, MessageSeq
from engine.pipeline.registry import load_kinds
from engine.pipeline.run import Result
from engine.ports.store import Store, StoredMessage
from engine.runtime.channels import RunningChannel
from engine.testing.sites import make_site
from tests.runtime.parts import ScriptedSink, SetClock, WatchedStore, until
from tests.runtime.wires import Wire

MEMORY = "admin: off\nstore: 'memory:'\n"


def channel(
    *,
    accept: str = "ADT^*",
    more: str = "",
    steps: str = "",
    routes: str = "[{to: out}]",
    destinations: str = "{out: {kept: {}}}",
    port: str = "{port: 0}",
) -> str:
    """A channel file that keeps what it is sent."""
    lines = [f"listen: {{mllp: {port}}}", f"accept: ['{accept}']", more.strip("\n"), steps.strip("\n")]
    lines += [f"routes: {routes}", f"destinations: {destinations}"]
    return "\n".join(line for line in lines if line) + "\n"


class KeptSettings(ConfigModel):
    """What stands under `kept:`."""


class Kept:
    """The kind of a destination that keeps what it is given: `sinks['channel/destination']`."""

    name = "kept"
    model = KeptSettings

    def __init__(self) -> None:
        self.sinks: dict[str, ScriptedSink] = defaultdict(ScriptedSink)

    def open(self, settings: KeptSettings, *, folder: Path, lane: str, clock: object) -> ScriptedSink:
        return self.sinks[lane]

    def bodies(self, lane: str) -> list[bytes]:
        return [delivery.body for call in self.sinks[lane].calls for delivery in call]


class SiteUnderTest:
    """One site, and the engines that run on it one after the other, on the same store."""

    def __init__(
        self,
        folder: Path,
        channels: Mapping[str, str | Mapping[str, str | bytes]],
        settings: str = MEMORY,
        *,
        clock: SetClock | None = None,
    ) -> None:
        self.folder = make_site(folder, channels, settings)
        self.clock = clock or SetClock()
        self.store = WatchedStore(self.clock)
        self.is_memory = "memory:" in settings
        self.kept = Kept()
        known = load_kinds()
        self.kinds = Kinds(steps=known.steps, sinks={**known.sinks, "kept": self.kept}, sources=known.sources)
        self.engine: Engine = None  # type: ignore[assignment]
        self.wires: list[Wire] = []

    def make(self) -> Engine:
        site = load_site(self.folder, self.kinds, {})
        assert site.is_valid, site.findings
        given = self.store

        class OnGivenStore(Engine):
            def _make_store(self) -> Store:
                return given

        kind = OnGivenStore if self.is_memory else Engine
        self.engine = kind(site, clock=self.clock, kinds=self.kinds)
        return self.engine

    @asynccontextmanager
    async def running(self, *, stop: bool = True, deadline_s: float = 5.0) -> AsyncIterator[Engine]:
        """An engine that has started, and is stopped at the end; not `stop`: it dies without a word."""
        engine = self.make()
        await engine.start()
        try:
            yield engine
        finally:
            for wire in self.wires:
                wire.reset()
            self.wires.clear()
            if stop:
                await engine.stop(deadline_s=deadline_s)
            else:
                await self.die()

    async def die(self) -> None:
        """As after kill -9: what the store has is all that is left."""
        committer = self.engine._committer
        assert committer is not None
        committer._dead = True
        self.store.crash()
        await self.engine.stop(deadline_s=0.1)

    @property
    def kept_sinks(self) -> Mapping[str, ScriptedSink]:
        return self.kept.sinks

    async def wire(self, channel: str = "adt", **options: Any) -> Wire:
        wire = await Wire.open(self.engine.addresses[channel], **options)
        self.wires.append(wire)
        return wire

    def running_channel(self, name: str = "adt") -> RunningChannel:
        return self.engine._channels[ChannelName(name)]

    async def slow_disk(self, payload: bytes, channel: str = "adt") -> None:
        """From here on commits run on the writer's thread; `payload` is sent for that."""
        self.store.takes_s = 0.03
        wire = await self.wire(channel)
        await wire.send(payload)
        await wire.answer()
        self.store.takes_s = 0.0

    def messages(self, **filters: Any) -> list[StoredMessage]:
        queries = self.store.queries()
        return list(queries.messages(newest_first=False, bodies=True, **filters))

    def states(self) -> list[str]:
        return [message.state for message in self.messages()]

    def delivery_states(self) -> list[str]:
        queries = self.store.queries()
        return [d.state for m in self.messages() for d in queries.deliveries(MessageSeq(m.seq))]

    async def delivered(self, lane: str, count: int) -> list[bytes]:
        await until(lambda: len(self.kept.bodies(lane)) >= count)
        return self.kept.bodies(lane)


class HeldPipeline:
    """A channel's pipeline in another process, of which only the waiting is real."""

    def __init__(self, channel: RunningChannel) -> None:
        self.channel = channel
        self.compiled = channel.compiled
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken: list[bytes] = []
        self.defect: Exception | None = None
        self.is_closed = False

    async def run(self, raw: bytes, now: datetime) -> Result:
        from engine.hl7.message import Message

        self.taken.append(raw)
        await self.gate.wait()
        if self.defect is not None:
            raise self.defect
        return self.compiled.run(Message.parse(raw), now)

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        self.is_closed = True


def isolate(site: SiteUnderTest, name: str = "adt") -> HeldPipeline:
    """Make a running channel one whose pipeline runs elsewhere, and can be held."""
    running = site.running_channel(name)
    pipeline = HeldPipeline(running)
    running.isolated = pipeline
    return pipeline


def msa(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2."""
    (line,) = [line for line in answer.split(b"\r") if line.startswith(b"MSA")]
    fields = line.decode().split("|")
    return fields[1], fields[2]


def codes(answers: Sequence[bytes]) -> list[str]:
    return [msa(answer)[0] for answer in answers]


def err(answer: bytes) -> list[str]:
    """ERR-3.1 of each ERR."""
    return [line.split(b"|")[3].split(b"^")[0].decode() for line in answer.split(b"\r") if line.startswith(b"ERR")]
