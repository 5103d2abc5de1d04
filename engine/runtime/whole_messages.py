"""The message that a set of fragments makes: its fragments read back, and its record, which moves them with it.

In one transaction with the message its fragments become `joined` (or `rejected`, with it); where no message can be made
of them they are held one by one. Which fragments make a set is for `fragments` to say.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from engine.hl7.fragments import OpenSet, join_fragments
from engine.hl7.message import Message
from engine.model.envelope import Delivery, Intake, Reprocessed
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import MessageSeq
from engine.model.states import IllegalMove
from engine.pipeline.run import Result
from engine.ports.store import CommitUnknown, Store, StoreBusy, StoredMessage, StoreFull, StoreQueries
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.received import control_id_of, type_of
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.fragments")

DAMAGED = Finding("E262", "error", "stored bytes of a fragment do not match their checksum", hl7_code="207")

LOAD_LIMIT = 64


@dataclass(slots=True, frozen=True)
class StoredPart:
    """One fragment on stable storage. `ack_code`, `ack`: what its sender was told of it alone."""

    seq: MessageSeq
    received_at_us: int
    peer: str
    ack_code: str
    ack: bytes


@dataclass(slots=True, frozen=True)
class ReadBack:
    """A set, read back: its first and last fragments, and the message of all."""

    first: Message
    last: Message
    joined: Message


class WholeMessages:
    """Reads sets of one channel back from the store, and writes what is made of them there."""

    def __init__(
        self, channel: RunningChannel, committer: Committer, queries: StoreQueries, receive_prefix: bytes
    ) -> None:
        self._channel = channel
        self._committer = committer
        self._queries = queries
        self._receive_prefix = receive_prefix
        self._count = 0

    async def read(self, found: OpenSet[StoredPart]) -> ReadBack | None:
        """The fragments, read back from the store and joined, off the loop; None when one of them is damaged."""
        seqs = [part.seq for part in found.parts]
        fallback = self._channel.compiled.fallback_charset

        def read() -> ReadBack | None:
            raws = [stored.raw for stored in map(self._queries.message, seqs) if stored is not None and stored.raw]
            if len(raws) < len(seqs):
                return None
            messages = [Message.parse(raw, fallback=fallback) for raw in raws]
            joined = Message.parse(join_fragments(messages), fallback=fallback)
            return ReadBack(messages[0], messages[-1], joined)

        return await asyncio.to_thread(read)

    def record(
        self, found: OpenSet[StoredPart], whole: ReadBack, result: Result, findings: tuple[Finding, ...]
    ) -> Intake:
        last = found.parts[-1]
        raw = whole.joined.raw
        self._count += 1
        return Intake(
            self._receive_prefix + self._count.to_bytes(8),
            self._channel.name,
            self._channel.version,
            last.received_at_us,
            found.sender,
            last.peer,
            type_of(whole.first),
            control_id_of(whole.first),
            hashlib.blake2b(raw, digest_size=16).digest(),
            raw,
            result.state,
            findings=dump_findings(findings),
            deliveries=result.deliveries,
        )

    async def commit(self, found: OpenSet[StoredPart], record: Intake) -> bool:
        """The message, its deliveries and the moves of its fragments in one transaction; False: not stored now."""
        channel = self._channel
        try:
            seq, deliveries = await self.put(record)
        except CommitUnknown:
            raise
        except (StoreFull, StoreBusy):
            return False
        except (IllegalMove, ValueError) as error:
            log.error("channel %s: a message in fragments cannot be stored: %s", channel.name, describe(error))
            await self.hold_parts(found, Finding("E262", "error", "the whole message cannot be stored", "", "207"))
            return True
        channel.count_findings(load_findings(record.findings))
        channel.count(record.state)
        channel.offer(deliveries)
        if record.state == "received":
            channel.backlog.offer(seq, record.raw, record.received_at_us)
        return True

    def put(self, record: Intake) -> "asyncio.Future[tuple[MessageSeq, list[Delivery]]]":
        """Put it to the committer; the future raises what the store refuses it for."""
        ended: asyncio.Future[tuple[MessageSeq, list[Delivery]]] = asyncio.get_running_loop().create_future()

        def done(seq: MessageSeq, deliveries: list[Delivery]) -> None:
            if not ended.done():
                ended.set_result((seq, deliveries))

        def refused(error: Exception) -> None:
            if not ended.done():
                ended.set_exception(error)

        self._committer.put(record, done, refused)
        return ended

    async def hold(self, stored: StoredMessage, finding: Finding) -> None:
        findings = dump_findings((*load_findings(stored.findings), finding))
        try:
            await self._committer.reprocess(
                Reprocessed(stored.seq, stored.channel, self._channel.version, "held", findings)
            )
        except (StoreFull, StoreBusy, IllegalMove) as error:
            log.error("channel %s: stored fragment %d stays as it is: %s", stored.channel, stored.seq, describe(error))

    async def hold_parts(self, found: OpenSet[StoredPart], finding: Finding) -> None:
        """A message that can never be made: its fragments are held, one by one."""
        for part in found.parts:
            stored = self._queries.message(part.seq)
            if stored is not None and stored.state == "waiting":
                await self.hold(stored, finding)


def waiting_parts(channel: RunningChannel, after: MessageSeq, store: Store) -> Sequence[StoredMessage]:
    """The oldest fragments that wait in the store after this one."""
    return store.waiting(channel.name, after, LOAD_LIMIT)
