"""What the child of the bench says of a message's way: cut, so that it can be shown, and so that reading it is short.

The engine reads an answer in one go, which holds its interpreter: about 1 ms for a thousand things that are told, and
for a megabyte of text. So there are at most `MOST_TOLD` things, and where they are long, their texts are cut shorter.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from engine.config.finding import ConfigFinding
from engine.hl7.convert import form_of
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.answer import BETWEEN
from engine.pipeline.trace import Tested, Trace
from engine.pipeline.trial import Trial, seen_values, told, type_of
from engine.ports import bench
from engine.ports.bench import MOST_BODY, MOST_VALUE

SHOWN: Final = 300
"""Steps of a message, and changes of a step, that are shown: an `each` has thousands."""
MOST_TOLD: Final = 4_000
"""Steps, changes, lookups, conditions and findings together."""
MOST_SAID: Final = 1024 * 1024
"""Bytes of an answer, if it can be had by cutting texts."""
SIZES: Final = ((MOST_VALUE, MOST_BODY), (400, 64 * 1024), (60, 4 * 1024))
"""Characters of a value and of a message that goes out: the first with which the answer is no longer than that."""

T = TypeVar("T")


def said(make: "Callable[[Teller], BaseModel]") -> bytes:
    """The answer as it is written. `make` is called anew where it came out too long."""
    answer = b""
    for value, body in SIZES:
        answer = make(Teller(value, body)).model_dump_json().encode()
        if len(answer) <= MOST_SAID:
            break
    return answer


@dataclass(slots=True)
class Teller:
    """Of one answer. `value`, `body`: how many characters of each are told; `left_out`: things that are not."""

    value: int = MOST_VALUE
    body: int = MOST_BODY
    left: int = MOST_TOLD
    left_out: int = field(default=0, init=False)

    def some(self, every: "list[T] | tuple[T, ...]") -> "list[T]":
        """As many of them as are told."""
        taken = list(islice(every, min(SHOWN, self.left)))
        self.left -= len(taken)
        self.left_out += len(every) - len(taken)
        return taken

    def message(self, trial: Trial) -> "bench.Message":
        # How it ended and what goes out first: the steps have what is left of the room, and may be thousands.
        trace, message = trial.trace, trial.message
        findings = [self.finding(one) for one in self.some(trial.findings)]
        outputs = [
            bench.Output(
                to=[self.short(name) for name in self.some(names)],
                text=self.text(body),
                size_bytes=len(body),
                is_same=body == trial.raw,
            )
            for body, names in self.some(list(trial.outputs.items()))
        ]
        routes = self.routes(trace) if trace is not None else []
        not_reached = self.not_reached(trace) if trace is not None else []
        steps = self.steps(trace) if trace is not None else []
        return bench.Message(
            state=trial.state,  # type: ignore[arg-type]  # one of those, or the model says so
            answer=self.short(told(trial)),
            type=self.short(type_of(message)) if message is not None else "",
            control_id=self.short(message.get("MSH-10") or "") if message is not None else "",
            codec=message.codec if message is not None else "",
            findings=findings,
            steps=steps,
            not_reached=not_reached,
            routes=routes,
            acks=[self.text(part) for part in trial.answer.payload.split(BETWEEN) if part],
            app_ack=self.text(trial.answer.apart),
            outputs=outputs,
            left_out=self.left_out,
        )

    def stepped(self, trace: Trace, about: "bench.Stepped") -> "bench.Stepped":
        """`about` with the steps."""
        more = {
            "state": trace.result.state,
            "routes": self.routes(trace),
            "not_reached": self.not_reached(trace),
            "steps": self.steps(trace),
        }
        return about.model_copy(update={**more, "left_out": self.left_out})

    def steps(self, trace: Trace) -> "list[bench.StepTold]":
        """Those of one trace, in the order in which they ran."""
        every = trace.steps
        shown = []
        for number, step in enumerate(self.some(every)):
            is_told_inside = number + 1 < len(every) and every[number + 1].depth > step.depth
            shown.append(
                bench.StepTold(
                    label=self.short(step.label),
                    depth=step.depth,
                    outcome=step.outcome,
                    microseconds=None if is_told_inside or step.outcome == "skipped" else step.microseconds,
                    conditions=[self.condition(one) for one in self.some(step.conditions)],
                    lookups=[
                        bench.LookedUp(
                            path=self.short(one.path), table=self.short(one.table), key=self.short(one.key), row=one.row
                        )
                        for one in self.some(step.lookups)
                    ],
                    changes=[]
                    if is_told_inside
                    else [
                        bench.Changed(
                            path=self.short(one.path), before=self._side(one.before), after=self._side(one.after)
                        )
                        for one in self.some(step.changes)
                    ],
                    findings=[] if is_told_inside else [self.finding(one) for one in self.some(step.findings)],
                )
            )
        return shown

    def not_reached(self, trace: Trace) -> list[str]:
        return [self.short(one) for one in self.some(trace.not_reached)]

    def routes(self, trace: Trace) -> "list[bench.RouteTold]":
        return [
            bench.RouteTold(
                to=self.short(one.destination),
                taken=one.taken,
                condition=None if one.condition is None else self.condition(one.condition),
            )
            for one in self.some(trace.routes)
        ]

    def condition(self, tested: Tested) -> "bench.Condition":
        seen = self.some(list(dict(seen_values(tested)).items()))
        return bench.Condition(
            source=self.short(tested.source),
            outcome=tested.outcome,
            seen=[
                bench.Seen(text=self.short(text), values=[self.short(value) for value in self.some(values)])
                for text, values in seen
            ],
        )

    def finding(self, one: Finding) -> "bench.FindingTold":
        return bench.FindingTold(
            code=one.code, severity=one.severity, text=self.short(one.text), location=self.short(one.location)
        )

    def problems(self, every: Iterable[ConfigFinding]) -> "list[bench.Problem]":
        return [
            bench.Problem(
                **{
                    **asdict(one),
                    "message": self.short(one.message),
                    "hint": self.short(one.hint),
                    "file": self.short(one.file),
                }
            )
            for one in self.some(list(every))
        ]

    def differences(self, every: "list[Any]") -> "list[bench.DifferenceTold]":
        return [
            bench.DifferenceTold(
                file=self.short(one.file),
                number=one.number,
                path=self.short(one.path),
                expected=self.short(one.expected),
                actual=self.short(one.actual),
            )
            for one in self.some(every)
        ]

    def _side(self, text: str | None) -> str | None:
        return None if text is None else self.short(text)

    def short(self, text: str) -> str:
        """At most so many characters, and nothing that UTF-8 cannot have."""
        text = _clean(text)
        return text if len(text) <= self.value else f"{text[: self.value]}... ({len(text)} characters)"

    def text(self, raw: bytes) -> str:
        """As text, in the message's own charset where it can be read, its segments on lines of their own."""
        cut = raw[: self.body]
        if form_of(raw) != "hl7":
            text = cut.decode("utf-8", "backslashreplace")
        else:
            try:
                message = Message.parse(cut)
                text = "\n".join(message.segment(index) for index in range(len(message)))
            except UnreadableMessage:
                text = cut.decode("ascii", "backslashreplace").replace("\r", "\n")
        text = _clean(text)
        is_cut = len(raw) > self.body or len(text) > self.body
        return f"{text[: self.body]}... (cut)" if is_cut else text


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
