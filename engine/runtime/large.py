"""A large block is looked at a step a turn of the loop, so that other senders are served in between.

What has to be done with every byte of it before its message can be taken: whether there is one message in it or
several, its characters, its hash. What comes behind it on the same connection waits, as behind a batch.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator

from engine.hl7.batch import may_be_several
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.runtime.connection import Reply
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.intake")

LARGE_BYTES = 1 << 20
TURN_BYTES = 1 << 20
"""What is hashed in one turn: 1 ms."""


class Seen:
    """What is known of a large block once it was looked at."""

    __slots__ = ("_error", "_fallback", "_message", "body_hash", "is_several")

    def __init__(self, fallback: str) -> None:
        self._fallback = fallback
        self.is_several = False
        """Whether there may be several messages in it; then it was not looked at any further."""
        self.body_hash = b""
        self._message: Message | None = None
        self._error: UnreadableMessage | None = None

    def message(self, fallback: str) -> Message:
        """The message as read with `fallback`, which a reload may have changed meanwhile; to be asked for once.

        Raises UnreadableMessage, as Message.parse does.
        """
        if self._error is not None:
            raise self._error
        message, self._message = self._message, None
        assert message is not None, "it is looked at to its end before it is taken"
        if fallback != self._fallback and message.charset.evidence == "fallback":
            return Message.parse(message.raw, fallback=fallback)
        return message

    def look(self, payload: bytes) -> Iterator[None]:
        """The steps, to be taken one a turn."""
        self.is_several = may_be_several(payload)
        yield
        if self.is_several:
            return
        try:
            self._message = yield from Message.parse_in_steps(payload, fallback=self._fallback)
        except UnreadableMessage as error:
            self._error = error
        yield
        digest = hashlib.blake2b(digest_size=16)
        view = memoryview(payload)
        for at in range(0, len(view), TURN_BYTES):
            digest.update(view[at : at + TURN_BYTES])
            yield
        self.body_hash = digest.digest()


class LargeBlock:
    """One block that is being looked at, for `Batches`."""

    def __init__(self, reply: Reply, steps: Iterator[None], ended: Callable[[], None]) -> None:
        self._reply = reply
        self._steps = steps
        self._ended = ended
        self.is_cut_off = False
        self.behind: deque[tuple[Reply, Callable[[], None]]] = deque()
        """First the block itself, then what came on the same connection meanwhile."""

    def go_on(self) -> None:
        """The next step; calls `ended` when there is none left. Never raises."""
        # Without an owed answer the connection was cut off by us: the engine ends, and its sender sends it again.
        self.is_cut_off = not self._reply.sender.unanswered
        try:
            if not self.is_cut_off:
                next(self._steps)
                asyncio.get_running_loop().call_soon(self.go_on)
                return
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the edge of a request: its neighbours keep running
            log.error("a large block is given up, and its connection closed: %s", describe(error))
            self._reply.drop()
            self.is_cut_off = True
        if self.is_cut_off:
            self.behind.popleft()
        self._ended()
