"""One-time codes of whoever is signed in: set up, confirmed by a first code, taken off.

The secret and the recovery codes are shown in the answer to the form that made them, and nowhere else: there is no
address at which they could be looked at again.
"""

import re
from typing import Final

from starlette.responses import Response

from engine.adapters.api.entries import Call, Page
from engine.adapters.api.models_second_factor import (
    DropSecondFactor,
    OneCode,
    OnePassword,
    RecoveryCodes,
    SecondFactorBegun,
)
from engine.adapters.api.on_session import (
    begin_second_factor,
    drop_second_factor,
    end_second_factor,
    second_factor,
)
from engine.adapters.api.problems import Problem
from engine.adapters.api.second_factor import PENDING_S
from engine.adapters.console.rendering import page, see_other
from engine.adapters.console.sign_in import SMALL
from engine.config.codes import CODES

PATH: Final = "/one-time-codes"


async def _shown(
    call: Call,
    *,
    begun: SecondFactorBegun | None = None,
    is_unconfirmed: bool = False,
    made: RecoveryCodes | None = None,
    wrong: str = "",
    status: int = 200,
) -> Response:
    """`begun`: the secret, this once; `made`: the recovery codes, this once; `is_unconfirmed`: a code is to come."""
    now = await second_factor(call)
    return page(
        call,
        "one_time_codes.html",
        title="One-time codes",
        status=status,
        is_on=now.on,
        left=now.recovery_left,
        secret="" if begun is None else in_groups(begun.secret),
        uri="" if begun is None else begun.uri,
        minutes=int(PENDING_S / 60),
        is_unconfirmed=is_unconfirmed,
        recovery=[] if made is None else made.codes,
        wrong=wrong,
    )


def in_groups(secret: str) -> str:
    """To be read while it is typed: apps take it with blanks."""
    return " ".join(re.findall(".{1,4}", secret))


def told(problem: Problem) -> str:
    """A sentence, for the form that was refused."""
    title = CODES[problem.code].title
    text = problem.detail if problem.code in ("E481", "E485") and problem.detail else title
    text += f": {problem.detail}" if problem.detail and text == title else ""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"


async def show(call: Call) -> Response:
    return await _shown(call)


async def begin(call: Call) -> Response:
    """The secret is in the answer, this once; it counts when a code of it was given."""
    try:
        begun = await begin_second_factor(call)
    except Problem as problem:
        return await _refused(call, problem)
    return await _shown(call, begun=begun, is_unconfirmed=True)


async def confirm(call: Call) -> Response:
    """The recovery codes are in the answer, this once. A code that is wrong may be given again."""
    try:
        made = await end_second_factor(call)
    except Problem as problem:
        return await _refused(call, problem, is_unconfirmed=problem.code == "E579")
    return await _shown(call, made=made)


async def turn_off(call: Call) -> Response:
    """The password is enough from now on."""
    try:
        await drop_second_factor(call)
    except Problem as problem:
        return await _refused(call, problem)
    return see_other(call, PATH, "Signing in asks for no one-time code any more.")


async def _refused(call: Call, problem: Problem, *, is_unconfirmed: bool = False) -> Response:
    if problem.code == "E475":
        raise problem
    # Not 401, as of signing in: who asks is signed in, and stays so.
    status = 422 if problem.status == 401 else problem.status
    answer = await _shown(call, wrong=told(problem), status=status, is_unconfirmed=is_unconfirmed)
    if "retry-after" in problem.headers:
        answer.headers["retry-after"] = problem.headers["retry-after"]
    return answer


PAGES: Final = (
    Page("GET", PATH, "self", "site", "One's own one-time codes", show, "session"),
    Page(
        "POST",
        PATH,
        "self",
        "site",
        "Begin to set up one-time codes",
        begin,
        "session",
        body=OnePassword,
        record="second-factor-begin",
        most_body=SMALL,
    ),
    Page(
        "POST",
        f"{PATH}/confirm",
        "self",
        "site",
        "Set up one-time codes, with a first one",
        confirm,
        "session",
        body=OneCode,
        record="second-factor-on",
        most_body=SMALL,
    ),
    Page(
        "POST",
        f"{PATH}/off",
        "self",
        "site",
        "Ask for no one-time codes any more",
        turn_off,
        "session",
        body=DropSecondFactor,
        record="second-factor-off",
        most_body=SMALL,
    ),
)
