"""What is taken out of texts that leave the house: values of messages, secrets, and what might be either.

The rule is to keep what is known to be harmless, not to look for what is not. Of the site's files the structure stays:
keys, numbers, names of things, expressions without the texts in them; comments and descriptions go. Of a log the lines
stay that the engine wrote, without what stands in quotes, long numbers, and anything that looks like a segment.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from engine.config.node import Mapping, Node, Scalar, Sequence
from engine.config.source import decode, load_yaml

HIDDEN: Final = "***"
MOST_LINES: Final = 20_000
MOST_LINE: Final = 1000

_SECRET_KEY: Final = re.compile(
    r"pass|secret|token|credential|api_?key|authoriz|bearer|dsn|login|user|headers?$|^key$", re.IGNORECASE
)
_PROSE_KEY: Final = re.compile(r"^(description|comment|note|subject|body|text|message)s?$", re.IGNORECASE)
_PATH_KEY: Final = re.compile(r"[A-Z][A-Z0-9]{2}([\[-]|$)")
_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_DEFAULT: Final = re.compile(r"(\$\{[A-Za-z_][A-Za-z0-9_]*:-)[^}]*(\})")
_NUMBER: Final = re.compile(r"\d{5,}")
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/\s@]*@)?([^/\s?#]*)[^\s]*")
_LOG_LINE: Final = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) segmill[a-z_.]*: )(.*)$"
)
_FILE: Final = re.compile(r"[\w./-]+\.(csv|ya?ml|py|crt|pem|key)(:\w+)?")


def scrubbed_yaml(raw: bytes, name: str) -> str:
    """A file of the site as its structure: nothing of it was replaced from outside, and what might be secret is gone.

    What cannot be read as YAML is not shown at all.
    """
    text, findings = decode(raw, name)
    if findings:
        return f"# {findings[0].code} {name} cannot be read\n"
    node, _ = load_yaml(text, name)
    return f"# {name} cannot be read\n" if node is None else "".join(_lines(node, "", "")) or "\n"


def _lines(node: Node, indent: str, key: str) -> Iterator[str]:
    match node:
        case Scalar():
            yield f" {_scalar(key, node.text)}\n"
        case Mapping():
            if indent or key:
                yield "\n"
            for name, value in node.items:
                yield f"{indent}{_quoted(_key(name.text))}:"
                hides = _SECRET_KEY.search(name.text) is not None and not isinstance(value, Scalar)
                if hides:
                    yield f" {HIDDEN}\n"
                else:
                    yield from _lines(value, indent + "  ", name.text)
        case Sequence():
            yield "\n"
            for item in node.items:
                yield f"{indent}-"
                yield from _lines(item, indent + "  ", key)


def _key(text: str) -> str:
    return _NUMBER.sub(_hashes, _QUOTED.sub(f'"{HIDDEN}"', text))


def _scalar(key: str, text: str) -> str:
    if re.fullmatch(r"\$\{[^{}]*\}", text):
        return _quoted(_DEFAULT.sub(rf"\1{HIDDEN}\2", text))  # where a value comes from may be known, a default not
    if "${" in text:
        return _quoted(HIDDEN)
    if _FILE.fullmatch(text):
        return _quoted(text)
    if _SECRET_KEY.search(key) or _PROSE_KEY.search(key):
        return _quoted(HIDDEN)
    if _PATH_KEY.match(key) and not text.startswith("="):
        return _quoted(HIDDEN)  # a text that is written into messages
    return _quoted(scrubbed_text(text))


def scrubbed_text(text: str) -> str:
    """A sentence or an expression without texts in quotes, long numbers, and what stands in URLs beside the host."""
    text = _URL.sub(r"\1\3", text)
    return _NUMBER.sub(_hashes, _QUOTED.sub(f'"{HIDDEN}"', text))


def _hashes(found: "re.Match[str]") -> str:
    return "#" * len(found[0])


def _quoted(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text):
        return text
    return "'" + "".join(c if c.isprintable() else "?" for c in text).replace("'", "''") + "'"


def scrubbed_log(lines: Iterable[str], secrets: Iterable[str]) -> list[str]:
    """The last lines that the engine wrote. Tracebacks and what others wrote are left out, and counted."""
    hidden = sorted((secret for secret in secrets if len(secret) >= 4), key=len, reverse=True)
    kept: list[str] = []
    left_out = 0
    for line in lines:
        found = _LOG_LINE.match(line.rstrip("\r\n"))
        if found is None or found[2].count("|") > 2 or not found[2].isprintable():
            left_out += 1
            continue
        told = found[2]
        for secret in hidden:
            told = told.replace(secret, HIDDEN)
        kept.append(found[1] + scrubbed_text(told)[:MOST_LINE])
        if len(kept) > 2 * MOST_LINES:
            del kept[:MOST_LINES]
    return [*kept[-MOST_LINES:], f"({left_out} lines of another form were left out)"]
