"""What is done to messages: shown as a plan first, then done as planned, once, with a reason, and on record."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field
from starlette.responses import Response

from engine.adapters.admin_app import STATUS_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import LINE, Name, Number, OrderBody, PlanBody, Report, RunKey, What
from engine.adapters.api.on_orders import ordered, planned_of
from engine.adapters.api.problems import Problem
from engine.adapters.api.versions import Versions
from engine.adapters.console.flow import body_changes
from engine.adapters.console.rendering import page, see_other
from engine.adapters.console.shown import count
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.ids import MessageSeq, VersionId
from engine.pipeline.answer import APP_ACK
from engine.pipeline.compile import CompiledChannel
from engine.ports.clock import from_us
from engine.ports.control import ChannelStatus
from engine.ports.store import StoredDelivery, StoredMessage, StoreQueries

MOST_CHOSEN: Final = 200
MOST_COMPARED: Final = 10
MOST_PATHS: Final = 12
MOST_TRACED: Final = 256 * 1024

OnMessages = Literal["resend", "reprocess", "release", "discard"]
WORDS: Final = {
    "resend": ("Resend", "The same bytes go out again, as new deliveries with the same control id."),
    "reprocess": ("Reprocess", "What was received goes through its channel again, and what comes out is queued."),
    "release": (
        "Release",
        "Held messages go through their channel as it is now; held and failed deliveries are queued.",
    ),
    "discard": ("Discard", "Held messages and held deliveries are given up, for good. The reason is kept with them."),
}
DONE: Final = {"resend": "Resent", "reprocess": "Reprocessed", "release": "Released", "discard": "Discarded"}

Reason = Annotated[str, Field(max_length=500, pattern=LINE)]


class Chosen(ApiModel):
    """Which messages, and what is to be done. `to`: where a resend goes; none: where it went."""

    action: OnMessages
    seq: list[Number] = Field(default=[], max_length=MOST_CHOSEN)
    to: list[Name] = Field(default=[], max_length=100)
    as_of: Literal["now", "received"] = "now"


class OrderForm(Chosen):
    plan: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    reason: Reason = ""
    key: RunKey = ""
    look: bool = False
    """Only plan it anew, with what is chosen now."""


@dataclass(slots=True, frozen=True)
class Expected:
    """What would become of one message: a sentence, and for a reprocess what differs by destination, places only."""

    message: StoredMessage
    words: str
    places: tuple[tuple[str, str], ...] = ()


def _planned(asked: Chosen) -> PlanBody:
    as_of: Literal["received"] | None = None
    if asked.action == "reprocess" and asked.as_of == "received":
        as_of = "received"
    to = list(dict.fromkeys(asked.to)) if asked.action == "resend" else []
    return PlanBody(action=asked.action, what=What(seqs=sorted(set(asked.seq))), destinations=to, as_of=as_of)


async def plan(call: Call) -> Response:
    """What it would come to; nothing is done."""
    asked = call.the_query(Chosen)
    if not asked.seq:
        return see_other(call, "/messages", "Choose messages first, by the boxes before them.", "warn")
    found = await planned_of(call, _planned(asked))
    running = {one.channel: one for one in await call.api.calls.ask(call.api.control.status(), STATUS_TIMEOUT_S)}
    expected = await call.search(_expected, call.api.queries, call.api.versions, asked, running)
    title, says = WORDS[asked.action]
    channels = {one.message.channel for one in expected}
    lanes = sorted({str(lane.destination) for name in channels if name in running for lane in running[name].lanes})
    return page(
        call,
        "message_plan.html",
        title=f"{title} {count(found.messages, 'message')}",
        help="console#message",
        asked=asked,
        plan=found,
        says=says,
        action_name=title,
        expected=expected,
        more=max(0, len(set(asked.seq)) - len(expected)),
        lanes=lanes,
        gone=sorted(name for name in channels if name not in running),
        key=secrets.token_hex(8),
        leads_back=f"/messages/{asked.seq[0]}" if len(set(asked.seq)) == 1 else "/messages",
    )


async def order(call: Call) -> Response:
    """As it was planned, or not at all; a second click on the same plan finds it done."""
    form = call.the_body(OrderForm)
    if form.look:
        return see_other(call, _address(form))
    one = len(set(form.seq)) == 1
    back = f"/messages/{form.seq[0]}" if one else "/messages"
    planned = _planned(form)
    if form.action == "discard" and not form.reason.strip():
        return see_other(call, _address(form), "Say why it is discarded; the reason is kept with it.", "bad")
    body = OrderBody(**planned.model_dump(), plan=form.plan, reason=form.reason.strip(), key=form.key)
    try:
        report = await ordered(call, body)
    except Problem as problem:
        if problem.code != "E479":
            raise
        # Also where something else was chosen than was planned: what was not shown is not done.
        said = "This is not what was planned before, and nothing was done: look at it, then confirm."
        return see_other(call, _address(form), said, "warn")
    return see_other(call, back, *told(DONE[form.action], report))


def _address(asked: Chosen) -> str:
    from urllib.parse import urlencode

    given = [("action", asked.action), *(("seq", str(seq)) for seq in asked.seq), *(("to", name) for name in asked.to)]
    return f"/messages/plan?{urlencode([*given, ('as_of', asked.as_of)])}"


def told(done: str, report: Report) -> tuple[str, str]:
    """The notice, and its kind."""
    said = [
        f"{done}: {count(report.messages, 'message')}, "
        f"{report.deliveries} {'delivery' if report.deliveries == 1 else 'deliveries'}."
    ]
    if report.done_before:
        said.append("It was done before, and is not done twice.")
    if report.made:
        said.append(f"New: message {', '.join(map(str, report.made[:5]))}.")
    for left in report.left[:3]:
        said.append(f"Message {left.seq} was left alone: {left.reason}.")
    more = len(report.left) - 3 + report.more_left
    if more > 0:
        said.append(f"So were {more} more.")
    kind = "ok" if not report.left else "warn" if report.messages or report.deliveries else "bad"
    return " ".join(said), kind


# -- what would become of each ----------------------------------------------------------------------------


def _expected(
    queries: StoreQueries, known: Versions, asked: Chosen, running: dict[str, ChannelStatus]
) -> list[Expected]:
    """Of the first few. Blocks."""
    found = []
    for seq in sorted(set(asked.seq))[:MOST_COMPARED]:
        stored = queries.message(MessageSeq(seq))
        if stored is None:
            continue
        deliveries = queries.deliveries(stored.seq, bodies=asked.action == "reprocess")
        if stored.channel not in running:
            found.append(Expected(stored, "left alone: its channel does not run"))
        elif asked.action == "resend":
            found.append(Expected(stored, _resent(stored, deliveries, asked.to)))
        elif asked.action == "discard":
            found.append(Expected(stored, _discarded(stored, deliveries)))
        elif asked.action == "release" and stored.state != "held":
            found.append(Expected(stored, _released(deliveries)))
        else:
            now = asked.as_of == "now" or asked.action == "release"
            version = VersionId(running[stored.channel].version) if now else stored.version
            found.append(_reprocessed(stored, deliveries, known.get(queries, stored.channel, version)))
    return found


def _names(deliveries: Sequence[StoredDelivery], *states: str) -> list[str]:
    return list(dict.fromkeys(str(one.destination) for one in deliveries if one.state in states))


def _resent(stored: StoredMessage, deliveries: Sequence[StoredDelivery], to: Sequence[str]) -> str:
    if stored.state == "rejected":
        return "left alone: it was refused, and its sender told to keep it"
    before = [name for name in _names(deliveries, "queued", "delivered", "held", "failed") if name != APP_ACK]
    if to:
        never = [name for name in to if name not in before]
        sent = [name for name in to if name in before]
        said = f"goes again to {', '.join(sent)}" if sent else "goes nowhere"
        return said + (f"; {', '.join(never)} never had it, and gets nothing" if never else "")
    return f"goes again to {', '.join(before)}" if before else "left alone: it was never sent anywhere"


def _discarded(stored: StoredMessage, deliveries: Sequence[StoredDelivery]) -> str:
    if stored.state == "held":
        return "is given up"
    held = _names(deliveries, "held")
    return f"its deliveries to {', '.join(held)} are given up" if held else "left alone: nothing of it is held"


def _released(deliveries: Sequence[StoredDelivery]) -> str:
    waiting = _names(deliveries, "held", "failed")
    return f"queued again for {', '.join(waiting)}" if waiting else "left alone: nothing of it is held or failed"


def _reprocessed(
    stored: StoredMessage, deliveries: Sequence[StoredDelivery], channel: CompiledChannel | str
) -> Expected:
    """Run here, and held against what was sent; places that differ, and no values."""
    if stored.raw is None:
        return Expected(stored, "left alone: its bytes are no longer kept")
    if stored.state not in ("processed", "filtered", "held"):
        return Expected(stored, f"left alone: a {stored.state} message is not processed again")
    if isinstance(channel, str):
        return Expected(stored, channel)
    if channel.isolated:
        return Expected(
            stored,
            "goes through its channel, in that channel's own process; a plan does not run it, so what comes out is "
            "seen afterwards. What its steps made of it before is on its page, with its values",
        )
    if len(stored.raw) > MOST_TRACED:
        return Expected(stored, "goes through its channel; of more than 256 kB a plan does not say what comes out")
    try:
        message = Message.parse(stored.raw, fallback=channel.fallback_charset)
    except UnreadableMessage as error:
        return Expected(stored, f"held again: {error.reason}")
    result = channel.run(message, from_us(stored.received_at_us))
    codes = ", ".join(dict.fromkeys(finding.code for finding in result.findings))
    if result.state != "processed":
        return Expected(stored, f"becomes {result.state}" + (f" ({codes})" if codes else ""))
    before = {str(d.destination): d.body for d in deliveries if d.destination != APP_ACK and d.origin is None}
    places = []
    for draft in result.deliveries:
        name = str(draft.destination)
        body = stored.raw if draft.body is None else draft.body
        places.append((name, _differs(name, before, stored.raw, body)))
    gone = [name for name in before if name not in {name for name, _ in places}]
    places += [(name, "no longer goes there") for name in gone]
    return Expected(stored, "is processed", tuple(places))


def _differs(name: str, before: dict[str, bytes | None], raw: bytes, body: bytes) -> str:
    if name not in before:
        return "was not sent there before"
    sent = before[name]
    if (raw if sent is None else sent) == body:
        return "the same bytes as before"
    paths = [change.path for change in body_changes(raw if sent is None else sent, body)]
    if not paths:
        return "other bytes"
    more = f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else ""
    return f"differs in {', '.join(paths[:MOST_PATHS])}{more}"


PAGES: Final = (
    Page(
        "GET",
        "/messages/plan",
        "operate",
        "channel",
        "What would be done to messages",
        plan,
        "messages",
        query=Chosen,
        timeout_s=75.0,
    ),
    Page(
        "POST",
        "/messages/plan",
        "operate",
        "channel",
        "Have done what was planned",
        order,
        "messages",
        body=OrderForm,
        record="resend reprocess release discard",
        timeout_s=150.0,
    ),
)
