"""The answer to a message that is in the store already: the stored one, or the one that is due by the files now."""

from collections.abc import Callable

from engine.config.recorded import awaited_by
from engine.hl7.ack import application_code
from engine.hl7.message import Message
from engine.model.envelope import AckUpdate, Known
from engine.model.finding import load_findings
from engine.pipeline.answer import APP_ACK, BETWEEN, answer_result
from engine.pipeline.run import Result
from engine.ports.clock import Clock, from_us
from engine.ports.store import StoreQueries
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.received import framed
from engine.runtime.recorded_answers import AnyReply, RecordedAnswers, Resent, accept_level, joined


class Resends:
    """Gives resends their answers. Raises StoreError when the store cannot say what that is."""

    def __init__(self, committer: Committer, queries: StoreQueries, clock: Clock, next_id: Callable[[], str]) -> None:
        self._committer = committer
        self._queries = queries
        self._clock = clock
        self._next_id = next_id

    def answer(self, channel: RunningChannel, message: Message, known: Known, reply: AnyReply, now_us: int) -> None:
        """Give a resend its answer, which is the stored one from then on.

        What has none waited for a destination, by files that are not in force any more. Its sender would wait for
        ever, or be told of a time-out for ever: it gets what the channel says now.
        """
        is_waited_for = channel.delivered is not None and channel.delivered.is_routed(known.seq)
        if not is_waited_for and not self._is_final(known, message, channel):
            result = Result(known.state, [], ())
            answer = answer_result(message, result, channel.answers, from_us(now_us), self._next_id)
            if answer.payload and (not known.ack or answer.code[:1] == "A"):
                accept = accept_level(known.ack)
                payload = joined(accept, answer.payload.rpartition(BETWEEN)[2]) if accept else answer.payload
                recorded = RecordedAnswers(self._committer, self._queries, self._clock, channel.meter)
                resent = Resent(message, accept, reply, channel.answers, self._next_id)
                recorded.settle(AckUpdate(known.seq, answer.code, payload), resent)
                return
        channel.meter.acknowledged(known.ack_code, self._clock.monotonic() - reply.started)
        reply.settle(framed(known.ack))

    def _is_final(self, known: Known, message: Message, channel: RunningChannel) -> bool:
        """Whether nothing is to follow the stored answer, as it does an accept level alone, and a time-out."""
        if known.ack_code == "AA":
            return True
        if not known.ack:
            return False
        if known.ack_code[:1] == "C":
            if known.state in ("waiting", "joined") or not application_code(message, "accept", channel.answers.mode):
                return True
            # Where it goes over a connection of our own, it is a delivery.
            return any(row.destination == APP_ACK for row in self._queries.deliveries(known.seq))
        stored = self._queries.message(known.seq)
        if stored is None or all(finding.code != "E238" for finding in load_findings(stored.findings)):
            return True
        awaited = awaited_by(self._queries.version_files(stored.version) or {})
        states = [row.state for row in self._queries.deliveries(known.seq) if row.destination == awaited]
        return bool(states) and states[-1] not in ("queued", "delivered")  # then it is what that destination said
