"""Users, tokens and the audit: for admins."""

import asyncio
import json
from collections import Counter

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.access import ONE_TIME_S, SECOND
from engine.adapters.api.entries import Call
from engine.adapters.api.models import (
    Audit,
    AuditItem,
    AuditQuery,
    AuditVerdict,
    Done,
    GrantsBody,
    OneTime,
    TokenBody,
    TokenMade,
    TokenPath,
    Tokens,
    TokenShown,
    UserBody,
    UserPath,
    Users,
    UserShown,
    time_of,
)
from engine.adapters.audit_check import check_audit
from engine.model.audit import AuditRow

DAY_S = 86_400.0


async def users(call: Call) -> Users:
    queries = call.api.queries

    def read() -> Users:
        found = queries.users()
        sessions = Counter({user.name: len(queries.sessions(user.name)) for user in found})
        return Users(
            users=[
                UserShown(
                    name=user.name,
                    grants=dict(user.grants),
                    must_change=user.must_change,
                    disabled=user.is_disabled,
                    created_at=time_of(user.created_us),
                    changed_at=time_of(user.changed_us),
                    sessions=sessions[user.name],
                )
                for user in found
            ]
        )

    return await asyncio.to_thread(read)


def _one_time(call: Call, name: str, password: str) -> OneTime:
    until_us = call.api.clock.now_us() + int(ONE_TIME_S * SECOND)
    return OneTime(name=name, password=password, until=time_of(until_us))


async def add_user(call: Call) -> OneTime:
    body = call.the_body(UserBody)
    return _one_time(call, body.name, await call.api.access.add_user(call.by(), body.name, body.grants))


async def give_password(call: Call) -> OneTime:
    name = call.the_path(UserPath).user
    return _one_time(call, name, await call.api.access.give_password(call.by(), name))


async def set_grants(call: Call) -> Done:
    await call.api.access.set_grants(call.by(), call.the_path(UserPath).user, call.the_body(GrantsBody).grants)
    return Done()


async def disable(call: Call) -> Done:
    await call.api.access.set_disabled(call.by(), call.the_path(UserPath).user, True)
    return Done()


async def enable(call: Call) -> Done:
    await call.api.access.set_disabled(call.by(), call.the_path(UserPath).user, False)
    return Done()


async def end_sessions(call: Call) -> Done:
    await call.api.access.end_sessions(call.by(), call.the_path(UserPath).user)
    return Done()


async def tokens(call: Call) -> Tokens:
    found = await asyncio.to_thread(call.api.queries.tokens)
    return Tokens(
        tokens=[
            TokenShown(
                name=token.name,
                grants=dict(token.grants),
                created_at=time_of(token.created_us),
                created_by=token.created_by,
                until=time_of(token.until_us),
                revoked=token.is_revoked,
            )
            for token in found
        ]
    )


async def add_token(call: Call) -> TokenMade:
    body = call.the_body(TokenBody)
    secret = await call.api.access.add_token(call.by(), body.name, body.grants, body.days * DAY_S)
    return TokenMade(name=body.name, token=secret)


async def revoke_token(call: Call) -> Done:
    await call.api.access.revoke_token(call.by(), call.the_path(TokenPath).token)
    return Done()


async def audit(call: Call) -> Audit:
    """Looking at it is not on record, or it would grow by being read; but for what may quote a patient's number."""
    asked = call.the_query(AuditQuery)
    if asked.values:
        record = call.api.control.put_on_record(call.by(), "read", about=["the audit"])
        await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    rows = await asyncio.to_thread(call.api.queries.audit, int(asked.cursor or 0), asked.limit)
    return Audit(
        records=[_item(row, with_values=asked.values) for row in rows],
        next=str(rows[-1].id) if len(rows) == asked.limit else None,
    )


def _item(row: AuditRow, *, with_values: bool) -> AuditItem:
    return AuditItem(
        id=row.id,
        at=time_of(row.at_us),
        actor=row.actor,
        action=row.action,
        reason=row.reason,
        scope=row.scope if with_values else None,
        counts=json.loads(row.counts or "{}"),
        ids=row.ids,
        key=row.key,
        hash=row.hash.hex(),
    )


async def verify_audit(call: Call) -> AuditVerdict:
    found = await call.search(check_audit, call.api.queries, call.api.anchor)
    return AuditVerdict(
        whole=found.is_whole,
        records=found.records,
        hash=found.hash.hex(),
        broken_at=found.broken_at,
        unanchored=found.unanchored,
    )
