"""Which messages came lately, in memory: so that nearly every new one needs no look into the store.

And who uses control ids again: a sender that restarts its counter does so for every message, for as long as the window
of duplicates reaches back. Each of them is processed, as it is another message; but the first few tell enough.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from engine.model.finding import Finding
from engine.pipeline import entry
from engine.ports.store import Store

if TYPE_CHECKING:
    from engine.runtime.waiting import Waiting

MOST_REMEMBERED = 200_000
MOST_TOLD: Final = 3
TOLD_AGAIN_US: Final = 3_600_000_000
"""An hour: so often it is told anew."""
MOST_SENDERS: Final = 1000

Key = tuple[str, str, str]
"""Channel, sender, control id."""


def recent_keys(store: Store, since_us: int) -> tuple[Sequence[Key], bool]:
    """The keys of what was received since, and whether these are all.

    Of more than can be remembered none is read: nothing would be certain, and a start would wait for it.
    """
    if store.received_since(since_us) > MOST_REMEMBERED:
        return (), False
    return store.recent_ids(since_us, MOST_REMEMBERED)


class Recent:
    """Which (channel, sender, control id) were seen: says "certainly new" without a look into the store.

    `since_us`: those that were stored before are `keys` only from this time of receipt on. A clock that was far ahead
    at the start and is set back asks for older ones, and of those nothing is certain.
    """

    __slots__ = ("_keys", "_since_us", "is_complete", "on_the_way")

    def __init__(self, keys: Sequence[Key], is_complete: bool, since_us: int = 0) -> None:
        self._keys = {hash(key) for key in keys}
        self._since_us = since_us
        self.is_complete = is_complete
        self.on_the_way: dict[tuple[Key, bytes], Waiting] = {}
        """Those that are not on stable storage yet, by key and body hash.

        Of all ports together: a channel may move to another one between a message and its resend.
        """

    def add(self, key: Key) -> None:
        """Remember one more; past the bound nothing is certain any more and the store is asked each time."""
        if len(self._keys) < MOST_REMEMBERED:
            self._keys.add(hash(key))
        else:
            self.is_complete = False

    def add_older(self, keys: Sequence[Key], is_complete: bool, since_us: int) -> None:
        """All from this time of receipt on, or as many as were asked for."""
        self.is_complete, self._since_us = is_complete, since_us
        for key in keys:
            self.add(key)

    def may_hold(self, key: Key, since_us: int) -> bool:
        """False only if the key was certainly not seen at `since_us` or later."""
        return not self.is_complete or since_us < self._since_us or hash(key) in self._keys


class Reuse:
    """What is said of messages whose control id their sender used before with other content (reliability.md C7).

    Of each channel and sender the first MOST_TOLD in an hour are marked one by one, with the earlier message; the next
    says that the sender seems to have started its ids again; those after it are counted only.
    """

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[int, int]] = {}

    def again(self, key: Key, first: int, now_us: int) -> tuple[Finding, ...]:
        """One more, of which message `first` had the id before. Also () of those that are counted only."""
        sender = key[:2]
        since_us, count = self._told.get(sender, (now_us, 0))
        if not since_us <= now_us < since_us + TOLD_AGAIN_US:
            since_us, count = now_us, 0
        if sender not in self._told and len(self._told) >= MOST_SENDERS:
            del self._told[next(iter(self._told))]
        self._told[sender] = (since_us, count + 1)
        if count < MOST_TOLD:
            return (entry.id_used_again(first),)
        return (entry.IDS_START_AGAIN,) if count == MOST_TOLD else ()
