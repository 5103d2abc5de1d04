"""What people have done to messages and deliveries: planned first, then done as planned or not at all.

A plan is every member with the state that it has; its digest goes back to the one who asked, and an order must name it.
The order makes the plan again: where it comes out otherwise, nothing is done (E479). The engine then moves each only
from that state.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, Literal, cast

from engine.adapters.admin_app import ACTION_TIMEOUT_S, EngineSilent
from engine.adapters.api.entries import Call
from engine.adapters.api.finding import Wanted, holds, matching
from engine.adapters.api.models import LeftAlone, OrderBody, Plan, PlanBody, PlanRow, Report
from engine.adapters.api.on_messages import note_search, scope_of, wanted_by
from engine.adapters.api.problems import Problem, not_there, not_understood
from engine.model.ids import DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState
from engine.ports.control import ActionReport, Order
from engine.ports.operations import ACT_FROM, Act
from engine.ports.store import StoredMessage, StoreQueries

MOST_MEMBERS: Final = 100_000
MOST_LOOKED_AT: Final = 1_000_000
MOST_PLAN_S: Final = 20.0
FIRST: Final = 5
ON_DELIVERIES: Final = ("retry", "hold", "skip", "redirect")


@dataclass(slots=True)
class Planned:
    """`members`: (delivery, state), or of what is about messages (seq, state). `digest` covers all that is done."""

    is_of_deliveries: bool
    members: list[tuple[int, str]] = field(default_factory=list)
    seqs: dict[int, None] = field(default_factory=dict)
    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    only: tuple[DeliveryState, ...] = ()

    def digest(self, body: PlanBody) -> str:
        told = repr(
            (body.action, body.to, self.only, self.is_of_deliveries, self.members, body.destinations, body.as_of)
        )
        return sha256(told.encode()).hexdigest()


class _Bound:
    """Of the work for one plan."""

    def __init__(self) -> None:
        self._end = time.monotonic() + MOST_PLAN_S
        self._looked_at = 0

    def step(self, members: int) -> None:
        self._looked_at += 1
        if self._looked_at > MOST_LOOKED_AT or members > MOST_MEMBERS or time.monotonic() > self._end:
            raise Problem(413, "E477", f"at most {MOST_MEMBERS} at a time: narrow the search")


def _plan(queries: StoreQueries, body: PlanBody, wanted: Wanted, allowed: frozenset[str] | None) -> Planned:
    what, bound = body.what, _Bound()
    is_of_deliveries = body.action in ON_DELIVERIES or (
        body.action == "release" and bool(what.deliveries or what.destination)
    )
    planned = Planned(is_of_deliveries, only=_only(body))
    for stored in _messages(queries, body, wanted, is_of_deliveries, allowed):
        bound.step(len(planned.members))
        if not holds(wanted.where, stored):
            continue
        if is_of_deliveries:
            _add_deliveries(queries, body, stored, planned)
        else:
            planned.members.append((stored.seq, stored.state))
            planned.seqs[stored.seq] = None
            planned.rows[str(stored.channel), "", stored.state] += 1
    planned.members.sort()
    return planned


def _only(body: PlanBody) -> tuple[DeliveryState, ...]:
    """In which states a release of messages queues their deliveries; what was given up, only where it was named."""
    if body.action != "release":
        return ()
    named = tuple(cast(DeliveryState, state) for state in ("held", "failed") if state in body.what.search.state)
    if named:
        return named
    return ("held", "failed") if body.what.seqs else ("held",)


def _add_deliveries(queries: StoreQueries, body: PlanBody, stored: StoredMessage, planned: Planned) -> None:
    act, what = cast(Act, body.action), body.what
    states = ACT_FROM[act]
    if named := {state for state in what.search.state if state in states}:
        states = states.intersection(named)
    elif body.action == "release" and not (what.seqs or what.deliveries):
        states = frozenset({"held"})
    for one in queries.deliveries(stored.seq):
        if one.state not in states or what.destination not in (None, one.destination):
            continue
        if what.deliveries and one.id not in what.deliveries:
            continue
        planned.members.append((one.id, one.state))
        planned.seqs[stored.seq] = None
        planned.rows[str(one.channel), str(one.destination), one.state] += 1


def _messages(
    queries: StoreQueries, body: PlanBody, wanted: Wanted, is_of_deliveries: bool, allowed: frozenset[str] | None
) -> Iterator[StoredMessage]:
    what = body.what
    seqs = list(dict.fromkeys(what.seqs))
    if what.deliveries:
        ids = [DeliveryId(id_) for id_ in what.deliveries]
        found = queries.delivery_states(ids)
        if any(id_ not in found for id_ in ids):
            raise not_there("one of the deliveries is not there")
        seqs += [seq for _, seq, _, _ in found.values()]
    if seqs:
        for seq in dict.fromkeys(seqs):
            stored = queries.message(MessageSeq(seq))
            if stored is None or (allowed is not None and stored.channel not in allowed):
                raise not_there("one of the messages is not there")
            if wanted.channels is None or stored.channel in wanted.channels:
                yield stored
        return
    states = wanted
    if not wanted.states and not wanted.delivery_states:
        states = _with_states(body, wanted, is_of_deliveries)
    yield from matching(queries, states, newest_first=False)


def _with_states(body: PlanBody, wanted: Wanted, is_of_deliveries: bool) -> Wanted:
    """Where no state was named: the ones that it can be done to."""
    if is_of_deliveries:
        states = ACT_FROM[cast(Act, body.action)]
        return replace(wanted, delivery_states=tuple(sorted(states)))
    if body.action in ("release", "discard"):
        return replace(wanted, states=("held",), delivery_states=("held",) if body.action == "release" else ())
    return wanted


def _wanted(call: Call, body: PlanBody) -> tuple[Wanted, frozenset[str] | None]:
    what = body.what
    said = what.model_dump(exclude_defaults=True)
    if not said:
        raise not_understood("what: say which: seqs, deliveries, destination, or a search")
    if body.action == "redirect" and body.to is None:
        raise not_understood("to: say where it goes")
    if body.to is not None and body.action not in ("redirect", "resend"):
        raise not_understood("to: it is for redirect and resend")
    if body.destinations and (body.action != "resend" or body.to is not None):
        raise not_understood("destinations: they are for resend, in place of to")
    if body.as_of is not None and body.action != "reprocess":
        raise not_understood("as_of: it is for reprocess")
    if not (body.action in ON_DELIVERIES or body.action == "release") and (what.deliveries or what.destination):
        raise not_understood("what: this is about messages, not about deliveries")
    return wanted_by(call, what.search), call.who.channels("operate")


async def _made(call: Call, body: PlanBody) -> Planned:
    wanted, allowed = _wanted(call, body)
    if allowed is not None:
        named = allowed if wanted.channels is None else allowed.intersection(wanted.channels)
        wanted = replace(wanted, channels=tuple(sorted(named)))
    if body.what.search.where is not None:
        await note_search(call, body.what.search)
    return await call.search(_plan, call.api.queries, body, wanted, allowed)


async def plan(call: Call) -> Plan:
    return await planned_of(call, call.the_body(PlanBody))


async def planned_of(call: Call, body: PlanBody) -> Plan:
    """What it would come to, with its digest."""
    planned = await _made(call, body)
    return Plan(
        plan=planned.digest(body),
        action=body.action,
        messages=len(planned.seqs),
        deliveries=len(planned.members) if planned.is_of_deliveries else 0,
        rows=[
            PlanRow(channel=channel, destination=destination, state=state, count=count)
            for (channel, destination, state), count in sorted(planned.rows.items())
        ],
        first=sorted(planned.seqs)[:FIRST],
    )


async def order(call: Call) -> Report:
    return await ordered(call, call.the_body(OrderBody))


async def ordered(call: Call, body: OrderBody) -> Report:
    """Have it done, as planned or not at all."""
    if body.action in ("skip", "discard") and not body.reason.strip():
        raise not_understood("reason: say why; it is kept with what is given up")
    run = call.api.runs.of(call.who.name, body.key, body.plan)
    if run is not None:
        return await reported(run, is_again=True)
    planned = await _made(call, body)
    if planned.digest(body) != body.plan:
        raise Problem(409, "E479")
    if not planned.members:
        return Report(messages=0, deliveries=0, left=[], more_left=0, made=[], done_before=False)
    return await reported(begun(call, body.key, body.plan, _order(call, body, planned)))


def begun(call: Call, key: str, plan: str, order: Order) -> "asyncio.Future[ActionReport]":
    """The engine carries it out, whether anybody waits for it or not; it can be asked for by its key."""
    run = call.api.calls.begin(call.api.control.operate(order))
    call.api.runs.add(call.who.name, key, plan, run)
    return run


def key_of(call: Call, key: str) -> str:
    """The engine's own keys are one space for all; one person's key must not meet another's."""
    return sha256(f"{call.who.name} {key}".encode()).hexdigest() if key else ""


