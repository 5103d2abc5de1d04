"""A Study Instance UID for an order that carries none (dicom.md 1.4).

The same order has the same UID after a resend, a restart and on another engine; two hospitals that both count their
procedures from 1 do not share any, as the feed's own namespace and who assigned the numbers are in it.
"""

import uuid
from typing import Final

from engine.worklist.item import EntityId

SEGMILL: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://segmill.org/worklist/study")


def derived_uid(feed: str, accession: EntityId, procedure_id: str) -> str | None:
    """`2.25.` and a name-based UUID (PS3.5 annex B.2), at most 44 characters; None with nothing to derive it from.

    `feed`: the namespace of the feed, from the destination's settings or else its channel.
    """
    if not accession and not procedure_id:
        return None
    # Lengths go in, so that no two different triples make the same text.
    parts = (feed, accession.issuer, accession.id, procedure_id)
    name = "|".join(f"{len(part)}:{part}" for part in parts)
    return f"2.25.{uuid.uuid5(SEGMILL, name).int}"


def random_uid(sixteen_bytes: bytes) -> str:
    """A UID out of 16 random bytes."""
    return f"2.25.{uuid.UUID(bytes=sixteen_bytes, version=4).int}"
