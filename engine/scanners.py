"""The site's DICOM port beside the engine's loop: started when everything behind an answer stands, stopped first."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.metrics_numbers import DicomNumbers
from engine.config.dicom import DicomOptions
from engine.exit_codes import CONFIGURATION, UNREACHABLE
from engine.failures import EngineFailed
from engine.ports.clock import Clock
from engine.ports.store import LaneDepth, StoreQueries
from engine.ports.worklist import MppsReply, PerformedOrder, QueryRecord
from engine.runtime.committer import Committer
from engine.runtime.status_news import StatusNews
from engine.wiring import in_words, why_no_port
from engine.worklist.item import Attributes
from engine.worklist.mpps import SUCCESS

if TYPE_CHECKING:
    from engine.adapters.dicom.queries import Queries
    from engine.adapters.dicom.server import SiteServer

log = logging.getLogger("segmill.dicom")


COUNTING_SHARE: Final = 50
"""Counting worklists takes one part of so many of a thread's time."""
ANSWER_S: Final = 20.0
"""How long a scanner waits for its performed step to be kept; its own time-outs are 30 s and more."""


class KeptSteps:
    """PerformedSteps that are durable in the store: from the server's threads, by way of the committer."""

    def __init__(
        self, worklist: str, committer: Committer, clock: Clock, meter: DicomNumbers, news: StatusNews
    ) -> None:
        self._worklist = worklist
        self._committer = committer
        self._clock = clock
        self._news = news
        self._meter = meter
        self._loop = asyncio.get_running_loop()

    def created(self, uid: str, attributes: Attributes, peer: str, calling: str) -> MppsReply:
        """An N-CREATE."""
        return self._keep(uid, attributes, calling, is_new=True)

    def changed(self, uid: str, attributes: Attributes, peer: str, calling: str) -> MppsReply:
        """An N-SET."""
        return self._keep(uid, attributes, calling, is_new=False)

    def _keep(self, uid: str, attributes: Attributes, calling: str, *, is_new: bool) -> MppsReply:
        order = PerformedOrder(self._worklist, uid, attributes, calling, self._clock.now_us(), is_new)
        kept = asyncio.run_coroutine_threadsafe(self._in_store(order), self._loop)
        try:
            reply = kept.result(ANSWER_S)
        except BaseException:
            kept.cancel()
            self._meter.performed("refused")
            raise
        is_unscheduled = is_new and reply.items == 0
        self._meter.performed("refused" if reply.status != SUCCESS else "unscheduled" if is_unscheduled else "kept")
        if is_unscheduled:
            log.warning(
                "a performed step of %s names no step of worklist %s: it is kept, and moves nothing",
                calling,
                self._worklist,
            )
        if reply.status != SUCCESS:
            log.warning("a performed step of %s was refused (%04X): %s", calling, reply.status, reply.text)
        return reply

    async def _in_store(self, order: PerformedOrder) -> MppsReply:
        future = self._committer.call(lambda store: store.perform(order, self._news))

        def ended(done: "asyncio.Future[MppsReply]") -> None:
            if not done.cancelled() and done.exception() is None:
                self._news.stored(done.result().grown)

        # Also where the scanner has gone meanwhile: a lane that does not hear of a delivery would leave it behind.
        future.add_done_callback(ended)
        return await asyncio.shield(future)


