"""`segmill compare`: two messages, two folders, or what two destinations got, held against each other by field."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.message_files import read_messages
from engine.cli.output import columns, count, emit, printable, say, styled
from engine.cli.progress import counted
from engine.cli.reading import note_reading
from engine.cli.selection import moment_us, utc_now
from engine.cli.sites import data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.hl7.path import Path as Hl7Path
    from engine.pipeline.compare import Change
    from engine.pipeline.paired import Compared, One, Pair
    from engine.ports.store import StoreQueries

EXAMPLES = 40
"""Characters of a value in the table of places."""
UNPAIRED = 10
"""So many messages without their like are named."""


@subcommand(
    "compare",
    "segmill compare samples/adt/adt_a01_2.5.1.hl7 samples/adt/adt_a01_2.4.hl7",
    "segmill compare samples/adt samples/adt --ignore MSH-7 --summary",
    "segmill compare --stored adt/ris adt/archive --since 1d",
)
@click.argument("left")
@click.argument("right")
@click.option("--stored", is_flag=True, help="LEFT and RIGHT are destinations, CHANNEL/NAME, and what they got.")
@click.option(
    "--by", default="MSH-10", show_default=True, metavar="PATH", help="What messages of a pair have in common."
)
@click.option(
    "--ignore", multiple=True, metavar="PATH", help="A place, with all below it, that may differ; repeatable."
)
@click.option("--since", metavar="TIME", help="With --stored, received since: 2h, 7d, or 2026-11-22T08:00.")
@click.option("--summary", is_flag=True, help="Only the counts and the places, not each pair.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Show so many pairs at most.")
@site_option
@data_option
@json_option("one object a pair that differs, and a summary,")
def command(
    left: str,
    right: str,
    stored: bool,
    by: str,
    ignore: tuple[str, ...],
    since: str | None,
    summary: bool,
    limit: int,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Hold messages against each other, field by field.

    LEFT and RIGHT are files or folders, with one message or many in each. Messages are paired by their control id; two
    files of one message each are a pair anyway. Shows what differs in each pair, then the places at which pairs
    differ, the most frequent first, each with an example. With --stored, what two destinations got: feed a channel
    beside another engine's, or a new channel beside the old one, and compare; that you look at these is put on record.
    Ends with 1 if anything differs.
    """
    from engine.pipeline.paired import Compared, paired

    path = _path("--by", by)
    places = [str(_path("--ignore", place)) for place in ignore]
    heaps = _of_store(left, right, since, site, data) if stored else _of_files(left, right, since)
    found = Compared()
    shown = 0
    pairs = _one_pair(heaps, places) if _is_one_each(heaps) else paired(*heaps, path, places)
    for pair in counted(pairs, "pairs", prints=not summary):
        found.note(pair)
        if pair.is_same or summary or shown >= limit:
            continue
        shown += 1
        if as_json:
            emit(_pair_as_json(pair))
        else:
            click.echo("\n".join(_pair_lines(pair)))
    if as_json:
        emit(_as_json(found, shown))
        if not summary and shown < _told(found):
            say(_limited(shown, found))
    else:
        _print(found, shown, by, is_one=_is_one_each(heaps))
    return 0 if found.is_same else FINDINGS


Heaps = tuple[list["One"], list["One"]]


def _path(option: str, text: str) -> "Hl7Path":
    from engine.hl7.errors import PathError
    from engine.hl7.path import compile_path

    try:
        return compile_path(text)
    except PathError as error:
        raise misuse(f"{option} {text}: {error}") from None


def _of_files(left: str, right: str, since: str | None) -> Heaps:
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.pipeline.paired import One

    if since is not None:
        raise misuse("--since goes with --stored: files have no time of receipt")

    def read(name: str) -> list[One]:
        found = []
        for file in counted(read_messages([name]), "messages"):
            try:
                found.append(One(file.name, Message.parse(file.raw)))
            except UnreadableMessage as error:
                raise misuse(f"{file.name}: {error.reason}") from None
        return found

    return read(left), read(right)


def _of_store(left: str, right: str, since: str | None, site: Path | None, data: Path | None) -> Heaps:
    from engine.cli.stores import open_queries

    since_us = moment_us(since, utc_now()) if since is not None else 0
    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        seqs: set[int] = set()
        heaps = tuple(list(_delivered(queries, lane, since_us, seqs)) for lane in (left, right))
    if seqs:
        note_reading(place, sorted(seqs), f"compare --stored {left} {right}")
    return heaps  # type: ignore[return-value]


