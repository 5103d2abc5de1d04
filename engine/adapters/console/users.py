"""Users with their roles, their sessions and failed attempts, and API tokens.

A password that is given out, and a token, are shown in the answer to the form that made them, and nowhere else: there
is no address at which they could be looked at again.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import Field, StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import GrantsBody, TokenBody, TokenPath, UserBody, UserName, UserPath, time_of
from engine.adapters.api.on_users import DAY_S, add_token, add_user, disable, enable, give_password, revoke_token
from engine.adapters.api.on_users import end_sessions as sign_out_everywhere
from engine.adapters.api.on_users import set_grants as give_grants
from engine.adapters.api.problems import Problem, not_understood
from engine.adapters.console.audit_rows import failed_sign_ins
from engine.adapters.console.rendering import page, see_other
from engine.config.codes import CODES
from engine.model.access import ROLES, SITE, Grants, Role, parse_grants
from engine.ports.access import ApiToken, Session, User
from engine.ports.store import StoreQueries

SECOND: Final = 1_000_000
NEXT: Final = 3
"""So many channels can be added to a role's form at a time; the page has room for more after that."""

Place = Annotated[str, StringConstraints(max_length=63)]
RoleWord = Annotated[str, StringConstraints(max_length=20)]


class GrantsForm(ApiModel):
    """`role` of `channel`, in the same order; a role without a word gives nothing. `*` is the whole site."""

    channel: list[Place] = Field(default=[], max_length=1000)
    role: list[RoleWord] = Field(default=[], max_length=1000)

    def grants(self) -> Grants:
        """Raises Problem."""
        if len(self.channel) != len(self.role):
            raise not_understood("form: a role for each channel")
        pairs = [(c.strip(), r) for c, r in zip(self.channel, self.role, strict=True) if r and c.strip()]
        if len({channel for channel, _ in pairs}) != len(pairs):
            raise not_understood("form: one role for each channel: a role includes those before it")
        try:
            return parse_grants(dict(pairs))
        except ValueError as error:
            raise not_understood(f"form: {error}") from None


class UserForm(GrantsForm):
    name: UserName


class TokenForm(GrantsForm):
    name: UserName
    days: Annotated[int, Field(ge=1, le=366)] = 90


@dataclass(slots=True, frozen=True)
class UserRow:
    user: User
    sessions: list[Session]
    failed: int


@dataclass(slots=True, frozen=True)
class Secret:
    """What is shown this once. `kind`: `password` or `token`."""

    kind: str
    name: str
    text: str
    until_us: int


def _read(queries: StoreQueries, since_us: int) -> tuple[list[UserRow], list[ApiToken], int]:
    failed, unknown = failed_sign_ins(queries, since_us)
    rows = [UserRow(user, list(queries.sessions(user.name)), failed.get(user.name, 0)) for user in queries.users()]
    return rows, list(queries.tokens()), unknown


async def _shown(call: Call, secret: Secret | None = None, wrong: str = "", status: int = 200) -> Response:
    now_us = call.api.clock.now_us()
    rows, tokens, unknown = await asyncio.to_thread(_read, call.api.queries, now_us - int(DAY_S * SECOND))
    return page(
        call,
        "users.html",
        title="Users",
        status=status,
        rows=rows,
        tokens=tokens,
        unknown=unknown,
        roles=ROLES,
        site=SITE,
        channels=sorted(str(one.name) for one in call.api.site().channels),
        secret=secret,
        wrong=wrong,
        next=NEXT,
        time_of=time_of,
    )


def _wrong(problem: Problem) -> str:
    return problem.detail or CODES[problem.code].title


async def show(call: Call) -> Response:
    return await _shown(call)


async def show_user(call: Call) -> Response:
    """One user: what he may, where he is signed in."""
    name = call.the_path(UserPath).user
    user = await asyncio.to_thread(call.api.queries.user, name)
    if user is None:
        raise Problem(404, "E478", "there is no such user")
    sessions = await asyncio.to_thread(call.api.queries.sessions, name)
    return page(
        call,
        "user.html",
        title=name,
        help="console#users",
        user=user,
        sessions=sessions,
        grants=sorted(user.grants.items()),
        roles=ROLES,
        site=SITE,
        channels=sorted(str(one.name) for one in call.api.site().channels),
        next=NEXT,
    )


