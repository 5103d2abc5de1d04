"""JSON Schema of channel.yaml, segmill.yaml and profiles, for editors: made from the models, so that both say the same.

Draft-07, the newest that yaml-language-server reads. An editor resolves scalars as YAML 1.2 does, so `port: 2576` is
a number and `PID-8: 1` too; here the one must be a number and the other a text, and both pass. Any value may be
a reference (`${NAME}`), which is replaced before it is checked.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.config.answers import ConnectBackCommon
from engine.config.base import ConfigModel
from engine.config.channel import ChannelFile
from engine.config.entries import DeliveryPolicy, StepCommon
from engine.config.kinds import Kinds
from engine.config.profile import ProfileFile
from engine.config.settings import SiteSettings
from engine.config.suggest import with_suggestions
from engine.config.units import DURATION_PATTERN, PERCENT_PATTERN, SIZE_PATTERN, format_duration, format_size

Schema = dict[str, Any]

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_REFERENCE: Final = r"\$\{"
_SCALARS: Final = ["string", "number", "boolean"]


def channel_schema(kinds: Kinds, destinations: Sequence[str] = ()) -> Schema:
    """The schema of channel.yaml with these steps, sinks and sources; `destinations` are names to suggest."""
    schema = _of_model(ChannelFile, "")
    definitions = schema.setdefault("definitions", {})
    definitions["Step"] = _step(kinds, definitions)
    definitions["Destination"] = _destination(kinds, definitions)
    definitions["Listen"] = _listen(kinds, definitions)
    definitions["ConnectBack"] = _connect_back(kinds)
    return with_suggestions({"$schema": DRAFT, "title": "A Segmill channel", **schema}, destinations)


def site_schema() -> Schema:
    """The schema of segmill.yaml."""
    return {"$schema": DRAFT, "title": "A Segmill site", **_of_model(SiteSettings, "")}


def profile_schema() -> Schema:
    """The schema of a profile's file."""
    return {"$schema": DRAFT, "title": "A Segmill profile", **_of_model(ProfileFile, "")}


def _step(kinds: Kinds, definitions: Schema) -> Schema:
    """One entry of a list of steps: the key that names the kind decides what else there is."""
    common = _of_model(StepCommon, "")["properties"]
    schemas = {name: _taken_in(kind.model, f"step-{name}-", definitions) for name, kind in sorted(kinds.steps.items())}
    known = {key for schema in schemas.values() for key in schema["properties"]} | set(common)
    for name, schema in schemas.items():
        schema["properties"] = {**common, **schema["properties"]}
        definitions[f"step-{name}"] = schema
    return {
        "type": "object",
        "description": "A step: one of " + ", ".join(schemas),
        "properties": {name: {"description": schema.get("description", "")} for name, schema in schemas.items()},
        "propertyNames": {"enum": sorted(known)},
        "anyOf": [{"required": [name]} for name in schemas],
        "allOf": [{"if": {"required": [name]}, "then": {"$ref": f"#/definitions/step-{name}"}} for name in schemas],
    }


def _destination(kinds: Kinds, definitions: Schema) -> Schema:
    """One destination: a sink, and the policy beside it."""
    policy = _taken_in(DeliveryPolicy, "", definitions)
    sinks = {}
    for name, kind in sorted(kinds.sinks.items()):
        definitions[f"sink-{name}"] = _taken_in(kind.model, f"sink-{name}-", definitions)
        sinks[name] = {"$ref": f"#/definitions/sink-{name}"}
    return {
        "type": "object",
        "description": "A destination: one of " + ", ".join(sinks),
        "properties": {**sinks, **policy["properties"]},
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in sinks],
    }


def _listen(kinds: Kinds, definitions: Schema) -> Schema:
    """Where messages come from: one source."""
    sources = {}
    for name, kind in sorted(kinds.sources.items()):
        definitions[f"source-{name}"] = _taken_in(kind.model, f"source-{name}-", definitions)
        sources[name] = {"$ref": f"#/definitions/source-{name}"}
    return {
        "type": "object",
        "description": "A source: one of " + ", ".join(sources),
        "properties": sources,
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in sources],
    }


