"""What stands before every handler, in this order; a request that is refused at one is read no further.

1. the Host is one of ours (DNS rebinding);
2. the secret that came with it is somebody's;
3. the table says that they may (`entries`); what no entry names is refused;
4. what changes something and comes with a cookie was sent by our own pages: Origin and CSRF token;
5. parameters and body are what the entry takes, within its bounds;
6. the handler, within its time.

Only then is a byte of the body looked at (reliability.md SEC2).
"""

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Callable, Sequence
from traceback import format_tb
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.adapters.admin_app import EngineSilent
from engine.adapters.api.access import Signed
from engine.adapters.api.entries import BASE, Api, Call, Entry, Nothing
from engine.adapters.api.forms import MEDIA_TYPE as FORM
from engine.adapters.api.forms import by_name, read_form
from engine.adapters.api.forwarded import client_address
from engine.adapters.api.problems import Problem, not_allowed, not_signed_in, not_there, not_understood
from engine.adapters.timed_http import SIGNED
from engine.ports.access import AccessRefused
from engine.ports.control import OrderRefused
from engine.ports.store import CommitUnknown, StoreError

log = logging.getLogger("segmill.api")

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""With every answer, also refusals (reliability.md 4.3)."""
HSTS: Final = "max-age=31536000"
CSRF_HEADER: Final = "x-csrf-token"
MOST_QUERY: Final = 8192
SMALL_FORM: Final = 64 * 1024
SLOW_BODY_S: Final = 5.0
"""Whose body took longer is asked again who he is."""
_API: Final = BASE.rpartition("/")[0]


class Places:
    """The names under which the console is called, and the origins of its own pages.

    `url`: how people call it; then its name is one of them. Names of this machine are always good: nobody else's page
    has them.
    """

    def __init__(self, host: str, url: str | None, *, is_tls: bool) -> None:
        self._scheme = "https" if is_tls else "http"
        self._names = {"localhost", "127.0.0.1", "::1"}
        if host not in ("", "0.0.0.0", "::"):  # noqa: S104 - these are no names that anybody calls
            self._names.add(host.lower())
        self._origin = ""
        if url is not None:
            parts = urlsplit(url)
            self._names.add((parts.hostname or "").lower())
            self._origin = f"{parts.scheme}://{parts.netloc.lower()}"
        self._takes_any_address = host in ("0.0.0.0", "::")  # noqa: S104

    def is_ours(self, host: str) -> bool:
        """Of a Host header."""
        name = _name_of(host)
        if name in self._names:
            return True
        # An address cannot be rebound: only a name can be made to point elsewhere.
        return self._takes_any_address and _is_address(name)

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether a page of ours sent it: the one of `url`, or one from the Host that is asked now."""
        return origin.lower() in (self._origin, f"{self._scheme}://{host.lower()}") and bool(origin)


def _name_of(host: str) -> str:
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", host.lower())
    return found[1].strip("[]") if found else ""


