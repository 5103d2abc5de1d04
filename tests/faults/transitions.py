"""Every move of the published tables (engine.model.states), as something that the store is asked to do (R21).

A move that somebody adds to the tables has no recipe here until its author writes one: a test counts them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DeliveryResult, DraftDelivery, Parts, Reprocessed
from engine.model.ids import DeliveryId, MessageSeq, VersionId
from engine.model.states import DELIVERY_MOVES, MESSAGE_MOVES, DeliveryState, MessageState
from engine.testing.store_contract import ADT, EPR, LAB, RIS, intake

Move = tuple[Literal["message", "delivery"], str, str]
"""What moves, from which state, to which."""

SEQ = MessageSeq(1)
DELIVERY = DeliveryId(1)


def published() -> set[Move]:
    """The moves that the tables allow."""
    messages: set[Move] = {("message", before, after) for before, to in MESSAGE_MOVES.items() for after in to}
    return messages | {("delivery", before, after) for before, to in DELIVERY_MOVES.items() for after in to}


def _put(store: SqliteStore, state: MessageState) -> None:
    """Message 1 in this state, and one of another channel beside it. A message that is through has a delivery."""
    to = (EPR,) if state == "processed" else ()
    store.commit(Batch([replace(intake(*to, receive_id=b"1" * 16), state=state), intake(RIS, channel=ADT)]))


def _reprocess(to: MessageState) -> Callable[[SqliteStore], None]:
    """The pipeline's end, a release or a reprocess; what comes of it goes to two destinations."""

    def act(store: SqliteStore) -> None:
        made = intake(EPR, RIS).deliveries if to == "processed" else ()
        store.commit(Batch(reprocessed=[Reprocessed(SEQ, LAB, VersionId(1), to, "", made)]))

    return act


def _join(to: MessageState) -> Callable[[SqliteStore], None]:
    """The last fragment came: the whole message's row, and its part moves."""

    def act(store: SqliteStore) -> None:
        whole = replace(intake(EPR, receive_id=b"2" * 16), parts=Parts([SEQ], to))
        store.commit(Batch([whole]))

    return act


def _put_delivery(store: SqliteStore, state: DeliveryState) -> None:
    """Delivery 1 in this state, and another behind it that waits."""
    store.commit(Batch([intake(EPR, receive_id=b"1" * 16), intake(EPR)]))
    if state != "queued":
        store.commit(Batch(results=[_result(state)]))


def _result(state: DeliveryState) -> DeliveryResult:
    result = DeliveryResult(DELIVERY, state, 1, 1_000_000, 2_000_000 if state == "queued" else 0, "code", "note")
    if state == "redirected":
        result.redirect = DraftDelivery(RIS, None)
    return result


def _attempt(to: DeliveryState) -> Callable[[SqliteStore], None]:
    """An attempt's end, together with a message that comes in."""

    def act(store: SqliteStore) -> None:
        store.commit(Batch([intake(EPR, receive_id=b"3" * 16)], results=[_result(to)]))

    return act


def _person(to: DeliveryState) -> Callable[[SqliteStore], None]:
    """A person's word."""

    def act(store: SqliteStore) -> None:
        store.move_deliveries([DELIVERY], to, "a person's word")

    return act


def _redirect(store: SqliteStore) -> None:
    """A person gives it to another destination."""
    store.redirect_deliveries([(DELIVERY, DraftDelivery(RIS, None))], "a person's word")


RECIPES: dict[Move, Callable[[SqliteStore], None]] = {
    ("message", "received", "processed"): _reprocess("processed"),
    ("message", "received", "filtered"): _reprocess("filtered"),
    ("message", "received", "held"): _reprocess("held"),
    ("message", "received", "rejected"): _reprocess("rejected"),
    ("message", "processed", "processed"): _reprocess("processed"),
    ("message", "processed", "filtered"): _reprocess("filtered"),
    ("message", "processed", "held"): _reprocess("held"),
    ("message", "processed", "rejected"): _reprocess("rejected"),
    ("message", "filtered", "processed"): _reprocess("processed"),
    ("message", "filtered", "filtered"): _reprocess("filtered"),
    ("message", "filtered", "held"): _reprocess("held"),
    ("message", "filtered", "rejected"): _reprocess("rejected"),
    ("message", "held", "processed"): _reprocess("processed"),
    ("message", "held", "filtered"): _reprocess("filtered"),
    ("message", "held", "held"): _reprocess("held"),
    ("message", "held", "rejected"): _reprocess("rejected"),
    ("message", "held", "discarded"): _reprocess("discarded"),
    ("message", "waiting", "joined"): _join("joined"),
    ("message", "waiting", "rejected"): _join("rejected"),
    ("message", "waiting", "held"): _reprocess("held"),
    ("delivery", "queued", "queued"): _attempt("queued"),
    ("delivery", "queued", "delivered"): _attempt("delivered"),
    ("delivery", "queued", "held"): _attempt("held"),
    ("delivery", "queued", "failed"): _attempt("failed"),
    ("delivery", "queued", "redirected"): _attempt("redirected"),
    ("delivery", "held", "redirected"): _redirect,
    ("delivery", "failed", "redirected"): _redirect,
    ("delivery", "held", "queued"): _person("queued"),
    ("delivery", "held", "failed"): _person("failed"),
    ("delivery", "failed", "queued"): _person("queued"),
}


def prepare(store: SqliteStore, move: Move) -> None:
    """The state before."""
    kind, before, _ = move
    if kind == "message":
        _put(store, before)  # type: ignore[arg-type]
    else:
        _put_delivery(store, before)  # type: ignore[arg-type]


def carry_out(store: SqliteStore, move: Move) -> None:
    """The move."""
    RECIPES[move](store)
