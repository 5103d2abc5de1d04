"""The durable store: one writer that commits batches, and queries that read beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from engine.model.envelope import AckUpdate, Batch, Committed, Delivery, DraftDelivery, Known
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState, MessageState
from engine.model.store_key import KeysInUse
from engine.ports.access import AccessQueries
from engine.ports.hand_off import HandedOver, HandOffQueries
from engine.ports.operations import OperationQueries, OperationStore
from engine.ports.search import KeyQueries, KeyStore
from engine.ports.worklist import Aged, MppsReply, PerformedOrder, Teller, WorklistQueries


class StoreError(Exception):
    """The store cannot do its work. Subclasses say what the caller may conclude."""


class StoreFull(StoreError):
    """No room, and certainly nothing of the batch was kept: refuse it, keep going, try later."""


class StoreBusy(StoreError):
    """Another process holds the store for longer than the time-out; certainly nothing was kept."""


class CommitUnknown(StoreError):
    """The commit failed in a way that leaves open whether it is on disk (reliability.md 0.4).

    Nothing positive may be said of the batch; intake stops and the process exits for its supervisor.
    """


class StoreGone(CommitUnknown):
    """The store is not where it was opened: moved, replaced or deleted (reliability.md D8). What was acknowledged
    until now is in what was moved away; nothing more may be."""


class StoreInUse(StoreError):
    """Another engine has this store open."""


class StoreTooNew(StoreError):
    """A newer engine has written this store; it was not touched."""


class WrongKey(StoreError):
    """The site's key is missing, or is not the one that the store is encrypted with; it was not touched."""


@dataclass(slots=True, frozen=True)
class StoredMessage:
    """One row of the message list.

    `raw` is None where only metadata were asked for, the body was pruned, or it does not match its
    checksum (then `findings` ends with one that says so): altered bytes are never shown as the message.
    """

    seq: MessageSeq
    channel: ChannelName
    version: VersionId
    received_at_us: int
    sender: str
    peer: str
    message_type: str
    control_id: str
    state: MessageState
    ack_code: str
    findings: str
    raw: bytes | None
    ack: bytes = b""


@dataclass(slots=True, frozen=True)
class StoredDelivery:
    """One delivery of a message, with its last attempt.

    `body` None as `raw` of StoredMessage; where the bytes do not match, `note` says so. `origin`: the delivery that
    this one took over from, when it was redirected.
    """

    id: DeliveryId
    seq: MessageSeq
    channel: ChannelName
    destination: DestinationName
    state: DeliveryState
    attempts: int
    next_at_us: int
    done_at_us: int
    code: str
    note: str
    maybe_sent: bool
    body: bytes | None
    answer: bytes = b""
    since_us: int = 0
    origin: DeliveryId | None = None
    key: str | None = None
    urgent: bool = False


@dataclass(slots=True, frozen=True)
class QueuedRow:
    """A queued delivery of a lane with keys, without its bytes.

    `first`: the id of the oldest queued delivery of the same key in this lane; None where it has no key.
    """

    id: DeliveryId
    seq: MessageSeq
    key: str | None
    urgent: bool
    attempts: int
    next_at_us: int
    first: DeliveryId | None


@dataclass(slots=True, frozen=True)
class StoredAttempt:
    """An attempt that did not end its delivery; the one that did is in the delivery itself.

    Not every one is kept: of a long row the first and the last few, and of those that could not reach the receiver,
    one after the other, the first.
    """

    delivery_id: DeliveryId
    number: int
    at_us: int
    code: str
    note: str
    answer: bytes


WRONG_AHEAD_US: Final = 86_400_000_000
"""A day: by so much a clock may be set back and is still believed."""


