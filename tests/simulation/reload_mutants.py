"""Engines with a fault built into their reloads, as `mutants` has them."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import PropertyMock, patch

import engine.exchange
from engine.assembly import Assembly
from engine.config.changes import SiteState, read_state
from engine.exchange import Exchange
from engine.leaving import Leaving
from engine.model.envelope import AckUpdate
from engine.reloading import Reloader
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.channels import RunningChannel, Turns
from engine.runtime.lane import Lane
from engine.runtime.received import framed
from engine.runtime.recorded_answers import RecordedAnswers, Resent
from engine.runtime.resends import Resends
from engine.runtime.turnstile import Turnstile
from tests.simulation.mutants import mutant


@mutant("another lane does not wait for the attempt in hand")
def _no_wait_for_the_attempt() -> Iterator[None]:
    async def hasty(self: Assembly, lane: Lane) -> None:
        lane.drain()

    with patch.object(Assembly, "ended", hasty):
        yield


@mutant("another lane does not wait for the record of the last attempt")
def _no_wait_for_the_record() -> Iterator[None]:
    async def hasty(self: Assembly, lane: Lane) -> None:
        lane.drain()
        if (task := self.lane_tasks.get(lane)) is not None:
            await asyncio.wait({task})

    with patch.object(Assembly, "ended", hasty):
        yield


@mutant("a destination with other settings keeps its lane")
def _lane_kept() -> Iterator[None]:
    with patch.object(Exchange, "_keeps_lane", lambda self, loaded, name, there: name in there.lanes):
        yield


@mutant("what waits for a removed destination is left behind")
def _left_behind() -> Iterator[None]:
    async def none(self: Leaving, lanes: Any) -> bool:
        return False

    with patch.object(Leaving, "_any_waits", none):
        yield


@mutant("a lane that leaves hears of nothing new")
def _deaf_when_leaving() -> Iterator[None]:
    with patch.object(RunningChannel, "lane", lambda self, destination: self.lanes.get(destination)):
        yield


@mutant("what is processed by new files is recorded with the old version")
def _old_version() -> Iterator[None]:
    adopt = RunningChannel.adopt

    def forgetful(self: RunningChannel, edition: Any) -> Turns:
        version = getattr(self, "version", edition.version)
        before = adopt(self, edition)
        self.version = version
        return before

    with patch.object(RunningChannel, "adopt", forgetful):
        yield


@mutant("a reload is reported, and the steps are the old ones")
def _old_steps() -> Iterator[None]:
    adopt = RunningChannel.adopt

    def idle(self: RunningChannel, edition: Any) -> Turns:
        if not hasattr(self, "version"):
            return adopt(self, edition)
        compiled, version = self.compiled, self.version
        before = adopt(self, edition)
        if set(compiled.file.destinations) == set(edition.compiled.file.destinations):
            self.compiled, self.version = compiled, version
        return before

    with patch.object(RunningChannel, "adopt", idle):
        yield


@mutant("every reload closes connections")
def _closes_connections() -> Iterator[None]:
    with patch.object(engine.exchange, "listen_change", lambda old, new, same_files: "settings"):
        yield


@mutant("files with errors are taken up as far as they go")
def _errors_taken_up() -> Iterator[None]:
    def look(self: Reloader) -> SiteState:
        return read_state(self._read())

    with patch.object(Reloader, "_look", look):
        yield


@mutant("what was answered when stored is overtaken after a reload")
def _stored_overtaken() -> Iterator[None]:
    with patch.object(RunningChannel, "is_in_turn", PropertyMock(return_value=False)):
        yield


@mutant("a pause does not outlive a reload")
def _pause_lost() -> Iterator[None]:
    adopt = Exchange._adopt

    def forgetful(self: Exchange, following: Any) -> None:
        with patch.object(self._assembly, "apply_pauses", lambda channel: None):
            adopt(self, following)

    with patch.object(Exchange, "_adopt", forgetful):
        yield


@mutant("lanes are exchanged under a person's order")
def _no_turnstile() -> Iterator[None]:
    @asynccontextmanager
    async def alone(self: Turnstile) -> Any:
        yield

    with patch.object(Turnstile, "alone", alone):
        yield


@mutant("a resend of what waited by other files is not answered")
def _resend_unanswered() -> Iterator[None]:
    with patch.object(Resends, "_is_final", lambda self, known, message, channel: True):
        yield


@mutant("a time-out's no is the answer for ever, whatever the files say")
def _timed_out_for_ever() -> Iterator[None]:
    with patch.object(Resends, "_is_final", lambda self, known, message, channel: bool(known.ack)):
        yield


@mutant("what a destination took while other files were in force is not told")
def _taken_untold() -> Iterator[None]:
    from_row = DeliveredAnswers._from_row

    def forgetful(self: DeliveredAnswers, row: Any, message: Any, accept: Any, known: Any, reply: Any) -> bool:
        return known.ack_code[:1] != "A" and from_row(self, row, message, accept, known, reply)

    with patch.object(DeliveredAnswers, "_from_row", forgetful):
        yield


@mutant("a resend is told a yes that is not on record")
def _told_unrecorded() -> Iterator[None]:
    def hasty(self: RecordedAnswers, update: AckUpdate, resent: Resent) -> None:
        resent.reply.settle(framed(update.ack))

    with patch.object(RecordedAnswers, "_unrecorded", hasty):
        yield
