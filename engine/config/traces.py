"""Where the journeys of messages are sent to as traces: an OpenTelemetry collector (OTLP over HTTP)."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.hand_offs import RestTls
from engine.config.units import Duration


class TracesOptions(ConfigModel):
    """`traces` of segmill.yaml. No value of a message is in a trace: numbers of ours, codes, and names of the files."""

    url: str = Field(description="The collector's address for traces: http://collector:4318/v1/traces")
    sample: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Of which part of the messages: 0.1 is every tenth, with all its deliveries",
    )
    headers: dict[str, str] = Field(
        default_factory=dict, repr=False, description="Sent with each request, such as a token: ${file:...}"
    )
    service: str = Field(default="segmill", min_length=1, max_length=100, description="service.name")
    timeout: Duration = Field(default=10.0, gt=0, le=60, description="How long the collector's answer may take")
    queue: int = Field(
        default=10_000, ge=100, le=1_000_000, description="Steps of journeys that wait in memory; older ones go first"
    )
    tls: RestTls | None = None

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        hint = "such as http://collector:4318/v1/traces"
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise BadValue("is not a URL", hint) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise BadValue("is not the URL of an HTTP server", hint)
        if parts.username is not None or parts.query or parts.fragment:
            raise BadValue("must not have a password or a query", "headers are for what the collector asks for")
        return value if parts.path.strip("/") else f"{value.rstrip('/')}/v1/traces"

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if (
                not name.isascii()
                or not name.replace("-", "").isalnum()
                or not text.isprintable()
                or not text.isascii()
            ):
                raise BadValue("are no headers", "such as {Authorization: Bearer ...}")
        return value

    @model_validator(mode="after")
    def _tls_is_of_https(self) -> "TracesOptions":
        if self.tls is not None and not self.url.startswith("https:"):
            raise BadValue("has tls, and a url that is not https", "write https://", code="E107")
        return self


def has_tracing() -> bool:
    """Whether the extra is installed."""
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.common"))
    except ImportError:
        return False


def check_traces(
    traces: TracesOptions, places: Mapping[tuple[str | int, ...], Position], site: Path
) -> Iterator[ConfigFinding]:
    """Whether the engine can make them, and has the files that are named."""
    top = places.get(("traces",)) or Position("segmill.yaml", 1, 1)
    if not has_tracing():
        message = "traces need OpenTelemetry, which is not installed here"
        yield at(top, "E565", message, "pip install 'segmill[otel]', or leave traces away")
    if traces.tls is not None:
        for key in ("ca", "certificate", "key"):
            file = getattr(traces.tls, key)
            if file is not None and not (site / file).is_file():
                place = places.get(("traces", "tls", key), top)
                yield at(place, "E132", f"cannot read {file}: there is no such file")
