r"""Acknowledgements: which are due, how they are built, how a received one is read.

HL7 v2.5.1 sections 2.9.2 (original mode), 2.9.3 (enhanced mode), 2.14.1 (ACK); spec items 13, 16 to 37.
An ACK's MSH is made anew. What it takes from the message it takes as raw text, in the message's own delimiters
and character set, so nothing is unescaped and escaped on the way.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from engine.hl7.charset import KEEP_BYTES, encoded, is_transparent, text_of
from engine.hl7.delimiters import STANDARD, Delimiters
from engine.hl7.err import AckError, error_segments, first_condition, safe_text
from engine.hl7.errors import Notice, UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.output import encode_exactly
from engine.hl7.path import compile_path
from engine.hl7.version import DEFAULT_VERSION, Version, parse_version

__all__ = [
    "Ack",
    "AckError",
    "accept_code",
    "answers",
    "application_code",
    "build_ack",
    "condition_notices",
    "control_id_bytes",
    "is_enhanced",
    "read_ack",
]

Decision = Literal["accept", "error", "reject"]
Mode = Literal["auto", "original", "enhanced"]

CODES = ("AA", "AE", "AR", "CA", "CE", "CR")
"""Table 0008."""

_LONGEST_SEARCHED_BYTES = 4096
_HEADER_REJECTIONS = ("200", "201", "202", "203")
_ACK_TYPES = ("ACK", "MCF")
_CONDITIONS = ("AL", "NE", "ER", "SU")
_SWITCHINGS = ("ISO 2022-1994", "2.3")  # table 0356: how the sets of MSH-18 are switched

_APPLICATION: dict[Decision, str] = {"accept": "AA", "error": "AE", "reject": "AR"}


class Ack(NamedTuple):
    """A received acknowledgement. `control_id` is MSA-2 byte for byte; `hl7_code` the first table 0357 code, or ''."""

    code: str
    control_id: bytes
    hl7_code: str
    text: str


def answers(message: Message | None, decision: Decision, hl7_code: str = "", mode: Mode = "auto") -> list[str]:
    """The acknowledgement codes due for a message, in the order in which they are sent; [] for silence.

    Original mode: one application code. Enhanced mode (MSH-15 or MSH-16 valued, or `mode` says so): the accept
    level by MSH-15, then, unless that was negative, the application level by MSH-16 on the same connection;
    an empty one of the two is NE, an unknown one AL. CR is for MSH-9, 11 and 12 alone (codes 200 to 203), CE for
    any other refusal. A sender that is said to be enhanced but asks for nothing gets the accept level. An ACK is
    never answered at application level: that would go on for ever.
    """
    application = _APPLICATION[decision]
    if message is None:
        return [application]
    is_ack = _header_value(message, 9) in _ACK_TYPES
    accept_when, application_when = ("", "") if mode == "original" else _conditions(message)
    if mode != "enhanced" and not (accept_when or application_when):
        return [] if is_ack else [application]
    if not accept_when and not application_when:
        accept_when = "AL"
    accept = "CA" if decision == "accept" else "CR" if hl7_code in _HEADER_REJECTIONS else "CE"
    due = [accept] if _is_due(accept_when, decision) else []
    if not is_ack and due in ([], ["CA"]) and _is_due(application_when, decision):
        due.append(application)
    return due


def accept_code(message: Message, decision: Decision, hl7_code: str = "", mode: Mode = "auto") -> str:
    """The accept level's part of `answers` alone: CA, CE or CR; '' where none is due, and in original mode."""
    due = answers(message, decision, hl7_code, mode)
    return due[0] if due and due[0][0] == "C" else ""


def application_code(message: Message, decision: Decision, mode: Mode = "auto") -> str:
    """What is due at application level, apart from any accept level before it: AA, AE or AR, or '' for nothing.

    For an application that answers later than the accept level, and may say no after CA (spec item 22).
    """
    application = _APPLICATION[decision]
    if _header_value(message, 9) in _ACK_TYPES:
        return ""
    accept_when, application_when = ("", "") if mode == "original" else _conditions(message)
    if not (accept_when or application_when):
        return "" if mode == "enhanced" else application
    return application if _is_due(application_when, decision) else ""


def is_enhanced(message: Message) -> bool:
    """Whether the sender chose enhanced mode: MSH-15 or MSH-16 is valued (spec item 16)."""
    return any(_conditions(message))


def condition_notices(message: Message) -> tuple[Notice, ...]:
    """What is odd about MSH-15 and MSH-16: values outside table 0155 (spec item 17)."""
    text = "the value is not in table 0155 and is taken as AL"
    return tuple(
        Notice("W330", text, place, "103")
        for place, value in zip(("MSH-15", "MSH-16"), _conditions(message), strict=True)
        if value and value not in _CONDITIONS
    )


