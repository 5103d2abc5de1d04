"""The XML that Mirth Connect 3.x and 4.x and the Open Integration Engine export: a channel, a group, a whole server.

Roots: `channel`, `list` of channels, `channelGroup` and `list` of groups, `serverConfiguration`; beside these
`codeTemplateLibrary` and its list, in which there is no channel. What versions before 3.5 wrote otherwise (steps and
rules with a map of their data) is read as the later versions write it.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.config import xml_tree
from engine.config.mirth.terms import shown
from engine.config.xml_tree import Bounds, Element, XmlError

MAX_BYTES: Final = 64_000_000
BOUNDS: Final = Bounds(MAX_BYTES, 80, 400_000, MAX_BYTES, "export")

MAPPER: Final = "MapperStep"
BUILDER: Final = "MessageBuilderStep"
SCRIPT: Final = "JavaScriptStep"
ITERATOR: Final = "IteratorStep"
DESTINATION_SET: Final = "DestinationSetFilterStep"
RULE: Final = "RuleBuilderRule"
SCRIPT_RULE: Final = "JavaScriptRule"
ITERATOR_RULE: Final = "IteratorRule"

_OLD_STEPS: Final = {
    "Mapper": MAPPER,
    "Message Builder": BUILDER,
    "JavaScript": SCRIPT,
    "External Script": "ExternalScriptStep",
    "XSLT Step": "XsltStep",
    "Destination Set Filter": DESTINATION_SET,
}
_OLD_RULES: Final = {"Rule Builder": RULE, "JavaScript": SCRIPT_RULE, "External Script": "ExternalScriptRule"}
_OLD_TESTS: Final = {
    "0": "NOT_EQUAL",
    "1": "EQUALS",
    "2": "EXISTS",
    "3": "NOT_EXIST",
    "4": "CONTAINS",
    "5": "NOT_CONTAIN",
}
_OLD_DATA: Final = {
    "Variable": "variable",
    "Mapping": "mapping",
    "DefaultValue": "defaultValue",
    "Message Segment": "messageSegment",
    "Field": "field",
    "Script": "script",
}


class ExportError(ValueError):
    """The file is no export that can be read. A sentence, with the line where there is one."""


def text_of(element: Element | None, *path: str) -> str:
    """The text at the end of a path of tags, without blanks around it; '' where there is none."""
    for tag in path:
        if element is None:
            return ""
        element = element.first(tag)
    return element.text.strip() if element is not None else ""


def child(element: Element, *path: str) -> Element:
    """The element at the end of a path of tags; an empty one where there is none, which stands at `element`'s line."""
    for tag in path:
        element = element.first(tag) or Element(tag, {}, element.line)
    return element


def is_true(element: Element | None, *path: str) -> bool:
    return text_of(element, *path) == "true"


@dataclass(slots=True, frozen=True)
class Part:
    """A filter's rule or a transformer's step."""

    kind: str
    name: str
    element: Element
    is_enabled: bool
    operator: str = ""
    values: tuple[str, ...] = ()
    replacements: tuple[tuple[str, str], ...] = ()
    parts: tuple["Part", ...] = ()
    """Of an iterator."""

    def get(self, tag: str) -> str:
        return text_of(self.element, tag)


@dataclass(slots=True, frozen=True)
class Connector:
    """A source or a destination. `kind` is the class of its properties: TcpReceiver, FileDispatcher."""

    number: int
    name: str
    kind: str
    transport: str
    element: Element
    properties: Element
    is_enabled: bool
    rules: tuple[Part, ...]
    steps: tuple[Part, ...]
    inbound: str
    outbound: str

    @property
    def label(self) -> str:
        """What begins the sentences about a destination's own things; of the source there is one only."""
        return f"{shown(self.name)}, " if self.number else ""

    @property
    def outbound_template(self) -> str:
        """The message that a transformer begins with in place of the one that came; '' for none."""
        template = child(self.element, "transformer").first("outboundTemplate")
        if template is None:
            return ""
        if template.get("encoding") != "base64":
            return template.text.strip()
        try:
            return base64.b64decode(template.text, validate=False).decode("utf-8", "replace").strip()
        except binascii.Error:
            return "not readable"


