"""Signing in and out, and one's own password."""

import asyncio

from starlette.responses import JSONResponse, Response

from engine.adapters.api.access import Signed, SignedIn
from engine.adapters.api.entries import Call
from engine.adapters.api.guard import cookie_name
from engine.adapters.api.models import Done, Me, PasswordBody, SignInBody, time_of
from engine.adapters.api.models_second_factor import (
    DropSecondFactor,
    OneCode,
    OnePassword,
    RecoveryCodes,
    SecondFactorBegun,
    SecondFactorShown,
)
from engine.adapters.api.problems import Problem


def _me(call: Call, signed: Signed) -> Me:
    who = signed.principal
    return Me(
        name=who.name,
        grants=dict(who.grants),
        must_change=who.must_change,
        is_token=who.is_token,
        csrf=signed.csrf,
        until=time_of(signed.until_us),
        environment=call.api.environment,
    )


async def sign_in(call: Call) -> Response:
    """A new session, whatever cookie came with the request; that one's session ends."""
    body = call.the_body(SignInBody)
    made = await begin_session(call, body.name, body.password, body.code)
    answer = JSONResponse(_me(call, made.signed).model_dump(mode="json"))
    give_cookie(call, answer, made)
    return answer


async def begin_session(call: Call, name: str, password: str, code: str = "") -> SignedIn:
    """Raises Problem."""
    before = call.request.cookies.get(cookie_name(call.api.is_secure), "")
    made = await call.api.access.sign_in(name, password, call.address, before, code)
    if call.signed is not None:
        call.api.desks.drop(call.signed.hash)
    return made


def give_cookie(call: Call, answer: Response, made: SignedIn) -> None:
    """Scripts cannot read it, and other sites cannot send it."""
    name, is_secure = cookie_name(call.api.is_secure), call.api.is_secure
    answer.set_cookie(name, made.secret, path="/", secure=is_secure, httponly=True, samesite="strict")


def take_cookie(call: Call, answer: Response) -> None:
    """As it was given, but empty."""
    name, is_secure = cookie_name(call.api.is_secure), call.api.is_secure
    answer.delete_cookie(name, path="/", secure=is_secure, httponly=True, samesite="strict")


async def me(call: Call) -> Me:
    """Who is signed in."""
    assert call.signed is not None
    return _me(call, call.signed)


def session_of(call: Call) -> Signed:
    """Raises Problem for a token, which has none."""
    assert call.signed is not None
    if call.signed.principal.is_token:
        raise Problem(409, "E485", "a token has no session and no password")
    return call.signed


async def sign_out(call: Call) -> Response:
    """The session ends, and the cookie goes."""
    await end_session(call)
    answer = JSONResponse(Done().model_dump())
    take_cookie(call, answer)
    return answer


async def end_session(call: Call) -> None:
    """And all that was kept for it."""
    signed = session_of(call)
    await call.api.access.sign_out(signed)
    call.api.desks.drop(signed.hash)


async def change_password(call: Call) -> Done:
    """One's own; this session goes on, all others end."""
    body = call.the_body(PasswordBody)
    await call.api.access.change_password(session_of(call), body.old, body.new)
    return Done()


async def second_factor(call: Call) -> SecondFactorShown:
    """Whether one-time codes are asked for, and how many recovery codes are left; of a token never, and none."""
    found = None if call.who.is_token else await asyncio.to_thread(call.api.queries.second_factor, call.who.name)
    return SecondFactorShown(on=found is not None, recovery_left=0 if found is None else len(found.recovery))


async def begin_second_factor(call: Call) -> SecondFactorBegun:
    """A secret for an app; it counts when a code of it was given."""
    issuer = f"Segmill {call.api.environment}".rstrip()
    made = await call.api.access.begin_second_factor(session_of(call), call.the_body(OnePassword).password, issuer)
    return SecondFactorBegun(secret=made.secret, uri=made.uri, until=time_of(made.until_us))


async def end_second_factor(call: Call) -> RecoveryCodes:
    """It counts from now on."""
    return RecoveryCodes(codes=await call.api.access.end_second_factor(session_of(call), call.the_body(OneCode).code))


async def drop_second_factor(call: Call) -> Done:
    """The password is enough from now on."""
    body = call.the_body(DropSecondFactor)
    await call.api.access.drop_second_factor(session_of(call), body.password, body.code)
    return Done()
