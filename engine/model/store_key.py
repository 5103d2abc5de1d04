"""The key that a site keeps outside of its store: what it is, and what it is called (ADR 54)."""

import base64
import binascii
import os
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

KEY_BYTES: Final = 32


@dataclass(slots=True, frozen=True)
class StoreKey:
    """The site's key for its store. `id` may be shown and is; the key itself is in no text of this class."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """A short name for it, made of a hash of it."""
        return blake2b(self.secret, digest_size=6, person=b"segmill-key").hexdigest()

    @classmethod
    def parse(cls, text: str) -> "StoreKey":
        """From a line of base64. ValueError with a sentence, which quotes nothing of it."""
        line = text.lstrip("\ufeff").strip()
        if not line:
            raise ValueError("the key is empty")
        try:
            secret = base64.b64decode(line.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError, ValueError):
            raise ValueError("the key is not one line of base64") from None
        if len(secret) != KEY_BYTES:
            raise ValueError(f"the key has {len(secret)} bytes where it must have {KEY_BYTES}")
        if len(set(secret)) == 1:
            raise ValueError("the key is one byte again and again")
        return cls(secret)

    @classmethod
    def make(cls) -> "StoreKey":
        """A new one."""
        return cls(os.urandom(KEY_BYTES))

    def line(self) -> str:
        """As it stands in a file."""
        return base64.b64encode(self.secret).decode()


@dataclass(slots=True, frozen=True)
class StoreKeys:
    """What the site has configured: the key, and the one before it while keys are changed."""

    current: StoreKey | None = None
    previous: StoreKey | None = None

    def by_id(self, id_: str) -> StoreKey | None:
        """The one with this id."""
        return next((key for key in (self.current, self.previous) if key is not None and key.id == id_), None)

    def ids(self) -> str:
        """For a sentence."""
        ids = [key.id for key in (self.current, self.previous) if key is not None]
        return " and ".join(ids) or "none"


NO_KEYS: Final = StoreKeys()

OLD_KEY_S: Final = 365 * 86_400
"""From this age a key is spoken of: on the console, in `segmill store status`, and by the alert."""


@dataclass(slots=True, frozen=True)
class KeysInUse:
    """Of an encrypted store: since when the site's key closes it, and since when there is the data key that new values
    are sealed with. Microseconds since 1970; how old the site's key itself is, nobody knows.
    """

    site_id: str
    site_us: int
    data_number: int
    data_us: int
