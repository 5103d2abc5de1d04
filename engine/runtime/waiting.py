"""One message between its pipeline and its commit, with all who wait for that."""

from typing import Protocol

from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.envelope import Intake as Received
from engine.model.ids import MessageSeq
from engine.pipeline.answer import Answer
from engine.runtime.answers import DeliveredAnswers
from engine.runtime.batch import BatchMember
from engine.runtime.channels import RunningChannel
from engine.runtime.connection import Reply
from engine.runtime.recent import Key
from engine.runtime.sequence import SequenceNumbers

AnyReply = Reply | BatchMember


class Intake(Protocol):
    """Where the commit's outcome is heard of."""

    def committed(self, waiting: "Waiting", seq: MessageSeq, deliveries: list[Delivery]) -> None: ...

    def refused(self, waiting: "Waiting", error: Exception) -> None: ...


class Waiting:
    """One message between its pipeline and its commit, with all who wait for that."""

    __slots__ = (
        "_receiver",
        "also",
        "answer",
        "body_hash",
        "channel",
        "decided_s",
        "is_numbered",
        "key",
        "later",
        "message",
        "numbers",
        "record",
        "reply",
    )

    record: Received
    answer: Answer

    def __init__(
        self, receiver: Intake, channel: RunningChannel, key: Key | None, body_hash: bytes, reply: AnyReply
    ) -> None:
        self._receiver = receiver
        self.channel = channel
        self.key = key
        self.body_hash = body_hash
        self.reply = reply
        self.also: list[AnyReply] = []
        self.message: Message | None = None
        self.decided_s = reply.started
        """When it was known what becomes of it, where somebody traces that."""
        self.is_numbered = False
        self.numbers: SequenceNumbers | None = None
        self.later: DeliveredAnswers | None = None
        """Who gives the application's answer, where a destination does; as the channel's files said then."""

    def starts_numbered(self) -> None:
        """Others of its sender wait for its end."""
        self.numbers = self.channel.sequences
        assert self.numbers is not None
        self.is_numbered = True
        self.numbers.begin(self.record.sender)

    def ends_numbered(self, number: int | None) -> None:
        """It is stored, and the link stands at `number`; None: where it stood before."""
        assert self.numbers is not None
        self.is_numbered = False
        self.numbers.ended(self.record.sender, number)

    def committed(self, seq: MessageSeq, deliveries: list[Delivery]) -> None:
        self._receiver.committed(self, seq, deliveries)
        if (tracing := self.channel.tracing) is not None:
            tracing.stored(seq, self.record, self.reply.started, self.decided_s)

    def refused(self, error: Exception) -> None:
        self._receiver.refused(self, error)
