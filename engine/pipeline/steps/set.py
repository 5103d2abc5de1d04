"""`set: {PATH: text, PATH: =expression}`: what a place is to be."""

import re
from collections.abc import Callable

from pydantic import Field, ValidationInfo, field_validator

from engine.config.base import ConfigModel
from engine.config.types import PathText, ValueText
from engine.hl7.delimiters import STANDARD, Delimiters
from engine.hl7.errors import UnencodableText
from engine.hl7.escape import escape, unescape
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.pipeline.checks import Level, known_path, level_of, refuse
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop

_MARKS = re.compile(r"([|~^&])")
_HIGHER: dict[Level, str] = {
    Level.FIELD: "|",
    Level.REPETITION: "|~",
    Level.COMPONENT: "|~^",
    Level.SUBCOMPONENT: "|~^&",
}
_NAMES = {"|": "fields", "~": "repetitions", "^": "components", "&": "subcomponents"}


class SetOptions(ConfigModel):
    r"""Write places, in order. An expression's value is written as text, with its delimiters escaped.

    Text without `=` is HL7 as the standard writes it, with `^~\&` as delimiters: `MSH-9: ADT^A08` is two
    components, in whatever delimiters the message has. For such a character as text write `="R&D"`.
    """

    values: dict[PathText, ValueText] = Field(
        alias="set", min_length=1, description="Place: text as it stands, or an expression after ="
    )

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: dict[PathText, ValueText], info: ValidationInfo) -> dict[PathText, ValueText]:
        for text, value in values.items():
            path = known_path(text)
            if path is None:
                continue
            if path.field is None:
                refuse(info, text, f"{text} is a whole segment and cannot be set", "name a field, such as PID-3")
            elif path.segment == "MSH" and path.field in (1, 2):
                refuse(info, text, f"{text} holds the delimiters and cannot be set")
            elif not value.is_expression:
                _check_literal(info, text, path, value)
        return values


def _check_literal(info: ValidationInfo, text: PathText, path: Path, value: ValueText) -> None:
    mark = next((mark for mark in _HIGHER[level_of(path)] if mark in value), None)
    if mark is not None:
        hint = f'for {mark} as text write: ="..."' + ("" if mark == "|" else "; or name the whole field")
        refuse(info, value, f"{text} cannot hold several {_NAMES[mark]} ({mark})", hint)
    elif "\r" in value or "\n" in value:
        refuse(info, value, f"{text} cannot hold a line break as it stands", r"in FT and TX fields write \.br\ for it")


class SetStep:
    """Each value is taken from the message as it is then, so a later one sees what an earlier one wrote."""

    name = "set"
    model = SetOptions

    def title(self, options: SetOptions) -> str:
        return ", ".join(options.values)

    def compile(self, options: SetOptions, scope: CompileScope) -> CompiledStep:
        writers = tuple(_writer(scope.path(text), value, scope) for text, value in options.values.items())
        if len(writers) == 1:
            return _alone(writers[0])

        def write(message: Message, run: Run) -> Stop | None:
            for writer in writers:
                writer(message)
            return None

        return write


Writer = Callable[[Message], object]


def _alone(writer: Writer) -> CompiledStep:
    def write(message: Message, run: Run) -> Stop | None:
        writer(message)
        return None

    return write


def _writer(path: Path, value: ValueText, scope: CompileScope) -> Writer:
    if value.is_expression:
        return _computed(path, scope.value(value.expression).run)
    if _MARKS.search(value) or "\\" in value:
        return _structured(path, str(value))
    return _plain(path, str(value))


def _computed(path: Path, value: Callable[[Message], str]) -> Writer:
    put = path.set

    def write(message: Message) -> None:
        put(message, value(message))

    return write


def _plain(path: Path, text: str) -> Writer:
    put = path.set

    def write(message: Message) -> None:
        put(message, text)

    return write


def _structured(path: Path, text: str) -> Writer:
    put = path.set_raw

    def write(message: Message) -> None:
        delimiters = message.delimiters
        put(message, text if delimiters is STANDARD else in_delimiters(text, delimiters, str(path)))

    return write


def in_delimiters(text: str, delimiters: Delimiters, location: str) -> str:
    r"""HL7 text in the standard delimiters, in others. Raises UnencodableText where a needed one is not in use."""
    marks = {
        "|": delimiters.field,
        "~": delimiters.repetition,
        "^": delimiters.component,
        "&": delimiters.subcomponent,
    }
    written = []
    for part in _MARKS.split(text):
        if part in marks and part:
            if not marks[part]:
                raise UnencodableText(f"the message has no delimiter for {_NAMES[part]}", location)
            written.append(marks[part])
            continue
        written.append(_escaped(unescape(part, STANDARD, "utf-8"), delimiters, location))
    return "".join(written)


def _escaped(value: str, delimiters: Delimiters, location: str) -> str:
    try:
        return escape(value, delimiters)
    except ValueError as error:
        raise UnencodableText(str(error), location) from None
