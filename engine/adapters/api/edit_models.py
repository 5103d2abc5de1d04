"""What the API takes and gives of edited messages."""

from typing import Annotated

from pydantic import StringConstraints

from engine.adapters.api.entries import ApiModel
from engine.adapters.api.models import RunKey, Sentence


class EditBody(ApiModel):
    """A message in another's place, as Base64. `keep_id`: with its MSH-10 as it is; else it gets a new one."""

    raw: Annotated[str, StringConstraints(max_length=1_500_000, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
    keep_id: bool = False


class ChangeShown(ApiModel):
    """One place, as it stands in the message; None: it is not there."""

    path: str
    before: str | None
    after: str | None


class EditPlan(ApiModel):
    """What an edited message has otherwise: a reading of both. `plan`: what sending it must name."""

    plan: str
    changes: list[ChangeShown]
    more: int


class EditOrderBody(EditBody):
    """Send it as a new message, as planned. `key`: as of OrderBody."""

    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    reason: Sentence = ""
    key: RunKey = ""
