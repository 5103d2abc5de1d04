"""Which messages came lately, in memory: so that nearly every new one needs no look into the store."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runtime.waiting import Waiting

MOST_REMEMBERED = 200_000

Key = tuple[str, str, str]
"""Channel, sender, control id."""


class Recent:
    """Which (channel, sender, control id) were seen: says "certainly new" without a look into the store."""

    __slots__ = ("_keys", "is_complete", "on_the_way")

    def __init__(self, keys: Sequence[Key], is_complete: bool) -> None:
        self._keys = {hash(key) for key in keys}
        self.is_complete = is_complete
        self.on_the_way: dict[tuple[Key, bytes], Waiting] = {}
        """Those that are not on stable storage yet, by key and body hash."""

    def add(self, key: Key) -> None:
        """Remember one more; past the bound nothing is certain any more and the store is asked each time."""
        if len(self._keys) < MOST_REMEMBERED:
            self._keys.add(hash(key))
        else:
            self.is_complete = False

    def may_hold(self, key: Key) -> bool:
        """False only if the key was certainly not seen."""
        return not self.is_complete or hash(key) in self._keys
