"""Makes `reference.md` from the models, the functions, the metrics and the codes: `python -m engine.docs.reference`.

A test fails when the page is not what this makes, so nothing is in the engine that is not in the reference.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from engine.config.answers import ConnectBack
from engine.config.base import ConfigModel
from engine.config.channel import ChannelFile
from engine.config.codes import CODES
from engine.config.entries import DeliveryPolicy, Destination, StepCommon, StepEntry
from engine.config.expression.functions import FUNCTIONS
from engine.config.listen import Listen
from engine.config.profile import ProfileBody, ProfileFile
from engine.config.settings import SiteSettings
from engine.config.types import MarkedText
from engine.config.units import Duration, Percent, Size
from engine.pipeline.registry import load_kinds

SHORT: Final = {
    "A duration": "duration",
    "A size": "size",
    "A percentage": "percentage",
    "An HL7 path": "path",
    "A condition": "condition",
    "Text as it stands": "text or `=`expression",
    "A CSV file": "CSV file",
    "A pattern": "pattern (RE2)",
    "How many characters": "length: `20`, `1..20`",
    "How many": "cardinality: `0..1`, `1..*`",
}
"""Kinds of values that every table names, by how their schema's description begins."""

PAGE: Final = Path(__file__).parent / "reference.md"

HEAD: Final = """\
# Reference

Made from the code by `make reference`; a test fails when it is not up to date. What a key means is what
`segmill schema` gives to an editor, and what `segmill check` holds a file to.

- [Site: segmill.yaml](#site)
- [Channel: channel.yaml](#channel)
- [Sources](#sources)
- [Steps](#steps)
- [Destinations](#destinations)
- [Profiles](#profiles)
- [Paths](#paths)
- [Expressions](#expressions)
- [Metrics](#metrics)
- [Codes](#codes)
- [Commands](#commands)

Times have a unit (`500ms`, `30s`, `5m`, `2h`, `7d`), sizes too (`64KB`, `20MB`, `1GiB`). `${NAME}`, `${NAME:-default}`
and `${file:path}` in a value are replaced when the file is read; `$${` stands for `${`.
"""

STEPS: Final = """\
A list, run from top to bottom. A step is the key that names its kind, with its options; every step may also have:
"""

PATHS: Final = """\
## Paths

As the standard writes places, counted from 1. A path without a selector is the first place for `set` and in
expressions, and every place for `delete`.

| path | is |
|---|---|
| `PID-8` | a field |
| `PID-5.1`, `PID-3.4.2` | a component, a subcomponent |
| `PID-3[2].1` | of the second repetition |
| `PID-3[5 == "MR"].1` | of the first repetition whose fifth component is MR; also `!=` and `in ["MR", "PI"]` |
| `OBX[3]-5` | of the third OBX segment |
| `OBX[3.1 == "HB"]-5` | of the first OBX whose OBX-3.1 is HB |
| `OBX[*]-5`, `PID-3[*].1` | of every segment, of every repetition |
| `NTE` | a whole segment |

Inside `each: OBX`, `OBX-5` is a field of the segment at hand.
"""

EXPRESSIONS: Final = """\
## Expressions

Conditions stand in `filter`, `when` and `from`; values stand after `=`. A path reads its first place, unescaped;
absent and empty read as `''`. `""`, HL7's delete marker, is a text like any other and `is null`.

| | |
|---|---|
| `and` `or` `not` `( )` | `and` binds tighter than `or`, `not` tighter than both |
| `==` `!=` `<` `<=` `>` `>=` | text, character by character; numbers where one side is a number or `number(...)` |
| `in ["I", "O"]`, `not in [...]` | one of these |
| `matches "[0-9]+"`, `not matches` | the whole value, by a pattern in RE2's syntax |
| `contains`, `starts with`, `ends with`, each after `not` too | parts of a value |
| `is empty`, `is not empty` | absent and empty are the same |
| `is null`, `is not null` | the delete marker `""` |
| `exists`, `not exists` | of a segment: the message has one; of a place: it is not empty |
| `any OBX-8 in ["HH", "LL"]`, `all OBX-11 == "F"` | over every segment and repetition of a path |
| `any OBX (OBX-2 == "NM" and OBX-8 == "HH")` | of one and the same segment |

| function | gives |
|---|---|
"""


