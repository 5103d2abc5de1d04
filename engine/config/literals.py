"""Texts of a `set` that read as an expression: somebody left out the `=` that makes them one."""

import re
from collections.abc import Iterator

from engine.config.expression import ExpressionError, compile_value
from engine.config.expression.functions import FUNCTIONS
from engine.config.finding import ConfigFinding, Position, at
from engine.config.types import ValueText
from engine.hl7.dictionary import VERSIONS, load
from engine.hl7.errors import PathError
from engine.hl7.path import compile_path

_PATH = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[[^\[\]]+\])?-[0-9]")
_CALL = re.compile(r"([a-z]+)\(.*\)", re.DOTALL)


def check_literal(text: ValueText) -> Iterator[ConfigFinding]:
    """Of a text that is written as it stands: a warning where it is a path of the standard's, or calls a function."""
    place = text.position(0, len(text))
    if text.is_expression or text.is_secret or not (_is_path(text) or _is_call(text)):
        return
    # Of a quoted YAML scalar the = belongs inside of the quotes, so the whole value is given.
    hint = f"write ={text} for its value" if not re.search(r"[\"':#\[\]{}]", text) else "put = before it for its value"
    yield at(place or Position("", 0, 0), "W190", f"'{text.shown}' is written as this very text", hint)


def _is_path(text: str) -> bool:
    found = _PATH.match(text)
    if found is None or not any(load(version).segment(found[1]) for version in VERSIONS):
        return False
    try:
        return compile_path(text).field is not None
    except PathError:
        return False


def _is_call(text: str) -> bool:
    found = _CALL.fullmatch(text)
    if found is None or found[1] not in FUNCTIONS:
        return False
    try:
        compile_value(text)
    except ExpressionError:
        return False
    return True
