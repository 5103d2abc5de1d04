r"""The XML encoding of HL7 v2 (namespace urn:hl7-org:v2xml), as HAPI's DefaultXMLParser writes it, and back.

The root is the message structure, in it groups `<ORU_R01.PATIENT_RESULT>`, segments `<PID>`, fields `<PID.3>`, one for
each repetition, and components by their data type, `<CX.4><HD.1>`. Which these are the dictionary says for the version
in MSH-12; OBX-5 has the type that OBX-2 names (spec item 49). What the dictionary does not know is `<UNKNOWN.1>`, as
HAPI has it. Escapes that stand for no character are `<escape V=".br"/>`; what XML cannot hold is hexadecimal, as HL7
itself writes it: `<escape V="X07"/>`.

Reading needs no dictionary, as the names of elements say the numbers. Where HAPI loses something this does not:
an empty repetition keeps its place, components beyond the type's are written, and so are empty segments. What XML does
not say is named in engine/docs/conversions.md: delimiters after the last value, blank lines, the way an escape was
written where another says the same, and the bytes' character set where MSH-18 does not name it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from engine.hl7.charset import encoded
from engine.hl7.convert.bytes_of import declared_bytes
from engine.hl7.convert.errors import ConversionError
from engine.hl7.convert.placing import Placed, place
from engine.hl7.delimiters import HEADERS, STANDARD, Delimiters, read_delimiters
from engine.hl7.dictionary import VARIES, Dictionary, load
from engine.hl7.errors import UnreadableMessage
from engine.hl7.escape import sequences, unescape
from engine.hl7.message import Message

NAMESPACE: Final = "urn:hl7-org:v2xml"
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 64
MAX_PARTS: Final = 8_000_000
"""How many fields and components one document may ask for: `<PID.9999/>` is short and wants much."""

_UNKNOWN: Final = "UNKNOWN"
_SIMPLE: Final = "_SIMPLE"
"""HL7's schemas have `DR_SIMPLE` for a DR that is a component; to HAPI it is a DR."""
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_STRUCTURE = re.compile(r"[A-Z][A-Z0-9]{2}(?:_[A-Z0-9]{1,4})?")
_PART = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([1-9][0-9]{0,6})")
_BLANK = " \t\r\n"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
"""What is no character of XML 1.0 (section 2.2): most control characters, and bytes kept as lone surrogates."""
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": "&#10;", "\r": "&#13;"})


# -- writing ----------------------------------------------------------------------------------------


def to_xml(message: Message) -> bytes:
    """The message in the XML encoding, UTF-8.

    Raises UnencodableText as `Message.to_bytes` does, and ConversionError for a segment whose name is no name, and
    for a character that XML does not have in a message without an escape character.
    """
    message.to_bytes()
    names = message.names()
    if names[0] != "MSH":
        raise ConversionError("only a message has an XML encoding, and this begins with a batch header", names[0])
    kept = [index for index, name in enumerate(names) if name]
    for index in kept:
        if not _SEGMENT.fullmatch(names[index]):
            raise ConversionError(f"segment {index + 1} has a name that XML cannot hold")
    dictionary = load(message.get("MSH-12") or "")
    code, event, declared = (message.get(path) or "" for path in ("MSH-9.1", "MSH-9.2", "MSH-9.3"))
    id = dictionary.structure_of(code, event, declared).id
    tree = place([names[index] for index in kept], dictionary.structure(id) if id else None)
    root = id or next((n for n in (declared, f"{code}_{event}", code) if _STRUCTURE.fullmatch(n)), "MESSAGE")
    writer = _Writer(message, dictionary, root)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<{root} xmlns="{NAMESPACE}">']
    lines += writer.group(tree, kept, "    ")
    lines += [f"</{root}>", ""]
    return "\n".join(lines).encode()


