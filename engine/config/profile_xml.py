"""HL7 conformance profiles in XML, the message-profile format (root HL7v2xConformanceProfile), as files of our own.

HL7 v2.5.1 section 2.12; its DTD and schema are what HAPI's ProfileParser and hl7apy's profile parser read. What a
profile says as the standard of its version does is left out, so that the file shows what is different.

The XML comes from elsewhere: no document type, no entities but the five of XML, and bounds on bytes, depth and
elements (reliability.md SEC). `read_profile` raises ProfileXmlError and nothing else for what is in it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from engine.config import xml_tree
from engine.config.profile_write import Document
from engine.config.xml_tree import Bounds, Element, XmlError
from engine.hl7.dictionary import ComponentDef, DataTypeDef, Dictionary, FieldDef, load
from engine.hl7.dictionary import Group as StandardGroup
from engine.hl7.dictionary import SegmentRef as StandardRef

MAX_BYTES: Final = 20_000_000
MAX_DEPTH: Final = 40
MAX_ELEMENTS: Final = 500_000
_BOUNDS: Final = Bounds(MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, 10_000, "profile")

_ROOT: Final = "HL7v2xConformanceProfile"
_USAGES: Final = {"R": "R", "RE": "RE", "O": "O", "X": "X", "W": "X", "B": "O", "C": "C", "CE": "CE"}
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{2,40}")
_PLACE: Final = r"(?P<place>[A-Z][A-Z0-9]{2}-[0-9]{1,3}(?:\.[0-9]{1,3}){0,2})"
_QUOTED: Final = r"['\"](?P<value>[^'\"\\]{1,40})['\"]"
_PREDICATES: Final = (
    (
        rf"(?:only )?(?:if|when) {_PLACE} (?:\([^)]*\) )?is (?:not empty|valued|populated|present)",
        "{place} is not empty",
    ),
    (
        rf"(?:only )?(?:if|when) {_PLACE} (?:\([^)]*\) )?is (?:empty|not valued|not populated|not present)",
        "{place} is empty",
    ),
    (
        rf"(?:only )?(?:if|when) {_PLACE} (?:\([^)]*\) )?(?:is|=|==|equals|is equal to) {_QUOTED}",
        '{place} == "{value}"',
    ),
)


class ProfileXmlError(ValueError):
    """The XML is no message profile, or none that is read here. A sentence, with the line where there is one."""


@dataclass(slots=True, frozen=True)
class Imported:
    """A profile's file to be written, and what in the XML a person must see to, each with its place."""

    document: Document
    notes: tuple[str, ...]


def read_profile(raw: bytes) -> Imported:
    """The profile in `raw`. Raises ProfileXmlError."""
    root = parse(raw)
    if root.tag != _ROOT:
        raise ProfileXmlError(f"line {root.line}: the root is {root.tag[:60]}, not {_ROOT}: this is no message profile")
    definitions = list(root.all("HL7v2xStaticDef"))
    if not definitions:
        raise ProfileXmlError(f"line {root.line}: there is no HL7v2xStaticDef in it, so nothing to import")
    return _Importer(root).document(definitions)


def parse(raw: bytes) -> Element:
    """The tree of an XML text. Raises ProfileXmlError for what is not well-formed, too large, or has a DOCTYPE."""
    try:
        return xml_tree.parse(raw, _BOUNDS)
    except XmlError as error:
        raise ProfileXmlError(str(error)) from None


@dataclass(slots=True, frozen=True)
class _Placed:
    """A segment where it stands: the groups around it, from the outside."""

    element: Element
    groups: tuple[str, ...]
    standard: StandardRef | None

    @property
    def name(self) -> str:
        return self.element.get("Name")


