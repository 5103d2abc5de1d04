"""Tokens of a Mirth channel's JavaScript."""

import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from engine.config.mirth.operators import Pattern
from engine.config.mirth.terms import NotExpressible

Kind = Literal["text", "number", "pattern", "word", "symbol", "end"]

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>[0-9]+(?:\.[0-9]+)?(?![\w.]))
    |(?P<word>[A-Za-z_$][\w$]*)
    |(?P<symbol>===|!==|==|!=|<=|>=|&&|\|\||\+=|-=|\+\+|--|=>|[][(){}.,;:?=<>!+*/%&|^~-])""",
    re.VERBOSE | re.DOTALL,
)
_PATTERN: Final = re.compile(r"/((?:[^/\\\n\[]|\\.)+)/([a-z]*)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"', "/": "/"}
MAX_CHARS: Final = 50_000


@dataclass(slots=True, frozen=True)
class Token:
    """`text` is the source as written."""

    kind: Kind
    text: str


def tokens(source: str) -> list[Token]:
    """All of them, an `end` last. Raises NotExpressible."""
    if len(source) > MAX_CHARS:
        raise NotExpressible(f"a script of more than {MAX_CHARS} characters")
    found: list[Token] = []
    at = 0
    while at < len(source):
        # A slash begins a pattern where a value may begin, and divides elsewhere.
        if source[at] == "/" and source[at : at + 2] not in ("//", "/*") and (not found or found[-1].text in "(,=:"):
            pattern = _PATTERN.match(source, at)
            if pattern is not None:
                found.append(Token("pattern", pattern[0]))
                at = pattern.end()
                continue
        token = _TOKEN.match(source, at)
        if token is None:
            raise NotExpressible("a character that JavaScript does not know there")
        at = token.end()
        kind = token.lastgroup
        if kind != "space":
            found.append(Token(cast(Kind, kind), token[0]))
    found.append(Token("end", ""))
    return found


def pattern_of(text: str) -> Pattern:
    """What a token of the kind pattern means."""
    found = _PATTERN.fullmatch(text)
    assert found is not None, "it was matched as one"
    return Pattern(found[1], found[2])


def unquoted(text: str) -> str:
    """What a token of the kind text means. Raises NotExpressible."""

    def escape(found: re.Match[str]) -> str:
        letter = found[1]
        if letter[0] in "ux" and len(letter) > 1:
            return chr(int(letter[1:], 16))
        if letter not in _ESCAPES:
            raise NotExpressible("an escape in a text that is not known here")
        return _ESCAPES[letter]

    return re.sub(r"\\(u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|.)", escape, text[1:-1], flags=re.DOTALL)
