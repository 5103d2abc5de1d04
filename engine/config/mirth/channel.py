"""Channels of an export as channel files, with the report of what became of each thing in them."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from engine.config.mirth import export as x
from engine.config.mirth import terms as t
from engine.config.mirth.elements import Elements
from engine.config.mirth.export import Connector, Export, MirthChannel, child, text_of
from engine.config.mirth.report import Item, Ledger, Report
from engine.config.mirth.settings import Desk, Draft
from engine.config.mirth.sinks import sink
from engine.config.mirth.sources import Source, answer, source
from engine.config.mirth.terms import Condition, Names, Wish, shown
from engine.config.mirth.text import Yaml, comment, flow, mapping, name_of, plain, to_do

FIRST_PORT: Final = 26001
"""Ports of this machine that hand messages from one channel of an export to another."""
_READ: Final = ("HL7V2", "RAW")
_SCRIPTS: Final = {
    "preprocessingScript": "the preprocessor, which changes messages before they are read: write it as steps",
    "postprocessingScript": "the postprocessor, which runs after all destinations: nothing here does",
    "deployScript": "the deploy script: a channel is files here, and runs no code when it starts",
    "undeployScript": "the undeploy script: a channel is files here, and runs no code when it ends",
}


@dataclass(slots=True, frozen=True)
class Written:
    """One channel of ours: its folder's name, the text of channel.yaml, and what its sample should hold.

    `mirth` is the channel of the export that it is of.
    """

    name: str
    mirth: str
    text: str
    wishes: tuple[Wish, ...]


@dataclass(slots=True, frozen=True)
class Imported:
    """All channels that could be written, and the report of the whole export."""

    channels: tuple[Written, ...]
    items: tuple[Item, ...]


def imported(export: Export, *, ports: Collection[int] = ()) -> Imported:
    """Channels of ours. `ports` are those that the site has already."""
    return _Importer(export, ports).run()


class _Importer:
    def __init__(self, export: Export, ports: Collection[int]) -> None:
        self._export = export
        self._report = Report()
        self._used_ports = set(ports) | set(_ports(export))
        self._names: dict[str, str] = {}
        self._ports: dict[str, int] = {}
        self._made: list[Written] = []

    def run(self) -> Imported:
        targets = {
            text_of(one.properties, "channelId")
            for channel in self._export.channels
            for one in channel.destinations
            if one.kind == "VmDispatcher" and one.is_enabled
        }
        for channel in self._export.channels:
            name = name_of(channel.name, self._names.values(), "channel")
            self._names[channel.place] = name
            if channel.source.kind == "VmReceiver" and channel.id in targets and channel.source.inbound in _READ:
                self._ports[channel.id] = self._free_port()
        for channel in self._export.channels:
            self._channel(channel)
        self._beside()
        return Imported(tuple(self._made), tuple(self._report.items))

    def _free_port(self) -> int:
        port = FIRST_PORT
        while port in self._used_ports:
            port += 1
        self._used_ports.add(port)
        return port

    def _beside(self) -> None:
        """What channels use and is not in them."""
        ledger = self._report.of("")
        for place, template in self._export.code_templates:
            name = shown(text_of(template, "name"))
            text = "a code template: what steps need of it is a function in their steps.py"
            ledger.add("todo", f'code template "{name}"', text, template, place)
        for name, entry in self._export.global_scripts:
            text = "a global script: nothing here runs outside of a channel"
            ledger.add("todo", f'global script "{shown(name)}"', text, entry, "/serverConfiguration/globalScripts")

    # -- one channel

    def _channel(self, channel: MirthChannel) -> None:
        ledger = self._report.of(channel.name)
        name = self._names[channel.place]
        if channel.source.inbound not in _READ:
            text = f"not written: its messages are {shown(channel.source.inbound)}, and here they are HL7 v2"
            ledger.add(
                "todo", "data type", text, channel.source.element, f"{channel.place}/sourceConnector/transformer"
            )
            return
        head = _head(channel, ledger)
        where = f"{channel.place}/sourceConnector"
        elements = Elements(ledger)
        desk = Desk(channel.source, ledger, where, name, elements.names)
        own_port = self._ports.get(channel.id)
        made = source(desk, own_port, self._free_port)
        if channel.source.inbound == "RAW":
            text = "its messages are RAW in Mirth; here they are read as HL7 v2"
            ledger.add("differs", "data type", text, channel.source.element, f"{where}/transformer")
        elements.filter_step(channel.source, where, "source filter")
        elements.steps(channel.source, where)
        self._rest(channel, name, made, elements, head, ledger, desk)

    def _rest(
        self,
        channel: MirthChannel,
        name: str,
        made: Source,
        elements: Elements,
        head: list[str],
        ledger: Ledger,
        desk: Desk,
    ) -> None:
        """Destinations and routes, and all of it as a file."""
        drafts: dict[int, Draft] = {}
        names: dict[int, str] = {}
        routes: list[str] = []
        ways: list[tuple[str, Draft]] = []
        enabled = list(_enabled(channel, ledger))
        for position, connector in enumerate(enabled, 1):
            where = f"{channel.place}/destinationConnectors/connector[{channel.destinations.index(connector) + 1}]"
            own = name_of(connector.name, names.values(), f"destination-{position}")
            is_apart = len(enabled) > 1 and any(step.is_enabled for step in connector.steps)
            chosen, changed = elements.routed(connector.number)
            comments: list[str] = []
            if changed:
                text = f"the destination set filter reads {changed}, which a later step changes: see its `when`"
                comments += to_do(f"{shown(connector.name)}: {text}", 2)
                ledger.add("todo", f"{connector.label}destination set filter", text, connector.element, where)
            if is_apart:
                draft: Draft | None = self._apart(channel, connector, where, f"{name}-{own}", elements, ledger)
                filtered = t.ALWAYS
            else:
                filtered = self._along(connector, where, elements, comments)
                draft = sink(
                    Desk(connector, ledger, where, f"{name}-{own}", elements.names), self._ports, f"out/{name}/{own}"
                )
                _data_types(connector, ledger, where)
            if draft is None:
                continue
            drafts[connector.number], names[connector.number] = draft, own
            ways.append((own, draft))
            routes += [*comments, *_route(own, t.joined("and", (chosen, filtered)))]
            if len(ways) == 1:  # the sample goes to the first destination
                elements.wishes += filtered.wishes
        answer(desk, made, drafts, names)
        _chains(channel, enabled, ledger)
        self._made.append(
            Written(name, channel.name, _file(channel, made, elements, routes, ways, head), tuple(elements.wishes))
        )

    def _along(self, connector: Connector, where: str, elements: Elements, comments: list[str]) -> Condition:
        """A destination whose steps, if any, may stand with the channel's: its filter for the route, or as a step."""
        if any(step.is_enabled for step in connector.steps):
            elements.filter_step(connector, where, plain(f"filter of {shown(connector.name)}"))
            elements.steps(connector, where)
            return t.ALWAYS
        found, told = elements.condition(connector, where)
        comments += told
        return found

    def _apart(
        self, channel: MirthChannel, connector: Connector, where: str, name: str, elements: Elements, ledger: Ledger
    ) -> Draft:
        """A destination with steps of its own, beside others: a channel of its own, which this one sends to."""
        name = name_of(name, [*self._names.values(), *(made.name for made in self._made)], "channel")
        port = self._free_port()
        text = f"it has a transformer of its own, so it becomes the channel {name}, on port {port} of this machine"
        ledger.add("differs", f'destination "{shown(connector.name)}"', text, connector.element, where)
        inner = Elements(ledger, _handed_over(elements.names))
        inner.filter_step(connector, where, "filter")
        inner.steps(connector, where)
        draft = sink(Desk(connector, ledger, where, name, inner.names), self._ports, f"out/{name}/out")
        _data_types(connector, ledger, where)
        made = Source("mllp", {"host": "127.0.0.1", "port": port})
        ways = [("out", draft)] if draft is not None else []
        head = list(comment(f"The destination {shown(connector.name)} of the channel {shown(channel.name)}.", 0))
        routes = ["  - to: out"] if ways else []
        text = _file(channel, made, inner, routes, ways, head)
        self._made.append(Written(name, channel.name, text, (*elements.wishes, *inner.wishes)))
        return Draft("mllp", {"host": "127.0.0.1", "port": port})


