"""What an address of the API is: one entry of the table in `routes`, which is the only source of what there is.

The application, its checks, the OpenAPI document, the docs and the tests are all made from the entries.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from engine.adapters.admin_app import EngineCalls
from engine.adapters.api.access import Access, Signed
from engine.adapters.api.case_results import CaseResults
from engine.adapters.api.desks import Desks
from engine.adapters.api.forwarded import Network
from engine.adapters.api.problems import not_allowed, not_there
from engine.adapters.api.pulse import Pulse
from engine.adapters.api.runs import Runs
from engine.adapters.api.streams import Streams
from engine.adapters.api.support_jobs import SupportJobs
from engine.adapters.api.versions import Versions
from engine.adapters.metrics import PrometheusMeter
from engine.config.site import LoadedSite
from engine.model.access import Permission, Principal
from engine.ports.bench import Bench
from engine.ports.clock import Clock
from engine.ports.control import By, Control
from engine.ports.store import StoreQueries

if TYPE_CHECKING:
    from engine.adapters.api.oidc import Provider

BASE: Final = "/api/v1"
MOST_BODY: Final = 1 << 20
TIMEOUT_S: Final = 30.0
SEARCHES: Final = 2

Need = Literal["public", "self"] | Permission
"""`public`: anybody. `self`: whoever is signed in, also with a password that must be changed. Else a permission."""
Scope = Literal["site", "channel"]
"""For whom the permission must be granted: the whole site, or the channel that is asked for (of a list: any)."""


class ApiModel(BaseModel):
    """What comes in or goes out. Unknown keys are refused, and text is not taken for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(ApiModel):
    """No parameters."""


M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Api:
    """What the handlers work with. `folder`: the site's; `environment`: its name; `anchor`: the audit's.

    `site`: its files as the engine runs with them now; `meter`: the engine's numbers, to be read from any thread.
    """

    control: Control
    calls: EngineCalls
    queries: StoreQueries
    clock: Clock
    access: Access
    folder: Path
    environment: str
    anchor: Path | None
    is_secure: bool
    site: Callable[[], LoadedSite]
    meter: PrometheusMeter
    started_us: int
    pulse: Pulse
    desks: Desks = field(default_factory=Desks)
    streams: Streams = field(default_factory=Streams)
    oidc: "Provider | None" = None
    """Who else says who somebody is."""
    proxies: Sequence[Network] = ()
    """Who passes requests on for others, and says for whom."""
    runs: Runs = field(default_factory=Runs)
    versions: Versions = field(default_factory=Versions)
    bench: Bench | None = None
    """Where texts are tried; None where no process can be started for it."""
    trying: Counter[str] = field(default_factory=Counter)
    """How many questions to it are under way, by who asks."""
    support: SupportJobs = field(default_factory=SupportJobs)
    cases: CaseResults = field(default_factory=CaseResults)
    files: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a file of the site is written."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEARCHES))
    """Of those who look through messages: each takes the interpreter's lock from the engine now and then."""


@dataclass(slots=True, frozen=True)
class Call:
    """One request that was let in, read and checked."""

    api: Api
    request: Request
    signed: Signed | None
    address: str
    need: Need
    path: BaseModel
    query: BaseModel
    body: BaseModel | None

    @property
    def who(self) -> Principal:
        """Who asks; not of a public address."""
        assert self.signed is not None, "the guard lets nobody else in"
        return self.signed.principal

    def the_path(self, model: type[M]) -> M:
        assert isinstance(self.path, model)
        return self.path

    def the_query(self, model: type[M]) -> M:
        assert isinstance(self.query, model)
        return self.query

    def the_body(self, model: type[M]) -> M:
        assert isinstance(self.body, model)
        return self.body

    def by(self, reason: str = "", scope: str = "", key: str = "") -> By:
        """For the record."""
        return By(self.who.actor, reason, scope, key)

    async def search(self, work: Callable[..., T], *given: object) -> T:
        """What `work` gives, on another thread; a few at a time, of all who ask."""
        async with self.api.places:
            return await asyncio.to_thread(work, *given)

    def require(self, permission: Permission, channel: str) -> None:
        """Raises Problem: 404 for a channel of which nothing is granted, 403 where this is not."""
        if not self.who.may("see", channel):
            raise not_there()
        if not self.who.may(permission, channel):
            raise not_allowed()


Answer = BaseModel | Response
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(slots=True, frozen=True)
class Entry:
    """One method of one address. `record`: the word in the audit, where asking is on record.

    `answer`: of a 200 (or `status`); None with `media`: other bytes.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    need: Need
    scope: Scope
    summary: str
    handler: Handler
    tag: str
    answer: type[BaseModel] | None = None
    path_model: type[BaseModel] = Nothing
    query: type[BaseModel] = Nothing
    body: type[BaseModel] | None = None
    media: str = "application/json"
    status: int = 200
    record: str = ""
    most_body: int = MOST_BODY
    timeout_s: float = TIMEOUT_S
    problems: tuple[int, ...] = field(default=())

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "GET"

    @property
    def is_page(self) -> bool:
        """Whether browsers show what it answers: then a refusal is a page, too, and a body is a form."""
        return False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True, frozen=True)
class Page(Entry):
    """An address for people in a browser. A GET answers HTML; a POST takes a form with the field `csrf`, and sends on.

    `nav`: its name in the navigation, where it has a place there.
    """

    media: str = "text/html"
    nav: str = ""

    @property
    def is_page(self) -> bool:
        return True
