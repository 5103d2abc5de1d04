"""Sign-in by an identity provider: OpenID Connect Core 1.0, authorisation code with PKCE."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.hand_offs import RestTls
from engine.config.listen import is_loopback
from engine.config.units import Duration
from engine.model.access import ROLES, SITE, Grants, parse_grants

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that nobody can make who only knows the public key or our secret."""


def _grants(value: Any) -> Any:
    """`operator` is a role for the site; a mapping has roles by channel."""
    if isinstance(value, str):
        value = {SITE: value}
    if not isinstance(value, Mapping) or not all(isinstance(role, str) for role in value.values()):
        return value
    try:
        return dict(parse_grants({str(channel): role for channel, role in value.items()}))
    except ValueError as error:
        raise BadValue("is no grant", str(error), code="E105") from error


RoleText = Literal["viewer", "operator", "analyst", "admin"]
GrantsOfClaim = Annotated[
    dict[str, RoleText],
    BeforeValidator(_grants),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(ROLES), "description": "A role for the whole site"},
                {"type": "object", "additionalProperties": {"enum": list(ROLES)}, "description": "Roles by channel"},
            ]
        }
    ),
]


class OidcOptions(ConfigModel):
    """An identity provider that people may sign in at. Who has none of `roles` is not let in."""

    issuer: str = Field(description="The provider's issuer, as its own document says: https://idp.example.org/realms/x")
    client: str = Field(min_length=1, max_length=255, description="Our client id there")
    secret: str | None = Field(
        default=None, min_length=1, repr=False, description="Its secret: ${file:...}; none for a public client"
    )
    name: str = Field(
        default="your account", min_length=1, max_length=60, description="What the button says: Sign in with ..."
    )
    claim: str = Field(
        default="groups",
        min_length=1,
        max_length=100,
        description="The claim that roles are taken from; a.b: b within a",
    )
    user: str = Field(
        default="preferred_username",
        min_length=1,
        max_length=100,
        description="The claim that a user is called by here",
    )
    roles: dict[str, GrantsOfClaim] = Field(
        default_factory=dict,
        description="By value of the claim: a role for the site, or roles by channel; without it nobody is let in",
    )
    scopes: tuple[str, ...] = Field(default=("openid", "profile"), description="What is asked for")
    skew: Duration = Field(default=60.0, ge=0, le=300, description="How far its clock may be from ours")
    timeout: Duration = Field(default=10.0, gt=0, le=60, description="How long an answer of it may take")
    tls: RestTls | None = None

    @field_validator("issuer")
    @classmethod
    def _is_an_issuer(cls, value: str) -> str:
        hint = "such as https://idp.example.org/realms/hospital"
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise BadValue("is not a URL", hint) from error
        if not parts.hostname or parts.query or parts.fragment or parts.username is not None or port == 0:
            raise BadValue("is no issuer", hint)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise BadValue("must be https", "who can change what it answers can be anybody")
        return value

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in value or not all(
            scope and scope.isascii() and scope.isprintable() and " " not in scope for scope in value
        ):
            raise BadValue("are no scopes of OpenID Connect", "openid is one of them")
        return value

    @model_validator(mode="after")
    def _tls_is_of_https(self) -> "OidcOptions":
        if self.tls is not None and not self.issuer.startswith("https:"):
            raise BadValue("has tls, and an issuer that is not https", "write https://", code="E107")
        return self

    def grants_of(self, values: list[str]) -> Grants:
        """What somebody may whose claim has these values: of each channel the most."""
        found: dict[str, RoleText] = {}
        for value in values:
            for channel, role in self.roles.get(value, {}).items():
                before = found.get(channel)
                if before is None or ROLES.index(role) > ROLES.index(before):
                    found[channel] = role
        return found


def has_jose() -> bool:
    """Whether the extra is installed."""
    try:
        return find_spec("joserfc") is not None
    except ImportError:
        return False


def check_oidc(
    oidc: OidcOptions, url: str | None, places: Mapping[tuple[str | int, ...], Position], site: Path
) -> Iterator[ConfigFinding]:
    """What is wrong with it. `url`: how people call the console."""

    def place(*keys: str) -> Position:
        for length in range(len(keys), -1, -1):
            if found := places.get(("console", "oidc", *keys[:length])):
                return found
        return Position("segmill.yaml", 1, 1)

    if not has_jose():
        message = "sign-in by an identity provider needs packages that are not installed here"
        yield at(place(), "E570", message, "pip install 'segmill[oidc]', or leave oidc away")
    if url is None:
        hint = "console: {url: https://segmill.example.org}; the provider sends people back to URL/sign-in/oidc/back"
        yield at(
            place(), "E571", "the provider must know where to send people back to, and console.url is not given", hint
        )
    if not oidc.roles:
        yield at(
            place(),
            "W570",
            "nobody can sign in by the provider: no value of the claim has a role",
            "roles: {GROUP: ROLE}",
        )
    if oidc.tls is not None:
        for key in ("ca", "certificate", "key"):
            file = getattr(oidc.tls, key)
            if file is not None and not (site / file).is_file():
                yield at(place("tls", key), "E132", f"cannot read {file}: there is no such file")
