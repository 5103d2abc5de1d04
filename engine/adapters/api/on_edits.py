"""An edited message: what it has otherwise than the one it was made of, and sending it as a new one, linked to that."""

import asyncio
import base64
import binascii
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from engine.adapters.api.edit_models import ChangeShown, EditBody, EditOrderBody, EditPlan
from engine.adapters.api.entries import Call
from engine.adapters.api.models import Report
from engine.adapters.api.on_messages import note_reading, stored_of
from engine.adapters.api.on_orders import begun, key_of, reported
from engine.adapters.api.problems import Problem
from engine.hl7.errors import Hl7Error
from engine.hl7.message import Message
from engine.hl7.retyped import NotTyped, with_id
from engine.pipeline.compare import Change, changes
from engine.ports.control import Order
from engine.ports.store import StoredMessage

MOST_CHANGES: Final = 1000
MOST_RAW: Final = 1 << 20
"""Bytes of a message that is edited here; a longer one is edited in a file (`segmill replay SEQ --edited FILE`)."""


@dataclass(slots=True, frozen=True)
class Edit:
    """`raw`: as it was edited, with the control id that stands in it; `changes`: against the original."""

    stored: StoredMessage
    raw: bytes
    changes: list[Change]
    keep_id: bool

    @property
    def digest(self) -> str:
        told = repr((self.stored.seq, self.stored.raw, self.raw, self.keep_id))
        return sha256(told.encode()).hexdigest()


async def plan(call: Call) -> EditPlan:
    """A reading of the original: it is on record before its values are given."""
    body = call.the_body(EditBody)
    stored = await may_edit(call)
    edit = await asyncio.to_thread(edit_of, stored, _bytes(body.raw), keep_id=body.keep_id)
    await note_reading(call, [stored.seq])
    return EditPlan(
        plan=edit.digest,
        changes=[ChangeShown(path=c.path, before=c.before, after=c.after) for c in edit.changes[:MOST_CHANGES]],
        more=max(0, len(edit.changes) - MOST_CHANGES),
    )


async def send(call: Call) -> Report:
    body = call.the_body(EditOrderBody)
    return await sent(call, _bytes(body.raw), body.plan, body.reason, body.key, keep_id=body.keep_id)


async def may_edit(call: Call) -> StoredMessage:
    """The message with its bytes, if the one who asks may read and send it. Raises Problem."""
    stored = await stored_of(call)
    call.require("read", stored.channel)
    call.require("operate", stored.channel)
    if stored.raw is None:
        raise Problem(409, "E510", "its bytes are no longer kept")
    if len(stored.raw) > MOST_RAW:
        raise Problem(409, "E510", f"it is longer than {MOST_RAW} bytes: segmill replay {stored.seq} --edited FILE")
    return stored


def edit_of(stored: StoredMessage, raw: bytes, *, keep_id: bool) -> Edit:
    """Raises Problem where there is nothing to send. A control id of its own alone is no edit."""
    assert stored.raw is not None
    if len(raw) > MOST_RAW:
        raise Problem(413, "E477", f"an edited message has at most {MOST_RAW} bytes here")
    try:
        before, after = Message.parse(stored.raw), Message.parse(raw)
    except Hl7Error:
        raise Problem(422, "E511", "it cannot be read as HL7") from None
    if raw in (stored.raw, before.to_bytes()):
        raise Problem(422, "E511", "nothing is different in it: to send the same bytes again, resend it")
    return Edit(stored, raw, changes(before, after), keep_id)


async def sent(call: Call, raw: bytes, plan: str, reason: str, key: str, *, keep_id: bool) -> Report:
    """The edited message as a new one, linked to its original; once under a key, with the same control id."""
    run = call.api.runs.of(call.who.name, key, plan)
    if run is not None:
        await may_edit(call)
        return await reported(run, is_again=True)
    stored = await may_edit(call)
    edit = await asyncio.to_thread(edit_of, stored, raw, keep_id=keep_id)
    if edit.digest != plan:
        raise Problem(409, "E479")
    own_key = key_of(call, key)
    if not keep_id:
        try:
            raw = with_id(raw, f"E{(own_key or secrets.token_hex(8))[:15].upper()}")
        except NotTyped as error:
            raise Problem(422, "E511", str(error)) from None
    by = call.by(reason, f"edit {stored.seq}", own_key)
    return await reported(begun(call, key, plan, Order("edit", by, messages=[stored.seq], raw=raw)))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Problem(422, "E476", "body: raw: it is no Base64") from None
