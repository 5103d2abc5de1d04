"""Passwords: hashed with Argon2id on threads of low priority, a few at a time.

A hash takes 19 MiB and some 20 ms of a core (OWASP's first choice, reliability.md 4.3): a crowd that signs in must take
neither the memory nor the cores from the messages. So two are made at a time, some wait, and the rest is refused.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from engine.adapters.giving_way import be_nice

T = TypeVar("T")

AT_A_TIME: Final = 2
MOST_WAITING: Final = 16
MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256
MIN_CHARACTERS: Final = 5
"""So many different ones: `aaaaaaaaaaaa` is long and no password."""
ONE_TIME_GROUPS: Final = 5
LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Of one-time passwords: nothing that is read as something else when it is copied from a screen."""


class TooBusy(Exception):
    """As many wait for a hash as may."""


class WeakPassword(Exception):
    """It may not be one; the sentence says why, and nothing of it."""


def check_password(password: str, name: str) -> None:
    """Raises WeakPassword. Length before kinds of characters (NIST SP 800-63B section 5.1.1.2)."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPassword(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if len(set(password)) < MIN_CHARACTERS:
        raise WeakPassword(f"a password has at least {MIN_CHARACTERS} different characters")
    if name in password.lower() and len(password) < len(name) + MIN_LENGTH:
        raise WeakPassword("the user's name is not a part of the password")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise WeakPassword("a password is made of characters") from None


def one_time_password() -> str:
    """124 bits or so, in groups that can be read out."""
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(5)) for _ in range(ONE_TIME_GROUPS))


class Passwords:
    """Makes and checks hashes. May be used from several loops; `close` lets go of its threads."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._pool = ThreadPoolExecutor(AT_A_TIME, "segmill-passwords", be_nice)
        self._lock = threading.Lock()
        self._waiting = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """Raises TooBusy."""
        return await self._run(self._hasher.hash, password)

    async def is_right(self, hash_: str | None, password: str) -> bool:
        """Whether it is the password. `hash_` None, where there is no such user: False, after the same work."""
        return await self._run(self._verify, hash_, password)

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, hash_: str | None, password: str) -> bool:
        if hash_ is None and not self._nobody:
            self._nobody = self._hasher.hash(secrets.token_urlsafe())
        try:
            self._hasher.verify(self._nobody if hash_ is None else hash_, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return hash_ is not None

    async def _run(self, work: Callable[..., T], *given: object) -> T:
        with self._lock:
            if self._waiting >= AT_A_TIME + MOST_WAITING:
                raise TooBusy
            self._waiting += 1
        try:
            running = self._pool.submit(work, *given)
        except RuntimeError:
            self._done()
            raise TooBusy from None
        # Also where nobody waits for it any more: what counts is the work, not the client.
        running.add_done_callback(lambda _: self._done())
        return await asyncio.wrap_future(running)

    def _done(self) -> None:
        with self._lock:
            self._waiting -= 1
