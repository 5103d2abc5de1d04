"""Messages that come in fragments: each is stored before it is acknowledged, and the last one makes the message.

States and moves of a fragment's row are those of `model.states`: it is `waiting` from its own commit on, and moves to
`joined` (or `rejected`, with the message) in the one transaction that stores the whole message with its deliveries.
So a crash at any moment leaves either all fragments that were acknowledged, or the message, and never both or neither.

A set of fragments::

    (none)      --first fragment stored-->             open       waits for the pointer that its last fragment named
    open        --the next one stored-->               open | complete
    complete    --whole message stored-->              (none)     processed, filtered, held or rejected as any other
    complete    --the store has no room-->             complete   tried again, also when its last fragment comes again
    open        --time-out, or its pointer is taken--> (none)     one held message of what came, for a person

All work on fragments of a channel is done in the channel's line, one piece after the other, each to the end of its
commit; while any is at work, other messages of the channel wait for their turn there, so that none overtakes.

Of open sets only places and sizes are in memory. The bytes are read back from the store when all are there.
hl7.md item 66; HL7 v2.5.1 section 2.10.2.2.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from engine.config.fragments import Continuation
from engine.hl7.errors import UnreadableMessage
from engine.hl7.fragments import Assembly, Fragment, Misplaced, OpenSet, read_fragment
from engine.hl7.message import Message
from engine.mllp.framing import END, VT
from engine.model.envelope import Intake, Known, Parts
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import MessageSeq, VersionId
from engine.model.states import MessageState
from engine.pipeline import entry
from engine.pipeline.answer import NOTHING, Answer
from engine.pipeline.fragments import (
    answer_fragment,
    answer_whole,
    bounds_of,
    incomplete,
    joined_from,
    misplaced,
    settled,
    superseded,
)
from engine.pipeline.run import Result
from engine.ports.clock import Clock, from_us
from engine.ports.store import CommitUnknown, StoredMessage, StoreError, StoreQueries
from engine.runtime.channels import Nobody, RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.received import framed
from engine.runtime.tasks import describe, in_turn
from engine.runtime.whole_messages import DAMAGED, ReadBack, StoredPart, WholeMessages, waiting_parts

if TYPE_CHECKING:
    from engine.runtime.batch import BatchMember
    from engine.runtime.connection import Reply

log = logging.getLogger("segmill.fragments")

LOOK_S = 1.0
"""How often open sets are looked at for their time-out, and complete ones tried again."""


class Desk(Protocol):
    """What the keeper leaves to intake."""

    def keep_rejected(
        self,
        channel: RunningChannel,
        record: Intake,
        message: Message,
        finding: Finding,
        reply: "Reply | BatchMember",
    ) -> None: ...

    def not_stored(
        self, channel: RunningChannel, message: Message | None, replies: Sequence["Reply | BatchMember"]
    ) -> None: ...

    def remember(self, record: Intake) -> None: ...

    def told(
        self, reply: "Reply | BatchMember", state: MessageState, findings: Sequence[Finding], seq: MessageSeq
    ) -> None: ...


class FragmentKeeper:
    """Keeps the unfinished messages of one channel."""

    def __init__(
        self,
        channel: RunningChannel,
        settings: Continuation,
        committer: Committer,
        queries: StoreQueries,
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._settings = settings
        self.is_ending = False
        """Whether the channel no longer joins: what is in line is still done."""
        self._committer = committer
        self._queries = queries
        self._clock = clock
        self._assembly: Assembly[StoredPart] = Assembly(bounds_of(settings))
        self._complete: dict[MessageSeq, OpenSet[StoredPart]] = {}
        self._displaced: list[OpenSet[StoredPart]] = []
        """Sets whose pointer another message took, and that are not held yet."""
        self._coming: Counter[tuple[str, str]] = Counter()
        self._has_open = asyncio.Event()
        self._is_looking = False
        self._run_id = clock.random_bytes(4).hex().upper()
        self._wholes = WholeMessages(channel, committer, queries, clock.random_bytes(8))
        self._count = 0
        self._label = f"channel {channel.name}: a message in fragments"

    # -- start and time -------------------------------------------------------------------------

    async def load(self) -> None:
        """Take up what the last run left, before any sender is listened to; the time-outs begin anew."""
        after = MessageSeq(0)
        while found := await self._committer.call(partial(waiting_parts, self._channel, after)):
            for stored in found:
                await self._take_up(stored)
            after = found[-1].seq
        self._look_in_turn()

    def change(self, settings: Continuation) -> None:
        """From the next fragment on."""
        self._settings = settings
        self._assembly.bounds = bounds_of(settings)
        self.is_ending = False

    def end(self, ended: Callable[[], Awaitable[None]]) -> None:
        """Join nothing more, and have `ended` when what is in line is done, unless the files say otherwise by then."""
        self.is_ending = True

        async def last() -> None:
            if self.is_ending:
                await ended()

        self._channel.line.add(last, Nobody())

    async def _take_up(self, stored: StoredMessage) -> None:
        raw = stored.raw
        assert raw is not None, "the store holds what is damaged, and does not give it"
        try:
            message = Message.parse(raw, fallback=self._channel.compiled.fallback_charset)
            fragment = read_fragment(message)
            if fragment is None:
                raise Misplaced("fit", "it is no fragment")
            found = self._assembly.place(stored.sender, fragment)
        except (UnreadableMessage, Misplaced) as why:
            # The bounds were lowered, or a fragment before it was damaged: a person sees to it.
            log.warning("channel %s: stored fragment %d is held: %s", self._channel.name, stored.seq, why)
            await self._wholes.hold(
                stored, Finding("E262", "error", f"after a start of the engine: {why}", hl7_code="207")
            )
            return
        self._displace(self._assembly.rival(stored.sender, fragment, found))
        part = StoredPart(stored.seq, stored.received_at_us, stored.peer, stored.ack_code, stored.ack)
        self._add(stored.sender, found, fragment, part)

    async def run(self) -> None:
        """Look after open sets and complete ones, as long as there are any. Ends by being cancelled."""
        while self._channel.fragments is self:
            await self._has_open.wait()
            if not self._assembly and not self._complete and not self._displaced:
                self._has_open.clear()
                continue
            await asyncio.sleep(min(LOOK_S, self._settings.timeout / 4))
            if self._complete or self._displaced or any(map(self._is_overdue, self._assembly.open_sets)):
                self._look_in_turn()

    def _is_overdue(self, found: OpenSet[StoredPart]) -> bool:
        return self._clock.monotonic() - found.touched_at > self._settings.timeout

    def _look_in_turn(self) -> None:
        """Have complete sets made messages, and overdue ones set aside, when that is the next in line."""
        if not self._is_looking:
            self._is_looking = True
            self._channel.line.add(self._look, Nobody())

    async def _look(self) -> None:
        self._is_looking = False
        overdue = [found for found in self._assembly.open_sets if self._is_overdue(found)]
        late = (self._set_aside(found, incomplete(len(found.parts), self._settings.timeout)) for found in overdue)
        await self._hold_displaced()
        await in_turn(self._label, (*map(self._finish, list(self._complete.values())), *late))

    # -- intake's calls -------------------------------------------------------------------------

    def expects(self, sender: str, fragment: Fragment) -> bool:
        """Whether an unfinished message of this sender goes on with this fragment; also one that is still in line."""
        key = (sender, fragment.pointer)
        return bool(fragment.pointer) and (self._coming[key] > 0 or self._assembly.expects(*key) is not None)

    def offer(
        self,
        record: Intake,
        message: Message,
        fragment: Fragment,
        findings: tuple[Finding, ...],
        reply: "Reply | BatchMember",
        desk: Desk,
    ) -> None:
        """Take a fragment in its turn; settles `reply` sooner or later. `record` is as of any received message."""
        coming = (record.sender, fragment.next)
        if fragment.next:
            self._coming[coming] += 1

        async def work() -> None:
            try:
                await self._take(record, message, fragment, findings, reply, desk)
            except BaseException:
                reply.drop()
                raise
            finally:
                if fragment.next:
                    self._coming[coming] -= 1
                    if not self._coming[coming]:
                        del self._coming[coming]

        self._channel.line.add(work, reply.sender)

    # -- one fragment ---------------------------------------------------------------------------

    async def _take(
        self,
        record: Intake,
        message: Message,
        fragment: Fragment,
        findings: tuple[Finding, ...],
        reply: "Reply | BatchMember",
        desk: Desk,
    ) -> None:
        channel = self._channel
        try:
            known = self._known(record)
            match = next((one for one in known if one.body_hash == record.body_hash), None)
            expected = self._assembly.expects(record.sender, fragment.pointer) if fragment.pointer else None
            is_again = match is not None
            if match is not None and not self._begins_anew(match, known, fragment, expected):
                await self._answer_again(match, message, reply, desk)
                return
        except StoreError:
            desk.not_stored(channel, message, [reply])
            return
        if known and match is None:
            findings += (entry.id_used_again(known[0].seq),)
        read_as = message.beyond_ascii
        if read_as is not None:
            channel.senders.count(record.sender, read_as.evidence, findings)
            if channel.compiled.strict_charset and (refusal := entry.undecodable(message)) is not None:
                desk.keep_rejected(channel, record, message, refusal, reply)
                return
        try:
            found = self._assembly.place(record.sender, fragment)
        except Misplaced as why:
            await self._refuse(why, record, message, findings, reply, desk)
            return
        now = from_us(record.received_at_us)
        answer = answer_fragment(message, channel.answers, now, self._next_id, is_last=fragment.is_last)
        stored = await self._keep(record, "waiting", answer, findings, message, reply, desk)
        if stored is None:
            return
        self._displace(self._assembly.rival(record.sender, fragment, found))
        part = StoredPart(stored, record.received_at_us, record.peer, answer.code, answer.payload)
        found = self._add(record.sender, found, fragment, part)
        found.is_again |= is_again
        await self._hold_displaced()
        if found.is_complete:
            await self._finish(found, reply, desk, message)
        else:
            desk.told(reply, "waiting", findings, stored)
            self._settle(reply, answer)

    def _displace(self, rival: OpenSet[StoredPart] | None) -> None:
        """A fragment took the pointer of this set, which cannot go on: it is held as soon as the store takes that."""
        if rival is not None:
            self._assembly.drop(rival)
            self._displaced.append(rival)

    async def _hold_displaced(self) -> None:
        await in_turn(self._label, map(self._hold_rival, list(self._displaced)))

    async def _hold_rival(self, rival: OpenSet[StoredPart]) -> None:
        if await self._set_aside(rival, superseded(len(rival.parts))):
            self._displaced.remove(rival)

    def _known(self, record: Intake) -> Sequence[Known]:
        """Those with its control id within the window, and any that still waits: that one cannot be another's."""
        window = self._channel.duplicates_window_us
        if not window:
            return ()
        since_us = record.received_at_us - window
        every = self._queries.known(self._channel.name, record.sender, record.control_id, 0)
        return [one for one in every if one.received_at_us >= since_us or one.state == "waiting"]

    def _begins_anew(
        self, match: Known, known: Sequence[Known], fragment: Fragment, expected: OpenSet[StoredPart] | None
    ) -> bool:
        """Whether a fragment that was here before is to be taken once more, as what it was a part of came to nothing.

        Its message was rejected, or only parts of it came in time: then its sender sends all of it again.
        """
        if match.state == "waiting":
            return False
        if not fragment.is_first:
            return expected is not None and (expected.is_again or match.state in ("held", "rejected"))
        if match.state != "joined":
            return True
        # Not the other fragments, where they have the control id of the first one, too.
        others = [one for one in known if one.seq > match.seq and one.body_hash != match.body_hash]
        whole = [one.seq for one in others if one.state not in ("waiting", "joined")]
        stored = self._queries.message(whole[-1]) if whole else None
        return stored is not None and any(f.code == "E260" for f in load_findings(stored.findings))

    async def _answer_again(self, match: Known, message: Message, reply: "Reply | BatchMember", desk: Desk) -> None:
        """A resend: what was said of it before; of the last one of a complete set, once the whole message is stored."""
        complete = self._complete.get(match.seq)
        if complete is not None:
            await self._finish(complete, reply, desk, message)
            return
        self._channel.count("duplicate")
        desk.told(reply, match.state, (), match.seq)
        self._settle(reply, Answer(match.ack_code, match.ack))

    async def _refuse(
        self,
        why: Misplaced,
        record: Intake,
        message: Message,
        findings: tuple[Finding, ...],
        reply: "Reply | BatchMember",
        desk: Desk,
    ) -> None:
        finding = misplaced(why)
        if why.kind != "unknown" or self._settings.unknown == "reject":
            desk.keep_rejected(self._channel, record, message, finding, reply)
            return
        now = from_us(record.received_at_us)
        answer = answer_fragment(message, self._channel.answers, now, self._next_id, is_last=False)
        stored = await self._keep(record, "held", answer, (*findings, finding), message, reply, desk)
        if stored is not None:
            desk.told(reply, "held", (*findings, finding), stored)
            self._settle(reply, answer)

    async def _keep(
        self,
        record: Intake,
        state: MessageState,
        answer: Answer,
        findings: tuple[Finding, ...],
        message: Message,
        reply: "Reply | BatchMember",
        desk: Desk,
    ) -> MessageSeq | None:
        """Store one fragment; None, and its sender told, when it cannot be."""
        record.state, record.ack_code, record.ack = state, answer.code, answer.payload
        record.findings = dump_findings(findings)
        desk.remember(record)
        try:
            seq, _ = await self._wholes.put(record)
        except CommitUnknown:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the store refuses it for, it was not kept
            log.debug("channel %s: a fragment was not stored: %s", self._channel.name, describe(error))
            desk.not_stored(self._channel, message, [reply])
            return None
        for finding in findings:
            self._channel.meter.finding(finding.code)
        self._channel.count(state)
        return seq

    def _add(
        self, sender: str, found: OpenSet[StoredPart] | None, fragment: Fragment, part: StoredPart
    ) -> OpenSet[StoredPart]:
        found = self._assembly.add(sender, found, fragment, part, self._clock.monotonic())
        if found.is_complete:
            self._complete[part.seq] = found
        self._has_open.set()
        return found

    # -- the whole message ----------------------------------------------------------------------

    async def _finish(
        self,
        complete: OpenSet[StoredPart],
        reply: "Reply | BatchMember | None" = None,
        desk: Desk | None = None,
        message: Message | None = None,
    ) -> None:
        """Make the message of a complete set, and answer its last fragment (`message`), if anybody waits for that."""
        last = complete.parts[-1]
        if self._complete.get(last.seq) is not complete:
            return  # done meanwhile
        whole = await self._wholes.read(complete)
        if whole is None:
            del self._complete[last.seq]
            await self._wholes.hold_parts(complete, DAMAGED)
            if reply is not None and desk is not None and message is not None:
                desk.told(reply, "held", (DAMAGED,), last.seq)
                now = from_us(last.received_at_us)
                told = answer_fragment(message, self._channel.answers, now, self._next_id, is_last=False)
                self._settle(reply, told)
            return
        now = from_us(last.received_at_us)
        channel = self._channel
        joined = whole.joined
        with channel.turn() as version:
            result = Result.received() if channel.ack_when_stored else await channel.process(joined.raw, now)
            result = settled(joined, result, channel.answers)
            await self._finish_with(result, version, complete, whole, now, reply, desk)

    async def _finish_with(
        self,
        result: Result,
        version: VersionId,
        complete: OpenSet[StoredPart],
        whole: ReadBack,
        now: datetime,
        reply: "Reply | BatchMember | None",
        desk: Desk | None,
    ) -> None:
        channel, joined, last = self._channel, whole.joined, complete.parts[-1]
        accepted = Answer(last.ack_code, last.ack) if last.ack else NOTHING
        answer = answer_whole(
            whole.last,
            accepted,
            joined,
            result,
            channel.answers,
            now,
            self._next_id,
            names_last=self._settings.answers == "last",
        )
        findings = (joined_from(len(complete.parts)), *entry.notices(joined), *result.findings)
        record = self._wholes.record(complete, whole, result, findings)
        record.version = version
        own = answer.payload[len(accepted.payload) :].removeprefix(END + VT) if accepted.payload else answer.payload
        record.ack_code, record.ack = answer.code, own
        if answer.apart:
            record.deliveries = [*result.deliveries, *answer.deliveries]
        seqs = [part.seq for part in complete.parts]
        record.parts = Parts(seqs, "rejected" if result.state == "rejected" else "joined", answer.code, answer.payload)
        if await self._wholes.commit(complete, record):
            del self._complete[last.seq]
            if reply is not None and desk is not None:
                desk.told(reply, record.state, findings, last.seq)
                self._settle(reply, answer)
        elif reply is not None and desk is not None:
            desk.not_stored(channel, whole.last, [reply])

    async def _set_aside(self, found: OpenSet[StoredPart], finding: Finding) -> bool:
        """What came of a message that will not be complete: one held message, for a person to release or discard.

        False: the store has no room for it now.
        """
        whole = await self._wholes.read(found)
        if whole is None:
            self._assembly.drop(found)
            await self._wholes.hold_parts(found, DAMAGED)
            return True
        record = self._wholes.record(found, whole, Result("held", []), (finding,))
        record.parts = Parts([part.seq for part in found.parts])
        if not await self._wholes.commit(found, record):
            found.touched_at = self._clock.monotonic()
            return False
        self._assembly.drop(found)
        log.warning("channel %s: a message in fragments was not completed; what came of it is held", self._channel.name)
        return True

    # -- small things ---------------------------------------------------------------------------

    def _settle(self, reply: "Reply | BatchMember", answer: Answer) -> None:
        self._channel.meter.acknowledged(answer.code, self._clock.monotonic() - reply.started)
        reply.settle(framed(answer.payload))

    def _next_id(self) -> str:
        """MSH-10 of an answer: unique over restarts, at most 20 characters."""
        self._count += 1
        return f"{self._run_id}{self._count:X}"
