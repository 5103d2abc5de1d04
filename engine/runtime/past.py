"""Channels as they were: recorded versions of their files, compiled again for messages that are processed again.

A version has the channel's files and what its `${...}` stood for, but secrets: those are taken from the channel that
runs. Where such a channel has code of its own, it runs in a process of its own, as the one that runs does.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from engine.config.kinds import Kinds
from engine.config.site import load_version
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.model.ids import ChannelName, VersionId
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.registry import load_steps
from engine.pipeline.run import Result
from engine.ports.store import StoreQueries
from engine.runtime.tasks import describe
from engine.runtime.worker import Worker, WorkerLimits


class NoSuchVersion(Exception):
    """A version that is not recorded, or cannot run here; the text says why."""


class Runs(Protocol):
    """Something that a stored message can go through."""

    async def run(self, raw: bytes, now: datetime) -> Result: ...

    async def close(self) -> None: ...


class PastChannel:
    """One recorded version that runs in the engine's own process."""

    def __init__(self, compiled: CompiledChannel) -> None:
        self._compiled = compiled

    async def run(self, raw: bytes, now: datetime) -> Result:
        """The version's result for one message. Never raises for what is in it."""
        try:
            return self._compiled.run(Message.parse(raw, fallback=self._compiled.fallback_charset), now)
        except Exception as error:  # noqa: BLE001 - the edge of a channel, as in RunningChannel.process
            text = f"the channel failed: {describe(error)}"
            return Result("held", [], (Finding("E201", "error", text),))

    async def close(self) -> None:
        """Nothing is held."""


class PastChannels:
    """Makes recorded versions run. `substituted`: what the `${...}` of the channel that runs stand for, secrets too."""

    def __init__(
        self,
        queries: StoreQueries,
        kinds: Kinds,
        limits: WorkerLimits,
        substituted: Callable[[ChannelName], Mapping[str, str]],
    ) -> None:
        self._queries = queries
        self._kinds = kinds
        self._limits = limits
        self._substituted = substituted

    async def get(self, channel: ChannelName, version: VersionId) -> Runs:
        """The version, ready to run; the caller closes it. Raises NoSuchVersion."""
        return await asyncio.to_thread(self._make, channel, version)

    def _make(self, channel: ChannelName, version: VersionId) -> Runs:
        files = self._queries.version_files(version)
        if not files:
            raise NoSuchVersion(f"no version {version} of a channel is recorded")
        loaded, findings = load_version(channel, files, self._kinds)
        recorded = loaded.substituted if loaded is not None else {}
        if any(value.startswith("secret:") for value in recorded.values()):
            loaded, findings = load_version(channel, files, self._kinds, {**recorded, **self._substituted(channel)})
        if loaded is None:
            codes = ", ".join(sorted({f.code for f in findings if f.is_error}))
            raise NoSuchVersion(f"version {version} cannot run with this engine ({codes})")
        try:
            compiled = compile_channel(loaded, load_steps())
        except ChannelError as error:
            raise NoSuchVersion(f"version {version} cannot run with this engine ({error.finding.code})") from error
        return Worker(loaded, self._limits.but(loaded.file.isolate)) if compiled.isolated else PastChannel(compiled)
