"""Identifiers that are longer than DICOM has room for, where a destination says what becomes of them (dicom.md 1.6).

Cut, an identifier is another one; so each way here is the site's choice, gives the same at any time, and the
identifier as it was ordered is kept beside (`Item.originals`). Two that come to one are refused (`orders`).
"""

from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from engine.worklist.attributes import Attribute
from engine.worklist.text import clean

SHORTENED: Final = ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID")
"""Those of 16 characters. A patient's, and those of 64, are never another than was sent."""


@dataclass(slots=True, frozen=True)
class Shortening:
    """What is tried, in this order: the `table`, by the whole identifier; `prefixes` to leave out; a hash."""

    table: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    hash16: bool = False

    def short(self, number: str, attribute: Attribute) -> str:
        """The identifier as DICOM has it; itself where it fits, or where nothing makes it fit."""
        most = attribute.most
        if len(clean(number, attribute)) <= most:
            return number
        if (listed := self.table.get(number)) is not None:
            return listed
        for prefix in self.prefixes:
            rest = number.removeprefix(prefix)
            if 0 < len(clean(rest, attribute)) <= most:
                return rest
        return hash16(number) if self.hash16 else number


NOT_AT_ALL: Final = Shortening()


def hash16(number: str) -> str:
    """80 bits of the identifier as 16 characters of `A-Z2-7`: the same on every site and at any time."""
    return b32encode(blake2b(number.encode("utf-8", "surrogatepass"), digest_size=10).digest()).decode("ascii")
