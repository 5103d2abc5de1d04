"""Checksums over what stands in a row beside the bytes, which have their own (reliability.md D7, R18).

A message's is a sum of two: what never changes (when it was received, from whom, its control id, the hash that a resend
is compared with, the checksum of its bytes), and what was told of it (state, version, findings, answer). A change of
the second takes the old one off and adds the new one, so that a row that was damaged before stays so. A delivery's
covers how it stands and what its receiver said, with its message and its marks; its bytes and its lane are in `crc`.
The end of an attempt writes it anew without a look at the old one, as nearly every delivery ends so.

Not covered: a delivery's key. Of what waits, it is compared with its index at each start (`health`).

These are part of the file format.
"""

import sqlite3
from typing import Final
from zlib import crc32

ROW_DAMAGED_NOTE: Final = "what is stored about it does not match its checksum"


def message_crc(
    seq: int,
    receive_id: bytes,
    channel: int,
    received_at_us: int,
    sender: str,
    peer: str,
    message_type: str,
    control_id: str,
    body_hash: bytes,
    crc: int,
) -> int:
    """Of what never changes."""
    text = f"{seq}|{channel}|{received_at_us}|{sender}|{peer}|{message_type}|{control_id}|{crc}"
    return crc32(text.encode(), crc32(body_hash, crc32(receive_id)))


def told_crc(state: int, version: int, findings: str, ack_code: str, ack: bytes) -> int:
    """Of what was told of a message."""
    return crc32(ack, crc32(f"{state}|{version}|{findings}|{ack_code}|".encode()))


def outcome_crc(
    id_: int, state: int, attempts: int, next_at_us: int, done_at_us: int, code: str, note: str, answer: bytes
) -> int:
    """Of how a delivery stands."""
    text = f"{state}|{attempts}|{next_at_us}|{done_at_us}|{code}|{note}|"
    return crc32(answer, crc32(text.encode())) + id_


FRESH: Final = outcome_crc(0, 0, 0, 0, 0, "", "", b"")
"""Of a delivery that is queued and was never tried, but for its id: nearly all are stored so."""


def with_marks(outcome: int, seq: int, maybe_sent: int, urgent: int) -> int:
    """`outcome` with what else stands in the row: SQLite can add that without asking us."""
    return outcome + seq + ((maybe_sent + 2 * urgent) << 40)


def is_message_whole(row: tuple[object, ...], row_crc: int | None) -> bool:
    """`row`: the arguments of `message_crc`, then those of `told_crc`, as they were read."""
    if row_crc is None:
        return True
    try:
        return message_crc(*row[:10]) + told_crc(*row[10:]) == row_crc  # type: ignore[arg-type]  # as they were read
    except TypeError:  # a turned bit can make another type of it
        return False


def is_delivery_whole(row: tuple[object, ...], row_crc: int | None) -> bool:
    """`row`: the arguments of `outcome_crc`, then message, mark and urgency, as they were read."""
    if row_crc is None:
        return True
    try:
        return with_marks(outcome_crc(*row[:8]), *row[8:]) == row_crc  # type: ignore[arg-type]  # as they were read
    except (TypeError, ValueError):
        return False


def _of_blobs(*parts: object) -> int:
    """`told_crc`, and `outcome_crc` without its id, inside SQLite, where every part comes as a blob.

    Text is cast to a blob in the statement: what a turned bit made no UTF-8 would not come through as text. Nothing
    is raised here: an exception would break the transaction, and with it the engine.
    """
    return crc32(b"|".join(part if isinstance(part, bytes) else b"" for part in parts))


def set_up(connection: sqlite3.Connection) -> None:
    """Make the checksum known to the statements that change what it covers."""
    connection.create_function("crc_of", -1, _of_blobs, deterministic=True)
