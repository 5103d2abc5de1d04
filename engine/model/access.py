"""Who may do what: roles, what each allows, and the channels that it is given for.

One table (`ALLOWS`) says what a role may; one rule says where: a grant is of a channel, or of the whole site (`SITE`).
What no grant gives is refused. A role includes the ones before it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Role = Literal["viewer", "operator", "analyst", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""From the least to the most."""

Permission = Literal["see", "read", "operate", "engineer", "administer"]
PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)
"""`see`: channels, queues, lists without values. `read`: values of messages; each time is on record. `operate`: pause,
retry, hold, release, skip, redirect, resend. `engineer`: code tables, plan and reload. `administer`: users, tokens,
the audit."""

ALLOWS: Final[Mapping[Role, frozenset[Permission]]] = {
    "viewer": frozenset({"see"}),
    "operator": frozenset({"see", "read", "operate"}),
    "analyst": frozenset({"see", "read", "operate", "engineer"}),
    "admin": frozenset(PERMISSIONS),
}

SITE: Final = "*"
"""In the place of a channel: all of them, and what is of no channel."""

Grants = Mapping[str, Role]

_USER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_CHANNEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def is_user_name(text: str) -> bool:
    """Small letters, digits and `._@-`, at most 64: nothing that looks like another name, or breaks a line."""
    return _USER_NAME.fullmatch(text) is not None


def parse_grants(texts: Mapping[str, str]) -> Grants:
    """Grants of words. ValueError with a sentence for one that is none."""
    found: dict[str, Role] = {}
    for channel, word in texts.items():
        role = next((one for one in ROLES if one == word), None)
        if role is None:
            raise ValueError(f"'{word[:20]}' is no role: {', '.join(ROLES)}")
        if channel != SITE and not _CHANNEL.fullmatch(channel):
            raise ValueError("a grant is of a channel, or of * for the whole site")
        found[channel] = role
    return found


@dataclass(slots=True, frozen=True)
class Principal:
    """Who asks, as far as that was proven. `name`: of a user, or `token NAME`. `address`: where from.

    `must_change`: the password is the one that was given out; nothing is allowed but to change it.
    """

    name: str
    grants: Grants = field(default_factory=dict)
    address: str = ""
    must_change: bool = False
    is_token: bool = False

    def may(self, permission: Permission, channel: str = SITE) -> bool:
        """Whether it is allowed for this channel; without one, for the whole site."""
        if self.must_change:
            return False
        roles = (self.grants.get(SITE), self.grants.get(channel))
        return any(role is not None and permission in ALLOWS[role] for role in roles)

    def channels(self, permission: Permission) -> frozenset[str] | None:
        """The channels for which it is allowed; None: all of them, also those that come."""
        if self.may(permission):
            return None
        return frozenset(channel for channel in self.grants if self.may(permission, channel))

    def may_somewhere(self, permission: Permission) -> bool:
        """Whether it is allowed for any channel at all."""
        found = self.channels(permission)
        return found is None or bool(found)

    @property
    def actor(self) -> str:
        """As the audit names it: who, and from where."""
        return f"{self.name} from {self.address}" if self.address else self.name
