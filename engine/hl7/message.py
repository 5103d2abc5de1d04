"""One HL7 message, lazy and copy-on-write: nothing is split before it is asked for, and what nobody edits leaves
byte for byte as it came (spec items 41, 44, 45, 48).

A message is a list of segment texts. A segment's fields are split when first asked for and kept as a list that
is never changed in place: an edit puts a new list there, so copies share all that they have in common.
"""

from collections.abc import Iterable

from engine.hl7.batch import split_batch
from engine.hl7.charset import Charset, decide, declared_codecs, is_transparent, text_of
from engine.hl7.delimiters import HEADERS, STANDARD, Delimiters, read_delimiters
from engine.hl7.errors import EditError, Notice, UnencodableText
from engine.hl7.intake import Declared, clean, declared_charset
from engine.hl7.output import encode_segments, encode_together
from engine.hl7.path import compile_path

__all__ = ["Message", "split_batch"]

_LARGE_BYTES = 1 << 20
_HEAD_SEGMENTS = 16
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
        "_firsts",
        "_has_tail",
        "_header",
        "_names",
        "_notices",
        "_originals",
        "_stale",
        "_texts",
        "_warnings",
        "delimiters",
        "focus",
        "heads",
        "is_changed",
        "raw",
    )

    raw: bytes
    """The bytes as they were received."""
    delimiters: Delimiters
    focus: int | None
    is_changed: bool
    """Whether an edit was made. `to_bytes` may differ from `raw` without one: BOM, line ends, final CR."""
    heads: dict[str, list[str]]
    """Fields of first segments by name, as far as they were asked for; `first_fields` fills it. For reading.py."""

    _body: bytes  # `raw` as `clean` leaves it
    _header: str  # the first segment's text as received
    _texts: list[str]  # stale where `_stale` says so
    _has_tail: bool  # the last text is all that follows the first segments, not cut yet
    _fields: dict[int, list[str]]
    _stale: set[int]  # segments whose fields were edited since their text was made
    _firsts: dict[str, int]  # where the first segment of a name stands
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
        self.heads = {}
        self._fallback = fallback
        self._charset = self._names = self._originals = self._warnings = None
        self._notices = ()
        self._fields = {}
        self._stale = set()
        self._firsts = {}
        self._body = raw
        text = _plain_text(raw)
        texts = self._read_slowly(raw) if text is None else text.split("\r", _HEAD_SEGMENTS)
        self._has_tail = len(texts) > _HEAD_SEGMENTS and self._originals is None
        if not texts[-1]:
            texts.pop()
            self._has_tail = False
        self._texts = texts
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
        if is_transparent(codec):
            # A large message is decoded by segments, so that one '€' does not double the size of all its text.
            if len(body) < _LARGE_BYTES:
                return text_of(body, codec).split("\r", _HEAD_SEGMENTS)
            return [text_of(piece, codec) for piece in body.split(b"\r")]
        pieces = body.split(b"\r")  # CR is never part of a longer character
        self._originals = list(pieces if pieces[-1] else pieces[:-1])
        return [text_of(piece, codec) for piece in pieces]

    def _declared(self) -> Declared:
        return declared_charset(self.raw_header, self._fallback)

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
    def raw_header(self) -> bytes:
        """The first segment as received."""
        return self._body.partition(b"\r")[0]

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What was odd about the message as it was received."""
        if self._warnings is None:
            _ = self.charset  # adds its own
            if self._body.find(b"\rMSH" + self._body[3:4]) >= 0:
                second = Notice("W321", "a second MSH segment stands inside the message", "MSH[2]", "100")
                self._notices += (second,)
            self._warnings = self._notices
        return self._warnings

    def __len__(self) -> int:
        """The number of segments."""
        return len(self._all())

    def names(self) -> list[str]:
        """The names of the segments in order, '' for a blank line. Not to be changed."""
        if self._names is None:
            field = self.delimiters.field
            self._names = [text[:3] if text[3:4] == field else text.partition(field)[0] for text in self._all()]
        return self._names

    def indexes(self, name: str) -> list[int]:
        """Where the segments of that name stand, in order."""
        return [i for i, n in enumerate(self.names()) if n == name]

    def first(self, name: str) -> int:
        """Where the first segment of that name stands, -1 for nowhere."""
        index = self._firsts.get(name)
        if index is None:
            index = self._firsts[name] = self._find(name)
        return index

    def first_fields(self, name: str) -> list[str]:
        """The fields of the first segment of that name, [] for none. Not to be changed."""
        index = self.first(name)
        fields = self.heads[name] = self.fields(index) if index >= 0 else []
        return fields

    def _find(self, name: str) -> int:
        start = name + self.delimiters.field
        texts = self._texts
        for index, text in enumerate(texts):
            if text.startswith(start) or text == name:
                return index
        if self._has_tail and f"\r{name}" in texts[-1] and name in self.names():
            return self.names().index(name)
        return -1

    def _all(self) -> list[str]:
        """The texts, with the tail cut."""
        if self._has_tail:
            tail = self._texts.pop().split("\r")
            if not tail[-1]:
                tail.pop()
            self._texts += tail
            self._has_tail = False
        return self._texts

    def fields(self, index: int) -> list[str]:
        """The fields of one segment as they stand, `[n]` being field n and `[0]` the name. Not to be changed."""
        fields = self._fields.get(index)
        if fields is None:
            separator = self.delimiters.field
            texts = self._texts if 0 <= index < _HEAD_SEGMENTS else self._all()
            fields = texts[index].split(separator)
            if fields[0] in HEADERS:
                fields.insert(1, separator)
            self._fields[index] = fields
        return fields

    def segment(self, index: int) -> str:
        """The text of one segment as it stands."""
        self._refresh()
        return self._all()[index]

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
        self.heads.pop(fields[0], None)

    def insert_segment(self, index: int, text: str) -> None:
        """Put a segment, as it stands, before the one at `index` (`len(message)`: at the end).

        Raises EditError when the text is no single segment or would stand before the header.
        """
        name = text[:3]
        is_name = len(name) == 3 and name.isascii() and name.isalnum() and name[0].isalpha()
        if not is_name or text[3:4] not in (self.delimiters.field, "") or "\r" in text:
            raise EditError("the text is no single segment", "")
        if not 1 <= index <= len(self):
            raise EditError("a segment can stand only after the header", name)
        self._refresh()
        self._texts.insert(index, text)
        if self._originals is not None:
            self._originals.insert(index, None)
        if self.focus is not None and self.focus >= index:
            self.focus += 1
        self._forget_places()

    def delete_segments(self, indexes: Iterable[int]) -> None:
        """Remove segments. The focus stays on its segment, or becomes None with it. Raises EditError for the header."""
        gone = set(indexes)
        if not gone:
            return
        if 0 in gone:
            raise EditError("a message cannot be without its header", self._texts[0][:3])
        kept = [i for i in range(len(self)) if i not in gone]
        self._refresh()
        if self.focus is not None:
            self.focus = None if self.focus in gone else kept.index(self.focus)
        self._texts = [self._texts[i] for i in kept]
        if self._originals is not None:
            self._originals = [self._originals[i] for i in kept]
        self._forget_places()

    def _forget_places(self) -> None:
        self.is_changed = True
        self._names = None
        self._fields.clear()
        self._firsts.clear()
        self.heads.clear()

    def copy(self) -> "Message":
        """A message of its own that shares all text with this one."""
        new = Message.__new__(Message)
        new.raw = self.raw
        new.delimiters = self.delimiters
        new.focus = self.focus
        new.is_changed = self.is_changed
        new.heads = self.heads.copy()
        new._body = self._body
        new._header = self._header
        new._texts = self._texts.copy()
        new._has_tail = self._has_tail
        new._fields = self._fields.copy()
        new._stale = self._stale.copy()
        new._firsts = self._firsts.copy()
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
        texts = self._texts
        if codec is None and self._originals is None:
            # A plain ASCII message most often stays one, and then its charset need not be looked up.
            likely = "ascii" if self._charset is None else self._charset.codec
            encoded = encode_together(texts, likely, ended=self._has_tail and texts[-1].endswith("\r"))
            if encoded is not None:
                return encoded
        return encode_segments(
            self._all(), self._originals, codec or self.codec, self.delimiters.field, transcoded=codec is not None
        )

    def _codec_by_edited_header(self) -> str | None:
        """The codec that an edited MSH-18 asks for, None when nothing changes."""
        if self._texts[0] is self._header:
            return None
        fields = self.fields(0)
        declared = fields[18] if len(fields) > 18 else ""
        if not declared or fields[0] != "MSH" or declared == self.charset.declared:
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
            if fields[0] in HEADERS:
                fields = [fields[0], *fields[2:]]
            self._texts[index] = separator.join(fields)
            if self._originals is not None:
                self._originals[index] = None
        self._stale.clear()


def _plain_text(raw: bytes) -> str | None:
    """The text of an ASCII message that starts with MSH and has neither LF nor ESC; None for any other."""
    if not raw.startswith(b"MSH|"):
        return None
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if "\n" in text or "\x1b" in text else text
