"""A message as JSON to look at: the same as json_form, with the names of the standard beside the numbers.

    {"segment":"PID","title":"Patient Identification","3 Patient Identifier List":{"1 ID Number":"77"}}

It is not read back: a name says nothing that the number does not, and differs between versions.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from engine.hl7.convert.json_form import to_json
from engine.hl7.dictionary import VARIES, DataTypeDef, Dictionary, load
from engine.hl7.message import Message

FORMAT: Final = "hl7v2-json-named"


def to_named_json(message: Message) -> bytes:
    """The message with names, in UTF-8, a segment a line. Raises UnencodableText as `Message.to_bytes` does."""
    data = json.loads(to_json(message))
    dictionary = load(message.get("MSH-12") or "")
    head = {"format": FORMAT, "standard": dictionary.version, "charset": data["charset"]}
    lines = [_dump(_segment(segment, dictionary)) for segment in data["segments"]]
    return (_dump(head)[:-1] + ',"segments":[\n' + ",\n".join(lines) + "\n]}\n").encode()


def _dump(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _segment(segment: dict[str, Any], dictionary: Dictionary) -> dict[str, Any]:
    name = segment.pop("segment")
    segment.pop("base64", None)
    known = dictionary.segment(name)
    made: dict[str, Any] = {"segment": name}
    if known is not None:
        made["title"] = known.title
    for key, item in segment.items():
        field = known.field(int(key)) if known is not None else None
        data_type = field.data_type if field is not None else ""
        if data_type == VARIES and name == "OBX":
            said = segment.get("2", "")
            data_type = said if isinstance(said, str) else ""
        made[f"{key} {field.name}" if field is not None else key] = _field(item, data_type, dictionary)
    return made


def _field(item: Any, data_type: str, dictionary: Dictionary) -> Any:
    if isinstance(item, list):
        return [_value(one, dictionary.data_type(data_type), dictionary) for one in item]
    return _value(item, dictionary.data_type(data_type), dictionary)


def _value(item: Any, definition: DataTypeDef | None, dictionary: Dictionary) -> Any:
    if isinstance(item, str):
        return item
    if "raw" in item:
        return item["value"]
    made = {}
    for key, part in item.items():
        component = definition.component(int(key)) if definition is not None else None
        inner = dictionary.data_type(component.data_type) if component is not None else None
        made[f"{key} {component.name}" if component is not None else key] = _value(part, inner, dictionary)
    return made