async def reported(run: "asyncio.Future[ActionReport]", *, is_again: bool = False) -> Report:
    """What came of it."""
    try:
        report = await asyncio.wait_for(asyncio.shield(run), ACTION_TIMEOUT_S)
    except TimeoutError:
        raise EngineSilent("it goes on; ask again with the same key") from None
    return Report(
        messages=report.messages,
        deliveries=report.deliveries,
        left=[LeftAlone(seq=seq, reason=reason) for seq, reason in report.left],
        more_left=report.more_left,
        made=list(report.made),
        done_before=is_again or report.done_before,
    )


def _order(call: Call, body: OrderBody, planned: Planned) -> Order:
    said = f"{body.action} {scope_of(body.what.search)}".strip()
    by = call.by(body.reason, said, key_of(call, body.key))
    to = None if body.to is None else DestinationName(body.to)
    if planned.is_of_deliveries:
        members = [(DeliveryId(id_), cast(DeliveryState, state)) for id_, state in planned.members]
        return Order(body.action, by, members, to=to)
    seqs = [MessageSeq(seq) for seq, _ in planned.members]
    destinations = [DestinationName(name) for name in body.destinations] or (None if to is None else [to])
    as_of: VersionId | Literal["received"] | None = None
    if body.as_of is not None:
        as_of = "received" if body.as_of == "received" else VersionId(body.as_of)
    return Order(body.action, by, messages=seqs, destinations=destinations, as_of=as_of, only=planned.only)
