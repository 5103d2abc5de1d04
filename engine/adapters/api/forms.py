"""What a browser's form sends, and what stands behind the `?` of an address: texts by name, read into a model."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args, get_origin
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel

from engine.adapters.api.problems import not_understood

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 20_000
CSRF_FIELD: Final = "csrf"
PIECE: Final = 16 * 1024
"""So many bytes are decoded at a time: within one call nobody else has the interpreter, the engine's loop included."""


def read_form(body: bytes, model: type[BaseModel]) -> tuple[str, dict[str, Any]]:
    """The CSRF token that stands in it, and the rest as `model` takes it. Raises Problem; nothing sent is repeated.

    A field that the model has as a list is one, however often it was sent; line ends are `\\n`, which browsers send as
    CR LF.
    """
    try:
        pairs = list(_pairs(body)) if body else []
    except ValueError:
        raise not_understood("the body is not a form's", 400) from None
    tokens = [value for name, value in pairs if name == CSRF_FIELD]
    if len(tokens) > 1:
        raise not_understood("the body is not a form's", 400)
    fields = [(name, value.replace("\r\n", "\n")) for name, value in pairs if name != CSRF_FIELD]
    return (tokens[0] if tokens else ""), by_name(fields, model)


def _pairs(body: bytes) -> Iterator[tuple[str, str]]:
    """Raises ValueError. As `urllib.parse.parse_qsl` reads it strictly, in pieces."""
    body.decode("ascii")
    if body.count(b"&") >= MOST_FIELDS:
        raise ValueError("too many fields")
    for field in body.split(b"&"):
        name, equals, value = field.partition(b"=")
        if not equals:
            raise ValueError("a field without a value")
        yield _text(name), _text(value)


def _text(quoted: bytes) -> str:
    """Raises ValueError where it is not UTF-8."""
    quoted = quoted.replace(b"+", b" ")
    if b"%" not in quoted:
        return quoted.decode()
    found = bytearray()
    at = 0
    while at < len(quoted):
        end = at + PIECE
        # No escape goes over the end of a piece.
        end -= 2 if quoted[end - 2 : end - 1] == b"%" else 1 if quoted[end - 1 : end] == b"%" else 0
        found += unquote_to_bytes(quoted[at:end])
        at = end
    return found.decode()


def by_name(pairs: Iterable[tuple[str, str]], model: type[BaseModel]) -> dict[str, Any]:
    """Each name once, but for those that may be repeated, which the model has as lists."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = [value] if _is_list(model, name) else value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _is_list(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and _has_list(field.annotation)


def _has_list(annotation: Any) -> bool:
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return True
    return any(_has_list(one) for one in get_args(annotation) if one is not type(None))
