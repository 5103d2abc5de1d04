"""Items as DICOM elements: encoded once when they are written, joined when they are asked for (dicom.md 4.4).

An `Encoded` holds each element of an item in Implicit and in Explicit VR Little Endian, in UTF-8. An answer is the
elements that a query asked for, in the order of their tags, with the status and the character set of the moment. What
cannot be encoded is found here, when the order comes, and not when a scanner asks: there one bad item would end all of
the answer.
"""

import json
import re
import struct
import threading
import warnings
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydicom import config as pydicom_config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

from engine.adapters.dicom.charsets import UNICODE, Charset, charset_of
from engine.worklist.attributes import ITEM, SPS, STEP, attribute_in
from engine.worklist.item import Attributes, Item, Values
from engine.worklist.matching import STATUS

_NUMBERS: Final = frozenset({"US"})
_COUNT: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<BBHHI")
IMPLICIT, EXPLICIT = 0, 1
_SEQUENCE_ITEM: Final = struct.pack("<HH", 0xFFFE, 0xE000)
_LONG: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs whose length has four bytes in Explicit VR (PS3.5 section 7.1.2)."""


class Unencodable(ValueError):
    """An item that cannot be written as DICOM; `keyword` says which attribute is at fault."""

    def __init__(self, keyword: str, why: str) -> None:
        super().__init__(f"{keyword}: {why}")
        self.keyword = keyword


@dataclass(slots=True, frozen=True)
class Encoded:
    """Elements by level (0 the item, 1 its step) and tag, for both transfer syntaxes; headers are part of the bytes."""

    implicit: Mapping[tuple[int, int], bytes]
    explicit: Mapping[tuple[int, int], bytes]

    def dump(self) -> bytes:
        """For the store."""
        out = bytearray(_COUNT.pack(len(self.implicit) + len(self.explicit)))
        for syntax, elements in ((IMPLICIT, self.implicit), (EXPLICIT, self.explicit)):
            for (level, tag), data in elements.items():
                out += _HEAD.pack(syntax, level, tag >> 16, tag & 0xFFFF, len(data)) + data
        return bytes(out)

    @classmethod
    def load(
        cls, data: bytes, *, is_implicit: bool | None = None, wanted: Container[tuple[int, int]] | None = None
    ) -> "Encoded":
        """What `dump` gave: of one syntax alone, where only that is asked for, and of `wanted` elements.

        Raises ValueError for anything else.
        """
        found: tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bytes]] = ({}, {})
        whole = len(data)
        if whole < _COUNT.size:
            raise ValueError("truncated")
        at, read, header = _COUNT.size, _HEAD.unpack_from, _HEAD.size
        for _ in range(_COUNT.unpack_from(data)[0]):
            begin = at + header
            if begin > whole:
                raise ValueError("truncated")
            syntax, level, group, element, size = read(data, at)
            at = begin + size
            if syntax > 1 or at > whole:
                raise ValueError("truncated")
            # Implicit ones come first: the rest of what is cut off is found by its checksum, before it comes here.
            if is_implicit and syntax == EXPLICIT:
                break
            place = (level, group << 16 | element)
            if (is_implicit is None or is_implicit == (syntax == IMPLICIT)) and (wanted is None or place in wanted):
                found[syntax][place] = data[begin:at]
        return cls(*found)


def encode(item: Item) -> Encoded:
    """All elements of an item, checked as strictly as pydicom can. Raises Unencodable."""
    implicit: dict[tuple[int, int], bytes] = {}
    explicit: dict[tuple[int, int], bytes] = {}
    step = {keyword: values for keyword, values in item.step.items() if keyword != STATUS}
    outer = {keyword: values for keyword, values in item.attributes.items() if keyword != SPS}
    for level, sequence, attributes in ((0, "", outer), (1, SPS, step)):
        for keyword, values in attributes.items():
            place = (level, attribute_in(sequence, keyword).tag)
            if any(isinstance(value, Mapping) for value in values):
                made = _of_sequence(keyword, sequence, json.dumps(values))
            else:
                made = _of_texts(keyword, sequence, values)
            implicit[place], explicit[place] = made
    return Encoded(implicit, explicit)


# Most of an item is like others: empty, or of the same procedure, station and patient; pydicom takes 0.1 ms an element.
@lru_cache(4096)
def _of_texts(keyword: str, sequence: str, values: Values) -> tuple[bytes, bytes]:
    """The element in both syntaxes. Raises Unencodable."""
    attribute = attribute_in(sequence, keyword)
    form = _PLAIN.get(attribute.vr)
    if form is not None and len(values) == 1 and isinstance(values[0], str) and form.fullmatch(values[0]):
        data = values[0].encode("ascii")
        data += (b"\0" if attribute.vr == "UI" else b" ") * (len(data) % 2)
        vr = attribute.vr.encode()
        return _short(attribute.tag, vr, data, True), _short(attribute.tag, vr, data, False)
    return _of_values(keyword, sequence, values)


@lru_cache(1024)
def _of_sequence(keyword: str, sequence: str, values: str) -> tuple[bytes, bytes]:
    """The same; `values` as JSON."""
    return _of_values(keyword, sequence, _thawed(json.loads(values)))


def _thawed(values: Sequence[Any]) -> Values:
    read: Callable[[Any], Any] = lambda value: (  # noqa: E731
        value if isinstance(value, str) else {keyword: _thawed(inner) for keyword, inner in value.items()}
    )
    return tuple(read(value) for value in values)


_PLAIN: Final = {
    "SH": re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?"),
    "LO": re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,62}[!-\[\]-~])?"),
    "UI": re.compile(r"(?=[0-9.]{1,64}\Z)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*"),
}
"""Numbers, of which every order has its own: values that are sure to be valid, and as they stand. pydicom takes a third
of an order's time for them, and comes to the same bytes."""

