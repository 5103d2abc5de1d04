"""What a conformance profile in XML says something of: the source of a profile file, kept beside it.

No channel reads it. Who changes a field wants to know of it all the same, as `segmill profile import` will be run on
it again.
"""

from collections.abc import Iterator
from typing import Final

from engine.config.profile_xml import parse
from engine.config.uses import Use
from engine.config.xml_tree import Element

_ROOT: Final = "HL7v2xConformanceProfile"
_GROUPS: Final = ("HL7v2xStaticDef", "SegGroup", "Segment")
_LEVELS: Final = ("Field", "Component", "SubComponent")
_NOTHING: Final = ("", "O", "B")
"""Usages that ask nothing."""


def uses_in_xml(raw: bytes, name: str, shown: str) -> list[Use]:
    """The places that a profile asks something of; () where the file is no such profile.

    `name` is the file in the channel's folder, `shown` how people call it. Raises ProfileXmlError for what is no XML.
    """
    root = parse(raw)
    if root.tag != _ROOT:
        return []
    found = [(path, element) for definition in root.all("HL7v2xStaticDef") for path, element in _of_groups(definition)]
    return [Use("field", path, f"{name} (not read)", shown, element.line, 1) for path, element in found]


def _of_groups(around: Element) -> Iterator[tuple[str, Element]]:
    for child in around.all(*_GROUPS):
        if child.tag != "Segment":
            yield from _of_groups(child)
            continue
        segment = child.get("Name")
        if child.get("Usage") not in _NOTHING:
            yield segment, child
        yield from _below(child, segment, 0)


def _below(around: Element, path: str, level: int) -> Iterator[tuple[str, Element]]:
    mark = "-" if level == 0 else "."
    for number, child in enumerate(around.all(_LEVELS[level]), 1):
        place = f"{path}{mark}{number}"
        if child.get("Usage") not in _NOTHING or child.get("ConstantValue"):
            yield place, child
        if level + 1 < len(_LEVELS):
            yield from _below(child, place, level + 1)
