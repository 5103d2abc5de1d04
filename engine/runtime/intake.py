"""Intake: every block gets an answer, and a positive one only after the commit (DESIGN section 4).

For one block: read it, find its channel, see whether it is a resend, run the pipeline, put the message
with its deliveries to the committer, and settle the reply when that has committed. What cannot be
read, or belongs to no channel of the port, is refused by name and kept as rejected with its bytes.

What is sent again (same channel, sender, MSH-10 and bytes, within the window) is not processed again:
it gets the stored answer. While the first is still on its way to the disk, the second waits for the
same commit. A rejected message does not count: its sender was told to keep it, and may have been let
in since.
"""

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from engine.config.fragments import Batches as BatchFields
from engine.hl7.ack import Decision
from engine.hl7.batch import may_be_several, read_batch
from engine.hl7.errors import UnreadableMessage
from engine.hl7.fragments import Fragment, read_fragment
from engine.hl7.message import Message
from engine.mllp.framing import Oversize
from engine.model.envelope import Delivery, Known
from engine.model.envelope import Intake as Received
from engine.model.finding import Finding, dump_findings
from engine.model.ids import MessageSeq
from engine.model.states import MessageState
from engine.pipeline import entry
from engine.pipeline.answer import NOTHING, Answer, answer_result, refuse
from engine.pipeline.run import Result
from engine.ports.clock import Clock, from_us
from engine.ports.store import StoreError, StoreFull, StoreQueries
from engine.runtime.batch import Batches, BatchSettings
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.connection import Reply
from engine.runtime.large import LARGE_BYTES, Seen
from engine.runtime.received import control_id_of, framed, read_or_none, record_of, sender_of, type_of
from engine.runtime.recent import Key, Recent, Reuse
from engine.runtime.resends import Resends
from engine.runtime.sequence import Judgement, SequenceNumbers, written_in
from engine.runtime.tasks import describe
from engine.runtime.waiting import AnyReply, Waiting

log = logging.getLogger("segmill.intake")

TIMED_EVERY = 16
"""Step times are measured on every n-th message: two clock calls a step are not free."""


