"""Which keys have a secret for their value, by their names."""

import re
from itertools import pairwise
from typing import Final

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_KEYS: Final = frozenset(
    {"access", "account", "api", "auth", "encryption", "hmac", "master", "private", "shared", "signing", "ssh"}
)
"""What a key is that is none of a mapping."""
_ENDS: Final = (
    *(f"{kind}key{end}" for kind in sorted(_KEYS) for end in ("", "s")),
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secrets",
    "token",
    "tokens",
    "credential",
    "credentials",
    "authorization",
)
_ABOUT: Final = frozenset(
    {
        "endpoint",
        "file",
        "files",
        "folder",
        "header",
        "length",
        "lifetime",
        "path",
        "ttl",
        "uri",
        "url",
        "expires",
        "type",
    }
)
"""The last word of names that tell something about a secret, or where it is."""
_LOGIN = re.compile(r"(://[^/\s@:]*:)(?!\$\{)[^/\s]+(?=@)")


def is_secret_key(name: str) -> bool:
    """Whether what stands behind a key of that name is not to be shown: `apiKey`, `X-Auth-Token`, `db_password`.

    `key` alone is a file's name, or one of a mapping's; `search_keys`, `secretary` and `token_url` say nothing.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    return any(word.endswith(_ENDS) for word in words) or any(
        one in _KEYS and other in ("key", "keys") for one, other in pairwise(words)
    )


def without_logins(text: str, instead: str = "***") -> str:
    """The text with the passwords in addresses, as in `http://user:password@host/`, replaced."""
    return _LOGIN.sub(lambda found: found[1] + instead, text)
