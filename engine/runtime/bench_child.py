"""The child's end of the bench: loads a text as a channel's file, and runs one message or one case through it.

It is given bytes, and reads no file of the site: what a text names and was not handed over is not there. It has no
secret, opens no socket, writes no file and starts nobody (`confine`). What takes too long or too much is ended by the
other end; frames are those of `worker_child`.
"""

import _thread
import os
import random
import resource
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from engine.config.files import CHANNEL_FILE, RecordedFiles
from engine.config.finding import ConfigFinding
from engine.config.kinds import Kinds
from engine.config.site import load_channel
from engine.config.substitute import is_secret_name
from engine.hl7.convert import form_of
from engine.hl7.deidentify import Deidentifier
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.model.finding import Finding
from engine.pipeline.answer import BETWEEN
from engine.pipeline.cases import check_case, to_file
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.mocks import is_mock, strange_mocks
from engine.pipeline.registry import load_kinds, load_steps
from engine.pipeline.trace import Tested
from engine.pipeline.trial import Trial, seen_values, told, try_message, type_of
from engine.ports import bench
from engine.ports.bench import MOST_BODY, MOST_ROWS, MOST_VALUE
from engine.runtime.confine import confine
from engine.runtime.worker_child import allow_cpu, read_frame, take_pipes, write_frame

IDLE_S: Final = 600.0
"""Who is asked nothing for so long ends: the bench starts another when somebody comes."""
NICENESS: Final = 15
SHOWN: Final = 300
"""Steps of a message, and changes of a step, that are shown: an `each` has thousands."""
STAND_IN: Final = "stand-in"
PATIENT: Final = "PID-3.1"


