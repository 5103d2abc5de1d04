"""Durations and sizes as people write them: the unit is in the value (`30s`, `20MB`)."""

import re
from collections.abc import Sequence
from typing import Annotated, Final, get_args

from pydantic import BeforeValidator, WithJsonSchema

from engine.config.finding import BadValue

SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES: Final = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
RATE_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
RATE_PATTERN: Final = r"^[0-9]{1,9} ?/ ?(s|m|h)$"
DURATION_PATTERN: Final = r"^(0|[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d))$"
SIZE_PATTERN: Final = r"^[0-9]+(\.[0-9]+)? ?(B|KB|MB|GB|KiB|MiB|GiB)?$"
PERCENT_PATTERN: Final = r"^[0-9]{1,3}%$"

_NUMBER_AND_UNIT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `30s`, `5m`, `2h`, `7d` or `0`. Raises BadValue."""
    found = _NUMBER_AND_UNIT.fullmatch(text)
    if found is None:
        raise BadValue(
            f"'{text}' is not a duration", "write a number and a unit: 500ms, 30s, 5m, 2h or 7d", code="E106"
        )
    number, unit = found.groups()
    if not unit:
        if float(number) == 0:
            return 0.0
        raise BadValue(f"'{text}' lacks a unit", f"did you mean {number}s? units: ms, s, m, h, d", code="E106")
    if unit not in SECONDS:
        raise BadValue(f"'{unit}' is not a unit of time", "units: ms, s, m, h, d", code="E106", offset=found.start(2))
    return float(number) * SECONDS[unit]


def parse_size(text: str) -> int:
    """Bytes of `20MB`, `64KB`, `1GiB` or a plain number of bytes. KB is 1000 bytes, KiB 1024. Raises BadValue."""
    found = _NUMBER_AND_UNIT.fullmatch(text)
    if found is None:
        raise BadValue(f"'{text}' is not a size", "write a number and a unit: 64KB, 20MB or 1GiB", code="E106")
    number, unit = found.groups()
    if unit and unit not in BYTES:
        near = next((known for known in BYTES if known.lower() == unit.lower()), "")
        hint = f"did you mean {number}{near}?" if near else f"units: {', '.join(BYTES)}"
        raise BadValue(f"'{unit}' is not a unit of size", hint, code="E106", offset=found.start(2))
    size = float(number) * BYTES[unit or "B"]
    if size != int(size):
        raise BadValue(f"'{text}' is not a whole number of bytes", "write it in a smaller unit", code="E106")
    return int(size)


def parse_percent(text: str) -> float:
    """A fraction from `0%` to `100%`: 0.2 for `20%`. Raises BadValue."""
    if not re.fullmatch(r"[0-9]{1,3}%", text) or int(text[:-1]) > 100:
        raise BadValue(f"'{text}' is not a percentage", "write it from 0% to 100%, such as 20%", code="E106")
    return int(text[:-1]) / 100


def parse_rate(text: str) -> float:
    """Messages a second of `50/s`, `10/m` or `1000/h`. Raises BadValue."""
    found = re.fullmatch(r"([0-9]{1,9}) ?/ ?([A-Za-z]+)", text)
    if found is None:
        raise BadValue(f"'{text}' is not a rate", "write a number and a time: 50/s, 10/m or 1000/h", code="E106")
    number, unit = found.groups()
    if unit not in RATE_UNITS:
        raise BadValue(f"'{unit}' is not a unit of a rate", "units: s, m, h", code="E106", offset=found.start(2))
    if int(number) == 0:
        raise BadValue("a rate of nothing would send nothing", "such as 50/s; leave out rate for no limit", code="E106")
    return int(number) / RATE_UNITS[unit]


def format_duration(seconds: float) -> str:
    """The shortest text with a whole number that `parse_duration` reads as these seconds: `1m` for 60."""
    if seconds == 0:
        return "0"
    for unit, size in reversed(SECONDS.items()):
        if (count := seconds / size) >= 1 and round(count, 6) == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads as this size: `16MiB`."""
    for unit, factor in reversed(BYTES.items()):
        if size >= factor > 1 and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _rate(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _percent(value: object) -> object:
    return parse_percent(value) if isinstance(value, str) else value


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": DURATION_PATTERN,
            "maximum": 0,
            "description": "A duration with its unit: 500ms, 30s, 5m, 2h, 7d",
        }
    ),
]
"""Seconds as a float; in files a text with its unit, or 0. In code a default is given in seconds."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": SIZE_PATTERN,
            "minimum": 0,
            "description": "A size: 64KB, 20MB, 1GiB",
        }
    ),
]
"""Bytes as an int; in files a text with its unit, or a number of bytes."""

Rate = Annotated[
    float,
    BeforeValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": RATE_PATTERN, "description": "A rate: 50/s, 10/m, 1000/h"}),
]
"""Messages a second as a float; in files a text with its unit."""

Percent = Annotated[
    float,
    BeforeValidator(_percent),
    WithJsonSchema({"type": "string", "pattern": PERCENT_PATTERN, "description": "A percentage: 20%"}),
]
"""A fraction from 0 to 1; in files a text such as 20%."""


def as_written(value: object, annotation: object, metadata: Sequence[object]) -> str:
    """A setting's value as a file would have it; the latter two are those of its field, which say what its unit is."""
    marks = [*metadata, *(mark for part in get_args(annotation) for mark in get_args(part)[1:])]

    def is_of(kind: object) -> bool:
        return any(mark is own for own in get_args(kind)[1:] for mark in marks)

    if isinstance(value, float) and is_of(Duration):
        return format_duration(value)
    if isinstance(value, float) and is_of(Percent):
        return f"{value:.0%}"
    if isinstance(value, float) and is_of(Rate):
        return f"{value:g}/s"
    if isinstance(value, int) and is_of(Size):
        return format_size(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
