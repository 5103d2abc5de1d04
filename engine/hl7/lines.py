"""Whether some segment of a message's bytes starts with something, without reading its large ones byte by byte.

Python looks for one byte some fifteen times as fast as for several: in 20 MB it takes 0.7 ms to find each CR, and 11 ms
to find out that none is followed by MSH.
"""

from collections.abc import Iterator

_LARGE_BYTES = 1 << 20


def has_few_segments(raw: bytes) -> bool:
    """Whether its segments have a kilobyte or more on average."""
    left = len(raw) >> 10
    at = raw.find(b"\r")
    while at >= 0 and left:
        left -= 1
        at = raw.find(b"\r", at + 1)
    return left > 0


def has_line(raw: bytes, *starts: bytes) -> bool:
    """Whether a CR is followed by one of `starts`."""
    if len(raw) < _LARGE_BYTES and len(starts) == 1:  # asked of every message
        return raw.find(b"\r" + starts[0]) >= 0
    at = raw.find(b"\r") if len(raw) >= _LARGE_BYTES else -1
    left = len(raw) >> 10
    while at >= 0 and left:
        if raw.startswith(starts, at + 1):
            return True
        left -= 1
        at = raw.find(b"\r", at + 1)
    if len(raw) >= _LARGE_BYTES and at < 0:
        return False
    return any(raw.find(b"\r" + start, max(at, 0)) >= 0 for start in starts)


def segments_of(body: bytes) -> Iterator[memoryview]:
    """The segments where they stand: `split` would have all of them there once more."""
    view = memoryview(body)
    at = 0
    while (end := body.find(b"\r", at)) >= 0:
        yield view[at:end]
        at = end + 1
    yield view[at:]


def parts_of(raw: bytes, size: int) -> Iterator[memoryview]:
    """It where it stands, `size` bytes at a time."""
    view = memoryview(raw)
    return (view[at : at + size] for at in range(0, len(view), size))
