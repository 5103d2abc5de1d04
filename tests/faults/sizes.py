"""How much the long forms do: in three quarters of an hour on two cores together (`make soak`), or all that was set as
a goal (`make night`, which is SEGMILL_FULL=1)."""

import os
from typing import TypeVar

IS_FULL = os.environ.get("SEGMILL_FULL", "") not in ("", "0", "no")
Size = TypeVar("Size")


def size(soak: Size, night: Size) -> Size:
    """Of the two, the one of this run."""
    return night if IS_FULL else soak
