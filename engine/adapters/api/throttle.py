"""Slows down who guesses: with each failure the next attempt has to wait longer (reliability.md SEC8).

Memory is bounded and nothing is pushed out of it: names fall into a fixed number of slots by a hash with a secret key.
So nobody can clear a slot by filling others, nor choose a name that shares one; two that do wait for each other.
"""

import secrets
from array import array
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Final

SLOTS: Final = 1 << 16
FORGOTTEN_S: Final = 900.0
"""A slot that was quiet so long after its wait starts anew."""
MOST_COUNTED: Final = 60_000


class Throttle:
    """Attempts by name. An attempt counts as failed until it is known to be good, so that many at once gain nothing.

    `free`: so many failures cost nothing. After that the wait doubles from `first_s` to `most_s`.
    """

    def __init__(self, free: int, first_s: float, most_s: float) -> None:
        self._free, self._first_s, self._most_s = free, first_s, most_s
        self._key = secrets.token_bytes(16)
        self._failures = array("H", bytes(2 * SLOTS))
        self._until = array("d", bytes(8 * SLOTS))

    def waits(self, name: str, now_s: float) -> float:
        """How many seconds the next attempt has to wait; 0.0: none. Nothing is counted."""
        return max(0.0, self._until[self._slot(name)] - now_s)

    def count(self, name: str, now_s: float) -> None:
        """An attempt begins."""
        slot = self._slot(name)
        if now_s - self._until[slot] > FORGOTTEN_S:
            self._failures[slot] = 0
        self._failures[slot] = failures = min(self._failures[slot] + 1, MOST_COUNTED)
        beyond = failures - self._free
        wait = min(self._most_s, self._first_s * 2.0 ** min(beyond, 30)) if beyond > 0 else 0.0
        self._until[slot] = now_s + wait

    def forgive(self, name: str) -> None:
        """It was a good one: start anew."""
        slot = self._slot(name)
        self._failures[slot] = 0
        self._until[slot] = 0.0

    def take_back(self, name: str, now_s: float) -> None:
        """It was a good one, or nobody looked at it; the others stay counted."""
        slot = self._slot(name)
        self._failures[slot] = max(0, self._failures[slot] - 1)
        # Not 0: the slot would count as quiet for long, and the next attempt would start anew.
        self._until[slot] = min(self._until[slot], now_s)

    def _slot(self, name: str) -> int:
        text = name.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=4, key=self._key).digest()) % SLOTS


def network_of(address: str) -> str:
    """Whom an address stands for: itself, or of IPv6 its /64, of which each machine has as many as it likes."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return f"{IPv6Address(int(found) >> 64 << 64)}/64"
    return str(found)


class Trickle:
    """So many rows at once, and then so many a minute: what floods is counted, and told with the next row."""

    def __init__(self, most: int, a_minute: float) -> None:
        self._most, self._a_minute = most, a_minute
        self._left = float(most)
        self._at_s = 0.0
        self._untold = 0

    def take(self, now_s: float) -> int | None:
        """How many were not told since the last row; None: this one is not told either."""
        self._left = min(self._most, self._left + max(0.0, now_s - self._at_s) * self._a_minute / 60)
        self._at_s = now_s
        if self._left < 1:
            self._untold += 1
            return None
        self._left -= 1
        untold, self._untold = self._untold, 0
        return untold
