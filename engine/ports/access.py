"""Users, sessions and API tokens, as the store keeps them.

Every change of them is a part of an `operations.Change`, and so stands in the same transaction as its record in the
audit. A session's and a token's secret is never kept: only its SHA-256, which nobody can turn back, as it has 256 bits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from engine.model.access import SITE, Grants
from engine.ports.saved_search import SavedSearchQueries, SearchEdit

PROVIDER_MARK: Final = "oidc:"
"""Begins what stands in the place of the password of a user of the identity provider: no hash does, so none fits."""
PROVIDER_SUFFIX: Final = "@oidc"
"""Ends the names of such users; none that is added here has such a name."""


@dataclass(slots=True, frozen=True)
class User:
    """Somebody who signs in. `password`: an Argon2 hash. `must_change`: it was given out, works until `until_us`.

    Of a user of the identity provider, `password` is PROVIDER_MARK and a digest of who that is there, for ever.
    """

    name: str
    password: str
    grants: Grants
    must_change: bool
    until_us: int
    is_disabled: bool
    created_us: int
    changed_us: int

    @property
    def is_by_provider(self) -> bool:
        """Whether they sign in at the identity provider, and not here."""
        return self.password.startswith(PROVIDER_MARK)


@dataclass(slots=True, frozen=True)
class Session:
    """Somebody who is signed in. `hash`: of the secret in the cookie. `seen_us`: to the minute."""

    hash: bytes
    user: str
    created_us: int
    seen_us: int
    until_us: int
    address: str


@dataclass(slots=True, frozen=True)
class ApiToken:
    """What a program signs in with. `hash`: of its secret."""

    name: str
    hash: bytes
    grants: Grants
    created_us: int
    created_by: str
    until_us: int
    is_revoked: bool = False


@dataclass(slots=True, frozen=True)
class AddUser:
    """AccessRefused where there is one of that name."""

    user: User


@dataclass(slots=True, frozen=True)
class SetPassword:
    """All sessions of the user end, but `keeps`. `must_change` and `until_us` as in User.

    `replaces`: the hash that it must have now, where the one who changes it had to know the old one.
    """

    user: str
    password: str
    must_change: bool = False
    until_us: int = 0
    keeps: bytes = b""
    replaces: str = ""


@dataclass(slots=True, frozen=True)
class SetGrants:
    """What the user may from now on; all that was given before is gone."""

    user: str
    grants: Grants


@dataclass(slots=True, frozen=True)
class SetDisabled:
    """Who is disabled cannot sign in; all sessions end."""

    user: str
    is_disabled: bool


@dataclass(slots=True, frozen=True)
class OpenSession:
    """Sessions that have ended, and the oldest ones of this user beyond `most`, are dropped with it.

    `password`: the hash that was looked at, where it was: AccessRefused if it is another by now, or the user disabled.
    """

    session: Session
    most: int
    password: str = ""


@dataclass(slots=True, frozen=True)
class SeenSession:
    """It was used; one that is not there any more stays away."""

    hash: bytes
    seen_us: int


@dataclass(slots=True, frozen=True)
class CloseSession:
    hash: bytes


@dataclass(slots=True, frozen=True)
class CloseSessions:
    """All of one user."""

    user: str


@dataclass(slots=True, frozen=True)
class AddToken:
    """AccessRefused where there is one of that name, also a revoked one: a name on record stays the same token's."""

    token: ApiToken


@dataclass(slots=True, frozen=True)
class RevokeToken:
    name: str


@dataclass(slots=True, frozen=True)
class SecondFactor:
    """The one-time codes of a local user. `last_step`: the newest that was used.

    `recovery`: SHA-256 of each code that is left for whoever lost the telephone; a plain hash, as they have 80 bits.
    """

    user: str
    secret: bytes = field(repr=False)
    last_step: int
    recovery: tuple[bytes, ...]
    created_us: int


@dataclass(slots=True, frozen=True)
class SetSecondFactor:
    """AccessRefused where the user has one."""

    factor: SecondFactor


@dataclass(slots=True, frozen=True)
class UseStep:
    """The code of this step was used. AccessRefused where it, or one behind it, was used before."""

    user: str
    step: int


@dataclass(slots=True, frozen=True)
class UseRecovery:
    """This recovery code was used, and is none any more. AccessRefused where it is none."""

    user: str
    hash: bytes


@dataclass(slots=True, frozen=True)
class ClearSecondFactor:
    """The password is enough from now on; nothing where it was before."""

    user: str


@dataclass(slots=True, frozen=True)
class AuditSent:
    """All of the audit up to record `last` was sent to the repository that keeps it as well; never goes back."""

    last: int


AccessEdit = (
    AddUser
    | SetPassword
    | SetGrants
    | SetDisabled
    | OpenSession
    | SeenSession
    | CloseSession
    | CloseSessions
    | AddToken
    | RevokeToken
    | AuditSent
    | SetSecondFactor
    | UseStep
    | UseRecovery
    | ClearSecondFactor
    | SearchEdit
)


class AccessRefused(Exception):
    """Nothing was done; the sentence says why. `is_missing`: there is no such user or token."""

    def __init__(self, sentence: str, *, is_missing: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.is_missing = is_missing


NO_ADMIN: Final = "this is the last admin: make another one first"


def has_admin(users: Iterable[User]) -> bool:
    """Whether somebody may administer the site, also when the identity provider is away."""
    return any(user.grants.get(SITE) == "admin" and not user.is_disabled and not user.is_by_provider for user in users)


def may_take_an_admin(edits: Iterable[AccessEdit]) -> bool:
    """Whether there may be one admin less by these edits. Where there was one, a store refuses (AccessRefused) what
    leaves none, within the transaction: two admins who disable each other at once would else both be let through."""
    return any(isinstance(edit, SetGrants) or (isinstance(edit, SetDisabled) and edit.is_disabled) for edit in edits)


class AccessQueries(SavedSearchQueries, Protocol):
    """The reader's side: what is committed now, from any thread."""

    def users(self) -> Sequence[User]:
        """All of them, by name."""
        ...

    def user(self, name: str) -> User | None: ...

    def session(self, hash_: bytes) -> Session | None:
        """As it is kept; the caller looks at its times, and at its user."""
        ...

    def sessions(self, user: str) -> Sequence[Session]: ...

    def tokens(self) -> Sequence[ApiToken]:
        """All of them, by name, also those that have ended."""
        ...

    def token(self, hash_: bytes) -> ApiToken | None: ...

    def second_factor(self, user: str) -> SecondFactor | None: ...

    def audit_sent(self) -> int:
        """Up to which record the audit was sent on; 0 if nothing was."""
        ...
