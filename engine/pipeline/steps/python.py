"""`python: steps.py:function`: the way out for what no other step can say.

The function gets the message and a `Context`, edits the message in place and returns nothing::

    from engine.pipeline.step import Hold

    def add_weight(message, context):
        if not message.get("OBX-5"):
            raise Hold("no weight in the first OBX", "OBX-5")
        message.set("ZPV-1", message.get("OBX-5"))

It ends the message's way with `Hold`, `Reject` or `Filter`; any other exception holds the message, and is
reported by its kind and line. It runs in a process of its own, with a deadline and without the
environment (reliability.md 0.11, E2), and must come to the same end for the same message: `context.now`
is the time, and what it keeps between messages is lost when its process is started anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import Field

from engine.config.base import ConfigModel
from engine.config.isolate import StepDeadline
from engine.config.table import Table
from engine.config.types import FunctionText
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.checks import known_path
from engine.pipeline.step import CompiledStep, CompileScope, Run, StepStop, Stop

MOST_REASON = 200


@dataclass(slots=True, frozen=True)
class Context:
    """What a function may know beside the message: when the message came, its channel, and the code tables."""

    now: datetime
    channel: str
    tables: Mapping[str, Table]


class PythonOptions(ConfigModel):
    """Call a function of a Python file in the channel's folder."""

    function: FunctionText = Field(alias="python", description="file.py:function")
    deadline: StepDeadline | None = Field(
        default=None, description="Processor time of this step alone, in place of a share in the message's"
    )
    isolate: Literal["process"] = Field(default="process", description="Where it runs; there is no other place")

    @property
    def own_file(self) -> str:
        """The file whose lines findings name."""
        return self.function.file


class PythonStep:
    """The site's own code, behind the same contract as every other step."""

    name = "python"
    model = PythonOptions

    def title(self, options: PythonOptions) -> str:
        return str(options.function)

    def compile(self, options: PythonOptions, scope: CompileScope) -> CompiledStep:
        if scope.own_code is None:
            return _elsewhere
        function = scope.own_code.step(options.function.file, options.function.function)

        def call(message: Message, run: Run) -> Stop | None:
            try:
                returned = function(message, Context(run.now, scope.channel, scope.tables))
            except StepStop as wanted:
                return Stop(wanted.kind, (_finding(wanted, scope),))
            if returned is not None:
                return Stop("held", (scope.finding("E218", f"{options.function} returned something; it must not"),))
            return None

        return call


def _finding(wanted: StepStop, scope: CompileScope) -> Finding:
    """The words of the site's own code, cut and made printable; a location that is no path is dropped."""
    reason = "".join(c if c.isprintable() else "?" for c in str(wanted.reason)[:MOST_REASON])
    location = str(wanted.location)
    code = str(wanted.hl7_code)
    return scope.finding(
        wanted.code,
        reason,
        severity="information" if wanted.kind == "filtered" else "error",
        location=location if location and known_path(location) is not None else "",
        hl7_code=code if code.isascii() and code.isdigit() and len(code) == 3 else "",
    )


def _elsewhere(message: Message, run: Run) -> Stop | None:
    raise RuntimeError("the site's own code runs in its worker process only")
