"""One message's whole way through a channel that has its port for itself: intake's word on it, its trace, its answer.

It is what `segmill try` and the console show. Nothing is sent or stored. It holds field values.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import count
from typing import Any

from engine.hl7.ack import Decision, read_ack
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.mllp.framing import PREFIX_BYTES
from engine.model.finding import Finding
from engine.pipeline.answer import BETWEEN, NOTHING, Answer, AnswerSettings, answer_result, refuse
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.entry import (
    NO_CONTROL_ID,
    notices,
    oversize,
    refused_for_count,
    unclaimed,
    undecodable,
    unreadable,
)
from engine.pipeline.fragments import Joining, Waits, Whole, answer_fragment, answer_whole, joined_from, settled
from engine.pipeline.run import Result
from engine.pipeline.trace import Tested, Trace

Traces = Callable[[CompiledChannel, Message, datetime], Trace]


class TraceEnded(Exception):
    """The channel's own code would have lost its process; `finding` is the engine's."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


@dataclass(slots=True, frozen=True)
class Trial:
    """One message's way through a channel. `trace` None: it did not come as far as the steps.

    `raw`: the bytes that were tried: of fragments, the message that they are together.
    """

    raw: bytes
    message: Message | None
    state: str
    findings: tuple[Finding, ...]
    answer: Answer
    trace: Trace | None
    is_stored_first: bool
    waits_for: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nobody would have to look after it."""
        return self.state in ("processed", "filtered", "waiting")

    @property
    def outputs(self) -> dict[bytes, list[str]]:
        """What would go out, and to which destinations."""
        found: dict[bytes, list[str]] = {}
        for delivery in self.trace.result.deliveries if self.trace is not None else ():
            body = self.raw if delivery.body is None else delivery.body
            found.setdefault(body, []).append(delivery.destination)
        return found


def try_message(
    channel: CompiledChannel,
    raw: bytes,
    now: datetime,
    trace: Traces,
    *,
    noted: Sequence[Finding] = (),
    joining: Joining | None = None,
) -> Trial:
    """Run one message through a channel that has its port for itself, as the engine would.

    `trace` runs the steps, with whatever guard their own code needs, and raises TraceEnded. `noted`: what is odd about
    the batch that the message stands in. `joining` has the fragments that were tried before; the last one of a message
    is tried as the whole.
    """
    answers = AnswerSettings.of(channel.file.ack)
    ids = count(1)

    def next_id() -> str:
        return f"TRY{next(ids)}"

    def refused(message: Message | None, finding: Finding, decision: Decision = "reject") -> Trial:
        answer = refuse(message, [finding], decision, answers, now, next_id)
        return Trial(raw, message, "rejected", (finding,), answer, None, False)

    limit_bytes = channel.file.listen.max_message
    too_long = oversize(len(raw), limit_bytes) if len(raw) > limit_bytes else None
    try:
        seen = raw if too_long is None else raw[:PREFIX_BYTES]
        message = Message.parse(seen, fallback=channel.fallback_charset)
    except UnreadableMessage as exc:
        return refused(None, unreadable(exc)) if too_long is None else refused(None, too_long, "error")
    if too_long is not None:
        return refused(message, too_long, "error")
    if noted and channel.file.listen.options.batches.count == "reject":
        return refused(message, refused_for_count(noted)[0], "error")
    if not channel.accepts(message) and not (joining is not None and joining.expects(message)):
        return refused(message, unclaimed([channel], message))
    if not message.get("MSH-10"):
        return refused(message, NO_CONTROL_ID)
    if channel.strict_charset and (refusal := undecodable(message)) is not None:
        return refused(message, refusal, "error")
    last, accepted, about = message, NOTHING, (*notices(message), *noted)
    taken = joining.take(message) if joining is not None else None
    if isinstance(taken, (Waits, Whole)):
        accepted = answer_fragment(message, answers, now, next_id, is_last=isinstance(taken, Whole))
    match taken:
        case Waits():
            return Trial(raw, message, "waiting", about, accepted, None, False)
        case Whole(raw=whole, parts=parts):
            raw = whole
            message = Message.parse(raw, fallback=channel.fallback_charset)
            about = (*about, joined_from(len(parts)))
        case None:
            pass
        case finding:
            return refused(message, finding, "error")
    is_stored_first = channel.file.ack.when == "stored"
    traced: Trace | None = None
    try:
        traced = trace(channel, message, now)
        result = traced.result
    except TraceEnded as ended:
        result = Result("held", [], (ended.finding,))
    if isinstance(taken, Whole) and not is_stored_first:
        result = settled(message, result, answers)
    told = Result.received() if is_stored_first else result
    if isinstance(taken, Whole):
        answer = answer_whole(
            last, accepted, message, told, answers, now, next_id, names_last=channel.answers_last_fragment
        )
    else:
        answer = answer_result(message, told, answers, now, next_id)
    findings = (*about, *result.findings)
    return Trial(raw, message, result.state, findings, answer, traced, is_stored_first, answers.waits_for)


def type_of(message: Message) -> str:
    """`ADT^A01`."""
    return "^".join(part for part in (message.get("MSH-9.1"), message.get("MSH-9.2")) if part)


def told(trial: Trial) -> str:
    """The answers, one after the other, and what they wait for or where they go."""
    answer = trial.answer
    found = [read_ack(part) for part in answer.payload.split(BETWEEN) if part]
    codes = " and ".join(ack.code for ack in found if ack is not None)
    if answer.apart:
        apart = f"{answer.code} over a connection of our own" if not codes else "the application's over one of our own"
        codes = f"{codes}, and {apart}" if codes else apart
    elif answer.is_first:
        later = f"what {trial.waits_for} answers"
        codes = f"{codes} once it is stored, and {later}" if codes else later
    elif trial.is_stored_first:
        codes = f"{codes or 'none'} (as soon as it is stored)"
    return f"answer {codes or 'none'}"


def seen_values(tested: Tested) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What stood on the sides of a condition's comparisons: what was asked for, and its values."""
    for part in tested.why:
        if not isinstance(part.value, bool):
            yield part.text, tuple(map(str, part.value if isinstance(part.value, tuple) else (part.value,)))