_FILTERS: Final = threading.Lock()
"""Filters of warnings are the whole process's: one thread at a time sets them and puts them back."""


def _of_values(keyword: str, sequence: str, values: Values) -> tuple[bytes, bytes]:
    charset = charset_of(UNICODE)
    dataset = Dataset()
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset.add(_element(keyword, sequence, values, charset))
            implicit = written(dataset, is_implicit=True, charset=charset)
            return implicit, written(dataset, is_implicit=False, charset=charset)
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever comes up; the order is refused with its place
        raise Unencodable(keyword, type(error).__name__) from None


def wanted_of(asked: Attributes) -> frozenset[tuple[int, int]]:
    """The elements that `joined` takes of an item for such a query."""
    whole = STEP if SPS in asked else {}
    step = next((part for part in asked.get(SPS, ()) if isinstance(part, Mapping) and part), whole)
    own = [(0, ITEM[keyword].tag) for keyword in (*asked, "StudyInstanceUID") if keyword in ITEM]
    return frozenset([*own, *((1, STEP[keyword].tag) for keyword in step if keyword in STEP)])


def joined(encoded: Encoded, asked: Attributes, item: Item, extras: Mapping[int, str], *, is_implicit: bool) -> bytes:
    """The answer to a query for `asked`, out of encoded elements, in Unicode.

    `extras`: tags that were asked for and that no item has, with their VR: they come back empty.
    """
    elements = encoded.implicit if is_implicit else encoded.explicit
    parts: dict[int, bytes] = {0x00080005: _CHARSET[is_implicit]}
    for keyword, inner in asked.items():
        if keyword == SPS:
            parts[ITEM[SPS].tag] = _step(elements, inner, item, is_implicit)
        elif keyword in ITEM and keyword != "SpecificCharacterSet":
            tag = ITEM[keyword].tag
            data = elements.get((0, tag))
            whole = not any(isinstance(part, Mapping) and part for part in inner)
            parts[tag] = data if data is not None and whole else _anew(keyword, "", inner, item.attributes, is_implicit)
    for tag, vr in extras.items():
        parts.setdefault(tag, _short(tag, vr.encode(), b"", is_implicit))
    parts.setdefault(ITEM["StudyInstanceUID"].tag, elements.get((0, ITEM["StudyInstanceUID"].tag), b""))
    return b"".join(parts[tag] for tag in sorted(parts))


def _step(elements: Mapping[tuple[int, int], bytes], asked: object, item: Item, is_implicit: bool) -> bytes:
    inner = next((part for part in asked if isinstance(part, Mapping) and part), {}) if isinstance(asked, tuple) else {}
    keywords = inner or dict.fromkeys([*item.step, STATUS], ())
    parts: dict[int, bytes] = {}
    for keyword, below in keywords.items():
        if keyword not in STEP:
            continue
        tag = STEP[keyword].tag
        if keyword == STATUS:
            parts[tag] = _short(tag, b"CS", item.status.encode() + b" " * (len(item.status) % 2), is_implicit)
            continue
        data = elements.get((1, tag))
        whole = not any(isinstance(part, Mapping) and part for part in below)
        parts[tag] = data if data is not None and whole else _anew(keyword, SPS, below, item.step, is_implicit)
    content = b"".join(parts[tag] for tag in sorted(parts))
    content = _SEQUENCE_ITEM + struct.pack("<I", len(content)) + content
    tag = ITEM[SPS].tag
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return head + (b"" if is_implicit else b"SQ\0\0") + struct.pack("<I", len(content)) + content


