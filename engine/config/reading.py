"""From a tree with positions to a checked model, and from pydantic's errors to sentences for an analyst."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from engine.config.base import ConfigModel, Reading, did_you_mean, keys_hint
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.kinds import Kinds
from engine.config.node import Mapping, Node, Scalar, SourceDict, SourceList, SourceText, position_of

Substitute = Callable[[Scalar], SourceText]
Model = TypeVar("Model", bound=ConfigModel)

_WANTED = {
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "less than {}"),
    "too_short": ("min_length", "at least {} of them"),
    "too_long": ("max_length", "at most {} of them"),
    "string_too_short": ("min_length", "at least {} characters"),
    "string_too_long": ("max_length", "at most {} characters"),
}


def to_data(node: Node, substitute: Substitute | None = None, owner: SourceText | None = None) -> Any:
    """Plain dicts, lists and strings that know their place. `substitute` makes the text of each value."""
    if isinstance(node, Scalar):
        if node.is_broken or substitute is None:
            return SourceText(node.text, node, is_broken=node.is_broken)
        return substitute(node)
    if isinstance(node, Mapping):
        made = SourceDict()
        made.node, made.owner = node, owner
        for key, value in node.items:
            name = SourceText(key.text, key, is_broken=key.is_broken)
            made[name] = to_data(value, substitute, name)
        return made
    # A key that an entry lacks is told of the entry, not of the key whose list it stands in.
    items = SourceList(to_data(item, substitute) for item in node.items)
    items.node = node
    return items


def to_model(node: Node, model: type[Model], kinds: Kinds | None = None) -> tuple[Model | None, list[ConfigFinding]]:
    """The model of a tree, or None, with everything that is wrong in it. No substitution takes place."""
    reading = Reading(node.source.file, kinds or Kinds())
    made = validate(to_data(node), model, reading)
    return made, reading.findings


def validate(data: Any, model: type[Model], reading: Reading) -> Model | None:
    """The model of what `to_data` gave; None after adding to `reading.findings`."""
    before = len(reading.findings)
    try:
        made = model.model_validate(data, context=reading)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            if (finding := _finding(error, data, reading)) is not None and finding not in reading.findings:
                reading.findings.append(finding)
        return None
    return None if any(finding.is_error for finding in reading.findings[before:]) else made


def _finding(error: Any, data: Any, reading: Reading) -> ConfigFinding | None:
    value, loc = error["input"], error["loc"]
    if isinstance(value, SourceText) and value.is_broken:
        return None
    name = _name(loc)
    kind = error["type"]
    if kind == "missing":
        return _missing(error, data, reading)
    if kind == "extra_forbidden":
        place = _key_position(data, loc) or _place(value, data, loc, reading)
        return at(place, "E101", f"unknown key '{name}'")
    place = _place(value, data, loc, reading)
    problem = error.get("ctx", {}).get("error")
    if isinstance(problem, BadValue):
        return _bad_value(problem, value, name, place)
    if kind in ("literal_error", "enum"):
        return _not_allowed(error, value, name, place)
    if kind in _WANTED:
        return at(
            place, "E104", f"{_subject(name)} must be {_WANTED[kind]}, not {_what(value)}", _shape_hint(kind, value)
        )
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        limit = error["ctx"][key]
        if kind == "too_short" and limit == 1:
            # An entry that could not be read is one all the same, and what is wrong with it has its own finding.
            return None if isinstance(value, list | dict) and value else at(place, "E106", f"{_subject(name)} is empty")
        return at(place, "E106", f"{_subject(name)} must be {words.format(limit)}")
    if isinstance(problem, ValueError) and not (isinstance(value, SourceText) and value.is_secret):
        return at(place, "E107", f"{_subject(name)}: {problem}")
    return at(place, "E107", f"{_subject(name)} cannot be used here")


def _missing(error: Any, data: Any, reading: Reading) -> ConfigFinding | None:
    holder = error["input"]
    if isinstance(holder, SourceDict) and holder.node.is_broken:
        return None
    key = error["loc"][-1]
    owner = holder.owner if isinstance(holder, SourceDict) else None
    place = owner.position() if owner is not None else _place(holder, data, error["loc"][:-1], reading)
    under = f"'{owner.shown}' lacks the key '{key}'" if owner is not None else f"the key '{key}' is missing"
    return at(place or Position(reading.file, 1, 1), "E103", under)


def _bad_value(problem: BadValue, value: object, name: str, place: Position) -> ConfigFinding:
    if isinstance(value, SourceText):
        place = value.position(problem.offset, problem.length) or place
    message, hint = problem.message, problem.hint
    if isinstance(value, SourceText) and value.is_secret:
        message, hint = "cannot be used; its value is secret and not shown", ""
    if message.startswith(("is ", "has ", "must ", "lacks ", "cannot ", "needs ")):
        message = f"{_subject(name)} {message}"
    return at(place, problem.code, message, hint)


def _not_allowed(error: Any, value: object, name: str, place: Position) -> ConfigFinding:
    allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    if not isinstance(value, SourceText):
        return at(
            place, "E104", f"{_subject(name)} must be a text, not {_what(value)}", f"one of: {', '.join(allowed)}"
        )
    hint = did_you_mean(value, allowed)
    hint = f"{hint} " if hint.startswith("did") else ""
    return at(place, "E105", f"{_subject(name)} cannot be '{value.shown}'", f"{hint}allowed: {', '.join(allowed)}")


def _name(loc: Sequence[object]) -> str:
    """The key people know the value by: the last text of pydantic's location."""
    return next((part for part in reversed(loc) if isinstance(part, str) and part != "[key]"), "")


def _subject(name: str) -> str:
    return f"'{name}'" if name else "this"


def _what(value: object) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    return f"'{value.shown}'" if isinstance(value, SourceText) else "a text"


def _shape_hint(kind: str, value: object) -> str:
    if kind in ("list_type", "tuple_type") and isinstance(value, SourceText):
        return f"write it in brackets: [{_in_a_list(value.shown)}]"
    if kind == "string_type" and isinstance(value, list | dict):
        return "a value that begins with [ or { must be put in quotes to be a text"
    if kind in ("dict_type", "model_type", "model_attributes_type") and isinstance(value, SourceText):
        return keys_hint(value)
    return ""


def _in_a_list(text: str) -> str:
    """As entries of a YAML list in one line, where brackets, commas and the like end a text without quotes."""
    if re.fullmatch(r"[\w.^*-]+(?:\s*,\s*[\w.^*-]+)+", text) and not re.match(r"[*-]|.*,\s*[*-]", text):
        return re.sub(r"\s*,\s*", ", ", text)  # several, and only the brackets are missing
    if not re.search(r"[\[\]{},#:&*!|>'\"%@`]", text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _place(value: object, data: Any, loc: Sequence[object], reading: Reading) -> Position:
    """Where an error's value stands: its own place, or that of the nearest value around it."""
    if (own := position_of(value)) is not None:
        return own
    here, found = data, position_of(data)
    for part in loc:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            continue
        found = position_of(here) or found
    return found or Position(reading.file, 1, 1)


def _key_position(data: Any, loc: Sequence[object]) -> Position | None:
    here = data
    for part in loc[:-1]:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            continue
    if not isinstance(here, SourceDict):
        return None
    key = here.key(str(loc[-1]))
    return key.position() if key is not None else None
