"""Whom a client's certificate names (RFC 9525 section 2: the alternative names; the common name only without any)."""

from collections.abc import Mapping
from typing import Any, Final

MOST_NAMES: Final = 1000
"""More than certificates of the largest servers have: `client_names` looks for its names among all of these."""
MOST_CHARS: Final = 253
"""Of one name: what DNS allows."""


def names_of(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a certificate as `ssl.SSLSocket.getpeercert` gives it, in their order; control characters as `?`."""
    found = [value for kind, value in certificate.get("subjectAltName", ()) if kind in _KINDS]
    if not found:
        found = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return tuple(_shown(name) for name in found[:MOST_NAMES])


_KINDS: Final = frozenset(("DNS", "URI", "email", "IP Address"))


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:MOST_CHARS])