def main() -> None:
    """Until the other end closes the pipe."""
    from pathlib import Path

    source, target = take_pipes()
    kinds, steps = load_kinds(), load_steps()
    start = read_frame(source)
    if start is None:
        return
    limits = start[0]
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    confine()
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        most = used + limits["memory_bytes"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    write_frame(target, {"mark": limits["mark"]}, ())
    desk = _Desk(kinds, steps)
    while select.select([source], [], [], IDLE_S)[0] and (job := read_frame(source)) is not None:
        about, content = job
        allow_cpu(limits["cpu_s"])
        answer = desk.work(about, content).model_dump_json().encode()
        # A thread that was left behind goes on taking processor time, which the next text would be blamed for.
        is_spent = _thread._count() > 0
        write_frame(target, {"mark": about["mark"], "last": is_spent}, (answer,))
        if is_spent:
            return


class StandIns(Mapping[str, str]):
    """What `${...}` stands for here: what is no secret and stands in the file on disk; for a secret, something else.

    A text that is being edited must not show what it only has to name: `${file:...}` could be any file.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self.stood_in: dict[str, None] = {}

    def __contains__(self, reference: object) -> bool:
        return isinstance(reference, str) and (reference in self._known or _is_secret(reference))

    def __getitem__(self, reference: str) -> str:
        if reference in self._known:
            return self._known[reference]
        if not _is_secret(reference):
            raise KeyError(reference)
        self.stood_in[reference] = None
        return STAND_IN

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _is_secret(reference: str) -> bool:
    inside = reference.removeprefix("${").removesuffix("}")
    return inside.startswith("file:") or is_secret_name(inside.partition(":-")[0])


class _Loaded:
    """A text that was loaded: the channel, or what is wrong with it."""

    def __init__(self, channel: CompiledChannel | None, problems: list[ConfigFinding], stood_in: Sequence[str]) -> None:
        self.channel = channel
        self.problems = [_problem(one) for one in problems[:MOST_ROWS]]
        self.stood_in = list(stood_in)[:MOST_ROWS]


class _Desk:
    """What the process keeps from one job to the next: the files, and the text that was loaded last."""

    def __init__(self, kinds: Kinds, steps: Any) -> None:
        self._kinds = kinds
        self._steps = steps
        self._files: dict[str, bytes] = {}
        self._key: tuple[object, ...] = ()
        self._loaded: _Loaded | None = None

    def work(self, about: Any, content: bytes) -> "bench.Tried | bench.CaseTried":
        parts = _cut(content, about["parts"])
        if about["files"] is not None:
            self._files = dict(zip(about["files"], parts[len(parts) - len(about["files"]) :], strict=True))
            self._key = ()
        text = parts[0]
        key = (about["channel"], about["known"], text)
        if self._loaded is None or key != self._key:
            self._loaded = self._load(about["channel"], about["known"], {**self._files, CHANNEL_FILE: text})
            self._key = key
        loaded = self._loaded
        match about["job"]:
            case "try":
                return _tried(loaded, parts[1], datetime.fromtimestamp(about["now_us"] / 1_000_000, UTC))
            case "case":
                files = dict(zip(about["case"], parts[1:], strict=False))
                return self._case(loaded, about, text, files)
            case "new":
                return _new_case(loaded, parts[1], parts[2])
            case _:
                return bench.Tried(problems=loaded.problems, stood_in=loaded.stood_in)

    def _load(self, name: str, known: Mapping[str, str], files: Mapping[str, bytes]) -> _Loaded:
        from pathlib import Path

        values = StandIns(known)
        # No environment and no folder: each reference that is none of `values` is a finding.
        channel, findings = load_channel(name, RecordedFiles(files), self._kinds, {}, site=Path(), recorded=values)
        findings = [_not_looked_up(one) for one in findings]
        if channel is None:
            return _Loaded(None, findings, list(values.stood_in))
        try:
            made = compile_channel(channel, self._steps, runs_own_code=True)
        except ChannelError as error:
            return _Loaded(None, [*findings, error.finding], list(values.stood_in))
        return _Loaded(made, findings, list(values.stood_in))

    def _case(self, loaded: _Loaded, about: Any, text: bytes, files: Mapping[str, bytes]) -> "bench.CaseTried":
        mocks = {name: content for name, content in files.items() if is_mock(name)}
        if mocks:
            there = {**self._files, CHANNEL_FILE: text}
            if strange := strange_mocks(mocks, there):
                return bench.CaseTried(differences=[_difference(one) for one in strange[:SHOWN]])
            loaded = self._load(about["channel"], about["known"], {**there, **mocks})
        if loaded.channel is None:
            return bench.CaseTried(problems=[one for one in loaded.problems if one.is_error])
        random.seed(0)  # what a step draws by chance is the same at each run, as with `segmill test`
        outcome = check_case(loaded.channel, {name: c for name, c in files.items() if name not in mocks})
        return bench.CaseTried(
            states=outcome.states[:MOST_ROWS],
            differences=[_difference(one) for one in outcome.differences[:SHOWN]],
            more=max(0, len(outcome.differences) - SHOWN),
        )


def _new_case(loaded: _Loaded, sample: bytes, key: bytes) -> "bench.CaseTried":
    if loaded.channel is None:
        return bench.CaseTried(problems=[one for one in loaded.problems if one.is_error])
    if key:
        try:
            sample = Deidentifier(key, compile_path(PATIENT), (), ()).message(Message.parse(sample))
        except UnreadableMessage as error:
            return bench.CaseTried(ended=f"what cannot be read cannot be de-identified: {error.reason}")
    random.seed(0)
    files = {"in.hl7": to_file([sample])}
    outcome = check_case(loaded.channel, files)
    files |= outcome.files
    if any(len(content) > MOST_BODY for content in files.values()):
        return bench.CaseTried(ended="what comes of it is too large for a case")
    try:
        texts = {name: content.decode("utf-8") for name, content in files.items()}
    except UnicodeDecodeError:
        return bench.CaseTried(ended="it is no UTF-8: save the message as a file, and make the case with segmill test")
    return bench.CaseTried(states=outcome.states[:MOST_ROWS], files=texts)


def _cut(content: bytes, lengths: Sequence[int]) -> list[bytes]:
    parts, at = [], 0
    for length in lengths:
        parts.append(content[at : at + length])
        at += length
    return parts


def _not_looked_up(finding: ConfigFinding) -> ConfigFinding:
    if finding.code != "E120":
        return finding
    message = "what this reference stands for is not looked up while a text is being tried"
    hint = "known here are those of the file on disk; give it a default, ${NAME:-...}, or write the value"
    place = (finding.file, finding.line, finding.column, finding.length)
    return ConfigFinding("E531", *place, message, hint)


# -- what is said of it: cut, so that it can be shown ------------------------------------------------


def _tried(loaded: _Loaded, sample: bytes, now: datetime) -> "bench.Tried":
    if loaded.channel is None or not sample:
        return bench.Tried(problems=loaded.problems, stood_in=loaded.stood_in)
    trial = try_message(
        loaded.channel, sample, now, lambda channel, message, at: channel.trace(message, at, clock=time.perf_counter)
    )
    return bench.Tried(problems=loaded.problems, stood_in=loaded.stood_in, message=_told(trial))


def _told(trial: Trial) -> "bench.Message":
    trace, message = trial.trace, trial.message
    steps = trace.steps if trace is not None else ()
    left_out = max(0, len(steps) - SHOWN)
    shown = []
    for number, step in enumerate(steps[:SHOWN]):
        is_told_inside = number + 1 < len(steps) and steps[number + 1].depth > step.depth
        left_out += max(0, len(step.changes) - SHOWN) + max(0, len(step.lookups) - SHOWN)
        shown.append(
            bench.StepTold(
                label=_short(step.label),
                depth=step.depth,
                outcome=step.outcome,
                microseconds=None if is_told_inside or step.outcome == "skipped" else step.microseconds,
                conditions=[_condition(one) for one in step.conditions[:SHOWN]],
                lookups=[
                    bench.LookedUp(path=_short(one.path), table=_short(one.table), key=_short(one.key), row=one.row)
                    for one in step.lookups[:SHOWN]
                ],
                changes=[]
                if is_told_inside
                else [
                    bench.Changed(path=_short(one.path), before=_some(one.before), after=_some(one.after))
                    for one in step.changes[:SHOWN]
                ],
                findings=[] if is_told_inside else [_finding(one) for one in step.findings[:SHOWN]],
            )
        )
    return bench.Message(
        state=trial.state,  # type: ignore[arg-type]  # one of those, or the model says so
        answer=_short(told(trial)),
        type=_short(type_of(message)) if message is not None else "",
        control_id=_short(message.get("MSH-10") or "") if message is not None else "",
        codec=message.codec if message is not None else "",
        findings=[_finding(one) for one in trial.findings[:SHOWN]],
        steps=shown,
        not_reached=[_short(one) for one in trace.not_reached[:SHOWN]] if trace is not None else [],
        routes=[
            bench.RouteTold(
                to=_short(one.destination),
                taken=one.taken,
                condition=None if one.condition is None else _condition(one.condition),
            )
            for one in (trace.routes[:SHOWN] if trace is not None else ())
        ],
        acks=[_body(part) for part in trial.answer.payload.split(BETWEEN) if part],
        app_ack=_body(trial.answer.apart),
        outputs=[
            bench.Output(
                to=[_short(name) for name in names], text=_body(body), size_bytes=len(body), is_same=body == trial.raw
            )
            for body, names in trial.outputs.items()
        ],
        left_out=left_out,
    )


def _condition(tested: Tested) -> "bench.Condition":
    seen = dict(seen_values(tested))
    return bench.Condition(
        source=_short(tested.source),
        outcome=tested.outcome,
        seen=[
            bench.Seen(text=_short(text), values=[_short(value) for value in values[:SHOWN]])
            for text, values in list(seen.items())[:SHOWN]
        ],
    )


def _finding(one: Finding) -> "bench.FindingTold":
    return bench.FindingTold(code=one.code, severity=one.severity, text=_short(one.text), location=_short(one.location))


def _problem(one: ConfigFinding) -> "bench.Problem":
    return bench.Problem(
        **{**asdict(one), "message": _short(one.message), "hint": _short(one.hint), "file": _short(one.file)}
    )


def _difference(one: Any) -> "bench.DifferenceTold":
    return bench.DifferenceTold(
        file=_short(one.file),
        number=one.number,
        path=_short(one.path),
        expected=_short(one.expected),
        actual=_short(one.actual),
    )


def _some(text: str | None) -> str | None:
    return None if text is None else _short(text)


def _short(text: str) -> str:
    """At most so many characters, and nothing that UTF-8 cannot have."""
    text = _clean(text)
    return text if len(text) <= MOST_VALUE else f"{text[:MOST_VALUE]}... ({len(text)} characters)"


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _body(raw: bytes) -> str:
    """As text, in the message's own charset where it can be read, its segments on lines of their own."""
    cut = raw[:MOST_BODY]
    if form_of(raw) != "hl7":
        text = cut.decode("utf-8", "backslashreplace")
    else:
        try:
            message = Message.parse(cut)
            text = "\n".join(message.segment(index) for index in range(len(message)))
        except UnreadableMessage:
            text = cut.decode("ascii", "backslashreplace").replace("\r", "\n")
    text = _clean(text)
    return text if len(text) <= MOST_BODY else f"{text[:MOST_BODY]}... (cut)"
