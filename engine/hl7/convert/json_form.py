r"""A message as JSON that people can read and that gives the very same bytes back (engine/docs/conversions.md).

    {"format":"hl7v2-json","version":1,"charset":"ascii","segments":[
    {"segment":"MSH","1":"|","2":"^~\\&","3":"HIS","9":{"1":"ADT","2":"A01"},"10":"A1","11":"P","12":"2.5.1"},
    {"segment":"PID","3":[{"1":"77","5":"MR"},{"1":"4711","5":"PI"}],"5":{"1":"Doe","2":"John"},"30":""}
    ]}

- Fields, components and subcomponents stand under their numbers. What is empty is left out, except that the last one
  is written when it is empty: so `PID|1||` and `PID|1` differ, as they do in HL7 (spec items 45 and 46).
- A field with one repetition is that repetition, with several a list. A repetition of one component is its text.
- A text is a value, with escapes undone. Where the same value could have been written in another way, it is
  `{"value": ..., "raw": ...}`; `raw` is how it stood (spec items 51 to 53).
- A segment whose bytes cannot be told from its text, as some are not valid in the character set or Python would write
  them otherwise, has them as `base64` too; a byte that is no character shows as U+FFFD (spec items 60 and 63).
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from engine.hl7.charset import text_of
from engine.hl7.convert.bytes_of import bytes_in, declared_bytes, known_codec
from engine.hl7.convert.errors import ConversionError
from engine.hl7.delimiters import HEADERS, Delimiters, read_delimiters
from engine.hl7.errors import UnreadableMessage
from engine.hl7.escape import escape, unescape
from engine.hl7.message import Message
from engine.hl7.output import encode_exactly

FORMAT: Final = "hl7v2-json"
VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_PARTS: Final = 8_000_000
"""How many fields, components and subcomponents one document may ask for: `{"9999999": ""}` is short and wants much."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile("[1-9][0-9]{0,6}")
_UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"

_LEAF: Final[Mapping[str, Any]] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"value": {"type": "string"}, "raw": {"type": "string"}},
            "required": ["raw"],
            "additionalProperties": False,
        },
    ]
}


def _numbered(item: str) -> dict[str, Any]:
    return {
        "type": "object",
        "patternProperties": {f"^{_NUMBER.pattern}$": {"$ref": f"#/$defs/{item}"}},
        "additionalProperties": False,
        "minProperties": 1,
    }


SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An HL7 v2 message",
        "type": "object",
        "properties": {
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "charset": {"type": "string", "description": "The Python codec of the message's bytes"},
            "segments": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/segment"}},
        },
        "required": ["segments"],
        "additionalProperties": False,
        "$defs": {
            "segment": {
                "type": "object",
                "properties": {
                    "segment": {"type": "string", "description": "The name; '' is a blank line"},
                    "base64": {"type": "string", "contentEncoding": "base64"},
                },
                "patternProperties": {f"^{_NUMBER.pattern}$": {"$ref": "#/$defs/field"}},
                "required": ["segment"],
                "additionalProperties": False,
            },
            "field": {
                "anyOf": [
                    {"$ref": "#/$defs/repetition"},
                    {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/repetition"}},
                ]
            },
            "repetition": {"anyOf": [{"$ref": "#/$defs/leaf"}, _numbered("component")]},
            "component": {"anyOf": [{"$ref": "#/$defs/leaf"}, _numbered("leaf")]},
            "leaf": _LEAF,
        },
    }
)
"""What `to_json` writes, and `from_json` reads, as a JSON Schema."""


def to_json(message: Message) -> bytes:
    """The message as JSON in UTF-8, a segment a line, always in the same order.

    `from_json` gives `message.to_bytes()` back. Raises UnencodableText as that does.
    """
    pieces = message.to_bytes().split(b"\r")
    codec = message.written_codec
    writer = _Writer(message.delimiters, codec)
    head = {"format": FORMAT, "version": VERSION, "charset": codec}
    lines = [
        _dump(writer.segment(message.segment(index), message.fields(index), pieces[index]))
        for index in range(len(message))
    ]
    return (_dump(head)[:-1] + ',"segments":[\n' + ",\n".join(lines) + "\n]}\n").encode()


