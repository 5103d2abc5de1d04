"""`copy: {TARGET: SOURCE}`: a place as it stands, with its repetitions, components and escapes."""

from pydantic import Field, ValidationInfo, field_validator

from engine.config.base import ConfigModel
from engine.config.types import PathText
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.pipeline.checks import Level, known_path, level_of, refuse
from engine.pipeline.occurrences import is_many
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop


class CopyOptions(ConfigModel):
    """Write each target as its source stands; `PID-2: PID-3` takes all repetitions along.

    The target is what the source is, also when that is nothing: an absent source leaves an empty target,
    so that no earlier value is taken for the source's.
    """

    places: dict[PathText, PathText] = Field(alias="copy", min_length=1, description="Target: source")

    @field_validator("places")
    @classmethod
    def _check_places(cls, places: dict[PathText, PathText], info: ValidationInfo) -> dict[PathText, PathText]:
        for target_text, source_text in places.items():
            target, source = known_path(target_text), known_path(source_text)
            if target is not None and source is not None:
                _check(info, target_text, target, source_text, source)
        return places


class CopyStep:
    """The targets are written in the order of the file, each from the message as it is then."""

    name = "copy"
    model = CopyOptions

    def title(self, options: CopyOptions) -> str:
        return ", ".join(options.places)

    def compile(self, options: CopyOptions, scope: CompileScope) -> CompiledStep:
        pairs = tuple((scope.path(target).set_raw, scope.path(source).raw) for target, source in options.places.items())

        def copy(message: Message, run: Run) -> Stop | None:
            for write, read in pairs:
                write(message, read(message) or "")
            return None

        return copy


def _check(info: ValidationInfo, target_text: PathText, target: Path, source_text: PathText, source: Path) -> None:
    """What could never fit: one level of HL7's structure does not hold a higher one."""
    for text, path in ((target_text, target), (source_text, source)):
        if path.field is None:
            refuse(info, text, f"{text} is a whole segment", "name a field, such as PID-3")
            return
        if path.segment == "MSH" and path.field in (1, 2):
            refuse(info, text, f"{text} holds the delimiters and is not copied")
            return
    if is_many(source):
        refuse(info, source_text, f"{source_text} stands for several places", "name one of them, or use python")
    elif level_of(source) < level_of(target):
        whole = level_of(source) is Level.FIELD
        hint = f"write {source_text}[1] for its first repetition" if whole else f"name a part of {source_text}"
        if whole and level_of(target) > Level.REPETITION:
            hint = f"name a part of it, such as {source_text}.1"
        refuse(info, source_text, f"{source_text} has more structure than {target_text} can hold", hint)
