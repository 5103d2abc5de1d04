"""`segmill stats`: what is really in a feed, field by field."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import columns, count, emit, printable, say, styled
from engine.cli.profile_files import traffic, traffic_options
from engine.cli.reading import note_reading
from engine.cli.sites import whereabouts

if TYPE_CHECKING:
    from engine.hl7.path import Path as Hl7Path
    from engine.hl7.stats import FieldStats, PlaceStats, Stats

HEADERS = ("field", "name", "filled", "of", "repeats", "length", "different")
RIGHT = ("filled", "of", "repeats", "length", "different")


@subcommand(
    "stats",
    "segmill stats samples/adt",
    "segmill stats samples/adt PID-8 PV1-2",
    "segmill stats --channel adt --since 7d PID-8",
)
@click.argument("words", nargs=-1, metavar="[FILE...] [PATH...]")
@traffic_options
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="Of each PATH the most frequent.")
@json_option("one object a field, or a place with its values,")
def command(
    words: tuple[str, ...],
    channel: str | None,
    since: str | None,
    site: Path | None,
    data: Path | None,
    top: int,
    as_json: bool,
) -> int:
    """Count what is in messages, field by field.

    How often each is filled, how long it is, how often it repeats, how many values it has. With a PATH such as PID-8,
    its values with their counts: these are patients' data, and shown because you ask for them; of stored messages that
    is put on record. FILE may be a folder, or hold many messages; with --channel, what a channel has stored. Filled is
    of the segments of that name, not of the messages.
    """
    from engine.hl7.stats import Stats

    places, files = _split(words, has_store=channel is not None)
    stats = Stats(places)
    for message in traffic(files, channel, since, site, data):
        stats.add(message)
    if places and channel is not None:
        note_reading(whereabouts(site, data), [], f"stats --channel {channel} {' '.join(map(str, places))}")
    if as_json:
        _emit(stats, top)
    elif places:
        for number, place in enumerate(stats.places):
            click.echo("\n" * bool(number) + "\n".join(_place_lines(place, stats.messages, top)))
    else:
        click.echo(columns(HEADERS, _rows(stats), right=RIGHT))
    types = sorted(stats.types, key=lambda kind: -stats.types[kind])
    told = ", ".join(f"{printable(kind)} {stats.types[kind]:,}" for kind in types[:8])
    more = f" and {len(types) - 8} more types" if len(types) > 8 else ""
    say(f"{count(stats.messages, 'message')}: {told}{more}")
    return 0


def _split(words: tuple[str, ...], *, has_store: bool) -> "tuple[list[Hl7Path], tuple[str, ...]]":
    """Paths stand among the files: what is there as a file is one, and what reads as a path is one else."""
    from engine.hl7.errors import PathError
    from engine.hl7.path import compile_path

    places, files = [], []
    for word in words:
        if word == "-" or Path(word).exists():
            files.append(word)
            continue
        try:
            path = compile_path(word)
        except PathError as error:
            if has_store or ("/" not in word and "." not in word.partition("-")[0]):
                raise misuse(f"{word} is no file, and no path: {error}") from None
            files.append(word)  # it is told as a file that is not there
            continue
        if path.field is None:
            raise misuse(f"{word} is a whole segment: name a field, such as {word}-1")
        places.append(path)
    return places, tuple(files)


def _rows(stats: "Stats") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, segment, number, of_field in stats.rows():
        lengths = f"{of_field.shortest}..{of_field.longest}"
        rows.append(
            (
                printable(f"{name}-{number}"),
                stats.title(name, number)[:34],
                _percent(of_field.filled, segment.count),
                f"{segment.count:,}",
                f"{of_field.most_repetitions}" if of_field.most_repetitions > 1 else "",
                lengths,
                f"{len(of_field.different):,}{'+' if of_field.has_more_different else ''}",
            )
        )
    return rows


def _place_lines(place: "PlaceStats", messages: int, top: int) -> list[str]:
    lines = [
        f"{styled(str(place.path), bold=True)}  in {place.messages:,} of {messages:,} messages "
        f"({_percent(place.messages, messages)}), {len(place.values):,}{'+' if place.left_out else ''} different"
    ]
    shown = _most_frequent(place)[:top]
    wide = max((len(f"{number:,}") for _, number in shown), default=0)
    for value, number in shown:
        text = f'"{printable(value)}"' if value else styled("(empty)", dim=True)
        lines.append(f"  {number:>{wide},}  {_percent(number, place.total):>6}  {text}")
    if len(place.values) > top:
        rest = place.total - sum(number for _, number in shown)
        lines.append(f"  {rest:>{wide},}  {_percent(rest, place.total):>6}  others; --top shows more")
    return lines


def _most_frequent(place: "PlaceStats") -> list[tuple[str, int]]:
    return sorted(place.values.items(), key=lambda item: (-item[1], item[0]))


def _percent(part: int, whole: int) -> str:
    """100 % only where it is all of them, 0 % only where it is none."""
    if not whole or part in (0, whole):
        return "100%" if part else "0%"
    return f"{min(99.9, max(0.1, 100 * part / whole)):.1f}%"


def _emit(stats: "Stats", top: int) -> None:
    if stats.places:
        for place in stats.places:
            emit(
                {
                    "path": str(place.path),
                    "messages": place.messages,
                    "of_messages": stats.messages,
                    "different": len(place.values),
                    "is_complete": not place.left_out,
                    "values": [{"value": v, "count": n} for v, n in _most_frequent(place)[:top]],
                }
            )
        return
    for name, segment, number, of_field in stats.rows():
        emit({"field": f"{name}-{number}", "name": stats.title(name, number), **_counts(segment.count, of_field)})


def _counts(segments: int, of_field: "FieldStats") -> dict[str, Any]:
    return {
        "filled": of_field.filled,
        "nulls": of_field.nulls,
        "of_segments": segments,
        "repeated": of_field.repeated,
        "most_repetitions": of_field.most_repetitions,
        "shortest": of_field.shortest,
        "longest": of_field.longest,
        "mean": round(of_field.characters / of_field.filled, 1),
        "different": len(of_field.different),
        "different_is_complete": not of_field.has_more_different,
    }