class _Writer:
    """One message's segments to lines of XML."""

    def __init__(self, message: Message, dictionary: Dictionary, structure: str) -> None:
        self._message = message
        self._dictionary = dictionary
        self._structure = structure
        self._marks = message.delimiters
        self._codec = message.codec
        self._at = ""

    def group(self, placed: Placed, indexes: Sequence[int], indent: str) -> Iterator[str]:
        for child in placed.children:
            if isinstance(child, Placed):
                name = f"{self._structure}.{child.name}"
                yield f"{indent}<{name}>"
                yield from self.group(child, indexes, indent + "    ")
                yield f"{indent}</{name}>"
            else:
                yield from self._segment(indexes[child], indent)

    def _segment(self, index: int, indent: str) -> Iterator[str]:
        fields = self._message.fields(index)
        name = fields[0]
        lines = [line for number in range(1, len(fields)) for line in self._field(fields, number, indent + "    ")]
        if lines:
            yield f"{indent}<{name}>"
            yield from lines
            yield f"{indent}</{name}>"
        else:
            yield f"{indent}<{name}/>"

    def _field(self, fields: Sequence[str], number: int, indent: str) -> Iterator[str]:
        name, text = fields[0], fields[number]
        self._at = f"{name}-{number}"
        if name in HEADERS and number <= 2:
            if _FORBIDDEN.search(text):
                raise ConversionError("XML does not have these delimiters", self._at)
            yield indent + _element(f"{name}.{number}", text.translate(_TEXT), indent)
            return
        repetitions = text.split(self._marks.cut_repetition)
        written = [
            self._value(repetition, self._type(fields, number, at), 0, indent + "    ")
            for at, repetition in enumerate(repetitions)
        ]
        while written and not written[-1]:
            written.pop()
        for content in written:
            yield f"{indent}{_element(f'{name}.{number}', content, indent)}"

    def _type(self, fields: Sequence[str], number: int, repetition: int) -> str:
        """The data type of a field; '' where nobody knows."""
        segment = self._dictionary.segment(fields[0])
        found = segment.field(number) if segment is not None else None
        if found is None:
            return ""
        if found.data_type != VARIES:
            return found.data_type
        match fields[0], number:
            case "OBX", 5:
                return self._leaf_of(fields, 2, 0)
            case "MFE", 4:
                return self._leaf_of(fields, 5, repetition)
        return ""

    def _leaf_of(self, fields: Sequence[str], number: int, repetition: int) -> str:
        text = fields[number] if number < len(fields) else ""
        return (text.split(self._marks.cut_repetition)[repetition:] or [""])[0]

    def _value(self, text: str, data_type: str, level: int, indent: str) -> str:
        """The content of an element for a repetition (level 0), component (1) or subcomponent (2); '' for nothing.

        What stands deeper than HL7 has delimiters for is the first component of each composite type on the way:
        a time as XPN-10.1 is `<DR.1><TS.1>`.
        """
        cuts = (self._marks.cut_component, self._marks.cut_subcomponent)[level:]
        text = text.rstrip("".join(cuts)) if cuts else text
        if not text:
            return ""
        definition = self._dictionary.data_type(data_type)
        if data_type.endswith(_SIMPLE):
            definition = self._dictionary.data_type(data_type.removesuffix(_SIMPLE)) or definition
        components = definition.components if definition is not None else ()
        if not components and not any(cut in text for cut in cuts):
            return self._text(text)
        kind = definition.name if definition is not None and components else _UNKNOWN
        parts = text.split(cuts[0]) if cuts else [text]
        lines = []
        for number, part in enumerate(parts, 1):
            inner = components[number - 1].data_type if number <= len(components) else ""
            content = self._value(part, inner, level + 1, indent + "    ")
            if content:
                lines.append(f"\n{indent}{_element(f'{kind}.{number}', content, indent)}")
        return "".join(lines)

    def _text(self, text: str) -> str:
        """A leaf: characters, and `escape` for what stands for none."""
        if self._marks.cut_escape not in text:
            return self._characters(text)
        mark = self._marks.escape
        out = []
        for literal, sequence in sequences(text, self._marks):
            if sequence is None:
                out.append(self._characters(literal))
            elif sequence in ("F", "S", "T", "R", "E"):
                out.append(self._characters(unescape(f"{mark}{sequence}{mark}", self._marks)))
            else:
                out.append(f"<escape V={quoteattr(sequence)}/>")
        return "".join(out)

    def _characters(self, text: str) -> str:
        if not _FORBIDDEN.search(text):
            return text.translate(_TEXT)
        if not self._marks.escape:
            raise ConversionError("a character that XML does not have, and no escape character to write it", self._at)
        out, start = [], 0
        for found in _FORBIDDEN.finditer(text):
            out.append(text[start : found.start()].translate(_TEXT))
            out.append(f'<escape V="X{_hexadecimal(found[0], self._codec)}"/>')
            start = found.end()
        return "".join([*out, text[start:].translate(_TEXT)])


def _hexadecimal(text: str, codec: str) -> str:
    try:
        return encoded(text, codec, "surrogateescape").hex().upper()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").hex().upper()


def _element(name: str, content: str, indent: str) -> str:
    if not content:
        return f"<{name}/>"
    return f"<{name}>{content}\n{indent}</{name}>" if content.startswith("\n") else f"<{name}>{content}</{name}>"


# -- reading ----------------------------------------------------------------------------------------


