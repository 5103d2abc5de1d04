"""What the admin server answers: metrics and probes for everybody, control for the engine's own user.

The two are separate applications on separate sockets, so a control route cannot be reached over TCP by mistake.
Everything runs in the admin thread; questions to the engine cross over to its loop with a time-out.
"""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from traceback import format_tb
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine import __version__
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState
from engine.ports.control import Action, ActionReport, By, Control, Order, OrderRefused
from engine.ports.operations import StepMove
from engine.ports.store import CommitUnknown, StoreError
from engine.worklist.item import Status

log = logging.getLogger("segmill.admin")

SCHEMA: Final = 1
MAX_BODY_BYTES: Final = 1 << 20
MAX_ORDER_BYTES: Final = 64 << 20
"""An order may hold an edited message."""
MAX_SEQS: Final = 10_000
MAX_MEMBERS: Final = 2_000_000
UNKNOWN: Final = "somebody on this machine"
READY_TIMEOUT_S: Final = 2.0
STATUS_TIMEOUT_S: Final = 10.0
ACTION_TIMEOUT_S: Final = 60.0
RELOAD_TIMEOUT_S: Final = 60.0
STALLED_AFTER_S: Final = 30.0
"""A disk may stall for seconds and the engine only waits (reliability.md D5): killing it would not help."""

T = TypeVar("T")


class Renderer(Protocol):
    def render(self, accept_header: str = "") -> tuple[str, bytes]: ...


class EngineSilent(Exception):
    """The engine's loop is gone, or did not answer in time. Carries a sentence for people."""


class EngineCalls:
    """Asks coroutines of the engine's loop from the admin thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ping: asyncio.Future[None] | None = None
        self._ping_at = 0.0

    async def ask(self, question: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """The answer; what has been begun is not cancelled when we stop waiting. Raises EngineSilent."""
        answer = self._send(question)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), timeout_s)
        except TimeoutError:
            raise EngineSilent(
                f"the engine did not answer within {timeout_s:g} s; it may still do what was asked"
            ) from None

    def begin(self, question: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """What will be the answer; whether anybody waits for it or not, it is worked on. Raises EngineSilent."""
        return self._send(question)

    def is_alive(self) -> bool:
        """Whether the loop has answered a ping that is not too old. Never waits."""
        now = time.monotonic()
        if self._ping is None or self._ping.done():
            try:
                self._ping = self._send(_nothing())
            except EngineSilent:
                return False
            self._ping_at = now
        return now - self._ping_at < STALLED_AFTER_S

    def _send(self, question: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        try:
            answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(question, self._loop))
        except RuntimeError:
            question.close()
            raise EngineSilent("the engine has stopped") from None
        # An answer that comes after the time-out has nobody else to look at its exception.
        answer.add_done_callback(lambda late: late.cancelled() or late.exception())
        return answer


async def _nothing() -> None:
    """A loop that runs this is alive."""


class MetricsPage:
    """Renders at most a tenth of the time: asked more often, it gives the page it has (reliability.md E7)."""

    def __init__(self, renderer: Renderer, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._renderer = renderer
        self._monotonic = monotonic
        self._accept = ""
        self._page: tuple[str, bytes] | None = None
        self._fresh_until = 0.0

    def get(self, accept_header: str) -> tuple[str, bytes]:
        started = self._monotonic()
        if self._page is None or accept_header != self._accept or started >= self._fresh_until:
            self._page = self._renderer.render(accept_header)
            self._accept = accept_header
            ended = self._monotonic()
            self._fresh_until = ended + 9 * (ended - started)
        return self._page


def probe_routes(renderer: Renderer, control: Control, calls: EngineCalls) -> list[Route]:
    """/metrics, /livez and /readyz (ux.md section 2.4)."""
    page = MetricsPage(renderer)

    async def metrics(request: Request) -> Response:
        content_type, body = page.get(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def livez(request: Request) -> Response:
        if calls.is_alive():
            return PlainTextResponse("alive\n")
        return PlainTextResponse("the engine's loop does not answer\n", 503)

    async def readyz(request: Request) -> Response:
        try:
            is_ready, why_not = await calls.ask(control.ready(), READY_TIMEOUT_S)
        except EngineSilent:
            is_ready, why_not = False, f"the engine's loop did not answer within {READY_TIMEOUT_S:g} s"
        told = f"ready; {why_not}" if is_ready and why_not else "ready" if is_ready else why_not
        return PlainTextResponse(f"{told}\n", 200 if is_ready else 503)

    return [
        Route("/metrics", guarded(metrics)),
        Route("/livez", guarded(livez)),
        Route("/readyz", guarded(readyz)),
    ]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AskedBody(_Body):
    """How an action is put on record: why, what was asked for in words, and the key of the run, if it has one."""

    reason: str = Field(default="", max_length=500)
    scope: str = Field(default="", max_length=4000)
    key: str = Field(default="", max_length=64)


class SeqsBody(AskedBody):
    """Which stored messages an action is about."""

    seqs: list[PositiveInt] = Field(min_length=1, max_length=MAX_SEQS)


class ResendBody(SeqsBody):
    """`destinations` absent or null: every destination the message was delivered to."""

    destinations: list[str] | None = Field(default=None, min_length=1, max_length=1000)


class DiscardBody(SeqsBody):
    """`reason` is a person's sentence; it is recorded."""

    reason: str = Field(min_length=1, max_length=500)