def _delivered(queries: "StoreQueries", lane: str, since_us: int, seqs: set[int]) -> Iterator["One"]:
    """What a destination got or is to get, in order of receipt. What has no bytes any more or is no HL7 is told.

    `seqs` gets the numbers of the messages.
    """
    from engine.hl7.convert import ConversionError, hl7_of
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.model.ids import ChannelName
    from engine.pipeline.paired import One

    channel, slash, destination = lane.partition("/")
    if not (channel and slash and destination):
        raise misuse(f"'{lane}' is no destination: write CHANNEL/NAME, such as adt/ris")
    known = {(depth.channel, depth.destination) for depth in queries.depths()}
    if known and (channel, destination) not in known:
        names = ", ".join(sorted("/".join(one) for one in known))
        raise misuse(f"nothing was ever stored for {lane}; there is {names}")
    left_out = 0
    every = queries.messages(channel=ChannelName(channel), since_us=since_us, newest_first=False, bodies=True)
    for stored in counted(every, "messages"):
        for delivery in queries.deliveries(stored.seq, bodies=True):
            if delivery.destination != destination or delivery.state == "redirected":
                continue
            body = stored.raw if delivery.body is None else delivery.body
            try:
                if body is None:
                    left_out += 1
                else:
                    yield One(f"message {stored.seq} to {lane}", Message.parse(hl7_of(body)))
                    seqs.add(stored.seq)
            except (UnreadableMessage, ConversionError):
                left_out += 1
    if left_out:
        say(f"{count(left_out, 'delivery', 'deliveries')} to {lane} left out: the bytes are gone, or no HL7")


def _is_one_each(heaps: Heaps) -> bool:
    return len(heaps[0]) == len(heaps[1]) == 1


def _one_pair(heaps: Heaps, ignored: list[str]) -> Iterator["Pair"]:
    """Two messages that somebody names belong together, whatever stands in them."""
    from engine.hl7.path import compile_path
    from engine.pipeline.paired import Pair, paired

    (left,), (right,) = heaps
    nothing = compile_path("MSH-1")
    for pair in paired([left], [right], nothing, ignored):
        yield Pair(left.name, pair.left, pair.right, pair.changes)


def _pair_lines(pair: "Pair") -> Iterator[str]:
    if pair.left is None or pair.right is None:
        there = pair.left or pair.right
        assert there is not None, "a pair has at least one side"
        side = "left" if pair.left is not None else "right"
        yield f"{styled(printable(pair.key), bold=True)}  only on the {side}: {printable(there.name)}"
        return
    yield f"{styled(printable(pair.key), bold=True)}  {printable(pair.left.name)}  {printable(pair.right.name)}"
    for change in pair.changes:
        yield f"  {printable(change.path)}  {_side(change.before, 'red')} -> {_side(change.after, 'green')}"


def _side(text: str | None, colour: str) -> str:
    return styled("(none)" if text is None else f'"{printable(text)}"', fg=colour)


def _print(found: "Compared", shown: int, by: str, *, is_one: bool) -> None:
    if is_one and (shown or found.is_same):
        say("they are the same" if found.is_same else "they differ")
        return
    if shown and shown < _told(found):
        click.echo(_limited(shown, found))
    if found.places:
        click.echo(columns(("place", "messages", "example"), _rows(found), right=("messages",)))
    for side, keys in (("left", found.only_left), ("right", found.only_right)):
        if keys:
            more = f" and {len(keys) - UNPAIRED:,} more" if len(keys) > UNPAIRED else ""
            click.echo(f"only on the {side}: {printable(', '.join(keys[:UNPAIRED]))}{more}")
    say(
        f"paired by {by}: {found.same:,} the same, {found.differing:,} different, "
        f"{len(found.only_left):,} only on the left, {len(found.only_right):,} only on the right"
    )


def _limited(shown: int, found: "Compared") -> str:
    return f"{shown} of {count(_told(found), 'pair')} that differ or lack a side; --limit shows more"


def _told(found: "Compared") -> int:
    return found.differing + len(found.only_left) + len(found.only_right)


def _rows(found: "Compared") -> list[tuple[str, str, str]]:
    rows = []
    for place in sorted(found.places.values(), key=lambda p: (-p.messages, p.path)):
        assert place.first is not None, "a place was noted with a change"
        pair, change = place.first
        example = f"{_cut(change.before)} -> {_cut(change.after)}  ({printable(pair.key)})"
        rows.append((printable(place.path), f"{place.messages:,}", example))
    return rows


def _cut(text: str | None) -> str:
    if text is None:
        return "(none)"
    shown = printable(text)
    return f'"{shown if len(shown) <= EXAMPLES else shown[: EXAMPLES - 3] + "..."}"'


def _pair_as_json(pair: "Pair") -> dict[str, Any]:
    return {
        "key": pair.key,
        "left": None if pair.left is None else pair.left.name,
        "right": None if pair.right is None else pair.right.name,
        "changes": [asdict(change) for change in pair.changes],
    }


def _as_json(found: "Compared", shown: int) -> dict[str, Any]:
    def example(change: "Change") -> dict[str, Any]:
        return {"before": change.before, "after": change.after}

    return {
        "same": found.same,
        "differing": found.differing,
        "shown": shown,
        "only_left": found.only_left,
        "only_right": found.only_right,
        "places": [
            {
                "path": place.path,
                "messages": place.messages,
                "changes": place.changes,
                "example": example(place.first[1]) if place.first is not None else None,
            }
            for place in found.places.values()
        ],
    }