def as_json(trial: Trial) -> dict[str, Any]:
    """The trial for programs, as `segmill try --json` writes it but for the file's name."""
    record: dict[str, Any] = {
        "state": trial.state,
        "findings": [{k: v for k, v in asdict(f).items() if v} for f in trial.findings],
        "ack_code": trial.answer.code,
        "ack": trial.answer.payload.decode("utf-8", "backslashreplace"),
    }
    if trial.answer.apart:
        record["app_ack"] = trial.answer.apart.decode("utf-8", "backslashreplace")
    if trial.answer.is_first:
        record["waits_for"] = trial.waits_for
    if trial.message is not None:
        record |= {"type": type_of(trial.message), "control_id": trial.message.get("MSH-10") or ""}
    if trial.trace is not None:
        record["steps"] = [
            {
                "label": step.label,
                "depth": step.depth,
                "outcome": step.outcome,
                "microseconds": None if step.microseconds is None else round(step.microseconds, 1),
                "conditions": [_tested_as_json(tested) for tested in step.conditions],
                "lookups": [asdict(lookup) for lookup in step.lookups],
                "changes": [asdict(change) for change in step.changes],
            }
            for step in trial.trace.steps
        ]
        record["not_reached"] = list(trial.trace.not_reached)
        record["routes"] = [
            {
                "to": route.destination,
                "taken": route.taken,
                "condition": None if route.condition is None else _tested_as_json(route.condition),
            }
            for route in trial.trace.routes
        ]
        record["outputs"] = [
            {"to": names, "body": body.decode("utf-8", "backslashreplace")} for body, names in trial.outputs.items()
        ]
    return record


def _tested_as_json(tested: Tested) -> dict[str, Any]:
    return {
        "source": tested.source,
        "outcome": tested.outcome,
        "values": [{"text": part.text, "value": part.value} for part in tested.why],
    }
