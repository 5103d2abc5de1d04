"""Files of a site as they are shown to people: with stars, or with something else, in the place of what is secret.

Of YAML what is secret is found on its nodes: a key by its name however it is written (in quotes, with escapes, by an
alias), a value wherever it goes on (block scalars, further lines, an anchor that it was written at). What stands beside
it stays. Comments, and files that cannot be read as YAML, are looked at line by line as well, by `render.hidden`.

Secret are: values of keys that are named so (`secret_names`), passwords in addresses, what follows `Authorization:`,
the parameters of an address that are named so, what a text of its own gives to such a name (`"password": "..."`,
`password=...`), private keys, and the default of a variable of such a name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from engine.config.render import hidden, secret_lines
from engine.config.secret_names import is_secret_key, without_logins
from engine.config.source import index_of
from engine.config.substitute import is_secret_name

STAND_IN: Final = "stand-in"

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_AUTHORIZATION = re.compile(
    r"\bauthorization[\"']?\s{0,20}[:=]\s{0,20}[\"']?(?:(?:bearer|basic|digest|token|apikey)\s{1,20})?([^\s\"',}\]]+)",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"[?&;]([\w.-]{1,80})=([^&;#\s\"']+)")
_ASSIGNED = re.compile(
    r"(?<![\w.-])([\w.-]{1,80})(?:\s{0,9}=\s{0,9}(?:\"([^\"\r\n]+)|'([^'\r\n]+))|=([^\s\"'&;,()=]+))"
)
"""`token = "..."`, `password=...`."""
_MEMBER = re.compile(
    r"(?:\\?[\"'])([\w.-]{1,80})\\?[\"']\s{0,9}:\s{0,9}"
    r"(?:\"((?:[^\"\\\r\n]|\\.)+)|'([^'\r\n]+)|\\\"([^\"\\\r\n]+)|([^\s,}\]\"'\\]+))"
)
"""`{"password": "..."}` within a text, also where the text's own quotes make it `{\\"password\\": ...`."""
_HEADER = re.compile(r"[\"']?([A-Za-z]{1,40}(?:-[A-Za-z]{1,40}){1,8}):[ \t]{0,9}([^\"'\r\n]+)")
"""A whole value such as `X-Api-Key: ...`."""
_LOGIN = re.compile(r"://[^/\s@:]*:(?!\$\{)([^/\s]+)(?=@)")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_SHOWS = re.compile(r"[^\r\n]")
_NAMED: Final = ("name", "key", "header")

Span = tuple[int, int]
"""From and to, as indexes into the text."""


