"""One HL7 message, lazy and copy-on-write: nothing is split before it is asked for, and what nobody edits leaves
byte for byte as it came (spec items 41, 44, 45, 48).

A message is a list of segments: texts as they came, and lists of fields for those that were edited. A text's fields
are split when first asked for. Lists are shared between copies and with whoever asked, so an edit puts a new one in
the place of the old; only a list made by an edit of this very message, since it was copied last, is edited further.

Work is counted, not timed: what goes over many segments takes its count from `allowance`, so that the same message
comes to the same end on every machine (reliability.md E2).
"""

from collections.abc import Generator, Iterable, Sequence
from datetime import datetime
from io import BytesIO
from typing import TypeVar

from engine.hl7.batch import split_batch
from engine.hl7.charset import KEEP_BYTES, Charset, decide, declared_codecs, is_transparent, text_of
from engine.hl7.delimiters import HEADERS, STANDARD, Delimiters, read_delimiters
from engine.hl7.errors import EditError, Notice, TooMuchWork, UnencodableText
from engine.hl7.in_steps import STEP_BYTES, Received, texts_in_steps
from engine.hl7.intake import Declared, clean, declared_charset
from engine.hl7.lines import has_few_segments, has_line, parts_of, segments_of
from engine.hl7.output import (
    encode_in_parts,
    encode_segments,
    encode_strictly,
    encode_whole,
    segment_name,
    segment_text,
)
from engine.hl7.path import compile_path

__all__ = ["Message", "split_batch"]

