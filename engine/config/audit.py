"""Where the audit is sent to: an audit record repository (DICOM PS3.15 A.5 to A.7; IHE ITI-20)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.hand_offs import RestTls
from engine.config.listen import is_loopback
from engine.config.units import Duration

PORTS: Final = {"tls": 6514, "udp": 514}


class SyslogOptions(ConfigModel):
    """A syslog server that takes DICOM audit messages: RFC 5424 over TLS (RFC 5425), or over UDP (RFC 5426)."""

    host: str = Field(min_length=1, description="Name or address of the audit record repository")
    port: int | None = Field(default=None, ge=1, le=65535, description="Its port; default 6514, of UDP 514")
    transport: Literal["tls", "udp"] = Field(
        default="tls", description="udp: in plain text, and what is lost on the way is lost unnoticed"
    )
    tls: RestTls | None = Field(
        default=None, description="Whom to believe and what to show; without it the system's authorities"
    )
    timeout: Duration = Field(
        default=10.0, gt=0, le=300, description="How long a connection, or what is sent, may take"
    )
    source: str = Field(
        default="segmill", min_length=1, max_length=100, description="AuditSourceID: how the repository knows us"
    )
    enterprise_site: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="AuditEnterpriseSiteID: which hospital, where it has many",
    )
    patients: bool = Field(
        default=False, description="Name the patients of messages that were read or changed, by PID-3.1"
    )
    words: bool = Field(
        default=False,
        description="Send what was searched for, and the reasons that people gave: they may quote patients",
    )

    @model_validator(mode="after")
    def _tls_is_of_tls(self) -> "SyslogOptions":
        if self.transport == "udp" and self.tls is not None:
            raise BadValue("has tls, and goes by UDP", "leave transport or tls away", code="E103")
        return self

    @property
    def server(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port or PORTS[self.transport]


class AuditOptions(ConfigModel):
    """`audit` of segmill.yaml: where else the record of what people did is kept."""

    syslog: SyslogOptions | None = Field(default=None, description="Send it as DICOM audit messages")


def check_audit_options(
    audit: AuditOptions, places: Mapping[tuple[str | int, ...], Position], site: Path
) -> Iterator[ConfigFinding]:
    """What is wrong with where the audit goes, and with the files that are named for it."""
    syslog = audit.syslog
    if syslog is None:
        return

    def place(*keys: str) -> Position:
        for length in range(len(keys), -1, -1):
            if found := places.get(("audit", "syslog", *keys[:length])):
                return found
        return Position("segmill.yaml", 1, 1)

    if syslog.transport == "udp" and not is_loopback(syslog.host):
        message = (
            f"the audit goes to {syslog.host} by UDP: anybody on the way can read it, and what is lost is not missed"
        )
        yield at(place("transport"), "W561", message, "transport: tls, where the repository takes it")
    if syslog.tls is not None:
        if not syslog.tls.verify:
            message = f"the audit goes to whoever answers for {syslog.host}: no certificate is checked"
            yield at(
                place("tls", "verify"),
                "W562",
                message,
                "name the authority that signed its certificate: tls: {ca: ...}",
            )
        for key in ("ca", "certificate", "key"):
            file = getattr(syslog.tls, key)
            if file is not None and not (site / file).is_file():
                yield at(place("tls", key), "E132", f"cannot read {file}: there is no such file")
