"""What differs between two events for a worklist, attribute by attribute: for cases, and for a replay's plan."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.pipeline.compare import Change
from engine.worklist.attributes import ITEM, PARTS, STEP

_KEYWORDS: Final = {f"{one.tag:08X}": one.keyword for one in (*PARTS.values(), *STEP.values(), *ITEM.values())}


def event_changes(before: bytes, after: bytes) -> list[Change] | None:
    """Every place that differs, by names and by numbers from 1; None where one of them is no event."""
    old, new = _event(before), _event(after)
    if old is None or new is None:
        return None
    return list(_changes("", old, new))


def _event(body: bytes) -> Mapping[str, Any] | None:
    if not body.startswith(b"{"):
        return None
    try:
        made = json.loads(body)
    except ValueError:
        return None
    return made if isinstance(made, dict) and isinstance(made.get("event"), str) else None


def _changes(place: str, old: object, new: object) -> Iterator[Change]:
    old, new = _plain(old), _plain(new)
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = _KEYWORDS.get(key, key)
            yield from _changes(f"{place}.{inner}" if place else inner, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            left = old[number] if number < len(old) else None
            right = new[number] if number < len(new) else None
            yield from _changes(f"{place}[{number + 1}]", left, right)
    else:
        yield Change(place, _shown(old), _shown(new))


def _plain(value: object) -> Any:
    """An attribute as its values alone; one value stands for a list of it."""
    if isinstance(value, Mapping) and "vr" in value:
        values = value.get("Value", [])
        return values[0] if len(values) == 1 and not isinstance(values[0], Mapping) else values
    return value


def _shown(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
