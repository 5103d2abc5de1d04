"""Versions of the standard, as MSH-12 writes them."""

import re
from functools import lru_cache

Version = tuple[int, int, int]

DEFAULT_VERSION: Version = (2, 5, 1)
"""Stands in for an MSH-12 that names none."""

_VERSION = re.compile(r"\s*(\d{1,2})\.(\d{1,2})(?:\.(\d{1,2}))?", re.ASCII)


@lru_cache(maxsize=64)
def parse_version(text: str) -> Version:
    """`2.5.1` as (2, 5, 1), `2.3.z` and `2.3 PID` as (2, 3, 0); `DEFAULT_VERSION` when there is no number (item 70)."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else DEFAULT_VERSION
