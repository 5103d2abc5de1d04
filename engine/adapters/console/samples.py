"""Messages as text in a form, and back to bytes: segments on lines of their own, in the charset that MSH-18 says."""

from typing import Final

from engine.hl7.charset import KEEP_BYTES, codec_named, encoded, is_transparent
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message

HEADERS: Final = ("MSH", "FHS", "BHS")
VT, FS = "\x0b", "\x1c"


def sample_bytes(text: str) -> bytes:
    """What a person typed or pasted, as it would come in a block. A framed one loses its frame."""
    text = text.strip(VT).rstrip("\n").rstrip(FS).rstrip("\r\n" + FS)
    is_hl7 = text.startswith(HEADERS)
    if not text:
        return b""
    if is_hl7:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r") + "\r"
    return _encoded(text, _declared(text) if is_hl7 else "")


def _declared(text: str) -> str:
    """MSH-18 as it stands, its first repetition."""
    fields = text.split("\r", 1)[0].split(text[3:4])
    declared = fields[17] if len(fields) > 17 else ""
    repetition = text[5:6]
    return declared.split(repetition)[0] if repetition.strip() else declared


def _encoded(text: str, declared: str) -> bytes:
    codec = codec_named(declared) if declared else None
    if codec is not None and is_transparent(codec):
        try:
            return encoded(text, codec, KEEP_BYTES)
        except UnicodeError:
            pass  # a character that the charset lacks: UTF-8 has it, and the channel says what it makes of that
    return text.encode("utf-8", KEEP_BYTES)


def sample_text(raw: bytes) -> str:
    """A message as lines, in its own charset where it can be read. What no form can carry is written as an escape."""
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        text = raw.decode("ascii", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    else:
        text = "\n".join(message.segment(index) for index in range(len(message)))
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
