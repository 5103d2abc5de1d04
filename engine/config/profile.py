"""A profile's file: what a site asks of its messages beyond, or instead of, the standard (hl7.md item 48).

`engine.config.profile_load` reads it with the files that it extends, and `engine.config.profile_build` makes the
`engine.hl7.profile` of it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue
from engine.config.profile_types import (
    CardinalityText,
    EventText,
    LengthText,
    NumbersText,
    PartText,
    PatternText,
    PlaceText,
    RuleName,
    UsageText,
)
from engine.config.types import ConditionText, MarkedText, PathText, SegmentText, TablePath
from engine.hl7.profile import Aspect, Mode, StandardMode

Modes = Annotated[
    Annotated[Mode, Tag("all")] | Annotated[dict[Aspect, Mode], Field(min_length=1), Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, Mapping) else "all"),
]
"""What a broken rule of a place comes to: one word, or one for each kind of rule."""

Values = Annotated[
    Annotated[TablePath, Tag("table")] | Annotated[tuple[str, ...], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "table"),
]
"""The values there may be: a list, or the keys of a code table."""


class ProfilePath(MarkedText):
    """Another profile's file, relative to the file that names it."""

    __slots__ = ()
    json_schema = {"type": "string", "pattern": r"\.ya?ml$", "description": "A profile's file, relative to this one"}  # noqa: RUF012

    def check(self) -> None:
        """A YAML file."""
        if not self.endswith((".yaml", ".yml")):
            raise BadValue(f"'{self.shown}' is not a profile's file", "such as base.yaml", code="E132")


def _table_number(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}", value):
        raise BadValue(
            "is not the number of a table", "such as 0001; a file of your own stands under values", code="E105"
        )
    return value.zfill(4)


TableNumber = Annotated[
    str,
    AfterValidator(_table_number),
    WithJsonSchema({"type": ["string", "integer"], "description": "The number of an HL7 table, such as 0001"}),
]


def _version(value: str) -> str:
    if not re.fullmatch(r"2\.[1-9](\.[0-9])?", value):
        raise BadValue(f"'{value}' is not a version of HL7", "such as 2.5.1", code="E105")
    return value


class Evidence(ConfigModel):
    """What a rule was learned from: `of` occurrences, of which `filled` had a value. Drift is measured against it."""

    of: int = Field(ge=0, description="How often it could have had a value")
    filled: int = Field(ge=0, description="How often it had one")
    distinct: int | None = Field(
        default=None, ge=0, description="How many different values were seen, as far as counted"
    )

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.filled > self.of:
            raise BadValue("has more that were filled than there were", code="E106")
        return self


class RuleCommon(ConfigModel):
    """What every rule may have: what a breach comes to, who is asked then, and what people are told."""

    mode: Modes | None = Field(
        default=None, description="reject, warn or observe; or one for each kind: {usage: reject, values: warn}"
    )
    owner: str = Field(default="", description="Who is asked when it is broken")
    message: str = Field(default="", description="What people are told, instead of the engine's own sentence")


