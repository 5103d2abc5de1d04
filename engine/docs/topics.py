"""The documentation that ships with the engine: its topics, their sections, and where words stand in them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_HEADING: Final = re.compile(r"(#{1,6})\s+(.*?)\s*#*")
_FENCE: Final = re.compile(r"\s*(```+|~~~+)")
_MARKS: Final = re.compile(r"`|\*\*|\[([^\]]*)\]\([^)]*\)")
MOST_EXCERPT: Final = 90


@dataclass(slots=True, frozen=True)
class Section:
    """A heading with what stands below it, up to the next heading of any level. `line` is the heading's, from 1."""

    title: str
    level: int
    line: int
    text: str


@dataclass(slots=True, frozen=True)
class Topic:
    """One page. `name` is what is typed: a file's name without its ending, `adr/` before that of a decision."""

    name: str
    text: str
    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        return self.sections[0].title if self.sections else self.name

    @property
    def is_decision(self) -> bool:
        return self.name.startswith("adr/")

    def part(self, section: Section) -> str:
        """A section with those below it."""
        at = self.sections.index(section)
        end = next((n for n in range(at + 1, len(self.sections)) if self.sections[n].level <= section.level), None)
        return "\n".join(one.text for one in self.sections[at:end]).rstrip("\n") + "\n"


@dataclass(slots=True, frozen=True)
class Hit:
    """A section in which all words stand, with the line that has the most of them."""

    topic: Topic
    section: Section
    excerpt: str
    score: int


def topics() -> list[Topic]:
    """Every page: those for users by name, the tutorial first, then the decisions."""
    root = files("engine.docs")
    found = [_topic("", page) for page in root.iterdir() if page.name.endswith(".md")]
    found += [_topic("adr/", page) for page in root.joinpath("adr").iterdir() if page.name.endswith(".md")]
    return sorted(found, key=lambda topic: (topic.is_decision, topic.name != "tutorial", topic.name))


def sections_of(text: str) -> Iterator[Section]:
    """The sections of a page; a `#` within a block of code is none."""
    lines = text.split("\n")
    start, title, level = 0, "", 1
    fence = ""
    for at, line in enumerate(lines):
        if mark := _FENCE.match(line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        heading = None if fence else _HEADING.fullmatch(line)
        if heading is None:
            continue
        if title:
            yield Section(title, level, start + 1, "\n".join(lines[start:at]))
        start, title, level = at, plain(heading[2]), len(heading[1])
    if title:
        yield Section(title, level, start + 1, "\n".join(lines[start:]))


def search(every: Sequence[Topic], words: Sequence[str]) -> list[Hit]:
    """Sections with all of the words, in whatever case: those whose heading has them first, decisions last."""
    wanted = [word.casefold() for word in words]
    hits = []
    for topic in every:
        for section in topic.sections:
            text = section.text.casefold()
            if not all(word in text for word in wanted):
                continue
            title = section.title.casefold()
            score = sum(20 * (word in title) + min(text.count(word), 10) for word in wanted)
            hits.append(Hit(topic, section, _excerpt(section.text, wanted), score - 15 * topic.is_decision))
    return sorted(hits, key=lambda hit: (-hit.score, hit.topic.name, hit.section.line))


def plain(text: str) -> str:
    """A line without the marks of Markdown."""
    return _MARKS.sub(lambda found: found[1] or "", text)


def _topic(folder: str, page: Traversable) -> Topic:
    text = page.read_text(encoding="utf-8")
    return Topic(folder + page.name.removesuffix(".md"), text, tuple(sections_of(text)))


def _excerpt(text: str, wanted: Sequence[str]) -> str:
    lines = [line.strip() for line in text.split("\n")[1:] if line.strip() and not _FENCE.match(line)]
    best = max(lines, key=lambda line: sum(word in line.casefold() for word in wanted), default="")
    shown = plain(best)
    first = min((at for word in wanted if (at := shown.casefold().find(word)) >= 0), default=0)
    start = max(0, min(first - 30, len(shown) - MOST_EXCERPT))
    cut = shown[start : start + MOST_EXCERPT]
    return ("..." if start else "") + cut + ("..." if start + MOST_EXCERPT < len(shown) else "")
