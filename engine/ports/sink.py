"""Where deliveries go."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from engine.model.envelope import Delivery
from engine.model.outcome import Outcome


class Sink(Protocol):
    """One destination's way out. One lane calls it, one call at a time; it owns its connection or folder.

    `max_batch`: how many deliveries one call may carry (1 for MLLP). `linger_s`: how long the lane
    may wait for a batch to fill (0: never).
    """

    max_batch: int
    linger_s: float

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Try once, and say what came of each, in order. Never raises but for cancellation.

        After cancellation nothing of the call may be taken as delivered, and the connection is not used again.
        """
        ...

    async def close(self) -> None:
        """Let go of everything, within a second."""
        ...


@runtime_checkable
class DirectSink(Protocol):
    """A sink that most often can begin at once, and then calls back: `send` without a task that waits for it."""

    def begin(self, delivery: Delivery, ended: Callable[[Outcome | Exception], None]) -> bool:
        """Try once, now. False: it cannot be begun at once, and nothing was done; `send` sees to it.

        True: `ended` is called exactly once, later, from the loop, with what came of it (an exception: a defect of the
        sink), unless `cut_off` is called before. Until then no other call of this sink is made.
        """
        ...

    def cut_off(self) -> None:
        """Nobody waits for what was begun: as a cancellation of `send`."""
        ...


@runtime_checkable
class AnsweringSink(Protocol):
    """A sink whose receiver's application may answer after it has accepted a message."""

    def await_application(self) -> None:
        """From now on a message is delivered once its application has answered, where the message asks for that."""
        ...


@runtime_checkable
class UnreadySink(Protocol):
    """A sink that cannot send yet, for what is in its own files."""

    why_unready: str
    """A sentence; '' once it can."""


@runtime_checkable
class RecordedSink(Protocol):
    """A sink that must know when the end of its last delivery is on record."""

    def recorded(self) -> None:
        """It is, or it was taken back; what waited for that may go on."""
        ...