class Scanners:
    """One server for all scanners of the site, over reloads; none where the site has no `dicom:`."""

    def __init__(
        self,
        folder: Path,
        queries: StoreQueries,
        committer: Committer,
        clock: Clock,
        meter: PrometheusMeter,
        news: StatusNews,
    ) -> None:
        self._folder = folder
        self._queries = queries
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._news = news
        self._options: DicomOptions | None = None
        self._server: SiteServer | None = None
        self._asked: Queries | None = None
        self._ending: list[SiteServer] = []

    @property
    def port(self) -> int | None:
        """Where it listens; None before the start, after the stop, and where the site has none."""
        return self._server.scp.port if self._server is not None else None

    def asked(self) -> Sequence[QueryRecord]:
        """What scanners asked for, the newest last."""
        return self._asked.newest if self._asked is not None else ()

    async def start(self, options: DicomOptions | None) -> None:
        """Listen. Raises EngineFailed."""
        (await self.prepare(options)).carry_out()

    async def prepare(self, options: DicomOptions | None) -> "NextScanners":
        """What a reload changes it to: all that may fail is done here, beside what runs. Raises EngineFailed."""
        if options is None:
            return NextScanners(self, None)
        steps = KeptSteps(options.worklist, self._committer, self._clock, self._meter.dicom, self._news)
        try:
            return await asyncio.to_thread(self._prepare, options, steps)
        except ConfigError as error:
            raise EngineFailed(f"dicom: {error}", CONFIGURATION) from error
        except OSError as error:
            place = f"{options.host}:{options.port}"
            has_it = self._options is not None and self._options.port == options.port
            own = "; it has that port on another address now: take another port, or start anew"
            why = in_words(error) + own if has_it else why_no_port(error)
            raise EngineFailed(f"dicom cannot listen on {place}: {why}", UNREACHABLE) from error

    def _prepare(self, options: DicomOptions, steps: KeptSteps) -> "NextScanners":
        from engine.adapters.dicom.server import SiteServer, queries_of, settings_of  # 0.5 s, 50 MB: only if asked for

        asked = self._asked if self._asked is not None else queries_of(options, self._meter.dicom)
        before = self._options
        if self._server is not None and before is not None and _place(before) == _place(options):
            server, settings = self._server, settings_of(options, self._folder)
            return NextScanners(self, options, asked, change=partial(server.change, options, settings, steps))
        made = SiteServer(options, self._folder, self._queries, steps, asked, self._clock.now_us)
        made.scp.bind()
        return NextScanners(self, options, asked, made)

    def take_up(self, following: "NextScanners") -> "SiteServer | None":
        """Serve by it from now on; the server that is to end, if there is one."""
        before, options = self._server, following.options
        self._options, self._asked = options, following.asked
        if following.change is not None:
            following.change()
        else:
            self._server = following.server
            if self._server is not None:
                self._server.scp.serve()
        if options is None:
            self._news.follow("", None)
        else:
            assert self._asked is not None
            self._asked.change(keep=options.query_log.keep, keeps_patients=options.query_log.patients)
            self._news.follow(options.worklist, options.status)
        if self._server is not before and self._server is not None and options is not None:
            log.info("scanners reach worklist %s on port %d", options.worklist, self._server.scp.port)
        return before if self._server is not before else None

    async def end(self, server: "SiteServer", finish_s: float) -> None:
        """Let nobody in any more; what is open may come to its end within `finish_s`."""
        self._ending.append(server)
        try:
            await asyncio.to_thread(server.scp.stop, finish_s)
        finally:
            self._ending.remove(server)

    async def stop(self) -> None:
        """Let no scanner in any more, and end what is open."""
        server, self._server = self._server, None
        everyone = [*self._ending, *([server] if server is not None else [])]
        await asyncio.gather(*(asyncio.to_thread(one.scp.stop) for one in everyone))


@dataclass(slots=True, frozen=True)
class NextScanners:
    """What a reload makes of the port: `carry_out`, or `give_up`. `server`: one that listens at another place."""

    scanners: Scanners
    options: DicomOptions | None
    asked: "Queries | None" = None
    server: "SiteServer | None" = None
    change: Callable[[], None] | None = None

    def carry_out(self) -> "SiteServer | None":
        """Serve by it; the server that is to end now, if there is one."""
        return self.scanners.take_up(self)

    async def give_up(self) -> None:
        """Let go of what was made; what runs was not touched."""
        if self.server is not None:
            await asyncio.to_thread(self.server.scp.stop)


def _place(options: DicomOptions) -> tuple[str, int]:
    return options.host, options.port


class WorklistCounts:
    """What is on the worklists, to the metrics. Off the loop, and for a small share of the time: a worklist of 100,000
    steps takes a fifth of a second to count.
    """

    def __init__(self, queries: StoreQueries, numbers: DicomNumbers) -> None:
        self._queries = queries
        self._numbers = numbers
        self._again_at_s = 0.0

    def with_depths(self) -> Sequence[LaneDepth]:
        """How much waits in each lane, and beside it the worklists. Raises StoreError."""
        began_s = time.monotonic()
        if began_s >= self._again_at_s:
            self._numbers.items = self._queries.worklist_counts()
            self._numbers.without_station = self._queries.worklist_without_station()
            now_s = time.monotonic()
            self._again_at_s = now_s + COUNTING_SHARE * (now_s - began_s)
        return self._queries.depths()
