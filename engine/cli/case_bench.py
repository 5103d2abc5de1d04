"""Runs the cases of one channel: with the Python of its own, with what a case replaces, and with coverage if asked."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.cli.own_code import OwnCodeEnded, guarded
from engine.cli.site_channels import built

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel
    from engine.hl7.message import Message
    from engine.pipeline.cases import CaseOutcome, Difference, Runs
    from engine.pipeline.compile import CompiledChannel
    from engine.pipeline.coverage import Coverage, Covered
    from engine.pipeline.run import Result

EXPECT: Final = "expect.yaml"


@dataclass(slots=True)
class Bench:
    """A channel that is ready for its cases. `folder` is the site's."""

    channel: "LoadedChannel"
    folder: Path
    deadline_s: float
    coverage: "Coverage | None" = None
    replaced: "list[Coverage]" = field(default_factory=list)
    """Of the cases that replace a file: they reach the steps of the channel, and rows of tables of their own."""
    _ready: "CompiledChannel | None" = None

    @classmethod
    def of(cls, channel: "LoadedChannel", folder: Path, deadline_s: float, *, with_coverage: bool) -> "Bench":
        """Raises Failure 78, with what is wrong shown, where the channel's Python does not load."""
        bench = cls(channel, folder, deadline_s)
        bench.coverage = bench._covering(channel) if with_coverage else None
        bench._ready = bench.coverage.channel if bench.coverage is not None else bench._compiled(channel)
        return bench

    def check(self, files: "Mapping[str, bytes]") -> "CaseOutcome":
        """Run one case. `files` are those in its folder, by path in it."""
        from engine.pipeline.cases import CaseOutcome, check_case
        from engine.pipeline.mocks import is_mock

        mocks = {name: content for name, content in files.items() if is_mock(name)}
        plain = {name: content for name, content in files.items() if name not in mocks}
        assert self._ready is not None, "made by `of`"
        ready, coverage = self._ready, self.coverage
        if mocks:
            channel, wrong = self._with(mocks)
            if channel is None:
                return CaseOutcome(wrong, {}, [], [])
            if coverage is None:
                ready = self._compiled(channel)
            else:
                coverage = self._covering(channel)
                self.replaced.append(coverage)
                ready = coverage.channel
        # What a step draws by chance is the same at each run of the case.
        random.seed(0)
        return check_case(ready, plain, self._run(ready, coverage))

    @property
    def ready(self) -> "CompiledChannel":
        """The channel as it runs its cases."""
        assert self._ready is not None, "made by `of`"
        return self._ready

    def runs(self, message: "Message", now: datetime) -> "Result":
        """One message through the channel, whose own code has its deadline."""
        return self._run(self.ready, None)(message, now)

    def covered(self) -> "Covered | None":
        """What all cases together reached; None where nobody asked."""
        if self.coverage is None:
            return None
        for other in self.replaced:
            self.coverage.add(other)
        self.replaced.clear()
        return self.coverage.covered()

    def _run(self, ready: "CompiledChannel", coverage: "Coverage | None") -> "Runs":
        from engine.pipeline.run import Result

        inner = ready.run if coverage is None else coverage.run

        def run(message: "Message", now: datetime) -> "Result":
            try:
                return guarded(lambda: inner(message, now), self.deadline_s)
            except OwnCodeEnded as ended:
                return Result("held", [], (ended.finding,))

        return run if ready.isolated else inner

    def _with(self, mocks: "Mapping[str, bytes]") -> "tuple[LoadedChannel | None, list[Difference]]":
        """The channel with files of the case in the place of its own, or what is wrong with these."""
        from engine.config.site import load_version
        from engine.pipeline.mocks import strange_mocks, wrong_mocks
        from engine.pipeline.registry import load_kinds

        there = self.channel.files
        if strange := strange_mocks(mocks, there):
            return None, strange
        channel, findings = load_version(self.channel.name, {**there, **mocks}, load_kinds(), self.channel.substituted)
        return channel, [] if channel is not None else wrong_mocks(self.channel.name, findings)

    def _compiled(self, channel: "LoadedChannel") -> "CompiledChannel":
        from engine.pipeline.compile import compile_channel
        from engine.pipeline.registry import load_steps

        return built(channel, self.folder, lambda: compile_channel(channel, load_steps(), runs_own_code=True))

    def _covering(self, channel: "LoadedChannel") -> "Coverage":
        from engine.pipeline.coverage import Coverage
        from engine.pipeline.registry import load_steps

        return built(channel, self.folder, lambda: Coverage.of(channel, load_steps()))
