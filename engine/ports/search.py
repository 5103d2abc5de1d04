"""Searching what is stored: by declared keys, by text, by what is known of each message.

A search is asked for a piece at a time. Each piece is bounded in work, reads beside the writer, and says where the next
one goes on, so that whoever asks can show how far it is, and stop by not asking again. The order is that of the list:
the newest first, by `seq`, which never changes; a cursor is the `seq` that the last piece ended before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from engine.model.ids import ChannelName, MessageSeq
from engine.model.states import DeliveryState, MessageState

if TYPE_CHECKING:
    from engine.ports.store import StoredMessage

SPAN: Final = 20_000
"""So many messages one piece of a search by text looks at."""

KeysOf = Callable[[ChannelName, bytes], Sequence[tuple[str, str]]]
"""The (name, value) pairs that a message of this channel can be looked up by, given its bytes."""


@dataclass(slots=True, frozen=True)
class Find:
    """What is looked for; all of it must hold.

    `keys`: (name, value) pairs that the message has, as `hl7.search_keys.comparable` gives values. `any_of`: it has at
    least one of these, or the control id `or_control_id`. `texts`: of each group of bytes, at least one stands in the
    message as it was received, small and capital letters of ASCII being the same. `states` and `delivery_states`: it is
    in one of the first, or has a delivery in one of the second. `message_type`: as it is kept; without an event it
    stands for any event. `channels`: it is of one of these, None: of any.
    """

    keys: tuple[tuple[str, str], ...] = ()
    any_of: tuple[tuple[str, str], ...] = ()
    or_control_id: str | None = None
    texts: tuple[tuple[bytes, ...], ...] = ()
    control_id: str | None = None
    channel: ChannelName | None = None
    channels: tuple[ChannelName, ...] | None = None
    states: tuple[MessageState, ...] = ()
    delivery_states: tuple[DeliveryState, ...] = ()
    message_type: str | None = None
    sender: str | None = None
    since_us: int = 0
    until_us: int | None = None


@dataclass(slots=True, frozen=True)
class Found:
    """One piece of an answer, newest first. `before`: where the next one goes on, None: there is no more.

    `looked_at`: how many messages this piece had to look at; `left`: at most so many the rest has to, 0 where an index
    leads to them.
    """

    messages: "Sequence[StoredMessage]"
    before: MessageSeq | None
    looked_at: int
    left: int


@dataclass(slots=True, frozen=True)
class KeyBlock:
    """The keys of BLOCK messages that follow each other, ready to be kept: by bucket, the entries.

    `messages`: how many there were when they were read.
    """

    number: int
    messages: int
    buckets: Mapping[int, bytes]


@dataclass(slots=True, frozen=True)
class KeyWork:
    """What is to be done about keys: blocks to be made, or made anew, the newest first.

    `unread`: messages up to this seq are from before keys were kept; 0: all have been read.
    """

    blocks: Sequence[int]
    unread: MessageSeq


class KeyQueries(Protocol):
    """The reader's side of keys and searches."""

    def find(
        self,
        wanted: Find,
        *,
        before: MessageSeq | None = None,
        after: MessageSeq | None = None,
        limit: int = 50,
        span: int = SPAN,
        bodies: bool = False,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> Found:
        """At most `limit` messages, newest first, older than `before` and newer than `after`.

        Looks at `span` at most where no index leads.

        `is_cancelled` is asked now and then, from the thread that searches; SearchCancelled once it says so.
        """
        ...

    def unread_keys(self) -> int:
        """So many messages from before keys were kept are still to be read: no search by key finds them yet."""
        ...

    def key_work(self) -> KeyWork: ...

    def draft_keys(self, block: int) -> KeyBlock:
        """The keys of one block as they stand now."""
        ...

    def bodies_without_keys(self, upto: MessageSeq, limit: int) -> Sequence[tuple[MessageSeq, ChannelName, bytes]]:
        """The newest messages up to this one, with their bytes; b'' where these are gone, or are not what they were.

        At least one if there is one, and no more than `limit`, nor than come to some megabytes and one more.
        """
        ...


class KeyStore(Protocol):
    """The writer's side of keys."""

    def read_keys_by(self, keys_of: KeysOf) -> None:
        """From now on each message that is stored is kept with its keys, in its own transaction."""
        ...

    def keep_key_block(self, block: KeyBlock) -> bool:
        """Keep a block's keys where a search finds them at once. False: its messages are others now, read them anew."""
        ...

    def fill_in_keys(self, keys: Sequence[tuple[MessageSeq, Sequence[tuple[str, str]]]], unread: MessageSeq) -> None:
        """Keep the keys of messages that were stored without; what is left unread is up to `unread`."""
        ...


class SearchCancelled(Exception):
    """Nobody waits for this search any more."""
