"""What a support bundle is made of."""

from collections.abc import Iterator
from typing import Protocol


class SupportMaker(Protocol):
    """Looks at one site. Used by a thread of its own."""

    def members(self) -> Iterator[tuple[str, str]]:
        """The bundle's files, name and text, one after the other as each is made: scrubbed, without patients' data and
        secrets. Blocks."""
        ...