Span = PositiveInt | Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
"""A number, or the first and the last of some that follow one another."""


class StepBody(_Body):
    """A worklist step as it was planned: `ports.operations.StepMove`."""

    worklist: str = Field(min_length=1, max_length=63)
    study_uid: str = Field(min_length=1, max_length=64)
    step_id: str = Field(min_length=1, max_length=64)
    planned: Status
    revision: int = Field(ge=0)
    to: Status
    force: bool = False


class OrderBody(AskedBody):
    """What was planned: `ports.control.Order`. `deliveries`: those that were in each state. `raw`: Base64."""

    action: Action
    deliveries: dict[DeliveryState, list[Span]] = Field(default={})
    messages: list[Span] = Field(default=[])
    lanes: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(default=[], max_length=10_000)
    destinations: list[str] | None = Field(default=None, min_length=1, max_length=1000)
    to: str | None = Field(default=None, min_length=1)
    as_of: PositiveInt | Literal["received"] | None = None
    raw: str = ""
    step: StepBody | None = None
    only: list[DeliveryState] = Field(default=[], max_length=10)

    @model_validator(mode="after")
    def _is_whole(self) -> "OrderBody":
        if (self.step is None) == (self.action == "set-status"):
            raise ValueError("set-status, and nothing else, is of a step")
        return self


BodyT = TypeVar("BodyT", bound=AskedBody)


def control_routes(control: Control, calls: EngineCalls) -> list[Route]:
    """GET /v1/status, plan, paused, queries and retention (a POST to the last confirms); POST /v1/reload, release,
    resend, reprocess, discard and order.
    """

    async def status(request: Request) -> Response:
        is_ready, why_not = await calls.ask(control.ready(), READY_TIMEOUT_S)
        channels = await calls.ask(control.status(), STATUS_TIMEOUT_S)
        return JSONResponse(
            {
                "schema": SCHEMA,
                "version": __version__,
                "ready": is_ready,
                "reason": why_not,
                "channels": [asdict(channel) for channel in channels],
            }
        )

    async def retention(request: Request) -> Response:
        is_word = request.method == "POST"
        if is_word:
            await calls.ask(control.put_on_record(by_of(request), "retention-confirm"), ACTION_TIMEOUT_S)
        found = await calls.ask(control.retention(confirm=is_word), READY_TIMEOUT_S)
        return JSONResponse({"schema": SCHEMA, **asdict(found)})

    async def asked(request: Request) -> Response:
        found = await calls.ask(control.asked(), READY_TIMEOUT_S)
        return JSONResponse({"schema": SCHEMA, "queries": [asdict(record) for record in found]})

    async def hand_offs(request: Request) -> Response:
        found = await calls.ask(control.hand_offs(), READY_TIMEOUT_S)
        return JSONResponse({"schema": SCHEMA, "hand_offs": [asdict(status) for status in found]})

    async def plan(request: Request) -> Response:
        return JSONResponse({"schema": SCHEMA, **asdict(await calls.ask(control.plan(), RELOAD_TIMEOUT_S))})

    async def reload(request: Request) -> Response:
        # First the record: a crash may fall between the two.
        await calls.ask(control.put_on_record(by_of(request), "reload"), ACTION_TIMEOUT_S)
        return JSONResponse({"schema": SCHEMA, **asdict(await calls.ask(control.reload(), RELOAD_TIMEOUT_S))})

    async def release(request: Request) -> Response:
        body = await read_body(request, SeqsBody)
        return _report(await calls.ask(control.release(_seqs(body), by_of(request, body)), ACTION_TIMEOUT_S))

    async def resend(request: Request) -> Response:
        body = await read_body(request, ResendBody)
        names = None if body.destinations is None else [DestinationName(name) for name in body.destinations]
        return _report(await calls.ask(control.resend(_seqs(body), names, by_of(request, body)), ACTION_TIMEOUT_S))

    async def reprocess(request: Request) -> Response:
        body = await read_body(request, SeqsBody)
        return _report(await calls.ask(control.reprocess(_seqs(body), by_of(request, body)), ACTION_TIMEOUT_S))

    async def discard(request: Request) -> Response:
        body = await read_body(request, DiscardBody)
        asked = control.discard(_seqs(body), body.reason, by_of(request, body))
        return _report(await calls.ask(asked, ACTION_TIMEOUT_S))

    async def order(request: Request) -> Response:
        body = await read_body(request, OrderBody, MAX_ORDER_BYTES)
        try:
            return _report(await calls.ask(control.operate(_order(request, body)), ACTION_TIMEOUT_S))
        except EngineSilent:
            if not body.key or not calls.is_alive():
                raise
            return JSONResponse({"schema": SCHEMA, "running": True}, 202)

    async def paused(request: Request) -> Response:
        found = await calls.ask(control.paused(), READY_TIMEOUT_S)
        return JSONResponse({"schema": SCHEMA, "paused": [asdict(pause) for pause in found]})

    return [
        Route("/v1/status", guarded(status)),
        Route("/v1/retention", guarded(retention), methods=["GET", "POST"]),
        Route("/v1/plan", guarded(plan)),
        Route("/v1/reload", guarded(reload), methods=["POST"]),
        Route("/v1/release", guarded(release), methods=["POST"]),
        Route("/v1/resend", guarded(resend), methods=["POST"]),
        Route("/v1/reprocess", guarded(reprocess), methods=["POST"]),
        Route("/v1/discard", guarded(discard), methods=["POST"]),
        Route("/v1/order", guarded(order), methods=["POST"]),
        Route("/v1/paused", guarded(paused)),
        Route("/v1/queries", guarded(asked)),
        Route("/v1/hand_offs", guarded(hand_offs)),
    ]


