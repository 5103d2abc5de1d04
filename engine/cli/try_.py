"""`segmill try`: what a channel does to a message, step by step, without a socket."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count as numbers
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.message_files import STDIN, FileMessage, read_messages
from engine.cli.output import emit, printable, styled
from engine.cli.own_code import DEADLINE_S, OwnCodeEnded, deadline_of, guarded
from engine.cli.redraw import redraw
from engine.cli.site_channels import compiled, loaded_channels, split_site
from engine.cli.sites import CHANNELS, site_option
from engine.cli.why import why

if TYPE_CHECKING:
    from engine.hl7.ack import Decision
    from engine.hl7.message import Message
    from engine.model.finding import Finding
    from engine.pipeline.answer import Answer
    from engine.pipeline.compare import Change
    from engine.pipeline.compile import CompiledChannel
    from engine.pipeline.fragments import Joining
    from engine.pipeline.trace import StepTrace, Tested, Trace

ROUNDS: Final = 3
"""A message is run so often, and the shortest time of each step is shown: the first run warms up."""

BETWEEN: Final = b"\x1c\r\x0b"
"""Two answers to one message are two blocks: what stands between them."""

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
    of_site, (loaded,) = loaded_channels(folder, [name])
    ready = compiled(loaded, folder)
    if asked.destination is not None and asked.destination not in loaded.file.destinations:
        raise misuse(f"no destination '{asked.destination}' in {name}; there is {', '.join(loaded.file.destinations)}")
    deadline_s = deadline_of(of_site)
    joining = _joining(ready)
    is_good = True
    for number, message in enumerate(read_messages(files)):
        trial = try_message(ready, message, deadline_s, joining)
        is_good &= trial.state in ("processed", "filtered", "waiting")
        if asked.as_json:
            emit(_as_json(trial))
        elif asked.destination is not None:
            click.echo(_head(trial))
            click.echo("\n".join(f"  {line}" for line in why(trial, asked.destination, _tested)))
        else:
            click.echo("\n" * bool(number) + "\n".join(_lines(trial, brief=asked.brief)))
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


@dataclass(slots=True, frozen=True)
class Trial:
    """One message's way through a channel. `trace` None: it did not come as far as the steps."""

    file: FileMessage
    message: "Message | None"
    state: str
    findings: "tuple[Finding, ...]"
    answer: "Answer"
    trace: "Trace | None"
    is_stored_first: bool
    waits_for: str = ""

    @property
    def outputs(self) -> dict[bytes, list[str]]:
        """What would go out, and to which destinations."""
        found: dict[bytes, list[str]] = {}
        for delivery in self.trace.result.deliveries if self.trace is not None else ():
            body = self.file.raw if delivery.body is None else delivery.body
            found.setdefault(body, []).append(delivery.destination)
        return found


def try_message(
    channel: "CompiledChannel",
    file: FileMessage,
    deadline_s: float = DEADLINE_S,
    joining: "Joining | None" = None,
) -> Trial:
    """Run one message through a channel that has its port for itself, as the engine would.

    `joining` has the fragments that were tried before; the last one of a message is tried as the whole.
    """
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.mllp.framing import PREFIX_BYTES
    from engine.pipeline.answer import NOTHING, AnswerSettings, answer_result, refuse
    from engine.pipeline.entry import (
        NO_CONTROL_ID,
        notices,
        oversize,
        refused_for_count,
        unclaimed,
        undecodable,
        unreadable,
    )
    from engine.pipeline.fragments import Waits, Whole, answer_fragment, answer_whole, joined_from, settled
    from engine.pipeline.run import Result

    now = datetime.now(UTC)
    answers = AnswerSettings.of(channel.file.ack)
    ids = numbers(1)

    def next_id() -> str:
        return f"TRY{next(ids)}"

    def refused(message: Message | None, finding: "Finding", decision: "Decision" = "reject") -> Trial:
        answer = refuse(message, [finding], decision, answers, now, next_id)
        return Trial(file, message, "rejected", (finding,), answer, None, False)

    limit_bytes = channel.file.listen.max_message
    too_long = oversize(len(file.raw), limit_bytes) if len(file.raw) > limit_bytes else None
    try:
        seen = file.raw if too_long is None else file.raw[:PREFIX_BYTES]
        message = Message.parse(seen, fallback=channel.fallback_charset)
    except UnreadableMessage as exc:
        return refused(None, unreadable(exc)) if too_long is None else refused(None, too_long, "error")
    if too_long is not None:
        return refused(message, too_long, "error")
    if file.noted and channel.file.listen.options.batches.count == "reject":
        return refused(message, refused_for_count(file.noted)[0], "error")
    if not channel.accepts(message) and not (joining is not None and joining.expects(message)):
        return refused(message, unclaimed([channel], message))
    if not _control_id_of(message):
        return refused(message, NO_CONTROL_ID)
    if channel.strict_charset and (refusal := undecodable(message)) is not None:
        return refused(message, refusal, "error")
    last, accepted, about = message, NOTHING, (*notices(message), *file.noted)
    taken = joining.take(message) if joining is not None else None
    if isinstance(taken, (Waits, Whole)):
        accepted = answer_fragment(message, answers, now, next_id, is_last=isinstance(taken, Whole))
    match taken:
        case Waits():
            return Trial(file, message, "waiting", about, accepted, None, False)
        case Whole(raw=raw, parts=parts):
            file = replace(file, raw=raw)
            message = Message.parse(raw, fallback=channel.fallback_charset)
            about = (*about, joined_from(len(parts)))
        case None:
            pass
        case finding:
            return refused(message, finding, "error")
    is_stored_first = channel.file.ack.when == "stored"
    trace: Trace | None = None
    try:
        trace = _traced(channel, message, now, deadline_s)
        result = trace.result
    except OwnCodeEnded as ended:
        result = Result("held", [], (ended.finding,))
    if isinstance(taken, Whole) and not is_stored_first:
        result = settled(message, result, answers)
    told = Result.received() if is_stored_first else result
    if isinstance(taken, Whole):
        answer = answer_whole(
            last, accepted, message, told, answers, now, next_id, names_last=channel.answers_last_fragment
        )
    else:
        answer = answer_result(message, told, answers, now, next_id)
    findings = (*about, *result.findings)
    return Trial(file, message, result.state, findings, answer, trace, is_stored_first, answers.waits_for)


