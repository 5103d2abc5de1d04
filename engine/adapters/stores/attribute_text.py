"""Attributes of an item out of the JSON that a store keeps of them, no more of it read than is asked for."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from engine.worklist.attributes import ITEM, SPS, STEP, Attribute, attribute_in
from engine.worklist.item import Attributes
from engine.worklist.json_form import from_dicom_json

MOST_KNOWN: Final = 2048
"""Items whose attributes stay read, of some ten kilobytes each."""


class Lazy(Mapping[str, Any]):
    """Attributes out of their JSON, each when it is asked for: a query looks at two or three of forty."""

    __slots__ = ("_found", "_json", "_made", "_sequence", "_text")

    def __init__(self, text: str, json_: Mapping[str, Any] | None = None, sequence: str = "") -> None:
        self._text = text
        self._json = json_
        self._sequence = sequence
        self._found: dict[str, Any] = {}
        self._made: Attributes | None = None

    @property
    def _elements(self) -> Mapping[str, Any]:
        if self._json is None:
            self._json = json.loads(self._text)
        return self._json

    def _read(self) -> Attributes:
        if self._made is None:
            self._made = from_dicom_json(self._elements, self._sequence)
        return self._made

    def __getitem__(self, key: str) -> Any:
        if self._made is not None:
            return self._made[key]
        if key not in self._found:
            tag = f"{attribute_in(self._sequence, key).tag:08X}"
            element = self._elements[tag]
            if key == SPS:
                self._found[key] = tuple(Lazy("", step, SPS) for step in element.get("Value", ()))
            else:
                self._found[key] = from_dicom_json({tag: element}, self._sequence)[key]
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._elements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self._read()) == dict(other)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"<{len(self._elements)} attributes>"


class Matched(Mapping[str, Any]):
    """The same, as a query needs them: what keys match is read, and small; others are read when they are asked for."""

    __slots__ = ("_read", "_sequence", "_text")

    def __init__(self, text: str, sequence: str = "", elements: Mapping[str, Any] | None = None) -> None:
        self._text = text
        self._sequence = sequence
        self._read: dict[str, Any] = {}
        if elements is None:
            elements = json.loads(text)
        for tag, attribute in _MATCHED[sequence]:
            element = elements.get(tag)
            if element is None:
                continue
            values = element.get("Value", ())
            if attribute.vr == "SQ":
                self._read[attribute.keyword] = tuple(Matched(text, SPS, step) for step in values)
            elif attribute.vr == "PN":
                self._read |= from_dicom_json({tag: element}, sequence)
            else:
                self._read[attribute.keyword] = tuple(values)

    @property
    def _whole(self) -> Attributes:
        whole: Attributes = Lazy(self._text)
        if not self._sequence:
            return whole
        (step,) = whole[SPS]  # an item is one step
        assert isinstance(step, Mapping), "a sequence holds items"
        return step

    def __getitem__(self, key: str) -> Any:
        found = self._read.get(key)
        return found if found is not None else self._whole[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    def __eq__(self, other: object) -> bool:
        return self._whole == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"<{len(self)} attributes>"


def _matched(attributes: Mapping[str, Attribute]) -> tuple[tuple[str, Attribute], ...]:
    return tuple((f"{one.tag:08X}", one) for one in attributes.values() if one.matched or one.keyword == SPS)


_MATCHED: Final = {"": _matched(ITEM), SPS: _matched(STEP)}

# Consoles ask for the same items every minute: what a query looked at in them is known by their text, and costs nothing
# the next time. Nothing goes stale by it: an item that changes has another text.
known: Final = lru_cache(MOST_KNOWN)(Matched)
