"""`segmill audit`: what people did, and whether the record of it is whole."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS, NOT_ALLOWED, Failure
from engine.cli.output import columns, count, emit, local_time, printable, say, utc_time
from engine.cli.selection import moment_us, utc_now
from engine.cli.sites import data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.model.audit import AuditRow
    from engine.ports.store import StoreQueries

PAGE: Final = 1000
HEADERS: Final = ("id", "when", "who", "action", "messages", "deliveries", "left", "what", "reason")
MOST_IDS: Final = 60
NOT_WHOLE: Final = "E483"
UNANCHORED: Final = "E484"


@subcommand(
    "audit",
    "segmill audit",
    "segmill audit --since 7d --action skip --action redirect",
    "segmill audit verify",
)
@click.argument("what", required=False, type=click.Choice(["verify"]))
@click.option("--since", metavar="TIME", help="Since: 2h, 7d, or 2026-11-22T08:00.")
@click.option("--action", "actions", multiple=True, metavar="WORD", help="Of this action; may be repeated.")
@click.option("--actor", metavar="TEXT", help="Of those whose name holds this.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest.")
@click.option("--verify", is_flag=True, help="The same as verify: look whether the record is whole.")
@click.option(
    "--hash",
    "known",
    metavar="NUMBER:HASH",
    multiple=True,
    help="With verify: a hash that was kept elsewhere, as of the log; may be repeated.",
)
@click.option("--show-values", is_flag=True, help="Show what was asked for: an expression may hold patient data.")
@site_option
@data_option
@json_option("one object a record, or the verdict,")
def command(
    what: str | None,
    since: str | None,
    actions: tuple[str, ...],
    actor: str | None,
    limit: int,
    verify: bool,
    known: tuple[str, ...],
    show_values: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Show what people did to messages and queues, oldest first.

    Who asked and from where, what, why, and which messages and deliveries. Each record's hash covers the one before,
    and stands in audit.anchor of the data folder as well: `segmill audit verify` finds a record that was changed, put
    in, moved or taken away, also at the end, and prints the newest hash; keep that elsewhere, and nobody can make all
    of it anew unnoticed. Ends with 1 if the record is not whole.
    """
    from engine.cli.stores import open_queries

    is_check = verify or what == "verify"
    if known and not is_check:
        raise misuse("--hash is for verify")
    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        if is_check:
            if since or actions or actor:
                raise misuse("verify looks at every record")
            return _verify(queries, place.data, _known(known), as_json=as_json)
        since_us = 0 if since is None else moment_us(since, utc_now())
        found: list[AuditRow] = []
        for row in _rows(queries):
            if row.at_us >= since_us and (not actions or row.action in actions) and (actor or "") in row.actor:
                found.append(row)
                found = found[-limit:]
    if as_json:
        for row in found:
            emit(_as_json(row, show_values=show_values))
        return 0
    _show(found, show_values=show_values)
    return 0


def _rows(queries: "StoreQueries") -> Iterator["AuditRow"]:
    after = 0
    while page := queries.audit(after, PAGE):
        yield from page
        after = page[-1].id


def _known(texts: Sequence[str]) -> dict[int, bytes]:
    """`184:5c1f...`, as verify and the log print it. Raises a misuse."""
    found = {}
    for text in texts:
        number, _, digest = text.partition(":")
        try:
            found[int(number)] = bytes.fromhex(digest)
        except ValueError:
            raise misuse(f"--hash {text[:80]}: write NUMBER:HASH, such as 184:5c1f...") from None
    return found


def _verify(queries: "StoreQueries", data: Path, known: "Mapping[int, bytes]", *, as_json: bool) -> int:
    from engine.adapters.audit_check import ANCHOR, check_audit

    try:
        found = check_audit(queries, data / ANCHOR, known)
    except OSError as error:
        raise Failure(NOT_ALLOWED, f"{data / ANCHOR} cannot be read: {error.strerror}") from None
    if as_json:
        emit(
            {
                "records": found.records,
                "whole": found.is_whole,
                "broken_at": found.broken_at,
                "unanchored": found.unanchored,
                "anchored": found.anchored,
                "hash": found.hash.hex(),
            }
        )
        return 0 if found.is_whole else FINDINGS
    if found.broken_at is not None:
        click.echo(f"{NOT_WHOLE} the record is not whole: number {found.broken_at} was changed, put in or taken away")
    if found.unanchored is not None:
        click.echo(f"{UNANCHORED} number {found.unanchored} is not what its anchor says, or is not there any more")
    if found.is_whole:
        told = f", {found.anchored} of them as in {ANCHOR}" if found.anchored else ""
        newest = f"{found.records}:{found.hash.hex()}"
        click.echo(f"{count(found.records, 'record')}, whole{told}. The newest hash: {newest}")
    return 0 if found.is_whole else FINDINGS


def _as_json(row: "AuditRow", *, show_values: bool) -> dict[str, object]:
    record: dict[str, object] = {
        "id": row.id,
        "at": utc_time(row.at_us),
        "actor": row.actor,
        "action": row.action,
        "reason": row.reason,
        "counts": json.loads(row.counts or "{}"),
        "ids": row.ids,
        "key": row.key,
        "hash": row.hash.hex(),
    }
    return record | ({"scope": row.scope} if show_values else {})


def _show(found: "Sequence[AuditRow]", *, show_values: bool) -> None:
    if not found:
        say("Nothing is on record.")
        return
    rows = []
    for row in found:
        counts = json.loads(row.counts or "{}")
        numbers = [str(counts.get(name, "") or "") for name in ("messages", "deliveries", "left")]
        what = row.ids if len(row.ids) <= MOST_IDS else f"{row.ids[:MOST_IDS]}..."
        rows.append(
            (
                str(row.id),
                local_time(row.at_us),
                printable(row.actor),
                row.action,
                *numbers,
                what,
                printable(row.reason),
            )
        )
    title, *lines = columns(HEADERS, rows, right=("id", "messages", "deliveries", "left")).splitlines()
    click.echo(title)
    for line, row in zip(lines, found, strict=True):
        click.echo(line + (f"\n      {printable(row.scope)}" if show_values and row.scope else ""))
