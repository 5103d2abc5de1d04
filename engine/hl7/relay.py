"""A functional answer (RSP, ORR, ORL, MFK ...) on its way back from the system that gave it to the one that asked.

It is passed on as it stands, byte for byte, but for MSA-2: that must be the control id that the asking system knows
(HL7 v2.5.1 section 2.9.2.1; spec items 24 and 32).
"""

from engine.hl7.ack import read_ack
from engine.hl7.charset import bytes_of
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message

GENERAL_ACKS = ("ACK", "MCF")


def functional_answer(raw: bytes, asked: Message) -> bytes:
    """`raw` as the answer to `asked`; b'' where it is a general acknowledgement, or no message at all."""
    told = read_ack(raw) if raw else None
    if told is None:
        return b""
    try:
        answer = Message.parse(raw)
    except UnreadableMessage:
        return b""
    if (answer.get("MSH-9.1") or "ACK") in GENERAL_ACKS:
        return b""
    header = asked.fields(0)
    control_id = bytes_of(header[10], asked.codec) if len(header) > 10 else b""
    return raw if control_id == told.control_id else _with_control_id(raw, control_id)


def _with_control_id(raw: bytes, control_id: bytes) -> bytes:
    """MSA-2 replaced. The separator is ASCII in all that `read_ack` takes apart as bytes; else it is left alone."""
    at = raw.find(b"\rMSA") + 1 or raw.find(b"\nMSA") + 1
    separator = raw[at + 3 : at + 4]
    if not at or separator >= b"\x80":
        return b""
    ends = [end for end in (raw.find(b"\r", at), raw.find(b"\n", at)) if end >= 0]
    end = min(ends, default=len(raw))
    fields = raw[at:end].split(separator)
    fields[2:3] = [control_id]
    return raw[:at] + separator.join(fields) + raw[end:]
