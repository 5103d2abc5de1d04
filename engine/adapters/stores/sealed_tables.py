"""Which columns are sealed, and which hold tokens (ADR 54). What is in none of these stands in the store as it is.

Conversions, verification and the change of data keys walk this list; a column that is added to it is sealed by whoever
writes it.
"""

from collections.abc import Callable, Mapping
from typing import Final, cast

from engine.adapters.stores.row_checks import message_crc, outcome_crc, told_crc
from engine.adapters.stores.sealed_others import OTHERS
from engine.adapters.stores.sealing import SealedColumn, SealedTable

Values = Mapping[str, object]

ANSWER: Final = "answer"
"""Of a receiver, bound to its delivery: statements move it from the delivery's row to that of an attempt."""


def _rechecked(crc_of: Callable[[Values], int], before: Values, after: Values) -> Values:
    """By the difference, so that a row that was damaged before stays so."""
    if before["row_crc"] is None:
        return {}
    try:
        return {"row_crc": cast(int, before["row_crc"]) - crc_of(before) + crc_of(after)}
    except TypeError:  # a turned bit made another type of a value: the sum does not hold, and is not to
        return {}


def _message_recheck(before: Values, after: Values) -> Values:
    return _rechecked(_of_message, before, after)


def _of_message(values: Values) -> int:
    fixed = tuple(values[name] for name in _FIXED)
    told = tuple(values[name] for name in ("state", "version", "findings", "ack_code", "ack"))
    return message_crc(*fixed) + told_crc(*told)  # type: ignore[arg-type]  # as they were read


_FIXED: Final = (
    "seq", "receive_id", "channel", "received_at_us", "sender", "peer", "message_type", "control_id", "body_hash",
    "crc",
)  # fmt: skip


def _delivery_recheck(before: Values, after: Values) -> Values:
    return _rechecked(_of_delivery, before, after)


def _of_delivery(values: Values) -> int:
    names = ("id", "state", "attempts", "next_at_us", "done_at_us", "code", "note", "answer")
    return outcome_crc(*(values[name] for name in names))  # type: ignore[arg-type]  # as they were read


CORE: Final = (
    SealedTable("body", ("id",), (SealedColumn("bytes", row=("id",)),)),
    SealedTable("body_piece", ("body", "number"), (SealedColumn("bytes", row=("body", "number")),)),
    SealedTable(
        "message",
        ("seq",),
        (SealedColumn("ack", row=("seq",)), SealedColumn("body_hash", row=("seq",))),
        also=(*(name for name in _FIXED if name != "body_hash"), "state", "version", "findings", "ack_code", "row_crc"),
        recheck=_message_recheck,
    ),
    SealedTable(
        "delivery",
        ("id",),
        (SealedColumn("answer", row=("id",), place=ANSWER), SealedColumn("key", "token")),
        also=("state", "attempts", "next_at_us", "done_at_us", "code", "note", "row_crc"),
        recheck=_delivery_recheck,
    ),
    SealedTable("attempt", ("delivery", "number"), (SealedColumn("answer", row=("delivery",), place=ANSWER),)),
    SealedTable("key_setup", ("id",), (SealedColumn("secret", row=("id",)),)),
)

TABLES: Final[tuple[SealedTable, ...]] = (*CORE, *OTHERS)
