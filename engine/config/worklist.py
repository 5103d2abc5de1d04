"""What stands under `worklist:` in a destination, and how a modality worklist reads it.

The rows of `map` and the rules of `station` are data that `engine.worklist` understands; here they get their places
in the file, so that what is wrong with one is told at its line and column.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from engine.config.base import ConfigModel, Reading, did_you_mean
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.hours import ZoneText
from engine.config.node import SourceDict, SourceText
from engine.config.reading import validate
from engine.config.table import Table
from engine.config.types import MarkedText, TablePath
from engine.hl7.errors import PathError
from engine.worklist.attributes import ITEM, STEP
from engine.worklist.changes import Policy
from engine.worklist.control import ACTIONS, Action, Controls
from engine.worklist.mapping import BadRow, MappingTable, attribute_of
from engine.worklist.shorten import SHORTENED, Shortening
from engine.worklist.stations import MODALITIES, PRIORITIES, StationRule, check_path, is_ae_title
from engine.worklist.text import TooLong, fit
from engine.worklist.view import spec_of

WORKLIST: Final = "worklist"
"""The key that such a destination has."""
GENERATE: Final = "generate"
MOST_STATION: Final = 16
"""Characters of a station's name and location (VR SH)."""
_CONTROL: Final = re.compile(r"[A-Z]{2}(_[A-Z]{1,2})?")
_EVENT: Final = re.compile(r"A[0-9]{2}")


class AttributeText(MarkedText):
    """An attribute of a worklist item by its DICOM keyword: `AccessionNumber`."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "An attribute by its DICOM keyword"}  # noqa: RUF012

    def check(self) -> None:
        if self not in ITEM and self not in STEP:
            hint = did_you_mean(self, {**ITEM, **STEP}) or "a keyword such as AccessionNumber"
            raise BadValue(f"'{self.shown}' is no attribute of a worklist item", hint, code="E105")


class MappedText(MarkedText):
    """Where an attribute comes from: a field, several of them, a text in quotes, or none."""

    __slots__ = ()
    json_schema = {"type": "string", "description": 'A source such as OBR-18, "NORTH" or none'}  # noqa: RUF012


class FieldText(MarkedText):
    """A field or a part of it: `PV1-3.1`."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "A field, such as OBR-18 or PV1-3.1"}  # noqa: RUF012

    def check(self) -> None:
        try:
            spec_of(self)
        except PathError as error:
            raise BadValue(
                f"'{self.shown}' is not a field: {error.message}", "such as OBR-18 or PV1-3.1", code="E131"
            ) from None


