"""`segmill messages`: what came in, what became of it, and what one message holds."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, local_time, printable, say, styled, utc_time
from engine.cli.progress import counted
from engine.cli.reading import note_reading
from engine.cli.searching import asked_of, say_page, search_stored
from engine.cli.selection import make_search, matching, parse_seqs, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts
from engine.model.finding import load_findings
from engine.model.states import MESSAGE_STATES

if TYPE_CHECKING:
    from engine.ports.store import StoredAttempt, StoredDelivery, StoredMessage, StoreQueries

_SEGMENT_START: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9\s]|$)")
_SHOWN: Final = frozenset((2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 17, 18))
"""Fields of MSH that hold nothing of a patient: not MSH-8 (security), and none that a site may have added."""

HEADERS: Final = ("seq", "received", "channel", "type", "control id", "sender", "state", "ack", "deliveries")
COLOURS: Final = {"held": "yellow", "rejected": "red", "failed": "red", "queued": "cyan", "redirected": "magenta"}


@subcommand(
    "messages",
    "segmill messages --since 2h --state held",
    """segmill messages --where 'PID-3.1 == "900001"' --limit 5""",
    "segmill messages channel:lab-oru type:ORU state:processed since:7d",
    "segmill messages PID-3.1=900001",
    "segmill messages --key mrn=900001",
    "segmill messages 1",
    "segmill messages --summary",
)
@click.argument("words", nargs=-1, metavar="[SEQ | SEARCH]...")
@search_options
@click.option("--key", "keys", multiple=True, metavar="NAME=VALUE", help="With this value of a key, such as mrn=4711.")
@click.option("--before", type=click.IntRange(1), metavar="SEQ", help="Older than this one: the next page of a search.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest.")
@click.option("--show-values", is_flag=True, help="Show what stands in the fields: patient data. Masked otherwise.")
@click.option("--raw", is_flag=True, help="Write the bytes of one message as they came, and nothing else.")
@click.option("--summary", is_flag=True, help="Only how many there are in each channel, and what waits where.")
@site_option
@data_option
@json_option("one object a message, or the summary,")
def command(
    words: tuple[str, ...],
    keys: tuple[str, ...],
    before: int | None,
    limit: int,
    show_values: bool,
    raw: bool,
    summary: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
    **search: Any,
) -> int:
    """Search the stored messages, or show one.

    Newest first. With the number of a message (the first column), shows that one with its deliveries. SEARCH is what is
    looked for, all of it: mrn=4711, PID-5.1=MEIER, channel:lab, state:held, since:1h, type:ORU, text:"in the bytes",
    key:4711, whichever key has it. Reads the store beside the engine, whether it runs or not. While it runs,
    --show-values and --raw are put on record (segmill audit).
    """
    from engine.cli.stores import open_queries

    wanted = make_search(**search, now=utc_now())
    place = whereabouts(site, data)
    seq = words[0] if len(words) == 1 and words[0].isdecimal() and not keys else None
    asked = asked_of(words, keys, site, place) if seq is None and (words or keys or before is not None) else None
    if asked is not None and not wanted.is_empty:
        raise misuse("say it all in the search, or all with options")
    if raw and (seq is None or as_json):
        raise misuse("--raw writes the bytes of one message: segmill messages SEQ --raw")
    with open_queries(place.store, place.keys) as queries:
        if summary:
            if words or asked is not None or not wanted.is_empty:
                raise misuse("--summary is about everything that is stored")
            return _summarise(queries, as_json=as_json)
        if seq is not None:
            if not wanted.is_empty:
                raise misuse("give the number of one message, or a search, not both")
            message = _one(queries, seq)
            if show_values or raw:
                note_reading(place, [message.seq], "messages --raw" if raw else "messages --show-values")
            if raw:
                return _write_raw(message)
            return _show_one(queries, message, show_values=show_values, as_json=as_json)
        rows = []
        page = None if asked is None else search_stored(queries, asked, before, limit)
        found = counted(islice(matching(queries, wanted), limit), "messages found", prints=as_json)
        for message in found if page is None else page.messages:
            deliveries = queries.deliveries(message.seq)
            if as_json:
                emit(_as_json(message, deliveries))
            else:
                rows.append(_row(message, deliveries))
    if rows:
        title, *lines = columns(HEADERS, [row for row, _ in rows], right=("seq",)).splitlines()
        click.echo(title)
        for line, (_, finding) in zip(lines, rows, strict=True):
            click.echo(line + (f"\n      {finding}" if finding else ""))
    if page is not None:
        say_page(page, as_json=as_json)
    elif not as_json:
        say(f"{count(len(rows), 'message')}" + (f" (the newest; --limit {limit})" if len(rows) == limit else ""))
    return 0


def _summarise(queries: "StoreQueries", *, as_json: bool) -> int:
    """How many messages of each channel are in which state, and what waits for each destination."""
    counts: dict[str, dict[str, int]] = {}
    for (channel, state), number in sorted(queries.counts().items()):
        counts.setdefault(channel, {})[state] = number
    depths = [depth for depth in queries.depths() if depth.queued or depth.held]
    if as_json:
        waiting = [
            {
                "channel": depth.channel,
                "destination": depth.destination,
                "queued": depth.queued,
                "held": depth.held,
                "oldest_received_at": utc_time(depth.oldest_us),
            }
            for depth in depths
        ]
        emit({"messages": counts, "waiting": waiting})
        return 0
    states = [state for state in MESSAGE_STATES if any(state in of_channel for of_channel in counts.values())]
    rows = [(channel, *(str(of.get(state, 0)) for state in states)) for channel, of in counts.items()]
    click.echo(columns(("channel", *states), rows, right=states))
    if depths:
        waiting_rows = [
            (d.channel, d.destination, str(d.queued), str(d.held), local_time(d.oldest_us) if d.oldest_us else "")
            for d in depths
        ]
        headers = ("channel", "destination", "queued", "held", "oldest")
        click.echo("\n" + columns(headers, waiting_rows, right=("queued", "held")))
    return 0


def _row(message: "StoredMessage", deliveries: "Sequence[StoredDelivery]") -> tuple[tuple[str, ...], str]:
    """A row of the list, and what is said below it: the first finding."""
    findings = load_findings(message.findings)
    counted = Counter(delivery.state for delivery in deliveries)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    row = (
        str(message.seq),
        local_time(message.received_at_us),
        message.channel,
        printable(message.message_type),
        printable(message.control_id),
        printable(message.sender),
        _coloured(message.state),
        message.ack_code,
        ", ".join(f"{number} {_coloured(state)}" for state, number in counted.items()),
    )
    return row, printable(f"{findings[0].code} {findings[0].text}{more}") if findings else ""


def _coloured(state: str) -> str:
    colour = COLOURS.get(state)
    return styled(state, fg=colour) if colour else state


def _as_json(message: "StoredMessage", deliveries: Any) -> dict[str, Any]:
    return {
        "seq": message.seq,
        "channel": message.channel,
        "version": message.version,
        "received_at": utc_time(message.received_at_us),
        "sender": message.sender,
        "peer": message.peer,
        "type": message.message_type,
        "control_id": message.control_id,
        "state": message.state,
        "ack_code": message.ack_code,
        "findings": [{k: v for k, v in asdict(f).items() if v} for f in load_findings(message.findings)],
        "deliveries": [
            {
                "id": d.id,
                "destination": d.destination,
                "state": d.state,
                "attempts": d.attempts,
                "next_at": utc_time(d.next_at_us),
                "done_at": utc_time(d.done_at_us),
                "code": d.code,
                "note": d.note,
                "maybe_sent": d.maybe_sent,
            }
            for d in deliveries
        ],
    }


def _one(queries: "StoreQueries", seq: str) -> "StoredMessage":
    (number,) = numbers if len(numbers := parse_seqs([seq])) == 1 else (None,)
    message = None if number is None else queries.message(number)
    if message is None:
        raise misuse(f"there is no message {seq}")
    return message


def _write_raw(message: "StoredMessage") -> int:
    if message.raw is None:
        say(f"The bytes of message {message.seq} are no longer kept.")
        return FINDINGS
    sys.stdout.flush()
    sys.stdout.buffer.write(message.raw)
    return 0


def _show_one(queries: "StoreQueries", message: "StoredMessage", *, show_values: bool, as_json: bool) -> int:
    deliveries = queries.deliveries(message.seq, bodies=True)
    attempts = queries.attempts(message.seq)
    links = queries.links(message.seq)
    if as_json:
        record = _as_json(message, deliveries) | {"origin": links.origin, "edited": list(links.edited)}
        for row, delivery in zip(record["deliveries"], deliveries, strict=True):
            row["took_over_from"] = delivery.origin
            row["earlier_attempts"] = [
                _attempt(a, show_values=show_values) for a in attempts if a.delivery_id == delivery.id
            ]
        if show_values:
            record["raw"] = _decoded(message.raw)
            record["ack"] = _decoded(message.ack)
            for row, delivery in zip(record["deliveries"], deliveries, strict=True):
                row["body"] = _decoded(delivery.body if delivery.body is not None else message.raw)
                row["answer"] = _decoded(delivery.answer)
                row["key"] = delivery.key if delivery.key is None else printable(delivery.key)
        emit(record)
        return 0
    _print_head(message)
    if links.origin is not None:
        click.echo(f"edited from message {links.origin}, and not received from a sender")
    if links.edited:
        click.echo(f"edited and sent as message {', '.join(map(str, links.edited))}")
    _print_deliveries(message, deliveries, show_values=show_values)
    _print_attempts(deliveries, attempts, show_values=show_values)
    _print_body("message as received", message.raw, show_values=show_values)
    if message.ack:
        # Our own answers hold no field values (model.finding), so there is nothing to mask in them.
        _print_body(f"answer sent ({message.ack_code})", message.ack, show_values=True)
    if not show_values:
        say("Values are masked; --show-values shows them.")
    return 0


def _print_head(message: "StoredMessage") -> None:
    click.echo(
        f"{styled(f'message {message.seq}', bold=True)}  {printable(message.message_type)}  "
        f"control id {printable(message.control_id) or '(none)'}  {_coloured(message.state)}"
    )
    click.echo(
        f"received {local_time(message.received_at_us)} by channel {message.channel} "
        f"from {printable(message.sender) or '(no name)'} at {printable(message.peer)}, "
        f"answered {message.ack_code or 'with nothing'}, version {message.version}"
    )
    for finding in load_findings(message.findings):
        place = ", ".join(part for part in (finding.step and f"step {finding.step}", finding.location) if part)
        click.echo(f"  {styled(finding.code, bold=True)} {printable(f'{place}: ' if place else '')}{finding.text}")


def _print_deliveries(message: "StoredMessage", deliveries: Any, *, show_values: bool) -> None:
    if not deliveries:
        click.echo("no deliveries")
        return
    rows = [
        (
            printable(d.destination),
            _coloured(d.state),
            str(d.attempts),
            local_time(d.done_at_us) if d.done_at_us else "",
            d.code,
            printable(d.note) + (" (may have been sent before a crash too)" if d.maybe_sent else ""),
        )
        for d in deliveries
    ]
    click.echo(columns(("destination", "state", "attempts", "done", "code", "note"), rows, right=("attempts",)))
    for d in deliveries:
        if show_values and d.key is not None:
            click.echo(f"order of the delivery to {d.destination}: {printable(d.key) or '(empty)'}")
        if show_values and d.body is not None and d.body != message.raw:
            _print_body(f"delivery to {d.destination}", d.body, show_values=True)


def _attempt(attempt: "StoredAttempt", *, show_values: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "number": attempt.number,
        "at": utc_time(attempt.at_us),
        "code": attempt.code,
        "note": attempt.note,
    }
    return row | {"answer": _decoded(attempt.answer)} if show_values else row


def _print_attempts(
    deliveries: "Sequence[StoredDelivery]", attempts: "Sequence[StoredAttempt]", *, show_values: bool
) -> None:
    """Attempts that did not end their delivery, as far as they are kept; with values, what the receiver answered."""
    if attempts:
        click.echo(styled("\nearlier attempts", bold=True))
        names = {delivery.id: delivery.destination for delivery in deliveries}
        rows = [
            (printable(names[a.delivery_id]), str(a.number), local_time(a.at_us), printable(a.code), printable(a.note))
            for a in attempts
        ]
        click.echo(columns(("destination", "number", "at", "code", "note"), rows, right=("number",)))
    if not show_values:
        return
    for delivery in deliveries:
        for attempt in attempts:
            if attempt.delivery_id == delivery.id and attempt.answer:
                _print_body(
                    f"answer of {delivery.destination} to attempt {attempt.number}", attempt.answer, show_values=True
                )
        if delivery.answer:
            _print_body(f"answer of {delivery.destination}", delivery.answer, show_values=True)


def _print_body(title: str, raw: bytes | None, *, show_values: bool) -> None:
    click.echo(styled(f"\n{title}", bold=True))
    if raw is None:
        click.echo("  (its bytes are no longer kept)")
        return
    for line in decoded_lines(raw):
        click.echo("  " + printable(line if show_values else masked(line)))


def _decoded(raw: bytes | None) -> str | None:
    return None if raw is None else "\r".join(map(printable, decoded_lines(raw)))


def decoded_lines(raw: bytes) -> list[str]:
    """The segments as text, in the message's own charset where it can be read."""
    from engine.hl7.convert import form_of
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message

    if form_of(raw) != "hl7":
        return raw.decode("utf-8", "surrogateescape").split("\n")
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        return raw.decode("ascii", "surrogateescape").splitlines()
    return [message.segment(index) for index in range(len(message))]


def masked(segment: str) -> str:
    """A segment with the shape of its values only; of MSH the fields that name systems, types and ids stand.

    Delimiters stay, whatever they are: a character that is no letter or digit says little. What does not begin
    as a segment does, such as a text with a line end in it, is masked from its first character.
    """
    shape = "".join("*" if c.isalnum() or not c.isascii() else c for c in segment)
    if not _SEGMENT_START.match(segment):
        return shape
    if segment[:3] != "MSH":
        return segment[:3] + shape[3:]
    separator = segment[3]
    fields = zip(segment.split(separator), shape.split(separator), strict=True)
    # Fields of a header are counted with MSH-1, the separator: the first of the list is its name.
    return separator.join(field if n + 1 in _SHOWN or n == 0 else hidden for n, (field, hidden) in enumerate(fields))
