"""What came of an HTTP request that got no answer, in words that people understand."""

import re
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2


def why_failed(error: "httpx2.HTTPError") -> str:
    """The kind of failure, in words: the library's own may hold anything."""
    import httpx2

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate does not pass: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'failed'}".lower().replace("_", " ").replace("tls", "TLS")
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, TimeoutError):
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.TimeoutException):
        return "time-out"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
