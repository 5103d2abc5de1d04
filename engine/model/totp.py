"""One-time codes by time: RFC 6238 over RFC 4226, as every authenticator app makes them (SHA-1, 6 digits, 30 s)."""

import base64
import hmac
from typing import Final
from urllib.parse import quote, urlencode

SECRET_BYTES: Final = 20
"""As RFC 4226 section 4 recommends."""
STEP_S: Final = 30
DIGITS: Final = 6
WINDOW: Final = 1
"""So many steps before and after now: clocks of telephones differ, and typing takes a while (RFC 6238 section 5.2)."""


def step_of(at_s: float) -> int:
    """The number of the step that a moment is in."""
    return int(at_s // STEP_S)


def code_at(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """The code of one step (RFC 4226 section 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = mac[-1] & 0x0F
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}d}"


def matching_step(secret: bytes, code: str, now_s: float, after: int) -> int | None:
    """The step that a code is of; None where it is of none near now, or of one that is not behind `after`.

    A code is good once: what was used, and all before it, is refused (RFC 6238 section 5.2).
    """
    found = None
    now = step_of(now_s)
    for step in range(now - WINDOW, now + WINDOW + 1):
        is_it = hmac.compare_digest(code_at(secret, step).encode(), code.encode("utf-8", "replace"))
        if is_it and step > after:
            found = step
    return found


def secret_text(secret: bytes) -> str:
    """As people type it into an app: base 32, without padding."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")


def enrolment_uri(secret: bytes, user: str, issuer: str) -> str:
    """What the picture for an app holds: the key URI format of authenticators."""
    label = quote(f"{issuer}:{user}", safe="")
    told = {"secret": secret_text(secret), "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(told, quote_via=quote)}"
