"""`validate: {profile, required, pattern, values, length, mode}`: what a message must have to be taken."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, ValidationInfo, WithJsonSchema, field_validator

from engine.config.base import ConfigModel
from engine.config.expression.patterns import Pattern, compile_pattern
from engine.config.finding import BadValue
from engine.config.profile_types import PatternText
from engine.config.types import PathText, ProfileText, TablePath
from engine.hl7 import NULL
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.model.finding import Finding, Severity
from engine.pipeline.checks import known_path, refuse
from engine.pipeline.occurrences import is_many, occurrences, place
from engine.pipeline.profiles import ProfileCheck, profiles_named
from engine.pipeline.step import CompiledStep, CompileScope, Run, Stop


@dataclass(slots=True, frozen=True)
class Lengths:
    """How many characters a value may have, both bounds included."""

    least: int
    most: int


def _read_lengths(value: object) -> Lengths:
    if isinstance(value, Lengths):
        return value
    found = re.fullmatch(r"(?:([0-9]{1,6})\.\.)?([0-9]{1,6})", value, re.ASCII) if isinstance(value, str) else None
    if found is None:
        raise BadValue("is not a length", "write the most characters, such as 20, or both bounds: 1..20", code="E106")
    lengths = Lengths(int(found[1] or 0), int(found[2]))
    if lengths.most < max(1, lengths.least):
        raise BadValue("is a length that no value can have", "write the smaller bound first: 1..20", code="E106")
    return lengths


LengthText = Annotated[
    Lengths,
    PlainValidator(_read_lengths),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^([0-9]+\.\.)?[0-9]+$"}),
]
Allowed = Annotated[
    Annotated[TablePath, Tag("table")] | Annotated[tuple[str, ...], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "table"),
]
"""The values there may be: a list, or the keys of a code table."""


class Rules(ConfigModel):
    """What is asked of a message. A rule about an absent or empty place, or the delete marker `""`, asks nothing.

    A path with `*` is a rule for every place there is; one without for the first. The rules of a `profile` come to
    what each says for itself, and to no more than `mode`.
    """

    profile: ProfileText | None = Field(
        default=None, description="Hold the message, as it is at this step, against a profile; or standard"
    )
    required: tuple[PathText, ...] = Field(default=(), description="Places that must have a value")
    pattern: dict[PathText, PatternText] = Field(default_factory=dict, description="Patterns of whole values")
    values: dict[PathText, Allowed] = Field(default_factory=dict, description="The values there may be")
    length: dict[PathText, LengthText] = Field(default_factory=dict, description="How long a value may be")
    mode: Literal["reject", "hold", "warn", "observe"] = Field(
        default="reject", description="What a message that breaks a rule comes to"
    )

    @field_validator("required", "pattern", "values", "length")
    @classmethod
    def _check_paths(cls, places: Iterable[PathText], info: ValidationInfo) -> Iterable[PathText]:
        for text in places:
            path = known_path(text)
            if path is not None and path.field is None and info.field_name != "required":
                refuse(info, text, f"{text} is a whole segment and has no value", "name a field, such as PID-3.1")
        return places


class ValidateOptions(ConfigModel):
    """Ask for what a message must have; every rule that is broken is told, not only the first."""

    rules: Rules = Field(alias="validate", description="The rules, and what a broken one comes to")


class ValidateStep:
    """Findings carry the place and the code of table 0357 that the ACK's ERR segments give (hl7.md items 33 to 35)."""

    name = "validate"
    model = ValidateOptions

    def title(self, options: ValidateOptions) -> str:
        rules = options.rules
        named = [rules.profile] if rules.profile is not None else []
        return ", ".join(dict.fromkeys([*named, *rules.required, *rules.pattern, *rules.values, *rules.length]))

    def compile(self, options: ValidateOptions, scope: CompileScope) -> CompiledStep:
        mode = options.rules.mode
        checks = _checks(options.rules, scope)
        by_profile = _profile_check(options.rules, scope)

        def validate(message: Message, run: Run) -> Stop | None:
            findings: list[Finding] = []
            for check in checks:
                check(message, findings)
            if mode in ("warn", "observe"):
                run.findings += findings
                findings = []
            if by_profile is not None:
                verdict = by_profile(message)
                run.findings += verdict.others
                findings += verdict.rejecting
            return Stop("rejected" if mode == "reject" else "held", tuple(findings)) if findings else None

        return validate


def _profile_check(rules: Rules, scope: CompileScope) -> ProfileCheck | None:
    if rules.profile is None:
        return None
    most = "reject" if rules.mode == "hold" else rules.mode
    return ProfileCheck(profiles_named(rules.profile, scope.profiles, most), most, scope.label)


Check = Callable[[Message, list[Finding]], None]
_SEVERITIES: Mapping[str, Severity] = MappingProxyType(
    {"reject": "error", "hold": "error", "warn": "warning", "observe": "information"}
)
Fault = Callable[[str], tuple[str, str, str] | None]
"""From a value that is there to what is wrong with it: our code, a sentence's end, and the code of table 0357."""
Report = Callable[[str, str, str, str], Finding]


