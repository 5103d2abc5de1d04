"""What is recorded of a message beside its bytes: whose it is, its id and its type, cut and made printable."""

from typing import TYPE_CHECKING

from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.mllp.framing import END, VT
from engine.model.envelope import Intake

if TYPE_CHECKING:
    from engine.runtime.channels import RunningChannel

MOST_SENDER = 120
MOST_CONTROL_ID = 199
MOST_TYPE = 40


def read_or_none(raw: bytes, fallback: str) -> Message | None:
    """The message in `raw`, where somebody only asks whose it is; None where there is none."""
    try:
        return Message.parse(raw, fallback=fallback)
    except UnreadableMessage:
        return None


def record_of(
    channel: "RunningChannel",
    receive_id: bytes,
    raw: bytes,
    message: Message,
    sender: str,
    control_id: str,
    body_hash: bytes,
    peer: str,
    now_us: int,
) -> Intake:
    """The record of a message of this channel; its state, answer and deliveries are to follow."""
    return Intake(
        receive_id,
        channel.name,
        channel.version,
        now_us,
        sender,
        peer,
        type_of(message),
        control_id,
        body_hash,
        raw,
        "received",
    )


def framed(payload: bytes) -> bytes:
    """An answer as it goes on the wire; b'' where none is due. Several answers in one are already separated."""
    return VT + payload + END if payload else b""


def sender_of(message: Message) -> str:
    """MSH-3 and MSH-4 as `APP|FACILITY`: whose a control id is (hl7.md item 68)."""
    fields = message.fields(0)
    if len(fields) < 5:
        return "|"
    return printable(f"{fields[3]}|{fields[4]}", MOST_SENDER)


def control_id_of(message: Message) -> str:
    """MSH-10 as it stands, '' where there is none."""
    fields = message.fields(0)
    return printable(fields[10], MOST_CONTROL_ID) if len(fields) > 10 and fields[0] == "MSH" else ""


def type_of(message: Message) -> str:
    """MSH-9 as `ADT^A01`, whatever the delimiters."""
    fields = message.fields(0)
    if len(fields) < 10 or fields[0] != "MSH":
        return ""
    parts = fields[9].split(message.delimiters.cut_component, 2)
    return printable("^".join(parts[:2]), MOST_TYPE)


def printable(text: str, most: int) -> str:
    """Text as a store, a log and a terminal can hold it: cut, and without control characters and lone surrogates."""
    if len(text) <= most and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text[:most])
