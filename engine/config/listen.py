"""Where a channel's messages come from: the port it listens on, or another source.

A source is found by its entry point (`engine.sources`); its model is a `ListenOptions`. MLLP is the one that the
engine itself knows: it is on the hot path.
"""

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from engine.config.base import ConfigModel, Reading, did_you_mean
from engine.config.finding import BadValue, Position, at
from engine.config.fragments import Batches
from engine.config.node import SourceDict, SourceText
from engine.config.reading import validate
from engine.config.types import FileText
from engine.config.units import Duration, Size

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(value: object) -> object:
    if not isinstance(value, str):
        if isinstance(value, Network):
            return value
        raise BadValue("must be an address or a network", "such as 10.1.0.0/16", code="E104")
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        hint = f"did you mean {ipaddress.ip_network(value, strict=False)}?"
    except ValueError:
        hint = "such as 10.1.0.0/16, 10.1.2.3 or fd00::/8"
    raise BadValue(f"'{value}' is not an address or a network", hint, code="E107")


NetworkText = Annotated[
    Network, BeforeValidator(_network), WithJsonSchema({"type": "string", "description": "10.1.0.0/16 or 10.1.2.3"})
]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a port on this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ListenTls(ConfigModel):
    """The listener's own certificate and key (PEM). With `client_ca`, senders must show a certificate of that CA."""

    certificate: FileText = Field(description="This side's certificate chain, PEM")
    key: FileText = Field(description="Its private key, PEM")
    client_ca: FileText | None = Field(default=None, description="CA whose certificates senders must show (mutual TLS)")
    client_crl: FileText | None = Field(
        default=None, description="That CA's list of revoked certificates, PEM; read when the port opens"
    )

    @model_validator(mode="after")
    def _list_belongs_to_an_authority(self) -> Self:
        if self.client_crl is not None and self.client_ca is None:
            raise BadValue("client_crl revokes nothing without client_ca", "name the authority whose list it is")
        return self


class MllpTls(ListenTls):
    """The same, and which of that CA's certificates may send."""

    client_names: tuple[str, ...] = Field(
        default=(),
        description="Names of certificates that may send, such as his.example.org; without it all of the CA's",
    )

    @model_validator(mode="after")
    def _names_are_of_an_authority(self) -> Self:
        if self.client_names and self.client_ca is None:
            raise BadValue("client_names needs client_ca: without it nobody shows a certificate", "name the authority")
        return self


DEFAULT_MAX_MESSAGE: Final = 16 * 1024**2


class ListenOptions(ConfigModel):
    """The base of what stands under a source's key in `listen`.

    Channels that name the same `place` share one source: a port, a folder. Of it there is only one, so what is in
    `SHARED` must be the same in all of them. `APART` tells channels of one place apart, as the path of a URL does:
    those that differ in it are not asked for each other's messages.
    """

    max_message: Size = Field(
        default=DEFAULT_MAX_MESSAGE, ge=1024, le=1024**3, description="Larger messages are refused"
    )
    SHARED: ClassVar[tuple[str, ...]] = ("max_message",)
    APART: ClassVar[tuple[str, ...]] = ()

    @property
    def place(self) -> str | None:
        """What there is only one of, such as `port 2575`; None: this channel has a source for itself."""
        return None

    @property
    def place_key(self) -> str:
        """The key under which the place stands."""
        return "port"

    @property
    def apart(self) -> tuple[object, ...]:
        """What tells this channel from others of the same place."""
        return tuple(getattr(self, name) for name in self.APART)

    @property
    def answered_within(self) -> float:
        """For how many seconds a sender waits for the acknowledgment itself; 0: it hears none, only the engine does."""
        return 0.0

    @property
    def batches(self) -> Batches:
        """How payloads of several messages are taken."""
        return Batches()

    @property
    def plain_text(self) -> str:
        """The address on which others reach this port in plain text; '' where it is encrypted, or for us alone."""
        return ""

    @property
    def admits_anybody(self) -> bool:
        """Whether nothing but the network says who may send."""
        return True


