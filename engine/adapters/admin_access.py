"""Users and tokens over the control socket: for who runs the engine, who needs no password for it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.adapters.admin_app import SCHEMA, AskedBody, by_of, guarded, read_body
from engine.model.access import Role, parse_grants
from engine.ports.store import StoreQueries

if TYPE_CHECKING:
    from engine.adapters.api.access import Access

DAY_S = 86_400.0


class NameBody(AskedBody):
    name: str = Field(min_length=1, max_length=64)


class GrantsBody(NameBody):
    """`grants`: a role by channel; `*`: the site."""

    grants: dict[str, Role] = Field(max_length=1000)

    @field_validator("grants")
    @classmethod
    def _check(cls, value: dict[str, Role]) -> dict[str, Role]:
        return dict(parse_grants(value))


class DisableBody(NameBody):
    disabled: bool


class TokenBody(GrantsBody):
    days: int = Field(ge=1, le=366)


def access_routes(access: "Callable[[], Access]", queries: StoreQueries) -> list[Route]:
    """`access` is called when somebody asks, as few ever do, and what it brings takes a while to load.

    GET /v1/users and tokens; POST /v1/users, passwd, grant, disable, tokens and revoke.
    """

    async def users(request: Request) -> Response:
        found = await asyncio.to_thread(queries.users)
        shown = [{name: value for name, value in asdict(user).items() if name != "password"} for user in found]
        return JSONResponse({"schema": SCHEMA, "users": shown})

    async def tokens(request: Request) -> Response:
        found = await asyncio.to_thread(queries.tokens)
        shown = [{name: value for name, value in asdict(token).items() if name != "hash"} for token in found]
        return JSONResponse({"schema": SCHEMA, "tokens": shown})

    async def add(request: Request) -> Response:
        body = await read_body(request, GrantsBody)
        return _made(password=await access().add_user(by_of(request, body), body.name, body.grants))

    async def passwd(request: Request) -> Response:
        body = await read_body(request, NameBody)
        return _made(password=await access().give_password(by_of(request, body), body.name))

    async def grant(request: Request) -> Response:
        body = await read_body(request, GrantsBody)
        await access().set_grants(by_of(request, body), body.name, body.grants)
        return _made()

    async def disable(request: Request) -> Response:
        body = await read_body(request, DisableBody)
        await access().set_disabled(by_of(request, body), body.name, body.disabled)
        return _made()

    async def add_token(request: Request) -> Response:
        body = await read_body(request, TokenBody)
        return _made(token=await access().add_token(by_of(request, body), body.name, body.grants, body.days * DAY_S))

    async def revoke(request: Request) -> Response:
        body = await read_body(request, NameBody)
        await access().revoke_token(by_of(request, body), body.name)
        return _made()

    def route(path: str, endpoint: Any, method: str) -> Route:
        async def answered(request: Request) -> Response:
            from engine.adapters.api.problems import Problem

            try:
                return await endpoint(request)  # type: ignore[no-any-return]  # one of those above
            except Problem as problem:
                # What cannot be is 422 here, where 409 says that it may pass another time.
                status = 422 if problem.status == 409 else problem.status
                raise HTTPException(status, problem.detail or problem.code) from None

        return Route(path, guarded(answered), methods=[method])

    return [
        route("/v1/users", users, "GET"),
        route("/v1/users", add, "POST"),
        route("/v1/users/passwd", passwd, "POST"),
        route("/v1/users/grant", grant, "POST"),
        route("/v1/users/disable", disable, "POST"),
        route("/v1/tokens", tokens, "GET"),
        route("/v1/tokens", add_token, "POST"),
        route("/v1/tokens/revoke", revoke, "POST"),
    ]


def _made(**more: str) -> Response:
    return JSONResponse({"schema": SCHEMA, "done": True, **more})
