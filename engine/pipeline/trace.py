"""One message's way through a channel, told step by step: for the terminal of the analyst who may see it.

A trace is never stored: it is recomputed from the message, the channel's version and the time (DESIGN
decision 7). It holds field values. The steps run by the same code as ever, with a `Tracer` looking on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.config.expression import Condition, Explained, ValueTooLong
from engine.hl7.errors import TooMuchWork
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.compare import Change, changes
from engine.pipeline.routes import Way
from engine.pipeline.run import Result
from engine.pipeline.step import Lookup, Run, Stop
from engine.pipeline.watched import Watched

StepOutcome = Literal["done", "skipped", "filtered", "held", "rejected"]


@dataclass(slots=True, frozen=True)
class Tested:
    """A condition with its outcome, and what stood on the sides of its comparisons."""

    source: str
    outcome: bool
    why: tuple[Explained, ...]


@dataclass(slots=True)
class StepTrace:
    """One step. `depth` is 0, and more inside `each`; `microseconds` is None where no clock was given.

    `conditions` has the step's own `when` first. The `changes` and `findings` of a step with others inside
    it are those of all of them together.
    """

    label: str
    depth: int
    outcome: StepOutcome = "done"
    conditions: list[Tested] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    microseconds: float | None = None


@dataclass(slots=True, frozen=True)
class RouteTrace:
    """One route, and whether it was taken; None where the message did not come that far."""

    destination: str
    taken: bool | None
    condition: Tested | None


@dataclass(slots=True, frozen=True)
class Trace:
    """Everything that happened: steps in the order they ran, the labels of those not reached, routes, and the end.

    `final` is the message as the steps left it.
    """

    steps: tuple[StepTrace, ...]
    not_reached: tuple[str, ...]
    routes: tuple[RouteTrace, ...]
    result: Result
    final: Message


@dataclass(slots=True)
class _Open:
    """A step that has begun. `before` is the message then; None inside of another step, where `mark` is enough."""

    step: StepTrace
    before: Message | None
    mark: int
    findings: int


class Tracer:
    """Looks on while a message goes through its channel."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.timer = _Times(clock) if clock is not None else None
        self._steps: list[StepTrace] = []
        self._open: list[_Open] = []

    def begin(self, label: str, message: Message, run: Run, condition: Condition | None) -> None:
        step = StepTrace(label, len(self._open))
        self._steps.append(step)
        # A step inside of `each` runs once for every segment: to copy and compare the whole message each time would
        # cost the square of its length. The channel's own steps are few, and what they did is seen without help.
        is_inside = step.depth > 0 and isinstance(message, Watched)
        before = None if is_inside else message.copy()
        mark = message.mark() if isinstance(message, Watched) else 0
        self._open.append(_Open(step, before, mark, len(run.findings)))
        if condition is not None:
            self.tested(condition, message)

    def end(self, message: Message, run: Run, stop: Stop | None, *, skipped: bool, seconds: float | None) -> None:
        ended = self._open.pop()
        step = ended.step
        step.outcome = "skipped" if skipped else stop.kind if stop is not None else "done"
        if ended.before is not None:
            step.changes = changes(ended.before, message)
        elif isinstance(message, Watched):
            step.changes = message.changes_since(ended.mark)
        step.findings = (*run.findings[ended.findings :], *(stop.findings if stop is not None else ()))
        step.microseconds = None if seconds is None else seconds * 1e6

    def tested(self, condition: Condition, message: Message) -> None:
        self._open[-1].step.conditions.append(_tested(condition, message))

    def looked_up(self, lookup: Lookup) -> None:
        self._open[-1].step.lookups.append(lookup)

    def finish(
        self, final: Message, stop: Stop | None, result: Result, routes: Sequence[Way], labels: Sequence[str]
    ) -> Trace:
        """The whole of it. `labels` are those of the channel's own steps, in order."""
        reached = {step.label for step in self._steps}
        return Trace(
            tuple(self._steps),
            tuple(label for label in labels if label not in reached),
            tuple(_route(way, final, stop) for way in routes),
            result,
            final,
        )


class _Times:
    """A timer whose clock is given and whose times only the tracer wants."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock

    def step(self, label: str, seconds: float) -> None:
        """The tracer hears of it in `end`."""


def _route(way: Way, final: Message, stop: Stop | None) -> RouteTrace:
    if stop is not None:
        return RouteTrace(way.destination, None, None)
    if way.condition is None:
        return RouteTrace(way.destination, True, None)
    tested = _tested(way.condition, final)
    return RouteTrace(way.destination, tested.outcome, tested)


def _tested(condition: Condition, message: Message) -> Tested:
    try:
        return Tested(condition.source, condition(message), tuple(condition.explain(message)))
    except (ValueTooLong, TooMuchWork):
        # The run itself comes upon it too, and holds the message with a finding.
        return Tested(condition.source, False, ())