async def add(call: Call) -> Response:
    """The one-time password is in the answer, this once."""
    form = call.the_body(UserForm)
    try:
        made = await add_user(_with(call, UserBody(name=form.name, grants=dict(form.grants()))))
    except Problem as problem:
        return await _shown(call, wrong=_wrong(problem), status=problem.status)
    return await _shown(call, Secret("password", made.name, made.password, _until_us(call)))


async def give(call: Call) -> Response:
    """A new one-time password; all sessions of the user end."""
    made = await give_password(call)
    return await _shown(call, Secret("password", made.name, made.password, _until_us(call)))


def _until_us(call: Call) -> int:
    return call.api.clock.now_us() + int(DAY_S * SECOND)


async def grant(call: Call) -> Response:
    name = call.the_path(UserPath).user
    form = call.the_body(GrantsForm)
    await give_grants(_with(call, GrantsBody(grants=dict(form.grants()))))
    return see_other(call, f"/users/{name}", f"{name} may that from now on.")


async def take_away(call: Call) -> Response:
    """Disabled: all sessions end."""
    name = call.the_path(UserPath).user
    await disable(call)
    return see_other(call, "/users", f"{name} is disabled and signed out.")


async def give_back(call: Call) -> Response:
    name = call.the_path(UserPath).user
    await enable(call)
    return see_other(call, "/users", f"{name} may sign in again.")


async def end_sessions(call: Call) -> Response:
    """Signed out everywhere."""
    name = call.the_path(UserPath).user
    await sign_out_everywhere(call)
    return see_other(call, "/users" if call.who.name != name else "/sign-in", f"{name} is signed out everywhere.")


async def make_token(call: Call) -> Response:
    """The token is in the answer, this once."""
    form = call.the_body(TokenForm)
    try:
        body = TokenBody(name=form.name, grants=_some(form.grants()), days=form.days)
        made = await add_token(_with(call, body))
    except Problem as problem:
        return await _shown(call, wrong=_wrong(problem), status=problem.status)
    until_us = call.api.clock.now_us() + int(form.days * DAY_S * SECOND)
    return await _shown(call, Secret("token", made.name, made.token, until_us))


def _some(grants: Grants) -> dict[str, Role]:
    if not grants:
        raise not_understood("a token needs a role")
    return dict(grants)


async def revoke(call: Call) -> Response:
    name = call.the_path(TokenPath).token
    await revoke_token(call)
    return see_other(call, "/users", f"Token {name} opens nothing any more.")


def _with(call: Call, body: ApiModel) -> Call:
    """The call as the API's handler takes it."""
    return replace(call, body=body)


PAGES: Final = (
    Page("GET", "/users", "administer", "site", "The users and API tokens", show, "users", nav="Users"),
    Page("GET", "/users/{user}", "administer", "site", "One user", show_user, "users", path_model=UserPath),
    Page("POST", "/users", "administer", "site", "Add a user", add, "users", body=UserForm, record="user-add"),
    Page(
        "POST",
        "/users/{user}/password",
        "administer",
        "site",
        "Give a new one-time password",
        give,
        "users",
        path_model=UserPath,
        record="user-passwd",
    ),
    Page(
        "POST",
        "/users/{user}/grants",
        "administer",
        "site",
        "Say what a user may",
        grant,
        "users",
        path_model=UserPath,
        body=GrantsForm,
        record="user-grant",
    ),
    Page(
        "POST",
        "/users/{user}/disable",
        "administer",
        "site",
        "Disable a user",
        take_away,
        "users",
        path_model=UserPath,
        record="user-disable",
    ),
    Page(
        "POST",
        "/users/{user}/enable",
        "administer",
        "site",
        "Enable a user again",
        give_back,
        "users",
        path_model=UserPath,
        record="user-enable",
    ),
    Page(
        "POST",
        "/users/{user}/sessions",
        "administer",
        "site",
        "Sign a user out everywhere",
        end_sessions,
        "users",
        path_model=UserPath,
        record="sessions-end",
    ),
    Page(
        "POST",
        "/tokens",
        "administer",
        "site",
        "Add an API token",
        make_token,
        "users",
        body=TokenForm,
        record="token-add",
    ),
    Page(
        "POST",
        "/tokens/{token}/revoke",
        "administer",
        "site",
        "Revoke an API token",
        revoke,
        "users",
        path_model=TokenPath,
        record="token-revoke",
    ),
)
