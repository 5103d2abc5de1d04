"""Support bundles by the API, and what its pages call: for admins of the site, on record when made and when taken."""

from starlette.responses import Response

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.api.support_jobs import JobState, UnderWay

ZIP = "application/zip"
MADE = "support-bundle"


class SupportState(ApiModel):
    """`files`: what is in it, so far while it `is_running`. `size`: of the one that can be taken; 0: there is none."""

    is_running: bool
    files: list[str]
    failed: str
    by: str
    size: int


def state_now(call: Call) -> JobState:
    return call.api.support.state(call.api.clock.monotonic())


async def start_bundle(call: Call) -> None:
    """Raises Problem where one is being made, or none can be."""
    jobs = call.api.support
    if not jobs.is_possible:
        raise Problem(409, "E590", "this engine was not started by segmill run: use segmill support-bundle")
    if state_now(call).is_running:
        raise Problem(409, "E589")
    record = call.api.control.put_on_record(call.by(), MADE, about=["a support bundle"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    try:
        jobs.start(call.who.name, call.api.clock.now_us(), call.api.clock.monotonic())
    except UnderWay:
        raise Problem(409, "E589") from None


async def take_bundle(call: Call) -> Response:
    """The file; on record before it is sent. Raises Problem where there is none."""
    found = state_now(call).bundle
    if found is None:
        raise not_there()
    record = call.api.control.put_on_record(call.by(), "export", about=["a support bundle"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    headers = {"content-disposition": f'attachment; filename="{found.file_name}"'}
    return Response(found.content, media_type=ZIP, headers=headers)


async def start(call: Call) -> SupportState:
    await start_bundle(call)
    return await state(call)


async def state(call: Call) -> SupportState:
    now = state_now(call)
    made = now.bundle
    return SupportState(
        is_running=now.is_running,
        files=list(now.names),
        failed=now.failed,
        by=made.by if made is not None else "",
        size=len(made.content) if made is not None else 0,
    )