def _traced(channel: "CompiledChannel", message: "Message", now: datetime, deadline_s: float) -> "Trace":
    """The message's way, with the shortest time each step took; once only where the site's own code may print."""

    def run() -> "Trace":
        return channel.trace(message, now, clock=time.perf_counter)

    if channel.isolated:
        return guarded(run, deadline_s)
    traces = [run() for _ in range(ROUNDS)]
    trace = traces[0]
    for step, *again in zip(trace.steps, *(other.steps for other in traces[1:]), strict=True):
        times = [one.microseconds for one in (step, *again) if one.microseconds is not None]
        step.microseconds = min(times, default=None)
    return trace


def _type_of(message: "Message") -> str:
    return "^".join(part for part in (message.get("MSH-9.1"), message.get("MSH-9.2")) if part)


def _control_id_of(message: "Message") -> str:
    return message.get("MSH-10") or ""


# -- for programs ---------------------------------------------------------------------------------


def _as_json(trial: Trial) -> dict[str, Any]:
    record: dict[str, Any] = {
        "file": trial.file.file,
        "message": trial.file.number,
        "state": trial.state,
        "findings": [{k: v for k, v in asdict(f).items() if v} for f in trial.findings],
        "ack_code": trial.answer.code,
        "ack": trial.answer.payload.decode("utf-8", "backslashreplace"),
    }
    if trial.answer.apart:
        record["app_ack"] = trial.answer.apart.decode("utf-8", "backslashreplace")
    if trial.answer.is_first:
        record["waits_for"] = trial.waits_for
    if trial.message is not None:
        record |= {"type": _type_of(trial.message), "control_id": _control_id_of(trial.message)}
    if trial.trace is not None:
        record["steps"] = [
            {
                "label": step.label,
                "depth": step.depth,
                "outcome": step.outcome,
                "microseconds": None if step.microseconds is None else round(step.microseconds, 1),
                "conditions": [_tested_as_json(tested) for tested in step.conditions],
                "lookups": [asdict(lookup) for lookup in step.lookups],
                "changes": [asdict(change) for change in step.changes],
            }
            for step in trial.trace.steps
        ]
        record["not_reached"] = list(trial.trace.not_reached)
        record["routes"] = [
            {
                "to": route.destination,
                "taken": route.taken,
                "condition": None if route.condition is None else _tested_as_json(route.condition),
            }
            for route in trial.trace.routes
        ]
        record["outputs"] = [
            {"to": names, "body": body.decode("utf-8", "backslashreplace")} for body, names in trial.outputs.items()
        ]
    return record


def _tested_as_json(tested: "Tested") -> dict[str, Any]:
    return {
        "source": tested.source,
        "outcome": tested.outcome,
        "values": [{"text": part.text, "value": part.value} for part in tested.why],
    }


# -- for people -----------------------------------------------------------------------------------


def _head(trial: Trial) -> str:
    about = printable(trial.file.name)
    if trial.message is not None:
        about += f"  {printable(_type_of(trial.message))}  control id {printable(_control_id_of(trial.message))}"
        about += f"  {trial.message.codec}"
    return styled(about, bold=True)


def _lines(trial: Trial, *, brief: bool) -> Iterator[str]:
    yield _head(trial)
    if trial.trace is not None:
        yield from _trace_lines(trial.trace, brief=brief)
    state = styled(trial.state, fg=STOPS.get(trial.state, "green"), bold=True)
    yield f"  {state}, {_told(trial)}"
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
        same = " (as it came in)" if body == trial.file.raw else ""
        yield f"  to {', '.join(names)}{same}"
        for line in _segments(body):
            yield f"    {line}"


def _told(trial: Trial) -> str:
    """The answers, one after the other, and what they wait for or where they go."""
    from engine.hl7.ack import read_ack

    answer = trial.answer
    found = [read_ack(part) for part in answer.payload.split(BETWEEN) if part]
    told = " and ".join(ack.code for ack in found if ack is not None)
    if answer.apart:
        apart = f"{answer.code} over a connection of our own" if not told else "the application's over one of our own"
        told = f"{told}, and {apart}" if told else apart
    elif answer.is_first:
        later = f"what {trial.waits_for} answers"
        told = f"{told} once it is stored, and {later}" if told else later
    elif trial.is_stored_first:
        told = f"{told or 'none'} (as soon as it is stored)"
    return f"answer {told or 'none'}"


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
    seen = []
    for part in tested.why:
        if isinstance(part.value, bool):
            continue
        values = part.value if isinstance(part.value, tuple) else (part.value,)
        seen.append(f"{part.text} = {', '.join(map(_quoted, values))}")
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
