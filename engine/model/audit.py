"""What people did, on record: rows in a chain of hashes, so that one that was changed or taken away is noticed.

Each row's hash covers the row and the hash before it; the store keeps the last hash apart. Whoever can write the
store's file can make the whole chain anew: against that, note the head down elsewhere (`segmill audit --verify`
prints it).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

START: Final = bytes(32)
"""The hash before the first row."""


@dataclass(slots=True, frozen=True)
class AuditRow:
    """One thing that somebody did.

    `actor`: who, as the system knows them (`anna (uid 1000)`), or as they signed in, and from where (`anna from
    10.1.2.3`). `action`: the command's word. `reason`: a person's sentence, or ''. `scope`: what was asked for, in
    words; it may quote an expression with values of messages, and so stands nowhere else. `counts`: JSON, what came of
    it. `ids`: the messages and deliveries that were touched, as ranges (`messages 1-5,9; deliveries 12`), or the
    destinations and intakes (`adt/ris`), or users and tokens (`user anna`). `key`: the idempotency key of the run that
    it is a part of. `salt`: random, where what is stored is sealed: no guess at the row can be confirmed by its hash.
    """

    id: int
    at_us: int
    actor: str
    action: str
    reason: str
    scope: str
    counts: str
    ids: str
    key: str
    hash: bytes = b""
    salt: str = ""


def chained(previous: bytes, row: AuditRow) -> bytes:
    """The hash of `row` behind a row whose hash is `previous`."""
    told = [row.id, row.at_us, row.actor, row.action, row.reason, row.scope, row.counts, row.ids, row.key]
    if row.salt:
        told.append(row.salt)
    text = json.dumps(told, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return blake2b(previous + text, digest_size=32).digest()


def broken_at(rows: Iterable[AuditRow], last: int, head: bytes) -> int | None:
    """The id of the first row that is not what it was, or is missing; None where the chain is whole.

    `last` and `head`: the id and the hash of the newest row, as the store keeps them apart.
    """
    previous, expected = START, 1
    for row in rows:
        if row.id != expected or row.hash != chained(previous, row):
            return expected
        previous, expected = row.hash, expected + 1
    return None if (expected - 1, previous) == (last, head) else min(expected, max(last, 1))


def ranges(numbers: Iterable[int]) -> str:
    """`1-3,7` for 1, 2, 3 and 7; '' for none."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def numbers_in(ids: str, most: int) -> list[int]:
    """The numbers of messages that `ids_text` gave, the first `most` of them."""
    found: list[int] = []
    for part in ids.split("; "):
        word, _, listed = part.partition(" ")
        if word != "messages":
            continue
        for item in listed.split(","):
            first, _, last = item.partition("-")
            if not (first.isdecimal() and (last or first).isdecimal()):
                continue
            begin, end = int(first), int(last or first)
            found += range(begin, min(end, begin + most - len(found) - 1) + 1)
            if len(found) >= most:
                return found
    return found


def ids_text(messages: Sequence[int], deliveries: Sequence[int], lanes: Sequence[str] = ()) -> str:
    """What a row says of the messages, deliveries and lanes that were touched."""
    parts = [f"{word} {ranges(ids)}" for word, ids in (("messages", messages), ("deliveries", deliveries)) if ids]
    return "; ".join([*parts, *([", ".join(lanes)] if lanes else [])])