def _checks(rules: Rules, scope: CompileScope) -> tuple[Check, ...]:
    """One check for each rule, in the order of kinds: required, pattern, values, length."""
    severity = _SEVERITIES[rules.mode]

    def report(code: str, text: str, location: str, hl7_code: str) -> Finding:
        return scope.finding(code, f"{location} {text}", severity=severity, location=location, hl7_code=hl7_code)

    required = [scope.path(text) for text in rules.required]
    faults: list[tuple[str, Fault]] = [
        *((text, _form(compile_pattern(str(pattern), 0))) for text, pattern in rules.pattern.items()),
        *((text, _membership(allowed, scope, _code_of(scope.path(text)))) for text, allowed in rules.values.items()),
        *((text, _length(lengths)) for text, lengths in rules.length.items()),
    ]
    return (*_all_required(required, report), *(_of_value(scope.path(text), fault, report) for text, fault in faults))


def _all_required(paths: Sequence[Path], report: Report) -> tuple[Check, ...]:
    """Most fields that are asked for start with a letter or digit, so they have a value, and to see that is cheap."""
    checks = tuple((path, _required(path, report)) for path in paths)
    plain: dict[str, list[int]] = {}
    for path in filter(_is_first_leaf, paths):
        plain.setdefault(path.segment, []).append(path.spec.field)
    if not plain:
        return tuple(check for _, check in checks)
    places = tuple(plain.items())
    others = tuple(check for path, check in checks if not _is_first_leaf(path))

    def check_all(message: Message, findings: list[Finding]) -> None:
        left = others if _all_start_with_value(places, message) else tuple(check for _, check in checks)
        for check in left:
            check(message, findings)

    return (check_all,)


def _is_first_leaf(path: Path) -> bool:
    """`PID-8`, `PID-5.1`: what the field's text starts with."""
    spec = path.spec
    has_selector = spec.segment_selector is not None or spec.field_selector is not None or path.focus
    return spec.field > 0 and spec.component < 2 and spec.subcomponent < 2 and not has_selector


def _all_start_with_value(places: tuple[tuple[str, list[int]], ...], message: Message) -> bool:
    """Whether all those fields of first segments start with a letter or digit, which no delimiter is."""
    for segment, numbers in places:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        for number in numbers:
            if number >= len(fields) or not fields[number][:1].isalnum():
                return False
    return True


def _required(path: Path, report: Report) -> Check:
    def missing(location: str) -> Finding:
        return report("E210", "is required and has no value", location, "101")

    def check(message: Message, findings: list[Finding]) -> None:
        if not _has_value(path, message):
            findings.append(missing(place(path, message)))

    def check_all(message: Message, findings: list[Finding]) -> None:
        findings.extend(missing(str(at)) for at in occurrences(path, message) if not _has_value(at, message))

    return check_all if is_many(path) else check


def _has_value(path: Path, message: Message) -> bool:
    """Whether anything but delimiters stands there: `PID-5` has a value in `^Anna`, `PID-5.1` has none."""
    value = path.get(message)
    if value and value != NULL:
        return True
    delimiters = message.delimiters
    marks = delimiters.repetition + delimiters.component + delimiters.subcomponent
    return (path.raw(message) or "").strip(marks) not in ("", NULL)


def _of_value(path: Path, fault: Fault, report: Report) -> Check:
    get = path.get

    def check(message: Message, findings: list[Finding]) -> None:
        value = get(message)
        if value and value != NULL and (found := fault(value)) is not None:
            findings.append(report(found[0], found[1], place(path, message), found[2]))

    def check_all(message: Message, findings: list[Finding]) -> None:
        for at in occurrences(path, message):
            value = at.get(message)
            if value and value != NULL and (found := fault(value)) is not None:
                findings.append(report(found[0], found[1], str(at), found[2]))

    return check_all if is_many(path) else check


def _form(pattern: Pattern) -> Fault:
    wrong = ("E211", "has not the form that is asked for", "102")

    def fault(value: str) -> tuple[str, str, str] | None:
        return None if pattern(value) else wrong

    return fault


_HEADER_CODES = {(9, 1): "200", (9, 2): "201", (11, 1): "202", (12, 1): "203"}


def _code_of(path: Path) -> str:
    """The code of table 0357 for a value that is not allowed.

    A type, event, processing id or version that is not taken is no fault of the content: the message is
    rejected, AR or CR (hl7.md items 21, 35, 70, 71).
    """
    spec = path.spec
    if spec.segment != "MSH":
        return "103"
    return _HEADER_CODES.get((spec.field, max(1, spec.component)), "103")


def _membership(allowed: TablePath | tuple[str, ...], scope: CompileScope, hl7_code: str) -> Fault:
    if isinstance(allowed, TablePath):
        table = scope.table(str(allowed))
        not_in_table = ("E212", f"is not in {table.name}", hl7_code)
        # A default row says what becomes of unknown values, and does not make them known ones.
        return lambda value: None if table.has(value) else not_in_table
    known = frozenset(str(value) for value in allowed)
    not_listed = ("E212", "is none of the values that are allowed", hl7_code)
    return lambda value: None if value in known else not_listed


def _length(lengths: Lengths) -> Fault:
    def fault(value: str) -> tuple[str, str, str] | None:
        if len(value) > lengths.most:
            return ("E213", f"has {len(value)} characters and may have {lengths.most}", "104")
        if len(value) < lengths.least:
            return ("E213", f"has {len(value)} characters and needs {lengths.least}", "102")
        return None

    return fault