def _is_address(name: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def cookie_name(is_secure: bool) -> str:
    """With TLS browsers hold the cookie to this very host and path (`__Host-`)."""
    return "__Host-segmill" if is_secure else "segmill"


Refused = Callable[[Problem, Request, Api], Response]
"""Makes the page that tells of a refusal. Who asks is in `request.state.signed`, where it came to be known."""


def route_of(entry: Entry, api: Api, places: Places, refused: Refused | None = None) -> Route:
    """The entry as a route of the application. `refused`: for entries that are pages."""

    async def endpoint(request: Request) -> Response:
        try:
            return await _answer(entry, api, places, request)
        except ClientDisconnect:
            return Response(status_code=400)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the edge of a request: it is answered, recorded, and the next goes on
            return refusal(_problem_of(entry, error), request, api, refused if entry.is_page else None)

    return Route(entry.path, endpoint, methods=[entry.method], name=entry.name)


def refusal(problem: Problem, request: Request, api: Api, refused: Refused | None) -> Response:
    """As a page, where there is one for it."""
    if refused is None:
        return problem.answer()
    try:
        return refused(problem, request, api)
    except Exception as error:  # noqa: BLE001 - the edge of a request: what it ends with needs no template
        return defect(f"the page of {problem.code}", error).answer()


def _problem_of(entry: Entry, error: Exception) -> Problem:
    """How a request that ended so is answered."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, EngineSilent | TimeoutError):
        return Problem(503, "E480", "the engine did not answer in time", {"retry-after": "5"})
    if isinstance(error, OrderRefused):
        return Problem(409, "E479" if error.is_temporary else "E485", error.sentence)
    if isinstance(error, AccessRefused):
        return Problem(409, "E485", error.sentence)
    if isinstance(error, CommitUnknown):
        return Problem(503, "E486", "the store failed; the engine ends")
    if isinstance(error, StoreError):
        return Problem(503, "E486", str(error))
    return defect(entry.name, error)


def defect(what: str, error: Exception) -> Problem:
    """Places and kind, never the text of an exception: it may quote the message that was worked on."""
    places = "".join(format_tb(error.__traceback__)).rstrip()
    log.error("%s failed with %s\n%s", what, type(error).__name__, places)
    return Problem(500, "E488", "the engine's log says where")


async def _answer(entry: Entry, api: Api, places: Places, request: Request) -> Response:
    host = request.headers.get("host", "")
    if not places.is_ours(host):
        raise Problem(421, "E487")
    address = client_address(request, api.proxies)
    signed, is_by_cookie = await signed_of(api, request, address)
    request.state.signed = signed
    tell_connection = request.scope.get("extensions", {}).get(SIGNED)
    if tell_connection is not None:
        tell_connection(signed is not None)
    _admit(entry, signed, request)
    # A form has its token among its fields, so that it is looked at once they are read.
    token = signed.csrf if is_by_cookie and signed is not None and entry.need != "public" else None
    if not entry.is_safe and (is_by_cookie or entry.need == "public"):
        _check_origin(request, places, host)
        if token is not None and not entry.is_page:
            _check_token(request.headers.get(CSRF_HEADER, ""), token, "the header X-CSRF-Token")
    if len(request.url.query) > MOST_QUERY:
        raise Problem(414, "E477")
    path = _model(entry.path_model, dict(request.path_params), "path", 404)
    query = _model(entry.query, by_name(request.query_params.multi_items(), entry.query), "query", 422)
    async with asyncio.timeout(entry.timeout_s):
        if entry.is_page and entry.is_safe and signed is not None:
            await api.pulse.look()  # for the number in the navigation
    # A body has the time of its connection, which looks at how it goes on (`timed_http`).
    began_s = asyncio.get_running_loop().time()
    body = await (_form(entry, request, token) if entry.is_page else _body(entry, request))
    if signed is not None and asyncio.get_running_loop().time() - began_s > SLOW_BODY_S:
        # Who sent it may have signed out since, or lost the right.
        signed, _ = await signed_of(api, request, address)
        request.state.signed = signed
        _admit(entry, signed, request)
    async with asyncio.timeout(entry.timeout_s):
        answer = await entry.handler(Call(api, request, signed, address, entry.need, path, query, body))
    if isinstance(answer, Response):
        return answer
    return JSONResponse(answer.model_dump(mode="json"), entry.status)


async def signed_of(api: Api, request: Request, address: str) -> tuple[Signed | None, bool]:
    """Who sends it, and whether a cookie says so. A token that is none is not made good by a cookie."""
    authorization = request.headers.getlist("authorization")
    if authorization:
        kind, _, secret = authorization[0].partition(" ")
        if len(authorization) > 1 or kind.lower() != "bearer":
            raise not_signed_in("what is taken is: Authorization: Bearer TOKEN")
        signed = await api.access.of_token(secret.strip(), address)
        if signed is None:
            raise not_signed_in("the token is none, or not any more")
        return signed, False
    secret = request.cookies.get(cookie_name(api.is_secure), "")
    if not secret:
        return None, False
    return await api.access.of_session(secret, address), True


def _admit(entry: Entry, signed: Signed | None, request: Request) -> None:
    if entry.need == "public":
        return
    if signed is None:
        raise not_signed_in()
    who = signed.principal
    if entry.is_page and who.is_token:
        raise not_allowed("pages are for people who sign in; a token is for the API")
    if entry.need == "self":
        return
    if who.must_change:
        raise Problem(403, "E475")
    channel = request.path_params.get("channel")
    if entry.scope == "site":
        if not who.may(entry.need):
            raise not_allowed()
    elif channel is not None:
        if not who.may("see", channel):
            # As one that is not there: what there is beyond one's own is nobody's business.
            raise not_there() if who.may_somewhere("see") else not_allowed()
        if not who.may(entry.need, channel):
            raise not_allowed()
    elif not who.may_somewhere(entry.need):
        raise not_allowed()


def _check_origin(request: Request, places: Places, host: str) -> None:
    origins = request.headers.getlist("origin")
    if origins:
        if len(origins) > 1 or not places.is_own_origin(origins[0], host):
            raise Problem(403, "E473", "the request was sent by a page of another origin")
    elif request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Problem(403, "E473", "the request was sent by a page of another site")


def _check_token(sent: str, token: str, where: str) -> None:
    if not hmac.compare_digest(sent.encode("utf-8", "replace"), token.encode()):
        raise Problem(403, "E473", f"{where} is missing or another session's")


def _model(model: type[BaseModel], data: Any, where: str, status: int) -> BaseModel:
    """`data`: JSON as bytes, where a text is no number; else texts of the request's head, where each number is one."""
    try:
        if isinstance(data, bytes):
            return model.model_validate_json(data, strict=True)
        return model.model_validate(data)
    except ValidationError as exc:
        if status == 404:
            raise not_there() from None
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        # A key that is none of ours is somebody's text, and so is not repeated.
        known = [str(part) if isinstance(part, int) or part.isidentifier() else "?" for part in first["loc"]]
        place = "?" if first["type"] == "extra_forbidden" else "/".join(known)
        raise not_understood(f"{where}: {place[:100] or 'it'}: {first['msg'][:200]}", status) from None


async def _body(entry: Entry, request: Request) -> BaseModel | None:
    """As the entry's model. What was sent is not repeated in a refusal."""
    if entry.body is None:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise not_understood("the body must be application/json", 415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise not_understood("the body must not be compressed", 415)
    received = await _received(entry, request)
    try:
        data = json.loads(received.decode("utf-8"), parse_constant=_no_constant)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no character, and no store takes it
    except (ValueError, RecursionError):
        raise not_understood("the body is not JSON", 400) from None
    return _model(entry.body, received, "body", 422)


async def _form(entry: Entry, request: Request, token: str | None) -> BaseModel | None:
    """A form's fields as the entry's model; one without fields still has its token. `token`: which one, if any."""
    if entry.is_safe:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise not_understood(f"the body must be {FORM}", 415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise not_understood("the body must not be compressed", 415)
    body, model = await _received(entry, request), entry.body or Nothing
    if len(body) <= SMALL_FORM:
        sent, fields = read_form(body, model)
    else:  # other people's pages do not wait for it
        sent, fields = await asyncio.to_thread(read_form, body, model)
    if token is not None:
        _check_token(sent, token, "the form's token")
    return _model(model, fields, "form", 422)


async def _received(entry: Entry, request: Request) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > entry.most_body:
            raise Problem(413, "E477", f"the body has more than {entry.most_body} bytes", {"connection": "close"})
    return bytes(received)


def _no_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


class Application:
    """The routes of the table, and what is said of all that is none: refused, not explained.

    `refused`: makes pages of refusals, for what is not the API's.
    """

    def __init__(self, entries: Sequence[Entry], api: Api, places: Places, refused: Refused | None = None) -> None:
        self._routes = [route_of(entry, api, places, refused) for entry in entries]
        self._is_secure = api.is_secure
        self._api, self._places, self._refused = api, places, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "lifespan and web sockets are off"
        guarded = with_headers(self._dispatch, is_secure=self._is_secure)
        await guarded(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed: list[str] = []
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL and scope["method"] in (route.methods or ()):
                if scope["method"] == "HEAD":
                    continue
                scope.update(child)
                try:
                    await route.handle(scope, receive, send)
                except HTTPException as refused:
                    await self._refusal(scope, Problem(refused.status_code, "E476"))(scope, receive, send)
                except Exception as error:  # noqa: BLE001 - within an answer that has begun: it is cut off, and recorded
                    defect(route.name, error)
                return
            if match is not Match.NONE:
                allowed += sorted((route.methods or set()) - {"HEAD"})
        problem = Problem(405, "E478", "", {"allow": ", ".join(allowed)}) if allowed else not_there()
        await self._refusal(scope, problem)(scope, receive, send)

    def _refusal(self, scope: Scope, problem: Problem) -> Response:
        is_page = self._refused is not None and not f"{scope['path']}/".startswith(f"{_API}/")
        request = Request(scope)
        is_page = is_page and self._places.is_ours(request.headers.get("host", ""))
        return refusal(problem, request, self._api, self._refused if is_page else None)


def with_headers(app: ASGIApp, *, is_secure: bool) -> ASGIApp:
    """Adds what every answer has. What a handler says of a header stands."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if is_secure:
                    headers.setdefault("strict-transport-security", HSTS)
            await send(message)

        await app(scope, receive, send_with)

    return wrapped
