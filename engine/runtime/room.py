"""What all ports together may hold: connections, and bytes received and not yet stored.

States and moves::

    open  --more than `most_bytes`-->                full    nothing is read from any connection
    full  --half of it is free again-->              open
    full  --no whole message is left in hand-->      open    what is left are halves of blocks: see below

Halves of blocks can fill the room by themselves, and would for ever, as nobody can finish a block that is not
read from. Then the youngest of them are given up until the rest fits: their connections close, and their
senders, who were told nothing, send them again. So a block that began before all others always comes to its
end, or to its time-out.
"""

from collections.abc import Callable
from typing import Protocol


class Occupant(Protocol):
    """A connection, as the room sees it. `partial_bytes`: the part of a block that is here."""

    partial_bytes: int
    mid_block_since: float

    def hold(self) -> None:
        """Do not read until let go; calls are counted."""
        ...

    def let_go(self) -> None: ...

    def crowded_out(self) -> None:
        """Close, and give up the half block."""
        ...


class Room:
    """Counts, and closes and opens the doors.

    `in_hand_bytes` and `partial_bytes` are kept by the connections; `waiting` gives the bytes that the
    committer still has to store, which may be more: their connection may be gone.
    """

    def __init__(
        self,
        most_connections: int = 10_000,
        most_bytes: int = 256 * 1024 * 1024,
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self.most_connections = most_connections
        self.most_bytes = most_bytes
        self.in_hand_bytes = 0
        self.partial_bytes = 0
        self.is_full = False
        self._waiting = waiting
        self._occupants: dict[Occupant, None] = {}
        self._coming: set[Occupant] = set()

    def reserve(self, occupant: Occupant) -> bool:
        """Whether there is a place for one that is still to come in, which is then kept for it until it leaves."""
        if len(self._occupants) + len(self._coming) >= self.most_connections:
            return False
        self._coming.add(occupant)
        return True

    def admit(self, occupant: Occupant) -> bool:
        """Whether there is a place for one more connection, which then has it."""
        if occupant not in self._coming and not self.reserve(occupant):
            return False
        self._coming.discard(occupant)
        self._occupants[occupant] = None
        if self.is_full:
            occupant.hold()
        return True

    def leave(self, occupant: Occupant) -> None:
        """It is gone, with what it held."""
        self._coming.discard(occupant)
        self._occupants.pop(occupant, None)
        self.look()

    def look(self) -> None:
        """Close or open the doors by what is held now. Called after every read and every answer that matter."""
        whole = max(self.in_hand_bytes, self._waiting())
        if not self.is_full:
            if whole + self.partial_bytes <= self.most_bytes:
                return
            if whole:
                self.is_full = True
                for occupant in list(self._occupants):
                    occupant.hold()
                return
            self._crowd_out()
        elif not whole or whole + self.partial_bytes <= self.most_bytes // 2:
            self._crowd_out()
            self.is_full = False
            for occupant in list(self._occupants):
                occupant.let_go()

    def _crowd_out(self) -> None:
        if self.partial_bytes <= self.most_bytes:
            return
        halves = [occupant for occupant in self._occupants if occupant.partial_bytes]
        for occupant in sorted(halves, key=lambda occupant: occupant.mid_block_since, reverse=True):
            if self.partial_bytes <= self.most_bytes:
                return
            occupant.crowded_out()
