"""A channel's file: where messages come from, what happens to them, and where they go (DESIGN section 5)."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from engine.config.answers import AckWhen, ConnectBack
from engine.config.base import ConfigModel, did_you_mean
from engine.config.entries import NAME_PATTERN, Destination, StepEntry, check_name
from engine.config.finding import BadValue
from engine.config.fragments import Fragments
from engine.config.isolate import IsolateField
from engine.config.listen import Listen
from engine.config.node import SourceText
from engine.config.retention import Retention
from engine.config.types import ConditionText, DestinationText, MarkedText, ProfileText
from engine.config.units import Duration
from engine.hl7.charset import codec_named

FALLBACK_CHARSETS: Final[tuple[str, ...]] = (
    "ascii",
    "utf-8",
    "cp1250",
    "cp1251",
    "cp1252",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp1258",
    *(f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    "cp437",
    "cp850",
    "mac-roman",
    "shift_jis",
    "euc_jp",
    "euc_kr",
    "gb18030",
    "big5",
)
"""Character sets that a fallback is likely to be; whatever fits HL7 and keeps no state is taken."""


class AcceptPattern(MarkedText):
    """Message type and trigger event: `ADT^A01`, `ADT^*`, or `*` for everything."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^(\*|[A-Z][A-Z0-9]{2}(\^(\*|[A-Z0-9]{1,3}))?)$",
        "description": "ADT^A01, ADT^* or *",
        "x-suggest": "type",
    }

    def check(self) -> None:
        """One or two parts, each whole or `*`."""
        if self == "*" or re.fullmatch(r"[A-Z][A-Z0-9]{2}\^(\*|[A-Z0-9]{1,3})", self):
            return
        parts = [part.strip() for part in re.split(r"[\^_\s]+", self.upper()) if part.strip()]
        if len(parts) == 1 and re.fullmatch(r"[A-Z][A-Z0-9]{2}", parts[0]):
            hint = f"did you mean {parts[0]}^*?"
        elif len(parts) >= 2 and re.fullmatch(r"[A-Z][A-Z0-9]{2}", parts[0]) and len(parts[1]) <= 3:
            hint = f"did you mean {parts[0]}^{parts[1]}?"
        else:
            hint = "such as ADT^A01 or ADT^*"
        raise BadValue(f"'{self.shown}' is not a type and event", hint, code="E123")

    def matches(self, message_code: str, trigger_event: str) -> bool:
        """Whether a message with these MSH-9.1 and MSH-9.2 is meant."""
        if self == "*":
            return True
        code, _, event = self.partition("^")
        return code == message_code and event in ("*", trigger_event)

    def covers(self, other: "AcceptPattern") -> bool:
        """Whether everything `other` matches is matched here too."""
        if self == "*":
            return True
        code, _, event = self.partition("^")
        other_code, _, other_event = other.partition("^")
        return code == other_code and event in ("*", other_event)


class Identity(ConfigModel):
    """What the engine calls itself in an ACK where the message does not say to whom it was sent."""

    application: str = Field(default="SEGMILL", max_length=180, description="MSH-3")
    facility: str = Field(default="", max_length=180, description="MSH-4")


class Ack(ConfigModel):
    """When and how senders are answered. Nothing positive is said before the message is stored."""

    when: AckWhen = Field(
        default=AckWhen("processed"),
        description="After the steps ran and all was stored, once it is stored, or with a destination's answer",
    )
    timeout: Duration = Field(
        default=30.0, gt=0, le=86400, description="How long a sender waits for delivered(x); then it is told"
    )
    on_timeout: Literal["AE", "AR"] = Field(default="AE", description="What it is told then")
    mode: Literal["auto", "original", "enhanced"] = Field(default="auto", description="auto goes by MSH-15 and MSH-16")
    when_held: Literal["AA", "AE"] = Field(default="AA", description="The answer for a message that is held")
    on_store_failure: Literal["AR", "AE", "close"] = Field(
        default="AR", description="The answer where nothing can be stored; close hangs up instead"
    )
    app_ack: Literal["same", "connect-back", "none"] = Field(
        default="same",
        description="Where enhanced mode's application acknowledgement goes: the same connection, one of ours, nowhere",
    )
    connect_back: ConnectBack | None = Field(default=None, description="Where to connect to for it")
    identity: Identity = Field(default_factory=Identity, description="The engine's name in answers")


class Duplicates(ConfigModel):
    """How long a resend (same sender, same MSH-10, same bytes) is recognised; `off` never."""

    window: Duration = Field(default=7 * 86400.0, ge=0, le=366 * 86400, description="How long a resend is recognised")

    @property
    def is_on(self) -> bool:
        return self.window > 0