def from_xml(body: bytes, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The HL7 bytes of one XML document, every segment ended by CR. Raises ConversionError.

    The bytes are in the character set of MSH-18, or UTF-8 where that names none. No document type and no entity is
    read, so that nothing outside of the document ever is.
    """
    if len(body) > max_bytes:
        raise ConversionError(f"the document is longer than {max_bytes} bytes")
    segments = _Document().read(body)
    if not segments or segments[0].name != "MSH":
        raise ConversionError("the first segment is not MSH")
    delimiters = _delimiters(segments[0])
    if all(node.number != 2 for node in segments[0].fields):
        segments[0].fields.append(_Node("MSH", 2, [(delimiters.written, None)]))
    writer = _SegmentWriter(delimiters)
    texts = [writer.text(segment) for segment in segments]
    header = [*texts[0].split(delimiters.field), *[""] * 18]
    return declared_bytes(texts, header[17], delimiters.field, delimiters.repetition)


@dataclass(slots=True)
class _Node:
    """An element inside of a segment: text with escapes, or parts by number. `kind` is the name before the dot."""

    kind: str
    number: int
    text: list[tuple[str, str | None]] = field(default_factory=list)
    parts: "list[_Node]" = field(default_factory=list)


@dataclass(slots=True)
class _Segment:
    name: str
    fields: list[_Node] = field(default_factory=list)


class _Document:
    """Reads one document with a parser that refuses whatever could lead out of it or grow in it."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._open: list[_Segment | _Node | None] = []  # None: the root, and groups
        self._in_escape = False
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._doctype
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def read(self, body: bytes) -> list[_Segment]:
        try:
            self._parser.Parse(body, True)
        except expat.ExpatError as error:
            raise ConversionError(f"this is not XML: {expat.ErrorString(error.code)}", self._place()) from None
        except (ValueError, LookupError):  # an encoding that Python has not, or not as one byte a character
            raise ConversionError("the document's encoding cannot be read; UTF-8 can") from None
        return self._segments

    def _place(self) -> str:
        return f"line {self._parser.CurrentLineNumber}, column {self._parser.CurrentColumnNumber + 1}"

    def _refused(self, reason: str) -> ConversionError:
        return ConversionError(reason, self._place())

    def _doctype(self, *_: object) -> None:
        raise self._refused("a document type declaration is not read: it can name files and entities")

    def _start(self, full_name: str, attributes: dict[str, str]) -> None:
        namespace, _, name = full_name.rpartition(" ")
        if namespace not in ("", NAMESPACE):
            raise self._refused(f"an element is not of the namespace {NAMESPACE}")
        if self._in_escape:
            raise self._refused("an escape holds no elements")
        if len(self._open) >= MAX_DEPTH:
            raise self._refused(f"elements are nested more than {MAX_DEPTH} deep")
        parent = self._open[-1] if self._open else None
        if isinstance(parent, _Node) and name == "escape":
            self._escape(parent, attributes)
        elif parent is not None:
            self._open.append(self._part(parent, name))
        elif self._open and _SEGMENT.fullmatch(name):
            self._segments.append(_Segment(name))
            self._open.append(self._segments[-1])
        else:
            self._open.append(None)

    def _escape(self, parent: _Node, attributes: dict[str, str]) -> None:
        sequence = attributes.get("V", "").strip()
        if not sequence or not sequence.isprintable():
            raise self._refused("an escape says what it stands for in V")
        parent.text.append(("", sequence))
        self._in_escape = True

    def _part(self, parent: _Segment | _Node, name: str) -> _Node:
        found = _PART.fullmatch(name)
        if found is None or (isinstance(parent, _Segment) and found[1] != parent.name):
            what = f"{parent.name}.1" if isinstance(parent, _Segment) else "CX.1"
            raise self._refused(f"an element in a segment is named by type and number, such as {what}")
        node = _Node(found[1], int(found[2]))
        (parent.fields if isinstance(parent, _Segment) else parent.parts).append(node)
        return node

    def _end(self, full_name: str) -> None:
        if self._in_escape:
            self._in_escape = False
            return
        node = self._open.pop()
        if isinstance(node, _Node) and node.parts:
            if any(sequence is not None or literal.strip(_BLANK) for literal, sequence in node.text):
                raise self._refused("text stands beside components")
            node.text = []

    def _data(self, text: str) -> None:
        parent = self._open[-1] if self._open else None
        if isinstance(parent, _Node) and not self._in_escape:
            parent.text.append((text, None))
        elif text.strip(_BLANK):
            raise self._refused("text stands where no value can be")


def _delimiters(header: _Segment) -> Delimiters:
    """What MSH.1 and MSH.2 say; the usual ones without them."""
    said = {node.number: "".join(literal for literal, _ in node.text) for node in header.fields if node.number <= 2}
    separator, marks = said.get(1, STANDARD.field), said.get(2, STANDARD.written)
    if len(separator) != 1 or separator in marks:
        raise ConversionError("the separator is one character, which is none of the other delimiters", "MSH-1")
    try:
        return read_delimiters(f"MSH{separator}{marks}{separator}")[0]
    except UnreadableMessage as error:
        raise ConversionError(error.reason, "MSH-1") from None


class _SegmentWriter:
    """Elements back to the text of segments."""

    def __init__(self, delimiters: Delimiters) -> None:
        self._marks = delimiters
        self._room = MAX_PARTS
        self._at = ""
        codes = ((delimiters.field, "F"), (delimiters.component, "S"), (delimiters.subcomponent, "T"))
        more = ((delimiters.repetition, "R"), (delimiters.escape, "E"))
        self._codes = {"\r": "X0D", "\n": "X0A"} | {mark: code for mark, code in (*codes, *more) if mark}

    def text(self, segment: _Segment) -> str:
        fields: dict[int, list[str]] = {}
        for node in segment.fields:
            self._at = f"{segment.name}-{node.number}"
            if segment.name in HEADERS and node.number <= 2:
                fields[node.number] = [self._mark(node)]
            else:
                fields.setdefault(node.number, []).append(self._level(node, 0))
        if segment.name in HEADERS:
            fields[1] = []
        texts = self._numbered({n: self._joined(texts, self._repetition(texts)) for n, texts in fields.items()})
        if segment.name in HEADERS:
            texts = texts[1:]
        return self._marks.field.join([segment.name, *texts])

    def _repetition(self, texts: Sequence[str]) -> str:
        return self._marks.repetition if len(texts) > 1 else ""

    def _mark(self, node: _Node) -> str:
        """MSH-1 or MSH-2, and of later headers the same; never escaped (spec item 42)."""
        text = "".join(literal for literal, _ in node.text)
        if node.parts or any(sequence is not None for _, sequence in node.text) or "\r" in text:
            raise ConversionError("delimiters are one text", self._at)
        if node.number == 1 and text != self._marks.field:
            raise ConversionError("this is not the separator of the message", self._at)
        if node.number == 2 and self._marks.field in text:
            raise ConversionError("the other delimiters hold the separator", self._at)
        return text

    def _level(self, node: _Node, level: int) -> str:
        """The text of a repetition (level 0), component (1), subcomponent (2), or of what is deeper."""
        if not node.parts:
            return self._leaf(node)
        if level >= 2:
            if len(node.parts) > 1 or node.parts[0].number > 1:
                raise ConversionError("HL7 has no delimiter for parts of a subcomponent", self._at)
            return self._level(node.parts[0], level)
        parts: dict[int, str] = {}
        for part in node.parts:
            if part.number in parts:
                raise ConversionError("a component stands twice", self._at)
            parts[part.number] = self._level(part, level + 1)
        texts = self._numbered(parts)
        return self._joined(texts, (self._marks.component, self._marks.subcomponent)[level])

    def _numbered(self, parts: dict[int, str]) -> list[str]:
        last = max(parts, default=0)
        self._room -= last
        if self._room < 0:
            raise ConversionError(f"the document asks for more than {MAX_PARTS} parts", self._at)
        return [parts.get(number, "") for number in range(1, last + 1)]

    def _joined(self, texts: Sequence[str], mark: str) -> str:
        if len(texts) > 1 and not mark:
            raise ConversionError("MSH-2 defines no delimiter for what stands here", self._at)
        return mark.join(texts)

    def _leaf(self, node: _Node) -> str:
        mark = self._marks.escape
        out = []
        for literal, sequence in node.text:
            if sequence is not None and (not mark or mark in sequence or "\r" in sequence or self._cuts(sequence)):
                raise ConversionError("this escape cannot be written with the delimiters of the message", self._at)
            out.append(self._escaped(literal) if sequence is None else f"{mark}{sequence}{mark}")
        return "".join(out)

    def _cuts(self, text: str) -> bool:
        marks = (self._marks.field, self._marks.repetition, self._marks.component, self._marks.subcomponent)
        return any(mark in text for mark in marks if mark)

    def _escaped(self, text: str) -> str:
        """A text with its delimiters and line ends escaped; what looks like markup is text here."""
        if self._marks.special.search(text) is None:
            return text
        mark = self._marks.escape
        if not mark:
            raise ConversionError("a value holds a delimiter, and MSH-2 has no escape character", self._at)
        return "".join([f"{mark}{self._codes[c]}{mark}" if c in self._codes else c for c in text])
