"""Where people and programs reach the engine over HTTP, and how long they stay signed in."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, field_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.listen import ListenTls, is_loopback
from engine.config.oidc import OidcOptions, check_oidc
from engine.config.units import Duration

DAY_S: Final = 86_400.0


class ConsoleOptions(ConfigModel):
    """`console` of segmill.yaml. Only this machine reaches it, unless `host` says otherwise; then it speaks TLS."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port; 0 takes a free one")
    tls: ListenTls | None = Field(
        default=None, description="TLS, needed where other machines reach it; files are of the site's folder"
    )
    insecure: bool = Field(
        default=False, description="Plain text to other machines all the same, as behind a proxy that speaks TLS"
    )
    url: str | None = Field(
        default=None, description="How people call it where a proxy stands before it: https://segmill.example.org"
    )
    proxy: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Proxies before it: X-Forwarded-For is believed of these alone, for waits and the audit",
    )
    oidc: OidcOptions | None = Field(default=None, description="An identity provider that people may sign in at")
    idle: Duration = Field(default=900.0, ge=60, le=DAY_S, description="Who does nothing for so long is signed out")
    session: Duration = Field(default=28_800.0, ge=300, le=30 * DAY_S, description="Everybody is signed out after this")

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_good = False
        if not is_good or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise BadValue("is no address of a console", "such as https://segmill.example.org", code="E107")
        return value.rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def is_open_in_plain_text(self) -> bool:
        """Passwords and patients' data would cross the network for everybody to read, and nobody said that they may."""
        return not (self.is_loopback or self.tls is not None or self.insecure)

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS: at this port, or at the proxy before it."""
        return self.tls is not None or (self.url or "").startswith("https:")


def check_console(
    console: ConsoleOptions, places: Mapping[tuple[str | int, ...], Position], site: Path
) -> Iterator[ConfigFinding]:
    """What is wrong with where the console is, and with the files that it names."""

    def place(*keys: str) -> Position:
        for length in range(len(keys), -1, -1):
            if found := places.get(("console", *keys[:length])):
                return found
        return Position("segmill.yaml", 1, 1)

    if console.is_open_in_plain_text:
        message = f"the console is open to other machines on {console.host}, without TLS"
        hint = "add tls: {certificate: ..., key: ...}; or insecure: true where a proxy before it speaks TLS"
        yield at(place("host"), "E470", message, hint)
    if console.oidc is not None:
        yield from check_oidc(console.oidc, console.url, places, site)
    if console.tls is not None:
        for key in ("certificate", "key", "client_ca"):
            file = getattr(console.tls, key)
            if file is not None and not (site / file).is_file():
                yield at(place("tls", key), "E132", f"cannot read {file}: there is no such file")
