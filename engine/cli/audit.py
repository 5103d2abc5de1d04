"""`segmill audit`: what people did, and whether the record of it is whole."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, local_time, printable, say, utc_time
from engine.cli.selection import moment_us, utc_now
from engine.cli.sites import data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.model.audit import AuditRow
    from engine.ports.store import StoreQueries

PAGE: Final = 1000
HEADERS: Final = ("id", "when", "who", "action", "messages", "deliveries", "left", "what", "reason")
MOST_IDS: Final = 60


@subcommand(
    "audit",
    "segmill audit",
    "segmill audit --since 7d --action skip --action redirect",
    "segmill audit --verify",
)
@click.option("--since", metavar="TIME", help="Since: 2h, 7d, or 2026-11-22T08:00.")
@click.option("--action", "actions", multiple=True, metavar="WORD", help="Of this action; may be repeated.")
@click.option("--actor", metavar="TEXT", help="Of those whose name holds this.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest.")
@click.option("--verify", is_flag=True, help="Look whether a record was changed, put in or taken away.")
@click.option("--show-values", is_flag=True, help="Show what was asked for: an expression may hold patient data.")
@site_option
@data_option
@json_option("one object a record, or the verdict,")
def command(
    since: str | None,
    actions: tuple[str, ...],
    actor: str | None,
    limit: int,
    verify: bool,
    show_values: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Show what people did to messages and queues, oldest first.

    Who (the user of this machine that asked), what, why, and which messages and deliveries. Each record's hash covers
    the one before: --verify finds one that was changed, put in or taken away, and prints the newest hash; keep that
    elsewhere, and nobody can make the whole record anew unnoticed. Ends with 1 if the record is not whole.
    """
    from engine.cli.stores import open_queries

    with open_queries(whereabouts(site, data).store) as queries:
        if verify:
            if since or actions or actor:
                raise misuse("--verify looks at every record")
            return _verify(queries, as_json=as_json)
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


def _verify(queries: "StoreQueries", *, as_json: bool) -> int:
    from engine.model.audit import broken_at

    # The head first: what is recorded while we read comes behind it. What is there without any head was put in.
    head = queries.audit_head()
    newest = 0

    def until_head() -> "Iterator[AuditRow]":
        nonlocal newest
        for row in _rows(queries):
            newest = row.id
            if row.id <= head.last:
                yield row

    place = broken_at(until_head(), head.last, head.hash)
    if place is None and newest > (last := queries.audit_head().last):
        place = last + 1
    if as_json:
        emit({"records": head.last, "whole": place is None, "broken_at": place, "hash": head.hash.hex()})
    elif place is None:
        click.echo(f"{count(head.last, 'record')}, whole. The newest hash: {head.hash.hex()}")
    else:
        click.echo(f"the record is not whole: number {place} was changed, put in or taken away")
    return 0 if place is None else FINDINGS


def _as_json(row: "AuditRow", *, show_values: bool) -> dict[str, object]:
    record: dict[str, object] = {
        "id": row.id,
        "at": utc_time(row.at_us),
        "actor": row.actor,
        "action": row.action,
        "reason": row.reason,
        "counts": json.loads(row.counts),
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
        counts = json.loads(row.counts)
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
