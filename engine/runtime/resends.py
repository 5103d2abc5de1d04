"""The answer to a message that is in the store already: the stored one, or the one that is due by the files now."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from engine.hl7.message import Message
from engine.model.envelope import AckUpdate, Known
from engine.pipeline.answer import answer_result
from engine.pipeline.run import Result
from engine.ports.clock import from_us
from engine.ports.store import CommitUnknown, Store
from engine.runtime.answers import AnyReply
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.received import framed
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.answers")


def answer_again(
    channel: RunningChannel,
    message: Message,
    known: Known,
    reply: AnyReply,
    now_us: int,
    next_id: Callable[[], str],
    committer: Committer,
) -> None:
    """Give a resend its answer. What has none waited for a destination, by files that are not in force any more.

    Its sender would wait for ever: it gets what the channel says now, which is the stored answer from then on.
    """
    is_waited_for = channel.delivered is not None and channel.delivered.is_routed(known.seq)
    if not known.ack and not is_waited_for:
        result = Result(known.state, [], ())
        answer = answer_result(message, result, channel.answers, from_us(now_us), next_id)
        if answer.payload:
            update = AckUpdate(known.seq, answer.code, answer.payload)
            saved = committer.call(partial(_amend, update=update))
            saved.add_done_callback(partial(_saved, reply, answer.payload))
            return
    reply.settle(framed(known.ack))


def _amend(store: Store, *, update: AckUpdate) -> None:
    store.amend_acks([update])


def _saved(reply: AnyReply, payload: bytes, saved: "asyncio.Future[None]") -> None:
    """The message is on stable storage, whether its answer could be written down beside it or not."""
    error = None if saved.cancelled() else saved.exception()
    if isinstance(error, CommitUnknown):
        return  # nothing more is said to anybody
    if error is not None:
        log.error("the answer to a resend could not be recorded: %s", describe(error))
    reply.settle(framed(payload))
