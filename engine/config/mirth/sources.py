"""Source connectors of Mirth as `listen`, and their response settings as `ack`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.config.mirth.export import child
from engine.config.mirth.settings import Desk, Draft, told
from engine.config.mirth.terms import shown
from engine.config.mirth.text import Yaml, seconds, to_do

_BEFORE: Final = "Auto-generate (Before processing)"
_AFTER: Final = "Auto-generate (After source transformer)"
_COMPLETED: Final = "Auto-generate (Destinations completed)"
_OTHERS: Final = {
    "DICOMReceiver": "a DICOM Listener: images do not come in here",
    "DatabaseReceiver": "a Database Reader: bring its rows as HL7 in files, over HTTP or over MLLP",
    "JavaScriptReceiver": "a JavaScript Reader: bring what it makes as HL7 in files, over HTTP or over MLLP",
    "JmsReceiver": "a JMS Listener: bring its messages in files, over HTTP or over MLLP",
    "WebServiceReceiver": "a Web Service Listener: its senders may post HL7 over HTTP",
}


@dataclass(slots=True)
class Source(Draft):
    """`listen`, with what it means for the channel's `ack` and `charset`."""

    ack: dict[str, Yaml] = field(default_factory=dict)
    charset: dict[str, Yaml] = field(default_factory=dict)


def source(desk: Desk, own_port: int | None, free_port: Callable[[], int]) -> Source:
    """The source. `own_port` is that to which another channel of the export sends what is for this one."""
    kind = desk.connector.kind
    if kind == "TcpReceiver":
        made = _mllp(desk)
    elif kind == "HttpReceiver":
        made = _http(desk)
    elif kind == "FileReceiver" and desk.get("scheme").upper() in ("", "FILE"):
        made = _file(desk)
    else:
        made = _stand_in(desk, own_port or free_port(), is_written_to=own_port is not None)
    if codec := desk.codec():
        made.charset["fallback"] = codec
    if not made.stands_in and desk.is_on("sourceConnectorProperties", "processBatch"):
        text = "batches with FHS or BHS, or several messages in one, are taken apart; other ways to split are not there"
        desk.tell("differs", "batches", text, "sourceConnectorProperties", "processBatch")
    threads = desk.get("sourceConnectorProperties", "processingThreads")
    if threads not in ("", "0", "1"):
        text = f"{shown(threads)} processing threads are not needed: a message never waits for another's steps"
        desk.tell("differs", "processing threads", text, "sourceConnectorProperties", "processingThreads")
    return made


def _mllp(desk: Desk) -> Source:
    settings: dict[str, Yaml] = {
        "host": desk.given("address", "listenerConnectorProperties", "host") or "0.0.0.0",  # noqa: S104  # as Mirth
        "port": desk.port("listenerConnectorProperties", "port"),
    }
    made = Source("mllp", settings)
    if desk.get("serverMode") == "false":
        desk.tell(
            "todo", "client mode", "Mirth connects to the sender; here the sender must connect to us", "serverMode"
        )
    if desk.is_mllp() and desk.is_on("transmissionModeProperties", "useMLLPv2"):
        settings["release"] = 2
    if idle := desk.milliseconds("receiveTimeout"):
        settings["idle_timeout"] = seconds(idle)
    if (most := desk.milliseconds("maxConnections")) > 0:
        settings["max_connections"] = most
    if desk.get("respondOnNewConnection") in ("1", "2") and desk.get("responsePort"):
        made.ack["app_ack"] = "connect-back"
        made.ack["connect_back"] = {
            "host": desk.given("response address", "responseAddress"),
            "port": desk.port("responsePort"),
        }
        text = "answers on a new connection are the application's, of messages that ask for one in MSH-16"
        desk.tell("differs", "response", text, "respondOnNewConnection")
    desk.look_for_tls()
    desk.tell("carried", "source", f"TCP Listener: mllp, port {settings['port']}")
    return made


def _http(desk: Desk) -> Source:
    path = desk.get("contextPath").strip("/")
    settings: dict[str, Yaml] = {
        "host": desk.given("address", "listenerConnectorProperties", "host") or "0.0.0.0",  # noqa: S104  # as Mirth
        "port": desk.port("listenerConnectorProperties", "port"),
    }
    if path:
        settings["path"] = f"/{path}"
    for plugin in child(desk.properties, "pluginProperties").children:
        if "HttpAuth" not in plugin.tag or "None" in plugin.tag:
            continue
        text = "senders log in, by names that are not copied: write `user` and `password`"
        desk.tell("todo", "authentication", text, "pluginProperties", plugin.tag)
    if desk.is_on("xmlBody"):
        desk.tell("todo", "body", "requests come in an XML of Mirth's; here the body is the message", "xmlBody")
    told_of_answer = "the response is the acknowledgment, with a status that goes by its code"
    desk.tell("differs", "response", told_of_answer, "responseContentType")
    desk.look_for_tls()
    desk.tell("carried", "source", f"HTTP Listener: http, port {settings['port']}")
    return Source("http", settings)


