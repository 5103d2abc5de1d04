"""Channels from a few lines of YAML, for tests of what steps do."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

import pytest
from pydantic import ConfigDict

from engine.config.base import ConfigModel
from engine.config.kinds import Kinds
from engine.config.site import LoadedChannel, load_version
from engine.hl7.message import Message
from engine.pipeline.compile import CompiledChannel, compile_channel
from engine.pipeline.registry import load_steps
from engine.pipeline.run import Result
from engine.pipeline.trace import Trace

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TO_ONE = "routes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n"


class AnyOptions(ConfigModel):
    """Of a sink that these tests do not need."""

    model_config = ConfigDict(extra="allow", frozen=True)


class AnySink:
    name = "anywhere"
    model = AnyOptions


STEPS = load_steps()
KINDS = Kinds(steps=STEPS, sinks={"anywhere": AnySink(), "mllp": AnySink()})


class Channel:
    """A channel of the given steps, and one run or trace of it."""

    def __init__(self, loaded: LoadedChannel) -> None:
        self.loaded = loaded
        self.compiled: CompiledChannel = compile_channel(loaded, STEPS, runs_own_code=True)

    def run(self, raw: bytes) -> Result:
        return self.compiled.run(Message.parse(raw), NOW)

    @property
    def now(self) -> datetime:
        return NOW

    def parse(self, raw: bytes) -> Message:
        return Message.parse(raw)

    def trace(self, raw: bytes) -> Trace:
        return self.compiled.trace(Message.parse(raw), NOW)

    def out(self, raw: bytes) -> bytes:
        """What the one destination gets."""
        result = self.run(raw)
        assert result.state == "processed", result
        body = result.deliveries[0].body
        return raw if body is None else body

    def lines(self, raw: bytes) -> list[str]:
        return self.out(raw).decode().split("\r")[:-1]

    def findings(self, raw: bytes) -> list[tuple[str, str]]:
        return [(f.code, f.location) for f in self.run(raw).findings]


class ChannelMaker(Protocol):
    def __call__(self, steps: str, *, rest: str = TO_ONE, files: Mapping[str, str] | None = None) -> Channel: ...


def _files(steps: str, rest: str, files: Mapping[str, str] | None) -> dict[str, bytes]:
    indented = "".join(f"  {line}\n" for line in steps.strip("\n").split("\n")) if steps else "  []\n"
    listen = "" if rest.startswith("listen:") else "listen: {mllp: {port: 2575}}\n"
    text = f"{listen}steps:\n{indented}{rest}"
    return {"channel.yaml": text.encode(), **{name: content.encode() for name, content in (files or {}).items()}}


@pytest.fixture(scope="session")
def channel() -> ChannelMaker:
    """`channel("- set: {PID-8: F}") -> Channel`: without findings, with one destination `out`."""

    def make(steps: str, *, rest: str = TO_ONE, files: Mapping[str, str] | None = None) -> Channel:
        loaded, findings = load_version("test", _files(steps, rest, files), KINDS)
        assert loaded is not None, findings
        return Channel(loaded)

    return make


@pytest.fixture(scope="session")
def mistakes():
    """`mistakes("- set: {PID: F}") -> [(code, line, column, message)]`: the findings of such a channel."""

    def check(steps: str, *, rest: str = TO_ONE, files: Mapping[str, str] | None = None) -> list[tuple[object, ...]]:
        _, findings = load_version("test", _files(steps, rest, files), KINDS)
        return [(f.code, f.line, f.column, f.message) for f in findings]

    return check
