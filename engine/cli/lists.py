"""Lists of revoked certificates, as `check --env` and `doctor` tell of them."""

from datetime import datetime
from pathlib import Path
from typing import Final

NEXT_LIST: Final = "Put the authority's next list there; then segmill reload takes it up."


def list_trouble(path: Path, now: datetime) -> tuple[str, str]:
    """Code and message of a list that has run out (E594) or will soon (W594); two times '' for one that is good.

    Raises ConfigError for a file that holds none.
    """
    from engine.adapters.tls import revocations_of
    from engine.adapters.tls_status import RevocationList

    ending = [(begins, ends) for begins, ends in revocations_of(path) if ends is not None]
    if not ending:
        return "", ""
    begins, ends = min(ending, key=lambda one: one[1])
    at = f"{ends:%Y-%m-%d %H:%M} UTC"
    if ends <= now:
        return "E594", f"the list of revoked certificates in {path} ended on {at}: nobody of its authority is let in"
    if RevocationList(begins.timestamp(), ends.timestamp()).ends_soon(now.timestamp()):
        return "W594", f"the list of revoked certificates in {path} ends on {at}"
    return "", ""
