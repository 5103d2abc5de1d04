"""What a worklist server asks of the engine: items to answer with, a log for its queries, performed steps to keep."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from engine.model.envelope import Intake
from engine.model.ids import ChannelName, DestinationName
from engine.worklist.item import Attributes, Item, ItemKey, Status
from engine.worklist.matching import Query
from engine.worklist.overlay import Stored
from engine.worklist.status import OrderReceived


class HistoryRow(NamedTuple):
    """One thing that happened to an item: when, by which message (0: by none), by whom, what, its status afterwards."""

    at_us: int
    seq: int
    who: str
    what: str
    status: Status


@dataclass(slots=True, frozen=True)
class Shelved:
    """An item with its DICOM elements as they were encoded when it was written."""

    item: Item
    encoded: bytes


class WorklistView(Stored, Protocol):
    """One worklist as it stands at one moment, for one thread and a short while."""

    epoch: int
    """Greater after each thing that was written to the worklist; a decision is right only as long as it stays so."""

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        """As WorklistReader.candidates."""
        ...

    def item(self, key: ItemKey) -> Item | None:
        """One item, whatever its status."""
        ...

    def history(self, key: ItemKey) -> Sequence[HistoryRow]:
        """What happened to an item, in order."""
        ...

    @property
    def damaged(self) -> int:
        """How many items `candidates` left out so far, as their bytes are not what was written."""
        ...


class WorklistQueries(Protocol):
    """The worklists in a store, for reading; from any thread."""

    def worklist(self, name: str) -> AbstractContextManager[WorklistView]:
        """One worklist; an empty one where nothing was ever written to it. Raises StoreError."""
        ...

    def worklist_counts(self) -> Mapping[tuple[str, Status], int]:
        """How many items there are, by worklist and status."""
        ...

    def worklist_without_station(self) -> Mapping[str, int]:
        """How many items scanners could see that are for none of them, by worklist; one without any is left out."""
        ...


class WorklistReader(Protocol):
    """A view of what is stored, for one thread. Read-only: a query can never hold up the engine."""

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        """Items that a query may match, by start: all that do match are among them, where these are not `most`."""
        ...

    def close(self) -> None: ...


class WorklistShelf(Protocol):
    """Where readers come from. May be called from any thread."""

    def reader(self) -> WorklistReader: ...


@dataclass(slots=True, frozen=True)
class QueryRecord:
    """One C-FIND as it is told to people: keys and their number of answers, never a value of an answer.

    `keys`: what was asked, by keyword, as text; values of patient keys only where the site logs them. `without`: how
    many there would be without each key. `status`: the DIMSE status that ended it. `seconds`: to the last answer.
    """

    at_us: int
    calling: str
    called: str
    peer: str
    keys: Attributes
    answers: int
    without: dict[str, int] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    status: int = 0x0000
    seconds: float = 0.0
    is_cut: bool = False
    rewritten: int = 0


class QueryLog(Protocol):
    """Where queries are told. May be called from any thread; never raises."""

    def queried(self, record: QueryRecord) -> None: ...

    def refused(self, calling: str, called: str, peer: str, why: str) -> None:
        """An association that was not accepted."""
        ...

    def left_out(self, count: int, why: str) -> None:
        """So many items could not be given to a scanner. `why` has no value of them."""
        ...


@dataclass(slots=True, frozen=True)
class MppsReply:
    """What an N-CREATE or N-SET is answered. `grown`: lanes that have new deliveries by it. `items`: how many items of
    the worklist it names; None where it was refused."""

    status: int
    text: str = ""
    grown: tuple[tuple[ChannelName, DestinationName], ...] = ()
    items: int | None = None


@dataclass(slots=True, frozen=True)
class Moved:
    """An item whose status a scanner or a person changed, as it is now; `order`: the message it is from, if known."""

    worklist: str
    item: Item
    before: Status
    at_us: int
    order: OrderReceived | None = None


class Teller(Protocol):
    """Makes the messages that say so. Called by the thread that writes, within the transaction of the move: what it
    makes is stored with it, or not at all. Never raises."""

    def __call__(self, moved: Moved) -> Intake | None:
        """None: nobody is to be told."""
        ...


@dataclass(slots=True, frozen=True)
class Aged:
    """Which steps are old enough to be forgotten, at most `most` of them: 0 or '' for none of the kind.

    `ended_before_us`: those that have ended, last changed before it; with them what is remembered of cancels, and
    performed steps that have ended. `open_before`: others that start before it, `YYYYMMDDHHMMSS.ffffff`.
    """

    ended_before_us: int
    open_before: str
    most: int


@dataclass(slots=True, frozen=True)
class PerformedOrder:
    """An N-CREATE (`is_new`) or N-SET of a performed procedure step, for one worklist."""

    worklist: str
    uid: str
    attributes: Attributes
    calling: str
    at_us: int
    is_new: bool


class PerformedSteps(Protocol):
    """Where performed procedure steps are kept. Called from server threads; durable when it returns."""

    def created(self, uid: str, attributes: Attributes, peer: str, calling: str) -> MppsReply: ...

    def changed(self, uid: str, attributes: Attributes, peer: str, calling: str) -> MppsReply: ...
