"""`filter: CONDITION`: only messages that it is true of go on."""

from pydantic import Field

from engine.config.base import ConfigModel
from engine.config.types import ConditionText
from engine.hl7.message import Message
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop


class FilterOptions(ConfigModel):
    """Keep the messages that a condition is true of; the others are acknowledged and go nowhere."""

    condition: ConditionText = Field(alias="filter", description="True of the messages that go on")


class FilterStep:
    """A message that is filtered counts as handled: its sender is told that we have it (hl7.md item 19)."""

    name = "filter"
    model = FilterOptions

    def title(self, options: FilterOptions) -> str:
        return str(options.condition)

    def compile(self, options: FilterOptions, scope: CompileScope) -> CompiledStep:
        condition = scope.condition(options.condition)
        passes = condition.run
        finding = scope.finding("W201", f"filtered: not {options.condition}", severity="information")
        stop = Stop("filtered", (finding,))

        def keep(message: Message, run: Run) -> Stop | None:
            if run.watch is not None:
                run.watch.tested(condition, message)
            return None if passes(message) else stop

        return keep