def from_json(body: bytes | str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The HL7 bytes of one JSON document, every segment ended by CR. Raises ConversionError."""
    if len(body) > max_bytes:
        raise ConversionError(f"the document is longer than {max_bytes} bytes")
    return from_data(_load(body))


def from_data(data: object) -> bytes:
    """The HL7 bytes of a document that was read already. Raises ConversionError."""
    if not isinstance(data, dict):
        raise ConversionError("a message is an object with segments")
    _known(data, ("format", "version", "charset", "segments"), "")
    if data.get("format", FORMAT) != FORMAT or data.get("version", VERSION) != VERSION:
        raise ConversionError(f"only {FORMAT} version {VERSION} can be read", "format")
    segments = data.get("segments")
    if not isinstance(segments, list) or not segments:
        raise ConversionError("there are no segments", "segments")
    codec = _named_codec(data.get("charset"))
    delimiters = _header(segments[0], codec)
    reader = _Reader(delimiters, codec)
    texts, originals = [], []
    for index, segment in enumerate(segments):
        text, original = reader.segment(segment, f"segments[{index}]")
        texts.append(text)
        originals.append(original)
    if codec is not None:
        return bytes_in(texts, originals, codec, delimiters.field)
    header = [*texts[0].split(delimiters.field), *[""] * 18]
    return declared_bytes(texts, header[17] if header[0] == "MSH" else "", delimiters.field, delimiters.repetition)


def _dump(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _load(body: bytes | str) -> object:
    try:
        text = body.decode("utf-8-sig") if isinstance(body, bytes) else body
        return json.loads(text, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise ConversionError("the text is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConversionError(f"this is not JSON: {error.msg}", f"line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ConversionError("the document is nested too deeply") from None
    except ValueError:  # a number of more digits than Python converts
        raise ConversionError("a number is too long") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ConversionError("a key stands twice in one object")
    return found


def _shown(text: str) -> str:
    """`text` with what is no character made visible: a lone surrogate is no Unicode, and no JSON for many readers."""
    return _SURROGATE.sub(_UNKNOWN, text)


class _Writer:
    """One message's segments to objects."""

    def __init__(self, delimiters: Delimiters, codec: str) -> None:
        self._delimiters = delimiters
        self._codec = codec

    def segment(self, text: str, fields: Sequence[str], raw: bytes) -> dict[str, Any]:
        made: dict[str, Any] = {"segment": _shown(fields[0])}
        last = len(fields) - 1
        marks = 2 if fields[0] in HEADERS else 0
        for number in range(1, last + 1):
            field = fields[number]
            if field or number == last:
                made[str(number)] = _shown(field) if number <= marks else self._field(field)
        if encode_exactly(text, self._codec) != raw or _SURROGATE.search(text):
            made["base64"] = base64.b64encode(raw).decode("ascii")
        return made

    def _field(self, text: str) -> Any:
        repetitions = text.split(self._delimiters.cut_repetition)
        if len(repetitions) > 1:
            return [self._repetition(repetition) for repetition in repetitions]
        return self._repetition(text)

    def _repetition(self, text: str) -> Any:
        marks = self._delimiters
        parts = text.split(marks.cut_component)
        made = {
            str(number): self._component(part)
            for number, part in enumerate(parts, 1)
            if part or (number == len(parts) and number > 1)
        }
        if len(parts) > 1:
            return made
        whole = self._component(text)
        return {"1": whole} if marks.cut_subcomponent in text else whole

    def _component(self, text: str) -> Any:
        parts = text.split(self._delimiters.cut_subcomponent)
        if len(parts) == 1:
            return self._leaf(text)
        return {str(number): self._leaf(part) for number, part in enumerate(parts, 1) if part or number == len(parts)}

    def _leaf(self, raw: str) -> Any:
        marks = self._delimiters
        if marks.special.search(raw) is None and not (marks.truncation and raw.endswith(marks.truncation)):
            return _shown(raw)
        value = unescape(raw, marks, self._codec)
        return _shown(value) if _escaped(value, marks) == raw else {"value": _shown(value), "raw": _shown(raw)}


def _escaped(value: str, delimiters: Delimiters) -> str | None:
    try:
        return escape(value, delimiters)
    except ValueError:
        return None


class _Reader:
    """Objects back to the texts of segments, and to their bytes where the object has them."""

    def __init__(self, delimiters: Delimiters, codec: str | None) -> None:
        self._delimiters = delimiters
        self._has_charset = codec is not None
        self._codec = codec or "utf_8"
        self._writer = _Writer(delimiters, self._codec)
        self._marks = [
            mark
            for mark in (delimiters.field, delimiters.repetition, delimiters.component, delimiters.subcomponent, "\r")
            if mark
        ]
        self._room = MAX_PARTS

    def segment(self, data: object, at: str) -> tuple[str, bytes | None]:
        name, numbered = _parts_of_segment(data, at)
        assert isinstance(data, dict), "it has parts"
        if "base64" in data:
            if not self._has_charset:
                raise ConversionError("what is base64 needs the charset that it is in", "charset")
            raw = _bytes_of(data["base64"], f"{at}.base64")
            return self._from_bytes(raw, data, at), raw
        field = self._delimiters.field
        if field in name or "\r" in name:
            raise ConversionError("a segment's name holds no separator", f"{at}.segment")
        _check_characters(name, f"{at}.segment")
        fields = self._texts(numbered, at)
        marks = 2 if name in HEADERS else 0
        texts = [
            self._mark(item, number, f"{at}.{number}") if number <= marks else self._field(item, f"{at}.{number}")
            for number, item in enumerate(fields, 1)
        ]
        if marks:
            texts = texts[1:]
        return field.join([name, *texts]), None

    def _from_bytes(self, raw: bytes, data: dict[str, Any], at: str) -> str:
        """The text of a segment's bytes, which must be what the other members say."""
        if b"\r" in raw:
            raise ConversionError("the bytes are more than one segment", f"{at}.base64")
        text = text_of(raw, self._codec)
        fields = text.split(self._delimiters.field)
        if fields[0] in HEADERS:
            fields.insert(1, self._delimiters.field)
        says = self._writer.segment(text, fields, raw)
        says.pop("base64", None)
        if says != {key: item for key, item in data.items() if key != "base64"}:
            raise ConversionError("base64 says something else than the fields; remove it to write the fields", at)
        return text

    def _texts(self, numbered: Mapping[int, Any], at: str) -> list[Any]:
        """The items by number, '' for those left out."""
        last = max(numbered, default=0)
        self._room -= last
        if self._room < 0:
            raise ConversionError(f"the document asks for more than {MAX_PARTS} parts", at)
        return [numbered.get(number, "") for number in range(1, last + 1)]

    def _mark(self, item: object, number: int, at: str) -> str:
        if not isinstance(item, str):
            raise ConversionError("delimiters are one text", at)
        _check_characters(item, at)
        if number == 1 and item != self._delimiters.field:
            raise ConversionError("field 1 of a header is the separator of the message", at)
        if number == 2 and (self._delimiters.field in item or "\r" in item):
            raise ConversionError("field 2 of a header holds no separator", at)
        return item

    def _field(self, item: object, at: str) -> str:
        if not isinstance(item, list):
            return self._repetition(item, at)
        if len(item) < 2:
            raise ConversionError("a list has two repetitions or more; one stands without a list", at)
        joint = self._joint(self._delimiters.repetition, "a repetition separator", at)
        return joint.join([self._repetition(one, f"{at}[{number}]") for number, one in enumerate(item, 1)])

    def _repetition(self, item: object, at: str) -> str:
        numbered = _numbered_parts(item, at)
        if numbered is None:
            return self._leaf(item, at)
        parts = self._texts(numbered, at)
        texts = [self._component(part, f"{at}.{number}") for number, part in enumerate(parts, 1)]
        if len(texts) == 1:
            return texts[0]
        return self._joint(self._delimiters.component, "a component separator", at).join(texts)

    def _component(self, item: object, at: str) -> str:
        numbered = _numbered_parts(item, at)
        if numbered is None:
            return self._leaf(item, at)
        parts = self._texts(numbered, at)
        texts = [self._leaf(part, f"{at}.{number}") for number, part in enumerate(parts, 1)]
        if len(texts) == 1:
            return texts[0]
        return self._joint(self._delimiters.subcomponent, "a subcomponent separator", at).join(texts)

    def _leaf(self, item: object, at: str) -> str:
        if isinstance(item, str):
            _check_characters(item, at)
            try:
                return escape(item, self._delimiters)
            except ValueError:
                reason = "the value holds a delimiter or line end, and the message has no escape character"
                raise ConversionError(reason, at) from None
        if not isinstance(item, dict) or not isinstance(raw := item.get("raw"), str):
            hint = "null and numbers are not taken: HL7 tells '' from '\"\"', and 1 from 1.0"
            raise ConversionError(f"a value is a text in quotes; {hint}", at)
        _known(item, ("value", "raw"), at)
        _check_characters(raw, at)
        if any(mark in raw for mark in self._marks):
            raise ConversionError("raw holds a delimiter that would cut it", at)
        if item.get("value", value := unescape(raw, self._delimiters, self._codec)) != value:
            raise ConversionError("value and raw say different things; remove raw to write the value", at)
        return raw

    def _joint(self, mark: str, what: str, at: str) -> str:
        if not mark:
            raise ConversionError(f"the message's field 2 defines no {what.partition(' ')[2]}", at)
        return mark


def _parts_of_segment(data: object, at: str) -> tuple[str, dict[int, Any]]:
    """A segment's name, and its fields by number."""
    if not isinstance(data, dict) or not isinstance(name := data.get("segment"), str):
        raise ConversionError("a segment is an object with its name under 'segment'", at)
    rest = {key: item for key, item in data.items() if key not in ("segment", "base64")}
    return name, _by_number(rest, at)


def _numbered_parts(item: object, at: str) -> dict[int, Any] | None:
    """Components or subcomponents by number; None for a leaf."""
    if not isinstance(item, dict) or "raw" in item or "value" in item:
        return None
    if not item:
        raise ConversionError("an object without parts", at)
    return _by_number(item, at)


def _by_number(parts: Mapping[str, Any], at: str) -> dict[int, Any]:
    for key in parts:
        if not _NUMBER.fullmatch(key):
            raise ConversionError("a key is neither a number nor known here", at)
    return {int(key): item for key, item in parts.items()}


def _known(data: Mapping[str, Any], keys: Sequence[str], at: str) -> None:
    if not data.keys() <= set(keys):
        raise ConversionError(f"a key is not known here; known: {', '.join(keys)}", at)


def _check_characters(text: str, at: str) -> None:
    if _SURROGATE.search(text):
        raise ConversionError("half of a surrogate pair is no character", at)


def _bytes_of(text: object, at: str) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass  # said below, without the text
    raise ConversionError("this is not base64", at)


def _header(segment: object, codec: str | None) -> Delimiters:
    """The delimiters that the first segment says."""
    name, fields = _parts_of_segment(segment, "segments[0]")
    assert isinstance(segment, dict), "it has parts"
    if name not in HEADERS:
        raise ConversionError("the first segment is MSH, FHS or BHS", "segments[0].segment")
    field, marks = fields.get(1), fields.get(2, "")
    if not isinstance(field, str) or len(field) != 1 or not isinstance(marks, str):
        reason = "the separator is one character under '1', the other delimiters are a text under '2'"
        raise ConversionError(reason, "segments[0]")
    header = f"{name}{field}{marks}{field}"
    if "base64" in segment:
        if codec is None:
            raise ConversionError("what is base64 needs the charset that it is in", "charset")
        header = text_of(_bytes_of(segment["base64"], "segments[0].base64"), codec)
    try:
        return read_delimiters(header)[0]
    except UnreadableMessage as error:
        raise ConversionError(error.reason, "segments[0].1") from None


def _named_codec(charset: object) -> str | None:
    if charset is None:
        return None
    codec = known_codec(charset) if isinstance(charset, str) else None
    if codec is None:
        raise ConversionError("there is no such character set, or none that fits HL7", "charset")
    return codec
