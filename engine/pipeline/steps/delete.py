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

    `NTE` removes all NTE segments, `OBX-17` that field of every OBX, `PID-3[2]` the second repetition. Parts of
    segments go first, in the order of the list; then whole segments, all at once.
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
        paths = [scope.path(text) for text in options.paths]
        whole = tuple(dict.fromkeys(path.segment for path in paths if _is_every_segment(path)))
        chosen = tuple(path for path in paths if path.field is None and not _is_every_segment(path))
        removers = tuple(path.delete for path in paths if path.field is not None)

        def remove(message: Message, run: Run) -> Stop | None:
            for remove_part in removers:
                remove_part(message)
            gone: list[int] = []
            for path in chosen:
                gone += path.segments(message)
            for name in whole:
                # Most messages lack most of what is listed, and to see that is cheap.
                if message.first(name) >= 0:
                    gone += message.indexes(name)
            if gone:
                message.delete_segments(gone)
            return None

        return remove


def _is_every_segment(path: Path) -> bool:
    """`NTE`, all of them: neither one by number or content, nor the one in focus."""
    return path.field is None and path.spec.segment_selector is None and not path.focus


def _is_needed(path: Path) -> bool:
    """MSH itself, and the two fields that hold the delimiters."""
    return path.segment == "MSH" and path.field in (None, 1, 2)
