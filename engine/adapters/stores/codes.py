"""The numbers that states have in a stored row, and the checksum that a stored body must match.

They are part of the file format: a number once given is never given to another state.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar
from zlib import crc32

from engine.model.states import DeliveryState, MessageState

MESSAGE_CODES: dict[MessageState, int] = {
    "received": 0,
    "processed": 1,
    "filtered": 2,
    "held": 3,
    "rejected": 4,
    "discarded": 5,
    "waiting": 6,
    "joined": 7,
}
DELIVERY_CODES: dict[DeliveryState, int] = {"queued": 0, "delivered": 1, "held": 2, "failed": 3, "redirected": 4}

MESSAGE_OF = {code: state for state, code in MESSAGE_CODES.items()}
DELIVERY_OF = {code: state for state, code in DELIVERY_CODES.items()}

PERSONAL_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    "queued": frozenset({"held", "failed"}),
    "failed": frozenset({"held"}),
}
"""Where a person may take a delivery from, by where to. A subset of DELIVERY_MOVES: a queued one is
the lane's, which may be sending it at this moment. (`redirected` is not among them: it is not a move alone.)"""

REDIRECTED_FROM: frozenset[DeliveryState] = frozenset({"held", "failed"})
"""What a person may send to another destination; as for PERSONAL_MOVES, nothing that its lane may be sending."""

FIRST_ATTEMPTS = 5
LAST_ATTEMPTS = 15
"""So many attempts of one delivery are kept from its beginning, and so many from its end: a destination that is down
for a week must not fill the disk."""

DAMAGED_NOTE = "the stored bytes do not match their checksum"
GONE_NOTE = "the stored bytes are gone"

KNOWN_LIMIT = 16
"""How many messages with one control id `known` gives at most."""

RECENT_RECEIVE_IDS = 4096
"""Among how many of the newest messages a repeated `receive_id` is recognised.

A repeat can only come from a committer that tries a batch again after StoreFull or StoreBusy, or from
one that did not learn how its commit ended. Both act within a batch or two; a frame that a sender
sends again gets an id of its own. So this needs no index on 16 random bytes, which would cost every
commit a page a message.
"""


State = TypeVar("State", MessageState, DeliveryState)


def mask(states: Iterable[State], codes: Mapping[State, int]) -> int:
    """A set of states as bits, for `:mask & (1 << state)` in a statement."""
    bits = 0
    for state in states:
        bits |= 1 << codes[state]
    return bits


def lane_salt(lane: int) -> int:
    """What a delivery's checksum is mixed with (exclusive or), so that it holds for this lane only."""
    return (lane * 0x9E3779B1) & 0xFFFFFFFF


def delivery_crc(body: bytes, lane: int) -> int:
    """The checksum of a delivery of `body` in the lane with this id."""
    return crc32(body) ^ lane_salt(lane)
