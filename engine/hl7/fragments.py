"""Segments continued with ADD, and messages continued with DSC and MSH-14 (spec items 65 and 66).

HL7 v2.5.1 section 2.10.2. `ADD|text` goes on with the segment before it, at any character. A message that is sent in
fragments ends each but the last in `DSC|pointer`; the next has that pointer in MSH-14, and an MSH-10 of its own. A
bare `ADD` before DSC says that the segment before it goes on in the next fragment, which then begins with `ADD|rest`.

All of it is done on bytes: a segment's end and the first bytes of a segment are the same in every character set, and
where a text was cut in the middle of a character, only bytes come together again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from engine.hl7.charset import encoded
from engine.hl7.message import Message

_ADD = b"ADD"
_CR = b"\r"
_DELETE = '""'
_INTERACTIVE = "I"
Part = TypeVar("Part")


# -- ADD ------------------------------------------------------------------------------------------


def join_additions(message: Message) -> bytes | None:
    """The message's bytes with every ADD segment appended to the segment before it; None where there is none.

    One that stands right behind the header is left as it is: a header cannot be continued.
    """
    separator = _separator(message)
    if message.first("ADD") < 0:
        return None
    pieces = message.to_bytes().split(_CR)
    start = _ADD + separator
    out: list[list[bytes]] = []
    joined = False
    for piece in pieces:
        if len(out) > 1 and (piece == _ADD or piece.startswith(start)):
            out[-1].append(piece[len(start) :])
            joined = True
        else:
            out.append([piece])
    return _CR.join(b"".join(parts) for parts in out) if joined else None


def without_additions(message: Message) -> Message:
    """The same message with continued segments whole; `raw` stays what was received."""
    joined = join_additions(message)
    if joined is None:
        return message
    whole = Message.parse(joined, fallback=message.codec)
    whole.raw = message.raw
    return whole


# -- DSC and MSH-14 -------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Fragment:
    """What one fragment says of its place. `pointer`: MSH-14, '' for the first. `next`: DSC-1, '' for the last.

    `written` is MSH-1, MSH-2 and MSH-18, which all fragments of a message share. `begins_in_add`: its first segment
    goes on with the last one before; `ends_in_add`: its last one goes on in the next. `size_bytes` of the whole.
    """

    pointer: str
    next: str
    written: tuple[str, str, str]
    begins_in_add: bool
    ends_in_add: bool
    size_bytes: int

    @property
    def is_first(self) -> bool:
        return not self.pointer

    @property
    def is_last(self) -> bool:
        return not self.next


def is_fragment(message: Message) -> bool:
    """Whether the message is only a part of one, so that its structure says nothing."""
    return read_fragment(message) is not None


def read_fragment(message: Message) -> Fragment | None:
    """What the message says of its place among others; None for a message that is whole.

    A DSC with style I (interactive continuation of a query, DSC-2) makes no fragment.
    """
    header = message.fields(0)
    if header[0] != "MSH":
        return None
    pointer = _value(message.get("MSH-14"))
    following = _following(message)
    if not pointer and not following:
        return None
    named = _named(message)
    names = message.names()
    last = named[-2] if following else named[-1]
    field = message.delimiters.field
    written = (field, message.delimiters.written, header[18] if len(header) > 18 else "")
    return Fragment(
        pointer,
        following,
        written,
        begins_in_add=bool(pointer) and len(named) > 1 and names[named[1]] == "ADD",
        ends_in_add=bool(following) and message.segment(last) in ("ADD", f"ADD{field}"),
        size_bytes=len(message.raw),
    )


def join_fragments(messages: Sequence[Message]) -> bytes:
    """One message of its fragments, in their order: the header of the first, and the segments of all.

    The DSC that continue are gone, and so are the headers of the others. Where a segment goes on over the edge of a
    fragment, its parts are one; other ADD segments stay. The last fragment may be missing still.
    """
    out: list[bytes] = []
    for number, message in enumerate(messages):
        separator = _separator(message)
        start = _ADD + separator
        pieces = _trimmed(message.to_bytes().split(_CR))
        if _following(message):
            pieces = _trimmed(pieces[:-1])
        if number:
            pieces = pieces[1:]
            while pieces and len(out) > 1 and (pieces[0] == _ADD or pieces[0].startswith(start)):
                piece = pieces.pop(0)
                out[-1] += piece[len(start) :]
        if _following(message) and len(pieces) + len(out) > 1 and pieces and pieces[-1] in (_ADD, start):
            pieces.pop()
        out += pieces
    return _CR.join([*out, b""])


def _separator(message: Message) -> bytes:
    return encoded(message.delimiters.field, message.codec)


def _value(text: str | None) -> str:
    return "" if text is None or text == _DELETE else text


def _following(message: Message) -> str:
    """DSC-1 of a DSC that is the last segment and continues a fragmented message; '' otherwise."""
    if message.first("DSC") < 0:
        return ""
    found = message.indexes("DSC")
    if _named(message)[-1] != found[-1]:
        return ""
    number = len(found)
    if _value(message.get(f"DSC[{number}]-2")) == _INTERACTIVE:
        return ""
    return _value(message.get(f"DSC[{number}]-1"))


def _named(message: Message) -> list[int]:
    """Where the segments stand that are not blank lines."""
    return [index for index, name in enumerate(message.names()) if name.strip()]


def _trimmed(pieces: list[bytes]) -> list[bytes]:
    """Without the blank segments at the end."""
    end = len(pieces)
    while end and not pieces[end - 1].strip(b" \t"):
        end -= 1
    return pieces[:end]


# -- which fragment belongs to which -----------------------------------------------------------------


class Misplaced(Exception):
    """A fragment that has no place. `kind`: `unknown` pointer, does not `fit`, or is `too much` for the bounds."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(slots=True, frozen=True)
