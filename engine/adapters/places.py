"""Who gives up a place on a server of ours, where more come than it has places for.

Nobody is asked who he is before he has sent a whole head, so what a stranger may take is bounded by what can be seen:
where he comes from, and how long he has waited without getting anything done. Bytes that trickle renew nothing.
Without a clock and without sockets: times are given, of one monotonic clock.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from engine.adapters.api.throttle import network_of

MOST_KNOWN: Final = 1024
KNOWN_S: Final = 900.0
"""So long after a request that was signed, its network comes before those of strangers."""

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Guest:
    """One connection. `network`: whom its address stands for; `is_signed`: its last request was; `since_s`: when it
    came, or when its last request was done."""

    network: str
    is_signed: bool
    since_s: float


class Known:
    """Networks from which somebody who is signed in was heard of late. Bounded: the oldest make room."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, float] = OrderedDict()

    def heard(self, network: str, now_s: float) -> None:
        self._heard[network] = now_s
        self._heard.move_to_end(network)
        while len(self._heard) > MOST_KNOWN:
            self._heard.popitem(last=False)

    def has(self, network: str, now_s: float) -> bool:
        at = self._heard.get(network)
        return at is not None and now_s - at <= KNOWN_S


class Places:
    """The rule of one server. `most` connections; of strangers from one network `most_strangers` (0: no such bound).
    An address that `is_proxy` speaks for many, and is not bounded."""

    def __init__(
        self, most: int, most_strangers: int = 0, is_proxy: Callable[[str], bool] = lambda address: False
    ) -> None:
        self.most = most
        self.known = Known()
        self._most_strangers = most_strangers
        self._is_proxy = is_proxy

    def network(self, address: str) -> str:
        """Of a connection from there; '' for those that have none of their own to be counted by."""
        return "" if not address or self._is_proxy(address) else network_of(address)

    def is_full_of(self, network: str, guests: Sequence[Guest]) -> bool:
        """Whether `guests` has more strangers from there than may be."""
        if not self._most_strangers or not network:
            return False
        return sum(not one.is_signed and one.network == network for one in guests) > self._most_strangers

    def last_of(self, guests: Sequence[tuple[T, Guest]], all_guests: Sequence[Guest], now_s: float) -> T | None:
        """Who of `guests` goes: strangers before who is signed in, of them those from where nobody is; then of the
        network that has most of the kind, who has waited longest. None: there is nobody."""
        crowds = Counter((one.is_signed, one.network) for one in all_guests)

        def rank(entry: tuple[T, Guest]) -> tuple[bool, bool, int, float]:
            one = entry[1]
            return (
                one.is_signed,
                self.known.has(one.network, now_s),
                -crowds[one.is_signed, one.network],
                one.since_s,
            )

        return min(guests, key=rank)[0] if guests else None
