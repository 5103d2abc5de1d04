"""What hand-offs to an API share: one connection, its login, and what an answer means for a step.

No connection, a login that does not pass, 429, 502, 503, 504: nothing can be handed over now. Any other answer, and
none in time, is about the step: the others go on, and it is tried again.
"""

import json
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import httpx2

from engine.adapters.http_failures import why_failed
from engine.adapters.tls import client_context
from engine.config.hand_offs import OauthOptions, RestOptions
from engine.ports.hand_off import NotTaken, Taken, TakerDown, TakerOutcome, WaitingStep

MOST_BYTES: Final = 256 * 1024 * 1024
"""Of an answer: a list of some ten thousand steps with their attributes."""
FAILING: Final = 3
"""So many steps one after the other that fail on their side: it is not about the steps."""
_DOWN: Final[Mapping[int, str]] = {
    401: "it asks for another login",
    407: "a proxy asks for a login",
    429: "it takes no more now",
    502: "what is behind it does not answer",
    503: "it takes nothing now",
    504: "what is behind it does not answer",
}


class Answer(NamedTuple):
    """Of an API."""

    status: int
    body: bytes

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """What it holds; None for what is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class NoAnswer(Exception):
    """To one request; the text is a sentence."""


class Rest:
    """One API, by one connection at a time."""

    def __init__(self, options: RestOptions, site: Path, oauth: OauthOptions | None = None) -> None:
        """`site`: what files are relative to. Raises ConfigError for TLS files that cannot be used."""
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for every request
        self._base = options.url
        self._oauth = oauth
        self._token = ""
        self._token_until = 0.0
        tls = options.tls
        self._extensions = {"sni_hostname": tls.server_name} if tls is not None and tls.server_name else {}
        login = None
        if options.user is not None and options.password is not None:
            login = httpx2.BasicAuth(options.user, options.password)
        context = _context(options, site)
        self._client = httpx2.AsyncClient(
            auth=login,
            verify=context if context is not None else True,
            timeout=httpx2.Timeout(options.timeout, connect=options.connect_timeout),
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1),
            follow_redirects=False,
            trust_env=False,  # a proxy of the environment is nobody's decision about this one
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: object = None, *, media: str = "application/json") -> Answer:
        """One request; `path` is encoded already. Raises TakerDown, or NoAnswer where it may be about this request."""
        answer = await self._ask(method, path, body, media)
        if answer.status == 401 and self._token:
            self._token = ""  # it has been called back; one is asked for anew
            answer = await self._ask(method, path, body, media)
        if answer.status in _DOWN:
            raise TakerDown(f"{_DOWN[answer.status]} (HTTP {answer.status})")
        if 300 <= answer.status < 400:
            raise TakerDown(f"it is elsewhere (HTTP {answer.status}); redirects are not followed")
        return answer

    async def _ask(self, method: str, path: str, body: object, media: str) -> Answer:
        headers = {"Accept": f"{media}, application/json", "Accept-Encoding": "identity"}
        content = None
        if body is not None:
            content = json.dumps(body, ensure_ascii=False).encode()
            headers["Content-Type"] = media
        if self._oauth is not None:
            headers["Authorization"] = f"Bearer {await self._bearer(self._oauth)}"
        return await self._send(method, self._base + path, content, headers)

    async def _send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        try:
            request = self._client.build_request(
                method, url, content=content, headers=dict(headers), extensions=self._extensions
            )
            response = await self._client.send(request, stream=True)
            try:
                parts: list[bytes] = []
                size = 0
                async for part in response.aiter_raw():
                    size += len(part)
                    if size > MOST_BYTES:
                        raise TakerDown("an answer is longer than the limit")
                    parts.append(part)
            finally:
                await response.aclose()
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
            raise TakerDown(f"no connection: {why_failed(error)}") from None
        except httpx2.HTTPError as error:
            raise NoAnswer(f"no answer: {why_failed(error)}") from None
        return Answer(response.status_code, b"".join(parts))

    async def _bearer(self, oauth: OauthOptions) -> str:
        if self._token and time.monotonic() < self._token_until:
            return self._token
        form = httpx2.QueryParams(
            {"grant_type": "client_credentials", "client_id": oauth.client, "client_secret": oauth.secret}
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        try:
            answer = await self._send("POST", oauth.url, str(form).encode(), headers)
        except NoAnswer as error:
            raise TakerDown(f"no token: {error}") from None
        given = answer.json()
        token = given.get("access_token") if isinstance(given, dict) else None
        if not answer.is_good or not isinstance(token, str) or not token:
            raise TakerDown(f"no token (HTTP {answer.status})")
        lasts_s = given.get("expires_in")
        self._token = token
        # Half of its time, so that none runs out on its way.
        self._token_until = time.monotonic() + (lasts_s if isinstance(lasts_s, int | float) else 60) / 2
        return token


class TakesOne(Protocol):
    """One step at a time. Raises TakerDown or NoAnswer."""

    async def take_one(self, step: WaitingStep) -> TakerOutcome: ...


async def take_in_turn(taker: TakesOne, steps: Sequence[WaitingStep]) -> Taken:
    """One step after the other, until it is no use to go on."""
    outcomes: list[TakerOutcome] = []
    failing = 0
    for step in steps:
        try:
            outcome = await taker.take_one(step)
        except NoAnswer as error:
            outcome = NotTaken(str(error), is_theirs=True)
        except TakerDown as down:
            return Taken(outcomes, str(down))
        outcomes.append(outcome)
        failing = failing + 1 if isinstance(outcome, NotTaken) and outcome.is_theirs else 0
        if failing == FAILING:
            assert isinstance(outcome, NotTaken)
            return Taken(outcomes, outcome.why)
    return Taken(outcomes)


def refused(what: str, answer: Answer) -> NotTaken:
    """Of an answer that says no; its text may quote the step, and is not told."""
    return NotTaken(f"{what} was answered HTTP {answer.status}", is_theirs=answer.status >= 500)


def _context(options: RestOptions, site: Path) -> ssl.SSLContext | None:
    if not options.url.startswith("https:"):
        return None
    tls = options.tls
    if tls is None:
        return client_context()
    return client_context(
        ca=site / tls.ca if tls.ca else None,
        certificate=site / tls.certificate if tls.certificate else None,
        key=site / tls.key if tls.key else None,
        verify=tls.verify,
    )
