"""What rows of a sealed store hold where those of a plain one hold the value itself: on the way in, and out (ADR 54).

Bodies are opened by the view `whole_body` of the connection (`unlocking.shadow`), all else here. What cannot be opened
counts as damaged, one value at a time.
"""

from collections.abc import Sequence
from typing import Any

from engine.adapters.stores.sealed_tables import ANSWER
from engine.adapters.stores.sealing import Sealing, Unopened

ACK = "message.ack"
HASH = "message.body_hash"
KEY = "delivery.key"


def sealed_ack(sealing: Sealing | None, seq: int, ack: bytes) -> bytes:
    """As it stands in the message's row."""
    return ack if sealing is None else sealing.seal(ACK, seq, ack)


def sealed_answer(sealing: Sealing | None, delivery: int, answer: bytes) -> bytes:
    """As it stands in the row of the delivery, or of one of its attempts."""
    return answer if sealing is None else sealing.seal(ANSWER, delivery, answer)


def opened_ack(sealing: Sealing | None, seq: int, ack: bytes) -> bytes:
    """The answer that the sender got; an empty one where it cannot be opened: none is better than another's."""
    try:
        return ack if sealing is None else sealing.open(ACK, seq, ack)
    except Unopened:
        return b""


def opened_answer(sealing: Sealing | None, delivery: int, answer: bytes) -> tuple[bytes, bool]:
    """What the receiver said, and whether it could be opened."""
    try:
        return (answer if sealing is None else sealing.open(ANSWER, delivery, answer)), True
    except Unopened:
        return b"", False


def opened_key(sealing: Sealing | None, key: Any) -> tuple[str | None, bool]:
    """The key of a delivery, and whether it could be opened."""
    try:
        return (key if sealing is None or key is None else sealing.untoken(KEY, key)), True
    except Unopened:
        return None, False


def with_opened_keys(sealing: Sealing | None, rows: Sequence[Any], key: int, body: int) -> list[Any]:
    """Rows with the key in one place and the bytes in another; where the key cannot be opened, the bytes count as
    damaged, too: nobody knows behind what they are to be sent."""
    if sealing is None:
        return list(rows)
    found = []
    for row in rows:
        opened, is_whole = opened_key(sealing, row[key])
        values = list(row)
        values[key] = opened
        if not is_whole:
            values[body] = b""
        found.append(tuple(values))
    return found
