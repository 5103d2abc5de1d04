"""One-time codes for local users: set up, asked for at sign-in, and what is left for whoever lost the telephone.

- The secret is shown once, while it is set up, to whoever just gave the password; it counts when a code of it was
  given.
- A code is good once, also among several that sign in at the same moment: its step is a part of the transaction that
  opens the session.
- Recovery codes are shown once, and kept as hashes.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from engine.adapters.api.problems import Problem
from engine.model.totp import SECRET_BYTES, enrolment_uri, matching_step, secret_text
from engine.ports.access import AccessEdit, SecondFactor, SetSecondFactor, UseRecovery, UseStep

RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10
"""80 bits: nobody finds one by its hash."""
PENDING_S: Final = 600.0
MOST_PENDING: Final = 256
"""Of those who set it up at this moment; the oldest begin again."""
WRONG: Final = "E579"


@dataclass(slots=True, frozen=True)
class Enrolment:
    """What an authenticator app is given. `until_us`: when it must be confirmed."""

    secret: str
    uri: str
    until_us: int


@dataclass(slots=True, frozen=True)
class _Pending:
    secret: bytes
    until_us: int


class Enrolments:
    """Those that are under way, by session. Used by one loop."""

    def __init__(self) -> None:
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()

    def begin(self, session: bytes, user: str, issuer: str, now_us: int) -> Enrolment:
        """A secret for this session; one that was begun before is none any more."""
        secret = secrets.token_bytes(SECRET_BYTES)
        until_us = now_us + int(PENDING_S * 1_000_000)
        self._pending.pop(session, None)
        self._pending[session] = _Pending(secret, until_us)
        while len(self._pending) > MOST_PENDING:
            self._pending.popitem(last=False)
        return Enrolment(secret_text(secret), enrolment_uri(secret, user, issuer), until_us)

    def end(self, session: bytes, user: str, code: str, now_us: int) -> tuple[SetSecondFactor, list[str]]:
        """What is to be stored, and the recovery codes. Raises Problem; a code that is wrong may be given again."""
        pending = self._pending.get(session)
        if pending is None or pending.until_us <= now_us:
            raise Problem(409, "E485", "nothing was begun, or too long ago")
        step = matching_step(pending.secret, _plain(code), now_us / 1e6, 0)
        if step is None:
            raise Problem(422, WRONG, "is the clock of this machine, and of yours, right?")
        del self._pending[session]
        codes = [recovery_code() for _ in range(RECOVERY_CODES)]
        factor = SecondFactor(user, pending.secret, step, tuple(hash_of(code) for code in codes), now_us)
        return SetSecondFactor(factor), codes


def recovery_code() -> str:
    """In groups that can be read out."""
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode("ascii").lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def hash_of(code: str) -> bytes:
    return hashlib.sha256(_plain(code).encode()).digest()


def _plain(code: str) -> str:
    """As it is meant, however it was typed."""
    return re.sub(r"[\s-]", "", code).lower()


def use_of(factor: SecondFactor, code: str, now_us: int) -> AccessEdit | None:
    """What using this code comes to; None where it is none, or not any more."""
    plain = _plain(code)
    if len(plain) <= 8:
        step = matching_step(factor.secret, plain, now_us / 1e6, factor.last_step)
        return None if step is None else UseStep(factor.user, step)
    given = hash_of(code)
    found = [kept for kept in factor.recovery if hmac.compare_digest(kept, given)]
    return UseRecovery(factor.user, found[0]) if found else None
