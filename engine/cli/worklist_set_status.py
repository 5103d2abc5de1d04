"""`segmill worklist set-status`: a person gives one step another status, and that is put on record."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.exits import FINDINGS, Failure
from engine.cli.output import count, emit, printable, say
from engine.cli.queueing import confirm, new_key, order_options, unchanged
from engine.cli.sites import data_option, find_site, read_site, site_option, whereabouts
from engine.cli.worklist import SET_STATUS, SUBCOMMANDS
from engine.cli.worklisting import name_option, opened, start, status, step_arguments, step_of
from engine.worklist.item import STATUS_MOVES, STATUSES, TERMINAL
from engine.worklist.status import ORDER_STATUS

if TYPE_CHECKING:
    from engine.cli.engine_access import Done
    from engine.worklist.item import Item, Status


@member(SUBCOMMANDS["set-status"], "set-status", *SET_STATUS)
@step_arguments
@click.argument("to", metavar="STATUS", type=click.Choice(STATUSES, case_sensitive=False))
@click.option(
    "--force", is_flag=True, help="Also back from where nothing else leads, such as COMPLETED; with --reason."
)
@name_option
@order_options
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    study: str,
    step: str,
    to: "Status",
    force: bool,
    name: str,
    reason: str,
    key: str | None,
    plan: bool,
    yes: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Give one step another status, by hand.

    STUDY is its Study Instance UID, STEP its Scheduled Procedure Step ID. What has ended stays so, but by --force with
    a reason. Where the site says whom to tell (dicom: status), the ordering system is told.
    """
    from engine.cli.engine_access import RunningEngine

    if force and not reason.strip():
        raise misuse("say why: --reason TEXT; what is done by force is put on record with it")
    place = whereabouts(site, data)

    def look() -> "Item":
        with opened(site, data, name) as view:
            return step_of(view, study, step)

    item = look()
    step = item.key.step_id
    planned = {
        "study": study,
        "step": step,
        "worklist": name,
        "from": item.status,
        "to": to,
        "told": None if data is not None else _told(site, name, to),
    }
    if item.status == to:
        emit({**planned, "steps": 0}) if as_json else say(f"it is {status(item)} already: there is nothing to do")
        return 0
    if to not in STATUS_MOVES[item.status] and not force:
        sentence = f"the step is {item.status} and " + ("stays so" if item.status in TERMINAL else f"past {to}")
        raise Failure(FINDINGS, sentence, "To do it all the same: --force --reason TEXT")
    if plan:
        _show(item, planned, as_json=as_json)
        return 0
    engine = RunningEngine(place.data)
    engine.status()
    if not yes:
        if not as_json:
            _show(item, planned, as_json=False)
        confirm(f"Make it {to}?", yes=False)
        unchanged([(item.status, item.revision)], [(now.status, now.revision) for now in [look()]])
    run = new_key(key)
    move = {"worklist": name, "study_uid": study, "step_id": step, "planned": item.status, "revision": item.revision}
    scope = f"{study} {step} {to}{' --force' if force else ''} --name {name}"[:4000]
    done = engine.order("set-status", step={**move, "to": to, "force": force}, key=run, reason=reason, scope=scope)
    _report(done, planned, run, as_json=as_json)
    return 0


def _told(site: Path | None, worklist: str, to: "Status") -> str | None:
    """The destination that hears of it, as the site's files say."""
    settings = read_site(find_site(site)).site
    dicom = settings.dicom if settings is not None else None
    if dicom is None or dicom.status is None or dicom.worklist != worklist:
        return None
    return str(dicom.status.to) if ORDER_STATUS.get(to) in dicom.status.tell else None


def _show(item: "Item", planned: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(planned)
        return
    what = f"{printable(item.modality)} of {start(item)}, {status(item)}"
    say(f"step {printable(planned['step'])} ({what}) becomes {planned['to']}")
    if planned["told"] is not None:
        say(f"  {planned['told']} is told of it")


def _report(done: "Done", planned: dict[str, Any], key: str, *, as_json: bool) -> None:
    if as_json:
        outcome = {"steps": done.steps, "made": done.made, "deliveries": done.deliveries}
        emit({**planned, **outcome, "key": key, "done_before": done.done_before})
        return
    if done.done_before:
        say(f"Nothing was done now: under the key '{key}' this was done before. What was reported then:")
    say(f"{count(done.steps, 'step')} made {planned['to']}" if done.steps else "nothing was done")
    for seq in done.made:
        say(f"it is told by message {seq}")
