"""Every command that the engine, its pages, alerts and docs tell somebody to type is one that there is.

At night it is typed as it stands: a command that was renamed, or an option of a neighbour, costs more than no advice.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from engine.cli.main import segmill

TOLD = re.compile(r"(?<!-n )\bsegmill ((?:[a-z][a-z-]*)(?: [^\s.,;:()`'\"<>|]+)*)")
QUOTED = re.compile(r"`([^`]+)`|<code>([^<]+)|(?m:^(segmill .*)$)")
PROSE = {"itself", "writes"}
"""What may follow the name where a sentence speaks of the program."""
WITHOUT_A_WORD = ("retention",)
"""Commands that take options alone, so that a word behind them would be refused."""


def mistakes(text: str) -> list[str]:
    """The commands in a text that are none, each with what is wrong."""
    return [f"{told[0]}: {wrong}" for told in TOLD.finditer(text) if (wrong := wrong_in(told[1].split()))]


def wrong_in(words: list[str]) -> str:
    command: click.Command = segmill
    rest = words
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            is_prose = command is segmill and rest[0] in PROSE
            return "" if is_prose else f"no command {rest[0]}"
        command, rest = found, rest[1:]
    options = {name for one in command.get_params(click.Context(command)) for name in (*one.opts, *one.secondary_opts)}
    for word in rest:
        if word.startswith("--") and word.split("=")[0] not in options:
            return f"no option {word}"
    if words[0] in WITHOUT_A_WORD and rest and not rest[0].startswith("-") and len(words) == 2:
        return f"it takes no {rest[0]}"
    return ""


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """What a file says to people, by line: strings of Python, and what others put in code's letters."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
                yield node.lineno, "".join(str(part) for part in parts)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if path.suffix == ".yaml":
            yield number, line.removeprefix("          action: ") if "action: " in line else ""
            continue
        for found in QUOTED.finditer(line):
            yield number, next(filter(None, found.groups()))


@pytest.mark.parametrize(
    "files",
    ["engine/**/*.py", "engine/**/*.html", "engine/docs/*.md", "README.md", "deploy/prometheus/*.yaml"],
)
def test_every_command_that_somebody_is_told_to_type_is_there(repository: Path, files: str) -> None:
    paths = sorted(repository.glob(files))
    assert paths
    wrong = [
        f"{path.relative_to(repository)}:{line} {mistake}"
        for path in paths
        for line, text in texts_of(path)
        for mistake in mistakes(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Then: segmill reload", ""),
        ("segmill users enable NAME, where it was disabled", "no command enable"),
        ("segmill doctor --site /srv/segmill", "no option --site"),
        ("Is the clock right? Then: segmill retention confirm", "it takes no confirm"),
        ("segmill mesages --state held", "no command mesages"),
        ("a defect in segmill itself", ""),
    ],
)
def test_advice_that_would_be_refused_is_found(text: str, wrong: str) -> None:
    assert [one.partition(": ")[2] for one in mistakes(text)] == ([wrong] if wrong else [])
