"""The way in for people and programs: users, their first password, the API's port, and the audit's anchor."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from engine.adapters.admin import AdminUnavailable
from engine.adapters.admin_app import EngineCalls
from engine.adapters.audit_check import ANCHOR, Anchor
from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.tls import listen_context
from engine.adapters.waiting import tell_waiting
from engine.audit_export import AuditSending
from engine.config.console import ConsoleOptions
from engine.config.site import LoadedSite
from engine.ports.bench import Bench
from engine.ports.clock import Clock
from engine.ports.control import Control
from engine.ports.store import StoreError, StoreQueries
from engine.ports.support import SupportMaker
from engine.runtime.tasks import Tasks, describe

if TYPE_CHECKING:
    from engine.adapters.api.access import Access
    from engine.adapters.api.oidc import Provider
    from engine.adapters.api.server import ApiServer

Support = SupportMaker | None
"""Makes support bundles; None where nobody can."""

log = logging.getLogger("segmill.audit")
log_console = logging.getLogger("segmill.api")

RETRY_S: Final = 30.0
"""So often it is tried again to open the console's port, and looked whether its server goes."""
TELL_EVERY_S: Final = 3600.0


def to_the_terminal(text: str) -> None:
    """Where whoever starts the engine sees it; not by the log, which is copied to other machines."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, or there is none
        log.warning("the first password could not be shown; give another: segmill users passwd admin")


class Console:
    """Of one engine. `access` is there in any case: the command line's users need no port.

    What the API is made of is loaded when there is a port for it, or when somebody asks by the control socket.
    """

    def __init__(
        self,
        control: Control,
        queries: StoreQueries,
        clock: Clock,
        site: Callable[[], LoadedSite],
        meter: PrometheusMeter,
    ) -> None:
        """`site`: its files as the engine runs with them now. The console's own settings are those of the start."""
        loaded = site()
        assert loaded.site is not None, "an engine runs with a valid site"
        settings, folder = loaded.site, loaded.folder
        self._site = site
        self._meter = meter
        self._started_us = clock.now_us()
        self._control = control
        self._options = settings.console
        self._folder = folder
        self._environment = settings.environment
        self._clock = clock
        self._queries = queries
        self._calls = EngineCalls(asyncio.get_running_loop())
        self._access: Access | None = None
        self._lock = threading.Lock()
        # Beside the store, where it is kept at all; a link there may lead to another disk.
        self._anchor_path = folder / settings.data / ANCHOR if settings.store_kind == "sqlite" else None
        self._anchor = Anchor(queries, self._anchor_path) if self._anchor_path is not None else None
        self._server: ApiServer | None = None
        self._bench: Bench | None = None
        self._oidc: Provider | None = None
        self._told_unready = ""
        meter.tls.sources.append(self._unready)
        self._is_stopping = False
        self.failure = ""
        """Why nobody reaches it, though somebody should; '' while it goes."""
        self._grown = asyncio.Event()
        self._told_at: float | None = None
        self.support: Support = None
        self.sending: AuditSending | None = None
        """The audit's way to a repository."""

    @property
    def access(self) -> "Access":
        """Who may sign in."""
        with self._lock:  # the control socket's thread may ask as well
            if self._access is None:
                from engine.adapters.api.access import Access

                times = self._options or ConsoleOptions()
                self._access = Access(
                    self._control, self._calls, self._queries, self._clock, idle_s=times.idle, session_s=times.session
                )
            return self._access

    def access_now(self) -> "Access":
        """The same, as a function."""
        return self.access

    @property
    def url(self) -> str | None:
        """How people call it; None where nobody can."""
        return self._server.url if self._server is not None else None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the API is; None where it is not."""
        return self._server.address if self._server is not None else None

    def why_not(self) -> str:
        """As a function."""
        return self.failure

    def recorded(self) -> None:
        """A row was written to the audit."""
        self._grown.set()
        if self.sending is not None:
            self.sending.recorded()

    async def start(self, tasks: Tasks, announce: Callable[[str], None]) -> None:
        """Serve, or try again until that goes: an engine takes messages also where its console cannot be reached.

        `announce` gets the first user's password, once ever.
        """
        await self._start_anchor(tasks)
        if self._options is not None:
            await self._serve(self._options, announce)
            tasks.spawn(self._keep_up(self._options, announce), "keep the console up")
        if self.sending is not None:
            await self.sending.start(self._control, self._queries, self._clock, tasks)

    async def _keep_up(self, options: ConsoleOptions, announce: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            if self._is_stopping:
                return
            if self._server is None or not self._server.is_alive:
                await self._serve(options, announce)

    async def _serve(self, options: ConsoleOptions, announce: Callable[[str], None]) -> None:
        """Once. What is in the way is told once, and again where it is another thing."""
        before, self._server = self._server, None
        try:
            if before is not None:
                await asyncio.to_thread(before.stop)
            # Off the loop: a name may have to be looked up, and certificates be read.
            server = await asyncio.to_thread(self._open, options)
        except (ConfigError, AdminUnavailable) as error:
            self._meter.is_console_up = False
            sentence = f"the console's TLS: {error}" if isinstance(error, ConfigError) else str(error)
            if sentence != self.failure:
                self.failure = sentence
                said = "%s %s; messages are taken all the same, and it is tried again every %g s"
                log_console.error(said, "E500", sentence, RETRY_S)
            return
        if server is None:
            return
        self._meter.is_console_up = True
        if self.failure:
            self.failure = ""
            log_console.warning("the console can be reached again")
        password = await self.access.first_password()
        if password is not None:
            announce(
                f"\nThe first start of the console: sign in at {server.url} as admin with the password\n\n"
                f"    {password}\n\n"
                "It is for signing in once, within a day, and is shown this once. Another one: segmill users passwd "
                "admin\n\n"
            )

    def _open(self, options: ConsoleOptions) -> "ApiServer | None":
        """It is `_server` from then on; None: the engine stops meanwhile. Raises ConfigError and AdminUnavailable."""
        from engine.adapters.api.entries import Api
        from engine.adapters.api.pulse import Pulse
        from engine.adapters.api.server import ApiServer
        from engine.adapters.api.support_jobs import SupportJobs
        from engine.adapters.console.pages import PAGES
        from engine.adapters.console.rendering import refused
        from engine.runtime.bench import ProcessBench

        # One for all servers: another one is opened where the address was taken.
        self._bench = self._bench or ProcessBench()
        tls = listen_context(options.tls, self._folder) if options.tls is not None else None
        api = Api(
            self._control,
            self._calls,
            self._queries,
            self._clock,
            self.access,
            self._folder,
            self._environment,
            self._anchor_path,
            options.is_secure,
            self._site,
            self._meter,
            self._started_us,
            Pulse(self._meter, self._queries),
            bench=self._bench,
            oidc=self._provider(options),
            proxies=options.proxy,
            support=SupportJobs(self.support),
        )
        server = ApiServer(api, options, tls, PAGES, refused)
        server.start()
        with self._lock:
            if not self._is_stopping:
                self._server = server
                return server
        server.stop()  # nobody waits for it any more
        return None

    def _provider(self, options: ConsoleOptions) -> "Provider | None":
        """Who else says who somebody is. Raises ConfigError."""
        if options.oidc is None or options.url is None:
            return None
        from engine.adapters.api.oidc import Provider  # JOSE is loaded only where it is asked for

        made = Provider(options.oidc, self._folder, options.url, self._clock)
        why = made.why_unready()
        if why and why != self._told_unready:
            tell_waiting("console/oidc", why)
        self._oidc, self._told_unready = made, why
        return made

    def _unready(self) -> dict[str, str]:
        """Whether the identity provider waits for its TLS files."""
        why = self._oidc.why_unready() if self._oidc is not None else ""
        return {"console/oidc": why} if why else {}

    async def stop(self) -> None:
        """Nobody is answered any more. What is still recorded meanwhile is noted by `close`."""
        with self._lock:
            self._is_stopping = True
            server, bench = self._server, self._bench
        if bench is not None:
            await asyncio.to_thread(bench.close)
        if server is not None:
            await asyncio.to_thread(server.stop)
        if self.sending is not None:
            await self.sending.stop()

    async def close(self) -> None:
        """Note what was recorded last; the store must still be open for reading."""
        if self._access is not None:
            self._access.passwords.close()
        if self._anchor is not None:
            await self._follow(self._anchor)
            await self._tell(is_last=True)

    # -- the anchor -----------------------------------------------------------------------------

    async def _start_anchor(self, tasks: Tasks) -> None:
        anchor = self._anchor
        if anchor is None:
            return
        try:
            other = await asyncio.to_thread(anchor.start)
        except (OSError, StoreError) as error:
            log.error("the audit's anchor cannot be read: %s", describe(error))
        else:
            if other is not None:
                log.error(
                    "E484 the audit does not have record %d as its anchor has it: see segmill audit verify, and "
                    "segmill explain E484",
                    other,
                )
        tasks.spawn(self._keep_anchored(anchor), "anchor the audit")

    async def _keep_anchored(self, anchor: Anchor) -> None:
        self._grown.set()  # what was recorded before the last stop, and was not noted
        while True:
            await self._grown.wait()
            self._grown.clear()
            await self._follow(anchor)
            await self._tell()

    async def _follow(self, anchor: Anchor) -> None:
        try:
            await asyncio.to_thread(anchor.follow)
        except (OSError, StoreError) as error:
            # The row itself is durable; the next one tries again for all that is missing.
            log.error("the audit's anchor cannot be written: %s", describe(error))

    async def _tell(self, *, is_last: bool = False) -> None:
        """The newest hash to the log, which many sites copy to another machine."""
        now = self._clock.monotonic()
        if not is_last and self._told_at is not None and now - self._told_at < TELL_EVERY_S:
            return
        try:
            head = await asyncio.to_thread(self._queries.audit_head)
        except StoreError:
            return  # said when it could not be followed
        if head.last:
            self._told_at = now
            log.info("audit: record %d, hash %s", head.last, head.hash.hex())
