"""Large contents through a pipe in pieces, so that neither end of it here keeps them once more.

asyncio's writer copies what the pipe does not take at once, and its reader gathers what `readexactly` is asked for
before it gives a copy: of a message of 20 MB that is one time more each.
"""

import asyncio
from io import BytesIO
from typing import Final

PIECE_BYTES: Final = 256 * 1024


async def write_whole(writer: asyncio.StreamWriter, content: bytes) -> None:
    """All of it, in pieces that the pipe has taken before the next."""
    if len(content) <= PIECE_BYTES:
        writer.write(content)
        return
    whole = memoryview(content)
    for at in range(0, len(content), PIECE_BYTES):
        writer.write(whole[at : at + PIECE_BYTES])
        await writer.drain()


async def read_whole(reader: asyncio.StreamReader, size: int) -> bytes:
    """Exactly `size` bytes. Raises IncompleteReadError where it ends before."""
    if size <= PIECE_BYTES:
        return await reader.readexactly(size)
    found = BytesIO()
    while (left := size - found.tell()) > 0:
        piece = await reader.read(min(left, PIECE_BYTES))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        found.write(piece)
    return found.getvalue()  # its own buffer, not a copy of it