class PlaceRules(RuleCommon):
    """What is asked of a field, component or subcomponent, in each of its occurrences.

    `usage`: R required, RE and O nothing in one message, X must be empty. With `when`, C(a/b) is a where the condition
    is true and b where it is not. What is said here stands instead of what the standard says of the same thing.
    """

    name: str = Field(default="", description="What people call it, instead of the standard's name")
    usage: UsageText | None = Field(default=None, description="Whether there must be a value")
    when: ConditionText | None = Field(default=None, description="The condition of a usage C(a/b)")
    cardinality: CardinalityText | None = Field(default=None, description="How many repetitions have a value")
    length: LengthText | None = Field(default=None, description="How many characters a value has")
    values: Values | None = Field(default=None, description="The values there may be: a list or a CSV file")
    table: TableNumber | None = Field(default=None, description="The HL7 table that has the values there may be")
    pattern: PatternText | None = Field(default=None, description="The form of a whole value")
    constant: str | None = Field(default=None, min_length=1, description="The one value there may be")
    data_type: str | None = Field(
        default=None,
        description="The data type, instead of the standard's",
        json_schema_extra={"pattern": "^[A-Z][A-Z0-9]{1,2}$"},
    )
    evidence: Evidence | None = Field(default=None, description="What the rule was learned from")
    TOGETHER: ClassVar[tuple[tuple[str, ...], ...]] = (("usage", "when"), ("values", "table"))
    """Keys that replace each other, or belong together, when a file says again what its base says."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        _check_condition(self.usage is not None and self.usage.otherwise is not None, self.when)
        if self.values is not None and self.table is not None:
            raise BadValue("has both values and a table", "keep one of the two", code="E108")
        if self.data_type is not None and not re.fullmatch(r"[A-Z][A-Z0-9]{1,2}", self.data_type):
            raise BadValue("has a data type that is none", "such as CX, ST or DTM", code="E105")
        return self


def _check_condition(is_conditional: bool, when: ConditionText | None) -> None:
    if is_conditional and when is None:
        raise BadValue("has a conditional usage and no condition", "add when: with the condition", code="E103")
    if when is not None and not is_conditional:
        raise BadValue("has a condition and no usage that depends on it", "write usage: C, or C(R/RE)", code="E108")


class SegmentRules(RuleCommon):
    """What is asked of a segment or group in the structure; for a Z-segment also what its fields are."""

    title: str = Field(default="", description="What people call it")
    usage: UsageText | None = Field(default=None, description="Whether it must be there")
    when: ConditionText | None = Field(default=None, description="The condition of a usage C(a/b)")
    cardinality: CardinalityText | None = Field(default=None, description="How many there are")
    fields: dict[NumbersText, PlaceRules] = Field(
        default_factory=dict, description="Of a Z-segment: its fields and components by number, 1 or 2.1"
    )
    evidence: Evidence | None = Field(default=None, description="What the rule was learned from")
    TOGETHER: ClassVar[tuple[tuple[str, ...], ...]] = (("usage", "when"),)

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        _check_condition(self.usage is not None and self.usage.otherwise is not None, self.when)
        return self


class RuleTitle(MarkedText):
    """What a rule between places is called."""

    __slots__ = ()
    json_schema = {"type": "string", "minLength": 1, "maxLength": 80, "description": "The rule's name"}  # noqa: RUF012

    def check(self) -> None:
        """Some letter or digit, so that it makes an id."""
        if not self.slug or len(self) > 80:
            raise BadValue("is not a name of at most 80 characters", "such as inpatients have a ward", code="E106")

    @property
    def slug(self) -> str:
        """`inpatients-have-a-ward`."""
        return re.sub(r"[^a-z0-9]+", "-", self.lower()).strip("-")


class CrossRules(ConfigModel):
    """A rule between places: where `when` is true, `require` must be; `each` asks it of every such segment."""

    name: RuleTitle = Field(description="Names the rule, also in metrics")
    each: SegmentText | None = Field(default=None, description="Ask it of every segment of this name")
    when: ConditionText | None = Field(default=None, description="Where the rule is asked; without it always")
    require: ConditionText | None = Field(default=None, description="What must be true")
    at: PathText | None = Field(default=None, description="The place that is named when it is not")
    mode: Mode | None = Field(default=None, description="What a breach comes to: reject, warn or observe")
    owner: str = Field(default="", description="Who is asked when it is broken")
    message: str = Field(default="", description="What people are told, instead of the engine's own sentence")


class RuleSet(ConfigModel):
    """Rules by place, by segment, and between places."""

    fields: dict[PlaceText, PlaceRules] = Field(default_factory=dict, description="Rules for fields and components")
    segments: dict[PartText, SegmentRules] = Field(
        default_factory=dict, description="Rules for segments and groups, and the fields of Z-segments"
    )
    rules: tuple[CrossRules, ...] = Field(default=(), description="Rules between places")


class Whom(ConfigModel):
    """Whose messages a profile is for; all that is written must be so."""

    sender: str = Field(default="", description="MSH-3.1")
    facility: str = Field(default="", description="MSH-4.1")
    profile: str = Field(default="", description="MSH-21.1, of any repetition")


Whose = Annotated[
    tuple[Whom, ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
    WithJsonSchema({"anyOf": [Whom.model_json_schema(), {"type": "array", "items": Whom.model_json_schema()}]}),
]


def _standard(value: object) -> object:
    return {"default": value} if isinstance(value, str) else value


class StandardModes(ConfigModel):
    """What a breach of the standard's own rules comes to; `except` names some that come to something else."""

    default: StandardMode = Field(default="warn", description="reject, warn, observe or off")
    exceptions: dict[RuleName, StandardMode] = Field(
        default_factory=dict, alias="except", description="By rule and place: table.0001, length, length PID-5, PID-8"
    )


Standards = Annotated[
    StandardModes,
    BeforeValidator(_standard),
    WithJsonSchema(
        {
            "anyOf": [{"enum": ["reject", "warn", "observe", "off"]}, StandardModes.model_json_schema(by_alias=True)],
            "description": "reject, warn, observe or off; or with exceptions: {default: warn, except: {length: off}}",
        }
    ),
]


class Learned(ConfigModel):
    """Where a learned profile comes from."""

    messages: int = Field(ge=0, description="How many messages")
    senders: tuple[str, ...] = Field(default=(), description="Their senders, MSH-3 and MSH-4 as SENDER|FACILITY")


class ProfileBody(RuleSet):
    """One profile: what it extends, whose messages it is for, and its rules."""

    description: str = Field(default="", description="What the profile is for, in a sentence")
    owner: str = Field(default="", description="Who is asked when a rule without an owner is broken")
    extends: ProfilePath | None = Field(default=None, description="A profile whose rules are taken over")
    whose: Whose = Field(default=(), alias="for", description="Whose messages it is for; without it everybody's")
    version: Annotated[str, AfterValidator(_version)] | None = Field(
        default=None, description="The version of HL7 to hold messages against, instead of MSH-12's"
    )
    standard: Standards = Field(
        default_factory=StandardModes, description="What a breach of the standard's own rules comes to"
    )
    mode: Mode | None = Field(default=None, description="What a breach of a rule without a mode comes to; else reject")
    switch_off: tuple[RuleName, ...] = Field(
        default=(), description="Rules of the standard, or of the profile it extends, that do not hold here"
    )
    messages: dict[EventText, RuleSet] = Field(
        default_factory=dict, description="Rules for a type and event alone: ADT^A01 or ADT^*"
    )
    learned: Learned | None = Field(default=None, description="What the profile was learned from")


class ProfileFile(ProfileBody):
    """A profile. With `profiles` it holds several: each takes over what stands above, and the first that is `for` the
    sender of a message is taken; where none is, what stands above."""

    profiles: tuple[ProfileBody, ...] = Field(default=(), description="Profiles for some senders")
