"""Entries of a channel file whose options depend on a kind: a step under `steps`, a destination."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, core_schema

from engine.config.actions import ActionText, NoRetryText, RefusedRules, RejectedRules, Rules, one
from engine.config.base import ConfigModel, Reading, did_you_mean, keys_hint
from engine.config.charsets import TargetCharset, Unencodable
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.hours import OpenField
from engine.config.kinds import forms_of, takes_lanes, takes_windows, writes_itself
from engine.config.node import SourceDict, SourceText
from engine.config.reading import validate
from engine.config.types import ConditionText, ExpressionText, SegmentText
from engine.config.units import DURATION_PATTERN, Duration, Percent, Rate, parse_duration
from engine.hl7.convert import Form

LATER_STEPS: Final[Mapping[str, str]] = {
    "lookup": "code tables are used with a 'map' step",
    "split": "use a 'python' step",
    "to": "an entry with 'to' is a route: it stands below a line 'routes:', with its colon",
}
LATER_SINKS: Final[Mapping[str, str]] = dict.fromkeys(
    ("sftp", "dicom", "kafka", "nats", "amqp", "s3", "fhir"),
    "destinations of this version are mllp, file, http, database, email and worklist",
)


WHEN: Final = frozenset(("if", "condition", "where"))
"""What people write for `when` who come from elsewhere."""


class StepCommon(ConfigModel):
    """What every step may have beside its own options.

    `when`: the step runs only for messages this is true of. `name`: how findings and the trace call it.
    """

    when: ConditionText | None = None
    name: str = ""


@dataclass(slots=True, frozen=True)
class StepEntry:
    """One step as it stands in the file.

    `options` is the kind's model. `when` is None where the step always runs, and where the kind reads a
    `when` of its own. `line` and `column` are those of the key that names the kind.
    """

    kind: str
    options: ConfigModel
    when: ConditionText | None
    name: str
    file: str
    line: int
    column: int

    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> "StepEntry | None":
        if isinstance(value, cls):
            return value
        reading = info.context
        if not isinstance(reading, Reading):
            raise BadValue("a step is read with its file", code="E104")
        if isinstance(value, SourceText):
            hint = f"write '- {value.shown}: ...'" if value in reading.kinds.steps else "write '- kind: options'"
            raise BadValue("is a text where a step must stand", hint, code="E104")
        if not isinstance(value, SourceDict):
            raise BadValue("is a list where a step must stand", "write '- kind: options'", code="E104")
        return _read_step(value, reading)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-definition": "Step"}


def _read_step(value: SourceDict, reading: Reading) -> StepEntry | None:
    """The step, or None after adding findings to `reading`."""
    kinds = reading.kinds.steps
    named = [key for key in value if key in kinds]
    if len(named) != 1:
        _report_kind(value, named, reading)
        return None
    key = named[0]
    model = kinds[key].model
    own, common = part(value, set(StepCommon.known_keys()) - set(model.known_keys()))
    shared = validate(common, StepCommon, reading)
    own.owner = key
    for other in [key for key in own if key in WHEN and key not in model.known_keys()]:
        reading.findings.append(
            at(other.position() or value.node.position, "E101", f"unknown key '{other.shown}'", "did you mean 'when'?")
        )
        del own[other]
    around = reading.focus
    reading.focus = _focus(key, own, model) or around
    options = validate(own, model, reading)
    reading.focus = around
    place = key.position() or Position(reading.file, 1, 1)
    if options is None or shared is None:
        return None
    return StepEntry(str(key), options, shared.when, shared.name, place.file, place.line, place.column)


def _focus(key: SourceText, own: SourceDict, model: type[ConfigModel]) -> str | None:
    """The segment a step puts in focus: its own argument, where that is a SegmentText."""
    argument = own.get(key)
    if model.known_keys()[key].annotation is not SegmentText or not isinstance(argument, str):
        return None
    return str(argument)


def _report_kind(value: SourceDict, named: list[SourceText], reading: Reading) -> None:
    kinds = reading.kinds.steps
    if len(named) > 1:
        place = named[1].position() or value.node.position
        message = f"'{named[0].shown}' and '{named[1].shown}' are two steps in one entry"
        reading.findings.append(at(place, "E108", message, "begin each step on a line of its own with '- '"))
        return
    candidates = [key for key in value if key not in StepCommon.known_keys()]
    if not candidates:
        place = (next(iter(value)).position() if value else None) or value.node.position
        reading.findings.append(at(place, "E102", "an entry without a step", did_you_mean("", kinds)))
        return
    key = candidates[0]
    place = key.position() or value.node.position
    hint = LATER_STEPS.get(key) or did_you_mean(key, kinds)
    reading.findings.append(at(place, "E102", f"unknown step '{key.shown}'", hint))


def part(value: SourceDict, apart: set[str]) -> tuple[SourceDict, SourceDict]:
    """The mapping without the keys in `apart`, and those alone; both stand where the mapping stands."""
    rest, taken = SourceDict(), SourceDict()
    for made in (rest, taken):
        made.node, made.owner = value.node, value.owner
    for key, item in value.items():
        (taken if key in apart else rest)[key] = item
    return rest, taken


class Retry(ConfigModel):
    """When a delivery that did not arrive is tried again: after `first`, then twice as long each time, up to `most`.

    Each wait is shortened by up to `jitter`. `limit` is when the delivery is given to a person
    (held): `none`, a number of attempts, or a time since the first. A person's release begins anew, a restart does
    not; time in which the destination is closed does not count.
    """

    first: Duration = Field(default=1.0, description="The first wait")
    most: Duration = Field(default=60.0, validate_default=True, description="The longest wait")
    jitter: Percent = Field(default=0.2, description="How much a wait varies, so that lanes do not try in step")
    limit: str = Field(
        default="none",
        description="none, a number of attempts, or a time such as 24h; then the delivery is held",
        json_schema_extra={"anyOf": [{"const": "none"}, {"pattern": "^[1-9][0-9]*$"}, {"pattern": DURATION_PATTERN}]},
    )

    @field_validator("limit")
    @classmethod
    def _check_limit(cls, value: str) -> str:
        if value == "none" or (value.isascii() and value.isdigit() and 0 < int(value) < 10**9):
            return value
        if value[:1].isdigit() and not value.isdigit() and parse_duration(value) > 0:
            return value
        raise BadValue(
            f"'{value}' is not a limit", "write none, a number of attempts, or a time such as 24h", code="E106"
        )

    @field_validator("first", "most")
    @classmethod
    def _check_wait(cls, value: float) -> float:
        if not 0.01 <= value <= 86400:
            raise BadValue("must be from 10ms to 1d", code="E106")
        return value

    @field_validator("most")
    @classmethod
    def _check_order(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("first", value):
            raise BadValue("is shorter than the first wait", "such as {first: 5m, most: 30m}", code="E106")
        return value

    @property
    def limit_attempts(self) -> int | None:
        """How many attempts at most; None where no number was given."""
        return int(self.limit) if self.limit.isdigit() else None

    @property
    def limit_s(self) -> float | None:
        """Seconds since the first attempt; None where no time was given."""
        return None if self.limit == "none" or self.limit.isdigit() else parse_duration(self.limit)


WITHOUT_ORDER: Final = (
    "say what must stay in order, such as order_by: PID-3.1; where nothing must, order_by: MSH-10 makes each message "
    "a key of its own"
)


class DeliveryPolicy(ConfigModel):
    """What every destination may have beside its sink.

    `on_refused`: an answer about the content, AE or CR, or an AR or CE whose ERR code speaks of it (100 to 104, 198,
    200 to 205): the same message comes to the same end. `on_rejected`: any other AR or CE, which may pass later.
    `on_unanswered`: sent, and no answer came. `on_unreachable`: no connection, so it was not sent. `on_unsendable`:
    the message cannot go this way at all. Each is an action: `hold` sets the message aside for a person and goes on
    with the next; `retry` sends it again, later, by `retry`; `retry(3)` and `retry(2h)` have a limit of their own,
    after which it is held, or as `retry(2h) then skip` says; `skip` gives it up; `stop` lets the lane stand still
    until a person releases it; `redirect(x)` has destination x take over. The first two may say it by code, where an
    ERR code goes before AE and its like: `{"204, 205": skip, AE: retry(3), otherwise: hold}`.
    `open`: hours in which anything is sent; outside of them messages wait.
    `window`: how many completion marks may be unsynced, which is how many duplicates a power cut can cause
    (reliability.md section 0 item 7; hl7.md item 19).
    `charset`: what the receiver reads, by its name in HL7 table 0211. Messages are written in it, and MSH-18 and
    MSH-20 say so; without it they go as they came (hl7.md item 62). `unencodable`: a character that this set does
    not have, or bytes that are no characters: `hold` sets the message aside for a person, `escape` writes the bytes
    of UTF-8 as `\\X..\\`, `replace(?)` writes another text for each; both are told by a finding.
    `format`: what messages are written as: `hl7`, `json` or `xml`, the latter two in UTF-8. Without it, HL7, or what
    a `convert` step says.
    `order_by`: order is kept among the messages for which this expression gives the same, in place of over all.
    `lanes`: so many connections, over which the keys are spread. `priority`: messages that this is true of go before
    those of other keys. `rate`: how many messages may be sent in a time, over all connections.
    """

    on_refused: RefusedRules = Field(default=one("hold"), description="What AE and CR of the receiver come to")
    on_rejected: RejectedRules = Field(default=one("retry"), description="What AR and CE of the receiver come to")
    on_unanswered: ActionText = Field(default=ActionText("retry"), description="What no answer in time comes to")
    on_unreachable: ActionText = Field(
        default=ActionText("retry"), description="What a receiver that cannot be reached comes to"
    )
    on_unsendable: NoRetryText = Field(
        default=NoRetryText("hold"), description="What a message comes to that cannot go this way"
    )
    retry: Retry = Field(default_factory=Retry, description="When it is tried again")
    open: OpenField = Field(default=None, description="When it is sent to; without it always")
    window: int = Field(
        default=1, ge=1, le=1000, description="How many deliveries may be repeated after a power cut, for speed"
    )
    order_by: ExpressionText | None = Field(
        default=None, description="Keep order among messages with the same value of this, such as PID-3.1"
    )
    lanes: int = Field(default=1, ge=1, le=64, description="Connections over which the keys of order_by are spread")
    priority: ConditionText | None = Field(
        default=None, description="Messages that this is true of go before those of other keys"
    )
    rate: Rate | None = Field(default=None, description="How many messages may be sent in a time: 50/s, 10/m, 1000/h")
    charset: TargetCharset | None = Field(
        default=None, description="What the receiver reads: a name of table 0211, such as 8859/1 or UNICODE UTF-8"
    )
    unencodable: Unencodable = Field(
        default="hold", description="What a character comes to that `charset` lacks: hold, escape or replace(x)"
    )
    format: Form | None = Field(
        default=None, description="hl7, json or xml; without it hl7, or what a convert step says"
    )

    @field_validator("lanes", "priority")
    @classmethod
    def _needs_a_key(cls, value: object, info: ValidationInfo) -> object:
        if value in (1, None) or info.data.get("order_by", value) is not None:
            return value  # where order_by itself is at fault, that is said once
        if info.field_name == "lanes":
            raise BadValue("would break the order of messages", WITHOUT_ORDER, code="E148")
        raise BadValue("would let messages overtake each other", WITHOUT_ORDER, code="E148")

    @property
    def actions(self) -> tuple[tuple[str, ActionText], ...]:
        """Every action that may be taken, with the key it stands under."""
        rules: list[tuple[str, Rules]] = [("on_refused", self.on_refused), ("on_rejected", self.on_rejected)]
        alone = [(key, getattr(self, key)) for key in ("on_unanswered", "on_unreachable", "on_unsendable")]
        return (*((key, action) for key, rule in rules for action in rule.actions), *alone)

    @field_validator("format")
    @classmethod
    def _goes_with_charset(cls, value: Form | None, info: ValidationInfo) -> Form | None:
        if value not in (None, "hl7") and info.data.get("charset") is not None:
            raise BadValue("does not go with charset", "JSON and XML are UTF-8: leave out charset", code="E107")
        return value


def refused_form(place: Position, sink: str, form: Form) -> ConfigFinding:
    """Of a form that a destination's sink cannot carry."""
    hint = {
        "http": "the acknowledgment of a receiver is matched as HL7; with answer: status any form goes",
        "database": "its parameters are read from HL7; take :segmill_body and no other value, or hl7",
        "email": "paths in subject and body are read from HL7; leave them out, or take hl7",
        "mllp": "the answer of an MLLP receiver is matched as HL7; write JSON and XML into files",
        "file": "a file with a batch holds HL7; leave out batch, and each message has a file",
        "worklist": "a worklist reads HL7 and is written to as it needs it; leave out format",
    }.get(sink, "take hl7")
    return at(place, "E107", f"'{sink}' cannot carry messages as {form.upper()} here", hint)


