"""Messages cut into parts, as senders cut them: for tests of steps, sinks and channels that meet such messages."""

from collections.abc import Sequence

from engine.hl7.charset import encoded
from engine.hl7.message import Message


def cut_segments(raw: bytes, at: Sequence[int]) -> bytes:
    """The message with its segments cut by ADD at these offsets in its bytes (hl7.md item 65).

    An offset in the header, or in a segment's name and separator, is moved behind them: those cannot be continued.
    """
    message = Message.parse(raw)
    add = b"\rADD" + encoded(message.delimiters.field, message.codec)
    out, end = raw, len(raw)
    for offset in sorted({_movable(raw, place, len(add) - 4) for place in at if 0 <= place < end}, reverse=True):
        if offset:
            out = out[:offset] + add + out[offset:]
    return out


def cut_message(raw: bytes, at: Sequence[int], control_ids: Sequence[str] = ()) -> list[bytes]:
    """The message in fragments, cut at these offsets in its bytes (hl7.md item 66).

    A cut within a segment is one with ADD, as in `cut_segments`; one at a segment's end has none. The fragments after
    the first have the control ids F2, F3 and so on, or those given. The message must end its segments in CR.
    """
    message = Message.parse(raw)
    field, codec = message.delimiters.field, message.codec
    width = len(encoded(field, codec))
    offsets = sorted({place for given in at if (place := _movable(raw, given, width)) and 0 < place < len(raw)})
    header_end = raw.index(b"\r") + 1
    bare = b"ADD\r"
    fragments = []
    start = 0
    for number, end in enumerate([*offsets, len(raw)]):
        body = raw[start:end]
        if number:
            begins_within = raw[start - 1 : start] != b"\r"
            given = control_ids[number - 1] if number <= len(control_ids) else f"F{number + 1}"
            body = _header(message, given, f"P{number}") + (_add(field, codec) if begins_within else b"") + body
        if end < len(raw):
            body += b"" if body.endswith(b"\r") else b"\r" + bare
            body += encoded(f"DSC{field}P{number + 1}\r", codec)
        fragments.append(body)
        start = end
    assert header_end <= len(fragments[0]), "the header of a message is never cut"
    return fragments


def _add(field: str, codec: str) -> bytes:
    return encoded(f"ADD{field}", codec)


def _movable(raw: bytes, offset: int, width: int) -> int:
    """The offset, moved behind the header and behind a segment's name and separator; 0 where there is no such place."""
    header_end = raw.find(b"\r") + 1
    if not header_end or header_end >= len(raw):
        return 0
    offset = max(offset, header_end)
    start = raw.rfind(b"\r", 0, offset) + 1
    if offset == start:
        return offset if offset > header_end else 0
    end = raw.find(b"\r", start)
    end = len(raw) if end < 0 else end
    return min(max(offset, start + 3 + width), end)


def _header(message: Message, control_id: str, pointer: str) -> bytes:
    """The header of a later fragment: the first one's, with an MSH-10 of its own and the pointer in MSH-14."""
    fields = list(message.fields(0))
    fields += [""] * (15 - len(fields))
    fields[10], fields[14] = control_id, pointer
    field = message.delimiters.field
    return encoded(field.join([fields[0], *fields[2:]]) + "\r", message.codec, "surrogateescape")
