"""What a validation came to, gathered while messages go by: by rule and sentence, with counts and a few examples.

What is kept is bounded by rules and places, not by messages: a folder of any size is looked at in the same memory.
Values of messages are kept only where they were asked for, and then of the examples only.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from engine.cli.message_files import FileMessage, contents, parts_of
from engine.cli.output import SCHEMA, printable

if TYPE_CHECKING:
    from engine.hl7.message import Message
    from engine.hl7.profile import Profile, ProfileSet
    from engine.hl7.validate import Validator, Violation

Level = Literal["error", "warning", "information"]
Worst = Literal["error", "warning", "information", "good"]

LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "information")
MODE_LEVELS: Final[Mapping[str, Level]] = {"reject": "error", "warn": "warning", "observe": "information"}
PLURALS: Final[Mapping[Level, str]] = {"error": "errors", "warning": "warnings", "information": "remarks"}
"""As they are counted: what is only information is a remark."""

UNREADABLE: Final = "unreadable"
EMPTY_BATCH: Final = "batch.empty"
NO_PROFILE_RULE: Final = "no profile"
MOST_SENTENCES: Final = 500
MOST_FILES: Final = 10_000
MOST_VIOLATIONS: Final = 5000
MOST_OF_VALUE: Final = 80


@dataclass(slots=True, frozen=True)
class Example:
    """Where one finding is. `start` and `end` are bytes of the message as it was read.

    `value` is None unless it was asked for.
    """

    file: str
    number: int
    of: int
    location: str
    start: int
    end: int
    value: str | None = None

    @property
    def name(self) -> str:
        """The file, and the message's number where it holds several."""
        return FileMessage(self.file, self.number, self.of, b"").name


@dataclass(slots=True, frozen=True)
class Told:
    """One finding of one message."""

    rule: str
    level: Level
    hl7_code: str
    text: str
    location: str
    start: int = 0
    end: int = 0
    owner: str = ""


@dataclass(slots=True)
class Sentence:
    """What a rule says of one place, wherever it was broken."""

    text: str
    owner: str
    count: int = 0
    messages: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class RuleFindings:
    """All that one rule found. `left_out`: findings of so many places or messages that they are only counted."""

    rule: str
    level: Level
    hl7_code: str
    title: str
    count: int = 0
    messages: int = 0
    files: int = 0
    left_out: int = 0
    sentences: dict[str, Sentence] = field(default_factory=dict)
    last_file: str = ""

    @property
    def by_count(self) -> list[Sentence]:
        """Its sentences, the most frequent first."""
        return sorted(self.sentences.values(), key=lambda sentence: (-sentence.count, sentence.text))


@dataclass(slots=True)
class FileCounts:
    """How many messages of a file came to what."""

    messages: int = 0
    errors: int = 0
    warnings: int = 0


