"""Looks around: how much waits in each lane, and whether there is room to keep promises.

Queues are counted once a second; the disk is looked at the more often, the less is left of it. Both are asked
off the loop: a queue of a million takes a while to count, and a disk may hang.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.ports.store import LaneDepth, StoreError

log = logging.getLogger("segmill")

LOOK_S = 1.0
LEAST_LOOK_S = 0.05
FASTEST_BYTES_PER_S = 200 * 1024 * 1024
"""What the store is thought to write at most, so that the disk is looked at before that much is gone."""


class Lookout:
    """Tells `on_depths` what waits, and `on_room` when the disk gets too full or has room again.

    `folder`: where the store is, None for one in memory. Below `least_free_bytes` there is room for the
    results of deliveries and for nothing else (reliability.md D3); below `low_bytes` it is time to look for some.
    `on_disk` gets the free bytes, and those that the store's files take, each time they are measured.
    """

    def __init__(
        self,
        depths: Callable[[], Sequence[LaneDepth]],
        on_depths: Callable[[Sequence[LaneDepth]], None],
        folder: Path | None,
        least_free_bytes: int,
        on_room: Callable[[bool], None],
        low_bytes: int = 0,
        on_disk: Callable[[int, int | None], None] = lambda free_bytes, store_bytes: None,
        store_files: Sequence[Path] = (),
    ) -> None:
        self._depths = depths
        self._on_depths = on_depths
        self._folder = folder
        self._least_free_bytes = least_free_bytes
        self._on_room = on_room
        self._low_bytes = low_bytes
        self._on_disk = on_disk
        self._store_files = store_files
        self._store_bytes: int | None = None
        self._free_bytes: int | None = None
        self.has_room = True
        self.is_low = False
        """Whether the disk is filling up, though there is room yet."""
        self._spare_bytes: float = float("inf")
        self._count_at = 0.0
        self._is_blind = False

    def change(self, least_free_bytes: int, low_bytes: int) -> None:
        """Other bounds, from the next look on."""
        self._least_free_bytes = least_free_bytes
        self._low_bytes = low_bytes

    async def run(self) -> None:
        """Until cancelled. Queues are counted at once: at the start nobody has done so yet."""
        while True:
            await self.look()
            urgent_s = self._spare_bytes / FASTEST_BYTES_PER_S if self.has_room else LOOK_S
            await asyncio.sleep(min(LOOK_S, max(LEAST_LOOK_S, urgent_s)))

    async def look(self, *, counts: bool = True) -> None:
        """Once. Not `counts`: at the disk alone, as before a start listens: to count a million takes its time (R5)."""
        depths, has_room = await asyncio.to_thread(self._measure, counts)
        if depths is not None:
            self._on_depths(depths)
        self._tell_of_disk()
        if has_room != self.has_room:
            self.has_room = has_room
            if has_room:
                log.warning("there is room on the store's disk again: messages are taken")
            else:
                log.error(
                    "less than %d bytes are free on the store's disk: messages are refused", self._least_free_bytes
                )
            self._on_room(has_room)

    def _tell_of_disk(self) -> None:
        if self._free_bytes is None:
            return
        self._on_disk(self._free_bytes, self._store_bytes)
        # Back above the mark by a tenth, so that a disk at the mark does not fill the log.
        mark = self._low_bytes * (1.1 if self.is_low else 1.0)
        is_low = self._free_bytes < mark
        if is_low != self.is_low:
            self.is_low = is_low
            if is_low:
                log.warning(
                    "less than %d bytes are free on the store's disk; below %d messages are refused",
                    self._low_bytes,
                    self._least_free_bytes,
                )
            else:
                log.warning("more than %d bytes are free on the store's disk again", self._low_bytes)

    def _measure(self, counts: bool) -> tuple[Sequence[LaneDepth] | None, bool]:
        depths: Sequence[LaneDepth] | None = None
        now = time.monotonic()
        if counts and now >= self._count_at:
            self._count_at = now + LOOK_S
            try:
                depths = self._depths()
            except StoreError as error:
                if not self._is_blind:
                    log.error("queues cannot be counted now: %s", error)
            self._is_blind = depths is None
        return depths, self._measured_room()

    def _measured_room(self) -> bool:
        if self._folder is None:
            return True
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return self.has_room  # what cannot be measured is as it was; a commit would say more
        self._free_bytes = disk.f_bavail * disk.f_frsize
        self._spare_bytes = self._free_bytes - self._least_free_bytes
        self._store_bytes = _size_of(self._store_files)
        return self._spare_bytes >= 0


def _size_of(files: Sequence[Path]) -> int | None:
    """Of those that are there; None if none is."""
    found: list[int] = []
    for path in files:
        with contextlib.suppress(OSError):
            found.append(path.stat().st_size)
    return sum(found) if found else None