class Receiver:
    """Takes the blocks of one port for the channels that share it, in their order."""

    def __init__(
        self,
        channels: Sequence[RunningChannel],
        committer: Committer,
        queries: StoreQueries,
        recent: Recent,
        clock: Clock,
        batches: BatchFields | None = None,
    ) -> None:
        self._channels: Sequence[RunningChannel] = channels
        self.serve(channels)
        self._committer = committer
        self._queries = queries
        self._recent = recent
        self._reuse = Reuse()
        self._resends = Resends(committer, queries, clock, self.next_id)
        self._clock = clock
        self._batches = Batches(self, BatchSettings.of(batches or BatchFields()), self._fallback, clock)
        self._run_id = clock.random_bytes(4).hex().upper()
        self._receive_prefix = clock.random_bytes(8)
        self._count = self._since_timed = 0
        self._on_the_way: dict[tuple[Key, bytes], Waiting] = recent.on_the_way
        self.has_room = True
        """False while the store's disk is nearly full: refused, so that there is room to record deliveries."""

    def serve(self, channels: Sequence[RunningChannel] | None = None) -> None:
        """From the next block on: these, at least one, as they are now; without any, those that it had."""
        self._channels = self._channels if channels is None else list(channels)
        self._joining = [channel for channel in self._channels if channel.joins_fragments]
        self._first = self._channels[0]
        self._fallback: str = self._first.compiled.fallback_charset

    # -- blocks ---------------------------------------------------------------------------------

    def take(self, payload: bytes, reply: Reply) -> None:
        """Answer one block, sooner or later; settles `reply` exactly once."""
        if self._batches.running and self._batches.is_before(reply, partial(self.take, payload, reply)):
            return
        now_us = self._clock.now_us()
        if len(payload) < LARGE_BYTES:
            self._take_block(payload, reply, now_us)
        else:
            self._batches.look(payload, self._fallback, reply, partial(self._take_block, payload, reply, now_us))

    def _take_block(self, payload: bytes, reply: Reply, now_us: int, seen: Seen | None = None) -> None:
        if may_be_several(payload) if seen is None else seen.is_several:
            batch, seen = read_batch(payload), None  # it was not looked at any further
            if batch is not None:
                self._batches.take(batch, reply, now_us)
                return
        self.take_one(payload, reply, now_us, (), seen)

    def take_oversize(self, block: Oversize, reply: Reply) -> None:
        """Longer than the port's limit: refused with 207 and the limit, from what its start tells (hl7.md item 8)."""
        if self._batches.running and self._batches.is_before(reply, partial(self.take_oversize, block, reply)):
            return
        now_us = self._clock.now_us()
        channel = self._first
        channel.received += 1
        channel.meter.received(block.size_bytes, now_us / 1_000_000)
        message = read_or_none(block.prefix, self._fallback)
        finding = entry.oversize(block.size_bytes, block.limit_bytes)
        answer = refuse(message, [finding], "error", channel.answers, from_us(now_us), self.next_id)
        # Only the start of it is here: that much is kept, so that somebody can see who sends such things.
        self._keep_rejected(channel, block.prefix, message, [finding], answer, reply, now_us)

    def take_one(
        self, raw: bytes, reply: AnyReply, now_us: int, noted: tuple[Finding, ...] = (), seen: Seen | None = None
    ) -> None:
        now = from_us(now_us)
        if not self.has_room:
            self._no_room(raw, reply, now_us)
            return
        try:
            message = Message.parse(raw, fallback=self._fallback) if seen is None else seen.message(self._fallback)
        except UnreadableMessage as error:
            self._unreadable(raw, error, reply, now_us, now)
            return
        takers = self._channels
        fragment: Fragment | None = None
        if self._joining and (fragment := read_fragment(message)) is not None:
            takers = self._takers(message, fragment)
        for channel in takers:
            if takers is not self._channels or channel.compiled.accepts(message):
                break
        else:
            self._unclaimed(raw, message, reply, now_us, now)
            return
        if channel.is_intake_paused:
            # As where there is no room, so that its sender keeps the message; what is stored is answered as it was.
            if not self._is_stored(message, raw, reply, now_us):
                self.not_stored(channel, message, [reply], entry.PAUSED)
            return
        if channel.compiled.fallback_charset != self._fallback and message.charset.evidence == "fallback":
            message = Message.parse(raw, fallback=channel.compiled.fallback_charset)
        number: int | None = None
        if channel.sequences is not None and (written := written_in(message)):
            judged = self._in_sequence(channel, channel.sequences, written, raw, message, reply, now_us, noted)
            if judged is None:
                return
            number = judged.number
        channel.received += 1
        channel.meter.received(len(raw), now_us / 1_000_000)
        control_id = control_id_of(message)
        if not control_id:
            answer = refuse(message, [entry.NO_CONTROL_ID], "reject", channel.answers, now, self.next_id)
            self._keep_rejected(channel, raw, message, [entry.NO_CONTROL_ID], answer, reply, now_us)
            return
        sender = sender_of(message)
        body_hash = hashlib.blake2b(raw, digest_size=16).digest() if seen is None else seen.body_hash
        key = (channel.name, sender, control_id)
        findings = entry.notices(message) if message.warnings or len(message.fields(0)) > 15 else ()
        if noted:
            findings += noted
        if fragment is not None and channel.fragments is not None:
            part = record_of(
                channel, self._next_receive_id(), raw, message, sender, control_id, body_hash, reply.peer, now_us
            )
            channel.fragments.offer(part, message, fragment, findings, reply, self)
            return
        if channel.duplicates_window_us and self._recent.may_hold(key, now_us - channel.duplicates_window_us):
            try:
                known = self._resend_of(channel, key, message, body_hash, reply, now_us)
            except StoreError:
                # Whether it is a resend cannot be found out now: neither processed twice nor lost, but refused.
                self.not_stored(channel, message, [reply])
                return
            if known is None:
                if number is not None and channel.sequences is not None:
                    channel.sequences.ended(sender, number)  # after a new start of the link: this is its base
                return
            findings += known
        read_as = message.beyond_ascii
        if read_as is not None:
            channel.senders.count(sender, read_as.evidence, findings)
            if channel.compiled.strict_charset and (refusal := entry.undecodable(message)) is not None:
                answer = refuse(message, [refusal], "error", channel.answers, now, self.next_id)
                self._keep_rejected(channel, raw, message, [*findings, refusal], answer, reply, now_us)
                return
        if channel.drift is not None:
            findings += channel.drift.observe(message, now)
        if channel.duplicates_window_us:
            waiting = Waiting(self, channel, key, body_hash, reply)
            self._on_the_way[key, body_hash] = waiting
            self._recent.add(key)
        else:
            waiting = Waiting(self, channel, None, body_hash, reply)
        waiting.record = record_of(
            channel, self._next_receive_id(), raw, message, sender, control_id, body_hash, reply.peer, now_us
        )
        if number is not None:
            waiting.record.sequence = number
            waiting.starts_numbered()
        try:
            if channel.answers_at_once:
                self._since_timed += 1
                timer = None
                if self._since_timed >= TIMED_EVERY:
                    self._since_timed, timer = 0, channel.timer
                self._finish(waiting, message, channel.compiled.run(message, now, timer=timer), findings, now)
            elif channel.ack_when_stored and not channel.is_in_turn:
                self._finish(waiting, message, Result.received(), findings, now)
            else:
                self._in_turn(waiting, message, findings, now)
        except BaseException:
            # A defect of ours. The sender will send it again, and must not be made to wait for this one.
            self._on_the_way.pop((key, body_hash), None)
            if number is not None:
                waiting.ends_numbered(None)
            raise

    def _takers(self, message: Message, fragment: Fragment) -> Sequence[RunningChannel]:
        """The one channel that has the fragments before this one, else all."""
        sender = sender_of(message)
        for channel in self._joining:
            if channel.fragments is not None and channel.fragments.expects(sender, fragment):
                return [channel]
        return self._channels

    def _finish(
        self, waiting: Waiting, message: Message, result: Result, findings: tuple[Finding, ...], now: datetime
    ) -> None:
        """The pipeline has spoken: make it durable, then say so."""
        channel = waiting.channel
        record = waiting.record
        if record.sequence is None:
            answer = answer_result(message, result, channel.answers, now, self.next_id)
        else:
            answer = answer_result(message, result, channel.answers, now, self.next_id, record.sequence)
            if result.state == "rejected":
                record.sequence = None  # its sender is told no, and may send another one with this number
        record.state = result.state
        record.ack_code = answer.code
        record.ack = answer.payload
        every = findings + result.findings if findings else result.findings
        if every:
            record.findings = dump_findings(every)
            channel.count_findings(every)
        record.deliveries = [*result.deliveries, *answer.deliveries] if answer.apart else result.deliveries
        if channel.tracing is not None:
            waiting.decided_s = self._clock.monotonic()
        waiting.message = message.for_its_answer()
        waiting.answer = answer
        if answer.is_first:
            waiting.later = channel.delivered
        self._committer.put(record, waiting.committed, waiting.refused, waiting.reply.sender)

    def _in_turn(self, waiting: Waiting, message: Message, findings: tuple[Finding, ...], now: datetime) -> None:
        """The pipeline runs in a process of its own; messages of the channel take their turns there."""
        message = message.for_its_answer()  # while it waits, and is in the process, its bytes are enough

        async def work() -> None:
            channel = waiting.channel
            if not channel.ack_when_stored and not await channel.backlog.caught_up():
                return self._forget(waiting)  # the engine stops
            with channel.turn() as version:
                waiting.record.version = version  # the files may be others than when it came
                raw = waiting.record.raw
                result = Result.received() if channel.ack_when_stored else await channel.process(raw, now)
                try:
                    self._finish(waiting, message, result, findings, now)
                except BaseException:
                    self._forget(waiting)
                    raise

        waiting.channel.line.add(work, waiting.reply.sender)

    def _forget(self, waiting: Waiting) -> None:
        """A defect of ours: those who wait are not answered, and may send it again without waiting for this one."""
        if waiting.key is not None:
            self._on_the_way.pop((waiting.key, waiting.body_hash), None)
        if waiting.is_numbered:
            waiting.ends_numbered(None)
        for reply in (waiting.reply, *waiting.also):
            reply.drop()

    # -- resends --------------------------------------------------------------------------------

    def _resend_of(
        self, channel: RunningChannel, key: Key, message: Message, body_hash: bytes, reply: AnyReply, now_us: int
    ) -> tuple[Finding, ...] | None:
        """None: it was one, and is taken care of. Else the findings to go on with."""
        first = self._on_the_way.get((key, body_hash))
        if first is not None:
            first.also.append(reply)
            return None
        same_id: Sequence[Known] = self._queries.known(
            channel.name, key[1], key[2], now_us - channel.duplicates_window_us
        )
        for known in same_id:
            if known.body_hash == body_hash:
                channel.count("duplicate")
                self.told(reply, known.state, seq=known.seq)
                if channel.rejoin(known, message, reply):
                    return None
                if channel.app_ack is not None:
                    channel.app_ack.again(known.seq)
                self._resends.answer(channel, message, known, reply, now_us)
                return None
        if not same_id:
            return ()
        told = self._reuse.again(key, same_id[0].seq, now_us)
        if not told:
            channel.meter.finding("E232")
        return told

    # -- numbered messages ----------------------------------------------------------------------

    def _in_sequence(
        self,
        channel: RunningChannel,
        numbers: SequenceNumbers,
        written: str,
        raw: bytes,
        message: Message,
        reply: AnyReply,
        now_us: int,
        noted: tuple[Finding, ...],
    ) -> Judgement | None:
        """Judge a message by MSH-13. None: it is taken care of; else it is to be processed (hl7.md item 64)."""
        sender = sender_of(message)
        if numbers.waits(sender, partial(self._take_in_sequence, raw, reply, now_us, noted)):
            return None  # it is taken when its turn has come
        judged = numbers.judge(sender, written)
        control_id = control_id_of(message)
        if judged.verdict == "take" or not control_id:
            return judged
        if judged.verdict == "again":
            try:
                if not self._queries.known(channel.name, sender, control_id, 0):
                    judged = numbers.other(judged)  # nothing of this one was ever stored: no yes to it
            except StoreError as error:
                waiting = Waiting(self, channel, None, b"", reply)
                waiting.message = message
                self.refused(waiting, error)
                return None
        channel.received += 1
        channel.meter.received(len(raw), now_us / 1_000_000)
        now = from_us(now_us)
        if judged.finding is not None:
            found = [judged.finding]
            answer = refuse(message, found, "error", channel.answers, now, self.next_id, judged.expected)
            self._keep_rejected(channel, raw, message, found, answer, reply, now_us)
            return None
        answer = answer_result(message, Result("filtered"), channel.answers, now, self.next_id, judged.expected)
        if judged.verdict == "again":
            channel.count("duplicate")
            channel.meter.acknowledged(answer.code, self._clock.monotonic() - reply.started)
            self.told(reply, "processed")
            reply.settle(framed(answer.payload))
            return None
        waiting = self._kept(channel, raw, message, (entry.LINK,), answer, reply, now_us, "filtered")
        waiting.record.sequence = judged.number
        waiting.starts_numbered()
        self._committer.put(waiting.record, waiting.committed, waiting.refused, reply.sender)
        return None

    def _take_in_sequence(self, raw: bytes, reply: AnyReply, now_us: int, noted: tuple[Finding, ...]) -> None:
        """Its turn has come, at the end of another's message: a defect must cost neither that one nor those behind."""
        try:
            self.take_one(raw, reply, now_us, noted)
        except Exception as error:  # noqa: BLE001 - the edge of a request: its neighbours keep running
            log.error("a numbered message is given up, and its connection closed: %s", describe(error))
            reply.drop()

    # -- refusals -------------------------------------------------------------------------------

    def _unreadable(self, raw: bytes, error: UnreadableMessage, reply: AnyReply, now_us: int, now: datetime) -> None:
        channel = self._first
        channel.received += 1
        channel.meter.received(len(raw), now_us / 1_000_000)
        finding = entry.unreadable(error)
        mllp = channel.compiled.file.listen.mllp
        if mllp is not None and mllp.unreadable == "close":
            reply.sender.close_when_answered()
            self._keep_rejected(channel, raw, None, [finding], NOTHING, reply, now_us)
            return
        answer = refuse(None, [finding], "reject", channel.answers, now, self.next_id)
        self._keep_rejected(channel, raw, None, [finding], answer, reply, now_us)

    def _unclaimed(self, raw: bytes, message: Message, reply: AnyReply, now_us: int, now: datetime) -> None:
        """No channel of this port takes it: AR or CR with 200 or 201, by whether the type or the event is foreign."""
        channel = self._first
        channel.received += 1
        channel.meter.received(len(raw), now_us / 1_000_000)
        finding = entry.unclaimed([c.compiled for c in self._channels], message)
        answer = refuse(message, [finding], "reject", channel.answers, now, self.next_id)
        self._keep_rejected(channel, raw, message, [finding], answer, reply, now_us)

    def take_miscounted(self, raw: bytes, noted: Sequence[Finding], reply: AnyReply, now_us: int) -> None:
        """Of a batch or file whose count is not true, on a port that refuses such; a resend has its stored answer."""
        findings = entry.refused_for_count(noted)
        message = read_or_none(raw, self._fallback)
        if message is not None and self._is_stored(message, raw, reply, now_us):
            return
        takers = [c for c in self._channels if message is not None and c.compiled.accepts(message)]
        channel = takers[0] if takers else self._first
        channel.received += 1
        channel.meter.received(len(raw), now_us / 1_000_000)
        answer = refuse(message, findings, "error", channel.answers, from_us(now_us), self.next_id)
        self._keep_rejected(channel, raw, message, findings, answer, reply, now_us)

    def _no_room(self, raw: bytes, reply: AnyReply, now_us: int) -> None:
        """Refused before anything is done with it, and counted; its sender keeps it and tries again.

        What is stored already needs no room: a resend of it gets its answer, never a no after a yes.
        """
        message = read_or_none(raw, self._fallback)
        if message is not None and self._is_stored(message, raw, reply, now_us):
            return
        waiting = Waiting(self, self._first, None, b"", reply)
        waiting.message = message
        self.refused(waiting, StoreFull("the store's disk is nearly full"))

    def _is_stored(self, message: Message, raw: bytes, reply: AnyReply, now_us: int) -> bool:
        """Whether it is a resend, which is taken care of then; a store that cannot say so counts as no."""
        channel = next((c for c in self._channels if c.compiled.accepts(message)), None)
        control_id = control_id_of(message)
        # What a fragment is answered depends on what has become of its message: it comes again, and has its turn.
        is_part = channel is not None and channel.joins_fragments and read_fragment(message) is not None
        if channel is None or is_part or not control_id or not channel.duplicates_window_us:
            return False
        key = (channel.name, sender_of(message), control_id)
        if not self._recent.may_hold(key, now_us - channel.duplicates_window_us):
            return False
        body_hash = hashlib.blake2b(raw, digest_size=16).digest()
        try:
            return self._resend_of(channel, key, message, body_hash, reply, now_us) is None
        except StoreError:
            return False

    def _keep_rejected(
        self,
        channel: RunningChannel,
        raw: bytes,
        message: Message | None,
        findings: list[Finding],
        answer: Answer,
        reply: AnyReply,
        now_us: int,
    ) -> None:
        """Keep what was refused with its bytes, so that nothing that came is without a trace."""
        waiting = self._kept(channel, raw, message, findings, answer, reply, now_us, "rejected")
        self._committer.put(waiting.record, waiting.committed, waiting.refused, reply.sender)

    def _kept(
        self,
        channel: RunningChannel,
        raw: bytes,
        message: Message | None,
        findings: Sequence[Finding],
        answer: Answer,
        reply: AnyReply,
        now_us: int,
        state: MessageState,
    ) -> Waiting:
        """The record of a message that no pipeline sees, and who waits for it."""
        channel.count_findings(findings)
        waiting = Waiting(self, channel, None, b"", reply)
        waiting.message = message
        waiting.answer = answer
        waiting.record = Received(
            self._next_receive_id(),
            channel.name,
            channel.version,
            now_us,
            sender_of(message) if message is not None else "",
            reply.peer,
            type_of(message) if message is not None else "",
            control_id_of(message) if message is not None else "",
            hashlib.blake2b(raw, digest_size=16).digest(),
            raw,
            state,
            answer.code,
            answer.payload,
            dump_findings(findings),
            answer.deliveries,
        )
        return waiting

    # -- ends -----------------------------------------------------------------------------------

    def committed(self, waiting: Waiting, seq: MessageSeq, deliveries: list[Delivery]) -> None:
        """The message is on stable storage: now, and only now, its sender may be told so."""
        channel = waiting.channel
        answer = waiting.answer
        if answer.is_first:
            self._answer_later(waiting, seq)
            channel.count(waiting.record.state)
            channel.offer(deliveries)
            return
        # First what must happen in any case: a committed delivery that no lane hears of waits for the next start.
        if waiting.key is not None:
            del self._on_the_way[waiting.key, waiting.body_hash]
        if deliveries:
            channel.offer(deliveries)
        if waiting.record.state == "received":
            channel.backlog.offer(seq, waiting.record.raw, waiting.record.received_at_us)
        if waiting.is_numbered:
            waiting.ends_numbered(waiting.record.sequence)
        waiting.reply.settle(framed(answer.payload))
        now = self._clock.monotonic()
        channel.meter.acknowledged(answer.code, now - waiting.reply.started)
        for reply in waiting.also:
            channel.count("duplicate")
            channel.meter.acknowledged(answer.code, now - reply.started)
            reply.settle(framed(answer.payload))
        channel.count(waiting.record.state)

    def _answer_later(self, waiting: Waiting, seq: MessageSeq) -> None:
        """The message is stored, and what its sender is told is for a destination to say."""
        later = waiting.later
        assert later is not None and waiting.message is not None, "only such a channel gives such an answer"
        if waiting.key is not None:
            del self._on_the_way[waiting.key, waiting.body_hash]
            for _ in waiting.also:
                waiting.channel.count("duplicate")
        later.committed(seq, waiting.message, waiting.answer, [waiting.reply, *waiting.also])

    def refused(self, waiting: Waiting, error: Exception) -> None:
        """The store could not take it, and certainly did not: say so, and let the sender try again (hl7.md item 19)."""
        if waiting.key is not None:
            del self._on_the_way[waiting.key, waiting.body_hash]
        if waiting.is_numbered:
            waiting.ends_numbered(None)
        self.not_stored(waiting.channel, waiting.message, [waiting.reply, *waiting.also])

    def not_stored(
        self,
        channel: RunningChannel,
        message: Message | None,
        replies: Sequence[AnyReply],
        finding: Finding = entry.NOT_NOW,
    ) -> None:
        """What a sender is told when the store has no room; also of a fragment, and while the intake is paused."""
        channel.count("refused")
        if channel.answers.on_store_failure == "close":
            for reply in replies:
                reply.drop()
            return
        kind: Decision = "error" if channel.answers.on_store_failure == "AE" else "reject"
        now = from_us(self._clock.now_us())
        answer = refuse(message, [finding], kind, channel.answers, now, self.next_id)
        for reply in replies:
            channel.meter.acknowledged(answer.code, self._clock.monotonic() - reply.started)
            # What would go over a connection of our own cannot be stored now: better here than not at all.
            reply.not_kept(framed(answer.payload or answer.apart))

    def told(
        self,
        reply: AnyReply,
        state: MessageState,
        findings: Sequence[Finding] = (),
        seq: MessageSeq | None = None,
    ) -> None:
        """What has become of a message, durably, before its reply is settled: for those who need more than an answer.

        For what comes without a commit of its own here, that is resends, fragments, empty batches; else `committed`.
        """

    # -- fragments ------------------------------------------------------------------------------

    def keep_rejected(
        self, channel: RunningChannel, record: Received, message: Message, finding: Finding, reply: AnyReply
    ) -> None:
        """Refuse a fragment that has no place; its sender keeps it."""
        now = from_us(record.received_at_us)
        answer = refuse(message, [finding], "error", channel.answers, now, self.next_id)
        self._keep_rejected(channel, record.raw, message, [finding], answer, reply, record.received_at_us)

    def remember(self, record: Received) -> None:
        """A fragment is stored, or about to be: its control id may come again."""
        self._recent.add((record.channel, record.sender, record.control_id))

    # -- ids ------------------------------------------------------------------------------------

    def next_id(self) -> str:
        """MSH-10 of an answer of ours: unique over restarts, at most 20 characters (hl7.md item 25)."""
        self._count += 1
        return f"{self._run_id}{self._count:X}"

    def _next_receive_id(self) -> bytes:
        self._count += 1
        return self._receive_prefix + self._count.to_bytes(8)