def render() -> str:
    """The whole page."""
    kinds = load_kinds()
    parts = [HEAD, "## Site\n", *_model(SiteSettings, "segmill.yaml")]
    parts += ["## Channel\n", *_model(ChannelFile, "channel.yaml")]
    parts += ["## Sources\n", "What stands under `listen`: one of these, by its name.\n"]
    for name, source in kinds.sources.items():
        parts += [f"### {name} source\n", *_model(source.model, name)]
    parts += [
        "## Steps\n",
        _about(StepEntry),
        "Every step may also have:\n",
        *_model(StepCommon, "a step", about=False),
    ]
    for name, step in kinds.steps.items():
        parts += [f"### {name}\n", *_model(step.model, name)]
    parts += ["## Destinations\n", _about(DeliveryPolicy), *_model(DeliveryPolicy, "a destination", about=False)]
    for name, sink in kinds.sinks.items():
        parts += [f"### {name}\n", *_model(sink.model, name)]
    parts += ["## Profiles\n", *_model(ProfileFile, "a profile", told={ProfileBody})]
    parts += [PATHS, EXPRESSIONS + "".join(f"| `{f.usage}` | {_cell(f.summary)} |\n" for f in FUNCTIONS.values())]
    parts += ["## Metrics\n", "At `/metrics`. Labels come from the configuration or from a closed set.\n", _metrics()]
    parts += ["## Codes\n", "`segmill explain CODE` tells the long story.\n", _codes()]
    parts += ["## Commands\n", "`segmill COMMAND --help` has every option and examples.\n", _commands()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


# -- models -----------------------------------------------------------------------------------------


def _model(
    model: type[ConfigModel], title: str, *, about: bool = True, told: set[type[ConfigModel]] | None = None
) -> list[str]:
    """The model's own words, a table of its keys, then the models that its keys hold; those in `told` only once."""
    parts = [_about(model)] if about else []
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    inner: list[tuple[str, type[ConfigModel]]] = []
    for key, info in model.known_keys().items():
        rows.append(f"| `{key}` | {_value(info)} | {_default(info)} | {_cell(info.description or '')} |")
        inner += [(key, held) for held in _models_in(info.annotation)]
    parts.append("\n".join(rows) + "\n")
    for key, held in dict.fromkeys(inner):
        if told is not None:
            if held in told:
                continue
            told.add(held)
        parts += [f"**`{key}`** of {title}:\n", *_model(held, f"`{key}`", told=told)]
    return parts


def _about(thing: type[Any]) -> str:
    text = re.sub(r"\s*\((?:[a-z0-9]+\.md|DESIGN)[^)]*\)", "", (thing.__doc__ or "").strip())
    return "\n".join(line.strip() for line in text.split("\n")) + "\n"


def _value(info: FieldInfo) -> str:
    for part in info.metadata:
        schema = getattr(part, "json_schema", None)
        if isinstance(schema, dict) and (told := _of_schema(schema)):
            return told
    return _of_type(info.annotation)


def _of_schema(schema: Mapping[str, Any]) -> str:
    described = str(schema.get("description", ""))
    if short := next((word for start, word in SHORT.items() if described.startswith(start)), ""):
        return short
    if described:
        return _cell(described)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        return "see below"
    if schema.get("type") == "array":
        return "list"
    return " or ".join(filter(None, (_of_schema(option) for option in schema.get("anyOf", ()))))


def _of_type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for part in arguments[1:]:
            schema = getattr(part, "json_schema", None)
            if isinstance(schema, dict) and (told := _of_schema(schema)):
                return told
        return _of_type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_of_type(part) for part in arguments if part is not type(None))
    if origin is tuple:
        return f"list: {_of_type(arguments[0])}"
    if origin is dict:
        return ": ".join(filter(None, map(_of_type, arguments)))
    return _of_class(annotation)


def _of_class(kind: Any) -> str:
    if not isinstance(kind, type):
        return ""
    if issubclass(kind, MarkedText):
        return _of_schema(kind.json_schema) or "text"
    words: dict[type, str] = {
        bool: "`true` or `false`",
        int: "whole number",
        str: "text",
        StepEntry: "a step",
        Destination: "a destination",
        Listen: "a [source](#sources)",
        ConnectBack: "keys of an `mllp` destination, of every destination, and `accept_ack`: `AL` or `NE`",
    }
    return words.get(kind, "see below" if issubclass(kind, ConfigModel) else "")


def _models_in(annotation: Any) -> Iterable[type[ConfigModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ConfigModel):
        return [annotation]
    return [held for part in get_args(annotation) for held in _models_in(part)]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or isinstance(value, ConfigModel) or value in ("", (), {}):
        return ""
    return f"`{_written(value, info)}`"


def _written(value: Any, info: FieldInfo) -> str:
    """A default as a file would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    if _is(info, Duration) and isinstance(value, float):
        return _duration(value)
    if _is(info, Percent) and isinstance(value, float):
        return f"{value:.0%}"
    if _is(info, Size) and isinstance(value, int):
        return _size(value)
    policy = getattr(value, "policy", None)
    return str(policy) if policy is not None else str(value)


def _is(info: FieldInfo, marked: Any) -> bool:
    """Whether the field is of an annotated kind such as Duration, by what marks that kind."""
    marks = get_args(marked)[1:]
    nested = [mark for part in get_args(info.annotation) for mark in get_args(part)[1:]]
    return any(mark is part for mark in marks for part in (*info.metadata, *nested))


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0 and not (unit != "s" and seconds < 2 * size):
            return f"{seconds / size:g}{unit}"
    return "0" if not seconds else f"{seconds * 1000:g}ms"


def _size(size_bytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("MB", 10**6), ("KB", 1000)):
        if size_bytes >= size and size_bytes % size == 0:
            return f"{size_bytes // size}{unit}"
    return str(size_bytes)


# -- what is not a model ----------------------------------------------------------------------------


def _metrics() -> str:
    from engine.adapters.metrics import PrometheusMeter

    meter = PrometheusMeter()
    # Some are there only once something was measured.
    meter.is_console_up = True
    meter.retention_pass(0.0)
    meter.disk(0, 0)
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for family in meter.registry.collect():
        if not family.name.startswith("segmill_"):
            continue
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {_cell(family.documentation)} |")
    return "\n".join(rows) + "\n\nBeside these `process_*` and `python_info`, as every Python program has them.\n"


def _codes() -> str:
    rows = [f"| {code} | {_cell(story.title)} |" for code, story in sorted(CODES.items())]
    return "\n".join(["| code | |", "|---|---|", *rows]) + "\n"


def _commands() -> str:
    import click

    from engine.cli.main import segmill

    context = click.Context(segmill, info_name="segmill")
    rows = ["| command | |", "|---|---|"]
    for name in segmill.list_commands(context):
        command = segmill.get_command(context, name)
        assert command is not None, "a command that is listed is there"
        rows.append(f"| `segmill {name}` | {_cell(command.get_short_help_str(limit=200))} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")