def _short(tag: int, vr: bytes, value: bytes, is_implicit: bool) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if is_implicit:
        return head + struct.pack("<I", len(value)) + value
    size = struct.pack("<HI", 0, len(value)) if vr.decode() in _LONG else struct.pack("<H", len(value))
    return head + vr + size + value


_CHARSET: Final = {flag: _short(0x00080005, b"CS", UNICODE.encode(), flag) for flag in (True, False)}


def _anew(keyword: str, sequence: str, asked: object, own: Attributes, is_implicit: bool) -> bytes:
    """An element that is not stored as it is asked for: parts of a sequence, or one that the item lacks."""
    dataset = Dataset()
    dataset.add(_element(keyword, sequence, _chosen(own.get(keyword, ()), asked), charset_of(UNICODE)))
    return written(dataset, is_implicit=is_implicit, charset=charset_of(UNICODE))


def _chosen(values: Values, asked: object) -> Values:
    inner = next((part for part in asked if isinstance(part, Mapping) and part), {}) if isinstance(asked, tuple) else {}
    if not inner:
        return values
    return tuple({name: part.get(name, ()) for name in inner} for part in values if isinstance(part, Mapping))


def dataset_of(attributes: Attributes, charset: Charset, sequence: str = "") -> tuple[Dataset, list[str]]:
    """A dataset of attributes in a character set, and the keywords of texts that did not fit it as they are.

    Keywords that no item has, such as a query's own, come back empty by their tag `(gggg,eeee)`.
    """
    dataset = Dataset()
    rewritten: list[str] = []
    if not sequence and charset.terms:
        dataset.SpecificCharacterSet = list(charset.terms) if len(charset.terms) > 1 else charset.terms[0]
    for keyword, values in attributes.items():
        if keyword.startswith("(") or keyword == "SpecificCharacterSet":
            continue
        try:
            attribute_in(sequence, keyword)
        except KeyError:
            continue
        dataset.add(_element(keyword, sequence, values, charset, rewritten))
    return dataset, rewritten


def written(dataset: Dataset, *, is_implicit: bool, charset: Charset) -> bytes:
    """A dataset in Little Endian."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = is_implicit, True
    write_dataset(out, dataset, parent_encoding=list(charset.codecs))
    return out.getvalue()


def _element(
    keyword: str, sequence: str, values: Iterable[object], charset: Charset, rewritten: list[str] | None = None
) -> DataElement:
    attribute = attribute_in(sequence, keyword)
    tag = Tag(attribute.tag)
    if attribute.vr == "SQ":
        inner = [
            dataset_of(value, charset, keyword)[0] if rewritten is None else _inner(value, charset, keyword, rewritten)
            for value in values
            if isinstance(value, Mapping)
        ]
        return DataElement(tag, "SQ", DicomSequence(inner))
    plain: list[str] = []
    for value in values:
        assert isinstance(value, str), "only sequences hold items"
        text, is_lossy = charset.fitted(value, is_name=attribute.vr == "PN")
        if is_lossy and rewritten is not None:
            rewritten.append(keyword)
        plain.append(text)
    if attribute.vr in _NUMBERS:
        numbers = [int(text) for text in plain]
        return DataElement(
            tag, attribute.vr, numbers[0] if len(numbers) == 1 else (numbers or None), validation_mode=_STRICT
        )
    ready: list[str] | list[bytes] = charset.ready(plain) if charset.is_written_here else plain
    if attribute.vr == "PN":
        names = [PersonName(text, encodings=list(charset.codecs)) for text in ready]
        return DataElement(tag, "PN", names[0] if len(names) == 1 else (names or None), validation_mode=_STRICT)
    value = ready[0] if len(ready) == 1 else (ready or None)
    return DataElement(tag, attribute.vr, value, validation_mode=_STRICT)


def _inner(value: Attributes, charset: Charset, keyword: str, rewritten: list[str]) -> Dataset:
    dataset, lost = dataset_of(value, charset, keyword)
    rewritten += lost
    return dataset


_STRICT: Final = pydicom_config.RAISE
