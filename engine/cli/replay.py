"""`segmill replay`: send stored messages again, process them again, or send an edited one: three things."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from engine.cli.actions import Plan
from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import Failure
from engine.cli.output import count, emit, say
from engine.cli.queueing import confirm, new_key, order_options, report, scope_words, spans, unchanged
from engine.cli.reading import note_reading
from engine.cli.selection import chosen, make_search, parse_seqs, search_options, utc_now
from engine.cli.site_channels import find_or_none
from engine.cli.sites import Whereabouts, data_option, site_option, whereabouts
from engine.model.ids import MessageSeq

if TYPE_CHECKING:
    from engine.cli.replaying import AsOf, Comparison
    from engine.ports.store import StoredMessage, StoreQueries


class _Version(click.ParamType[Any]):
    """The number of a recorded version, or one of the words `received` and `new`."""

    name = "VERSION|received|new"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("received", "new") or isinstance(value, int):
            return value
        if str(value).isdecimal() and int(value):
            return int(value)
        return self.fail(
            f"'{value}' is no version: write its number (segmill messages SEQ shows it), received, or new", param, ctx
        )


@subcommand(
    "replay",
    "segmill replay 1 --yes",
    "segmill replay --channel adt --since 2h --to archive --plan",
    "segmill replay --state filtered --reprocess --yes",
    "segmill replay 1 --reprocess --as-of received --plan",
    "segmill replay --channel adt --since 7d --as-of new --diff",
    "segmill replay 1 --set PID-8=M --reason 'sex corrected by the ward' --yes",
)
@click.argument("seqs", nargs=-1, metavar="[SEQ]...")
@search_options
@click.option("--to", "destinations", multiple=True, metavar="DEST", help="Only to this destination; may be repeated.")
@click.option("--reprocess", is_flag=True, help="Through the channel as it is now, instead of the same bytes again.")
@click.option("--as-of", type=_Version(), help="With --reprocess: as the channel was, by version, or when received.")
@click.option("--diff", is_flag=True, help="Only show what the files as they are now, or --as-of, do otherwise.")
@click.option("--edited", type=click.Path(path_type=Path, dir_okay=False), help="Send this file's message instead.")
@click.option("--set", "edits", multiple=True, metavar="PATH=TEXT", help="Send it with this text at this place.")
@click.option("--keep-id", is_flag=True, help="With --edited or --set: keep MSH-10; else it gets a new one.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest.")
@click.option("--show-values", is_flag=True, help="Show what differs: patient data. Masked otherwise.")
@order_options
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    seqs: tuple[str, ...],
    destinations: tuple[str, ...],
    reprocess: bool,
    as_of: "AsOf | Literal['new']",
    diff: bool,
    edited: Path | None,
    edits: tuple[str, ...],
    keep_id: bool,
    limit: int | None,
    show_values: bool,
    reason: str,
    key: str | None,
    plan: bool,
    yes: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
    **search: Any,
) -> int:
    """Send stored messages again, process them again, or send an edited one.

    Sends the same bytes again to where they were sent before, as new deliveries with the same control id. With
    --reprocess, takes the received message through its channel as it is now, or --as-of a version, or as it was when it
    was received; the plan says what comes out otherwise than before. With --edited or --set, sends a changed message,
    as a new one that is linked to the first. With --diff, runs stored messages through the channel that runs and the
    changed files, and shows what differs, grouped by cause; nothing is sent. Name messages by number (20-25 is a range)
    or search for them; shows what it will do, and asks.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    wanted = make_search(**search, now=utc_now())
    numbers = parse_seqs(seqs)
    is_edit = edited is not None or bool(edits)
    if bool(numbers) != wanted.is_empty:
        raise misuse("name messages by number, or search for them: --where, --channel, --state, --since ...")
    if (reprocess or is_edit) and destinations:
        raise misuse("--to is for sending the same bytes again; anything else goes where the channel's routes say")
    if as_of is not None and not (reprocess or diff):
        raise misuse("--as-of is for --reprocess and --diff")
    if diff and (reprocess or is_edit or destinations):
        raise misuse("--diff only shows what differs: it goes with a selection of messages and --as-of")
    if reprocess and as_of == "new":
        raise misuse("--as-of new is for --diff; let the engine take the files up, then --reprocess: segmill reload")
    if is_edit and (reprocess or len(numbers) != 1):
        raise misuse("an edited message is made of one: segmill replay SEQ --edited FILE, or --set PATH=TEXT")
    if keep_id and not is_edit:
        raise misuse("--keep-id is for --edited and --set")
    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        found = chosen(queries, numbers, wanted, limit)
        run = _Run(place, queries, RunningEngine(place.data), new_key(key), reason, plan, yes, as_json, show_values)
        if diff:
            return run.diff(found, as_of, find_or_none(site or Path()))
        assert as_of != "new", "asked for above"
        if is_edit:
            return run.edit(found[0], edited, edits, keep_id=keep_id)
        scope = scope_words(seqs, None, (), search)
        again = lambda: chosen(queries, numbers, wanted, limit)  # noqa: E731 - said once, asked once
        if reprocess:
            return run.reprocess(found, again, as_of, scope)
        return run.resend(found, again, destinations, scope)


