"""`segmill try`: what a channel does to a message, step by step, without a socket."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.message_files import STDIN, FileMessage, read_messages
from engine.cli.output import emit, printable, styled
from engine.cli.own_code import OwnCodeEnded, deadline_of, guarded
from engine.cli.redraw import redraw
from engine.cli.site_channels import compiled, loaded_channels, split_site
from engine.cli.sites import CHANNELS, site_option
from engine.cli.why import why

if TYPE_CHECKING:
    from engine.hl7.message import Message
    from engine.pipeline.compare import Change
    from engine.pipeline.compile import CompiledChannel
    from engine.pipeline.fragments import Joining
    from engine.pipeline.trace import StepTrace, Tested, Trace
    from engine.pipeline.trial import Trial

ROUNDS: Final = 3
"""A message is run so often, and the shortest time of each step is shown: the first run warms up."""

STOPS: Final = {"filtered": "cyan", "waiting": "cyan", "held": "yellow", "rejected": "red"}
ONE_LINE: Final = 90


@subcommand(
    "try",
    "segmill try adt samples/adt/adt_a01_2.5.1.hl7",
    "segmill try channels/adt samples/adt --brief",
    "segmill try adt samples/adt/adt_a01_2.5.1.hl7 --why ris",
)
@click.argument("channel")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--brief", is_flag=True, help="Only the steps that did something, and what became of the message.")
@click.option("--why", "destination", metavar="DEST", help="Only why a message goes to this destination, or does not.")
@click.option("--watch", is_flag=True, help="Show it again after each change of the channel or of the messages.")
@site_option
@json_option("one object a message")
def command(
    channel: str,
    files: tuple[str, ...],
    brief: bool,
    destination: str | None,
    watch: bool,
    site: Path | None,
    as_json: bool,
) -> int:
    """Show what a channel does to a message, step by step.

    For every step: its condition and what stood in the message, the row of its table, each field before and after,
    and the time it took; then the routes, the answer its sender would get, and what would go out. Nothing is sent
    or stored. FILE may be a folder, or hold many messages; - is standard input. Fragments of a message are joined where
    the channel does that, in the order of the files. Ends with 1 if one is held or refused.
    """
    folder, (name,) = split_site([channel], site)
    asked = _Asked(brief, destination, as_json)
    if not watch:
        return _try(folder, name, files, asked)
    if STDIN in files:
        raise misuse("--watch reads the messages again and again: give it files")
    redraw(lambda: _try(folder, name, files, asked), lambda: _watched(folder, name, files))
    return 0


@dataclass(slots=True, frozen=True)
class _Asked:
    """How it is to be shown."""

    brief: bool
    destination: str | None
    as_json: bool


def _watched(folder: Path, name: str, files: tuple[str, ...]) -> list[Path]:
    site = [folder / CHANNELS / name, folder / "profiles", folder / "segmill.yaml"]
    return [*(path for path in site if path.exists()), *map(Path, files)]


def _try(folder: Path, name: str, files: tuple[str, ...], asked: _Asked) -> int:
    from engine.pipeline.trial import as_json, try_message

    of_site, (loaded,) = loaded_channels(folder, [name])
    ready = compiled(loaded, folder)
    if asked.destination is not None and asked.destination not in loaded.file.destinations:
        raise misuse(f"no destination '{asked.destination}' in {name}; there is {', '.join(loaded.file.destinations)}")
    deadline_s = deadline_of(of_site)
    joining = _joining(ready)
    is_good = True
    for number, message in enumerate(read_messages(files)):
        trial = try_message(
            ready,
            message.raw,
            datetime.now(UTC),
            lambda channel, message, now: _traced(channel, message, now, deadline_s),
            noted=message.noted,
            joining=joining,
        )
        is_good &= trial.is_good
        if asked.as_json:
            emit({"file": message.file, "message": message.number, **as_json(trial)})
        elif asked.destination is not None:
            click.echo(_head(message, trial))
            click.echo("\n".join(f"  {line}" for line in why(trial, asked.destination, _tested)))
        else:
            click.echo("\n" * bool(number) + "\n".join(_lines(message, trial, brief=asked.brief)))
    if joining is not None and joining.unfinished:
        missing = len(joining.unfinished)
        what = "1 message is" if missing == 1 else f"{missing} messages are"
        click.echo(f"{what} not complete: fragments are missing at the end", err=True)
        is_good = False
    return 0 if is_good else FINDINGS


def _joining(channel: "CompiledChannel") -> "Joining | None":
    from engine.pipeline.fragments import Joining

    continuation = channel.file.fragments.dsc
    return None if continuation is None else Joining(continuation)


def _traced(channel: "CompiledChannel", message: "Message", now: datetime, deadline_s: float) -> "Trace":
    """The message's way, with the shortest time each step took; once only where the site's own code may print."""
    from engine.pipeline.trial import TraceEnded

    def run() -> "Trace":
        return channel.trace(message, now, clock=time.perf_counter)

    if channel.isolated:
        try:
            return guarded(run, deadline_s)
        except OwnCodeEnded as ended:
            raise TraceEnded(ended.finding) from None
    traces = [run() for _ in range(ROUNDS)]
    trace = traces[0]
    for step, *again in zip(trace.steps, *(other.steps for other in traces[1:]), strict=True):
        times = [one.microseconds for one in (step, *again) if one.microseconds is not None]
        step.microseconds = min(times, default=None)
    return trace


# -- for people -----------------------------------------------------------------------------------


def _head(file: FileMessage, trial: "Trial") -> str:
    from engine.pipeline.trial import type_of

    about = printable(file.name)
    if trial.message is not None:
        control_id = trial.message.get("MSH-10") or ""
        about += f"  {printable(type_of(trial.message))}  control id {printable(control_id)}"
        about += f"  {trial.message.codec}"
    return styled(about, bold=True)


def _lines(file: FileMessage, trial: "Trial", *, brief: bool) -> Iterator[str]:
    from engine.pipeline.answer import BETWEEN
    from engine.pipeline.trial import told

    yield _head(file, trial)
    if trial.trace is not None:
        yield from _trace_lines(trial.trace, brief=brief)
    state = styled(trial.state, fg=STOPS.get(trial.state, "green"), bold=True)
    yield f"  {state}, {told(trial)}"
    for finding in trial.findings:
        place = f"{finding.location}: " if finding.location else ""
        yield f"    {finding.code} {printable(place + finding.text)}"
    if brief:
        return
    for part in trial.answer.payload.split(BETWEEN):
        for line in _segments(part):
            yield f"    {line}"
    if trial.answer.apart:
        yield "  over a connection of our own"
        for line in _segments(trial.answer.apart):
            yield f"    {line}"
    for body, names in trial.outputs.items():
        same = " (as it came in)" if body == trial.raw else ""
        yield f"  to {', '.join(names)}{same}"
        for line in _segments(body):
            yield f"    {line}"


def _trace_lines(trace: "Trace", *, brief: bool) -> Iterator[str]:
    width = min(44, max((len(step.label) + 2 * step.depth for step in trace.steps), default=0))
    for step, following in zip_longest(trace.steps, trace.steps[1:]):
        if brief and step.outcome in ("done", "skipped") and not (step.changes or step.findings):
            continue
        yield from _step_lines(step, width, is_told_inside=following is not None and following.depth > step.depth)
    for label in trace.not_reached:
        if not brief:
            yield styled(f"  {label:<{width}}  not reached", dim=True)
    for route in trace.routes:
        if route.taken is not None and not brief:
            why = f": {_tested(route.condition)}" if route.condition is not None else ""
            yield f"  route to {route.destination}  {'yes' if route.taken else 'no'}{why}"


def _step_lines(step: "StepTrace", width: int, *, is_told_inside: bool) -> Iterator[str]:
    """One step. `is_told_inside`: the steps nested in it, which follow, tell its changes, findings and times."""
    label = "  " * step.depth + step.label
    outcome = "" if step.outcome == "done" else styled(step.outcome, fg=STOPS.get(step.outcome, "bright_black"))
    is_timed = step.microseconds is not None and step.outcome != "skipped" and not is_told_inside
    took = f"{step.microseconds:,.0f} us" if is_timed else ""
    yield f"  {label:<{width}}  {took:>8}  {outcome}".rstrip()
    indent = "      " + "  " * step.depth
    for text, times in Counter(map(_tested, step.conditions)).items():
        yield f"{indent}{text}" + (f"   {times} times" if times > 1 else "")
    for lookup in step.lookups:
        row = "no row" if lookup.row is None else f"row {lookup.row}"
        yield f"{indent}{lookup.table}: {row} for {lookup.path} = {_quoted(lookup.key)}"
    if is_told_inside:
        return
    for change in step.changes:
        yield from (indent + line for line in _change(change))
    for finding in step.findings:
        yield f"{indent}{finding.code} {printable(f'{finding.location}: ' if finding.location else '')}{finding.text}"


def _tested(tested: "Tested") -> str:
    from engine.pipeline.trial import seen_values

    seen = [f"{text} = {', '.join(map(_quoted, values))}" for text, values in seen_values(tested)]
    because = f"   ({'; '.join(dict.fromkeys(seen))})" if seen else ""
    return f"{tested.source} -> {'true' if tested.outcome else 'false'}{printable(because)}"


def _change(change: "Change") -> Sequence[str]:
    before, after = (("(none)" if text is None else _quoted(text)) for text in (change.before, change.after))
    path = printable(change.path)
    if len(before) + len(after) <= ONE_LINE:
        return (f"{path}  {styled(before, fg='red')} -> {styled(after, fg='green')}",)
    return (path, f"  {styled(before, fg='red')}", f"  -> {styled(after, fg='green')}")


def _quoted(text: str) -> str:
    return f'"{printable(text)}"'


def _segments(raw: bytes) -> Iterator[str]:
    from engine.cli.messages import decoded_lines

    return (printable(line) for line in decoded_lines(raw) if line)
