"""The audit's anchor, a file outside of the store, and whether the record is whole and has what the anchor has.

The chain of hashes finds a row that was changed, put in, taken out or moved. Whoever can write the store's file could
make the whole chain anew, or cut its end off together with the head that is kept apart. So each row's hash is noted in
`audit.anchor` as well, as the engine writes the row; the file may lie on another disk, and the log has the newest hash
once an hour and at the stop. Who would deceive has to change all of them.

A line: `184 5c1f... 2026-11-26T04:30:00.000Z`. A line that was cut short by a crash is left out, as is what the store
lost with it: the row is durable before its line is written.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.model.audit import AuditRow, broken_at
from engine.ports.clock import from_us
from engine.ports.store import StoreQueries

ANCHOR: Final = "audit.anchor"
PAGE: Final = 1000
MOST_LINE: Final = 1000
"""Characters; a longer one is none of ours, whatever made it."""
_LINE: Final = re.compile(r"([0-9]{1,18}) ([0-9a-f]{64}) \S+")


@dataclass(slots=True, frozen=True)
class Verdict:
    """`broken_at`: the first row that is not what it was; `unanchored`: the first that the anchor has otherwise, or
    that it has and the store has not. `anchored`: how many the anchor knows."""

    records: int
    hash: bytes
    broken_at: int | None
    unanchored: int | None
    anchored: int

    @property
    def is_whole(self) -> bool:
        return self.broken_at is None and self.unanchored is None


def check_audit(queries: StoreQueries, anchor: Path | None, known: Mapping[int, bytes] | None = None) -> Verdict:
    """Reads all of the record. `known`: hashes that somebody kept elsewhere, by number. Raises StoreError, OSError."""
    # The anchor first: each of its rows was in the store before its line was written.
    anchored = read_anchor(anchor) if anchor is not None else {}
    left = {**anchored, **(known or {})}
    # Then the head: what is recorded while we read comes behind it. What is there without any head was put in.
    head = queries.audit_head()
    newest, others = 0, set[int]()

    def until_head() -> Iterator[AuditRow]:
        nonlocal newest
        for row in _rows(queries):
            newest = row.id
            wanted = left.pop(row.id, row.hash)
            if wanted != row.hash:
                others.add(row.id)
            if row.id <= head.last:
                yield row

    rows = until_head()
    place = broken_at(rows, head.last, head.hash)
    for _ in rows:
        pass  # behind a break: what the anchor has is looked at all the same
    if place is None and newest > (last := queries.audit_head().last):
        place = last + 1
    return Verdict(head.last, head.hash, place, min(others | left.keys(), default=None), len(anchored))


def _rows(queries: StoreQueries) -> Iterator[AuditRow]:
    after = 0
    while page := queries.audit(after, PAGE):
        yield from page
        after = page[-1].id


def read_anchor(path: Path) -> dict[int, bytes]:
    """Hashes by number; the first of a number counts: a later line cannot undo it. {} where there is no file."""
    found: dict[int, bytes] = {}
    for number, hash_ in _anchored(path):
        found.setdefault(number, hash_)
    return found


def _anchored(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line by line: years of records are not held in memory, which the start has little of."""
    try:
        with path.open(encoding="ascii", errors="replace") as lines:
            while line := lines.readline(MOST_LINE):
                if line.endswith("\n") and (parts := _LINE.fullmatch(line.rstrip("\n"))):
                    yield int(parts[1]), bytes.fromhex(parts[2])
    except FileNotFoundError:
        return


def newest_anchored(path: Path) -> tuple[int, bytes] | None:
    """The highest number, by its first line."""
    newest = None
    for number, hash_ in _anchored(path):
        if newest is None or number > newest[0]:
            newest = number, hash_
    return newest


class Anchor:
    """Appends what the store has and the anchor has not. Used by one thread at a time."""

    def __init__(self, queries: StoreQueries, path: Path) -> None:
        self._queries = queries
        self._path = path
        self._last: int | None = None

    def start(self) -> int | None:
        """Looks at the newest line: the number of a row that the store has otherwise or not at all, or None."""
        newest = newest_anchored(self._path)
        if newest is None:
            self._last = 0
            return None
        self._last, hash_ = newest
        row = next(iter(self._queries.audit(self._last - 1, 1)), None)
        if row is None or row.id != self._last or row.hash != hash_:
            # From here on it notes what is there: the line that does not fit stays, and tells of it.
            self._last = self._queries.audit_head().last
            return newest[0]
        return None

    def follow(self) -> int:
        """Note the rows that came since; how many."""
        if self._last is None:
            self.start()
        assert self._last is not None
        count = 0
        while rows := self._queries.audit(self._last, PAGE):
            text = "".join(
                f"{row.id} {row.hash.hex()} {from_us(row.at_us).isoformat(timespec='milliseconds')}\n" for row in rows
            )
            self._append(text.encode("ascii"))
            self._last = rows[-1].id
            count += len(rows)
        return count

    def _append(self, text: bytes) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "rb+", buffering=0) as out:
            end = os.fstat(file).st_size
            if end and os.pread(file, 1, end - 1) != b"\n":
                text = b"\n" + text  # of a line that a crash cut short
            view = memoryview(text)
            while view:
                view = view[out.write(view) :]
            os.fsync(file)
