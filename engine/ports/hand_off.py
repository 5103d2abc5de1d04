"""Worklists that others serve: what a store knows of them, and what one who takes steps over is to a runtime.

A hand-off follows a worklist in the store: whoever takes steps over (a folder of files, an Orthanc, an archive) has,
sooner or later, each step that scanners are to see, as it is now, and none of those that they are not. The store keeps
what each has, so a crash or a long absence leaves a difference, and the difference is the work (dicom.md section 3).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from engine.ports.worklist import Shelved
from engine.worklist.item import ItemKey


@dataclass(slots=True, frozen=True)
class Handed:
    """A step that somebody has. `mark`: which state of it, as the store names states. `is_shown`: as one to be done.

    `token`: what the one who has it said of it, to know it again by.
    """

    key: ItemKey
    mark: str
    is_shown: bool = True
    token: str = ""


@dataclass(slots=True, frozen=True)
class WaitingStep:
    """A step that is not there as it should be. `shelved` None: the item is gone. `had`: what is there."""

    key: ItemKey
    mark: str
    shelved: Shelved | None
    had: Handed | None

    @property
    def is_shown(self) -> bool:
        """Whether scanners are to see it."""
        return self.shelved is not None and self.shelved.item.is_shown


class Backlog(NamedTuple):
    """How many steps are not as they should be, and when the oldest of those to be shown was written; 0 for none."""

    steps: int
    oldest_us: int


class HandOffView(Protocol):
    """What is handed over of a worklist, at one moment, for one thread and a short while."""

    def epoch(self, worklist: str) -> int:
        """What was written to the worklist so far; while it stays so, nothing new is to be handed over."""
        ...

    def waiting(self, hand_off: str, worklist: str, most: int) -> Sequence[WaitingStep]:
        """Steps that are not as they should be: those that are not to be seen any more first, then by their start.

        At most `most` of each of the two.
        """
        ...

    def backlog(self, hand_off: str, worklist: str) -> Backlog: ...

    def handed(self, hand_off: str) -> Sequence[Handed]:
        """All that is there."""
        ...

    def known(self) -> Mapping[str, int]:
        """All hand-offs that anything was ever handed over by, with how many steps are there as ones to be done."""
        ...


class HandOffQueries(Protocol):
    """The hand-offs in a store, for reading; from any thread."""

    def hand_offs(self) -> AbstractContextManager[HandOffView]:
        """Raises StoreError."""
        ...


@dataclass(slots=True, frozen=True)
class HandedOver:
    """What one who takes steps over has now (`kept`), and has no more (`gone`)."""

    hand_off: str
    at_us: int
    kept: Sequence[Handed] = ()
    gone: Sequence[ItemKey] = ()


# -- those who take steps over ------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Kept:
    """It is there for good, as it is now. `is_shown` False: as one that has ended."""

    is_shown: bool = True
    token: str = ""


@dataclass(slots=True, frozen=True)
class Gone:
    """It is not there, for good."""


@dataclass(slots=True, frozen=True)
class NotTaken:
    """This one was not taken, others may be; `why`: a sentence without values. `is_theirs`: a failure of theirs."""

    why: str
    is_theirs: bool = False


TakerOutcome = Kept | Gone | NotTaken


@dataclass(slots=True, frozen=True)
class Taken:
    """What became of steps, in their order, as far as it came. `down`: why no more can be handed over now; or ''."""

    outcomes: Sequence[TakerOutcome]
    down: str = ""


@dataclass(slots=True)
class Inventory:
    """What is there in truth, held against what the store says.

    `lost`: steps that are not there any more, or not as they were left; they are handed over again. `left`: those that
    the other side took off, and that stay off; `is_shown` is False. `removed`: how many were there that should not be.
    """

    lost: list[ItemKey] = field(default_factory=list)
    left: list[Handed] = field(default_factory=list)
    removed: int = 0


class TakerDown(Exception):
    """Nothing can be handed over now; a retry may pass. The text is a sentence without values."""


class Taker(Protocol):
    """Somebody who takes steps over. One call at a time; what it says is done is done for good.

    To hand the same step over again does no harm. A call may be cancelled at any time; it is made again then.
    """

    kind: str
    most: int
    """How many steps one call takes."""

    async def take(self, steps: Sequence[WaitingStep]) -> Taken:
        """Hand over what is to be seen, and take away what is not. Never raises for what the other side does."""
        ...

    async def look(self, handed: Sequence[Handed]) -> Inventory:
        """See what is there; what is ours and not in `handed` is removed. Raises TakerDown."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class UnreadyTaker(Protocol):
    """One that takes nothing yet, for what is in its own files."""

    why_unready: str
    """A sentence; '' once it can."""


# -- what people are told -----------------------------------------------------------------------

HandOffState = Literal["starting", "up", "down"]


@dataclass(slots=True, frozen=True)
class HandOffStatus:
    """How one hand-off stands. `since_us`: when the state began. `why`: of the last failure, also of single steps."""

    name: str
    kind: str
    worklist: str
    state: HandOffState
    since_us: int
    handed: int
    waiting: int
    refused: int
    oldest_us: int
    why: str = ""
