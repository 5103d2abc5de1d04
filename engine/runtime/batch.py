"""The answer to one block that held several messages (hl7.md item 67).

With a batch header (FHS, BHS) the sender gets one block: a batch of all the answers, under headers whose
reference id (FHS-12, BHS-12) is the control id of its own. Without a header it gets each answer as a
block of its own, in the order of the messages. Nothing leaves before the last member is settled.
"""

from collections.abc import Callable
from datetime import datetime

from engine.mllp.framing import END, VT
from engine.runtime.connection import Connection, Reply


class BatchReply:
    """Collects the answers to the members of one block and settles the block's reply with them."""

    __slots__ = ("_answers", "_header", "_next_id", "_now", "_open", "_reply", "peer", "sender", "started", "whole")

    def __init__(self, payload: bytes, reply: Reply, now: datetime, next_id: Callable[[], str]) -> None:
        self._header = payload if payload.startswith((b"FHS", b"BHS")) else b""
        self._answers: list[bytes | None] = []
        self._open = 1  # closed by end(): members may settle while others are still being made
        self._reply = reply
        self._now = now
        self._next_id = next_id
        self.whole = reply
        self.peer = reply.peer
        self.sender = reply.sender
        self.started = reply.started

    def member(self) -> "BatchMember":
        """The reply of the next message in the block."""
        self._answers.append(None)
        self._open += 1
        return BatchMember(self, len(self._answers) - 1)

    def end(self) -> None:
        """There are no more members."""
        self._one_less()

    def settle(self, place: int, answer: bytes) -> None:
        """The answer of one member, framed or b''."""
        if self._answers[place] is None:
            self._answers[place] = answer
            self._one_less()

    def drop(self) -> None:
        """Nothing can be said about one member: then nothing about any."""
        self._reply.drop()

    def _one_less(self) -> None:
        self._open -= 1
        if self._open:
            return
        answers = [answer for answer in self._answers if answer]
        if not self._header:
            self._reply.settle(b"".join(answers))
            return
        self._reply.settle(VT + self._wrapped([answer[1:-2] for answer in answers]) + END)

    def _wrapped(self, answers: list[bytes]) -> bytes:
        lines: list[bytes] = []
        trailers: list[bytes] = []
        for line in self._header.replace(b"\n", b"\r").split(b"\r"):
            name = line[:3]
            if name == b"MSH":
                break
            if name in (b"FHS", b"BHS") and len(line) > 3:
                lines.append(self._answer_header(line))
                count = b"1" if name == b"FHS" else str(len(answers)).encode()
                trailers.insert(0, name[:1] + b"TS" + line[3:4] + count)
        # A message that is owed two answers (CA and AA) has them with a block's end and start between.
        body = [part.rstrip(b"\r") for answer in answers for part in answer.replace(END, b"").split(VT)]
        return b"\r".join([*lines, *body, *trailers]) + b"\r"

    def _answer_header(self, line: bytes) -> bytes:
        """FHS or BHS of the answer: the two sides swapped, our id, their id as the reference."""
        separator = line[3:4]
        field = line.split(separator)
        field += [b""] * (12 - len(field))  # field[n] is FHS-(n+1)
        time = self._now.strftime("%Y%m%d%H%M%S%z").encode()
        own_id = self._next_id().encode()
        return separator.join(
            [field[0], field[1], field[4], field[5], field[2], field[3], time, b"", b"", b"", own_id, field[10]]
        ).rstrip(separator)


class BatchMember:
    """The reply of one message among several in a block."""

    __slots__ = ("_batch", "_place")

    def __init__(self, batch: BatchReply, place: int) -> None:
        self._batch = batch
        self._place = place

    @property
    def peer(self) -> str:
        """The address the block came from."""
        return self._batch.peer

    @property
    def sender(self) -> Connection:
        """The connection the block came on."""
        return self._batch.sender

    @property
    def outermost(self) -> Reply:
        """The reply of the whole block."""
        return self._batch.whole

    @property
    def started(self) -> float:
        """When the block was complete, on the monotonic clock."""
        return self._batch.started

    def settle(self, answer: bytes) -> None:
        """Give this message's answer, framed; b'' when none is due."""
        self._batch.settle(self._place, answer)

    def drop(self) -> None:
        """Nothing can be said about this message."""
        self._batch.drop()
