"""Fenced blocks of a Markdown page, so that every example in the documentation can be run.

The first word behind the fence is the language, the rest says what the block is::

    ```yaml channels/adt/channel.yaml      this file, in the site that the page is about
    ```yaml                                a channel, or the part of one that its keys show
    ```console                             commands behind `$ `, each with what it prints
    ```console background                  the same, left running until the page ends
    ```console terminal                    the same, on a terminal of its own, with what stands on its screen
    ```text screen                         what that terminal shows now
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z0-9]*)(?: +(?P<about>[^\n`]+))?$")


@dataclass(slots=True, frozen=True)
class Block:
    """One fenced block. `line` is that of its first line of text, from 1. `about`: what follows the language."""

    page: Path
    line: int
    language: str
    about: str
    text: str

    @property
    def where(self) -> str:
        """`tutorial.md:31`, for names of tests."""
        return f"{self.page.name}:{self.line}"


@dataclass(slots=True, frozen=True)
class Command:
    """One command of a console block with the lines it is shown to print; `...` in them stands for anything."""

    text: str
    output: str
    exit_code: int


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order. Raises ValueError for a fence that is not closed."""
    found: list[Block] = []
    opened: tuple[int, re.Match[str]] | None = None
    lines = page.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if opened is None:
            if fence := _FENCE.match(line):
                opened = (number, fence)
        elif line.strip() == "```":
            start, fence = opened
            indent = len(fence["indent"])
            text = "".join(f"{inside[indent:]}\n" for inside in lines[start : number - 1])
            found.append(Block(page, start + 1, fence["language"], fence["about"] or "", text))
            opened = None
    if opened is not None:
        raise ValueError(f"{page}:{opened[0]}: a fence is not closed")
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a console block. `(exits with 1)` as the last line of an output is its exit code."""
    found: list[Command] = []
    text: list[str] = []
    output: list[str] = []

    def end() -> None:
        if not text:
            return
        code = 0
        if output and (said := re.fullmatch(r"\(exits with (\d+)\)", output[-1])):
            code = int(said[1])
            output.pop()
        found.append(Command("\n".join(text), "\n".join(output), code))

    for line in block.text.splitlines():
        if line.startswith("$ "):
            end()
            text, output = [line[2:]], []
        elif line.startswith("> ") and text and not output:
            text.append(line[2:])
        else:
            output.append(line)
    end()
    return found


_DIFFERS: Final = (
    (re.compile(r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\b20\d{12}(?:\.\d+)?\+0000\b"), "<time>"),  # our own stamps in HL7 are in UTC
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"(?<![\w.])[\d.,]*\d (?:us|ms|s|min|h)\b"), "<took>"),
    (re.compile(r"(?<![\w.])\d+(?:s|m|h)\b"), "<took>"),
    (re.compile(r"(?<![\w.])[\d.,]*\d(?:/s| answers/s)\b"), "<rate>"),
    (re.compile(r"\b\w+ \(uid \d+\)"), "<user>"),
    (re.compile(r"(?<=\^ACK\|)[0-9A-F]{9}(?=\|)"), "<id>"),  # of an answer: counted from a random number
    (re.compile(r"\b[0-9a-f]{32,64}\b"), "<hash>"),
)


def normalised(text: str) -> str:
    """Without what is another at every run: times, how long something took, ids of ours; and the width of columns."""
    for pattern, name in _DIFFERS:
        text = pattern.sub(name, text)
    return _columns(text)


def prints(shown: str, printed: str) -> bool:
    """Whether `printed` is what the page shows; `...` in the page stands for anything.

    Both are compared normalised, or as they are, where the page has dots in the place of what differs.
    """
    return _matches(_columns(shown), _columns(printed)) or _matches(normalised(shown), normalised(printed))


def _columns(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def _matches(shown: str, printed: str) -> bool:
    pattern = r"[\s\S]*?".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, printed) is not None
