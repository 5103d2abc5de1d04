"""`segmill queue list`: what waits for each destination, since when, and what it waits for."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, member
from engine.cli.output import columns, count, emit, printable, say, styled, utc_time
from engine.cli.queue import LIST, SUBCOMMANDS
from engine.cli.queueing import require_lane
from engine.cli.selection import utc_now
from engine.cli.sites import Whereabouts, data_option, site_option, whereabouts
from engine.model.audit import ranges

COLOURS = {"failed": "red", "stopped": "red", "down": "red", "paused": "yellow", "waiting": "cyan"}
HEADERS = ("channel", "destination", "state", "queued", "held", "oldest", "head", "attempts", "why")


@member(SUBCOMMANDS["list"], "list", *LIST)
@click.argument("channels", nargs=-1, metavar="[CHANNEL]...")
@site_option
@data_option
@json_option("one object a destination")
def command(channels: tuple[str, ...], site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show what waits for each destination, and why.

    Of the engine that runs: the state of each destination (idle, sending, waiting, stopped for a person, down, paused,
    failed), how many deliveries are queued and held, how old the oldest is, the message that goes next and how often it
    was tried, what the last attempt came to, and where order_by is set, how many keys are held up by a delivery that
    waits for its next attempt, and by which (segmill queue retry tries it at once). Ends with 1 while one is stopped,
    down, paused or failed.
    """
    from engine.cli.engine_access import RunningEngine

    place = whereabouts(site, data)
    status = RunningEngine(place.data).status()
    for name in channels:
        require_lane(status["channels"], name, None)
    now = utc_now()
    found = [one for one in status["channels"] if not channels or one["channel"] in channels]
    stands_still = False
    rows: list[tuple[str, ...]] = []
    for channel in found:
        if channel["intake_paused_by"]:
            stands_still = True
            if as_json:
                told = {"channel": channel["channel"], "state": "paused", "paused_by": channel["intake_paused_by"]}
                emit({**told, "destination": None})
            else:
                by = printable(channel["intake_paused_by"])
                rows.append((channel["channel"], "(intake)", _coloured("paused"), "", "", "", "", "", by))
        for lane in channel["lanes"]:
            stands_still |= lane["state"] in ("failed", "stopped", "down", "paused")
            if as_json:
                emit(
                    {
                        **{key: value for key, value in lane.items() if key != "oldest_us"},
                        "oldest_received_at": utc_time(lane["oldest_us"]),
                        "age_s": _age_s(lane["oldest_us"], now),
                    }
                )
            else:
                rows.append(_row(lane, now))
    if rows:
        click.echo(columns(HEADERS, rows, right=("queued", "held", "oldest", "head", "attempts")))
    elif not as_json:
        say("No destination.")
    if not as_json:
        _tell_held(place, [one["channel"] for one in found])
    return int(stands_still)


def _tell_held(place: Whereabouts, channels: Sequence[str]) -> None:
    """Messages that are held as a whole are in no destination's queue, and wait for a person all the same."""
    from engine.cli.stores import open_queries

    if not place.store.is_file():
        return
    with open_queries(place.store, place.keys) as queries:
        counts = queries.counts()
    for channel in channels:
        if held := sum(number for (name, state), number in counts.items() if (name, state) == (channel, "held")):
            where = f"segmill messages --channel {channel} --state held"
            waits = "is held and waits" if held == 1 else "are held and wait"
            say(f"{count(held, 'message')} of {channel} {waits} for a person: {where}")


def _row(lane: dict[str, Any], now: datetime) -> tuple[str, ...]:
    age_s = _age_s(lane["oldest_us"], now)
    return (
        lane["channel"],
        lane["destination"],
        _coloured(lane["state"]),
        str(lane["queued"]),
        str(lane["held"]),
        age(age_s) if age_s is not None else "",
        "" if lane["head"] is None else str(lane["head"]),
        str(lane["attempts"]) if lane["attempts"] else "",
        "; ".join(filter(None, (printable(lane["paused_by"] or lane["last_note"]), _blocked(lane)))),
    )


def _blocked(lane: dict[str, Any]) -> str:
    """How many keys of order_by are held up, and by which messages; never the keys, which may be patients' numbers."""
    if not lane["blocked"]:
        return ""
    more = ", ..." if lane["blocked"] > len(lane["blocked_by"]) else ""
    return f"{count(lane['blocked'], 'key')} held up by message {ranges(sorted(lane['blocked_by']))}{more}"


def _coloured(state: str) -> str:
    return styled(state, fg=COLOURS[state]) if state in COLOURS else state


def _age_s(oldest_us: int, now: datetime) -> int | None:
    return max(0, round(now.timestamp() - oldest_us / 1_000_000)) if oldest_us else None


def age(seconds: int) -> str:
    """`12s`, `4m`, `3h`, `2d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