def _connect_back(kinds: Kinds) -> Schema:
    """An mllp destination's own keys, with the policy and `accept_ack` beside them;"""
    if "mllp" not in kinds.sinks:
        return {"type": "object"}
    mllp = _of_model(kinds.sinks["mllp"].model, "sink-mllp-")
    own = {
        key: {"description": f"{key} of an mllp destination", **value}
        for key, value in mllp["properties"].items()
        if key != "answer"
    }
    common, policy = _of_model(ConnectBackCommon, ""), _of_model(DeliveryPolicy, "")
    return {
        "type": "object",
        "description": "Where application acknowledgements are sent: an mllp destination",
        "properties": {**own, **policy["properties"], **common["properties"]},
        "additionalProperties": False,
        "required": mllp.get("required", []),
    }


def _taken_in(model: type[ConfigModel], prefix: str, definitions: Schema) -> Schema:
    """A model's schema, its own definitions put among the others under a prefix."""
    schema = _of_model(model, prefix)
    definitions.update(schema.pop("definitions", {}))
    return schema


def _of_model(model: type[ConfigModel], prefix: str) -> Schema:
    made = model.model_json_schema(by_alias=True)
    inner = made.pop("$defs", {})
    schema: Schema = _plain(made, prefix)
    if inner:
        schema["definitions"] = {prefix + name: _plain(value, prefix) for name, value in inner.items()}
    return schema


def _plain(schema: Any, prefix: str) -> Any:
    """One schema of pydantic's in draft-07, as an editor can use it."""
    if isinstance(schema, list):
        return [_plain(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "x-definition" in schema:
        return {"$ref": f"#/definitions/{schema['x-definition']}"}
    if "$ref" in schema:
        return _reference(schema, prefix)
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1 and len(schema["anyOf"]) == 2:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return _plain({**choices[0], **rest}, prefix)
    made: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "definitions", "patternProperties"):
            made[key] = {name: _plain(item, prefix) for name, item in value.items()}
            if key == "patternProperties":
                made["additionalProperties"] = False
        elif key in ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "propertyNames", "not"):
            made[key] = _plain(value, prefix)
        elif key == "description":
            made[key] = " ".join(value.split("\n\n")[0].split())
        elif not (key in ("title", "discriminator") or (key == "default" and value is None)):
            made[key] = value
    return _with_references(_with_text_defaults(made))


def _reference(schema: Mapping[str, Any], prefix: str) -> Schema:
    """Draft-07 ignores what stands beside a $ref."""
    target = schema["$ref"].removeprefix("#/$defs/")
    reference = {"$ref": target if target.startswith("#") else f"#/definitions/{prefix}{target}"}
    if "description" not in schema:
        return reference
    return {"description": schema["description"], "allOf": [reference]}


def _with_text_defaults(schema: Schema) -> Schema:
    """Defaults as they would be written in a file: `1m`, not 60.0."""
    default, pattern = schema.get("default"), schema.get("pattern")
    if isinstance(default, dict) and default.get("by_code") == {} and "otherwise" in default:
        schema["default"] = default["otherwise"]  # rules without codes are one word in a file
    if isinstance(default, int | float) and not isinstance(default, bool):
        if pattern == DURATION_PATTERN:
            schema["default"] = format_duration(default)
        elif pattern == SIZE_PATTERN:
            schema["default"] = format_size(int(default))
        elif pattern == PERCENT_PATTERN:
            schema["default"] = f"{round(default * 100)}%"
    if pattern in (DURATION_PATTERN, PERCENT_PATTERN):
        # Their bounds are in seconds or parts of one; the only number that may be written is 0.
        for bound in ("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum"):
            schema.pop(bound, None)
        if pattern == DURATION_PATTERN:
            schema |= {"minimum": 0, "maximum": 0}
    return schema


def _with_references(schema: Schema) -> Schema:
    """Lets a scalar also be a `${...}`, and a text look like a number."""
    kind = schema.get("type")
    if "enum" in schema and kind == "string":
        rest = {key: value for key, value in schema.items() if key not in ("enum", "type")}
        return {**rest, "anyOf": [{"enum": schema["enum"]}, {"type": "string", "pattern": _REFERENCE}]}
    if "pattern" in schema:
        return {**schema, "pattern": f"{schema['pattern']}|{_REFERENCE}"}
    if kind in ("integer", "boolean"):
        return {**schema, "type": [kind, "string"], "pattern": _REFERENCE}
    if kind == "string" and "const" not in schema:
        return {**schema, "type": list(_SCALARS)}
    return schema