def _ports(export: Export) -> Iterable[int]:
    for channel in export.channels:
        for text in (
            text_of(channel.source.properties, "listenerConnectorProperties", "port"),
            *(text_of(one.properties, "remotePort") for one in channel.destinations),
        ):
            if text.isascii() and text.isdigit() and len(text) < 6:
                yield int(text)


def _enabled(channel: MirthChannel, ledger: Ledger) -> Iterable[Connector]:
    for number, one in enumerate(channel.destinations, 1):
        if one.is_enabled:
            yield one
            continue
        where = f"{channel.place}/destinationConnectors/connector[{number}]"
        text = "is switched off in Mirth, so it is left out"
        ledger.add("differs", f'destination "{shown(one.name)}"', text, one.element, where)


def _handed_over(names: Names) -> Names:
    """Variables for the channel that gets what these steps made: those that can still be read off it."""
    handed = Names(lost=dict(names.lost))
    for name, (value, since) in names.known.items():
        if changed := t.overlap(value.reads, names.written[since:]):
            handed.lose(name, f"a step before {changed} was changed")
        else:
            handed.put(name, value)
    return handed


def _data_types(connector: Connector, ledger: Ledger, where: str) -> None:
    if connector.outbound not in _READ:
        text = f"what it sends is {shown(connector.outbound)}; here it is HL7 v2, or format: json or xml of ours"
        ledger.add("todo", f"{connector.label}data type", text, connector.element, f"{where}/transformer")


