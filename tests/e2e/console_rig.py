"""A browser on the console of one engine: pages that are signed in, and what every page is held to.

A page fails its test by a console error, an uncaught exception, a request that failed or was refused, a violation of
the content security policy, or a dialog that some text of a message brought up.
"""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender, SendReport
from engine.adapters.stores.queries import SqliteQueries
from engine.ports.store import StoreQueries

WAIT_MS = 60_000
"""A busy machine is no failure."""
WIDE, NARROW = 1280, 400
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
)
SHOTS = os.environ.get("SEGMILL_SHOTS", "")
Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Console:
    """The engine. `sessions`: by user, what stands in the cookie; `addresses`: by channel, where it listens."""

    url: str
    folder: Path
    sessions: dict[str, str]
    addresses: dict[str, tuple[str, int]]

    def send(self, channel: str, *messages: bytes) -> SendReport:
        """Over MLLP, as its sender does. On a thread of its own: a browser has the loop of this one."""
        sender = Sender(Target(*self.addresses[channel]), messages)
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(lambda: asyncio.run(sender.run())).result()

    @contextmanager
    def store(self) -> Iterator[StoreQueries]:
        """The engine's store, to see what became of an action."""
        queries = SqliteQueries(self.folder / "data" / "segmill.db")
        try:
            yield queries
        finally:
            queries.close()

    def audit(self) -> list[Any]:
        """All records, oldest first."""
        with self.store() as queries:
            found: list[Any] = []
            while rows := queries.audit(found[-1].id if found else 0, 1000):
                found += rows
            return found


@dataclass
class Browse:
    """`browse("operator", "/messages")`: a page of its own context, signed in. None: nobody is signed in."""

    browser: Browser
    console: Console
    wrong: list[str] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)
    _allowed: set[int] = field(default_factory=set)

    def __call__(
        self,
        user: str | None = "admin",
        path: str = "/",
        *,
        scheme: Scheme = "light",
        width: int = WIDE,
        scripts: bool = True,
    ) -> Page:
        context = self.browser.new_context(
            base_url=self.console.url,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        self._contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        if user is not None:
            cookie = {"name": "segmill", "value": self.console.sessions[user], "url": self.console.url}
            context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        self._watch(page)
        page.goto(path)
        return page

    def allow(self, *statuses: int) -> None:
        """Answers that this test is about, such as 404."""
        self._allowed |= set(statuses)

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        self._contexts.clear()

    def _watch(self, page: Page) -> None:
        def said(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not self._is_told_of_a_status(message.text):
                self.wrong.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

        def failed(request: Request) -> None:
            # A stream, or a page that another one replaced, ends when the page is left.
            if request.failure != "net::ERR_ABORTED":
                self.wrong.append(f"{request.method} {request.url}: {request.failure}")

        def answered(response: Response) -> None:
            if response.status >= 400 and response.status not in self._allowed:
                self.wrong.append(f"{response.request.method} {response.url}: {response.status}")
            if not response.url.startswith(self.console.url):
                self.wrong.append(f"asked for {response.url}")

        page.on("console", said)
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("requestfailed", failed)
        page.on("response", answered)
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _is_told_of_a_status(self, text: str) -> bool:
        return any(f"responded with a status of {status} " in text for status in self._allowed)


def slow_line(page: Page, bytes_per_second: int) -> None:
    """From now on its pages come in pieces, as they do on a busy machine."""
    line = {"offline": False, "latency": 50, "downloadThroughput": bytes_per_second, "uploadThroughput": -1}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", line)


def settle(page: Page) -> None:
    """Until what was asked for is here. Not for the network to be idle: a stream of counters never is."""
    page.wait_for_load_state("load")
    page.evaluate("() => document.fonts.ready.then(() => true)")


def findings_of_axe(page: Page, *, only_colours: bool = False) -> list[str]:
    """What axe finds serious or critical: labels, contrast, roles, order.

    `only_colours`: of a page whose markup was looked at before, in other colours.
    """
    settle(page)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only_colours:
        options["runOnly"] = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
    axe = Axe()
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe.axe_script)
    found = []
    answer = page.evaluate("(options) => axe.run(document, options).then(({violations}) => violations)", options)
    for violation in answer:
        if violation["impact"] in ("serious", "critical"):
            places = [
                f"{node['target']} {node['html'][:200]} {node['failureSummary'][:300]}" for node in violation["nodes"]
            ]
            found.append(f"{violation['id']}: {violation['help']}\n    " + "\n    ".join(places[:5]))
    return found


def overflow_of(page: Page) -> int:
    """By how many pixels the page is wider than its window: tables scroll in their own box."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def shoot(page: Page, name: str) -> None:
    """A picture of the whole page into SEGMILL_SHOTS, where that is set."""
    if SHOTS:
        settle(page)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def check_here(page: Page, name: str) -> None:
    """A page that is open, as it stands: what axe has to say, no overflow, and a picture."""
    assert findings_of_axe(page) == []
    assert overflow_of(page) <= 0
    shoot(page, name)


def check_looks(browse: Browse, name: str, path: str, user: str = "admin") -> None:
    """Light, dark and narrow: what axe has to say, no overflow, one heading, and pictures for people to look at."""
    narrow = browse(user, path, width=NARROW)
    assert overflow_of(narrow) <= 0, "wider than a telephone"
    shoot(narrow, f"{name}-narrow")
    page = browse(user, path)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert findings_of_axe(page, only_colours=scheme == "dark") == [], scheme
        shoot(page, f"{name}-{scheme}")
    assert overflow_of(page) <= 0
    assert page.locator("h1").count() == 1
