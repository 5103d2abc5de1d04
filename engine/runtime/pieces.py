"""Large bodies go to the disk ahead of their message, a piece a commit, so that no small message waits for a large one.

The life of something large::

    queued --each of its pieces is committed--> let go   its message goes into the next commit, like any other
           --a commit with a piece is refused--> refused  its sender is told so, its pieces are forgotten

Order: what has an order in common with something that is queued waits behind it, and is let go behind it, in the order
in which it came. Nothing is said of a message before the commit of the message itself: pieces alone are nothing to
anybody, and those that a crash leaves behind are forgotten at the next start.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.model.envelope import DraftDelivery, Piece

LARGE_BYTES = 1 << 20
"""From here on a body goes in pieces: whole, SQLite needs some 5 ms a megabyte, and the checkpoint as much again."""
PIECE_BYTES = 256 * 1024
"""What one commit takes of it: about 1 ms."""

Release = Callable[[], None]
Refused = Callable[[Exception], None]


def large_among(raw: bytes, deliveries: Iterable[DraftDelivery]) -> list[bytes]:
    """The bodies that go in pieces, each object once."""
    bodies = (raw, *(delivery.body for delivery in deliveries if delivery.body is not None))
    return list({id(body): body for body in bodies if len(body) >= LARGE_BYTES}.values())


@dataclass(slots=True, eq=False)
class _Entry:
    orders: Sequence[Hashable]
    bodies: Sequence[bytes]
    size: int
    release: Release
    refused: Refused
    body: int = 0
    at: int = 0
    behind: list[tuple[Release, int]] = field(default_factory=list)


class Pieces:
    """What goes in pieces: first in, first out, one piece at a time."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._last: dict[Hashable, _Entry] = {}
        self._unwanted: list[bytes] = []
        self.waiting_bytes = 0
        """Received, and waiting here."""

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(
        self, orders: Sequence[Hashable], release: Release, refused: Refused, bodies: Sequence[bytes], size: int
    ) -> None:
        """Call `release` when nothing large is to be waited for any more, or `refused`.

        `orders`: it waits for what has the first of them, and who has any of them waits for it. `bodies`: its own large
        ones; `size`: bytes that were received.
        """
        if bodies:
            entry = _Entry(orders, bodies, size, release, refused)
            self._last |= dict.fromkeys(orders, entry)
            self._entries.append(entry)
        elif (before := self._last.get(orders[0])) is not None:
            before.behind.append((release, size))
        else:
            release()
            return
        self.waiting_bytes += size

    def forgetting(self, bodies: Sequence[bytes], refused: Refused) -> Refused:
        """What to call once it is released and then refused all the same."""

        def forgotten(error: Exception) -> None:
            self.forget(bodies)
            refused(error)

        return forgotten if bodies else refused

    def forget(self, bodies: Iterable[bytes]) -> None:
        """The pieces of these are not wanted; the next commit takes that along."""
        self._unwanted += bodies

    def when_gone(self, told: Release) -> None:
        """Call `told` once all that waits here now has left."""
        self._entries[-1].behind.append((told, 0))

    def take(self) -> tuple[Sequence[Piece], Sequence[bytes]]:
        """For one commit: the next piece, if there is one, and the bodies whose pieces are unwanted."""
        unwanted, self._unwanted = self._unwanted, []
        if not self._entries:
            return (), unwanted
        entry = self._entries[0]
        body = entry.bodies[entry.body]
        return (Piece(body, entry.at, min(entry.at + PIECE_BYTES, len(body))),), unwanted

    def committed(self, piece: Piece) -> None:
        """The piece that was taken is on stable storage."""
        entry = self._entries[0]
        entry.at = piece.end
        if entry.at == len(piece.body):
            entry.body, entry.at = entry.body + 1, 0
        if entry.body == len(entry.bodies):
            self._leave()
            entry.release()
            self._follow(entry)

    def refuse(self, error: Exception) -> None:
        """The piece that was taken was certainly not kept: neither is what it is of."""
        entry = self._entries[0]
        self._leave()
        if entry.body or entry.at:
            # Else nothing of it is there, and its bytes must not be held until a full disk takes a commit again.
            self.forget(entry.bodies)
        try:
            entry.refused(error)
        finally:
            self._follow(entry)

    def _leave(self) -> None:
        entry = self._entries.popleft()
        self.waiting_bytes -= entry.size
        for order in entry.orders:
            if self._last[order] is entry:
                del self._last[order]

    def _follow(self, entry: _Entry) -> None:
        for release, size in entry.behind:
            self.waiting_bytes -= size
            release()
