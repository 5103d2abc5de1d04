"""`delete: [NTE, PID-19, OBX[*]-17]`: segments, fields and parts of them that nobody downstream should see."""

from pydantic import Field, ValidationInfo, field_validator

from engine.config.base import ConfigModel
from engine.config.types import PathText
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.pipeline.checks import known_path, refuse
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop


class DeleteOptions(ConfigModel):
    """Remove every place that a path matches.

    `NTE` removes all NTE segments, `OBX-17` that field of every OBX, `PID-3[2]` the second repetition.
    """

    paths: tuple[PathText, ...] = Field(alias="delete", min_length=1, description="What to remove")

    @field_validator("paths")
    @classmethod
    def _check_paths(cls, paths: tuple[PathText, ...], info: ValidationInfo) -> tuple[PathText, ...]:
        for text in paths:
            path = known_path(text)
            if path is not None and _is_needed(path):
                refuse(info, text, f"{text} cannot be removed: a message cannot be read without it")
        return paths


class DeleteStep:
    """What is left moves up only where segments or repetitions went; other fields keep their numbers."""

    name = "delete"
    model = DeleteOptions

    def title(self, options: DeleteOptions) -> str:
        return ", ".join(options.paths)

    def compile(self, options: DeleteOptions, scope: CompileScope) -> CompiledStep:
        paths = tuple(scope.path(text) for text in options.paths)

        def remove(message: Message, run: Run) -> Stop | None:
            for path in paths:
                path.delete(message)
            return None

        return remove


def _is_needed(path: Path) -> bool:
    """MSH itself, and the two fields that hold the delimiters."""
    return path.segment == "MSH" and path.field in (None, 1, 2)