def application(routes: Sequence[Route]) -> Starlette:
    """An application whose every error is JSON with one sentence."""

    async def as_json(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(error.status_code, error.detail, error.headers)

    return Starlette(routes=list(routes), exception_handlers={HTTPException: as_json})


def by_of(request: Request, body: AskedBody | None = None) -> By:
    """Who asks: the process at the other end of the socket, as the system knows it, whatever it says of itself."""
    actor = request.client.host if request.client is not None else UNKNOWN
    return By(actor) if body is None else By(actor, body.reason, body.scope, body.key)


def _order(request: Request, body: OrderBody) -> Order:
    """The order. Raises HTTPException 400 for Base64 that is none, and 413 for more members than anybody plans."""
    try:
        raw = base64.b64decode(body.raw, validate=True)
    except ValueError:
        raise HTTPException(400, "raw: it is not Base64") from None
    return Order(
        body.action,
        by_of(request, body),
        [(DeliveryId(id_), state) for state, spans in body.deliveries.items() for id_ in _numbers(spans)],
        [MessageSeq(seq) for seq in _numbers(body.messages)],
        [(ChannelName(channel), DestinationName(destination)) for channel, destination in body.lanes],
        None if body.destinations is None else [DestinationName(name) for name in body.destinations],
        None if body.to is None else DestinationName(body.to),
        body.as_of if body.as_of is None or body.as_of == "received" else VersionId(body.as_of),
        raw,
        None if body.step is None else StepMove(**body.step.model_dump()),
        body.only,
    )


def _numbers(spans: Sequence[int | list[int]]) -> list[int]:
    found: list[int] = []
    for span in spans:
        first, last = span if isinstance(span, list) else (span, span)
        if last < first or len(found) + last - first >= MAX_MEMBERS:
            raise HTTPException(413 if last >= first else 400, f"at most {MAX_MEMBERS} members, spans upwards")
        found.extend(range(first, last + 1))
    return found


def _seqs(body: SeqsBody) -> list[MessageSeq]:
    return [MessageSeq(seq) for seq in body.seqs]


def _report(report: ActionReport) -> Response:
    return JSONResponse(
        {
            "schema": SCHEMA,
            "messages": report.messages,
            "deliveries": report.deliveries,
            "left": [{"seq": seq, "reason": reason} for seq, reason in report.left],
            "more_left": report.more_left,
            "made": list(report.made),
            "done_before": report.done_before,
            **({"steps": report.steps} if report.steps else {}),
        }
    )


async def read_body(request: Request, model: type[BodyT], most_bytes: int = MAX_BODY_BYTES) -> BodyT:
    """The request's JSON as `model`. Raises HTTPException 413, 415 or 400; what was sent is not repeated."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json")
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > most_bytes:
            raise HTTPException(413, f"the body has more than {most_bytes} bytes", {"connection": "close"})
    try:
        return model.model_validate(json.loads(received))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = "/".join(map(str, first["loc"])) or "body"
        raise HTTPException(400, f"{where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None


def _error(status: int, sentence: str, headers: Any = None) -> Response:
    return JSONResponse({"schema": SCHEMA, "error": sentence}, status, headers)


Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint) -> Endpoint:
    """The edge of a request: what goes wrong in it is answered, recorded, and stays in it."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException:
            raise
        except EngineSilent as exc:
            return _error(503, str(exc))
        except OrderRefused as exc:
            return _error(409 if exc.is_temporary else 422, exc.sentence)
        except CommitUnknown as exc:
            return _error(500, str(exc))
        except StoreError as exc:
            return _error(503, str(exc))
        except Exception as exc:  # noqa: BLE001 - the edge of a request: it is answered, recorded, and the next goes on
            # Places and kind, never the text of an exception: it may quote the message that was worked on.
            places = "".join(format_tb(exc.__traceback__)).rstrip()
            log.error("admin request %s failed with %s\n%s", request.url.path, type(exc).__name__, places)
            return _error(500, "the engine could not do this; its log says why")

    return answered