def _chains(channel: MirthChannel, enabled: list[Connector], ledger: Ledger) -> None:
    if len(enabled) > 1 and any(text_of(one.element, "waitForPrevious") == "true" for one in enabled[1:]):
        text = "destinations wait for each other in Mirth; here each is a lane of its own, and none waits"
        ledger.add("differs", "destination chain", text, child(channel.element, "destinationConnectors"), channel.place)


def _head(channel: MirthChannel, ledger: Ledger) -> list[str]:
    """Comments at the top, and what is said of the channel as a whole."""
    group = f", of the group {shown(channel.group)}" if channel.group else ""
    lines = list(comment(f'Imported from Mirth Connect {shown(channel.version)}: "{shown(channel.name)}"{group}', 0))
    lines += comment("What is not carried over is marked with: to do", 0)
    for tag, what in _SCRIPTS.items():
        element = child(channel.element, tag)
        if x.does_something(element.text):
            lines += to_do(f"not carried over: {what}", 0, element.text)
            ledger.add("todo", tag, f"not carried over: {what}", element, f"{channel.place}/{tag}")
    if not channel.is_enabled:
        text = "is switched off in Mirth; here a channel that is in the folder runs: plan before you reload"
        ledger.add("differs", "channel", text, channel.element, channel.place)
    _properties(channel, ledger)
    return lines


def _properties(channel: MirthChannel, ledger: Ledger) -> None:
    properties = child(channel.element, "properties")
    where = f"{channel.place}/properties"

    def tell(text: str, *path: str) -> None:
        ledger.add("differs", path[0], text, child(properties, *path), "/".join((where, *path)))

    if text_of(properties, "initialState") == "STOPPED":
        tell("starts stopped in Mirth; here a channel that is in the folder runs", "initialState")
    mode = text_of(properties, "messageStorageMode")
    if mode in ("RAW", "METADATA", "DISABLED"):
        tell(f"{mode}: here every message is kept, until retention is set", "messageStorageMode")
    if text_of(properties, "attachmentProperties", "type") not in ("", "None"):
        tell("attachments need no handling: a message of megabytes is kept whole", "attachmentProperties", "type")
    columns = [text_of(one, "name") for one in child(properties, "metaDataColumns").children]
    own = [shown(column) for column in columns if column not in ("SOURCE", "TYPE")]
    if own:
        tell(f"columns of its own are not there: {', '.join(own)}", "metaDataColumns")


def _retention(channel: MirthChannel) -> dict[str, Yaml]:
    settings = child(channel.element, "exportData", "metadata", "pruningSettings")
    days: dict[str, int] = {}
    for tag, key in (("pruneContentDays", "bodies"), ("pruneMetaDataDays", "messages")):
        text = text_of(settings, tag)
        if text.isascii() and text.isdigit() and len(text) < 6 and int(text):
            days[key] = int(text)
    if len(days) == 2:
        days["bodies"] = min(days.values())
    return {key: f"{number}d" for key, number in days.items()}


def _route(name: str, when: Condition) -> list[str]:
    if when.constant is True:
        return [f"  - to: {name}"]
    if when.constant is False:
        return [f"  # to do: no message goes to {name} in Mirth, so it has no route"]
    return [f"  - to: {name}", f"    when: {flow(plain(when.text))}"]


def _file(
    channel: MirthChannel,
    made: Source,
    elements: Elements,
    routes: list[str],
    ways: list[tuple[str, Draft]],
    head: list[str],
) -> str:
    """channel.yaml."""
    description = " ".join(channel.description.split())[:300] or channel.name
    lines = [*head, f"description: {flow(plain(shown_line(description)))}", *made.comments]
    lines += ["listen:", *mapping({made.kind: made.settings}, 2)]
    if made.ack:
        lines += mapping({"ack": made.ack}, 0)
    if made.charset:
        lines += mapping({"charset": made.charset}, 0)
    if ages := _retention(channel):
        lines += mapping({"retention": ages}, 0)
    if elements.lines:
        lines += ["steps:" if elements.has_steps else "steps: []", *elements.lines]
    if any(line.startswith("  - ") for line in routes):
        lines += ["routes:", *routes]
    else:
        lines += routes
    if ways:
        lines.append("destinations:")
    for name, draft in ways:
        lines += draft.comments
        lines.append(f"  {name}:")
        lines += mapping({draft.kind: draft.settings}, 4)
        lines += mapping(draft.beside, 4)
    return "\n".join(lines) + "\n"


def shown_line(text: str) -> str:
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
