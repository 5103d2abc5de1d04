"""Destination connectors of Mirth as destinations, and their queue settings as `retry`, `lanes` and `order_by`."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from engine.config.mirth.export import child, text_of
from engine.config.mirth.settings import Desk, Draft, told
from engine.config.mirth.terms import NotExpressible, shown
from engine.config.mirth.text import Yaml, plain, seconds, to_do

_VELOCITY: Final = re.compile(r"\$\{([^{}]*)\}|\$([A-Za-z_][\w.]*)")
_QUOTED: Final = re.compile(r"('(?:[^']|'')*')")
_DATE: Final = re.compile(r"""(?i)date\.get\(\s*['"]([^'"]*)['"]\s*\)""")
_JAVA_DATES: Final = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_NUMBERS: Final = ("message.messageid", "message.id", "count", "systime", "uuid", "random")
_OTHERS: Final = {
    "DICOMDispatcher": "a DICOM Sender: images do not leave here; for orders to scanners there is `worklist`",
    "DocumentDispatcher": "a Document Writer: let its receiver make the document",
    "JavaScriptDispatcher": "a JavaScript Writer: write what it does as a destination of a kind that there is",
    "JmsDispatcher": "a JMS Sender: a file or an HTTP destination may feed the queue",
    "WebServiceDispatcher": "a Web Service Sender: its receiver may take HL7 over HTTP",
}
_MOST_RETRY_MS: Final = 86_400_000


def sink(desk: Desk, ports: Mapping[str, int], folder: str) -> Draft | None:
    """The destination; None where Mirth sends nothing with it. `ports`: of channels of this export, by their id."""
    kind = desk.connector.kind
    if kind == "TcpDispatcher":
        made = _mllp(desk)
    elif kind == "FileDispatcher" and desk.get("scheme").upper() in ("", "FILE"):
        made = _file(desk)
    elif kind == "HttpDispatcher" and desk.get("method").lower() in ("", "post"):
        made = _http(desk)
    elif kind == "DatabaseDispatcher":
        made = _database(desk) or _stand_in(desk, folder)
    elif kind == "SmtpDispatcher":
        made = _email(desk)
    elif kind == "VmDispatcher" and desk.get("channelId") in ("", "none"):
        desk.tell("carried", "destination", "a Channel Writer without a channel: it sends nothing, so it is left out")
        return None
    elif kind == "VmDispatcher" and desk.get("channelId") in ports:
        made = _to_channel(desk, ports[desk.get("channelId")])
    else:
        made = _stand_in(desk, folder)
    _policy(desk, made)
    response = child(desk.connector.element, "responseTransformer", "elements")
    old = child(desk.connector.element, "responseTransformer", "steps")
    for step in (*response.children, *old.children):
        if text_of(step, "enabled") != "false":
            text = "a response transformer: what an answer comes to is said by its code, in on_refused and its like"
            desk.ledger.add(
                "todo", f"{desk.connector.label}response transformer", text, step, f"{desk.place}/responseTransformer"
            )
    return made


def _mllp(desk: Desk) -> Draft:
    settings: dict[str, Yaml] = {
        "host": desk.given("address", "remoteAddress") or "127.0.0.1",
        "port": desk.port("remotePort"),
    }
    made = Draft("mllp", settings)
    if desk.is_mllp() and desk.is_on("transmissionModeProperties", "useMLLPv2"):
        settings["release"] = 2
    if wait := desk.milliseconds("responseTimeout"):
        settings["ack_timeout"] = seconds(wait)
    if desk.get("keepConnectionOpen") == "false":
        settings["keep_open"] = False
    elif idle := desk.milliseconds("sendTimeout"):
        settings["idle_close"] = seconds(idle)
    if desk.is_on("ignoreResponse"):
        text = "Mirth awaits no answer; here a message is delivered once its receiver said so"
        desk.tell("todo", "answer", text, "ignoreResponse")
    if desk.is_on("serverMode"):
        desk.tell(
            "todo", "server mode", "Mirth waits for the receiver to connect; here it is connected to", "serverMode"
        )
    if charset := desk.target_charset():
        made.beside["charset"] = charset
    if desk.get("queueOnResponseTimeout") == "false":
        made.beside["on_unanswered"] = "hold"
    desk.template("template")
    desk.look_for_tls()
    desk.tell("carried", "destination", f"TCP Sender: mllp, port {settings['port']}")
    return made


def _file(desk: Desk) -> Draft:
    settings: dict[str, Yaml] = {"folder": desk.given("folder", "host") or "out"}
    made = Draft("file", settings)
    pattern = desk.get("outputPattern")
    try:
        settings["name"] = plain(_file_name(desk, pattern))
    except NotExpressible as reason:
        text = f"the name of the files has {reason}; here it is the date and the control id"
        made.comments += to_do(text, 2, f"outputPattern: {pattern}")
        desk.tell("todo", "file name", text, "outputPattern")
    if desk.is_on("outputAppend"):
        desk.tell(
            "differs",
            "append",
            "messages are appended to one file; here each has a file, or see `batch`",
            "outputAppend",
        )
    if charset := desk.target_charset():
        made.beside["charset"] = charset
    desk.template("template")
    desk.tell("carried", "destination", f"File Writer: file, {shown(desk.get('host'))}")
    return made


def _file_name(desk: Desk, pattern: str) -> str:
    """A pattern of Velocity as a template of ours. Raises NotExpressible."""
    if not pattern or "{" in _VELOCITY.sub("", pattern) or "/" in pattern or "\\" in pattern:
        raise NotExpressible("something else than text and variables")

    dates = 0

    def place(found: re.Match[str]) -> str:
        nonlocal dates
        inner = found[1] if found[1] is not None else found[2]
        if date := _DATE.fullmatch(inner):
            form = re.sub("|".join(_JAVA_DATES), lambda part: _JAVA_DATES[part[0]], date[1])
            if re.search(r"(?<!%)[A-Za-z]", form):
                raise NotExpressible("a part of a date that there is not here")
            dates += 1
            return f'{{date(MSH-7, "{form}")}}'
        if inner.lower() in _NUMBERS:
            return "{seq}"
        if inner.lower() in ("originalfilename", "message.encodeddata"):
            raise NotExpressible("the name of the file that came")
        value = desk.names.get(inner.removeprefix("message.") if inner.startswith("message.") else inner)
        if value.path is None:
            raise NotExpressible(f"the variable {shown(inner)}, which is more than a place of the message")
        return f"{{{value.path}}}"

    made = _VELOCITY.sub(place, pattern)
    if dates:
        text = "the date in names of files is that of MSH-7, and not that of the clock"
        desk.tell("differs", "file name", text, "outputPattern")
    return made


def _http(desk: Desk) -> Draft:
    address, user = desk.url("address", "host")
    settings: dict[str, Yaml] = {"url": address, "answer": "status"}
    if wait := desk.milliseconds("socketTimeout"):
        settings["ack_timeout"] = seconds(wait)
    if desk.is_on("useAuthentication"):
        if desk.get("authenticationType").lower() not in ("", "basic"):
            desk.tell(
                "todo", "authentication", f"it is {shown(desk.get('authenticationType'))}, here Basic", "username"
            )
        settings["user"] = desk.given("user", "username") or "user"
        settings["password"] = desk.secret("password", "password")
    elif user:
        settings["user"] = plain(user)
        settings["password"] = desk.secret("password", "host")
    if child(desk.properties, "headers").children or child(desk.properties, "parameters").children:
        desk.tell("todo", "headers", "headers and parameters of the request are not carried over", "headers")
    if desk.is_on("useProxyServer"):
        desk.tell("todo", "proxy", "requests go through a proxy; here the environment may name one", "useProxyServer")
    if desk.is_on("multipart"):
        desk.tell("todo", "body", "requests are multipart; here the body is the message", "multipart")
    desk.template("content")
    desk.look_for_tls()
    text = f"HTTP Sender: http, {shown(urlsplit(desk.get('host')).hostname or desk.get('host'))}"
    desk.tell("carried", "destination", text)
    return Draft("http", settings)


def _database(desk: Desk) -> Draft | None:
    """None where it is no database that there is, or a script writes to it."""
    url = desk.get("url")
    found = re.fullmatch(r"jdbc:postgresql://([A-Za-z0-9.:_-]+)/([A-Za-z0-9_-]+)(?:\?.*)?", url)
    lite = re.fullmatch(r"jdbc:sqlite:(?:file:)?([^?;]+)(?:\?.*)?", url)
    if desk.is_on("useScript") or not (found or lite):
        return None
    try:
        statement, parameters = _statement(desk, desk.get("query"))
    except NotExpressible as reason:
        desk.tell("todo", "statement", f"it has {reason}", "query")
        return None
    settings: dict[str, Yaml] = {}
    if found:
        user = desk.get("username")
        login = f"{user}@" if re.fullmatch(r"[A-Za-z0-9_.-]+", user) else ""
        settings["url"] = f"postgresql://{login}{found[1]}/{found[2]}"
        if desk.get("password"):
            settings["password"] = desk.secret("password", "password")
    elif lite:
        settings["url"] = plain(f"sqlite:{lite[1]}")
        desk.tell("fill-in", "database", "the SQLite file must be there before `segmill check --env` passes", "url")
    settings["sql"] = statement
    if parameters:
        settings["parameters"] = parameters
    text = "a message can come twice: give the table a unique key, and the statement ON CONFLICT"
    desk.tell("differs", "statement", text, "query")
    desk.tell("carried", "destination", "Database Writer: database")
    return Draft("database", settings)


def _statement(desk: Desk, query: str) -> tuple[Yaml, dict[str, Yaml]]:
    """The statement, or several, with our parameters by name. Raises NotExpressible."""
    parameters: dict[str, Yaml] = {}
    names: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        inner = found[1] if found[1] is not None else found[2]
        if inner.lower() in ("message.messageid", "message.id"):
            return ":segmill_seq"
        if inner in ("message.encodedData", "message.rawData"):
            return ":segmill_body"
        if inner not in names:
            made = re.sub(r"[^a-z0-9]+", "_", inner.lower()).strip("_") or "value"
            name, number = made, 1
            while name in parameters:  # `mrn` and `MRN` are two variables in Mirth
                number += 1
                name = f"{made}_{number}"
            names[inner] = name
            parameters[name] = plain(f"={desk.names.get(inner).text}")
        return f":{names[inner]}"

    # Values are given by name and never within quotes, where Mirth puts a variable between them.
    text = re.sub(r"'(\$\{[^{}]*\}|\$[A-Za-z_][\w.]*)'", r"\1", query)
    statements = [""]
    for part in _QUOTED.split(text):
        if part.startswith("'"):
            if _VELOCITY.search(part):
                raise NotExpressible("a variable within a text in quotes")
            statements[-1] += part
            continue
        if "--" in part or "/*" in part:
            raise NotExpressible("a comment in it")
        first, *others = re.sub(r"\s+", " ", _VELOCITY.sub(place, part)).split(";")
        statements[-1] += first
        statements += others
    made = [plain(one.strip()) for one in statements if one.strip()]
    if not made:
        raise NotExpressible("no statement")
    return made[0] if len(made) == 1 else made, parameters


def _email(desk: Desk) -> Draft:
    encryption = {"tls": "starttls", "ssl": "tls"}.get(desk.get("encryption").lower(), "off")
    settings: dict[str, Yaml] = {"host": desk.given("mail server", "smtpHost") or "localhost", "tls": encryption}
    port = desk.port("smtpPort")
    if port:
        settings["port"] = port
    if desk.is_on("authentication"):
        settings["user"] = desk.given("user", "username") or "user"
        settings["password"] = desk.secret("password", "password")
    settings["from"] = desk.given("sender", "from")
    receivers: list[Yaml] = [plain(one.strip()) for one in re.split("[,;]", desk.get("to")) if one.strip()]
    settings["to"] = receivers
    for tag in ("from", "to"):
        if not re.fullmatch(r"[^@\s$]+@[^@\s$]+", desk.get(tag).split(",")[0].split(";")[0].strip()):
            desk.tell("fill-in", tag, f"the address in `{tag}` is not a plain one: write it", tag)
    for tag, key in (("subject", "subject"), ("body", "body")):
        try:
            if desk.get(tag):
                settings[key] = _mail_text(desk, desk.get(tag))
        except NotExpressible as reason:
            desk.tell("todo", key, f"it has {reason}; here it holds numbers and names only", tag)
    for tag in ("cc", "bcc", "attachments", "headers"):
        if desk.get(tag) or child(desk.properties, tag).children:
            desk.tell("todo", tag, f"{tag} of the mail is not carried over", tag)
    if desk.is_on("html"):
        desk.tell("differs", "body", "mails are in HTML; here they are plain text", "html")
    desk.tell("carried", "destination", "SMTP Sender: email")
    return Draft("email", settings)


def _mail_text(desk: Desk, text: str) -> str:
    def place(found: re.Match[str]) -> str:
        inner = found[1] if found[1] is not None else found[2]
        if inner.lower() in _NUMBERS:
            return "{seq}"
        value = desk.names.get(inner)
        if value.path is None:
            raise NotExpressible(f"the variable {shown(inner)}, which is more than a place of the message")
        return f"{{{value.path}}}"

    if "{" in _VELOCITY.sub("", text):
        raise NotExpressible("braces")
    return plain(_VELOCITY.sub(place, text))


def _to_channel(desk: Desk, port: int) -> Draft:
    made = Draft("mllp", {"host": "127.0.0.1", "port": port})
    text = f"Channel Writer: mllp to port {port} of this machine, where the other channel listens"
    desk.tell("carried", "destination", text)
    if child(desk.properties, "mapVariables").children:
        text = "variables do not go along to the other channel; it reads them off the message"
        desk.tell("todo", "map variables", text, "mapVariables")
    desk.template("channelTemplate")
    return made


def _stand_in(desk: Desk, folder: str) -> Draft:
    kind = desk.connector.kind
    why = _OTHERS.get(kind, f"a {shown(desk.connector.transport)}, which is no destination here")
    if kind == "FileDispatcher":
        why = (
            f"a File Writer over {shown(desk.get('scheme'))}: write into a folder, and have its files taken from there"
        )
    if kind == "HttpDispatcher":
        why = f"an HTTP Sender with {shown(desk.get('method').upper())}: here messages are posted"
    if kind == "DatabaseDispatcher":
        why = "a Database Writer that cannot be said here: with a script, or for a database that there is not"
    if kind == "VmDispatcher":
        why = "a Channel Writer to a channel that is not in this export"
    sentence = f"{shown(desk.connector.name)} is {why}. A folder stands in for it"
    desk.tell("todo", "destination", sentence)
    return Draft(
        "file", {"folder": folder}, comments=to_do(sentence, 2, "\n".join(told(desk.properties))), stands_in=True
    )


def _policy(desk: Desk, made: Draft) -> None:
    """Queue settings. Here every destination has a queue and tries until the message arrives."""
    path = "destinationConnectorProperties"
    wait = min(max(desk.milliseconds(path, "retryIntervalMillis"), 10), _MOST_RETRY_MS)
    count = desk.milliseconds(path, "retryCount")
    if made.stands_in or made.kind == "file":
        pass
    elif desk.is_on(path, "queueEnabled"):
        made.beside["retry"] = {"first": seconds(wait), "most": seconds(wait)}
        text = f"queue: tried every {seconds(wait)} until it arrives"
        desk.tell("carried", "queue", text, path, "queueEnabled")
    elif count:
        made.beside["retry"] = {"first": seconds(wait), "most": seconds(wait), "limit": count + 1}
        text = f"no queue: held after {count + 1} attempts, where Mirth makes it an ERROR"
        desk.tell("carried", "queue", text, path, "retryCount")
    else:
        text = "no queue: one attempt and then ERROR in Mirth; here it is tried until it arrives, in order"
        desk.tell("differs", "queue", text, path, "queueEnabled")
    if desk.is_on(path, "rotate"):
        text = "Mirth lets what fails go behind the others; here order is kept: order_by says among which messages"
        desk.tell("differs", "queue rotation", text, path, "rotate")
    threads = desk.milliseconds(path, "threadCount")
    if threads > 1:
        _lanes(desk, made, min(threads, 64))
    template = child(desk.properties, "pluginProperties")
    for plugin in template.children:
        if "DestinationFilter" in plugin.tag:
            desk.tell("todo", "plug-in", f"{shown(plugin.tag)} is not carried over", "pluginProperties")


def _lanes(desk: Desk, made: Draft, threads: int) -> None:
    path = ("destinationConnectorProperties", "threadCount")
    variable = desk.get("destinationConnectorProperties", "threadAssignmentVariable")
    key = "MSH-10"
    if variable:
        try:
            key = desk.names.get(variable).text
        except NotExpressible as reason:
            text = f"threads are assigned by {reason}: write order_by, or messages of one patient may overtake"
            desk.tell("todo", "queue threads", text, *path)
    made.beside["order_by"] = plain(key)
    if made.kind == "file":
        desk.tell("differs", "queue threads", "a folder has one lane; its order is kept by order_by", *path)
        return
    made.beside["lanes"] = threads
    text = f"lanes: {threads}, order_by: {key}" + ("" if variable else ", so no order is kept, as in Mirth")
    desk.tell("carried", "queue threads", text, *path)
