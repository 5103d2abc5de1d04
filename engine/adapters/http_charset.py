"""HL7 over HTTP says in its header what character set a body has; HL7 itself says it in MSH-18, or not at all.

HL7 over HTTP 2.4: the charset of Content-Type counts, and MSH-18 is ignored. A stored message has no header beside
it, so where the two would be read differently, the body is written anew in the set that its MSH-18 names, or in
UTF-8, which is recognised by what it is. Nothing else of it changes, and mostly nothing changes at all.
"""

import codecs
from collections.abc import Iterator, Mapping
from typing import Final

from engine.hl7.charset import codec_named, text_of
from engine.hl7.convert import Form
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message

MEDIA_TYPE: Final = "application/hl7-v2"
MEDIA_TYPES: Final = frozenset({MEDIA_TYPE, f"{MEDIA_TYPE}+er7", "x-application/hl7-v2+er7"})
"""Of messages with delimiters: as the specification has it, as its later form has it, and as others write it."""

MEDIA_TYPE_OF: Final[Mapping[Form, str]] = {
    "hl7": MEDIA_TYPE,
    "xml": f"{MEDIA_TYPE}+xml",
    "json": "application/json",
}
"""Of a message in its form: of XML as HL7 over HTTP 2.2 has it; JSON is our own, and has the type of all JSON."""

_WIDE: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_IANA: Final = {"ascii": "us-ascii", "cp1252": "windows-1252", "gb18030": "gb18030", "mac-roman": "macintosh"}


def codec_of(charset: str) -> str | None:
    """Python's codec for a charset parameter; None for what is no set that messages are written in."""
    if (known := codec_named(charset)) is not None:
        return known
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    return name if name in _WIDE else None


def charset_name(codec: str) -> str:
    """What the charset parameter calls a codec; '' for sets that MSH-18 switches between, which have no name there."""
    if ":" in codec:
        return ""
    name = codec.lower().replace("_", "-")
    if name.startswith("iso8859-"):
        return "iso-8859-" + name.removeprefix("iso8859-")
    if name.startswith("cp125"):
        return f"windows-{name[2:]}"
    return _IANA.get(name, name)


def text_codec(body: bytes) -> str:
    """How a message is read here: the codec that its MSH-18 and its bytes come to; ASCII for what is no message."""
    try:
        return Message.parse(body).codec
    except UnreadableMessage:
        return "ascii"


def as_stored(body: bytes, charset: str) -> bytes:
    """The body so that it is read without its header as the header says; where the header is wrong, as it came."""
    codec = codec_of(charset)
    if codec is None or (codec not in _WIDE and body.isascii()):
        return body
    try:
        text = body.decode(codec).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return body  # the bytes are the better witness
    if _reads_as(body, text):
        return body
    in_utf8 = text.encode("utf-8", "surrogatepass")
    for candidate in _in_its_own_set(in_utf8, text):
        if _reads_as(candidate, text):
            return candidate
    return in_utf8


def _in_its_own_set(in_utf8: bytes, text: str) -> Iterator[bytes]:
    """The text in the set that its MSH-18 names, where it has one that has these characters."""
    try:
        codec = codec_named(Message.parse(in_utf8).charset.declared)
        if codec is not None:
            yield text.encode(codec)
    except (UnreadableMessage, UnicodeEncodeError):
        return


def _reads_as(body: bytes, text: str) -> bool:
    """Whether it is read so by what it says of itself: a guess may be another one in a channel, or be refused there."""
    try:
        charset = Message.parse(body).charset
    except UnreadableMessage:
        return False
    return charset.evidence in ("declared", "utf-8 found", "ascii") and text_of(body, charset.codec) == text
