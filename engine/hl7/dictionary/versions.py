"""Which versions there are, and which of them stands for what MSH-12 says (hl7.md item 70)."""

from functools import lru_cache
from typing import Final

from engine.hl7.version import parse_version

VERSIONS: Final = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2")
"""In order. There is no 2.7.1 and no 2.9 in hl7apy; the one before stands for them."""

_NUMBERS: Final = tuple(parse_version(version) for version in VERSIONS)


@lru_cache(maxsize=64)
def nearest_version(text: str) -> str:
    """The greatest known version that is not above MSH-12's text, of which only the first component counts.

    `2.9` is 2.8.2, `2.3.z` is 2.3, `1.0` is 2.1 as there is nothing below it; a text without a number is 2.5.1.
    """
    asked = parse_version(text)
    known = [version for version, number in zip(VERSIONS, _NUMBERS, strict=True) if number <= asked]
    return known[-1] if known else VERSIONS[0]