@dataclass(slots=True, frozen=True)
class MirthChannel:
    """One channel of the export. `place` is where it stands there, such as /serverConfiguration/channels/channel[2]."""

    id: str
    name: str
    description: str
    version: str
    is_enabled: bool
    group: str
    element: Element
    place: str
    source: Connector
    destinations: tuple[Connector, ...]


@dataclass(slots=True, frozen=True)
class Export:
    """All channels of one export, and what else is in it that channels use: code templates, global scripts."""

    channels: tuple[MirthChannel, ...]
    code_templates: tuple[tuple[str, Element], ...]
    global_scripts: tuple[tuple[str, Element], ...]
    configuration: tuple[str, ...]
    """Keys of the configuration map, without their values."""


def read_export(raw: bytes) -> Export:
    """The export in `raw`. Raises ExportError."""
    try:
        root = xml_tree.parse(raw, BOUNDS)
    except XmlError as error:
        raise ExportError(str(error)) from None
    found = tuple(_channels(root))
    if not found:
        raise ExportError(f"line {root.line}: {_what_it_is(root)}")
    libraries = [(place, e) for place, e in _everywhere(root, "/" + root.tag) if e.tag == "codeTemplate"]
    return Export(found, tuple(libraries), tuple(_global_scripts(root)), tuple(_configuration(root)))


def _what_it_is(root: Element) -> str:
    known = {
        "codeTemplateLibrary": "these are code templates, and no channel is among them",
        "alertModel": "this is an alert, and no channel",
        "channelGroup": "this group lists its channels by id only; export it with its channels",
    }
    first = root.children[0].tag if root.tag == "list" and root.children else root.tag
    return known.get(first, f"the root is {shown(root.tag)}: this is no channel export of Mirth Connect, as no channel")


def _channels(root: Element) -> Iterator[MirthChannel]:
    groups = {
        text_of(member, "id"): text_of(group, "name")
        for _, group in _everywhere(root, "/" + root.tag)
        if group.tag == "channelGroup"
        for member in child(group, "channels").all("channel")
    }
    switched_off = {
        text_of(entry, "string")
        for entry in child(root, "channelMetadata").all("entry")
        if text_of(child(entry, "com.mirth.connect.model.ChannelMetadata"), "enabled") == "false"
    }
    for place, element in _everywhere(root, "/" + root.tag):
        if element.tag == "channel" and element.first("sourceConnector") is not None:
            yield _channel(element, place, groups, switched_off)


def _everywhere(element: Element, place: str) -> Iterator[tuple[str, Element]]:
    """An element and those below it with their places, in order; connectors and scripts have none inside."""
    yield place, element
    if element.tag == "sourceConnector" or element.tag == "destinationConnectors":
        return
    counts: dict[str, int] = {}
    for one in element.children:
        counts[one.tag] = counts.get(one.tag, 0) + 1
    seen: dict[str, int] = {}
    for one in element.children:
        seen[one.tag] = seen.get(one.tag, 0) + 1
        number = f"[{seen[one.tag]}]" if counts[one.tag] > 1 else ""
        yield from _everywhere(one, f"{place}/{shown(one.tag)}{number}")


def _channel(element: Element, place: str, groups: dict[str, str], switched_off: set[str]) -> MirthChannel:
    channel_id = text_of(element, "id")
    said = text_of(element, "enabled") or text_of(element, "exportData", "metadata", "enabled")
    return MirthChannel(
        id=channel_id,
        name=text_of(element, "name") or "channel",
        description=text_of(element, "description"),
        version=element.get("version"),
        is_enabled=said != "false" and channel_id not in switched_off,
        group=groups.get(channel_id, ""),
        element=element,
        place=place,
        source=_connector(child(element, "sourceConnector")),
        destinations=tuple(_connector(one) for one in child(element, "destinationConnectors").all("connector")),
    )


