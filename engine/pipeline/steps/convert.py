"""`convert: FORM`: the form in which the message leaves the engine."""

from pydantic import Field

from engine.config.base import ConfigModel
from engine.hl7.convert import Form
from engine.hl7.message import Message
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop


class ConvertOptions(ConfigModel):
    """Send the message as JSON or XML to every destination that says neither `format` nor `charset` for itself.

    Conversion is the last thing that happens: steps behind this one see and change the HL7 message as before. Of two
    such steps the later one counts.
    """

    form: Form = Field(alias="convert", description="json, xml, or hl7 to undo an earlier one")


class ConvertStep:
    """Only the run is told; `engine.pipeline.outputs` converts, once for all destinations that ask for the same."""

    name = "convert"
    model = ConvertOptions

    def title(self, options: ConvertOptions) -> str:
        return options.form

    def compile(self, options: ConvertOptions, scope: CompileScope) -> CompiledStep:
        form = options.form

        def convert(message: Message, run: Run) -> Stop | None:
            run.form = form
            return None

        return convert
