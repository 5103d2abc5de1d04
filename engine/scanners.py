"""The site's DICOM port beside the engine's loop: started when everything behind an answer stands, stopped first."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.metrics_numbers import DicomNumbers
from engine.config.dicom import DicomOptions
from engine.exit_codes import CONFIGURATION, UNREACHABLE
from engine.failures import EngineFailed
from engine.ports.clock import Clock
from engine.ports.store import StoreQueries
from engine.ports.worklist import MppsReply, PerformedOrder
from engine.runtime.committer import Committer
from engine.runtime.status_news import StatusNews
from engine.wiring import in_words
from engine.worklist.item import Attributes
from engine.worklist.mpps import SUCCESS

if TYPE_CHECKING:
    from engine.adapters.dicom.queries import Queries
    from engine.adapters.dicom.scp import WorklistScp

log = logging.getLogger("segmill.dicom")


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
            self._meter.performed(False)
            raise
        self._meter.performed(reply.status == SUCCESS)
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
    """One server for all scanners of the site."""

    def __init__(
        self,
        options: DicomOptions,
        folder: Path,
        queries: StoreQueries,
        committer: Committer,
        clock: Clock,
        meter: PrometheusMeter,
        news: StatusNews,
    ) -> None:
        self._options = options
        self._folder = folder
        self._queries = queries
        self._clock = clock
        self._meter = meter
        self._news = news
        self._steps = KeptSteps(options.worklist, committer, clock, meter.dicom, news)
        self._server: WorklistScp | None = None
        self.asked: Queries | None = None
        """What scanners asked for."""

    @property
    def port(self) -> int | None:
        """Where it listens; None before the start and after the stop."""
        return self._server.port if self._server is not None else None

    async def start(self) -> None:
        """Listen. Raises EngineFailed."""
        self._news.follow(self._options.worklist, self._options.status)
        try:
            server, self.asked = await asyncio.to_thread(self._make)
        except ConfigError as error:
            raise EngineFailed(f"dicom: {error}", CONFIGURATION) from error
        except OSError as error:
            place = f"{self._options.host}:{self._options.port}"
            raise EngineFailed(f"dicom cannot listen on {place}: {in_words(error)}", UNREACHABLE) from error
        self._server = server
        log.info("scanners reach worklist %s on port %d", self._options.worklist, server.port)

    def _make(self) -> "tuple[WorklistScp, Queries]":
        from engine.adapters.dicom.server import worklist_server  # half a second and 50 MB: where it is asked for

        server, asked = worklist_server(
            self._options, self._folder, self._queries, self._meter.dicom, self._steps, self._clock.now_us
        )
        server.start()
        return server, asked

    async def stop(self) -> None:
        """Let no scanner in any more, and end what is open."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.stop)
