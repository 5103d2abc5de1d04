"""The site's file, segmill.yaml: what all channels share."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from engine.config.audit import AuditOptions
from engine.config.base import ConfigModel
from engine.config.console import ConsoleOptions
from engine.config.dicom import DicomOptions
from engine.config.encryption import EncryptionOptions, store_keys
from engine.config.feeds import FeedsOptions
from engine.config.finding import BadValue
from engine.config.hand_offs import HandOffName, HandOffOptions
from engine.config.hours import ZoneText
from engine.config.isolate import Workers
from engine.config.listen import is_loopback
from engine.config.retention import SiteRetention
from engine.config.search_keys import KEY_PATTERN, Keys
from engine.config.traces import TracesOptions
from engine.config.types import FolderText
from engine.config.units import Duration, Size
from engine.model.store_key import StoreKeys


class AdminPort(ConfigModel):
    """Where metrics and probes are served over TCP; `off` serves them on the control socket only."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(default=9464, ge=0, le=65535, description="TCP port; 0 takes a free one")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the port."""
        return is_loopback(self.host)


def _admin(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value == "off":
        return None
    raise BadValue("must be off or have a host and a port", "such as admin: {port: 9464}", code="E105")


class Limits(ConfigModel):
    """Bounds of the whole engine, so that no sender and no backlog can take the machine."""

    connections: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Open MLLP connections of all channels, as far as the system's limit on open files allows",
    )
    intake_memory: Size = Field(
        default=256 * 1024**2,
        ge=1024**2,
        description="Bytes received and not yet stored; at this much, reading pauses",
    )
    free_disk: Size = Field(
        default=64 * 1000**2,
        ge=0,
        description="With less free space for the store, messages are refused until there is more",
    )
    low_disk: Size = Field(
        default=1000**3,
        ge=0,
        description="With less free space for the store, the log, the metrics and the probes warn; 0: never",
    )


class SiteSettings(ConfigModel):
    """segmill.yaml: the site."""

    environment: str = Field(default="", max_length=40, description="Its name, such as test or prod, shown everywhere")
    data: FolderText = Field(default=FolderText("data"), description="Folder for the store and the control socket")
    store: str = Field(default="sqlite:data/segmill.db", description="The store: sqlite:FILE or memory:")
    encryption: EncryptionOptions | None = Field(
        default=None, description="The key that the store is encrypted with; without it the store is not"
    )
    admin: Annotated[
        AdminPort | None,
        BeforeValidator(_admin),
        WithJsonSchema({"anyOf": [{"const": "off"}, AdminPort.model_json_schema()]}),
    ] = Field(default_factory=AdminPort, description="Metrics and probes over TCP, or off")
    console: ConsoleOptions | None = Field(
        default=None, description="The HTTP API, for those who sign in; without it there is none"
    )
    audit: AuditOptions | None = Field(
        default=None, description="Where else the record of what people did is kept; without it here alone"
    )
    traces: TracesOptions | None = Field(
        default=None, description="Messages' journeys to an OpenTelemetry collector; without it none"
    )
    shutdown: Duration = Field(default=10.0, gt=0, le=600, description="How long a stop may take before it is forced")
    time_zone: ZoneText | None = Field(
        default=None, description="The time zone of `open` hours, such as Europe/Berlin; without it UTC"
    )
    feeds: FeedsOptions = Field(
        default_factory=FeedsOptions, description="Days on which senders are quieter than their weekday says"
    )
    limits: Limits = Field(default_factory=Limits, description="Bounds of the whole engine")
    workers: Workers = Field(default_factory=Workers, description="Processes for python steps and isolated channels")
    retention: SiteRetention = Field(
        default_factory=SiteRetention, description="How long messages are kept; without it for ever"
    )
    search_keys: Keys = Field(
        default_factory=dict,
        alias="keys",
        description="What messages are looked up by, each with the paths where it stands; some are there without it",
        json_schema_extra={"propertyNames": {"pattern": KEY_PATTERN}},
    )
    dicom: DicomOptions | None = Field(default=None, description="A DICOM port for scanners; without it none")
    hand_offs: dict[HandOffName, HandOffOptions] = Field(
        default_factory=dict, description="Who else gets the steps of a worklist, by a name of yours"
    )
    later: ClassVar[Mapping[str, str]] = {
        "users": "users are in the store: segmill users add",
        "tls": "TLS is set for each port and destination",
    }

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        if value == "memory:" or re.fullmatch(r"sqlite:[^?#]+", value):
            return value
        if value.startswith(("postgres:", "postgresql:")):
            raise BadValue("cannot be PostgreSQL in this version", "such as sqlite:data/segmill.db", code="E119")
        raise BadValue(f"'{value}' is not a store", "such as sqlite:data/segmill.db", code="E107")

    @property
    def store_kind(self) -> Literal["sqlite", "memory"]:
        return "memory" if self.store == "memory:" else "sqlite"

    @property
    def store_keys(self) -> StoreKeys:
        """What the store is opened with."""
        return store_keys(self.encryption)

    @property
    def store_path(self) -> str:
        """The store's file, relative to the site; '' for a store in memory."""
        return self.store.partition(":")[2]