class Bounds:
    """Of what is kept unfinished: fragments and bytes of one message, and unfinished messages of one sender."""

    most_fragments: int
    most_bytes: int
    most_open: int


@dataclass(slots=True)
class OpenSet(Generic[Part]):
    """The fragments of one message so far. `expects`: the pointer that the next must have; '' when all are here.

    `touched_at`: when the last one came, in the caller's time. `is_again`: its first fragment was here before, in a
    set that came to nothing.
    """

    sender: str
    written: tuple[str, str, str]
    expects: str
    ends_in_add: bool
    touched_at: float
    is_again: bool = False
    size_bytes: int = 0
    parts: list[Part] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return not self.expects


class Assembly(Generic[Part]):
    """Puts fragments into sets, by sender and pointer. A `Part` is what the caller needs of each to join them."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._open: dict[tuple[str, str], OpenSet[Part]] = {}

    def __len__(self) -> int:
        """How many sets are unfinished."""
        return len(self._open)

    @property
    def open_sets(self) -> list[OpenSet[Part]]:
        """The unfinished ones."""
        return list(self._open.values())

    def expects(self, sender: str, pointer: str) -> OpenSet[Part] | None:
        """The set of this sender that goes on with this pointer."""
        return self._open.get((sender, pointer))

    def place(self, sender: str, fragment: Fragment) -> OpenSet[Part] | None:
        """The set it belongs to, None for a new one; nothing is changed. Raises Misplaced."""
        bounds = self.bounds
        if fragment.size_bytes > bounds.most_bytes:
            raise Misplaced("too much", f"a message in fragments may have {bounds.most_bytes} bytes")
        if fragment.is_first:
            if sum(key[0] == sender for key in self._open) >= bounds.most_open and not self._rival(sender, fragment):
                raise Misplaced("too much", f"its sender has {bounds.most_open} unfinished messages already")
            return None
        found = self._open.get((sender, fragment.pointer))
        if found is None:
            raise Misplaced("unknown", "no unfinished message of this sender goes on with this continuation pointer")
        if fragment.written != found.written:
            raise Misplaced("fit", "its delimiters or its character set are not those of the fragments before it")
        if found.ends_in_add and not fragment.begins_in_add:
            raise Misplaced("fit", "the fragment before it ends within a segment, and this one does not go on with it")
        if len(found.parts) >= bounds.most_fragments:
            raise Misplaced("too much", f"a message may have {bounds.most_fragments} fragments")
        if found.size_bytes + fragment.size_bytes > bounds.most_bytes:
            raise Misplaced("too much", f"a message in fragments may have {bounds.most_bytes} bytes")
        return found

    def rival(self, sender: str, fragment: Fragment, own: OpenSet[Part] | None) -> OpenSet[Part] | None:
        """Another unfinished set that goes on with the same pointer, and cannot after this fragment."""
        found = self._rival(sender, fragment)
        return None if found is own else found

    def _rival(self, sender: str, fragment: Fragment) -> OpenSet[Part] | None:
        return None if fragment.is_last else self._open.get((sender, fragment.next))

    def add(self, sender: str, found: OpenSet[Part] | None, fragment: Fragment, part: Part, at: float) -> OpenSet[Part]:
        """Put it there; `found` as `place` gave it. A complete set is the caller's, and no longer here."""
        if found is None:
            found = OpenSet(sender, fragment.written, fragment.next, fragment.ends_in_add, at)
        else:
            self.drop(found)
        found.parts.append(part)
        found.size_bytes += fragment.size_bytes
        found.expects = fragment.next
        found.ends_in_add = fragment.ends_in_add
        found.touched_at = at
        if found.expects:
            self._open[sender, found.expects] = found
        return found

    def drop(self, found: OpenSet[Part]) -> None:
        """Forget a set."""
        if self._open.get((found.sender, found.expects)) is found:
            del self._open[found.sender, found.expects]