@dataclass(slots=True, frozen=True)
class Prune:
    """What may go, among `span` messages behind `after`.

    Only of finished messages (`states.FINISHED`), none of whose deliveries is queued or held. Those received before
    `messages_before_us` go whole; those before `bodies_before_us` lose their bytes, those of their deliveries, and
    their receivers' answers. `channel` None: of any.

    No message goes that came after one which is too young by that time, to the hour: order is the order of receipt,
    so its own time is of a clock that was behind. `now_us` is the time to go by, also for what is too young: a time of
    receipt that is ahead of it by more than WRONG_AHEAD_US is of a clock that was wrong.

    `most_bytes`: no more of bodies goes at once where that takes time, None: as much as the store can take. What has
    more alone stays, and is told of (`Pruned.is_large`).
    """

    channel: ChannelName | None
    bodies_before_us: int
    messages_before_us: int
    after: MessageSeq
    span: int
    now_us: int
    most_bytes: int | None = None


@dataclass(slots=True, frozen=True)
class Pruned:
    """How many messages lost their bytes, how many went whole, and where to go on; None: nothing older is left.

    `is_large`: nothing went, as the message behind `after` has more bytes than `most_bytes`.
    """

    bodies: int
    messages: int
    after: MessageSeq | None
    is_large: bool = False


@dataclass(slots=True, frozen=True)
class LaneDepth:
    """How much waits in one lane. `oldest_us`: when the oldest queued message was received, 0 where none waits.

    `blocked`: how many were tried and wait for their time; in a lane with keys, so many keys are held up.
    """

    channel: ChannelName
    destination: DestinationName
    queued: int
    held: int
    oldest_us: int
    blocked: int = 0