def _duplicates(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value == "off":
        return Duplicates(window=0.0)
    raise BadValue("must be off or have a window", "such as duplicates: {window: 7d}", code="E105")


DuplicatesField = Annotated[
    Duplicates,
    BeforeValidator(_duplicates),
    WithJsonSchema({"anyOf": [{"const": "off"}, Duplicates.model_json_schema()]}),
]


def _charset(value: object) -> object:
    if not isinstance(value, str):
        return value
    codec = codec_named(value)
    if codec is None or codec.startswith("iso2022"):
        hint = did_you_mean(value, FALLBACK_CHARSETS) or "such as cp1252, iso8859-15, utf-8 or gb18030"
        raise BadValue(f"'{value}' is not a character set that can be a fallback", hint, code="E105")
    return codec


class Charset(ConfigModel):
    """How bytes become text where the message does not say it in MSH-18 (hl7.md items 57 to 60)."""

    fallback: Annotated[
        str, BeforeValidator(_charset), WithJsonSchema({"type": "string", "examples": list(FALLBACK_CHARSETS)})
    ] = Field(default="cp1252", description="For a message that declares nothing and is not UTF-8")
    strict: bool = Field(
        default=False,
        description="true: what is not as MSH-18 declares, nor UTF-8, is refused with AE and 103 instead of read so",
    )


def _keys(value: object) -> object:
    """A text here is meant as the fallback."""
    if isinstance(value, str):
        shown = value.shown if isinstance(value, SourceText) else value
        raise BadValue("must be keys with values", f"such as charset: {{fallback: {shown}}}", code="E104")
    return value


class Validation(ConfigModel):
    """What messages are held against before the steps: a profile, or the standard alone.

    A broken rule comes to what its own mode says, and to no more than `mode` here: so a new profile can be tried with
    `observe` on live messages before it rejects any.
    """

    profile: ProfileText = Field(description="The file of a profile, relative to this one; or standard")
    mode: Literal["reject", "warn", "observe"] | None = Field(
        default=None, description="The most that a broken rule comes to; else reject, and warn for the standard alone"
    )
    drift: bool = Field(
        default=True, description="Tell when a sender's messages drift from the counts of a learned profile"
    )

    @property
    def most(self) -> Literal["reject", "warn", "observe"]:
        """The most that a broken rule comes to."""
        return self.mode or ("warn" if self.profile.is_standard else "reject")


class Route(ConfigModel):
    """One way out: `to` a destination, `when` a condition is true, or always."""

    to: DestinationText = Field(description="The name of a destination below")
    when: ConditionText | None = Field(default=None, description="Without it every message takes this route")


def _named(name: str) -> str:
    check_name(name)
    return name


class ChannelFile(ConfigModel):
    """channel.yaml: one channel."""

    description: str = Field(default="", description="What the channel is for, in a sentence")
    listen: Listen = Field(description="Where messages come from")
    accept: tuple[AcceptPattern, ...] = Field(
        default=(AcceptPattern("*"),), min_length=1, description="Types and events this channel takes"
    )
    condition: ConditionText | None = Field(
        default=None, alias="from", description="Messages this channel takes, by a condition"
    )
    validation: Validation | None = Field(
        default=None, alias="validate", description="What messages are held against, before the steps"
    )
    ack: Ack = Field(default_factory=Ack, description="When and how senders are answered")
    sequence: Literal["off", "on"] = Field(
        default="off", description="The sequence number protocol, for senders that value MSH-13"
    )
    duplicates: DuplicatesField = Field(default_factory=Duplicates, description="How long a resend is recognised")
    fragments: Fragments = Field(default_factory=Fragments, description="Segments and messages that come in parts")
    charset: Annotated[Charset, BeforeValidator(_keys)] = Field(
        default_factory=Charset, description="How bytes become text"
    )
    retention: Retention | None = Field(
        default=None, description="How long this channel's messages are kept, in place of what the site says"
    )
    isolate: IsolateField = Field(
        default=None, description="A process of its own for the steps, which python steps have in any case"
    )
    steps: tuple[StepEntry, ...] = Field(default=(), description="What happens to a message, in order")
    routes: tuple[Route, ...] = Field(default=(), description="Where a message goes; it may take several")
    destinations: dict[Annotated[str, AfterValidator(_named)], Destination] = Field(
        default_factory=dict,
        description="Where messages can go, by name",
        json_schema_extra={"propertyNames": {"pattern": NAME_PATTERN}},
    )
    later: ClassVar[Mapping[str, str]] = {
        "worklist": "a worklist is a destination: destinations: {modalities: {worklist: {}}}",
        "keys": "messages are found by control id in this version",
        "order_by": "order is kept for each destination: write it there",
    }

    def accepts_type(self, message_code: str, trigger_event: str) -> bool:
        """Whether a message with these MSH-9.1 and MSH-9.2 is in `accept`."""
        return any(pattern.matches(message_code, trigger_event) for pattern in self.accept)
