"""Plans of the pages: what an action would do, shown before it is done, and its outcome in a sentence."""

import secrets
from dataclasses import dataclass
from typing import Final

from engine.adapters.api.entries import Call
from engine.adapters.api.models import OrderBody, Plan, PlanBody, PlannedAct, Report
from engine.adapters.api.on_orders import ON_DELIVERIES, ordered, planned_of
from engine.adapters.api.problems import Problem

VERBS: Final[dict[PlannedAct, tuple[str, str]]] = {
    "retry": ("Try again now", "to be tried at once"),
    "hold": ("Hold", "held"),
    "release": ("Release", "released"),
    "skip": ("Skip", "given up"),
    "redirect": ("Redirect", "redirected"),
    "resend": ("Resend", "resent"),
    "reprocess": ("Reprocess", "reprocessed"),
    "discard": ("Discard", "discarded"),
}
"""What a button says, and what was done."""
WHAT_IT_DOES: Final[dict[PlannedAct, str]] = {
    "retry": "They are tried as soon as they are first in their queue, without a wait.",
    "hold": "They step out of their queue, what is behind them goes on, and they wait until somebody releases them.",
    "release": "A held message goes through its channel as it is now; a held delivery is queued again.",
    "skip": "They are given up: the receiver never gets them. The reason is kept with them.",
    "redirect": "The other destination of the channel gets the same bytes, behind what waits there.",
    "resend": "The same bytes go out again, as new deliveries.",
    "reprocess": "The messages go through their channel as it is now, and what comes of that is delivered.",
    "discard": "They are given up: nobody gets them. The reason is kept with them.",
}
NEEDS_A_REASON: Final[frozenset[PlannedAct]] = frozenset({"hold", "skip", "redirect", "discard"})
CHANGED: Final = "E479"


@dataclass(slots=True, frozen=True)
class Planned:
    """A plan to be confirmed. `key`: so that a double click does it once."""

    body: PlanBody
    plan: Plan
    key: str

    @property
    def action(self) -> PlannedAct:
        return self.body.action

    @property
    def verb(self) -> str:
        return VERBS[self.action][0]

    @property
    def what_it_does(self) -> str:
        return WHAT_IT_DOES[self.action]

    @property
    def needs_a_reason(self) -> bool:
        return self.action in NEEDS_A_REASON

    @property
    def count_words(self) -> str:
        """`12 deliveries of 10 messages`."""
        messages = _count(self.plan.messages, "message", "messages")
        if not self.plan.deliveries:
            return messages
        deliveries = _count(self.plan.deliveries, "delivery", "deliveries")
        return f"{deliveries} of {messages}"

    @property
    def is_empty(self) -> bool:
        return not self.plan.messages


async def planned(call: Call, body: PlanBody) -> Planned:
    """Raises Problem."""
    return Planned(body, await planned_of(call, body), secrets.token_hex(8))


async def carried_out(call: Call, body: PlanBody, digest: str, reason: str, key: str) -> str | None:
    """What came of it, in a sentence; None where it has changed since the plan, and nothing was done."""
    order = OrderBody(**body.model_dump(), plan=digest, reason=reason, key=key)
    try:
        report = await ordered(call, order)
    except Problem as problem:
        if problem.code == CHANGED:
            return None
        raise
    return outcome(report, body)


def outcome(report: Report, body: PlanBody) -> str:
    """`12 deliveries held. Left alone: message 5 (...), and 3 more.`"""
    done = VERBS[body.action][1]
    is_of_deliveries = body.action in ON_DELIVERIES or bool(body.what.deliveries or body.what.destination)
    number = report.deliveries if is_of_deliveries else report.messages
    nouns = ("delivery", "deliveries") if is_of_deliveries else ("message", "messages")
    said = f"{_count(number, *nouns)} {done}." if number else "Nothing was done."
    if report.done_before:
        said = f"It was done before, once: {said}"
    if report.left:
        first = ", ".join(f"message {one.seq} ({one.reason})" for one in report.left[:3])
        more = len(report.left) - 3 + report.more_left
        said += f" Left alone: {first}{f', and {more} more' if more > 0 else ''}."
    return said


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
