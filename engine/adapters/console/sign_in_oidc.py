"""Signing in at the identity provider: there, and back."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, StringConstraints
from starlette.responses import RedirectResponse, Response

from engine.adapters.api.entries import Call, Page
from engine.adapters.api.guard import cookie_name
from engine.adapters.api.on_session import give_cookie
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.console.rendering import is_own_path, page
from engine.adapters.console.sign_in import NextQuery

PENDING_S: Final = 600
Text = Annotated[str, StringConstraints(max_length=4096)]


class BackQuery(NextQuery):
    """What the provider sends people back with; it may add words of its own."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Text = ""
    code: Text = ""
    iss: Text | None = None
    error: Text = ""


def pending_name(is_secure: bool) -> str:
    """Of the cookie that belongs to one sign-in."""
    return f"{cookie_name(is_secure)}-oidc"


async def go(call: Call) -> Response:
    """To the provider. The cookie comes back with the browser, as it may with a link from there (`Lax`)."""
    provider = call.api.oidc
    if provider is None:
        raise not_there()
    to = call.the_query(NextQuery).next
    begun = await provider.begin(to if is_own_path(to) else "/")
    answer = RedirectResponse(begun.location, 303)
    is_secure = call.api.is_secure
    answer.set_cookie(
        pending_name(is_secure),
        begun.cookie,
        max_age=PENDING_S,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )
    return answer


async def back(call: Call) -> Response:
    """From the provider: a session, and a page of ours that goes on.

    A redirect would not do: the session's cookie is `SameSite=Strict`, and what begins at the provider's page is
    another site's, over all redirects.
    """
    provider, access = call.api.oidc, call.api.access
    if provider is None:
        raise not_there()
    access.begin_attempt(call.address)
    given: dict[str, Any] = call.the_query(BackQuery).model_dump(exclude_none=True)
    is_secure = call.api.is_secure
    cookie = call.request.cookies.get(pending_name(is_secure), "")
    try:
        identity, to = await provider.end(cookie, given)
    except Problem as problem:
        if problem.code in ("E572", "E574"):
            await access.note_refusal(call.address, [f"by {provider.options.issuer}", problem.detail])
        raise
    before = call.request.cookies.get(cookie_name(is_secure), "")
    made = await access.sign_in_by_provider(
        identity.name, identity.mark, identity.grants, identity.issuer, call.address, before
    )
    access.end_attempt(call.address)
    if call.signed is not None:
        call.api.desks.drop(call.signed.hash)
    called = made.signed.principal.name
    answer = page(call, "signed_in.html", title="Signed in", next=to if is_own_path(to) else "/", name=called)
    give_cookie(call, answer, made)
    answer.delete_cookie(pending_name(is_secure), path="/", secure=is_secure, httponly=True, samesite="lax")
    return answer


PAGES: Final = (
    Page("GET", "/sign-in/oidc", "public", "site", "Sign in at the identity provider", go, "session", query=NextQuery),
    Page(
        "GET",
        "/sign-in/oidc/back",
        "public",
        "site",
        "Back from the identity provider",
        back,
        "session",
        query=BackQuery,
        record="sign-in",
    ),
)
