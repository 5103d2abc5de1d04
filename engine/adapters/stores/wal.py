"""What SQLite leaves unsaid of a write-ahead log: whether recovery stopped before the log's end.

Recovery takes frames up to the first that is not whole and ignores all behind it, without a word: right after a crash,
where that is what was being written, and a silent loss of acknowledged commits where the disk has turned a bit in the
middle. The two can be told apart: what was being written is at the end, and frame after frame is whole until there.

Source: SQLite's file format, section 4 (sqlite.org/fileformat2.html).
"""

import struct
from pathlib import Path

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
LITTLE, BIG = 0x377F0682, 0x377F0683
MOST_FRAMES_LOOKED_AT = 2000


def damage_behind(log: Path, recovered: int) -> str:
    """A sentence when the log has more than the `recovered` frames and what follows is not a transaction cut short.

    After a power cut it may also be what had not been synced yet, and so never acknowledged.
    """
    try:
        content = log.read_bytes()
    except FileNotFoundError:
        return ""
    if len(content) <= HEADER_BYTES:
        return ""
    magic, _, page_bytes, _, salt_1, salt_2, first, second = struct.unpack_from(">8I", content)
    order = {LITTLE: "<", BIG: ">"}.get(magic)
    if order is None or _checksum(order, content[:24], (0, 0)) != (first, second):
        return "its header is damaged, and nothing in it can be read"
    size = FRAME_HEADER_BYTES + page_bytes
    salt = struct.pack(">2I", salt_1, salt_2)
    count = (len(content) - HEADER_BYTES) // size
    sums = (first, second)
    if recovered > 0:
        sums = struct.unpack_from(">2I", content, HEADER_BYTES + (recovered - 1) * size + 16)
    for number in range(recovered, min(count, recovered + MOST_FRAMES_LOOKED_AT)):
        at = HEADER_BYTES + number * size
        if content[at + 8 : at + 16] != salt:
            break
        sums = _checksum(order, content[at : at + 8], sums)
        sums = _checksum(order, content[at + FRAME_HEADER_BYTES : at + size], sums)
        if struct.pack(">2I", *sums) != content[at + 16 : at + 24]:
            return f"frame {number + 1} of {count} is damaged, and nothing behind it can be read"
    else:
        return ""
    # A frame of an earlier round of the log, or one whose salt was damaged: then some behind it have the right one.
    for behind in range(number + 1, count):
        at = HEADER_BYTES + behind * size
        if content[at + 8 : at + 16] == salt:
            return f"frame {number + 1} of {count} is damaged, and nothing behind it can be read"
    return ""


def _checksum(order: str, content: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """Go on from `sums` with the checksum of SQLite's log."""
    first, second = sums
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second
