"""`segmill queue retry`: what waits for its time is tried now."""

from typing import TYPE_CHECKING

from engine.cli.output import emit, printable, say
from engine.cli.queue import RETRY
from engine.cli.queue_orders import Asked, order_command
from engine.cli.queueing import new_key, require_lane
from engine.cli.selection import Search

if TYPE_CHECKING:
    from engine.cli.engine_access import RunningEngine


@order_command("retry", RETRY)
def command(asked: Asked) -> int:
    """Try again now what waits for its time.

    A destination ends its wait, be it for a receiver that is down or for a person, and tries what is first in its
    queue. What was named by number or found by a search is tried as soon as it is first there, without a wait.
    """
    wanted = asked.wanted
    channel, destination = wanted.search.channel, wanted.destination
    is_whole = not wanted.is_by_number and wanted.search == Search(channel=channel)
    if is_whole and not asked.is_plan and channel is not None and destination is not None:
        run = new_key(asked.key)
        return _whole(asked.engine, channel, destination, run, asked.reason, asked.scope, as_json=asked.as_json)
    return asked.carry_out("retry", verb="Try again", done="to be tried at once", asks=False)


def _whole(
    engine: "RunningEngine", channel: str, destination: str, run: str, reason: str, scope: str, *, as_json: bool
) -> int:
    """Have a destination end its wait, and say what it stood there for: not all of that ends by this."""
    channels = engine.status()["channels"]
    require_lane(channels, channel, destination)
    (lane,) = (
        lane
        for one in channels
        if one["channel"] == channel
        for lane in one["lanes"]
        if lane["destination"] == destination
    )
    engine.order("retry", lanes=[[channel, destination]], key=run, reason=reason, scope=scope)
    name = f"{channel}/{destination}"
    if as_json:
        emit({"action": "retry", "lanes": [name], "was": lane["state"], "queued": lane["queued"], "key": run})
    elif lane["state"] == "paused":
        say(f"{name} is paused: nothing is tried until segmill queue resume {name}")
    elif not lane["queued"]:
        say(f"nothing waits for {name}")
    else:
        why = f": {printable(lane['last_note'])}" if lane["last_note"] else ""
        say(f"{name} tries again (it was {lane['state']}{why})")
    return 0
