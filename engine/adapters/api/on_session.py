"""Signing in and out, and one's own password."""

from starlette.responses import JSONResponse, Response

from engine.adapters.api.access import Signed
from engine.adapters.api.entries import Call
from engine.adapters.api.guard import cookie_name
from engine.adapters.api.models import Done, Me, PasswordBody, SignInBody, time_of
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
    name = cookie_name(call.api.is_secure)
    before = call.request.cookies.get(name, "")
    made = await call.api.access.sign_in(body.name, body.password, call.address, before)
    answer = JSONResponse(_me(call, made.signed).model_dump(mode="json"))
    answer.set_cookie(name, made.secret, path="/", secure=call.api.is_secure, httponly=True, samesite="strict")
    return answer


async def me(call: Call) -> Me:
    """Who is signed in."""
    assert call.signed is not None
    return _me(call, call.signed)


def _session_of(call: Call) -> Signed:
    assert call.signed is not None
    if call.signed.principal.is_token:
        raise Problem(409, "E485", "a token has no session and no password")
    return call.signed


async def sign_out(call: Call) -> Response:
    """The session ends, and the cookie goes."""
    session = _session_of(call)
    await call.api.access.sign_out(session)
    call.api.kept.forget(session.hash)
    answer = JSONResponse(Done().model_dump())
    name = cookie_name(call.api.is_secure)
    answer.delete_cookie(name, path="/", secure=call.api.is_secure, httponly=True, samesite="strict")
    return answer


async def change_password(call: Call) -> Done:
    """One's own; this session goes on, all others end."""
    body = call.the_body(PasswordBody)
    await call.api.access.change_password(_session_of(call), body.old, body.new)
    return Done()
