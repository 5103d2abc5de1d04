"""The file of a store, looked at beside whoever writes it: what it is, and whether it is whole. Nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, frozen=True)
class StoreIdentity:
    """`is_ours`: a store of Segmill. `schema`: the number of its last migration; `latest`: the last this engine has."""

    is_ours: bool
    schema: int
    latest: int


class StoreUnread(Exception):
    """It cannot be read as it should. `is_locked`: by another process, for longer than is waited; `kind`: the library's
    word for it."""

    def __init__(self, kind: str, *, is_locked: bool) -> None:
        super().__init__(kind)
        self.kind = kind
        self.is_locked = is_locked


class StoreFile(Protocol):
    """Each question opens the file anew, read-only, waits some seconds for who has it, and raises StoreUnread."""

    def identity(self) -> StoreIdentity: ...

    def check(self, *, whole: bool) -> None:
        """Read through it; `whole`: and compare its indexes with its rows. StoreUnread where something is wrong."""
        ...

    def pages(self) -> Mapping[str, int]:
        """How it is laid out: its version, pages, and how many of them are free."""
        ...

    def newest_us(self) -> int:
        """When its newest message was received; 0 where there is none."""
        ...
