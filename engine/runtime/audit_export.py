"""Sends the audit on, record by record, from a position that the store keeps (ADR 51).

The audit's table is the queue: nothing waits in memory, and nothing that people do waits for it. What was written to
the repository counts as sent when `settle_s` later the connection still stands and the other machine has all of it;
then the position moves on. Where the connection was lost before that, all behind the position is sent again: each
record at least once, in order. Each names its number, so that a repository can tell what it has twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.model.audit import AuditRow
from engine.ports.access import AuditSent
from engine.ports.audit_export import AuditExportMeter, AuditRepository, RepositoryDown
from engine.ports.clock import Clock
from engine.ports.operations import By, Change
from engine.ports.store import CommitUnknown, StoreError, StoreQueries
from engine.runtime.committer import Committer
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.audit")

DOWN: Final = "E560"
UNTOLD: Final = "E564"
TRIES: Final = 3
"""Of a record that the store cannot be asked about, before it goes without what is not known."""
TOLD_EVERY_S: Final = 60.0
MOST_ROWS: Final = 50
AT_MOST_BUSY: Final = 4
"""It rests so many times as long as it read and made the messages: years of records take no core from the feeds."""
QUIET_S: Final = 30.0
"""How often an idle connection is looked at."""

Render = Callable[[AuditRow], Sequence[bytes]]
"""The messages of one record; called on a thread, may read the store."""


@dataclass(slots=True, frozen=True)
class ExportPace:
    """How often it does what, in seconds."""

    settle_s: float = 5.0
    stall_s: float = 30.0
    first_s: float = 1.0
    most_s: float = 60.0


class AuditExport:
    """One repository, from the engine's start to its stop."""

    def __init__(
        self,
        where: str,
        repository: AuditRepository,
        render: Render,
        queries: StoreQueries,
        committer: Committer,
        clock: Clock,
        meter: AuditExportMeter,
        pace: ExportPace | None = None,
        *,
        bare: Render,
    ) -> None:
        """`where`: how people call it, for the log. `bare`: of a record that `render` cannot make messages of."""
        self._where = where
        self._repository = repository
        self._render = render
        self._bare = bare
        self._queries = queries
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._pace = pace or ExportPace()
        self._grown = asyncio.Event()
        self._kept: int | None = None
        """The position in the store: all up to here was sent for good."""
        self._written = 0
        """All up to here was written to this connection."""
        self._marks: deque[tuple[float, int]] = deque()
        """When which record was written, of those behind the position."""
        self._is_up: bool | None = None
        self._failures = 0
        self._has_ended = False
        self._stuck = (0, 0)
        """The record that could not be asked about, and how often."""
        self._told_at: float | None = None

    def recorded(self) -> None:
        """The audit has grown."""
        self._grown.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._grown.clear()
            rest_s = await self.turn()
            try:
                async with asyncio.timeout(rest_s):
                    await self._rest()
            except TimeoutError:
                pass

    async def _rest(self) -> None:
        # While it is down a new record changes nothing.
        if self._is_up:
            await self._grown.wait()
        else:
            await asyncio.Event().wait()

    async def turn(self) -> float:
        """Send what there is; after how many seconds to look again."""
        try:
            rest_s = await self._turn()
            await self._show(is_up=True)
        except RepositoryDown as down:
            return await self._went_down(str(down))
        except CommitUnknown:
            raise
        except StoreError as error:
            return await self._went_down(f"the store cannot be read or written: {error}")
        except Exception as error:  # noqa: BLE001 - the edge of the export: messages and their record go on without it
            return await self._went_down(f"a defect: {describe(error)}")
        return rest_s

    async def _turn(self) -> float:
        if self._kept is None:
            self._kept = self._written = await asyncio.to_thread(self._queries.audit_sent)
        if await self._repository.open():
            self._marks.clear()
            self._written = self._kept
        while True:
            # Here, as right after it was written nothing has crossed a network yet.
            await self._settle()
            if self._marks and self._overdue_s() > self._pace.settle_s:
                break  # it is waited for: else a long record would move on at its end only, and begin anew before it
            began = self._clock.monotonic()
            rows = await asyncio.to_thread(self._read)
            if not rows:
                break
            busy_s = self._clock.monotonic() - began
            await self._repository.send([message for _, messages in rows for message in messages])
            self._written = rows[-1][0]
            self._marks.append((self._clock.monotonic(), self._written))
            self._meter.sent(sum(len(messages) for _, messages in rows))
            await self._show(is_up=True)
            await asyncio.sleep(busy_s * AT_MOST_BUSY)
        if not self._marks:
            return QUIET_S
        overdue_s = self._overdue_s()
        if overdue_s > self._pace.stall_s:
            raise RepositoryDown("it does not take what was sent")
        return max(-overdue_s, self._pace.first_s / 10)

    def _overdue_s(self) -> float:
        """For how long the oldest of what was written could have been settled."""
        return self._clock.monotonic() - self._marks[0][0] - self._pace.settle_s

    def _read(self) -> list[tuple[int, Sequence[bytes]]]:
        """The next records with their messages. One that has none to be made goes bare: all others are behind it."""
        found: list[tuple[int, Sequence[bytes]]] = []
        for row in self._queries.audit(self._written, MOST_ROWS):
            try:
                found.append((row.id, self._render(row)))
            except Exception as error:
                if found:
                    break  # those before it are sent first
                if isinstance(error, StoreError) and self._tries_of(row.id) < TRIES:
                    raise
                self._tell_untold(row, error)
                found.append((row.id, self._bare(row)))
        return found

    def _tries_of(self, number: int) -> int:
        stuck, tries = self._stuck
        self._stuck = (number, tries + 1 if stuck == number else 1)
        return self._stuck[1]

    def _tell_untold(self, row: AuditRow, error: Exception) -> None:
        now = self._clock.monotonic()
        if self._told_at is not None and now - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = now
        log.error(
            "%s audit export: record %d goes to %s by its number and hash alone, as no message can be made of it: %s",
            UNTOLD,
            row.id,
            self._where,
            describe(error),
        )

    async def _settle(self) -> None:
        """Move the position on to what was written long enough ago, if the other side has it."""
        due = self._clock.monotonic() - self._pace.settle_s
        if not self._marks or self._marks[0][0] > due or not self._repository.has_all():
            return
        reached = 0
        while self._marks and self._marks[0][0] <= due:
            _, reached = self._marks.popleft()
        await self._keep(reached)

    async def _keep(self, reached: int) -> None:
        change = Change(By(), "", access=[AuditSent(reached)])
        await self._committer.call(lambda store: store.operate(change))
        self._kept = reached

    async def finish(self, within_s: float) -> None:
        """Send what is left and end the connection in order, if that takes no longer. Once, when the rest has stopped.

        What was not sent is sent after the next start.
        """
        if self._has_ended:
            return
        self._has_ended = True
        if self._is_up is False:  # None: the very first was under way
            await self._repository.close()
            return
        try:
            async with asyncio.timeout(within_s):
                await self._turn()
        except Exception as error:  # noqa: BLE001 - the edge of the export: the engine's stop goes on
            log.info(
                "audit export: what is left for %s is sent after the next start (%s)", self._where, describe(error)
            )
            await self._repository.close()
            return
        if await self._repository.close() and self._kept is not None and self._written > self._kept:
            try:
                await self._keep(self._written)
            except StoreError as error:
                log.info("audit export: some is sent again after the next start: %s", error)

    # -- up and down ----------------------------------------------------------------------------

    async def _show(self, *, is_up: bool) -> None:
        kept = self._kept or 0
        head, oldest = await asyncio.to_thread(lambda: (self._queries.audit_head(), self._queries.audit(kept, 1)))
        self._meter.stands(is_up, head.last - kept, oldest[0].at_us if oldest else 0)
        if is_up:
            if self._is_up is False:
                log.warning("audit export: %s is back: %d records wait", self._where, head.last - kept)
            self._is_up, self._failures = True, 0

    async def _went_down(self, why: str) -> float:
        if self._is_up is not False:
            log.error(
                "%s audit export: nothing can be sent to %s: %s; it is tried again, and all stays on record here",
                DOWN,
                self._where,
                why,
            )
        self._is_up = False
        self._failures += 1
        self._meter.failed()
        await self._repository.close()
        try:
            await self._show(is_up=False)
        except StoreError as error:
            log.debug("audit export: what waits cannot be counted: %s", error)
        jitter = int.from_bytes(self._clock.random_bytes(2)) / 65536
        wait_s = min(self._pace.first_s * 2.0 ** min(self._failures - 1, 30), self._pace.most_s)
        return wait_s * (0.8 + 0.2 * jitter)
