"""Application acknowledgements over a connection of our own: `ack: {app_ack: connect-back}` (hl7.md item 22).

Each is a delivery of its message like any other: committed with it in one transaction, sent by a lane of its own
(`app_ack`), tried again until the other side accepts it, and never answered at application level by anybody, as
its MSH-16 is NE. So a crash loses none of them, and neither side can fall into answering answers.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, MessageSeq
from engine.pipeline.answer import APP_ACK
from engine.ports.store import CommitUnknown, Store, StoreError, StoreQueries
from engine.runtime.committer import Committer
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.answers")


class AppAcks:
    """What a resend of a message means for its acknowledgement. `offer` takes new deliveries to their lanes."""

    def __init__(
        self,
        channel: ChannelName,
        committer: Committer,
        queries: StoreQueries,
        offer: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._channel = channel
        self._committer = committer
        self._queries = queries
        self._offer = offer
        self._under_way: set[MessageSeq] = set()

    def again(self, seq: MessageSeq) -> None:
        """The message came again, so its sender may have missed the acknowledgement: the same one goes once more.

        Not while one waits to be sent, or was set aside for a person. Raises StoreError when the store cannot say.
        """
        if seq in self._under_way:
            return
        sent = [row.state for row in self._queries.deliveries(seq) if row.destination == APP_ACK]
        if sent and sent[-1] == "delivered":
            self._under_way.add(seq)
            self._committer.call(partial(_once_more, seq=seq)).add_done_callback(partial(self._added, seq))

    def _added(self, seq: MessageSeq, added: "asyncio.Future[Sequence[Delivery]]") -> None:
        self._under_way.discard(seq)
        error = None if added.cancelled() else added.exception()
        if error is not None:
            if not isinstance(error, CommitUnknown):
                reason = str(error) if isinstance(error, StoreError) else describe(error)
                log.error("%s: an acknowledgement could not be sent again: %s", self._channel, reason)
        elif not added.cancelled():
            self._offer(added.result())


def _once_more(store: Store, *, seq: MessageSeq) -> Sequence[Delivery]:
    return store.add_deliveries(seq, [APP_ACK])
