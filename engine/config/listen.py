"""What a channel says of the port it listens on."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from engine.config.base import ConfigModel
from engine.config.finding import BadValue
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


class ListenMllp(ConfigModel):
    """An MLLP port. Several channels may name the same port, with the same settings of it."""

    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes a free one")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is all of them")
    allow: tuple[NetworkText, ...] = Field(
        default=(), description="Senders' addresses and networks; without it anybody who reaches the port"
    )
    tls: ListenTls | None = Field(default=None, description="TLS; without it the port is plain text")
    max_message: Size = Field(default=16 * 1024**2, ge=1024, le=1024**3, description="Larger messages are refused")
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


_LATER_SOURCES: Final[Mapping[str, str]] = dict.fromkeys(
    ("file", "http", "https", "sftp", "dicom", "kafka", "nats", "amqp", "tcp"),
    "channels of this version listen on mllp",
)


class Listen(ConfigModel):
    """Where messages come from."""

    mllp: ListenMllp
    later: ClassVar[Mapping[str, str]] = _LATER_SOURCES
