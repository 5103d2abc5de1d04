"""Large contents go through a pipe in pieces, whole and in order."""

import asyncio
import gc
import weakref

import pytest

from engine.runtime.channels import Line, Nobody
from engine.runtime.pipes import PIECE_BYTES, read_whole, write_whole
from engine.runtime.tasks import Tasks


class Pipe:
    """A writer that counts what it is given at a time, and what was drained."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.drains = 0

    def write(self, piece: bytes) -> None:
        self.pieces.append(bytes(piece))

    async def drain(self) -> None:
        self.drains += 1


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 7])
async def test_what_is_written_comes_out_whole_and_never_more_than_a_piece_at_a_time(size):
    content = bytes(number % 251 for number in range(size))
    pipe = Pipe()
    await write_whole(pipe, content)
    assert b"".join(pipe.pieces) == content
    assert max(map(len, pipe.pieces)) <= PIECE_BYTES
    assert size <= PIECE_BYTES or pipe.drains == len(pipe.pieces)
    reader = asyncio.StreamReader()
    reader.feed_data(content + b"behind it")
    reader.feed_eof()
    assert await read_whole(reader, size) == content
    assert await reader.read() == b"behind it"


@pytest.mark.parametrize("size", [10, 3 * PIECE_BYTES])
async def test_what_ends_before_its_end_is_an_error(size):
    reader = asyncio.StreamReader()
    reader.feed_data(b"x" * (size - 1))
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await read_whole(reader, size)


async def test_nothing_of_a_message_stays_behind_when_its_turn_is_over():
    """The line of a channel waits for the next message, and must not keep the last one alive meanwhile."""

    class Kept:
        pass

    line = Line("adt")
    done = asyncio.Event()

    def work_of(kept: Kept):
        async def work() -> None:
            assert kept is not None
            done.set()

        return work

    kept = Kept()
    seen = weakref.ref(kept)
    line.add(work_of(kept), Nobody())
    del kept
    tasks = Tasks(lambda name, error: None)
    task = tasks.spawn(line.run(), "line")
    await done.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert seen() is None
    line.drain()
    await task