def build_ack(
    message: Message | None,
    code: str,
    *,
    errors: Sequence[AckError] = (),
    now: datetime,
    control_id: str,
    own: tuple[str, str] = ("SEGMILL", ""),
    sequence: int | None = None,
    accept_when: str = "NE",
) -> bytes:
    """The acknowledgement of `message` with `code`; `None` answers something in which no message was found.

    `now` is aware and gives MSH-7 with its offset; `control_id` is the ACK's own MSH-10, unique; `own` stands in
    for a missing MSH-5 and MSH-6. `errors` become ERR and MSA-3 in the form of the message's version. `sequence` is
    MSA-4, where the sender uses the sequence number protocol (item 64). `accept_when` is MSH-15 of an application
    acknowledgement in enhanced mode: AL where it goes over a connection of its own and is to be accepted there. Never
    raises for any message that `Message.parse` gives: characters of `errors` that its charset lacks become '?'.
    """
    if message is None:
        return _for_unreadable(code, errors, now, control_id, own)
    d = message.delimiters
    f = d.field
    msh = message.fields(0)
    if len(msh) < 19:
        msh = msh + [""] * (19 - len(msh))
    is_message = msh[0] == "MSH"
    version_text = msh[12] if is_message else ""
    version = _version(version_text, d)
    original = msh[10] if is_message else ""
    enhanced = accept_when if is_message and code[0] == "A" and (msh[15] or msh[16]) else ""
    declared = msh[18] if is_message else ""
    sender = f"{msh[5] or safe_text(own[0], d)}{f}{msh[6] or safe_text(own[1], d)}"
    message_type = _message_type(msh[9], version, d) if is_message else "ACK"
    processing = (is_message and msh[11]) or "P"
    header = (
        f"MSH{f}{d.written}{f}{sender}{f}{msh[3]}{f}{msh[4]}{f}{_timestamp(now)}{f}{f}{message_type}{f}{control_id}{f}"
        f"{processing}{f}{version_text or '2.5.1'}"
    )
    if declared:
        header += f"{f}{f}{f}{enhanced}{f}{'NE' if enhanced else ''}{f}{f}{declared}"
        if len(msh) > 20 and msh[20] in _SWITCHINGS:
            header += f"{f}{f}{msh[20]}"
    elif enhanced:
        header += f"{f}{f}{f}{enhanced}{f}NE"
    tail = "\r" if not errors and sequence is None else _after_control_id(code, errors, version, d, message, sequence)
    lead = f"{header}\rMSA{f}{code}{f}"
    try:
        return f"{lead}{original}{tail}".encode("ascii")
    except UnicodeEncodeError:
        codec = message.codec
        return _encoded(lead, codec) + _control_id_bytes(message, original, codec) + _encoded(tail, codec)


def control_id_bytes(message: Message) -> bytes:
    """MSH-10 byte for byte as it was received, b'' where there is none: what MSA-2 of an answer is (item 32)."""
    msh = message.fields(0)
    original = msh[10] if len(msh) > 10 and msh[0] == "MSH" else ""
    return _control_id_bytes(message, original, message.codec) if original else b""


def read_ack(raw: bytes) -> Ack | None:
    """What a reply says; None when it holds no MSA with a code of table 0008.

    Tolerant of what stands around it: LF for CR, a BOM, a missing MSH. MSA-2 is as it stands, uncut.
    """
    at = 0
    if not raw.startswith(b"MSA"):
        at = raw.find(b"\rMSA") + 1 or raw.find(b"\nMSA") + 1
        if not at:
            return None
    end = raw.find(b"\r", at)
    line = raw[at:end] if end >= 0 else raw[at:]
    if b"\n" in line:
        line = line.partition(b"\n")[0]
    separator = line[3:4]
    if not separator or separator.isalnum():
        return None
    if separator >= b"\x80":
        return _with_wide_separator(raw)
    parts = line.split(separator, 3)
    code = parts[1].strip().decode("ascii", "replace").upper()
    if code not in CODES:
        return None
    control_id = parts[2] if len(parts) > 2 else b""
    if code[1] == "A":
        return Ack(code, control_id, "", "")
    return _negative(raw, code, control_id)


def _with_wide_separator(raw: bytes) -> Ack | None:
    """An acknowledgement whose field separator takes more than one byte."""
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        return None
    code = (message.get("MSA-1") or "").strip().upper()
    control_id = _encoded(compile_path("MSA-2").raw(message) or "", message.codec)
    if code not in CODES:
        return None
    return Ack(code, control_id, "", "") if code[1] == "A" else _negative(raw, code, control_id)


def _negative(raw: bytes, code: str, control_id: bytes) -> Ack:
    """Why: MSA-3 or ERR-8, and the code of ERR-3, ERR-1 or MSA-6."""
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        return Ack(code, control_id, "", "")
    hl7_code = message.get("ERR-3.1") or message.get("ERR-1.4.1") or message.get("MSA-6.1") or ""
    text = message.get("MSA-3") or message.get("ERR-8") or message.get("ERR-3.2") or ""
    return Ack(code, control_id, hl7_code, text)


