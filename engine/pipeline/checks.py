"""What the models of the built-in steps check beyond each text by itself."""

from enum import IntEnum

from pydantic import ValidationInfo

from engine.config.base import Reading
from engine.config.entries import StepEntry
from engine.config.finding import BadValue, Position, at
from engine.config.node import SourceText
from engine.hl7.errors import PathError
from engine.hl7.path import Path, compile_path


class Level(IntEnum):
    """The levels of HL7's structure, outermost first (v2.5.1 section 2.5)."""

    SEGMENT = 0
    FIELD = 1
    REPETITION = 2
    COMPONENT = 3
    SUBCOMPONENT = 4


def level_of(path: Path) -> Level:
    """What a path names. A field without a selector is the whole field, with all its repetitions."""
    if path.subcomponent is not None:
        return Level.SUBCOMPONENT
    if path.component is not None:
        return Level.COMPONENT
    if path.field is None:
        return Level.SEGMENT
    return Level.FIELD if path.spec.field_selector is None else Level.REPETITION


def known_path(text: str) -> Path | None:
    """The path, or None for a text that is none: the linter reports that with its column."""
    try:
        return compile_path(str(text))
    except PathError:
        return None


def refuse(info: ValidationInfo, text: SourceText, message: str, hint: str = "", *, code: str = "E107") -> None:
    """Report `text` where it stands in its file; raise BadValue where there is no file."""
    place = text.position()
    if place is None or not isinstance(info.context, Reading):
        raise BadValue(message, hint, code=code)
    info.context.findings.append(at(place, code, message, hint))


def refuse_step(info: ValidationInfo, entry: StepEntry, message: str, hint: str, *, code: str = "E107") -> None:
    """Report a step that cannot stand where it stands."""
    if not isinstance(info.context, Reading):
        raise BadValue(message, hint, code=code)
    place = Position(entry.file, entry.line, entry.column, len(entry.kind))
    info.context.findings.append(at(place, code, message, hint))
