"""What pages ask of the engine and the site's files, within what the one who asks may see."""

from typing import Annotated

from pydantic import StringConstraints

from engine.adapters.admin_app import STATUS_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.models import LINE
from engine.adapters.api.problems import not_there
from engine.config.site import LoadedChannel
from engine.ports.control import ChannelStatus

TableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\.csv$")]
Kept = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,40}$")]
"""The id of a search that is kept for the session; '' for none."""
GroupId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Cell = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=LINE)]
"""Of a row of a table."""


async def status_seen(call: Call) -> list[ChannelStatus]:
    """The channels now, as far as they may be seen."""
    found = await call.api.calls.ask(call.api.control.status(), STATUS_TIMEOUT_S)
    return [one for one in found if call.who.may("see", one.channel)]


def channels_seen(call: Call) -> tuple[str, ...] | None:
    """The names of those that may be seen; None: all, also those that are gone from the files."""
    allowed = call.who.channels("see")
    return None if allowed is None else tuple(sorted(allowed))


def loaded_seen(call: Call) -> list[LoadedChannel]:
    """The channels as the engine runs with them, as far as they may be seen."""
    return [one for one in call.api.site().channels if call.who.may("see", str(one.name))]


def loaded(call: Call, name: str) -> LoadedChannel:
    """One of them; raises Problem."""
    found = next((one for one in loaded_seen(call) if one.name == name), None)
    if found is None:
        raise not_there()
    return found
