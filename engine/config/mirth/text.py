"""Lines of a channel file: values in YAML, comments that hold what was not carried over."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from engine.config.entries import NAME_PATTERN
from engine.config.profile_write import scalar as double_quoted

MOST_LINES: Final = 200
"""Of one script in a comment; the whole of it is in the export."""
MOST_WIDTH: Final = 200
TO_DO: Final = "to do:"
"""What every place begins with that a person must see to; an editor and grep find it."""

Yaml = str | bool | int | Sequence["Yaml"] | Mapping[str, "Yaml"]


_PLAIN: Final = re.compile(r"=?[A-Za-z0-9_(*][A-Za-z0-9_.^()/+<>=!~-]*( [A-Za-z0-9_.^()/+<>=!~-]+)*")


def scalar(text: str) -> str:
    """A text as YAML, as people would write it: plain, else in single quotes, else in double ones."""
    if double_quoted(text) == text:
        return text
    if _PLAIN.fullmatch(text) and text.startswith("=") and len(text) > 1:
        return text
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    return double_quoted(text)


def flow(value: Yaml) -> str:
    """A value in one line."""
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(flow(inner) for inner in value) + "]"


def plain(text: str) -> str:
    """A text of the export that is to stay what it is: `${` begins no reference."""
    return text.replace("${", "$${")


def mapping(data: Mapping[str, Yaml], indent: int) -> Iterator[str]:
    """A mapping in lines; a short one inside of it stays in one line."""
    for key, value in data.items():
        line = f"{' ' * indent}{scalar(key)}: {flow(value)}"
        if isinstance(value, Mapping) and len(line) > 100:
            yield f"{' ' * indent}{scalar(key)}:"
            yield from mapping(value, indent + 2)
        else:
            yield line


def comment(text: str, indent: int) -> Iterator[str]:
    """Text as comment lines: printable, not endless."""
    lines = text.splitlines() or [""]
    for line in lines[:MOST_LINES]:
        shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in line.rstrip())
        yield f"{' ' * indent}# {shown[:MOST_WIDTH]}{'...' if len(shown) > MOST_WIDTH else ''}".rstrip()
    if len(lines) > MOST_LINES:
        yield f"{' ' * indent}# ... and {len(lines) - MOST_LINES} lines more, in the export"


def to_do(sentence: str, indent: int, source: str = "") -> list[str]:
    """A marked comment, with what is left to do, and below it what stands in the export."""
    wrapped = textwrap.wrap(f"{TO_DO} {sentence}", 110 - indent, subsequent_indent="  ", break_long_words=False)
    lines = list(comment("\n".join(wrapped), indent))
    if source.strip():
        lines += (f"{line[:indent]}#   {line[indent + 2 :]}".rstrip() for line in comment(source.strip("\r\n"), indent))
    return lines


def name_of(text: str, taken: Iterable[str], otherwise: str) -> str:
    """A name of ours that reads like theirs, and that none of `taken` has."""
    made = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-") or otherwise
    assert re.fullmatch(NAME_PATTERN, made), "made of what a name may have"
    known, name, number = set(taken), made, 1
    while name in known:
        number += 1
        name = f"{made}-{number}"
    return name


def seconds(milliseconds: int) -> str:
    """A duration as it is written: 30s, 1500ms, 5m."""
    if milliseconds % 60_000 == 0 and milliseconds:
        return f"{milliseconds // 60_000}m"
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
