"""What an editor suggests where a value is a text with a meaning: HL7 paths, segments, types, actions, destinations.

In a model such a text carries `x-suggest`. Suggestions allow nothing and forbid nothing: what was allowed before is.
They are an `enum` with `enumDescriptions`, which yaml-language-server completes and shows on hover; keys that are
paths are `properties`, for the same reason. A choice of a thousand constants says the same and takes it seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from engine.hl7.dictionary import Dictionary, load

Schema = dict[str, Any]

VERSION: Final = "2.5.1"
"""Of the names that are suggested; paths of any other version are as good."""
SEGMENTS: Final = ("MSH", "EVN", "PID", "PD1", "NK1", "PV1", "PV2", "AL1", "DG1", "IN1", "MRG")
ORDERS: Final = ("ORC", "OBR", "OBX", "NTE", "TXA", "SCH", "AIS", "FT1", "SPM", "TQ1", "IPC")
WITH_COMPONENTS: Final = ("MSH", "PID", "PV1", "ORC", "OBR", "OBX", "MRG")
MOST_COMPONENTS: Final = 5

_TYPES: Final = {
    "ADT^A01": "admit",
    "ADT^A02": "transfer",
    "ADT^A03": "discharge",
    "ADT^A04": "register",
    "ADT^A08": "update",
    "ADT^A11": "cancel admit",
    "ADT^A31": "update a person",
    "ADT^A40": "merge patients",
    "ORM^O01": "order",
    "OMG^O19": "general clinical order",
    "OMI^O23": "imaging order",
    "OML^O21": "laboratory order",
    "ORU^R01": "results",
    "SIU^S12": "new appointment",
    "MDM^T02": "document",
    "DFT^P03": "charges",
    "VXU^V04": "vaccination",
    "ADT^*": "every event of ADT",
    "ORU^*": "every event of ORU",
    "*": "every message",
}
_ACTIONS: Final = {
    "hold": "set it aside for a person and go on with the next",
    "retry": "again, later, in its place, as `retry` says",
    "retry(3)": "three attempts, then hold",
    "retry(2h) then skip": "for two hours, then give it up",
    "skip": "give it up; it stays in the store",
    "stop": "the lane stands still until a person releases it",
}
_ANSWERS: Final = {
    "processed": "after the steps ran, and message and deliveries are stored",
    "stored": "once the message is stored, before the steps",
}


def with_suggestions(schema: Schema, destinations: Sequence[str] = ()) -> Schema:
    """The schema with suggestions. `destinations`: names that the site has, suggested for routes."""
    definitions: Mapping[str, list[tuple[str, str]]] = {
        "path": [*_paths()],
        "segment": [*_segments()],
        "type": [*_TYPES.items()],
        "action": [
            *_ACTIONS.items(),
            *((f"redirect({name})", "this destination takes over") for name in destinations),
        ],
        "answer": [
            *_ANSWERS.items(),
            *((f"delivered({name})", "with the answer of this destination") for name in destinations),
        ],
        "destination": [(name, "a destination of this site") for name in destinations],
    }
    made = _suggesting(schema, {kind for kind, options in definitions.items() if options})
    assert isinstance(made, dict)
    for kind, options in definitions.items():
        if options:
            made["definitions"][f"suggest-{kind}"] = {
                "enum": [text for text, _ in options],
                "enumDescriptions": [about for _, about in options],
            }
    made["definitions"]["suggest-keys"] = {"properties": {path: {"description": about} for path, about in _paths()}}
    return made


def _suggesting(node: Any, kinds: set[str]) -> Any:
    if isinstance(node, list):
        return [_suggesting(item, kinds) for item in node]
    if not isinstance(node, dict):
        return node
    keys = node.get("propertyNames")
    made = {key: _suggesting(value, kinds) for key, value in node.items() if key not in ("x-suggest", "propertyNames")}
    if isinstance(keys, dict):
        made["propertyNames"] = {key: value for key, value in keys.items() if key != "x-suggest"}
        if keys.get("x-suggest") == "path":
            made["allOf"] = [{"$ref": "#/definitions/suggest-keys"}]
            # Of a key that is suggested the editor shows what it is, and not what any value is.
            made["additionalProperties"].pop("description", None)
    kind = node.get("x-suggest")
    if kind in kinds:
        # Texts that look like flags are none of these, and an editor that sees `boolean` suggests true and false.
        allowed = {key: made.pop(key) for key in ("type", "pattern") if key in made}
        if isinstance(allowed.get("type"), list):
            allowed["type"] = [one for one in allowed["type"] if one != "boolean"]
        made["anyOf"] = [{"$ref": f"#/definitions/suggest-{kind}"}, allowed]
    return made


@cache
def _paths() -> tuple[tuple[str, str], ...]:
    return tuple(_named(load(VERSION)))


def _named(dictionary: Dictionary) -> Iterator[tuple[str, str]]:
    """Fields of the segments that most messages have, and the first components of those most asked for."""
    for name in (*SEGMENTS, *ORDERS):
        segment = dictionary.segment(name)
        for field in segment.fields if segment is not None else ():
            path = f"{name}-{field.number}"
            if path in ("MSH-1", "MSH-2"):
                continue  # the delimiters, which nothing may write
            yield path, f"{field.name} ({field.data_type})"
            data_type = dictionary.data_type(field.data_type) if name in WITH_COMPONENTS else None
            for component in data_type.components[:MOST_COMPONENTS] if data_type is not None else ():
                yield f"{path}.{component.number}", f"{field.name}: {component.name} ({component.data_type})"


def _segments() -> Iterator[tuple[str, str]]:
    dictionary = load(VERSION)
    for name in (*SEGMENTS, *ORDERS):
        segment = dictionary.segment(name)
        if segment is not None:
            yield name, f"{name}: {len(segment.fields)} fields"
