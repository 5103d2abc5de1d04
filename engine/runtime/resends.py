"""The answer to a message that is in the store already: the stored one, or the one that is due by the files now."""

from collections.abc import Callable

from engine.hl7.message import Message
from engine.model.envelope import AckUpdate, Known
from engine.pipeline.answer import answer_result
from engine.pipeline.run import Result
from engine.ports.clock import from_us
from engine.runtime.answers import AnyReply, settle_recorded
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.received import framed


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
            settle_recorded(committer, reply, AckUpdate(known.seq, answer.code, answer.payload))
            return
    reply.settle(framed(known.ack))