class ListenMllp(ListenOptions):
    """An MLLP port. Several channels may name the same port, with the same settings of it."""

    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes a free one")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is all of them")
    allow: tuple[NetworkText, ...] = Field(
        default=(), description="Senders' addresses and networks; without it anybody who reaches the port"
    )
    tls: MllpTls | None = Field(default=None, description="TLS; without it the port is plain text")
    max_message: Size = Field(
        default=DEFAULT_MAX_MESSAGE, ge=1024, le=1024**3, description="Larger messages are refused"
    )
    idle_timeout: Duration | None = Field(
        default=None, gt=0, description="Close a connection that is silent for so long; without it never"
    )
    frame_timeout: Duration = Field(
        default=60.0, gt=0, le=86400, description="From the first byte of a message to its last"
    )
    trailing_cr: Duration = Field(
        default=1.0, gt=0, le=60, description="How long to wait for the last byte of a block, which some senders omit"
    )
    max_connections: int = Field(default=1000, ge=1, le=100_000, description="Connections at a time")
    lenient_fs: bool = Field(
        default=False, description="Take an end byte inside a message as text, for senders that do not escape it"
    )
    unreadable: Literal["answer", "close"] = Field(
        default="answer",
        description="What bytes without a readable MSH get: an answer, or the connection's end",
    )
    release: int = Field(
        default=1,
        ge=1,
        le=2,
        description="Of MLLP; 2: each message is also answered with a commit byte",
    )
    answers_committed: Literal["tolerate", "require"] = Field(
        default="tolerate", description="Release 2: whether the sender must commit each of our answers"
    )
    commit_timeout: Duration = Field(
        default=10.0, gt=0, le=3600, description="Release 2, require: how long to wait for that"
    )
    commit_retries: int = Field(
        default=2,
        ge=0,
        le=100,
        description="Release 2, require: how often an answer is written again",
    )

    batch: Batches = Field(default_factory=Batches, description="Blocks that hold several messages")

    # What a port has only one of; channels that share it must agree on them.
    SHARED: ClassVar[tuple[str, ...]] = (
        "host",
        "tls",
        "allow",
        "max_message",
        "idle_timeout",
        "frame_timeout",
        "trailing_cr",
        "max_connections",
        "lenient_fs",
        "batch",
        "unreadable",
        "release",
        "answers_committed",
        "commit_timeout",
        "commit_retries",
    )
    later: ClassVar[Mapping[str, str]] = {"rate": "a sender is slowed down by the store alone"}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the port."""
        return is_loopback(self.host)

    @property
    def place(self) -> str | None:
        return f"port {self.port}" if self.port else None

    @property
    def answered_within(self) -> float:
        return math.inf

    @property
    def batches(self) -> Batches:
        return self.batch

    @property
    def plain_text(self) -> str:
        return "" if self.tls is not None or self.is_loopback else self.host

    @property
    def admits_anybody(self) -> bool:
        return not self.allow


@dataclass(slots=True, frozen=True)
class MllpKind:
    """The source that the engine itself is: `listen: {mllp: ...}`."""

    name: str = "mllp"
    model: type[ListenMllp] = ListenMllp


MLLP: Final = MllpKind()

LATER_SOURCES: Final[Mapping[str, str]] = dict.fromkeys(
    ("https", "sftp", "ftp", "dicom", "kafka", "nats", "amqp", "tcp", "database"),
    "sources of this version are mllp, file and http, and those that installed packages bring",
)


@dataclass(slots=True, frozen=True)
class Listen:
    """Where messages come from: one source, and its settings."""

    source: str
    options: ListenOptions
    file: str
    line: int
    column: int

    @property
    def mllp(self) -> ListenMllp | None:
        """The settings of the MLLP port; None where messages come another way."""
        return self.options if isinstance(self.options, ListenMllp) else None

    @property
    def max_message(self) -> int:
        """Bytes of the largest message that is taken."""
        return self.options.max_message

    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> "Self | None":
        if isinstance(value, cls):
            return value
        reading = info.context
        if not isinstance(reading, Reading):
            raise BadValue("is read with its file", code="E104")
        if not isinstance(value, SourceDict):
            told = f", not '{value.shown}'" if isinstance(value, SourceText) else ", not a list"
            raise BadValue(f"must be keys with values{told}", "such as listen: {mllp: {port: 2575}}", code="E104")
        return cls._read_mapping(value, reading)

    @classmethod
    def _read_mapping(cls, value: SourceDict, reading: Reading) -> "Self | None":
        kinds = reading.kinds.sources
        named = [key for key in value if key in kinds]
        place = (value.owner.position() if value.owner is not None else None) or value.node.position
        for key in value:
            if key not in named[:1]:
                _report_source(key, reading)
        if not named:
            if not value and not value.node.is_broken:
                known = ", ".join(sorted(kinds))
                reading.findings.append(at(place, "E103", "'listen' names no source", f"one of: {known}"))
            return None
        key = named[0]
        if not isinstance(value[key], SourceDict):
            message = f"'{key.shown}' must be keys with values"
            reading.findings.append(at(key.position() or place, "E104", message, f"such as {key}: {{key: value}}"))
            return None
        options = validate(value[key], kinds[key].model, reading)
        if options is None or len(value) > 1:
            return None
        assert isinstance(options, ListenOptions), "the registry lets no other model in"
        at_key = key.position() or place
        return cls(str(key), options, at_key.file, at_key.line, at_key.column)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-definition": "Listen"}


def _report_source(key: SourceText, reading: Reading) -> None:
    place = key.position() or Position(reading.file, 1, 1)
    sources = reading.kinds.sources
    if key in sources:
        message = f"a second source, '{key.shown}'"
        reading.findings.append(at(place, "E108", message, "one channel, one source; give each a channel of its own"))
    elif key in LATER_SOURCES:
        reading.findings.append(at(place, "E119", f"'{key.shown}' is not in this version", LATER_SOURCES[key]))
    else:
        reading.findings.append(at(place, "E101", f"unknown key '{key.shown}'", did_you_mean(key, sorted(sources))))