@dataclass(slots=True)
class Report:
    """The whole. `versions` are those of the standard that messages were held against, with how many were."""

    profile: str
    examples_each: int
    messages: int = 0
    files: int = 0
    levels: dict[Worst, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    rules: dict[tuple[str, Level], RuleFindings] = field(default_factory=dict)
    by_file: dict[str, FileCounts] = field(default_factory=dict)

    @property
    def has_errors(self) -> bool:
        return self.levels.get("error", 0) > 0

    def counts(self) -> dict[Level, int]:
        """Findings by level."""
        return {level: sum(r.count for r in self.rules.values() if r.level == level) for level in LEVELS}

    def ordered(self) -> list[RuleFindings]:
        """Errors first, then by how often, then by name."""
        return sorted(self.rules.values(), key=lambda r: (LEVELS.index(r.level), -r.count, r.rule))

    def worst_files(self, most: int) -> list[tuple[str, FileCounts]]:
        """Files with findings, those with the most errors first."""
        found = [(name, counts) for name, counts in self.by_file.items() if counts.errors or counts.warnings]
        return sorted(found, key=lambda item: (-item[1].errors, -item[1].warnings, item[0]))[:most]

    def add(
        self, file: FileMessage, told: Iterable[Told], left_out: Mapping[str, int], message: "Message | None"
    ) -> None:
        """One message's findings. With a `message`, examples show its values."""
        self.messages += 1
        if file.number == 1:
            self.files += 1
        worst: Worst = "good"
        counted: set[tuple[str, Level]] = set()
        spoken: set[tuple[str, Level, str]] = set()
        for one in told:
            if worst == "good" or LEVELS.index(one.level) < LEVELS.index(worst):
                worst = one.level
            self._count(file, one, message, counted, spoken)
        for rule, count in left_out.items():
            self._left_out(rule, count)
        self.levels[worst] = self.levels.get(worst, 0) + 1
        if file.file in self.by_file or len(self.by_file) < MOST_FILES:
            counts = self.by_file.setdefault(file.file, FileCounts())
            counts.messages += 1
            counts.errors += worst == "error"
            counts.warnings += worst == "warning"

    def _count(
        self,
        file: FileMessage,
        told: Told,
        message: "Message | None",
        counted: set[tuple[str, Level]],
        spoken: set[tuple[str, Level, str]],
    ) -> None:
        key = (told.rule, told.level)
        rule = self.rules.get(key)
        if rule is None:
            rule = self.rules[key] = RuleFindings(told.rule, told.level, told.hl7_code, title_of(told))
        rule.count += 1
        if key not in counted:
            counted.add(key)
            rule.messages += 1
            if rule.last_file != file.file:
                rule.last_file = file.file
                rule.files += 1
        sentence = rule.sentences.get(told.text)
        if sentence is None:
            if len(rule.sentences) >= MOST_SENTENCES:
                rule.left_out += 1
                return
            sentence = rule.sentences[told.text] = Sentence(told.text, told.owner)
        sentence.count += 1
        if (told.rule, told.level, told.text) not in spoken:
            spoken.add((told.rule, told.level, told.text))
            sentence.messages += 1
        if len(sentence.examples) < self.examples_each:
            value = None if message is None or told.end <= told.start else value_at(message, told)
            sentence.examples.append(
                Example(file.file, file.number, file.of, told.location, told.start, told.end, value)
            )

    def _left_out(self, name: str, count: int) -> None:
        rule = next((rule for key, rule in self.rules.items() if key[0] == name), None)
        if rule is None:
            rule = self.rules[name, "error"] = RuleFindings(name, "error", "", "")
        rule.count += count
        rule.left_out += count

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "schema": SCHEMA,
            "profile": self.profile,
            "versions": dict(sorted(self.versions.items())),
            "files": self.files,
            "messages": self.messages,
            "messages_by_worst": {worst: self.levels.get(worst, 0) for worst in get_args(Worst)},
            "findings": self.counts(),
            "rules": [_rule_as_dict(rule) for rule in self.ordered()],
            "by_file": {
                name: {"messages": c.messages, "with_errors": c.errors, "with_warnings": c.warnings}
                for name, c in self.worst_files(MOST_FILES)
            },
        }


def _rule_as_dict(rule: RuleFindings) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "level": rule.level,
        "title": rule.title,
        "hl7_code": rule.hl7_code,
        "count": rule.count,
        "messages": rule.messages,
        "files": rule.files,
        "left_out": rule.left_out,
        "places": [
            {
                "text": sentence.text,
                **({"owner": sentence.owner} if sentence.owner else {}),
                "count": sentence.count,
                "messages": sentence.messages,
                "examples": [
                    {
                        "file": example.file,
                        "message": example.number,
                        "location": example.location,
                        "start": example.start,
                        "end": example.end,
                        **({"value": example.value} if example.value is not None else {}),
                    }
                    for example in sentence.examples
                ],
            }
            for sentence in rule.by_count
        ],
    }


