"""What sources and destinations of a Mirth channel have in common: values from outside, secrets, character sets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.config.mirth.export import Connector, child, text_of
from engine.config.mirth.report import Fate, Ledger
from engine.config.mirth.terms import Names, shown
from engine.config.mirth.text import Yaml, plain
from engine.config.xml_tree import Element
from engine.hl7.charset import codec_named
from engine.hl7.recode import NAMES

_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
_HIDDEN: Final = re.compile(r"(?i)passw|secret|token|keystore|passphrase")
_LOGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#@:\s]*)(?::[^/?#\s]*)?@")
_SECRET_PARAMETER: Final = re.compile(
    r"(?i)([?&;,](?:[a-z0-9_.-]*(?:passw|pwd|secret|token|sig)[a-z0-9_.-]*|(?:api_?)?key)=)[^&;,\s$]+"
)
_BEFORE_A_HOST: Final = re.compile(r"[^\s/:@]+[:/]\S*@")
"""`user:password@host`, and Oracle's `user/password@host`."""
_NO_ENCODING: Final = ("", "DEFAULT_ENCODING", "NONE")
MESSAGE_TEMPLATES: Final = ("${message.encodedData}", "$message.encodedData")
RAW_TEMPLATES: Final = ("${message.rawData}", "$message.rawData")


@dataclass(slots=True)
class Draft:
    """A source or a destination that is being written. `settings` stands under `kind`, `beside` beside it.

    `comments` are lines of the file that stand above it; `stands_in` is true where ours only holds its place.
    """

    kind: str
    settings: dict[str, Yaml]
    beside: dict[str, Yaml] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    stands_in: bool = False