class UidText(FieldText):
    """A field with a Study Instance UID, or the word generate."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "A field, such as ZDS-1, or generate"}  # noqa: RUF012

    def check(self) -> None:
        if self != GENERATE:
            super().check()


class RulePath(FieldText):
    """A field that a rule looks at, or the word Modality for the modality as it was mapped."""

    __slots__ = ()

    def check(self) -> None:
        if self != "Modality":
            super().check()


def _listed(value: Any) -> Any:
    """One text stands for a list of it."""
    return [value] if isinstance(value, str) else value


Sources = Annotated[tuple[MappedText, ...], BeforeValidator(_listed)]
Uids = Annotated[tuple[UidText, ...], BeforeValidator(_listed)]
Fields = Annotated[tuple[FieldText, ...], BeforeValidator(_listed)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class LongText(MarkedText):
    """An identifier that may be too long for DICOM, by its keyword."""

    __slots__ = ()
    json_schema = {"enum": list(SHORTENED)}  # noqa: RUF012

    def check(self) -> None:
        if self not in SHORTENED:
            hint = did_you_mean(self, dict.fromkeys(SHORTENED)) or f"one of {', '.join(SHORTENED)}"
            raise BadValue(f"'{self.shown}' is no identifier that may be shortened", hint, code="E105")


class ShortenOptions(ConfigModel):
    """What becomes of an identifier that is too long; what is said is tried in this order, else it is refused."""

    map: TablePath | None = Field(
        default=None, description="A CSV file: the identifier as ordered, and as DICOM has it"
    )
    strip_prefix: Texts = Field(default=(), description="Beginnings to leave out, such as [RIS2026-]")
    hash16: bool = Field(default=False, description="16 letters and digits made of it, the same at any time")

    @field_validator("strip_prefix")
    @classmethod
    def _are_prefixes(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(prefixes):
            raise BadValue("a beginning is empty", "such as strip_prefix: [RIS2026-]", code="E107")
        return prefixes


class StationOptions(ConfigModel):
    """One rule: a step for which all of `when` is true is for these machines. The first that fits counts."""

    when: dict[RulePath, str] = Field(
        default_factory=dict, description="Field: pattern with * and ?; Modality is the mapped one; none fits all"
    )
    ae: Texts = Field(description="AE titles of the machines; with several, any of them may do it")
    name: str = Field(default="", max_length=MOST_STATION, description="Scheduled Station Name")
    location: str = Field(default="", max_length=MOST_STATION, description="Scheduled Procedure Step Location")

    @field_validator("ae")
    @classmethod
    def _are_titles(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        if not titles:
            raise BadValue("names no machine", "such as ae: [CT1]", code="E107")
        for title in titles:
            _check_title(title)
        return titles

    @property
    def rule(self) -> StationRule:
        return StationRule(
            {str(path): str(pattern) for path, pattern in self.when.items()}, self.ae, self.name, self.location
        )


def _check_title(title: str) -> None:
    if not is_ae_title(title):
        raise BadValue(f"'{title[:40]}' is no AE title", "up to 16 ASCII characters, no backslash", code="E107")


def _read_stations(value: object, info: ValidationInfo) -> TablePath | tuple[StationOptions, ...]:
    if isinstance(value, TablePath | tuple):
        return value
    if isinstance(value, str):
        return TablePath._read(value, info)
    reading = info.context
    if not isinstance(reading, Reading) or not isinstance(value, list):
        raise BadValue("must be a code table or a list of rules", "such as tables/stations.csv", code="E104")
    rules: list[StationOptions] = []
    for item in value:
        if not isinstance(item, SourceDict):
            raise BadValue(
                "a rule must be keys with values", "such as - {when: {Modality: CT}, ae: [CT1]}", code="E104"
            )
        if (rule := validate(item, StationOptions, reading)) is not None:
            rules.append(rule)
    return tuple(rules)


Stations = Annotated[
    TablePath | tuple[StationOptions, ...],
    PlainValidator(_read_stations),
    WithJsonSchema(
        {
            "description": "A CSV file, or rules with when, ae, name and location",
            "anyOf": [
                {"type": "string", "pattern": r"\.csv$"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "when": {"type": "object", "additionalProperties": {"type": "string"}},
                            "ae": {"type": ["array", "string"], "items": {"type": "string"}},
                            "name": {"type": "string", "maxLength": MOST_STATION},
                            "location": {"type": "string", "maxLength": MOST_STATION},
                        },
                        "required": ["ae"],
                        "additionalProperties": False,
                    },
                },
            ],
        }
    ),
]


class WorklistOptions(ConfigModel):
    """Orders and ADT for a DICOM modality worklist, which scanners ask for what is to be done.

    An order is put on the worklist, changed or taken off by its order control (ORC-1, ORC-5), item by item and with
    its history; ADT changes the patients on it. Orders that cannot become an item are refused at once, with the place
    in the message. `station` says which machines a step is for; as a CSV file it has the fields that are looked at in
    its first header, a pattern for each of them in each row, and the columns ae, name and location.
    """

    name: str = Field(
        default="main", pattern="^[a-z0-9-]{1,63}$", description="Which worklist; several channels may feed one"
    )
    station: Stations = Field(default=(), description="Which machines a step is for: a CSV file, or rules")
    map: dict[AttributeText, Sources] = Field(
        default_factory=dict, description="Attribute: where it comes from, in place of the standard's fields"
    )
    modalities: dict[str, str] = Field(
        default_factory=dict, description="What senders call modalities: DICOM's name of them, such as XRAY: DX"
    )
    priorities: dict[str, str] = Field(
        default_factory=dict, description="Priority as sent: STAT, HIGH, ROUTINE, MEDIUM or LOW"
    )
    controls: dict[str, str] = Field(
        default_factory=dict, description="Order control, or control_status: what it does, such as NW_SC: create"
    )
    authority: str = Field(
        default="", max_length=227, description="Whose number in PID-3 is the patient's; else type MR, else the first"
    )
    study_uid: Uids | None = Field(
        default=None,
        description="Where the Study Instance UID comes from, and generate; as without it: [IPC-3, ZDS-1, generate]",
    )
    accession: Fields = Field(
        default=(), description="Where the accession number stands if not in its own field, such as [ORC-3, OBR-3]"
    )
    too_long: dict[LongText, ShortenOptions] = Field(
        default_factory=dict,
        description="What becomes of an identifier of more than 16 characters; without it the order is refused",
    )
    feed: str = Field(
        default="",
        max_length=64,
        description="Keeps generated UIDs of different senders apart; else the channel's name",
    )
    zone: ZoneText | None = Field(default=None, description="Time zone of times without one; else UTC")
    without_station: Literal["warn", "refuse"] = Field(
        default="warn", description="What a step comes to that no rule gives a machine"
    )
    without_start: Literal["received", "refuse"] = Field(
        default="received", description="A step without a start: the time of the message is taken, or it is refused"
    )
    reopen: bool = Field(
        default=False, description="Whether a newer change brings back what was cancelled or has ended"
    )
    unknown_cancel: Literal["warn", "refuse"] = Field(
        default="warn", description="What a cancel comes to of an order that is not there"
    )
    demographics: Literal["adt", "latest"] = Field(
        default="adt", description="Who says how a patient is described: ADT alone once it did, or the latest message"
    )
    arrivals: Texts = Field(
        default=(), description="More events that mean that the patient is here, such as [A01, A04]; A10 always does"
    )
    on_delete: Literal["warn", "cancel"] = Field(
        default="warn", description="What A23 and A29 do with open items of the patient"
    )
    merged: Literal["follow", "refuse"] = Field(
        default="follow", description="What an order with an identifier comes to that was merged into another"
    )

    @field_validator("map")
    @classmethod
    def _rows_compile(cls, rows: dict[AttributeText, Sources], info: ValidationInfo) -> dict[AttributeText, Sources]:
        for target, sources in rows.items():
            try:
                MappingTable({str(target): [str(source) for source in sources]})
            except BadRow as error:
                text: SourceText = sources[error.index] if error.index >= 0 else target
                place = text.position() or Position("", 0, 0)
                if not isinstance(info.context, Reading):
                    raise BadValue(error.message, error.hint, code="E107") from None
                info.context.findings.append(at(place, "E107", error.message, error.hint))
        return rows

    @field_validator("modalities")
    @classmethod
    def _are_modalities(cls, own: dict[str, str]) -> dict[str, str]:
        for code, modality in own.items():
            if modality not in MODALITIES:
                raise BadValue(
                    f"'{modality[:40]}' for '{code[:40]}' is no modality of DICOM",
                    did_you_mean(modality, MODALITIES),
                    code="E105",
                )
        return own

    @field_validator("priorities")
    @classmethod
    def _are_priorities(cls, own: dict[str, str]) -> dict[str, str]:
        known = ("STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW")
        for priority in own.values():
            if priority not in known:
                raise BadValue(f"'{priority[:40]}' is no priority of DICOM", did_you_mean(priority, known), code="E105")
        return own

    @field_validator("controls")
    @classmethod
    def _are_controls(cls, own: dict[str, str]) -> dict[str, str]:
        for control, action in own.items():
            if not _CONTROL.fullmatch(control):
                raise BadValue(
                    f"'{control[:40]}' is no order control",
                    "write ORC-1, or ORC-1_ORC-5, such as NW or NW_SC",
                    code="E105",
                )
            if action not in ACTIONS:
                raise BadValue(
                    f"'{action[:40]}' is nothing an order can do", did_you_mean(action, ACTIONS), code="E105"
                )
        return own

    @field_validator("arrivals")
    @classmethod
    def _are_events(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        for event in events:
            if not _EVENT.fullmatch(event):
                raise BadValue(f"'{event[:40]}' is no event of ADT", "such as A04", code="E105")
        return events

    # -- as the worklist wants it ---------------------------------------------------------------

    @property
    def table(self) -> MappingTable:
        rows = {str(target): [str(source) for source in sources] for target, sources in self.map.items()}
        if self.study_uid is not None:
            rows["StudyInstanceUID"] = [str(text) for text in self.study_uid if text != GENERATE]
        return MappingTable(rows)

    @property
    def derives_uid(self) -> bool:
        return self.study_uid is None or GENERATE in self.study_uid

    @property
    def control_table(self) -> Controls:
        rows: dict[str, Action] = {}
        for control, action in self.controls.items():
            rows[str(control)] = next(known for known in ACTIONS if known == action)
        return Controls(rows)

    @property
    def priority_map(self) -> Mapping[str, str]:
        return {**PRIORITIES, **{code.upper(): str(priority) for code, priority in self.priorities.items()}}

    @property
    def policy(self) -> Policy:
        return Policy(
            self.control_table,
            self.reopen,
            self.unknown_cancel,
            self.demographics,
            self.on_delete,
            self.merged,
        )

    def shortenings(self, tables: Mapping[str, Table]) -> Mapping[str, Shortening]:
        """By keyword; the tables are checked."""
        made: dict[str, Shortening] = {}
        for keyword, options in self.too_long.items():
            table = tables[str(options.map)].rows if options.map is not None else {}
            listed = {key: row.value for key, row in table.items()}
            made[str(keyword)] = Shortening(listed, tuple(map(str, options.strip_prefix)), options.hash16)
        return made

    def stations(self, tables: Mapping[str, Table]) -> tuple[StationRule, ...]:
        """The rules in order, from the file or from the table that it names, which was checked."""
        if isinstance(self.station, TablePath):
            return tuple(rule for rule, _ in station_rules(tables[str(self.station)]))
        return tuple(options.rule for options in self.station)


def station_rules(table: Table) -> list[tuple[StationRule, int]]:
    """The rules of a station table with their lines. Raises BadStations for the first that is none."""
    paths = table.columns[0].split()
    for path in paths:
        try:
            check_path(path)
        except PathError as error:
            raise BadStations(1, f"the first column is headed '{path[:40]}': {error.message}") from None
    names = [name.lower() for name in table.columns[1:]]
    if not paths or not names or names[0] != "ae":
        raise BadStations(1, "the second column must be ae, the first has the fields to look at, such as Modality")
    if table.is_dated:
        raise BadStations(1, "a table of stations has no dates: an item has to stay with its scanner")
    rules: list[tuple[StationRule, int]] = []
    for key in table.keys:
        row = table.lookup(key)
        assert row is not None, "its own key"
        patterns = key.split() if len(paths) > 1 else [key]
        if len(patterns) != len(paths):
            raise BadStations(
                row.line, f"{len(patterns)} patterns for {len(paths)} fields: one each, with a blank between"
            )
        cells = dict(zip(names, (row.value, *row.others), strict=False))
        titles = tuple(title.strip() for title in row.value.split("\\"))
        if not all(is_ae_title(title) for title in titles):
            raise BadStations(row.line, "no AE title: up to 16 ASCII characters; several with a backslash between")
        name, location = cells.get("name", ""), cells.get("location", "")
        if max(len(name), len(location)) > MOST_STATION:
            raise BadStations(row.line, f"a name or location of more than {MOST_STATION} characters")
        rules.append((StationRule(dict(zip(paths, patterns, strict=True)), titles, name, location), row.line))
    return rules


class BadStations(ValueError):
    """A table that has no rules for stations; `line` is where it goes wrong."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def check_stations(options: WorklistOptions, tables: Mapping[str, Table], shown: str) -> list[ConfigFinding]:
    """What is wrong with the station table that a destination names. `shown`: the channel's folder."""
    if not isinstance(options.station, TablePath) or (table := tables.get(str(options.station))) is None:
        return []
    if not table.columns:
        return []  # which has findings of its own
    try:
        station_rules(table)
    except BadStations as error:
        return [ConfigFinding("E107", f"{shown}/{options.station}", error.line, 1, 1, error.message)]
    return []


def check_shortenings(options: WorklistOptions, tables: Mapping[str, Table], shown: str) -> list[ConfigFinding]:
    """What is wrong in the tables of identifiers: what does not fit, and two that come to one."""
    findings: list[ConfigFinding] = []
    for keyword, one in options.too_long.items():
        table = tables.get(str(one.map)) if one.map is not None else None
        seen: dict[str, str] = {}
        for row in (table.rows if table is not None else {}).values():
            message = ""
            try:
                fits = fit(row.value, attribute_of(keyword))[0] == row.value
            except TooLong:
                fits = False
            if not row.value or not fits:
                message = f"this cannot be {keyword}: 1 to {attribute_of(keyword).most} characters, no backslash"
            elif row.value in seen:
                message = f"line {seen[row.value]} gives this, too: two identifiers would be one"
            if message:
                findings.append(ConfigFinding("E107", f"{shown}/{one.map}", row.line, 1, 1, message))
            seen.setdefault(row.value, str(row.line))
    return findings
