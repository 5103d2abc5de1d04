"""`each: OBX`: steps for every segment of one name, with that segment in focus."""

from bisect import bisect_left
from typing import Final

from pydantic import Field, ValidationInfo, field_validator

from engine.config.base import ConfigModel
from engine.config.entries import StepEntry
from engine.config.types import ConditionText, SegmentText
from engine.hl7.message import Message
from engine.pipeline.checks import refuse_step
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop
from engine.pipeline.work import ROUND, STEP, outside

_WHOLE_MESSAGE = {
    "filter": "it would end the way of the whole message; give `each` a `when` instead",
    "python": "its function gets the whole message; let it go over the segments itself",
}


FEW: Final = 16
"""Rounds that cannot cost more than a message may, whatever they read."""


class EachOptions(ConfigModel):
    """Run steps once for each segment of a name, in order.

    Inside, `OBX-5` means that segment's field. `when` chooses among the segments. What a step stops,
    holds or rejects is the whole message.
    """

    segment: SegmentText = Field(alias="each", description="The segment to go over")
    when: ConditionText | None = Field(default=None, description="Only the segments this is true of")
    do: tuple[StepEntry, ...] = Field(min_length=1, description="Steps for each of them")

    @field_validator("do")
    @classmethod
    def _check_steps(cls, do: tuple[StepEntry, ...], info: ValidationInfo) -> tuple[StepEntry, ...]:
        for entry in do:
            # An entry that could not be read is None here, and has its finding already.
            if entry is not None and entry.kind in _WHOLE_MESSAGE:
                refuse_step(info, entry, f"'{entry.kind}' cannot stand inside 'each'", _WHOLE_MESSAGE[entry.kind])
        return do


class EachStep:
    """Goes over the segments that are there when it begins; those that its steps add or remove are seen correctly."""

    name = "each"
    model = EachOptions

    def title(self, options: EachOptions) -> str:
        return str(options.segment)

    def compile(self, options: EachOptions, scope: CompileScope) -> CompiledStep:
        segment = str(options.segment)
        inside = scope.steps(options.do, segment)
        condition = scope.focused(segment).condition(options.when) if options.when is not None else None
        passes = condition.run if condition is not None else None
        a_round = ROUND + STEP * len(options.do)
        beyond = outside(scope.reads)

        def go_over(message: Message, run: Run) -> Stop | None:
            outer = message.focus
            stop: Stop | None = None
            done = 0  # how many of the segments still there were gone over
            rounds = len(message.indexes(segment))
            cost = a_round if beyond is None or rounds <= FEW else a_round + beyond(message)
            for _ in range(rounds):
                found = message.indexes(segment)
                if done >= len(found):
                    break
                message.spend(cost)
                message.focus = found[done]
                if condition is not None and run.watch is not None:
                    run.watch.tested(condition, message)
                if passes is None or passes(message):
                    stop = inside(message, run)
                    if stop is not None:
                        break
                # The focus follows its segment through edits, and is None when the segment was removed.
                if message.focus is not None:
                    done = bisect_left(message.indexes(segment), message.focus) + 1
            message.focus = outer
            return stop

        return go_over