def title_of(told: Told) -> str:
    """What a rule says of any place, for a heading; of a profile's rule, what it says of this one."""
    from engine.hl7.dictionary import VERSIONS, load
    from engine.hl7.validate import STANDARD_RULES

    if told.rule == UNREADABLE:
        return "cannot be read as HL7"
    ends = [rule.text for rule in STANDARD_RULES.values() if told.text.endswith(rule.text)]
    if not ends:
        return told.text
    kind, _, number = told.rule.partition(".")
    table = load(VERSIONS[-1]).table(number) if kind == "table" else None
    named = f": table {number}, {table.name}" if table is not None and table.name else ""
    return max(ends, key=len) + named


def value_at(message: "Message", told: Told) -> str:
    """The text of a finding's bytes, cut and printable."""
    from engine.hl7.charset import text_of

    shown = printable(text_of(message.raw[told.start : told.end], message.codec))
    return shown if len(shown) <= MOST_OF_VALUE else shown[: MOST_OF_VALUE - 3] + "..."


# -- from files to findings -------------------------------------------------------------------------


class Checker:
    """Holds messages against the profile of their sender."""

    def __init__(self, profiles: "ProfileSet") -> None:
        self._profiles = profiles
        self._validators: dict[int, tuple[Profile, Validator]] = {}

    def __call__(self, message: "Message") -> tuple[list[Told], Mapping[str, int], str]:
        """What was found, what was only counted, and the version of the standard it was held against."""
        profile = self._profiles.choose(message)
        odd = [Told(n.code, "warning", n.hl7_code, n.text, n.location) for n in message.warnings]
        if profile is None:
            text = "no profile of the file is for this sender, so the message was not looked at"
            return [*odd, Told(NO_PROFILE_RULE, "warning", "", text, "MSH-3")], {}, ""
        validation = self._validator(profile).validate(message)
        return [*odd, *map(_told, validation.violations)], validation.left_out, validation.version

    def _validator(self, profile: "Profile") -> "Validator":
        from engine.hl7.validate import Validator

        known = self._validators.get(id(profile))
        if known is None:
            known = self._validators[id(profile)] = (profile, Validator(profile, limit=MOST_VIOLATIONS))
        return known[1]


def _nothing_in(content: bytes) -> Told:
    """Of a file without a message: a batch may have none (hl7.md item 67)."""
    if content.strip():
        return Told(EMPTY_BATCH, "information", "", "a batch without a message", "")
    return Told(UNREADABLE, "error", "", "the file is empty", "")


def _told(violation: "Violation") -> Told:
    return Told(
        violation.rule,
        MODE_LEVELS[violation.mode],
        violation.hl7_code,
        violation.text,
        violation.location,
        violation.start,
        violation.end,
        violation.owner,
    )


@dataclass(slots=True, frozen=True)
class Checked:
    """One message with what was found in it. `message` None: it cannot be read."""

    file: FileMessage
    message: "Message | None"
    told: list[Told]
    left_out: Mapping[str, int]
    version: str


def check(files: tuple[str, ...], endings: tuple[str, ...], checker: Checker) -> Iterator[Checked]:
    """The messages of files, folders and standard input, one at a time."""
    from engine.hl7.convert import ConversionError, hl7_of
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message

    for name, content in contents(files, endings):
        parts = parts_of(name, content)
        if not parts:
            file = FileMessage(name, 1, 1, b"")
            yield Checked(file, None, [_nothing_in(content)], {}, "")
        for number, part in enumerate(parts, 1):
            file = FileMessage(name, number, len(parts), part)
            try:
                message = Message.parse(hl7_of(part))
            except (UnreadableMessage, ConversionError) as exc:
                hl7_code = exc.hl7_code if isinstance(exc, UnreadableMessage) else "100"
                yield Checked(file, None, [Told(UNREADABLE, "error", hl7_code, exc.reason, "")], {}, "")
                continue
            told, left_out, version = checker(message)
            yield Checked(file, message, told, left_out, version)
