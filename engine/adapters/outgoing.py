"""What a sender must know of the message it sends: its MSH-10, and whether an answer is due."""

from engine.hl7.ack import control_id_bytes
from engine.hl7.charset import bytes_of
from engine.hl7.message import Message

ESCAPE = b"\x1b"


def header_fields(body: bytes) -> list[bytes]:
    """MSH-1 to MSH-16 as raw bytes at index 1 to 16, b'' where absent; index 0 is the segment's name.

    Cut at the separator byte when the segment is ASCII, which is nearly always; otherwise by the parser, as
    the separator may be half a character (GB 18030, Shift JIS, ISO-2022-JP: hl7.md section 7). Raises
    UnreadableMessage when there is no header to be found.
    """
    start = 0 if body.startswith(b"MSH") else max(body.find(b"MSH"), 0)
    end = body.find(b"\r", start)
    line = body[start:] if end < 0 else body[start:end]
    if line.isascii() and ESCAPE not in line:
        fields = line.split(b"\n", 1)[0].split(line[3:4] or b"|", 16)[:16]
        fields.insert(1, line[3:4])
    else:
        # All of it: which characters the header's bytes are is decided by those behind it, too.
        message = Message.parse(body)
        codec = message.codec
        fields = [bytes_of(field, codec) for field in message.fields(max(message.first("MSH"), 0))[:17]]
    fields.extend([b""] * (17 - len(fields)))
    return fields


def plain_header(body: bytes) -> bytes | None:
    """The MSH segment that a body begins with, where it says the same without the rest; else None."""
    end = body.find(b"\r")
    if end < 0 or not body.startswith(b"MSH"):
        return None
    line = body[:end]
    return line if line.isascii() and ESCAPE not in line and b"\n" not in line else None


def control_id_of(body: bytes) -> bytes:
    """MSH-10 as raw bytes: what MSA-2 of the answer must be, byte for byte. b'' where it is absent."""
    if body.startswith(b"MSH"):
        end = body.find(b"\r")
        line = body if end < 0 else body[:end]
        if line.isascii() and ESCAPE not in line and b"\n" not in line:
            fields = line.split(line[3:4] or b"|", 10)
            return fields[9] if len(fields) > 9 else b""
        return control_id_bytes(Message.parse(body))
    return header_fields(body)[10]


def asks_application(body: bytes) -> bool:
    """Whether MSH-16 asks for the application's answer to what it accepts: AL, SU, or a value nobody knows."""
    return header_fields(body)[16].strip() not in (b"", b"NE", b"ER")


def expects_answer(body: bytes) -> bool:
    """False only where MSH-15 and MSH-16 both say NE: then not one byte comes back (hl7.md item 22)."""
    fields = header_fields(body)
    return not (fields[15] == b"NE" == fields[16])
