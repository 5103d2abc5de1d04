"""The audit's way to a repository: wired where the site names one (ADR 51)."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.adapters.dicom_audit import AuditMessages
from engine.adapters.errors import ConfigError, TlsFilesError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.syslog import SyslogTls, SyslogUdp, repository_of, tls_context
from engine.adapters.waiting import tell_waiting
from engine.config.settings import SiteSettings
from engine.exit_codes import CONFIGURATION
from engine.failures import EngineFailed
from engine.hl7.errors import Hl7Error
from engine.hl7.message import Message
from engine.model.audit import AuditRow, numbers_in
from engine.model.ids import MessageSeq
from engine.ports.clock import Clock
from engine.ports.control import By, Control
from engine.ports.store import StoreError, StoreQueries
from engine.runtime.audit_export import AuditExport
from engine.runtime.committer import Committer
from engine.runtime.tasks import Tasks, describe

log = logging.getLogger("segmill.audit")

MOST_MESSAGES: Final = 1000
"""Of one record, whose patients are looked up."""
STOP_S: Final = 3.0


class PatientsOf:
    """Whom the messages of a record are about, by PID-3.1; read on a thread, from what the store still has."""

    def __init__(self, queries: StoreQueries) -> None:
        self._queries = queries

    def __call__(self, row: AuditRow) -> Sequence[str]:
        """Each once, in the order of the messages. Raises StoreError."""
        found: dict[str, None] = {}
        for seq in numbers_in(row.ids, MOST_MESSAGES):
            stored = self._queries.message(MessageSeq(seq))
            if stored is None or stored.raw is None:
                continue
            try:
                patient = Message.parse(stored.raw).get("PID-3.1")
            except Hl7Error:
                continue
            if patient:
                found[patient] = None
        return list(found)


class AuditSending:
    """Of one engine: nothing where the site names no repository."""

    def __init__(self, settings: SiteSettings, folder: Path, committer: Committer, meter: PrometheusMeter) -> None:
        """`folder`: the site's. Where its TLS files cannot be used, the record waits for them in the store (ADR 58).

        Raises EngineFailed for settings that cannot be used.
        """
        self._options = settings.audit.syslog if settings.audit is not None else None
        self._folder = folder
        self._data = settings.data
        self._committer = committer
        self._meter = meter
        self._control: Control | None = None
        self._export: AuditExport | None = None
        self._task: asyncio.Task[None] | None = None
        self._repository: SyslogTls | SyslogUdp | None = None
        if self._options is not None:
            self._repository = repository_of(self._options, folder)
            try:
                tls_context(self._options, folder)
            except TlsFilesError as error:
                tell_waiting("audit", str(error))
                if isinstance(self._repository, SyslogTls):
                    self._repository.why_unready = str(error)
            except ConfigError as error:
                raise EngineFailed(f"the audit's repository: {error}", CONFIGURATION) from error

            meter.tls.sources.append(self._unready)

    def _unready(self) -> dict[str, str]:
        repository = self._repository
        return {"audit": repository.why_unready} if isinstance(repository, SyslogTls) and repository.why_unready else {}

    def recorded(self) -> None:
        """A row was written to the audit."""
        if self._export is not None:
            self._export.recorded()

    async def start(self, control: Control, queries: StoreQueries, clock: Clock, tasks: Tasks) -> None:
        """Put the start on record, and send from now on."""
        options, repository = self._options, self._repository
        if options is None or repository is None:
            return
        self._control = control
        await control.put_on_record(By("the engine"), "start")
        # On a thread: where no name server answers it takes its time.
        host = await asyncio.to_thread(socket.getfqdn)
        url = f"file://{host}{(self._folder / self._data).resolve().as_posix()}/audit"
        messages = AuditMessages(options, host, url, PatientsOf(queries) if options.patients else None)
        self._export = AuditExport(
            ":".join(map(str, options.server)),
            repository,
            messages,
            queries,
            self._committer,
            clock,
            self._meter.audit_export(),
            bare=messages.bare,
        )
        self._task = tasks.spawn(self._export.run(), "send the audit")

    async def stop(self) -> None:
        """Put the stop on record, and send what is left, if that takes no longer than a moment."""
        export, self._export = self._export, None
        task, self._task = self._task, None
        if export is None or task is None or self._control is None:
            return
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (0.0 if self._committer.dead else STOP_S)
        if not self._committer.dead:
            try:
                async with asyncio.timeout_at(until_s):
                    await self._control.put_on_record(By("the engine"), "stop")
            except (StoreError, TimeoutError) as error:
                log.error("the stop could not be put on record: %s", describe(error))
        task.cancel()
        await asyncio.wait({task})
        await export.finish(max(0.0, until_s - loop.time()))
