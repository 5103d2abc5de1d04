"""The states of a message and of a delivery, and the only moves between them.

Nothing else in the engine changes a state: the stores refuse a move that is not in these tables,
and the tests walk every one.

A message::

    received  --pipeline-->  processed | filtered | held | rejected
    held      --release-->   processed | filtered | held | rejected | discarded
    processed, filtered --reprocess--> processed | filtered | held | rejected
    waiting   --the last fragment came-->  joined | rejected      what became of the whole message is its own row's
    waiting   --its bytes are damaged-->   held
    (a release and a reprocess say what the channel says now; `discarded` is a person's word.
    A rejected message never moves: its sender was told to keep it. A `waiting` one is a fragment; `joined` ones
    are parts of a message that is stored beside them, and go nowhere by themselves.)

A delivery::

    queued  --AA, file written-->    delivered
    queued  --retry-->               queued      (attempts + 1, not before next_at)
    queued  --refused-->             held | failed
    queued  --by policy-->           redirected  (a new delivery to another destination is queued with it)
    queued  --hold, skip-->          held | failed  (a person's word, when its lane has let go of it)
    held    --release-->             queued
    held    --discard, skip-->       failed
    failed  --release-->             queued
    queued, held, failed --redirect--> redirected  (a person's word; a new delivery is queued with it)
    delivered --resend-->            (never moves: a resend is a new delivery, linked by its message)
    redirected                       (never moves: the delivery that took over has the message)
"""

from typing import Literal, get_args

MessageState = Literal["received", "processed", "filtered", "held", "rejected", "discarded", "waiting", "joined"]
DeliveryState = Literal["queued", "delivered", "held", "failed", "redirected"]

MESSAGE_STATES: tuple[MessageState, ...] = get_args(MessageState)
DELIVERY_STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)

MESSAGE_MOVES: dict[MessageState, frozenset[MessageState]] = {
    "received": frozenset({"processed", "filtered", "held", "rejected"}),
    "processed": frozenset({"processed", "filtered", "held", "rejected"}),
    "filtered": frozenset({"processed", "filtered", "held", "rejected"}),
    "held": frozenset({"processed", "filtered", "held", "rejected", "discarded"}),
    "rejected": frozenset(),
    "discarded": frozenset(),
    "waiting": frozenset({"joined", "held", "rejected"}),
    "joined": frozenset(),
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    "queued": frozenset({"queued", "delivered", "held", "failed", "redirected"}),
    "held": frozenset({"queued", "failed", "redirected"}),
    "failed": frozenset({"queued", "redirected"}),
    "delivered": frozenset(),
    "redirected": frozenset(),
}


FINISHED: frozenset[MessageState] = frozenset({"processed", "filtered", "rejected", "discarded", "joined"})
"""Messages that nothing waits for any more, once none of their deliveries is queued or held: they may be forgotten."""


class IllegalMove(Exception):
    """A state change that no table allows: always a defect of the caller, never of the data."""


def check_message_move(before: MessageState, after: MessageState) -> None:
    """Raise IllegalMove unless the table of messages has this move."""
    if after not in MESSAGE_MOVES[before]:
        raise IllegalMove(f"a message cannot go from {before} to {after}")


def check_delivery_move(before: DeliveryState, after: DeliveryState) -> None:
    """Raise IllegalMove unless the table of deliveries has this move."""
    if after not in DELIVERY_MOVES[before]:
        raise IllegalMove(f"a delivery cannot go from {before} to {after}")