@dataclass(slots=True)
class _Leaf:
    """A scalar that is a value. `is_secret`: by its key, or by where it is used."""

    start: int
    end: int
    text: str
    is_secret: bool


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is open. `name`: of the key at hand; `named`: whether an entry such as `name:` says that
    the entry `value:` is secret, and `values`: which leaves that one has."""

    is_mapping: bool
    is_secret: bool
    anchor: str | None
    first: int
    at_key: bool = True
    name: str = ""
    named: bool = False
    values: range = range(0)


@dataclass(slots=True)
class _Found:
    leaves: list[_Leaf] = field(default_factory=list)
    scalars: list[Span] = field(default_factory=list)
    is_whole: bool = True


def hidden_yaml(text: str) -> str:
    """The text with stars in the place of what is secret: as long, with its lines where they were."""
    return with_stars(text, spans(text))


def with_stars(text: str, secret: list[Span]) -> str:
    """The text with stars there, as long as it was; lines stay."""
    parts: list[str] = []
    done = 0
    for start, end in secret:
        parts += (text[done:start], _SHOWS.sub("*", text[start:end]))
        done = end
    return "".join((*parts, text[done:]))


def hidden_lines(text: str) -> str:
    """The same, looked at line by line, as of a file that is no YAML, or that nobody may parse here."""
    return with_stars(text, joined(secret_spans_of_lines(text, 0)))


def with_stand_ins(text: str) -> str:
    """The text, still YAML of as many lines, with `stand-in` for each secret."""
    parts: list[str] = []
    done = 0
    for start, end in spans(text):
        parts += (text[done:start], STAND_IN, "\n" * len(re.findall(r"\r\n|\r|\n", text[start:end])))
        done = end
    return "".join((*parts, text[done:]))


def spans(text: str) -> list[Span]:
    """Where something secret stands, in order, none in another."""
    found = _walked(text)
    every = [span for leaf in found.leaves for span in _of_leaf(text, leaf)]
    every += _of_comments(text, found.scalars) if found.is_whole else secret_spans_of_lines(text, 0)
    return joined(every)


def joined(every: Iterable[Span]) -> list[Span]:
    """In order, none in another."""
    found: list[Span] = []
    for start, end in sorted(every):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif start < end:
            found.append((start, end))
    return found


# -- nodes -----------------------------------------------------------------------------------------


def _walked(text: str) -> _Found:
    """All values of the text, as far as it can be read."""
    found = _Found()
    try:
        _walk(text, found)
    except yaml.YAMLError:
        found.is_whole = False
    return found


def _walk(text: str, found: _Found) -> None:
    frames: list[_Frame] = []
    anchors: dict[str, range] = {}
    keys: dict[str, str] = {}
    used: set[range] = set()
    leaves = found.leaves
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            ended = frames.pop()
            within = range(ended.first, len(leaves))
            if ended.anchor is not None:
                anchors[ended.anchor] = within
            if ended.named:
                _make_secret(leaves, ended.values)
            _is_placed(frames, within)
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        top = frames[-1] if frames else None
        is_key = top is not None and top.is_mapping and top.at_key
        is_secret = top is not None and not is_key and (top.is_secret or (top.is_mapping and is_secret_key(top.name)))
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            frames.append(_Frame(is_mapping, is_secret, event.anchor, len(leaves)))
            continue
        start, end = index_of(event.start_mark), index_of(event.end_mark)
        if isinstance(event, yaml.AliasEvent):
            within, name = anchors.get(event.anchor or "", range(0)), keys.get(event.anchor or "", "")
            if is_secret and within not in used:  # many aliases of one large anchor are looked at once
                used.add(within)
                _make_secret(leaves, within)
        else:
            assert isinstance(event, yaml.ScalarEvent), "there is no other node"
            name = event.value
            found.scalars.append((start, end))
            within = range(len(leaves), len(leaves) + (not is_key))
            if not is_key:
                leaves.append(_Leaf(start, end, event.value, is_secret))
            if event.anchor is not None:
                anchors[event.anchor], keys[event.anchor] = within, event.value
        if is_key and top is not None:
            top.name, top.at_key = name, False
        else:
            if top is not None and top.is_mapping and top.name.lower() in _NAMED and is_secret_key(name):
                top.named = True
            _is_placed(frames, within)


def _is_placed(frames: list[_Frame], within: range) -> None:
    """A node has ended that has these leaves: in a mapping, as a key or as its value."""
    if frames and frames[-1].is_mapping:
        top = frames[-1]
        if top.at_key:  # a key that is no scalar
            top.name, top.at_key = "", False
            return
        if top.name.lower() == "value":
            top.values = within
        top.at_key = True


def _make_secret(leaves: list[_Leaf], within: range) -> None:
    for at in within:
        leaves[at].is_secret = True


# -- values ----------------------------------------------------------------------------------------


def _of_leaf(text: str, leaf: _Leaf) -> Iterator[Span]:
    written = text[leaf.start : leaf.end]
    if not leaf.text:
        return
    if _PRIVATE_KEY.search(leaf.text) or (without_logins(leaf.text) != leaf.text and not _LOGIN.search(written)):
        yield leaf.start, leaf.start + len(written.rstrip())
    elif leaf.is_secret:
        yield from _around_references(leaf, written)
    else:
        yield from _within(written, leaf.start)
        header = _HEADER.match(written)
        if header is not None and is_secret_key(header[1]) and not header[2].startswith("${"):
            yield leaf.start + header.start(2), leaf.start + len(header[0].rstrip())
        if written[:1] in ("|", ">"):  # a comment behind the mark is a part of the block
            mark = _LINE.match(written)
            at = mark[0].find("#") if mark is not None else -1
            if mark is not None and at >= 0:
                yield from secret_spans_of_lines(mark[0][at:], leaf.start + at)


def _around_references(leaf: _Leaf, written: str) -> Iterator[Span]:
    """A secret: all of it but the names of the references in it."""
    references = list(_REFERENCE.finditer(written))
    if not references:
        yield leaf.start, leaf.start + len(written.rstrip())
        return
    if re.sub(r"[\"'\s]", "", _REFERENCE.sub("", written)):
        # Something beside them: what is not a reference, without the quotes.
        inside = 1 if written[:1] in "\"'" else 0
        done = inside
        for found in references:
            yield leaf.start + done, leaf.start + found.start()
            done = found.end()
        yield leaf.start + done, leaf.start + len(written.rstrip()) - inside
    yield from _defaults(written, leaf.start, every=True)


def _within(written: str, start: int) -> Iterator[Span]:
    """What is secret in a value, a comment or a line that is not secret as a whole."""
    yield from _defaults(written, start, every=False)
    for found in _LOGIN.finditer(written):
        yield start + found.start(1), start + found.end(1)
    for found in _PARAMETER.finditer(written):
        if is_secret_key(found[1]) and not found[2].startswith("${"):
            yield start + found.start(2), start + found.end(2)
    for pattern in (_ASSIGNED, _MEMBER):
        for found in pattern.finditer(written):
            group = found.lastindex or 0
            if is_secret_key(found[1]) and not found[group].startswith("${"):
                yield start + found.start(group), start + found.end(group)
    for found in _AUTHORIZATION.finditer(written):
        if not found[1].startswith("${"):
            yield start + found.start(1), start + found.end(1)


def _defaults(written: str, start: int, *, every: bool) -> Iterator[Span]:
    """What `${NAME:-...}` gives by itself, of variables whose name says that they are secret, or of all."""
    for found in _REFERENCE.finditer(written):
        name, has_default, _ = found[1].partition(":-")
        if has_default and (every or is_secret_name(name)):
            yield start + found.start(1) + len(name) + 2, start + found.end(1)


# -- what is no value ------------------------------------------------------------------------------


def _of_comments(text: str, scalars: list[Span]) -> Iterator[Span]:
    """A comment stands in no scalar, but for one behind the mark of a block, which belongs to that."""
    done = 0
    for start, end in (*sorted(scalars), (len(text), len(text))):
        for line in _LINE.finditer(text, done, max(done, start)):
            at = line[0].find("#")
            if at >= 0:
                yield from secret_spans_of_lines(line[0][at:], line.start() + at)
        done = max(done, end)


def secret_spans_of_lines(text: str, start: int) -> Iterator[Span]:
    """Line by line, as far as that goes: from the first value of a secret to the end of what goes on with it."""
    found = [match for match in _LINE.finditer(text) if match[0]]
    lines = [match[0].rstrip("\r\n") for match in found]
    for match, line, goes_on in zip(found, lines, secret_lines(lines), strict=True):
        at = start + match.start()
        starred = hidden(line)
        if goes_on:
            yield at, at + len(line)
        elif starred != line:
            shown = next(index for index, pair in enumerate(zip(line, starred, strict=True)) if pair[0] != pair[1])
            yield at + shown, at + len(line)
        yield from _within(line, at)
