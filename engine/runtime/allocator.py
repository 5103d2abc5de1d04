"""Large blocks of memory apart, so that what one large message took goes back to the system with it.

glibc's malloc raises its threshold for blocks of their own to the largest that was ever freed, up to 32 MB: behind the
first large message the next ones come from the heap, where what is freed stays with the process, between small blocks.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
APART_BYTES = 1 << 20
KEPT_BYTES = 2 << 20


def keep_large_blocks_apart() -> bool:
    """Once, at the start of a process; whether this system's allocator can be told so."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, such as musl, which does so anyway
        return False
    # Else, once the one above is set, 128 KiB at the end of the heap would go back at each turn and be asked for again.
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(mallopt(_M_MMAP_THRESHOLD, APART_BYTES))