MOST_WORK = 10_000_000
"""What one copy of a message may cost. A unit is about 50 to 100 ns, so this is a second at the most."""
_LARGE_BYTES = 1 << 20
_HEAD_SEGMENTS = 16
_STANDARD_START = "MSH|^~\\&|"
_T = TypeVar("_T")


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
        "_is_document",
        "_notices",
        "_originals",
        "_places",
        "_received",
        "_room",
        "_segments",
        "_starts",
        "_warnings",
        "allowance",
        "delimiters",
        "edited",
        "focus",
        "heads",
        "is_changed",
        "raw",
        "received_at",
    )

    raw: bytes
    """The bytes as they were received."""
    allowance: int
    """What is left of `MOST_WORK`; below 0, `spend` raises. Each copy begins with all of it."""
    delimiters: Delimiters
    focus: int | None
    is_changed: bool
    """Whether an edit was made. `to_bytes` may differ from `raw` without one: BOM, line ends, final CR."""
    heads: dict[str, list[str]]
    """Fields of first segments by name, as far as they were asked for; `first_fields` fills it. For reading.py."""
    received_at: datetime
    """When it came. Set only where a channel looks values up by it; copies do not have it."""
    edited: set[str]
    """Names of first segments whose list in `heads` is this message's own and may be changed. For writing.py."""

    _body: bytes  # `raw` as `clean` leaves it
    _header: str  # the first segment's text as received
    _segments: list[str | list[str]]  # text as received, or fields: of what was edited, and of large ones
    _is_document: bool
    _received: Received  # shared by copies
    _room: list[BytesIO]  # shared by copies: memory for the one that is written first
    _has_tail: bool  # the last text is all that follows the first segments, not cut yet
    # Shared by copies, as long as their segments stand at the same places:
    _fields: dict[int, list[str]]  # of texts, split
    _firsts: dict[str, int]  # where the first segment of a name stands
    _places: dict[str, list[int]]  # where all segments of a name stand
    _starts: list[str] | None  # the first four characters of each segment: name and separator
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
        is_document = _is_document(raw)
        texts = _plain_texts_of_large(raw) if is_document else _plain_texts(raw)
        return cls._of(raw, fallback, texts, is_document=is_document)

    @classmethod
    def parse_in_steps(cls, raw: bytes, *, fallback: str = "cp1252") -> Generator[None, None, "Message"]:
        """As `parse`, and returns the message; who has others to serve meanwhile serves them between the steps."""
        if not _is_document(raw):
            return cls.parse(raw, fallback=fallback)
        yield
        if not _is_plain(raw):
            return cls.parse(raw, fallback=fallback)
        yield
        texts, received = yield from texts_in_steps(raw)
        # And the room to write it: its fresh memory takes three times as long as the writing.
        room = BytesIO()
        for piece in parts_of(raw, STEP_BYTES):
            room.write(piece)
            yield
        self = cls._of(raw, fallback, texts, is_document=True, received=received)
        self._room.append(room)
        return self

    @classmethod
    def _of(
        cls,
        raw: bytes,
        fallback: str,
        texts: Sequence[str | list[str]] | None,
        *,
        is_document: bool,
        received: Received | None = None,
    ) -> "Message":
        """The message; `texts`: of its segments, or their fields, where they were plain, else None."""
        self = cls()
        self.raw = raw
        self.allowance = MOST_WORK
        self.focus = None
        self.is_changed = False
        self.heads = {}
        self.edited = set()
        self._fallback = fallback
        self._charset = self._starts = self._originals = self._warnings = None
        self._notices = ()
        self._fields = {}
        self._firsts = {}
        self._places = {}
        self._body = raw
        self._is_document = is_document
        self._room = []
        self._received = received or {}
        if is_document and texts is not None and received is None:
            alike = zip(texts, segments_of(raw), strict=True)
            self._received = {id(text): (text, piece) for text, piece in alike if len(text) >= STEP_BYTES}
        if texts is None:
            texts = self._read_slowly(raw)
        header = texts[0]
        assert isinstance(header, str), "a header is no list of fields before it is edited"
        if header.startswith(_STANDARD_START):
            self.delimiters = STANDARD
        else:
            self.delimiters, notices = read_delimiters(header)
            self._notices += notices
        # Of a document every segment is cut now, so that its text is there once, whoever edits a copy.
        self._has_tail = len(texts) > _HEAD_SEGMENTS and self._originals is None and not is_document
        self._header = header
        self._segments = [*texts]
        if not texts[-1]:
            self._segments.pop()
            self._has_tail = False
        return self

    def _read_slowly(self, raw: bytes) -> list[str]:
        """Segment texts of anything that `_plain_texts` does not take: the first ones and the rest, or all."""
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
            if _is_document(body):
                return [str(piece, codec, KEEP_BYTES) for piece in segments_of(body)]
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
    def beyond_ascii(self) -> Charset | None:
        """`charset` where it had to be looked for; None for a message of plain ASCII that nobody asked, at no cost."""
        return self._charset

    @property
    def codec(self) -> str:
        """The Python codec that the bytes were read with."""
        return self.charset.codec

    @property
    def written_codec(self) -> str:
        """The Python codec that `to_bytes` writes with. Raises UnencodableText when MSH-18 was set to no charset."""
        edited = self.is_changed and self._segments[0] is not self._header
        return (self._codec_by_edited_header() if edited else None) or self.codec

    @property
    def raw_header(self) -> bytes:
        """The first segment as received."""
        end = self._body.find(b"\r")
        return self._body if end < 0 else self._body[:end]  # not partition: it copies the rest, too

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What was odd about the message as it was received."""
        if self._warnings is None and self._is_unremarkable():
            self._warnings = ()
        if self._warnings is None:
            _ = self.charset  # adds its own
            if has_line(self._body, b"MSH" + self._body[3:4]):
                second = Notice("W321", "a second MSH segment stands inside the message", "MSH[2]", "100")
                self._notices += (second,)
            self._warnings = self._notices
        return self._warnings

    def _is_unremarkable(self) -> bool:
        """Nearly always: plain ASCII, the usual delimiters, no MSH-18 or a known one, and a single MSH.

        It says so in a fraction of the time that the whole answer takes, as every message that comes in is asked.
        """
        if self._charset is not None or self._notices or self.delimiters is not STANDARD:
            return False  # read slowly, or asked already
        header = self._header
        if header.count("|") > 16 and declared_codecs(header.split("|", 18)[17], "~") is None:
            return False
        return not has_line(self.raw, b"MSH|")

    def for_its_answer(self) -> "Message":
        """What an answer needs of this: itself, or of a large one the header alone, which keeps nothing large alive."""
        if len(self.raw) < _LARGE_BYTES:
            return self
        return Message.parse(self.raw_header + b"\r", fallback=self._fallback)

    def __len__(self) -> int:
        """The number of segments."""
        return len(self._all())

    def names(self) -> list[str]:
        """The names of the segments in order, '' for a blank line."""
        field = self.delimiters.field
        return [segment_name(segment, field) for segment in self._all()]

    def indexes(self, name: str) -> list[int]:
        """Where the segments of that name stand, in order. Not to be changed."""
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = self._find_all(name)
        return found

    def spend(self, units: int) -> None:
        """Take from the allowance. Raises TooMuchWork when there is none left."""
        self.allowance -= units
        if self.allowance < 0:
            raise TooMuchWork

    def _find_all(self, name: str) -> list[int]:
        segments = self._all()
        self.allowance -= len(segments)
        if len(name) != 3:
            return [i for i, n in enumerate(self.names()) if n == name]
        field = self.delimiters.field
        starts = self._starts
        if starts is None:
            starts = self._starts = [s[:4] if isinstance(s, str) else s[0] + field for s in segments]
        start = name + field
        if name not in starts and starts.count(start) < 2:
            return [starts.index(start)] if start in starts else []
        return [i for i, begun in enumerate(starts) if begun in (start, name)]

    def first(self, name: str) -> int:
        """Where the first segment of that name stands, -1 for nowhere."""
        index = self._firsts.get(name)
        if index is None:
            index = self._firsts[name] = self._find(name)
        return index

    def _find(self, name: str) -> int:
        start = name + self.delimiters.field
        starts = self._starts
        if starts is not None and name not in starts and len(name) == 3:
            return starts.index(start) if start in starts else -1
        for index, segment in enumerate(self._segments):
            if isinstance(segment, str):
                if segment.startswith(name) and (segment.startswith(start) or segment == name):
                    self.allowance -= index
                    return index
            elif segment[0] == name:
                self.allowance -= index
                return index
        self.allowance -= len(self._segments)
        if self._has_tail and f"\r{name}" in self._segments[-1] and (found := self.indexes(name)):
            return found[0]
        return -1

    def first_fields(self, name: str) -> list[str]:
        """The fields of the first segment of that name, [] for none. Not to be changed."""
        index = self._firsts.get(name)
        if index is None:
            index = self._firsts[name] = self._find(name)
        fields = self.heads[name] = self.fields(index) if index >= 0 else []
        return fields

    def _all(self) -> list[str | list[str]]:
        """The segments, with the tail cut."""
        if self._has_tail:
            tail = self._segments.pop()
            assert isinstance(tail, str), "a tail is cut before anything in it is edited"
            texts = tail.split("\r")
            if not texts[-1]:
                texts.pop()
            self._segments += texts
            self._starts = None
            self._has_tail = False
        return self._segments

    def fields(self, index: int) -> list[str]:
        """The fields of one segment as they stand, `[n]` being field n and `[0]` the name. Not to be changed.

        A later edit of the message may change the list.
        """
        segments = self._segments if 0 <= index < _HEAD_SEGMENTS else self._all()
        segment = segments[index]
        if isinstance(segment, list):
            return segment
        fields = self._fields.get(index)
        if fields is None:
            separator = self.delimiters.field
            fields = segment.split(separator)
            if fields[0] in HEADERS:
                fields.insert(1, separator)
            self._fields[index] = fields
        return fields

    def segment(self, index: int) -> str:
        """The text of one segment as it stands."""
        return segment_text(self._all()[index], self.delimiters.field)

    def is_continued(self, index: int) -> bool:
        """Whether an ADD segment follows, so that the end of this one is not the end of its text (spec item 65)."""
        segments = self._all()
        return index + 1 < len(segments) and segment_name(segments[index + 1], self.delimiters.field) == "ADD"

    def get(self, path: str) -> str | None:
        """The value at a path: None for absent, '' for empty, else text unescaped. Raises PathError."""
        return compile_path(path).get(self)

    def plain(self, path: str) -> str | None:
        """`Path.plain` for a path text."""
        return compile_path(path).plain(self)

    def set(self, path: str, value: str) -> int:
        """`Path.set` for a path text."""
        return compile_path(path).set(self, value)

    def replace_fields(self, index: int, fields: list[str]) -> None:
        """Put new fields, numbered as `fields` gives them, in the place of a segment's; its name stays."""
        segments = self._segments if 0 <= index < _HEAD_SEGMENTS else self._all()
        segments[index] = fields
        self.is_changed = True
        if self._originals is not None:
            self._originals[index] = None
        name = fields[0]
        self.heads.pop(name, None)
        self.edited.discard(name)

    def edit_first(self, name: str) -> list[str]:
        """The fields of the first segment of that name, which `heads` has, to be changed in place at once."""
        fields = self.heads[name].copy()
        index = self.first(name)
        self.heads[name] = self._segments[index] = fields
        self.edited.add(name)
        self.is_changed = True
        if self._originals is not None:
            self._originals[index] = None
        return fields

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
        segments = self._all()
        self.allowance -= len(segments) >> 4
        segments.insert(index, text)
        if self._originals is not None:
            self._originals.insert(index, None)
        if self.focus is not None and self.focus >= index:
            self.focus += 1
        self._places_moved(name)

    def delete_segments(self, indexes: Iterable[int]) -> None:
        """Remove segments. The focus stays on its segment, or becomes None with it. Raises EditError for the header."""
        segments = self._all()
        self.allowance -= len(segments)
        gone = sorted({i for i in indexes if 0 <= i < len(segments)})
        if not gone:
            return
        names = [segment_name(segments[i], self.delimiters.field) for i in gone]
        if gone[0] == 0:
            raise EditError("a message cannot be without its header", names[0])
        if self.focus is not None:
            before = sum(i < self.focus for i in gone)
            self.focus = None if self.focus in gone else self.focus - before
        starts = self._starts
        self._segments = _without(segments, gone)
        if self._originals is not None:
            self._originals = _without(self._originals, gone)
        self._places_moved(*names)
        if starts is not None:
            self._starts = _without(starts, gone)

    def _places_moved(self, *names: str) -> None:
        """Segments of those names came or went."""
        self.is_changed = True
        self._starts = None
        self._fields = {}
        self._firsts = {}
        self._places = {}
        for name in names:
            self.heads.pop(name, None)
            self.edited.discard(name)

    def copy(self) -> "Message":
        """A message of its own that shares all text with this one."""
        new = Message()
        new.raw = self.raw
        new.allowance = MOST_WORK
        new.delimiters = self.delimiters
        new.focus = self.focus
        new.is_changed = self.is_changed
        new.heads = self.heads.copy()
        new.edited = set()
        if self.edited:
            self.edited = set()
        new._body = self._body
        new._header = self._header
        new._segments = self._segments.copy()
        new._has_tail = self._has_tail
        new._is_document = self._is_document
        new._room = self._room
        new._received = self._received
        new._fields = self._fields
        new._firsts = self._firsts
        new._places = self._places
        new._starts = self._starts
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
        codec = None if self._segments[0] is self._header else self._codec_by_edited_header()
        field = self.delimiters.field
        if codec is None and self._originals is None and self._is_document:
            # As below: what was plain ASCII most often stays so.
            read_as = "ascii" if self._charset is None else self._charset.codec
            room = self._room.pop() if self._room else BytesIO()
            written = encode_in_parts(self._all(), read_as, field, room, self._received)
            if written is not None:
                return written
        if codec is None and self._originals is None:
            texts = [s if isinstance(s, str) else segment_text(s, field) for s in self._segments]
            if not self._has_tail or not texts[-1].endswith("\r"):
                texts.append("")
            text = "\r".join(texts)
            # A plain ASCII message most often stays one, and then its charset need not be looked up.
            encoded = encode_whole(text, "ascii" if self._charset is None else self._charset.codec)
            if encoded is not None:
                return encoded
        return encode_segments(
            [segment_text(segment, field) for segment in self._all()],
            self._originals,
            codec or self.codec,
            field,
            transcoded=codec is not None,
        )

    def to_bytes_as(self, codec: str) -> bytes:
        """The message in another codec, with its MSH-18 as it is: for `engine.hl7.recode`, which sets that.

        Raises UnencodableText, with the place, for a character that the set does not have, and for bytes that
        were kept as they came because they are no characters.
        """
        field = self.delimiters.field
        texts = [segment_text(segment, field) for segment in self._all()]
        return encode_strictly(texts, self._originals if codec == self.codec else None, codec, field)

    def _codec_by_edited_header(self) -> str | None:
        """The codec that an edited MSH-18 asks for, None when nothing changes."""
        fields = self.fields(0)
        if len(fields) < 19 or not (declared := fields[18]):
            return None
        # As it stands in the text, too: in MSH-18 itself a byte may stand that is no character of the set.
        received = self._header.split(self.delimiters.field, 18)[17:18]
        if fields[0] != "MSH" or declared == self.charset.declared or [declared] == received:
            return None
        candidates = declared_codecs(declared, self.delimiters.repetition)
        if candidates is None:
            raise UnencodableText("it names no character set that can be written", "MSH-18")
        codec = candidates[0] if candidates else "ascii"
        return None if codec == self.codec else codec


def _plain_texts(raw: bytes) -> list[str] | None:
    """The first segments, and the rest, of an ASCII message that has neither LF nor ESC; None for any other."""
    if not raw.startswith(b"MSH|"):
        return None
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if "\n" in text or "\x1b" in text else text.split("\r", _HEAD_SEGMENTS)


def _is_document(raw: bytes) -> bool:
    """Large by a few large segments: one copy more or less of those counts, one step more a segment does not."""
    return len(raw) >= _LARGE_BYTES and has_few_segments(raw)


def _plain_texts_of_large(raw: bytes) -> list[str] | None:
    """As `_plain_texts`, but all segments, each decoded from where it stands: no other copy is made on the way."""
    return [str(piece, "ascii") for piece in segments_of(raw)] if _is_plain(raw) else None


def _is_plain(raw: bytes) -> bool:
    return raw.startswith(b"MSH|") and raw.isascii() and b"\n" not in raw and b"\x1b" not in raw


def _without(items: list[_T], gone: list[int]) -> list[_T]:
    """The items, less those at the indexes, which are in order."""
    kept: list[_T] = []
    at = 0
    for index in gone:
        kept += items[at:index]
        at = index + 1
    kept += items[at:]
    return kept
