"""Running compiled steps over one message, and what came of it."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from traceback import walk_tb
from typing import Final, NamedTuple

from engine.config.expression import Condition
from engine.hl7.errors import EditError, TooMuchWork
from engine.hl7.message import Message
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.states import MessageState
from engine.pipeline.step import CompiledStep, Run, Stop


@dataclass(slots=True)
class Result:
    """What the pipeline decided about one message: its state, what goes where, and what was found.

    Deliveries of the same bytes share one object; a body is None where the bytes are those received.
    """

    state: MessageState
    deliveries: list[DraftDelivery] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()

    @classmethod
    def received(cls) -> "Result":
        """Of a message that is stored first and processed later (`ack: {when: stored}`)."""
        return cls("received")


TOO_MUCH: Final = "the message has more to go over than its steps may; a channel with isolate: process may go over more"
REFUSED: Final = "; own code may not write files, use the network or start programs"
MOST_CAUSES: Final = 5
MOST_FINDINGS: Final = 500
"""Of one message; a rule may be broken in each of a hundred thousand segments, and nobody reads them all."""


def bounded(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The first ones, errors before all others, and how many more there were."""
    errors = [finding for finding in findings if finding.severity == "error"]
    others = [finding for finding in findings if finding.severity != "error"]
    kept = [*errors, *others][: MOST_FINDINGS - 1]
    text = f"{len(findings) - len(kept)} more findings of the same message are not kept"
    return (*kept, Finding("W281", "warning", text))


class Placed(NamedTuple):
    """One compiled step in its place. `label` names it in findings; `own_file` is the file of the site's own code."""

    label: str
    call: CompiledStep
    condition: Condition | None
    own_file: str = ""


def in_order(steps: Sequence[Placed]) -> CompiledStep:
    """One callable that runs the steps until one stops the message.

    A step that raises stops it too: the message is held, with the place and the kind of the exception,
    never its text (reliability.md E1).
    """
    placed = tuple(steps)
    calls = tuple(_guarded(step) for step in placed)

    def run_steps(message: Message, run: Run) -> Stop | None:
        if run.watch is not None or run.timer is not None:
            return _observed(placed, message, run)
        at = 0
        try:
            for call in calls:
                stop = call(message, run)
                if stop is not None:
                    return stop
                at += 1
        except Exception as error:  # noqa: BLE001 - the edge of a channel: whatever a step raises, its message is held
            return failed(placed[at].label, error, placed[at].own_file)
        return None

    return run_steps


def _guarded(step: Placed) -> CompiledStep:
    call, condition = step.call, step.condition
    if condition is None:
        return call

    def guarded(message: Message, run: Run) -> Stop | None:
        return call(message, run) if condition(message) else None

    return guarded


def _observed(steps: Sequence[Placed], message: Message, run: Run) -> Stop | None:
    """The same, told to the run's timer and watch."""
    for step in steps:
        stop = _observed_step(step, message, run)
        if stop is not None:
            return stop
    return None


def _observed_step(step: Placed, message: Message, run: Run) -> Stop | None:
    watch, timer = run.watch, run.timer
    if watch is not None:
        watch.begin(step.label, message, run, step.condition)
    started = timer.clock() if timer is not None else 0.0
    stop: Stop | None = None
    skipped = False
    try:
        if step.condition is None or step.condition(message):
            stop = step.call(message, run)
        else:
            skipped = True
    except Exception as error:  # noqa: BLE001 - as in `in_order`
        stop = failed(step.label, error, step.own_file)
    seconds = timer.clock() - started if timer is not None else None
    if timer is not None and seconds is not None and not skipped:
        timer.step(step.label, seconds)
    if watch is not None:
        watch.end(message, run, stop, skipped=skipped, seconds=seconds)
    return stop


def failed(label: str, error: Exception, own_file: str = "") -> Stop:
    """Held, because a step raised. The finding has the place and the kind of exception: its text may hold values."""
    if isinstance(error, TooMuchWork):
        return Stop("held", (Finding("E204", "error", TOO_MUCH, step=label),))
    if isinstance(error, EditError):
        finding = Finding("E203", "error", f"cannot write: {error.reason}", error.location, "", label)
        return Stop("held", (finding,))
    line = _line_in(own_file, error)
    where = f" at {own_file}:{line}" if line else ""
    why = REFUSED if own_file and _was_refused(error) else ""
    return Stop("held", (Finding("E201", "error", f"the step failed with {_kind(error)}{where}{why}", step=label),))


def _was_refused(error: BaseException) -> bool:
    """Whether the system did not let a call through, which libraries tell with errors of their own."""
    for _ in range(MOST_CAUSES):
        if isinstance(error, OSError) and error.errno == errno.EPERM:
            return True
        cause = error.__cause__ or error.__context__
        if cause is None:
            break
        error = cause
    return False


def _line_in(file: str, error: BaseException) -> int:
    """The last line of the site's own file that the exception went through, 0 for none."""
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return lines[-1] if file and lines else 0


def _kind(error: BaseException) -> str:
    """The name of the exception's class, where it can be one that stands in code."""
    name = type(error).__name__
    return name if name.isascii() and name.isidentifier() and len(name) <= 60 else "an exception"
