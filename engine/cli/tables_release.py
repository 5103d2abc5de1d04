"""`segmill tables release`: what waited for rows that are there now goes on."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.actions import Plan
from engine.cli.command import json_option, member, misuse
from engine.cli.exits import CONFIGURATION, TRY_AGAIN, Failure
from engine.cli.output import count, say
from engine.cli.queueing import confirm, new_key, order_options, report, spans, unchanged
from engine.cli.sites import data_option, find_site, site_option, whereabouts
from engine.cli.tables import RELEASE, SUBCOMMANDS
from engine.model.ids import MessageSeq

if TYPE_CHECKING:
    from engine.config.table import Table
    from engine.pipeline.misses import Misses
    from engine.ports.store import StoreQueries


@member(SUBCOMMANDS["release"], "release", *RELEASE)
@click.argument("table", required=False, metavar="[CHANNEL/TABLE]")
@order_options
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    table: str | None,
    reason: str,
    key: str | None,
    plan: bool,
    yes: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Let go on what waited for rows that are there now.

    Of all messages that are held for the lack of a row, those for all of whose codes there is a row now; with TABLE,
    only those that waited for it. They go through their channel as the engine has read it, in the order of receipt. The
    engine must have taken up the files: segmill reload. It is on record, with --reason.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    place = whereabouts(site, data)
    folder = find_site(site)
    engine = RunningEngine(place.data)
    _require_taken_up(engine.plan())
    tables, deadline_s = _tables(folder)
    with open_queries(place.store, place.keys) as queries:
        found, ready = _ready(queries, tables, table, deadline_s)
        planned = _plan(queries, found, ready)
        waits = len(found.waits_for) - len(ready)
        if plan or not ready:
            planned.show(as_json=as_json)
            if not as_json and waits:
                say(f"{count(waits, 'message waits', 'messages wait')} for other codes: segmill tables misses")
            return 0
        if not yes:
            if not as_json:
                planned.show(as_json=False)
            confirm(planned.question, yes=False)
            unchanged(ready, _ready(queries, tables, table, deadline_s)[1])
    run = new_key(key)
    scope = f"tables release {table or ''}".strip()
    done = engine.order("release", messages=spans(ready), key=run, reason=reason, scope=scope)
    return report(done, "released", run, as_json=as_json)


def _require_taken_up(plan: dict[str, Any]) -> None:
    if plan["errors"]:
        raise Failure(CONFIGURATION, "the site's files have errors", "See them: segmill check")
    if plan["channels"]:
        raise Failure(TRY_AGAIN, "the engine has not taken up the site's files yet", "First: segmill reload")


def _tables(folder: Path) -> "tuple[dict[tuple[str, str], Table], float]":
    """By channel and name; and the site's deadline for code of its own."""
    from engine.cli.own_code import deadline_of
    from engine.cli.site_channels import loaded_channels

    site, channels = loaded_channels(folder, [])
    tables = {(str(channel.name), name): table for channel in channels for name, table in channel.tables.items()}
    return tables, deadline_of(site)


def _ready(
    queries: "StoreQueries", tables: "dict[tuple[str, str], Table]", only: str | None, deadline_s: float
) -> "tuple[Misses, list[int]]":
    from engine.cli.table_misses import misses
    from engine.pipeline.misses import file_of

    channel, _, name = (only or "").partition("/")
    if only is not None and (channel, name) not in tables:
        there = ", ".join(sorted("/".join(one) for one in tables))
        raise misuse(f"no channel uses a table {only}; there is {there or 'none'}")
    found = misses(queries, channel or None, deadline_s=deadline_s)
    ready = found.answered(tables)
    if only is not None:
        ready = [seq for seq in ready if any(file_of(one.table) == name for one in found.waits_for[seq])]
    return found, ready


def _plan(queries: "StoreQueries", found: "Misses", ready: list[int]) -> Plan:
    plan = Plan("release", f"Release {count(len(ready), 'message')}?", "table", len(ready))
    counted: Counter[tuple[str, str]] = Counter()
    for seq in ready:
        for channel, table in {(one.channel, one.table) for one in found.waits_for[seq]}:
            counted[channel, table] += 1
    plan.counted.update(counted)
    plan.first = [MessageSeq(seq) for seq in ready[:5]]
    return plan
