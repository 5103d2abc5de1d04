"""Where the audit is sent to: what it is to the runtime, and what is counted of it."""

from collections.abc import Sequence
from typing import Protocol


class RepositoryDown(Exception):
    """Nothing can be sent now; it may be later. The text is a sentence without values."""


class AuditRepository(Protocol):
    """Somebody who takes audit messages, each as bytes, and never says that it has them.

    Syslog has no acknowledgement: what was sent may be lost with the connection. So the runtime takes it for sent only
    when some time later the connection still stands and the other machine has all of it.
    """

    async def open(self) -> bool:
        """See that there is a connection; whether it is a new one. Raises RepositoryDown."""
        ...

    async def send(self, messages: Sequence[bytes]) -> None:
        """Write them, in order. Raises RepositoryDown, and then any of them may have been sent or not."""
        ...

    def has_all(self) -> bool:
        """Whether the other machine has said that it has all that was written, and the connection stands."""
        ...

    async def close(self) -> bool:
        """End the connection in order; whether the other side had all of it, and ended it too. Never raises."""
        ...


class AuditExportMeter(Protocol):
    """What is counted."""

    def stands(self, is_up: bool, waiting: int, oldest_us: int) -> None:
        """`waiting`: records not yet taken for sent; `oldest_us`: when the oldest of them was written, or 0."""
        ...

    def sent(self, count: int) -> None:
        """So many messages were written to it, some perhaps again."""
        ...

    def failed(self) -> None:
        """It was down."""
        ...
