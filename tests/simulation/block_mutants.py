"""Mutants of opening hours, of blocks of several messages and of messages in fragments; see `mutants`."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import engine.exchange
from engine.model.envelope import Intake
from engine.ports.clock import from_us
from engine.runtime.batch import Batches, BatchReply, BatchRun
from engine.runtime.fragments import FragmentKeeper
from engine.runtime.gate import LOOK_AGAIN_S, Hours
from engine.runtime.received import framed
from engine.runtime.whole_messages import WholeMessages
from tests.simulation.mutants import mutant
from tests.simulation.peers import field_of


@mutant("a closed destination is sent to")
def _sent_to_closed() -> Iterator[None]:
    with patch.object(Hours, "wait_s", lambda self, now_s: self._inner.wait_s(now_s)):
        yield


@mutant("nobody comes back to a closed destination when it opens")
def _never_back() -> Iterator[None]:
    wait_s = Hours.wait_s

    def forgetful(self: Hours, now_s: float) -> float | None:
        found = wait_s(self, now_s)
        return None if found != 0 and not self._table.is_open(from_us(self._clock.now_us())) else found

    with patch.object(Hours, "wait_s", forgetful):
        yield


@mutant("what was worked out of the hours is believed after the clock is set")
def _believed() -> Iterator[None]:
    """Also where the clock shows a time before it was looked at, and for longer than a minute."""

    def believing(self: Hours, now_s: float) -> float | None:
        now_us = self._clock.now_us()
        until_us = self._closed_us[1]
        if now_us >= until_us:
            now = from_us(now_us)
            opens = self._table.opens_next(now)
            if opens == now:
                return self._inner.wait_s(now_s)
            left_s = LOOK_AGAIN_S if opens is None else (opens - now).total_seconds()
            self._closed_us = (now_us, until_us := now_us + int(left_s * 1_000_000))
        return max(0.001, (until_us - now_us) / 1_000_000)

    with patch.object(Hours, "wait_s", believing):
        yield


@mutant("what comes behind a batch overtakes the rest of it")
def _behind_overtakes() -> Iterator[None]:
    with patch.object(Batches, "is_before", lambda self, reply, later: False):
        yield


@mutant("who could not be stored is left out of a batch's answer")
def _left_out() -> Iterator[None]:
    def silent(self: BatchReply, number: int, answer: bytes) -> None:
        self.settle(number, b"")

    with patch.object(BatchReply, "not_kept", silent):
        yield


@mutant("the answers of a batch stand in the order they were made")
def _as_they_were_made() -> Iterator[None]:
    settle = BatchReply.settle

    def next_one(self: BatchReply, number: int, answer: bytes) -> None:
        settle(self, self._answers.index(None), answer)

    with patch.object(BatchReply, "settle", next_one):
        yield


@mutant("a batch is answered before the last of it is stored")
def _answered_early() -> Iterator[None]:
    """Once its first message is: with a yes to each, as soon as all are taken."""
    settled = BatchRun._member_settled

    def early(self: BatchRun) -> None:
        settled(self)
        together, batch = self._together, self._batch
        first = together._answers[0]
        if batch is None or not first or b"MSA|AA|" not in first:
            return
        told = first.rpartition(b"MSA|AA|")[2].partition(b"\r")[0]
        for at, raw in enumerate(batch):
            if together._answers[at] is None:
                control_id = field_of(raw, b"MSH", 9).encode()
                together.settle(at, first.replace(b"MSA|AA|" + told, b"MSA|AA|" + control_id))

    with patch.object(BatchRun, "_member_settled", early):
        yield


@mutant("what the run before had of a message in fragments is not taken up")
def _not_taken_up() -> Iterator[None]:
    async def nothing(self: FragmentKeeper) -> None:
        """As if there was none."""

    with patch.object(FragmentKeeper, "load", nothing):
        yield


@mutant("a fragment is acknowledged before it is stored")
def _fragment_early() -> Iterator[None]:
    keep = FragmentKeeper._keep

    async def early(self: FragmentKeeper, record: Intake, state: Any, answer: Any, *more: Any) -> Any:
        if answer.payload:
            more[2].settle(framed(answer.payload))
        return await keep(self, record, state, answer, *more)

    with patch.object(FragmentKeeper, "_keep", early):
        yield


@mutant("the last fragment is acknowledged before its message is stored")
def _last_early() -> Iterator[None]:
    commit = WholeMessages.commit

    async def hasty(self: WholeMessages, found: Any, record: Intake) -> bool:
        await commit(self, found, record)
        return True  # whether it was stored or not

    with patch.object(WholeMessages, "commit", hasty):
        yield


@mutant("fragments and their message are stored apart")
def _apart() -> Iterator[None]:
    commit = WholeMessages.commit

    async def in_two(self: WholeMessages, found: Any, record: Intake) -> bool:
        parts, record.parts = record.parts, None
        stored = await commit(self, found, record)
        record.parts = parts
        return stored

    with patch.object(WholeMessages, "commit", in_two):
        yield


@mutant("what came behind a message in fragments overtakes it")
def _overtaken() -> Iterator[None]:
    finish = FragmentKeeper._finish

    async def at_the_end(self: FragmentKeeper, complete: Any, reply: Any = None, *more: Any) -> None:
        if reply is None:
            await finish(self, complete)
        else:
            self._channel.line.add(lambda: finish(self, complete, reply, *more), reply.sender)

    with patch.object(FragmentKeeper, "_finish", at_the_end):
        yield


@mutant("what waits for the rest of its message is never given up")
def _never_given_up() -> Iterator[None]:
    with patch.object(FragmentKeeper, "_is_overdue", lambda self, found: False):
        yield


@mutant("what was given up does not begin anew")
def _not_anew() -> Iterator[None]:
    with patch.object(FragmentKeeper, "_begins_anew", lambda self, match, known, fragment, expected: False):
        yield


@mutant("a reload forgets what waits for the rest of its message")
def _forgotten_by_a_reload() -> Iterator[None]:
    def forgetful(channel: Any, committer: Any, queries: Any, clock: Any, tasks: Any) -> None:
        continuation = channel.compiled.file.fragments.dsc
        if continuation is not None:
            keeper = channel.fragments = FragmentKeeper(channel, continuation, committer, queries, clock)
            tasks.spawn(keeper.run(), "fragments")

    with patch.object(engine.exchange, "change_fragments", forgetful):
        yield