class _Importer:
    """One file on its way; `notes` gathers what cannot be carried over as it stands."""

    def __init__(self, root: Element) -> None:
        self._version = root.get("HL7Version")
        self._dictionary: Dictionary = load(self._version)
        meta = root.first("MetaData")
        name = (meta.get("Name") if meta is not None else "") or root.get("Identifier")
        self._document = Document({}, "Imported from a conformance profile in XML by: segmill profile import.")
        self._document.data["description"] = (
            f"{name or 'Imported'}: what differs from version {self._dictionary.version}"
        )
        if re.fullmatch(r"2\.[1-9](\.[0-9])?", self._version):
            self._document.data["version"] = self._version
        self._document.data["mode"] = "warn"
        self._notes: list[str] = []

    def document(self, definitions: list[Element]) -> Imported:
        messages: dict[str, Any] = {}
        for definition in definitions:
            code, event = definition.get("MsgType"), definition.get("EventType")
            if not re.fullmatch(r"[A-Z][A-Z0-9]{2}", code):
                raise ProfileXmlError(f"line {definition.line}: MsgType is not a message type")
            name = f"{code}^{event}" if re.fullmatch(r"[A-Z0-9]{1,3}", event) else f"{code}^*"
            messages[name] = self._message(definition, code, event, ("messages", name))
        self._document.data["messages"] = messages
        return Imported(self._document, tuple(self._notes))

    def _message(self, definition: Element, code: str, event: str, path: tuple[str, ...]) -> dict[str, Any]:
        chosen = self._dictionary.structure_of(code, event, definition.get("MsgStructID")).id
        structure = self._dictionary.structure(chosen) if chosen else None
        children = structure.children if structure is not None else ()
        segments: dict[str, Any] = {}
        placed = list(self._walk(definition, (), children, segments, path))
        counts: dict[str, int] = {}
        for one in placed:
            counts[one.name] = counts.get(one.name, 0) + 1
        for name in _names(children):  # a segment of a group that stands elsewhere too must not be meant there
            counts[name] = counts.get(name, 0) + 1
        fields: dict[str, Any] = {}
        for one in placed:
            within = f"{one.groups[-1]}." if counts[one.name] > 2 and one.groups else ""
            entry = self._occurrence(one.element, one.standard, (*path, "segments", within + one.name))
            if one.name.startswith("Z"):
                entry = {"title": one.element.get("LongName") or one.name, **entry}
                entry["fields"] = self._z_fields(one.element, (*path, "segments", within + one.name, "fields"))
            if entry:
                segments[within + one.name] = entry
            if not one.name.startswith("Z"):
                fields |= self._fields(one.element, within, (*path, "fields"))
        made = {"fields": fields, "segments": segments}
        return {key: value for key, value in made.items() if value}

    def _walk(
        self,
        parent: Element,
        groups: tuple[str, ...],
        standard: tuple[StandardGroup | StandardRef, ...],
        segments: dict[str, Any],
        path: tuple[str, ...],
    ) -> Iterator[_Placed]:
        """The segments in order; of groups only their own rules are put into `segments`."""
        for child in parent.all("Segment", "SegGroup"):
            name = child.get("Name").rpartition(".")[2]
            if not _NAME.fullmatch(name):
                raise ProfileXmlError(f"line {child.line}: a {child.tag} without a name that can be one")
            known = next((one for one in _flat(standard) if one.name == name), None)
            if child.tag == "Segment":
                yield _Placed(child, groups, known if isinstance(known, StandardRef) else None)
                continue
            group = known if isinstance(known, StandardGroup) else None
            if entry := self._occurrence(child, group, (*path, "segments", name)):
                segments[name] = entry
            yield from self._walk(child, (*groups, name), group.children if group is not None else (), segments, path)

    # -- one thing ------------------------------------------------------------------------------

    def _occurrence(
        self, element: Element, standard: StandardGroup | StandardRef | None, path: tuple[str, ...]
    ) -> dict[str, Any]:
        """Usage and cardinality of a segment or group, as far as they differ."""
        entry = self._usage(element, "R" if standard is not None and standard.minimum else "O", path)
        bounds = _cardinality(element)
        if bounds and (standard is None or bounds != f"{standard.minimum}..{_most(standard.maximum)}"):
            entry["cardinality"] = bounds
        return entry

    def _usage(self, element: Element, standard: str, path: tuple[str, ...]) -> dict[str, Any]:
        usage = _USAGES.get(element.get("Usage").upper(), "")
        if not usage or usage == standard:
            return {}
        if usage not in ("C", "CE"):
            return {"usage": usage}
        predicate = element.first("Predicate")
        text = " ".join((predicate.text if predicate is not None else "").split())
        if condition := translated(text):
            return {"usage": usage, "when": condition}
        told = text[:120] or "none is given"
        self._notes.append(f"{path[-1]}: its usage {usage} depends on a condition in words, now a comment: {told}")
        self._document.comments[path] = f"{usage}: {text or 'no condition is given'}"
        return {"usage": "O"}

    def _fields(self, segment: Element, within: str, path: tuple[str, ...]) -> dict[str, Any]:
        name = segment.get("Name")
        definition = self._dictionary.segment(name)
        found: dict[str, Any] = {}
        for number, element in enumerate(segment.all("Field"), 1):
            if name == "MSH" and number <= 2:
                continue  # the delimiters are read by everyone as they stand
            standard = definition.field(number) if definition is not None else None
            place = f"{within}{name}-{number}"
            found |= self._place(element, standard, place, path)
        return found

    def _z_fields(self, segment: Element, path: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, element in enumerate(segment.all("Field"), 1):
            rules = self._place(element, None, str(number), path)
            own = rules.pop(str(number), {})
            data_type = own.pop("data_type", "ST")
            found[str(number)] = {"name": element.get("Name") or f"field {number}", "data_type": data_type, **own}
            found |= rules
        return found

    def _place(
        self, element: Element, standard: FieldDef | ComponentDef | None, place: str, path: tuple[str, ...]
    ) -> dict[str, Any]:
        """What is said of a field, component or subcomponent, and of what is below it, where that is anything."""
        entry = self._usage(element, standard.usage if standard is not None else "O", (*path, place))
        if _USAGES.get(element.get("Usage").upper()) == "X":
            return {place: entry} if entry else {}
        if element.tag == "Field":
            bounds = _cardinality(element)
            usual = f"{int(standard.usage == 'R')}..{_most(standard.maximum)}" if isinstance(standard, FieldDef) else ""
            if bounds and bounds != usual:
                entry["cardinality"] = bounds
        length = element.get("Length")
        if re.fullmatch(r"[0-9]{1,6}", length) and int(length) and (standard is None or int(length) != standard.length):
            entry["length"] = int(length)
        entry |= self._table(element, standard, place)
        if constant := element.get("ConstantValue"):
            entry["constant"] = constant
        data_type = element.get("Datatype").upper()
        if re.fullmatch(r"[A-Z][A-Z0-9]{1,2}", data_type) and (standard is None or data_type != standard.data_type):
            entry["data_type"] = data_type
        found = {place: entry} if entry else {}
        known: DataTypeDef | None = self._dictionary.data_type(data_type) if data_type else None
        for number, child in enumerate(element.all("Component", "SubComponent"), 1):
            below = known.component(number) if known is not None else None
            found |= self._place(child, below, f"{place}.{number}", path)
        return found

    def _table(self, element: Element, standard: FieldDef | ComponentDef | None, place: str) -> dict[str, str]:
        table = re.sub(r"^HL7[-_]?", "", element.get("Table"), flags=re.IGNORECASE)
        if not table:
            return {}
        if not re.fullmatch(r"[0-9]{1,4}", table):
            self._notes.append(f"{place}: its table {table[:40]!r} is not one of HL7's; list its codes under values")
            return {}
        number = table.zfill(4)
        return {} if standard is not None and standard.table == number else {"table": number}


def translated(predicate: str) -> str:
    """A condition of ours for a predicate in one of the usual forms of words, '' for any other."""
    text = predicate.strip().rstrip(".")
    text = re.sub(
        r"^(this|the) (field|component|element|segment) is (required|valued) (?=if|when)", "", text, flags=re.IGNORECASE
    )
    for pattern, condition in _PREDICATES:
        found = re.fullmatch(pattern, text, re.IGNORECASE)
        if found is not None:
            named = found.groupdict()
            return condition.format(place=named["place"].upper(), value=named.get("value", ""))
    return ""


def _names(children: tuple[StandardGroup | StandardRef, ...]) -> Iterator[str]:
    """The names of all segments of a structure, as often as they stand in it."""
    for child in children:
        if isinstance(child, StandardGroup):
            yield from _names(child.children)
        else:
            yield child.name


def _flat(children: tuple[StandardGroup | StandardRef, ...]) -> Iterator[StandardGroup | StandardRef]:
    """Children, and those of choices among them, which message profiles have no level for."""
    for child in children:
        yield child
        if isinstance(child, StandardGroup) and child.is_choice:
            yield from _flat(child.children)


def _cardinality(element: Element) -> str:
    """`0..3` of Min and Max, '' where they are not given; nothing of what must not be there."""
    least, most = element.get("Min"), element.get("Max")
    if element.get("Usage").upper() in ("X", "W") or not most:
        return ""
    if not (re.fullmatch(r"[0-9]{1,6}", least or "0") and re.fullmatch(r"[0-9]{1,6}|\*", most)):
        raise ProfileXmlError(f"line {element.line}: Min and Max are not numbers")
    least_number = max(int(least or 0), int(element.get("Usage").upper() == "R"))
    if most != "*" and int(most) < max(1, least_number):
        raise ProfileXmlError(f"line {element.line}: Max is below Min")
    return f"{least_number}..{most if most == '*' else int(most)}"


def _most(maximum: int | None) -> str:
    return "*" if maximum is None else str(maximum)