class _Run:
    """One run of the command."""

    def __init__(
        self,
        place: Whereabouts,
        queries: "StoreQueries",
        engine: Any,
        key: str,
        reason: str,
        plan: bool,
        yes: bool,
        as_json: bool,
        show_values: bool,
    ) -> None:
        self._place = place
        self._queries = queries
        self._engine = engine
        self._key = key
        self._reason = reason
        self._only_plan = plan
        self._yes = yes
        self._as_json = as_json
        self._show_values = show_values

    def resend(self, found: list["StoredMessage"], again: Any, destinations: Sequence[str], scope: str) -> int:
        """The same bytes."""
        planned = _plan_resend(self._queries, found, destinations)
        if self._only_plan or not found:
            planned.show(as_json=self._as_json)
            return 0
        self._engine.status()
        self._ask(planned, found, again)
        more = {"destinations": list(destinations)} if destinations else {}
        return self._order("resend", found, "queued to be sent again", scope, **more)

    def reprocess(self, found: list["StoredMessage"], again: Any, as_of: "AsOf", scope: str) -> int:
        """Through the channel."""
        planned = _plan_reprocess(found)
        if self._only_plan:
            compared = self._compared(found, as_of) if found else None
            self._show(planned, compared)
            return 0
        if not found:
            planned.show(as_json=self._as_json)
            return 0
        self._engine.status()
        if not self._yes and not self._as_json:
            self._show(planned, self._compared(found, as_of))
        self._ask(planned, found, again, shown=True)
        more = {} if as_of is None else {"as_of": as_of}
        return self._order("reprocess", found, "processed again", scope, **more)

    def edit(self, message: "StoredMessage", file: Path | None, edits: Sequence[str], *, keep_id: bool) -> int:
        """A changed one."""
        from engine.cli.replaying import body_changes, change_lines, edited_message

        stored = self._queries.message(message.seq)
        if stored is None or stored.raw is None:
            raise misuse(f"the bytes of message {message.seq} are no longer kept")
        new_id = None if keep_id else f"E{self._key[:15].upper()}"
        raw = edited_message(stored.raw, file, edits, new_id=new_id)
        # A new control id alone is no edit: what was typed is there already, or the file was saved as it came.
        if stored.raw in (raw, edited_message(stored.raw, file, edits, new_id=None)):
            raise misuse("nothing is different in it; to send the same bytes again: segmill replay SEQ")
        found = body_changes(stored.raw, raw)
        if self._show_values:
            note_reading(self._place, [message.seq], "replay --edited --show-values")
        if self._as_json and self._only_plan:
            places: list[Any] = [
                {"path": c.path, "before": c.before, "after": c.after} if self._show_values else {"path": c.path}
                for c in found
            ]
            emit({"action": "edit", "seq": message.seq, "channel": message.channel, "changes": places})
            return 0
        if not self._as_json:
            say(f"message {message.seq} of channel {message.channel}: {count(len(found), 'difference')}")
            for line in change_lines(found, show_values=self._show_values):
                say(f"  {line}")
        if self._only_plan:
            return 0
        self._engine.status()
        confirm("Send it as a new message?", yes=self._yes)
        import base64

        done = self._engine.order(
            "edit",
            messages=[message.seq],
            raw=base64.b64encode(raw).decode("ascii"),
            key=self._key,
            reason=self._reason,
            scope=str(message.seq),
        )
        return report(done, "sent as a new message", self._key, as_json=self._as_json)

    def diff(self, found: Sequence["StoredMessage"], as_of: "AsOf | Literal['new']", site: Path | None) -> int:
        """What another version would do otherwise."""
        from engine.cli.replay_diff import diff, show, tell

        if self._show_values:
            note_reading(self._place, [message.seq for message in found], "replay --diff --show-values")
        made = diff(self._queries, found, self._current(), as_of, site)
        return (tell if self._as_json else show)(made, show_values=self._show_values)

    # -- parts of the above ---------------------------------------------------------------------

    def _compared(self, found: Sequence["StoredMessage"], as_of: "AsOf") -> "Comparison":
        from engine.cli.replaying import Versions, compare

        if self._show_values:
            note_reading(self._place, [message.seq for message in found], "replay --plan --show-values")
        return compare(self._queries, found, Versions(self._queries, self._current(), as_of))

    def _current(self) -> dict[str, int]:
        """The versions that the engine runs with; where none runs, those recorded last."""
        try:
            return {one["channel"]: one["version"] for one in self._engine.status()["channels"]}
        except Failure:
            return {}

    def _show(self, planned: Plan, compared: "Comparison | None") -> None:
        from engine.cli.replaying import as_json, show

        if self._as_json:
            more = {} if compared is None else {"differences": as_json(compared, show_values=self._show_values)}
            planned.show(as_json=True, **more)
            return
        planned.show(as_json=False)
        if compared is not None:
            show(compared, planned.messages, show_values=self._show_values)

    def _ask(self, planned: Plan, found: Sequence["StoredMessage"], again: Any, *, shown: bool = False) -> None:
        if self._yes:
            return
        if not self._as_json and not shown:
            planned.show(as_json=False)
        confirm(planned.question, yes=False)
        unchanged([(m.seq, m.state) for m in found], [(m.seq, m.state) for m in again()])

    def _order(self, action: str, found: Sequence["StoredMessage"], words: str, scope: str, **more: Any) -> int:
        members = spans([message.seq for message in found])
        done = self._engine.order(action, messages=members, key=self._key, reason=self._reason, scope=scope, **more)
        return report(done, words, self._key, as_json=self._as_json)


def _plan_resend(queries: "StoreQueries", messages: Sequence["StoredMessage"], destinations: Sequence[str]) -> Plan:
    plan = Plan("resend", f"Send {count(len(messages), 'message')} again?", "destination", len(messages))
    for message in messages:
        if message.state == "rejected":
            plan.counted[message.channel, "(rejected: left alone)"] += 1
            continue
        before = dict.fromkeys(d.destination for d in queries.deliveries(message.seq) if d.state != "redirected")
        for destination in destinations or before or ("(never sent: left alone)",):
            plan.counted[message.channel, destination] += 1
    plan.first = [MessageSeq(message.seq) for message in messages[:5]]
    return plan


def _plan_reprocess(messages: Sequence["StoredMessage"]) -> Plan:
    plan = Plan("reprocess", f"Process {count(len(messages), 'message')} again?", "state", len(messages))
    plan.counted.update((message.channel, message.state) for message in messages)
    plan.first = [MessageSeq(message.seq) for message in messages[:5]]
    return plan