def _conditions(message: Message) -> tuple[str, str]:
    """MSH-15 and MSH-16, trimmed."""
    return _header_value(message, 15).strip(), _header_value(message, 16).strip()


def _header_value(message: Message, number: int) -> str:
    """What stands first in a field of MSH, unescaped; '' for absent."""
    msh = message.fields(0)
    if msh[0] == "MSH":
        text = msh[number] if number < len(msh) else ""
        if not text or (text := text.partition(message.delimiters.cut_component)[0]).isalnum():
            return text
    return message.get(f"MSH-{number}") or ""


def _is_due(condition: str, decision: Decision) -> bool:
    match condition:
        case "" | "NE":
            return False
        case "ER":
            return decision != "accept"
        case "SU":
            return decision == "accept"
        case _:
            return True


def _version(text: str, d: Delimiters) -> Version:
    return parse_version(text.partition(d.cut_component)[0]) if text else DEFAULT_VERSION


def _message_type(inbound: str, version: Version, d: Delimiters) -> str:
    """MSH-9: `ACK` up to 2.2, `ACK^A01` in 2.3, `ACK^A01^ACK` from 2.3.1; `ACK` alone without an event (item 28)."""
    if version < (2, 3, 0) or not d.component:
        return "ACK"
    parts = inbound.partition(d.cut_repetition)[0].split(d.component, 2)
    if len(parts) < 2 or not parts[1]:
        return "ACK"
    if version < (2, 3, 1):
        return f"ACK{d.component}{parts[1]}"
    return f"ACK{d.component}{parts[1]}{d.component}ACK"


def _timestamp(now: datetime) -> str:
    """`20260301101500+0100`."""
    return _second(now.year, now.month, now.day, now.hour, now.minute, now.second, now.utcoffset())


@lru_cache(maxsize=8)  # a busy engine sends many answers in one second
def _second(year: int, month: int, day: int, hour: int, minute: int, second: int, offset: timedelta | None) -> str:
    zone = ""
    if offset is not None:
        minutes = int(offset.total_seconds() / 60)
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    return f"{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{zone}"


def _after_control_id(
    code: str,
    errors: Sequence[AckError],
    version: Version,
    d: Delimiters,
    message: Message | None,
    sequence: int | None = None,
) -> str:
    """The rest of MSA, and ERR. MSA-3 is withdrawn in 2.7; MSA-6 says in 2.2 to 2.4 what ERR-3 says later."""
    is_negative = bool(errors) and code[1] != "A"
    f = d.field
    rest = ""
    if is_negative and version < (2, 7, 0):
        rest = f"{f}{safe_text(errors[0].text, d)}" if errors[0].text else ""
    expected = "" if sequence is None else str(sequence)
    if is_negative and (2, 2, 0) <= version < (2, 5, 0):
        rest = f"{rest or f}{f}{expected}{f}{f}{first_condition(errors, d)}"
    elif expected:
        rest = f"{rest or f}{f}{expected}"
    if not errors:
        return rest + "\r"
    return rest + "\r" + error_segments(errors, version, d, message, is_negative=is_negative)


def _for_unreadable(
    code: str, errors: Sequence[AckError], now: datetime, control_id: str, own: tuple[str, str]
) -> bytes:
    """A minimal answer to what holds no header at all (spec item 36)."""
    found = errors or (AckError("100", "error", "", "no HL7 message could be found in what was received"),)
    sender = f"{safe_text(own[0], STANDARD)}|{safe_text(own[1], STANDARD)}"
    header = f"MSH|^~\\&|{sender}|||{_timestamp(now)}||ACK|{control_id}|P|2.5.1\r"
    rest = _after_control_id(code, found, DEFAULT_VERSION, STANDARD, None)
    return _encoded(f"{header}MSA|{code}|{rest}", "ascii")


def _encoded(text: str, codec: str) -> bytes:
    exact = encode_exactly(text, codec)
    if exact is not None:
        return exact
    foreign = [c for c in set(text) if encode_exactly(c, codec) is None]
    return encoded(text.translate(dict.fromkeys(map(ord, foreign), "?")), codec, KEEP_BYTES)


def _control_id_bytes(message: Message, original: str, codec: str) -> bytes:
    """MSH-10 byte for byte (item 32), also where the charset can write its characters in another way."""
    as_now = _encoded(original, codec)
    header = message.raw_header
    if is_transparent(codec) or original.isascii() or len(header) > _LONGEST_SEARCHED_BYTES:
        return as_now
    fields = message.fields(0)
    separator = encoded(message.delimiters.field, codec)
    before = message.delimiters.field.join([fields[0], *fields[2:10], ""])
    # A separator's byte may also be the second half of a character: only decoding tells.
    cuts = [i for i in range(len(header)) if header.startswith(separator, i)]
    for at in cuts:
        start = at + len(separator)
        if text_of(header[:start], codec) == before:
            ends = [cut for cut in cuts if cut >= start] + [len(header)]
            return next((header[start:end] for end in ends if text_of(header[start:end], codec) == original), as_now)
    return as_now
