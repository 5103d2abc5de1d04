"""`map: {PATH: table.csv, otherwise: hold}`: one system's codes into another's."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator, model_validator

from engine.config.base import ConfigModel, Reading, did_you_mean
from engine.config.finding import BadValue, at
from engine.config.node import SourceDict, SourceText
from engine.config.table import Table
from engine.config.types import PathText, TablePath
from engine.hl7 import NULL
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.model.finding import Finding
from engine.pipeline.checks import known_path, refuse
from engine.pipeline.occurrences import is_many, occurrences, place
from engine.pipeline.step import CompiledStep, CompileScope, Lookup, Run, Stop

WORDS: Final = ("otherwise", "direction")
"""What may stand among the places and is none."""


@dataclass(slots=True, frozen=True)
class Otherwise:
    """What a value without a row comes to. `value` is what `default(...)` writes."""

    policy: Literal["hold", "reject", "keep", "default"]
    value: str = ""


def _read_otherwise(value: object) -> Otherwise:
    if isinstance(value, Otherwise):
        return value
    if isinstance(value, str):
        if value in ("hold", "reject", "keep"):
            return Otherwise(value)  # type: ignore[arg-type]  # one of the three, by the line above
        if default := re.fullmatch(r"default\((.*)\)", value, re.DOTALL):
            return Otherwise("default", default[1])
        hint = did_you_mean(value, ("hold", "reject", "keep", "default(...)"))
        raise BadValue(f"'{value}' is none of hold, reject, keep, default(...)", hint, code="E105")
    raise BadValue("must be hold, reject, keep or default(...)", code="E104")


_OTHERWISE_SCHEMA: Final = {"type": "string", "pattern": r"^(hold|reject|keep|default\(.*\))$"}

OtherwiseText = Annotated[Otherwise, PlainValidator(_read_otherwise), WithJsonSchema(_OTHERWISE_SCHEMA)]


def _show_otherwise_inside(schema: dict[str, Any]) -> None:
    """In the schema, too, `otherwise` stands among the places."""
    otherwise = schema["properties"].pop("otherwise")
    otherwise["default"] = "hold"
    direction = schema["properties"].pop("direction")
    schema["properties"]["map"]["properties"] = {"otherwise": otherwise, "direction": direction}


class MapOptions(ConfigModel):
    """Look values up in code tables, and write what stands beside them.

    A path above the value, such as OBX-3, means the first one below it; with `*` every place there is. Absent
    and empty ones, and the delete marker `""`, are left as they are. `otherwise` says what a value without a row
    comes to: `hold` (the default), `reject`, `keep` it as it is, or `default(X)` writes X. `direction: back` looks up
    from the second column to the first.
    """

    model_config = ConfigDict(json_schema_extra=_show_otherwise_inside)

    tables: dict[PathText, TablePath] = Field(
        alias="map",
        min_length=1,
        description="Place: code table",
        json_schema_extra={"properties": {"otherwise": dict(_OTHERWISE_SCHEMA), "direction": {"type": "string"}}},
    )
    otherwise: OtherwiseText = Field(default=Otherwise("hold"), description="What a value without a row comes to")
    direction: Literal["there", "back"] = Field(
        default="there", description="From the first column to the second, or back"
    )

    @property
    def ways_back(self) -> tuple[str, ...]:
        """The tables that are looked up from value to key."""
        return tuple(map(str, self.tables.values())) if self.direction == "back" else ()

    @model_validator(mode="before")
    @classmethod
    def _take_words_out(cls, data: Any, info: ValidationInfo) -> Any:
        """`otherwise` and `direction` stand among the places; here they get fields of their own."""
        if not isinstance(data, SourceDict) or not isinstance(info.context, Reading):
            return data
        taken = SourceDict(data)
        taken.node, taken.owner = data.node, data.owner
        for word in WORDS:
            if (beside := data.key(word)) is not None:
                _report_beside(beside, info.context)
                del taken[beside]
        places = data.get(SourceText("map"))
        words = [places.key(word) for word in WORDS] if isinstance(places, SourceDict) else []
        if isinstance(places, SourceDict) and any(words):
            others = SourceDict({key: value for key, value in places.items() if key not in WORDS})
            others.node, others.owner = places.node, places.owner
            taken[SourceText("map")] = others
            for inside in words:
                if inside is not None:
                    taken[inside] = places[inside]
        return taken

    @field_validator("tables")
    @classmethod
    def _check_places(cls, tables: dict[PathText, TablePath], info: ValidationInfo) -> dict[PathText, TablePath]:
        for text in tables:
            path = known_path(text)
            if path is not None and (path.field is None or (path.segment == "MSH" and path.field in (1, 2))):
                refuse(info, text, f"{text} holds no code that could be mapped", "name a field, such as PV1-3.1")
        return tables


def _report_beside(key: SourceText, reading: Reading) -> None:
    position = key.position()
    assert position is not None, "keys of a SourceDict come from a file"
    value = "hold" if key == "otherwise" else "back"
    hint = f"write it with the places: map: {{PV1-3.1: tables/wards.csv, {key}: {value}}}"
    reading.findings.append(at(position, "E101", f"'{key}' stands beside 'map'", hint))


class MapStep:
    """All places of one step are looked up, also behind one without a row: the analyst sees every miss at once."""

    name = "map"
    model = MapOptions

    def title(self, options: MapOptions) -> str:
        return ", ".join(options.tables)

    def compile(self, options: MapOptions, scope: CompileScope) -> CompiledStep:
        otherwise = options.otherwise
        translators = tuple(
            _translator(scope.path(text), _turned(scope.table(str(name)), options), otherwise, scope)
            for text, name in options.tables.items()
        )

        def translate(message: Message, run: Run) -> Stop | None:
            missed: list[Finding] = []
            for translator in translators:
                translator(message, run, missed)
            if not missed:
                return None
            if otherwise.policy == "hold":
                return Stop("held", tuple(missed))
            if otherwise.policy == "reject":
                return Stop("rejected", tuple(missed))
            run.findings += missed
            return None

        return translate


def _turned(table: Table, options: MapOptions) -> Table:
    """The table in the step's direction; that the way back is not ambiguous was checked."""
    return table.back()[0] if options.direction == "back" else table


