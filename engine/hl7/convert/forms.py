"""The forms that a body can have, told apart by how it begins, and the way from each to each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from engine.hl7.convert.json_form import to_json
from engine.hl7.message import Message

Form = Literal["hl7", "json"]

FORMS: Final[tuple[Form, ...]] = get_args(Form)

EXTENSIONS: Final[Mapping[Form, str]] = MappingProxyType({"hl7": "hl7", "json": "json"})
"""What a file of that form is called, without the dot."""

_BLANK: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"


def form_of(body: bytes) -> Form:
    """The form of a body, by its first character; HL7 where it is no other: a message begins with a segment's name."""
    first = body.removeprefix(_BOM).lstrip(_BLANK)[:1]
    return "json" if first in (b"{", b"[") else "hl7"


def convert(message: Message, form: Form) -> bytes:
    """The message in another form. Raises UnencodableText as `Message.to_bytes` does, and ConversionError."""
    return to_json(message) if form == "json" else message.to_bytes()
