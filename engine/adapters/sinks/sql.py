"""The SQL of a database destination: which names stand in it, and how each driver wants them written.

A statement is taken apart just so far that what stands in quotes and comments is left alone. Values never come
near the text: they are given to the driver by name.
"""

import re
from collections.abc import Iterable
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<quiet> '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \[[^\]'"]*\]
               | --[^\n]* | /\*.*?\*/ | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag) | ::\s*\w+ )
    | (?P<name> (?<![\w:]):[A-Za-z_]\w* )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


def names_in(statement: str) -> list[str]:
    """The `:names` of a statement, each once, in order."""
    found = (match["name"] for match in _TOKEN.finditer(statement))
    return list(dict.fromkeys(name[1:] for name in found if name))


def for_psycopg(statement: str) -> str:
    """`:name` as `%(name)s`, and `%` as itself: psycopg reads it as a mark everywhere, also in quotes."""

    def written(match: re.Match[str]) -> str:
        return f"%({match['name'][1:]})s" if match["name"] else match.group()

    return _TOKEN.sub(written, statement.replace("%", "%%"))


def unquoted(statement: str) -> str:
    """What is left without quotes and comments."""
    return _TOKEN.sub(lambda match: match["name"] or " ", statement)


def is_several(statement: str) -> bool:
    """Whether a semicolon divides it."""
    return ";" in unquoted(statement).rstrip().rstrip(";")


def missing(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names that nothing gives a value to."""
    given = set(known)
    return [name for name in names if name not in given]