def _connector(element: Element) -> Connector:
    properties = child(element, "properties")
    kind = properties.get("class").rpartition(".")[2].removesuffix("Properties")
    number = text_of(element, "metaDataId")
    return Connector(
        number=int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0,
        name=text_of(element, "name") or "destination",
        kind=kind,
        transport=text_of(element, "transportName") or kind or "unknown",
        element=element,
        properties=properties,
        is_enabled=text_of(element, "enabled") != "false",
        rules=tuple(_parts(child(element, "filter"), "rules")),
        steps=tuple(_parts(child(element, "transformer"), "steps")),
        inbound=text_of(element, "transformer", "inboundDataType") or "HL7V2",
        outbound=text_of(element, "transformer", "outboundDataType") or "HL7V2",
    )


def _parts(owner: Element, old: str) -> Iterator[Part]:
    """Rules or steps in order; `old` is the tag they stood under before 3.5."""
    found = [_part(one) for one in child(owner, "elements").children]
    found += [_old_part(one, is_rule=old == "rules") for one in child(owner, old).children]
    # Elements stand in order; sequenceNumber says the same, and is what Mirth goes by.
    yield from sorted(found, key=lambda part: _sequence(part.element))


def _sequence(element: Element) -> int:
    text = text_of(element, "sequenceNumber").removeprefix("-")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _part(element: Element) -> Part:
    properties = child(element, "properties")
    return Part(
        kind=element.tag.rpartition(".")[2],
        name=text_of(element, "name"),
        element=element,
        is_enabled=text_of(element, "enabled") != "false",
        operator=text_of(element, "operator"),
        values=tuple(value.text for value in child(element, "values").all("string")),
        replacements=tuple(_replacements(child(element, "replacements"))),
        parts=tuple(_part(one) for one in child(properties, "children").children),
    )


def _replacements(element: Element) -> Iterator[tuple[str, str]]:
    for pair in element.children:
        yield text_of(pair, "left"), text_of(pair, "right")


def _old_part(element: Element, *, is_rule: bool) -> Part:
    """As 3.0 to 3.4 wrote it: a type's name, and a map of its data."""
    data: dict[str, Element] = {}
    for entry in child(element, "data").all("entry"):
        if len(entry.children) == 2:
            data[entry.children[0].text.strip()] = entry.children[1]
    kind = text_of(element, "type")
    made = Element(kind, {}, element.line, list(element.children))
    for old, new in _OLD_DATA.items():
        if old in data:
            made.children.append(Element(new, {}, data[old].line, [], data[old].text))
    if "Equals" in data:
        test = _OLD_TESTS.get(data["Equals"].text.strip(), "EXISTS")
        made.children.append(Element("condition", {}, data["Equals"].line, [], test))
    patterns = data["RegularExpressions"].children if "RegularExpressions" in data else []
    pairs = [[inner.text.strip() for inner in pair.children] for pair in patterns]
    names = _OLD_RULES if is_rule else _OLD_STEPS
    return Part(
        kind=names.get(kind, kind or "unknown"),
        name=text_of(element, "name"),
        element=made,
        is_enabled=text_of(element, "enabled") != "false",
        operator=text_of(element, "operator"),
        values=tuple(one.text for one in data["Values"].children) if "Values" in data else (),
        replacements=tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2),
    )


def _global_scripts(root: Element) -> Iterator[tuple[str, Element]]:
    for entry in child(root, "globalScripts").all("entry"):
        texts = list(entry.all("string"))
        if len(texts) == 2 and does_something(texts[1].text):
            yield texts[0].text.strip(), entry


def _configuration(root: Element) -> Iterator[str]:
    for entry in child(root, "configurationMap").all("entry"):
        if key := text_of(entry, "string"):
            yield key


def does_something(script: str) -> bool:
    """Whether a script is more than the comments and the return that every new channel has."""
    lines = [line.strip() for line in script.splitlines()]
    left = [line for line in lines if line and not line.startswith("//")]
    return left not in ([], ["return message;"], ["return;"], ["return"])
