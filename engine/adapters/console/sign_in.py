"""Signing in and out, one's own password, and how light the pages are."""

from typing import Annotated, Final, Literal

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.on_session import begin_session, end_session, give_cookie, session_of, take_cookie
from engine.adapters.api.problems import Problem
from engine.adapters.console.rendering import THEME, is_own_path, page, see_other
from engine.config.codes import CODES

SMALL: Final = 16 * 1024
ASKS_FOR_A_CODE: Final = "E578"
YEAR_S: Final = 366 * 86_400

OwnPath = Annotated[str, StringConstraints(max_length=2001)]


class NextQuery(ApiModel):
    next: OwnPath = "/"


class SignInForm(NextQuery):
    name: Annotated[str, StringConstraints(max_length=64)]
    password: Annotated[str, StringConstraints(max_length=256)]
    code: Annotated[str, StringConstraints(max_length=40)] = ""


class PasswordForm(ApiModel):
    old: Annotated[str, StringConstraints(max_length=256)]
    new: Annotated[str, StringConstraints(max_length=256)]
    again: Annotated[str, StringConstraints(max_length=256)]


class ThemeForm(NextQuery):
    theme: Literal["auto", "light", "dark"]


def _own(path: str) -> str:
    return path if is_own_path(path) else "/"


def _provider(call: Call) -> str:
    """What the button for the identity provider says; '' where there is none."""
    return "" if call.api.oidc is None else call.api.oidc.options.name


async def show_sign_in(call: Call) -> Response:
    """The form; who is signed in already goes on."""
    to = _own(call.the_query(NextQuery).next)
    if call.signed is not None:
        return see_other(call, "/password" if call.signed.principal.must_change else to)
    return page(
        call, "sign_in.html", title="Sign in", next=to, name="", wrong="", with_code=False, provider=_provider(call)
    )


async def sign_in(call: Call) -> Response:
    """A new session and on, or the form again with what is in the way."""
    form = call.the_body(SignInForm)
    to = _own(form.next)
    try:
        made = await begin_session(call, form.name, form.password, form.code)
    except Problem as problem:
        wrong = CODES[problem.code].title + (f": {problem.detail}" if problem.detail else "")
        # Open for whoever gave a code, and for whoever's password was right and who has one: nobody else learns of it.
        with_code = bool(form.code) or problem.code == ASKS_FOR_A_CODE
        answer = page(
            call,
            "sign_in.html",
            title="Sign in",
            status=problem.status,
            next=to,
            name=form.name,
            wrong=wrong,
            with_code=with_code,
            provider=_provider(call),
        )
        if "retry-after" in problem.headers:
            answer.headers["retry-after"] = problem.headers["retry-after"]
        return answer
    answer = see_other(call, "/password" if made.signed.principal.must_change else to)
    give_cookie(call, answer, made)
    return answer


async def sign_out(call: Call) -> Response:
    """The session ends, with all that was kept for it."""
    await end_session(call)
    answer = see_other(call, "/sign-in")
    take_cookie(call, answer)
    return answer


async def show_password(call: Call) -> Response:
    return page(call, "password.html", title="Your password", wrong="")


async def change_password(call: Call) -> Response:
    """One's own; this session goes on, all others end."""
    form = call.the_body(PasswordForm)
    wrong, status = "", 422
    if form.new != form.again:
        wrong = "The new password was not typed twice alike."
    else:
        try:
            await call.api.access.change_password(session_of(call), form.old, form.new)
        except Problem as problem:
            wrong, status = problem.detail or CODES[problem.code].title, problem.status
    if wrong:
        return page(call, "password.html", title="Your password", status=status, wrong=wrong)
    return see_other(call, "/", "Your password was changed; all your other sessions have ended.")


async def set_theme(call: Call) -> Response:
    """Light, dark, or as the machine is; kept by the browser."""
    form = call.the_body(ThemeForm)
    answer = see_other(call, _own(form.next))
    answer.set_cookie(
        THEME, form.theme, max_age=YEAR_S, path="/", secure=call.api.is_secure, httponly=True, samesite="strict"
    )
    return answer


PAGES: Final = (
    Page("GET", "/sign-in", "public", "site", "Sign in", show_sign_in, "session", query=NextQuery),
    Page(
        "POST",
        "/sign-in",
        "public",
        "site",
        "Sign in",
        sign_in,
        "session",
        body=SignInForm,
        record="sign-in",
        most_body=SMALL,
    ),
    Page("POST", "/sign-out", "self", "site", "Sign out", sign_out, "session", record="sign-out", most_body=SMALL),
    Page("GET", "/password", "self", "site", "Your password", show_password, "session"),
    Page(
        "POST",
        "/password",
        "self",
        "site",
        "Change one's own password",
        change_password,
        "session",
        body=PasswordForm,
        record="password",
        most_body=SMALL,
    ),
    Page(
        "POST",
        "/theme",
        "public",
        "site",
        "Light or dark",
        set_theme,
        "session",
        body=ThemeForm,
        most_body=SMALL,
    ),
)
