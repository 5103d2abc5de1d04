"""An engine with its API, asked over real sockets; and the same parts without sockets, with a clock that can be set."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, TypeVar

from argon2 import PasswordHasher

from engine.adapters.api.access import Access
from engine.adapters.api.entries import Entry
from engine.adapters.api.passwords import Passwords
from engine.adapters.api.routes import ENTRIES
from engine.adapters.stores.memory import MemoryStore
from engine.app import Engine
from engine.cli.support_bundle import SiteSupport
from engine.config.site import load_site
from engine.model.access import SITE, Role
from engine.pipeline.registry import load_kinds
from engine.ports.operations import Change
from engine.testing.sites import make_site
from tests.runtime.parts import SetClock

T = TypeVar("T")

CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
steps:
  - map: {PV1-3.1: tables/wards.csv, otherwise: hold}
routes: [{to: out}, {to: other}]
destinations:
  out: {file: {folder: out, name: "{MSH-10}.hl7"}}
  other: {file: {folder: other, name: "{MSH-10}.hl7"}}
"""
WARDS = "from,to\nWARD1,W01\n"
SETTINGS = "admin: off\nenvironment: test\nconsole: {port: 0}\n"
GOOD_PASSWORD = "correct horse battery"


def site(folder: Path, settings: str = SETTINGS) -> Path:
    """Two channels, each with two destinations."""
    files = {"channel.yaml": CHANNEL, "tables/wards.csv": WARDS}
    return make_site(folder, {"adt": files, "results": files}, settings)


@dataclass(slots=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """Of a refusal."""
        return str(self.json["code"])


@dataclass(slots=True, frozen=True)
class SignedIn:
    """A session: headers for what only reads, and for what changes something."""

    cookie: str
    csrf: str

    @property
    def reads(self) -> dict[str, str]:
        return {"cookie": self.cookie}

    @property
    def changes(self) -> dict[str, str]:
        return {"cookie": self.cookie, "x-csrf-token": self.csrf}


class Running:
    """An engine on a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.announced: list[str] = []
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main)
        self._thread.start()
        self._ready.wait(60)
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as exc:
            self._failure = exc
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        loaded = load_site(self.folder, load_kinds(), {})
        self.engine = Engine(loaded, announce=self.announced.append, support=SiteSupport(self.folder))
        await self.engine.start()
        self._ready.set()
        await self._stop.wait()
        await self.engine.stop()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """On the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    @property
    def access(self) -> Access:
        assert self.engine.console is not None
        return self.engine.console.access

    @property
    def address(self) -> Any:
        """Where the API is; None where there is none."""
        assert self.engine.console is not None
        return self.engine.console.address

    @property
    def queries(self) -> Any:
        return self.engine._queries

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(60)

    def settled(self) -> None:
        """Wait until nothing is queued any more."""

        async def work() -> None:
            async with asyncio.timeout(60):
                while any(lane.queued for one in await self.engine.control.status() for lane in one.lanes):
                    await asyncio.sleep(0.005)

        self.do(work())

    # -- asking ---------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """`body`: JSON, or bytes as they are."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            sent = dict(headers or {})
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            if data is not None:
                sent.setdefault("content-type", "application/json")
            connection.request(method, f"/api/v1{path}", data, sent)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def sign_in(self, name: str, password: str, headers: Mapping[str, str] | None = None) -> SignedIn:
        reply = self.ask("POST", "/session", {"name": name, "password": password}, headers)
        assert reply.status == 200, reply.raw
        cookie = SimpleCookie(reply.headers["set-cookie"])["segmill"]
        return SignedIn(f"segmill={cookie.value}", reply.json["csrf"])

    def user(self, name: str, grants: Mapping[str, Role]) -> SignedIn:
        """A user whose password is his own, signed in."""
        one_time = self.do(self.access.add_user(by("the test"), name, grants))
        signed = self.sign_in(name, one_time)
        reply = self.ask("PUT", "/session/password", {"old": one_time, "new": GOOD_PASSWORD}, signed.changes)
        assert reply.status == 200, reply.raw
        return signed

    def token(self, name: str, grants: Mapping[str, Role]) -> dict[str, str]:
        """The headers of a program."""
        made = self.do(self.access.add_token(by("the test"), name, grants, 86_400))
        return {"authorization": f"Bearer {made}"}

    def actions(self) -> list[str]:
        """What the audit has, oldest first."""
        return [row.action for row in self.queries.audit(0, 100_000)]


def by(actor: str) -> Any:
    from engine.ports.operations import By

    return By(actor)


class CountingHasher(PasswordHasher):
    """As quick as may be; counts its work."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:
        self.verified += 1
        return super().verify(hash, password)


class Calls:
    """Asks on the loop that there is."""

    async def ask(self, question: Coroutine[Any, Any, T], timeout_s: float) -> T:
        return await question


class Recorder:
    """A control that puts on record, on a store in memory, and can do nothing else."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def put_on_record(self, by: Any, action: str, *, about: Any = (), edits: Any = (), **more: Any) -> None:
        recorded = not more.get("is_silent", False)
        self._store.operate(Change(by, action, lanes=about, access=edits, is_always_recorded=recorded))


class Parts:
    """Access on a store in memory."""

    def __init__(self, idle_s: float = 900, session_s: float = 28_800) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(clock=self.clock)
        self.store.open()
        self.queries = self.store.queries()
        self.hasher = CountingHasher()
        self.passwords = Passwords(self.hasher)
        self.access = Access(
            Recorder(self.store),  # type: ignore[arg-type]  # all that is asked of it
            Calls(),  # type: ignore[arg-type]
            self.queries,
            self.clock,
            idle_s=idle_s,
            session_s=session_s,
            passwords=self.passwords,
        )

    async def user(self, name: str, grants: Mapping[str, Role] | None = None) -> str:
        """A user with a password of his own."""
        one_time = await self.access.add_user(by("the test"), name, grants or {SITE: "viewer"})
        signed = await self.access.sign_in(name, one_time, "10.0.0.1")
        await self.access.change_password(signed.signed, one_time, GOOD_PASSWORD)
        return GOOD_PASSWORD

    def close(self) -> None:
        self.passwords.close()


Maker = Callable[..., Running]


PARTS = 3
"""Runs that come to all addresses together, each with an engine of its own."""


def part_of_addresses(number: int) -> list[Entry]:
    """All methods of a path together, as those that a path does not have are tried as well."""
    paths = sorted({entry.path for entry in ENTRIES})[number::PARTS]
    return [entry for entry in ENTRIES if entry.path in paths]
