"""`segmill dicom find`: what a worklist server gives for these keys."""

from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.dicom import FIND, SUBCOMMANDS
from engine.cli.dicom_peers import failure_of, peer_of, peer_options
from engine.cli.exits import FINDINGS, Failure
from engine.cli.output import columns, count, emit, printable, say

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HEADERS = ("start", "modality", "stations", "patient", "name", "accession", "description", "study", "step")


@member(SUBCOMMANDS["find"], "find", *FIND)
@peer_options
@click.argument("keys", nargs=-1, metavar="[KEY[=VALUE]]...")
@click.option("--bare", is_flag=True, help="Ask for the keys that are given, and nothing beside them.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Cancel after so many answers.")
@json_option("each answer, a line of DICOM JSON under dicom,")
def command(
    server: str,
    called: str,
    calling: str,
    timeout: str,
    keys: tuple[str, ...],
    bare: bool,
    limit: int,
    as_json: bool,
    **tls: Any,
) -> int:
    """Ask a worklist server for its steps (C-FIND).

    A key is an attribute by its keyword or tag, with a value or, to get it back, without: PatientID=123,
    (0010,0020)=123, ScheduledProcedureStepSequence.Modality=CT. Attributes of the step may stand without their
    sequence. Ends with 1 where there is no answer.
    """
    peer = peer_of(server, called, calling, timeout, tls)
    from engine.adapters.dicom.query_keys import RETURNED, BadQueryKey, identifier
    from engine.adapters.dicom.scu import DicomFailure, Finding

    try:
        asked = identifier(keys, () if bare else RETURNED)
    except BadQueryKey as error:
        raise misuse(str(error)) from None
    if not len(asked):
        raise misuse("say what to ask for: with --bare there is nothing but the keys")
    finding = Finding(peer, asked, limit)
    rows: list[tuple[str, ...]] = []
    answers = 0
    try:
        for answer in finding:
            answers += 1
            if as_json:
                emit({"dicom": answer.to_json_dict(suppress_invalid_tags=True)})
            else:
                rows.append(_row(answer))
    except DicomFailure as error:
        _show(rows)
        raise failure_of(error) from None
    _show(rows)
    said = count(answers, "answer")
    say(said + (f" (the first; --limit {limit})" if answers == limit else ""))
    if finding.unreadable:
        say(f"  {count(finding.unreadable, 'answer')} more could not be read")
    if finding.unmatched:
        say("  not all keys were matched by (FF01): some are only returned")
    if finding.failure:
        raise Failure(FINDINGS, f"{called} at {peer.place} ends with {finding.status:04X}: {finding.failure}")
    return 0 if answers else FINDINGS


def _show(rows: list[tuple[str, ...]]) -> None:
    if rows:
        click.echo(columns(HEADERS, rows))


def _row(answer: "Dataset") -> tuple[str, ...]:
    steps = answer.get("ScheduledProcedureStepSequence") or [{}]
    step = steps[0]
    date, time = _text(step, "ScheduledProcedureStepStartDate"), _text(step, "ScheduledProcedureStepStartTime")
    start = f"{date[:4]}-{date[4:6]}-{date[6:8]} {time[:2]}:{time[2:4]}" if len(date) == 8 and len(time) >= 4 else date
    return (
        start,
        _text(step, "Modality"),
        _text(step, "ScheduledStationAETitle"),
        _text(answer, "PatientID"),
        _text(answer, "PatientName"),
        _text(answer, "AccessionNumber"),
        _text(step, "ScheduledProcedureStepDescription") or _text(answer, "RequestedProcedureDescription"),
        _text(answer, "StudyInstanceUID"),
        _text(step, "ScheduledProcedureStepID"),
    )


def _text(dataset: Any, keyword: str) -> str:
    """A value for people, several with a backslash between."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    several = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
    return printable("\\".join(str(one) for one in several))
