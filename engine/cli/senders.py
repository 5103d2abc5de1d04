"""`segmill senders`: who writes in which character set, and is that what MSH-18 says; and who has gone silent."""

from pathlib import Path
from typing import Any, Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.output import columns, emit, local_time, printable, say, utc_time
from engine.cli.sites import data_option, site_option, whereabouts

EVIDENCE: Final = {
    "declared": "as declared",
    "broken": "some bytes wrong",
    "utf-8": "UTF-8, not declared",
    "windows-1252": "Windows, not 8859/1",
    "fallback": "fallback taken",
}
"""How a message's character set was known, in the words of the table's head."""


@subcommand("senders", "segmill senders", "segmill senders --feeds", "segmill senders --channel adt")
@click.option("--channel", metavar="NAME", help="Only senders of this channel.")
@click.option("--feeds", is_flag=True, help="What each of them sends, what is usual, and what has gone silent.")
@site_option
@data_option
@json_option("one object a sender")
def command(channel: str | None, feeds: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show in which character sets the senders write, and which of their feeds are silent.

    Of the engine that runs, since its start: for each channel and sender (MSH-3, MSH-4), how many messages beyond plain
    ASCII were read as MSH-18 declares, and how many were not. The first 200 senders of a channel are counted by name.

    --feeds: by sender and kind of message, when the last one came, how many are usual in an hour like this one (the
    median of this weekday and hour of the weeks before), and how many would usually have come since. From ten on, it
    is called silent. A feed is learned after three weeks.
    """
    from engine.cli.engine_access import RunningEngine

    status = RunningEngine(whereabouts(site, data).data).status()
    if feeds:
        rows = [row for one in status["channels"] if channel in (None, one["channel"]) for row in one["feeds"]]
        return _show_feeds(rows, as_json)
    found: list[dict[str, Any]] = [
        {"channel": one["channel"], "sender": row["sender"], "charsets": row["charsets"]}
        for one in status["channels"]
        if channel in (None, one["channel"])
        for row in one["senders"]
    ]
    if as_json:
        for record in found:
            emit(record)
        return 0
    if not found:
        say("no message beyond plain ASCII came in since the engine started")
        return 0
    rows = [
        [one["channel"], printable(one["sender"]), *(str(one["charsets"].get(name, "")) for name in EVIDENCE)]
        for one in found
    ]
    click.echo(columns(["channel", "sender", *EVIDENCE.values()], rows, right=list(EVIDENCE.values())))
    return 0


def _show_feeds(feeds: list[dict[str, Any]], as_json: bool) -> int:
    """Silent ones first."""
    feeds.sort(key=lambda feed: -feed["missed"])
    if as_json:
        for feed in feeds:
            newest = utc_time(feed.pop("newest_us"))
            emit({**feed, "newest_at": newest, "missed": round(feed["missed"], 1)})
        return 0
    if not feeds:
        say("no message has come in that the store remembers, or the engine has not looked yet: it does once a minute")
        return 0
    rows = [
        [
            feed["channel"],
            printable(feed["sender"]),
            printable(feed["kind"]),
            local_time(feed["newest_us"]),
            "" if feed["usual"] is None else f"{feed['usual']:g}",
            f"{feed['missed']:.0f}" if feed["missed"] else "",
            "silent" if feed["is_silent"] else "not learned yet" if feed["usual"] is None else "",
        ]
        for feed in feeds
    ]
    heads = ["channel", "sender", "kind", "last", "usual in an hour", "missed", ""]
    click.echo(columns(heads, rows, right=["usual in an hour", "missed"]))
    return 0