def _file(desk: Desk) -> Source:
    settings: dict[str, Yaml] = {"folder": desk.given("folder", "host") or "in"}
    pattern = desk.get("fileFilter")
    if desk.is_on("regex") or "," in pattern or "/" in pattern:
        desk.tell(
            "todo", "file filter", "the names of files that are meant are told by more than one pattern", "fileFilter"
        )
    elif pattern not in ("", "*"):
        settings["pattern"] = desk.given("file filter", "fileFilter")
    poll = desk.get("pollConnectorProperties", "pollingType")
    if poll in ("", "INTERVAL") and (every := desk.milliseconds("pollConnectorProperties", "pollingFrequency")):
        settings["every"] = seconds(min(max(every, 50), 3_600_000))
    elif poll not in ("", "INTERVAL"):
        text = "Mirth looks at set times; here the folder is looked at all the time"
        desk.tell("differs", "polling", text, "pollConnectorProperties", "pollingType")
    if desk.is_on("checkFileAge"):
        settings["stable"] = seconds(min(desk.milliseconds("fileAge"), 3_600_000))
    order = desk.get("sortBy")
    if order == "date":
        settings["order"] = "time"
    elif order not in ("", "name"):
        desk.tell("differs", "order", f"files are sorted by {shown(order)}; here by name", "sortBy")
    _after(desk, settings)
    if desk.is_on("directoryRecursion"):
        desk.tell(
            "todo",
            "subfolders",
            "files in subfolders are read too; here those of the folder itself",
            "directoryRecursion",
        )
    desk.tell("carried", "source", f"File Reader: file, {shown(desk.get('host'))}")
    return Source("file", settings)


def _after(desk: Desk, settings: dict[str, Yaml]) -> None:
    action = desk.get("afterProcessingAction")
    if action == "DELETE":
        settings["after"] = "delete"
    elif action == "MOVE":
        text = f"files go into done/, and what fails into failed/, and not into {shown(desk.get('moveToDirectory'))}"
        desk.tell("differs", "after processing", text, "moveToDirectory")
    elif action:
        text = "files stay where they are in Mirth; here they go into done/, so that each is taken once"
        desk.tell("differs", "after processing", text, "afterProcessingAction")


def _stand_in(desk: Desk, port: int, *, is_written_to: bool) -> Source:
    settings: dict[str, Yaml] = {"host": "127.0.0.1", "port": port}
    made = Source("mllp", settings, stands_in=not is_written_to)
    if desk.connector.kind == "VmReceiver" and is_written_to:
        text = f"Channel Reader: port {port} of this machine, to which the channel that writes to it sends"
        desk.tell("carried", "source", text)
        return made
    kind = desk.connector.kind
    why = _OTHERS.get(kind, f"a {shown(desk.connector.transport)}, which is no source here")
    if kind == "VmReceiver":
        why = "a Channel Reader, to which no channel of this export writes: who sends to it?"
    if kind == "FileReceiver":
        why = f"a File Reader over {shown(desk.get('scheme'))}: have the files brought into a folder here"
    sentence = f"messages come from {why}. Port {port} stands in for it"
    made.comments = to_do(sentence, 0, "\n".join(told(desk.properties)))
    desk.tell("todo", "source", sentence)
    return made


def answer(desk: Desk, made: Source, destinations: Mapping[int, Draft], names: Mapping[int, str]) -> None:
    """`ack` of the response settings. `destinations` and `names` are ours by Mirth's number."""
    path = ("sourceConnectorProperties", "responseVariable")
    variable = desk.get(*path)
    if variable == _BEFORE or desk.get("sourceConnectorProperties", "respondAfterProcessing") == "false":
        made.ack = {"when": "stored", **made.ack}
        desk.tell("carried", "response", "ack: {when: stored}: the answer leaves once the message is on disk", *path)
    elif variable in (_AFTER, ""):
        desk.tell("carried", "response", "ack: {when: processed}, which is the default", *path)
    elif variable == _COMPLETED:
        text = "the answer leaves once the message and its deliveries are on disk, and does not wait for receivers"
        desk.tell("differs", "response", text, *path)
    elif variable == "None":
        text = "Mirth sends no answer; here every message has one, unless MSH-15 and MSH-16 ask for none"
        desk.tell("differs", "response", text, *path)
    elif variable.startswith("d") and variable[1:].isdigit() and int(variable[1:]) in destinations:
        _as_delivered(desk, made, int(variable[1:]), destinations, names)
    else:
        text = f"the answer is what {shown(variable)} holds, which a script makes; here it is an acknowledgment"
        desk.tell("todo", "response", text, *path)


def _as_delivered(
    desk: Desk, made: Source, number: int, destinations: Mapping[int, Draft], names: Mapping[int, str]
) -> None:
    path = ("sourceConnectorProperties", "responseVariable")
    draft = destinations[number]
    if made.kind in ("mllp", "http") and draft.kind in ("mllp", "http") and not draft.stands_in:
        made.ack = {"when": f"delivered({names[number]})", **made.ack}
        draft.settings.pop("answer", None)
        text = f"ack: {{when: delivered({names[number]})}}: its receiver's answer goes back"
        desk.tell("carried", "response", text, *path)
        return
    text = f"the answer is that of {names[number]}, which has none here; the sender hears that the message is kept"
    desk.tell("differs", "response", text, *path)
