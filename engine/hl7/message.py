"""One HL7 message, lazy and copy-on-write: nothing is split before it is asked for, and what nobody edits leaves
byte for byte as it came (DESIGN decision 4; spec items 41, 44, 45, 48).

A message is a list of segment texts. A segment's fields are split when first asked for and kept as a list that
is never changed in place: an edit puts a new list there, so copies share all that they have in common.
"""

from collections.abc import Iterable

from engine.hl7.charset import Charset, decide, declared_codecs, is_transparent, text_of
from engine.hl7.delimiters import HEADERS, STANDARD, Delimiters, read_delimiters
from engine.hl7.errors import EditError, Notice, UnencodableText
from engine.hl7.intake import Declared, clean, declared_charset
from engine.hl7.output import encode_segments
from engine.hl7.path import compile_path

_LARGE_BYTES = 1 << 20
_STANDARD_START = "MSH|^~\\&|"


class Message:
    r"""A parsed message; make one with `Message.parse`.

    Segments count from 0, fields as the standard does: `fields(0)[9]` is MSH-9, as `fields(0)[1]` is the
    separator and `fields(0)[2]` is `^~\&`. Blank lines count as segments without a name. `focus` is the index
    that a focused path (`each: OBX`) reads, or None.
    """

    __slots__ = (
        "_body",
        "_charset",
        "_fallback",
        "_fields",
        "_header",
        "_names",
        "_notices",
        "_originals",
        "_stale",
        "_texts",
        "_warnings",
        "delimiters",
        "focus",
        "is_changed",
        "raw",
    )

    raw: bytes
    """The bytes as they were received."""
    delimiters: Delimiters
    focus: int | None
    is_changed: bool
    """Whether an edit was made. `to_bytes` may differ from `raw` without one: BOM, line ends, final CR."""

    _body: bytes  # `raw` as `clean` leaves it
    _header: str  # the first segment's text as received
    _texts: list[str]  # stale where `_stale` says so
    _fields: list[list[str] | None]
    _stale: set[int]  # segments whose fields were edited since their text was made
    _names: list[str] | None
    _originals: list[bytes | None] | None  # received bytes, for charsets that are not transparent
    _charset: Charset | None
    _notices: tuple[Notice, ...]
    _warnings: tuple[Notice, ...] | None
    _fallback: str

    @classmethod
    def parse(cls, raw: bytes, *, fallback: str = "cp1252") -> "Message":
        """The message in `raw`: no MLLP frame, one message (`split_batch` cuts several apart).

        `fallback` is the codec, or the name of table 0211, for text that is neither as MSH-18 declares nor
        UTF-8. Raises UnreadableMessage, and nothing else whatever the bytes are; takes time linear in them.
        """
        self = cls.__new__(cls)
        self.raw = raw
        self.focus = None
        self.is_changed = False
        self._fallback = fallback
        self._charset = self._names = self._originals = self._warnings = None
        self._notices = ()
        self._stale = set()
        if raw.isascii() and raw.startswith(b"MSH|") and b"\n" not in raw and b"\x1b" not in raw:
            self._body = raw
            texts = raw.decode("ascii").split("\r")
        else:
            texts = self._read_slowly(raw)
        if not texts[-1]:
            texts.pop()
        self._texts = texts
        self._fields = [None] * len(texts)
        self._header = header = texts[0]
        if header.startswith(_STANDARD_START):
            self.delimiters = STANDARD
        else:
            self.delimiters, notices = read_delimiters(header)
            self._notices += notices
        return self

    def _read_slowly(self, raw: bytes) -> list[str]:
        """Segment texts of anything but plain ASCII that starts with MSH and ends its segments with CR."""
        body, notices = clean(raw)
        self._body = body
        declared = self._declared()
        self._charset, more = decide(body, declared.text, declared.repetition, self._fallback)
        self._notices = (*notices, *more)
        codec = self._charset.codec
        transparent = is_transparent(codec)
        if transparent and len(body) < _LARGE_BYTES:
            return text_of(body, codec).split("\r")
        # CR is never part of a longer character, so segments can be cut first. A large message is decoded by
        # segments so that one '€' does not double the size of all of its text.
        pieces = body.split(b"\r")
        if not transparent:
            self._originals = list(pieces if pieces[-1] else pieces[:-1])
        return [text_of(piece, codec) for piece in pieces]

    def _declared(self) -> Declared:
        return declared_charset(self._body.partition(b"\r")[0], self._fallback)

    @property
    def charset(self) -> Charset:
        """How the bytes were read: codec, MSH-18 as received, and why."""
        if self._charset is None:
            declared = self._declared()
            self._charset, notices = decide(self._body, declared.text, declared.repetition, self._fallback)
            self._notices += notices
        return self._charset

    @property
    def codec(self) -> str:
        """The Python codec that the bytes were read with."""
        return self.charset.codec

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What was odd about the message as it was received."""
        if self._warnings is None:
            _ = self.charset  # adds its own
            body = self._body
            if body.find(b"\rMSH" + body[3:4]) >= 0:
                second = Notice("W321", "a second MSH segment stands inside the message", "MSH[2]", "100")
                self._notices += (second,)
            self._warnings = self._notices
        return self._warnings

    def __len__(self) -> int:
        """The number of segments."""
        return len(self._texts)

    def names(self) -> list[str]:
        """The names of the segments in order, '' for a blank line."""
        field = self.delimiters.field
        return [
            name if text[3:4] in (field, "") else text.partition(field)[0]
            for name, text in zip(self._short_names(), self._texts, strict=True)
        ]

    def indexes(self, name: str) -> list[int]:
        """Where the segments of that name stand, in order."""
        ends = (self.delimiters.field, "")
        texts = self._texts
        return [i for i, n in enumerate(self._short_names()) if n == name and texts[i][3:4] in ends]

    def first(self, name: str) -> int:
        """Where the first segment of that name stands, -1 for nowhere."""
        names = self._names
        if names is None:
            names = self._short_names()
        try:
            index = names.index(name)
        except ValueError:
            return -1
        if self._texts[index][3:4] in (self.delimiters.field, ""):
            return index
        return next(iter(self.indexes(name)), -1)

    def _short_names(self) -> list[str]:
        names = self._names
        if names is None:
            names = self._names = [text[:3] for text in self._texts]
        return names

    def fields(self, index: int) -> list[str]:
        """The fields of one segment as they stand, `[n]` being field n and `[0]` the name. Not to be changed."""
        fields = self._fields[index]
        if fields is None:
            separator = self.delimiters.field
            fields = self._texts[index].split(separator)
            if fields[0] in HEADERS:
                fields.insert(1, separator)
            self._fields[index] = fields
        return fields

    def segment(self, index: int) -> str:
        """The text of one segment as it stands."""
        if index in self._stale:
            self._refresh()
        return self._texts[index]

    def get(self, path: str) -> str | None:
        """The value at a path: None for absent, '' for empty, else text unescaped. Raises PathError."""
        return compile_path(path).get(self)

    def set(self, path: str, value: str) -> int:
        """`Path.set` for a path text."""
        return compile_path(path).set(self, value)

    def replace_fields(self, index: int, fields: list[str]) -> None:
        """Put new fields, numbered as `fields` gives them, in the place of a segment's; its name stays."""
        self._fields[index] = fields
        self._stale.add(index)
        self.is_changed = True

    def insert_segment(self, index: int, text: str) -> None:
        """Put a segment, as it stands, before the one at `index` (`len(message)`: at the end).

        Raises EditError when the text is no single segment or would stand before the header.
        """
        name = text[:3]
        is_name = len(name) == 3 and name.isascii() and name.isalnum() and name[0].isalpha()
        if not is_name or text[3:4] not in (self.delimiters.field, "") or "\r" in text:
            raise EditError("the text is no single segment", "")
        if not 1 <= index <= len(self._texts):
            raise EditError("a segment can stand only after the header", name)
        self._refresh()
        self._texts.insert(index, text)
        self._fields.insert(index, None)
        if self._originals is not None:
            self._originals.insert(index, None)
        self._names = None
        self.is_changed = True
        if self.focus is not None and self.focus >= index:
            self.focus += 1

    def delete_segments(self, indexes: Iterable[int]) -> None:
        """Remove segments. The focus stays on its segment, or becomes None with it. Raises EditError for the header."""
        gone = set(indexes)
        if not gone:
            return
        if 0 in gone:
            raise EditError("a message cannot be without its header", self._texts[0][:3])
        self._refresh()
        kept = [i for i in range(len(self._texts)) if i not in gone]
        if self.focus is not None:
            self.focus = None if self.focus in gone else kept.index(self.focus)
        self._texts = [self._texts[i] for i in kept]
        self._fields = [self._fields[i] for i in kept]
        if self._originals is not None:
            self._originals = [self._originals[i] for i in kept]
        self._names = None
        self.is_changed = True

    def copy(self) -> "Message":
        """A message of its own that shares all text with this one."""
        new = Message.__new__(Message)
        new.raw = self.raw
        new.delimiters = self.delimiters
        new.focus = self.focus
        new.is_changed = self.is_changed
        new._body = self._body
        new._header = self._header
        new._texts = self._texts.copy()
        new._fields = self._fields.copy()
        new._stale = self._stale.copy()
        new._names = self._names
        new._originals = None if self._originals is None else self._originals.copy()
        new._charset = self._charset
        new._notices = self._notices
        new._warnings = self._warnings
        new._fallback = self._fallback
        return new

    def to_bytes(self) -> bytes:
        """The message as it is sent: segments ended by CR, the last one too; no BOM, nothing before the header.

        Written with the codec that it was read with, or, when an edit made MSH-18 name another character set,
        with that one. Raises UnencodableText, with the place, for a character that the set does not have.
        """
        if not self.is_changed:
            return self._body if self._body.endswith(b"\r") else self._body + b"\r"
        self._refresh()
        codec = self._codec_by_edited_header()
        return encode_segments(
            self._texts,
            self._originals,
            codec or self.codec,
            self.delimiters.field,
            transcoded=codec is not None,
        )

    def _codec_by_edited_header(self) -> str | None:
        """The codec that an edited MSH-18 asks for, None when nothing changes."""
        fields = self.fields(0)
        declared = fields[18] if len(fields) > 18 else ""
        if not declared or fields[0] != "MSH" or self._texts[0] is self._header or declared == self.charset.declared:
            return None
        candidates = declared_codecs(declared, self.delimiters.repetition)
        if candidates is None:
            raise UnencodableText("it names no character set that can be written", "MSH-18")
        codec = candidates[0] if candidates else "ascii"
        return None if codec == self.codec else codec

    def _refresh(self) -> None:
        """Make the texts of edited segments from their fields."""
        separator = self.delimiters.field
        for index in self._stale:
            fields = self._fields[index]
            assert fields is not None
            if fields[0] in HEADERS:
                fields = [fields[0], *fields[2:]]
            self._texts[index] = separator.join(fields)
            if self._originals is not None:
                self._originals[index] = None
        self._stale.clear()