class Store(OperationStore, KeyStore, Protocol):
    """The writer's side. Called by one thread at a time; `commit` may block for as long as the disk does."""

    def open(self) -> None:
        """Lock, check, recover, migrate. Raises StoreInUse or StoreError with a sentence for people.

        After an unclean stop, the deliveries that may have been sent unrecorded (the first
        `window` queued ones of each lane, all queued ones of a lane with keys) are marked `maybe_sent`.
        """
        ...

    def lane_window(
        self, channel: ChannelName, destination: DestinationName, window: int, order_by: str = ""
    ) -> DeliveryId:
        """Record how many deliveries of this lane may be sent and not yet recorded, before the lane starts.

        Durable. The largest number of a run is what counts after it ended uncleanly; a lane that never
        said a number counts as 1. `order_by`: what the keys of its deliveries are made by, '' where it keeps one
        order. Then nobody can tell which of what is queued was under way when a run ends uncleanly, and all of it
        is marked. Returns the first id of those deliveries that were stored since the lane has this order.
        """
        ...

    def queries(self) -> "StoreQueries":
        """A reader of this store, for the same process; the caller closes it."""
        ...

    def close(self, *, clean: bool = True) -> None:
        """Mark the stop as clean and let go of the file.

        Not `clean`: something may have been sent that is not recorded, so the next start marks it as after a kill.
        """
        ...

    def channel_version(self, channel: ChannelName, files: Mapping[str, bytes]) -> VersionId:
        """The id of this state of a channel's files (path in the folder -> bytes), recorded if it is new."""
        ...

    def commit(self, batch: Batch) -> Committed:
        """Make all of `batch` durable in one transaction, or none of it.

        An intake whose `receive_id` is already stored is not stored again: it is answered with the
        first one's seq and those of its deliveries that are still queued. Of a result whose `effects` were decided on
        what is no longer so, nothing is kept, and it is marked `is_stale`. Raises StoreFull or StoreBusy
        (certainly not kept), or CommitUnknown. IllegalMove for a state that no table allows (also for `redirected`
        without a delivery that takes over, and the other way about) and
        ValueError for a value that no store can hold (a lone surrogate, a number past 64 bits): then
        nothing of the batch was kept, and the batch without its culprit may be tried again.
        """
        ...

    def known(self, channel: ChannelName, sender: str, control_id: str, since_us: int) -> Sequence[Known]:
        """Committed messages of this channel and sender with this control id received since, newest first.

        Not those that were rejected with a negative answer: their sender was told to keep them, and may send
        them again. At most the newest 16, so that a sender that never changes its control id costs no more
        than another.
        """
        ...

    def received_since(self, since_us: int) -> int:
        """How many messages may have been received since: no fewer than were, and told without reading them."""
        ...

    def recent_ids(self, since_us: int, limit: int) -> tuple[Sequence[tuple[ChannelName, str, str]], bool]:
        """(channel, sender, control_id) of messages since, newest first; and whether that was all of them."""
        ...

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]:
        """Queued deliveries of one lane with id > after, oldest first, bodies verified against their checksum.

        At least one if there is one, and no more than `limit`, nor than come to `most_bytes` and one
        body more: with `most_bytes` only an empty answer says that no more wait. One whose body does
        not match is moved to held with a note, never returned.
        """
        ...

    def unprocessed(self, channel: ChannelName, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        """Messages in state `received`, oldest first, with their bytes.

        One whose bytes do not match their checksum is moved to held with a finding, never returned.
        """
        ...

    def waiting(self, channel: ChannelName, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        """Fragments of messages that are not complete (state `waiting`), oldest first, as `unprocessed` gives its own.

        They move on with an intake that names them as its `parts`, in that intake's transaction.
        """
        ...

    def move_deliveries(self, ids: Sequence[DeliveryId], to: DeliveryState, note: str) -> int:
        """A person's move, durable: release held or failed ones (`to` queued), or give held ones up (`to` failed).

        Those already in `to` are left as they are; returns how many moved. IllegalMove if one of the
        others may not: none has moved then. A queued one is never given up, as its lane may be sending it.
        """
        ...

    def add_deliveries(self, seq: MessageSeq, destinations: Sequence[DestinationName] | None) -> Sequence[Delivery]:
        """Queue the same bytes again (resend): new deliveries with the bodies of the last ones, durable.

        None: every destination the message was delivered to, and not those that were passed over for another. A
        destination it never had gives nothing.
        StoreError, and nothing queued, when the bytes are gone or do not match their checksum.
        """
        ...

    def redirect_deliveries(self, orders: Sequence[tuple[DeliveryId, DraftDelivery]], note: str) -> Sequence[Delivery]:
        """A person's move, durable: each becomes `redirected`, and the delivery that takes over is queued, all or none.

        `body` None of one that takes over: the bytes of the one before. Those already redirected are left as they
        are. The new deliveries in order, but for those whose bytes are damaged: these are held. IllegalMove if one
        is neither held nor failed: its lane may be sending it; hold it first.
        """
        ...

    def prune(self, order: Prune) -> Pruned:
        """Forget what `order` allows, in one transaction; what is forgotten is overwritten, not only unlinked.

        No id is given again. Raises as `commit` does.
        """
        ...

    def age_worklists(self, aged: Aged) -> int:
        """Forget steps with their histories, in one transaction, overwritten as `prune` does; how many went.

        Less than `aged.most`: no more are old enough. Raises as `commit` does.
        """
        ...

    def note_time(self, now_us: int) -> None:
        """Remember that a clock that was believed said this, as `prune` does. Raises as `commit` does."""
        ...

    def last_pruned_us(self) -> int:
        """`now_us` of the last `prune` or `note_time`; before the first, when the newest message was received.

        0 without any.
        """
        ...

    def used_bytes(self) -> int:
        """What the store holds, without the room that was freed in it and can be used again."""
        ...

    def give_back(self, most_bytes: int, *, empty_log: bool = True) -> bool:
        """Return freed room to the file system, so much at a time; whether there is more to return.

        When there is not, what was forgotten leaves the write-ahead log as well, with `empty_log`: that takes longer.
        """
        ...

    def perform(self, order: PerformedOrder, tell: Teller | None = None) -> MppsReply:
        """Keep what a scanner said of a performed step, and move the items that it names; one transaction.

        `tell` makes the messages that say so of each item that moved; they and their deliveries are in it as well.
        What it is answered; with another status than success nothing is changed. Raises as `commit` does.
        """
        ...

    def hand_over(self, order: HandedOver) -> None:
        """Keep what one who takes steps over has now, in one transaction. Raises as `commit` does."""
        ...

    def amend_acks(self, updates: Sequence[AckUpdate]) -> Sequence[AckUpdate]:
        """Replace stored answers, durable, all or none; a stored AA stays, and findings are added in any case.

        The answers that are stored then, in the order of `updates`: the AA that stayed instead of another one. A
        message that is not there is left out, and its update comes back as it is.
        """
        ...

    def last_sequences(self, channel: ChannelName) -> Mapping[str, int]:
        """The last MSH-13 that was committed, by sender; not those whose link starts anew (`Intake.sequence` -1)."""
        ...

    def wants_checkpoint(self, idle: bool = False) -> bool:
        """Whether enough has gathered that a checkpoint is worth its time; `idle`: nothing waits for a commit now."""
        ...

    def checkpoint(self) -> None:
        """Move what is committed into the main file. A reader in the way is no error: a later one goes on."""
        ...


@dataclass(slots=True, frozen=True)
class Arrived:
    """How many messages of one kind came from one sender in one half hour.

    `sender`: `APP|FACILITY`; `message_type`: MSH-9 as written; `half_hour`: half hours since 1970 in UTC; `newest_us`:
    when the last of them came.
    """

    channel: ChannelName
    sender: str
    message_type: str
    half_hour: int
    messages: int
    newest_us: int


class StoreQueries(OperationQueries, WorklistQueries, HandOffQueries, AccessQueries, KeyQueries, Protocol):
    """The reader's side: own read-only connections, usable from any thread and from another process.

    `known` and `queued` are Store's, for those who cannot wait for a commit to end. A damaged body that
    `queued` meets is left out here, too, and moved to held by the store's next commit.
    """

    def known(self, channel: ChannelName, sender: str, control_id: str, since_us: int) -> Sequence[Known]: ...

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]: ...

    def queued_rows(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """Queued deliveries of one lane with id > after, oldest first."""
        ...

    def queued_before(
        self, channel: ChannelName, destination: DestinationName, upto: DeliveryId, limit: int
    ) -> Sequence[DeliveryId]:
        """Of the lane's queued deliveries those with id <= upto, newest first."""
        ...

    def queued_of_key(
        self, channel: ChannelName, destination: DestinationName, key: str, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """Those of one key."""
        ...

    def queued_urgent(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """Those that are urgent."""
        ...

    def queued_waiting(
        self, channel: ChannelName, destination: DestinationName, after_us: int, limit: int
    ) -> Sequence[QueuedRow]:
        """Those that wait for a time later than `after_us` (0: for any time), the earliest time first."""
        ...

    def queued_delivery(self, id_: DeliveryId) -> Delivery | None:
        """One queued delivery; None when it is not queued any more, or its bytes do not match their checksum."""
        ...

    def message(self, seq: MessageSeq) -> StoredMessage | None: ...

    def deliveries(self, seq: MessageSeq, bodies: bool = False) -> Sequence[StoredDelivery]: ...

    def attempts(self, seq: MessageSeq) -> Sequence[StoredAttempt]:
        """Those of a message's deliveries that are kept, by delivery and number."""
        ...

    def messages(
        self,
        *,
        channel: ChannelName | None = None,
        states: Sequence[MessageState] = (),
        delivery_states: Sequence[DeliveryState] = (),
        control_id: str | None = None,
        since_us: int = 0,
        until_us: int | None = None,
        before: MessageSeq | None = None,
        newest_first: bool = True,
        bodies: bool = False,
    ) -> Iterator[StoredMessage]:
        """Matching messages, lazily. `delivery_states`: with at least one delivery in one of them."""
        ...

    def depths(self) -> Sequence[LaneDepth]: ...

    def lanes(self) -> Sequence[tuple[ChannelName, DestinationName]]:
        """Every lane that was ever used, by name; takes no longer with a long queue, as `depths` does."""
        ...

    def counts(self) -> Mapping[tuple[ChannelName, MessageState], int]: ...

    def seq_before(self, at_us: int) -> MessageSeq:
        """The last message received before then, 0 if none was; by few look-ups, as messages are stored in order."""
        ...

    def arrivals(self, after: MessageSeq, span: int) -> tuple[Sequence[Arrived], MessageSeq, bool]:
        """What came with after < seq <= after + span; the last seq looked at, and whether there are more."""
        ...

    def version_files(self, version: VersionId) -> Mapping[str, bytes] | None: ...

    def keys_in_use(self) -> KeysInUse | None:
        """Since when; None where the store is not encrypted."""
        ...

    def close(self) -> None: ...