@dataclass(slots=True, frozen=True)
class Destination:
    """One destination as it stands in the file: `sink` names the kind, `options` is its model."""

    sink: str
    options: ConfigModel
    policy: DeliveryPolicy
    file: str
    line: int
    column: int

    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> "Self | None":
        if isinstance(value, cls):
            return value
        reading = info.context
        if not isinstance(reading, Reading) or not isinstance(value, SourceDict):
            raise BadValue("must be a destination", "such as {file: {folder: out}}", code="E104")
        return cls._read_mapping(value, reading)

    @classmethod
    def _read_mapping(cls, value: SourceDict, reading: Reading) -> "Self | None":
        kinds = reading.kinds.sinks
        named = [key for key in value if key in kinds]
        own, policy_data = part(value, set(DeliveryPolicy.known_keys()))
        extra = [key for key in own if key not in named[:1]]
        policy = validate(policy_data, DeliveryPolicy, reading)
        owner = value.owner
        place = (owner.position() if owner is not None else None) or value.node.position
        for key in extra:
            _report_sink(key, bool(named), reading)
        if not named:
            if not extra:
                sinks = ", ".join(sorted(kinds))
                reading.findings.append(at(place, "E103", "a destination without a sink", f"one of: {sinks}"))
            return None
        if not isinstance(value[named[0]], SourceDict):
            place = named[0].position() or place
            message = f"'{named[0].shown}' must be keys with values"
            text = value[named[0]]
            meant = keys_hint(text) if isinstance(text, SourceText) else ""
            reading.findings.append(at(place, "E104", message, meant or f"such as {named[0]}: {{key: value}}"))
            return None
        options = validate(value[named[0]], kinds[named[0]].model, reading)
        if options is None or policy is None or extra:
            return None
        if policy.lanes > 1 and not takes_lanes(kinds[named[0]]):
            key = value.key("lanes") or named[0]
            message = f"'{named[0]}' has one connection"
            reading.findings.append(at(key.position() or place, "E148", message, "leave out lanes; order_by may stay"))
            return None
        if policy.window > 1 and not takes_windows(kinds[named[0]]):
            key = value.key("window") or named[0]
            message = f"'{named[0]}' must have each end recorded before the next"
            reading.findings.append(at(key.position() or place, "E148", message, "leave out window"))
            return None
        if policy.charset is not None and writes_itself(kinds[named[0]]):
            key = value.key("charset") or named[0]
            message = f"'{named[0]}' is not written to in HL7"
            reading.findings.append(at(key.position() or place, "E107", message, "leave out charset"))
            return None
        if policy.format is not None and policy.format not in forms_of(kinds[named[0]], options):
            key = value.key("format") or named[0]
            reading.findings.append(refused_form(key.position() or place, str(named[0]), policy.format))
            return None
        return cls(str(named[0]), options, policy, place.file, place.line, place.column)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-definition": "Destination"}


def _report_sink(key: SourceText, has_sink: bool, reading: Reading) -> None:
    place = key.position() or Position(reading.file, 1, 1)
    sinks = reading.kinds.sinks
    if key in sinks:
        reading.findings.append(at(place, "E108", f"a second sink, '{key.shown}'", "one destination, one sink"))
    elif key in LATER_SINKS:
        reading.findings.append(at(place, "E119", f"'{key.shown}' is not in this version", LATER_SINKS[key]))
    else:
        known = list(DeliveryPolicy.known_keys()) + ([] if has_sink else sorted(sinks))
        reading.findings.append(at(place, "E101", f"unknown key '{key.shown}'", did_you_mean(key, known)))


NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


def check_name(name: str) -> None:
    """Names of channels and destinations: lower-case letters, digits and inner hyphens, at most 63. Raises BadValue."""
    if not re.fullmatch(NAME_PATTERN, name):
        suggestion = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
        hint = f"did you mean '{suggestion}'?" if suggestion else "such as ris or lab-oru"
        raise BadValue(
            "is not a name: lower-case letters, digits and hyphens inside, at most 63 of them", hint, code="E146"
        )