Translator = Callable[[Message, Run, list[Finding]], None]
LeafSetter = Callable[[Message, str], object]


def _translator(path: Path, table: Table, otherwise: Otherwise, scope: CompileScope) -> Translator:
    find, find_at = table.lookup, table.lookup_at
    is_dated = table.is_dated
    miss = _miss(table, otherwise, scope)
    own_setter = _leaf_setter(path, scope.path)

    def at_one(
        message: Message, run: Run, missed: list[Finding], path: Path = path, put: LeafSetter = own_setter
    ) -> None:
        value = path.get(message)
        if not value or value == NULL:
            return
        row = find_at(value, run.now) if is_dated else find(value)
        if run.watch is not None:
            run.watch.looked_up(Lookup(place(path, message), table.name, value, row.line if row else None))
        if row is not None:
            put(message, row.value)
            return
        missed.append(miss(place(path, message)))
        if otherwise.policy == "default":
            put(message, otherwise.value)

    def at_all(message: Message, run: Run, missed: list[Finding]) -> None:
        for target in occurrences(path, message):
            at_one(message, run, missed, target, _leaf_of(target).set)

    return at_all if is_many(path) else at_one


def _leaf_setter(path: Path, compiled: Callable[[str], Path]) -> LeafSetter:
    """The function that writes where `path.get` read a value: what is looked up, and all that is replaced.

    `OBX-3` reads the code of `718-7^Haemoglobin^LN`; writing the whole of OBX-3 would lose the rest of it.
    """
    spec = path.spec
    component = path if path.component is not None else compiled(f"{path}.1")
    leaf = path if path.subcomponent is not None else compiled(f"{component}.1")
    if spec.segment_selector is not None or spec.field_selector is not None or path.focus:
        return leaf.set
    segment, field = spec.segment, spec.field
    whole = compiled(f"{segment}-{field}")

    def write(message: Message, value: str) -> None:
        # Most values stand alone in their field, or have no subcomponents beside them: those ways are shorter.
        text = message.first_fields(segment)[field]
        if text.isalnum():
            whole.set(message, value)
        elif message.delimiters.cut_subcomponent not in text:
            component.set(message, value)
        else:
            leaf.set(message, value)

    return write


def _leaf_of(path: Path) -> Path:
    """The same place, down to the first leaf; made from its parts, as there may be one for each segment."""
    spec = path.spec
    return Path(path.text, spec._replace(component=spec.component or 1, subcomponent=spec.subcomponent or 1), None)


_WHAT_THEN = {
    "hold": "held; add the row, segmill reload, then release it",
    "reject": "rejected",
    "keep": "kept as it is",
    "default": "the default was written",
}


def _miss(table: Table, otherwise: Otherwise, scope: CompileScope) -> Callable[[str], Finding]:
    """The finding for a value without a row: it names the place, never the value."""
    stops = otherwise.policy in ("hold", "reject")
    then = _WHAT_THEN[otherwise.policy]

    def finding(location: str) -> Finding:
        text = f"no row in {table.name} matches {location}; {then}"
        if stops:
            return scope.finding("E214", text, location=location, hl7_code="103")
        return scope.finding("W204", text, severity="information", location=location)

    return finding
