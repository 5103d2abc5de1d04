"""What `segmill queue pause` and `resume` share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from engine.cli.command import misuse
from engine.cli.output import count, emit, say
from engine.cli.queueing import new_key, require_lane
from engine.cli.sites import whereabouts

APP_ACK: Final = "app_ack"
"""The lane of acknowledgements over a connection of our own: paused by its name only."""


def pause_or_resume(
    action: Literal["pause", "resume"],
    places: Sequence[str],
    intake: bool,
    reason: str,
    key: str | None,
    site: Path | None,
    data: Path | None,
    *,
    as_json: bool,
) -> int:
    """Have it done, and say what was."""
    from engine.cli.engine_access import RunningEngine

    engine = RunningEngine(whereabouts(site, data).data)
    status = engine.status()
    paused = [(pause["channel"], pause["destination"]) for pause in engine.paused()]
    if not places:
        lanes = paused
    elif intake:
        if any("/" in place for place in places):
            raise misuse("--intake is of a channel, not of a destination")
        for place in places:
            if (place, "") not in paused:
                require_lane(status["channels"], place, None)
        lanes = [(place, "") for place in places]
    else:
        lanes = [lane for place in places for lane in _lanes(place, status["channels"], paused)]
    meant = [lane for lane in dict.fromkeys(lanes) if (lane in paused) == (action == "resume")]
    if meant:
        engine.order(action, lanes=[list(lane) for lane in meant], key=new_key(key), reason=reason)
    shown = [f"{channel}/{destination}" if destination else f"{channel} (intake)" for channel, destination in meant]
    if as_json:
        emit({"action": action, "lanes": shown})
    elif not meant:
        say("Nothing of that is paused." if action == "resume" else "All of that is paused already.")
    else:
        say(f"{'paused' if action == 'pause' else 'goes on'}: {', '.join(shown)}")
        if action == "pause" and not intake:
            waits = f"What comes for {count(len(meant), 'destination')} waits"
            say(f"{waits} until: segmill queue resume {' '.join(places)}")
    return 0


def _lanes(place: str, channels: Sequence[dict[str, Any]], paused: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    channel, slash, destination = place.partition("/")
    if slash:
        if not channel or not destination:
            raise misuse(f"'{place}' is no destination: write CHANNEL/DESTINATION")
        if (channel, destination) not in paused:  # what is gone from the files may still be paused
            require_lane(channels, channel, destination)
        return [(channel, destination)]
    require_lane(channels, channel, None)
    found = next(one for one in channels if one["channel"] == channel)
    return [(channel, lane["destination"]) for lane in found["lanes"] if lane["destination"] != APP_ACK]