@dataclass(slots=True)
class Desk:
    """One connector on its way, and the report of it. `slug` is what variables for its secrets begin with."""

    connector: Connector
    ledger: Ledger
    place: str
    slug: str
    names: Names

    @property
    def properties(self) -> Element:
        return self.connector.properties

    def get(self, *path: str) -> str:
        return text_of(self.properties, *path)

    def is_on(self, *path: str) -> bool:
        return self.get(*path) == "true"

    def milliseconds(self, *path: str) -> int:
        """A time of the export; 0 where there is none, or none that is a number."""
        text = self.get(*path)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0

    def tell(self, fate: Fate, what: str, text: str, *path: str) -> None:
        element = child(self.properties, *path)
        self.ledger.add(
            fate, f"{self.connector.label}{what}", text, element, "/".join((f"{self.place}/properties", *path))
        )

    def given(self, what: str, *path: str) -> str:
        """A setting as text for YAML; `${x}` of Mirth becomes a variable of the environment, which somebody sets."""
        text = self.get(*path)
        for name in _REFERENCE.findall(text):
            variable = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") or "VALUE"
            variable = f"_{variable}" if variable[0].isdigit() else variable
            if name in self.names.known or name in self.names.lost:
                told = f"the {what} is worked out for each message, by {shown(name)}; here it is the same for all"
                self.tell("todo", what, told, *path)
            told = f"the {what} is in Mirth's configuration map as {shown(name)}: set the variable {variable}"
            self.tell("fill-in", what, told, *path)
            text = text.replace(f"${{{name}}}", f"${{{variable}}}")
        return text if _REFERENCE.search(text) else plain(text)

    def secret(self, what: str, *path: str) -> str:
        """A reference in the place of a password, which is not copied."""
        variable = f"{re.sub(r'[^A-Z0-9]+', '_', self.slug.upper()).strip('_')}_PASSWORD"
        self.tell("fill-in", what, f"the {what} is not copied: set the variable {variable}", *path)
        return f"${{{variable}}}"

    def port(self, *path: str) -> Yaml:
        text = self.given("port", *path)
        if text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= 65535:
            return int(text)
        if text and not text.startswith("${"):
            self.tell("fill-in", "port", f"{shown(text)} is no port: write one", *path)
        return text or 0

    def url(self, what: str, *path: str) -> tuple[str, str]:
        """An address, and the user who logs in with it. Passwords and tokens in it become variables."""
        text = self.given(what, *path)
        user = ""
        if login := _LOGIN.match(text):
            user = login[2]
            text = f"{login[1]}{text[login.end() :]}"
        if _SECRET_PARAMETER.search(text):
            variable = f"{re.sub(r'[^A-Z0-9]+', '_', self.slug.upper()).strip('_')}_TOKEN"
            self.tell("fill-in", what, f"a secret in the {what} is not copied: set the variable {variable}", *path)
            text = _SECRET_PARAMETER.sub(lambda found: f"{found[1]}${{{variable}}}", text)
        return text, user

    def codec(self) -> str:
        """The Python codec of the connector's encoding, '' where it says none."""
        encoding = self.get("charsetEncoding") or self.get("charset")
        if encoding in _NO_ENCODING:
            return ""
        codec = codec_named(encoding)
        if codec is None:
            text = f"the character set {shown(encoding)} is not known here"
            self.tell("todo", "character set", text, "charsetEncoding")
        return codec or ""

    def target_charset(self) -> str:
        """The name of table 0211 for what the receiver reads, '' where nothing was said, or HL7 has none."""
        codec = self.codec()
        if not codec:
            return ""
        for name in NAMES:
            if codec_named(name) == codec and "/" not in name.replace("8859/", ""):
                text = f"what is sent is written in {name}, and MSH-18 says so, which Mirth leaves as it is"
                self.tell("differs", "character set", text, "charsetEncoding")
                return name
        text = f"HL7 has no name for {codec}, so messages leave in the character set they came in"
        self.tell("todo", "character set", text, "charsetEncoding")
        return ""

    def is_mllp(self, path: str = "transmissionModeProperties") -> bool:
        """Whether messages are framed as MLLP has it; else that is told."""
        mode = self.get(path, "pluginPointName")
        start, end = self.get(path, "startOfMessageBytes"), self.get(path, "endOfMessageBytes")
        if mode in ("", "MLLP") and start.upper() in ("", "0B") and end.upper() in ("", "1C0D"):
            return True
        self.tell("todo", "framing", f"messages are framed as {shown(mode) or 'Basic'}, here as MLLP has it", path)
        return False

    def look_for_tls(self) -> None:
        """TLS is a plug-in of Mirth's; its certificates are in its own store and not in the export."""
        for plugin in child(self.properties, "pluginProperties").children:
            if re.search(r"(?i)ssl|tls", plugin.tag) and text_of(plugin, "enabled") != "false":
                text = "TLS is set in Mirth, with certificates that are not in the export: write `tls` with your files"
                self.tell("todo", "TLS", text, "pluginProperties", plugin.tag)

    def template(self, *path: str) -> None:
        """Tells where what is sent is something else than the message."""
        text = self.get(*path)
        if text in ("", *MESSAGE_TEMPLATES):
            return
        if text in RAW_TEMPLATES:
            told = "what is sent is the message as it came, before the steps; here it is what the steps made of it"
            self.tell("todo", "template", told, *path)
            return
        self.tell("todo", "template", "what is sent is made by a template; here it is the message", *path)


def hidden_secrets(text: str) -> str:
    """An address, or a text with addresses in it, without passwords and tokens."""
    return _BEFORE_A_HOST.sub("***@", _SECRET_PARAMETER.sub(r"\1***", text))


def told(properties: Element) -> Iterator[str]:
    """The settings of a connector that is not carried over, a line each; secrets are not among them."""
    for one in properties.children:
        if one.tag in ("pluginProperties", "destinationConnectorProperties", "sourceConnectorProperties"):
            continue
        text = one.text.strip()
        if text:
            hidden = _HIDDEN.search(one.tag) is not None
            lines = [hidden_secrets(line) for line in text.splitlines()]
            yield f"{shown(one.tag)}: {'***' if hidden else lines[0]}"
            yield from (f"  {line}" for line in lines[1:] if not hidden)
