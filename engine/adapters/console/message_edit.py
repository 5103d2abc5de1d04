"""Edit and resend: a message as text, what is different before it is sent, and the new one, linked to the first."""

import asyncio
import secrets
from typing import Annotated, Final

from pydantic import Field
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import LINE, RunKey, SeqPath
from engine.adapters.api.on_edits import MOST_RAW, edit_of, may_edit, sent
from engine.adapters.api.on_messages import note_reading
from engine.adapters.api.problems import Problem
from engine.adapters.console.flow import Difference
from engine.adapters.console.rendering import page, see_other
from engine.adapters.console.values import parts
from engine.config.codes import CODES
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.retyped import NotTyped, from_text, to_text
from engine.ports.store import StoredMessage

MOST_FORM: Final = 4 << 20
"""A character may take nine bytes in a form."""
MOST_SHOWN: Final = 200

Text = Annotated[str, Field(max_length=MOST_RAW)]
Reason = Annotated[str, Field(max_length=500, pattern=LINE)]


class EditForm(ApiModel):
    text: Text
    keep_id: bool = False


class SendForm(EditForm):
    plan: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    reason: Reason = ""
    key: RunKey = ""


async def begin(call: Call) -> Response:
    """The message in a text box; a reading of it."""
    stored = await may_edit(call)
    text = await asyncio.to_thread(_text_of, stored, _fallback(call, stored))
    await note_reading(call, [stored.seq])
    return _form(call, stored, text, "", keep_id=False)


def _fallback(call: Call, stored: StoredMessage) -> str:
    """The codec that its channel reads with where nothing else is known."""
    found = (one.file.charset.fallback for one in call.api.site().channels if one.name == stored.channel)
    return next(found, "cp1252")


def _text_of(stored: StoredMessage, fallback: str) -> str:
    assert stored.raw is not None, "may_edit has seen it"
    try:
        return to_text(Message.parse(stored.raw, fallback=fallback))
    except (NotTyped, UnreadableMessage) as error:
        raise Problem(409, "E510", error.reason) from None


def _form(call: Call, stored: StoredMessage, text: str, wrong: str, *, keep_id: bool) -> Response:
    return page(
        call,
        "message_edit.html",
        title=f"Edit message {stored.seq}",
        status=422 if wrong else 200,
        help="console#message",
        m=stored,
        text=text,
        keep_id=keep_id,
        wrong=wrong,
        rows=min(40, text.count("\n") + 3),
    )


async def plan(call: Call) -> Response:
    """What is different, field by field; nothing is sent. A reading, as it shows what was there before."""
    form = call.the_body(EditForm)
    stored = await may_edit(call)
    await note_reading(call, [stored.seq])
    try:
        raw = await asyncio.to_thread(_raw_of, stored, form.text, _fallback(call, stored))
        edit = await asyncio.to_thread(lambda: edit_of(stored, raw, keep_id=form.keep_id))
    except (NotTyped, Problem) as error:
        return _form(call, stored, form.text, _said(error), keep_id=form.keep_id)
    shown = [
        Difference(c.path, None if c.before is None else parts(c.before), None if c.after is None else parts(c.after))
        for c in edit.changes[:MOST_SHOWN]
    ]
    return page(
        call,
        "message_edit_plan.html",
        title=f"Send message {stored.seq} as edited",
        help="console#message",
        m=stored,
        text=form.text,
        keep_id=form.keep_id,
        plan=edit.digest,
        changes=shown,
        more=max(0, len(edit.changes) - MOST_SHOWN),
        key=secrets.token_hex(8),
    )


async def send(call: Call) -> Response:
    """As a new message, once; where its channel does not take it, the text again with the reason."""
    form = call.the_body(SendForm)
    stored = await may_edit(call)
    try:
        raw = await asyncio.to_thread(_raw_of, stored, form.text, _fallback(call, stored))
        report = await sent(call, raw, form.plan, form.reason.strip(), form.key, keep_id=form.keep_id)
    except (NotTyped, Problem) as error:
        if isinstance(error, Problem) and error.code not in ("E511", "E479"):
            raise
        return _form(call, stored, form.text, _said(error), keep_id=form.keep_id)
    if not report.made:
        reason = report.left[0].reason if report.left else "the engine did not say why"
        return _form(call, stored, form.text, f"Nothing was sent: {reason}", keep_id=form.keep_id)
    said = f"Sent as message {report.made[0]}, made of message {stored.seq}."
    if report.left:
        said += f" {report.left[0].reason[0].upper()}{report.left[0].reason[1:]}."
    return see_other(call, f"/messages/{report.made[0]}", said, "warn" if report.left else "ok")


def _raw_of(stored: StoredMessage, text: str, fallback: str) -> bytes:
    assert stored.raw is not None, "may_edit has seen it"
    try:
        return from_text(Message.parse(stored.raw, fallback=fallback), text)
    except UnreadableMessage as error:
        raise Problem(409, "E510", error.reason) from None


def _said(error: NotTyped | Problem) -> str:
    if isinstance(error, NotTyped):
        if error.location and "character that" in error.reason:
            return f"{error}: name another set in MSH-18, such as UNICODE UTF-8, or write it otherwise"
        return str(error)[0].upper() + str(error)[1:]
    return error.detail or CODES[error.code].title


PAGES: Final = (
    Page(
        "POST",
        "/messages/{seq}/edit",
        "operate",
        "channel",
        "A message in a text box",
        begin,
        "messages",
        path_model=SeqPath,
        record="read",
    ),
    Page(
        "POST",
        "/messages/{seq}/edit/plan",
        "operate",
        "channel",
        "What an edited message has otherwise",
        plan,
        "messages",
        path_model=SeqPath,
        body=EditForm,
        record="read",
        most_body=MOST_FORM,
    ),
    Page(
        "POST",
        "/messages/{seq}/edit/send",
        "operate",
        "channel",
        "Send an edited message as a new one",
        send,
        "messages",
        path_model=SeqPath,
        body=SendForm,
        record="edit",
        most_body=MOST_FORM,
        timeout_s=75.0,
    ),
)
