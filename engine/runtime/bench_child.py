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
from datetime import UTC, datetime
from typing import Any, Final

from engine.config.files import CHANNEL_FILE, RecordedFiles
from engine.config.finding import ConfigFinding
from engine.config.kinds import Kinds
from engine.config.site import load_channel
from engine.config.substitute import is_secret_reference
from engine.hl7.deidentify import Deidentifier
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.pipeline.cases import check_case, to_file
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.mocks import is_mock, strange_mocks
from engine.pipeline.registry import load_kinds, load_steps
from engine.pipeline.trial import try_message
from engine.ports import bench
from engine.ports.bench import MOST_BODY, MOST_ROWS
from engine.runtime.bench_told import MOST_SAID, Teller, said
from engine.runtime.confine import confine
from engine.runtime.worker_child import allow_cpu, read_frame, take_pipes, write_frame

IDLE_S: Final = 600.0
"""Who is asked nothing for so long ends: the bench starts another when somebody comes."""
NICENESS: Final = 15
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
        answer = desk.work(about, content)
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
        return isinstance(reference, str) and (reference in self._known or is_secret_reference(reference))

    def __getitem__(self, reference: str) -> str:
        if reference in self._known:
            return self._known[reference]
        if not is_secret_reference(reference):
            raise KeyError(reference)
        # Without its default: of a secret, that is one as well.
        name, has_default, _ = reference.partition(":-")
        self.stood_in[f"{name}}}" if has_default else reference] = None
        return STAND_IN

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Loaded:
    """A text that was loaded: the channel, or what is wrong with it."""

    def __init__(self, channel: CompiledChannel | None, problems: list[ConfigFinding], stood_in: Sequence[str]) -> None:
        self.channel = channel
        self.problems = problems
        self.stood_in = list(stood_in)[:MOST_ROWS]

    def said(self, teller: Teller, *, only_errors: bool = False) -> "list[bench.Problem]":
        """What is wrong in it."""
        return teller.problems(one for one in self.problems if one.is_error or not only_errors)


class _Desk:
    """What the process keeps from one job to the next: the files, and the text that was loaded last."""

    def __init__(self, kinds: Kinds, steps: Any) -> None:
        self._kinds = kinds
        self._steps = steps
        self._files: dict[str, bytes] = {}
        self._key: tuple[object, ...] = ()
        self._loaded: _Loaded | None = None

    def work(self, about: Any, content: bytes) -> bytes:
        """The answer to one job."""
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
                return _tried(loaded, parts[1], _time(about["now_us"]))
            case "steps":
                return _stepped(loaded, parts[1], _time(about["now_us"]))
            case "case":
                files = dict(zip(about["case"], parts[1:], strict=False))
                return self._case(loaded, about, text, files)
            case "new":
                return _new_case(loaded, parts[1], parts[2])
            case unknown:
                raise ValueError(f"the bench has no job {unknown}")

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

    def _case(self, loaded: _Loaded, about: Any, text: bytes, files: Mapping[str, bytes]) -> bytes:
        mocks = {name: content for name, content in files.items() if is_mock(name)}
        if mocks:
            there = {**self._files, CHANNEL_FILE: text}
            if strange := strange_mocks(mocks, there):
                return said(lambda teller: bench.CaseTried(differences=teller.differences(strange)))
            loaded = self._load(about["channel"], about["known"], {**there, **mocks})
        if loaded.channel is None:
            return _with_errors(loaded)
        random.seed(0)  # what a step draws by chance is the same at each run, as with `segmill test`
        outcome = check_case(loaded.channel, {name: c for name, c in files.items() if name not in mocks})

        def told(teller: Teller) -> bench.CaseTried:
            differences = teller.differences(outcome.differences)
            return bench.CaseTried(states=outcome.states[:MOST_ROWS], differences=differences, more=teller.left_out)

        return said(told)


def _with_errors(loaded: _Loaded) -> bytes:
    return said(lambda teller: bench.CaseTried(problems=loaded.said(teller, only_errors=True)))


def _ended(why: str) -> bytes:
    return bench.CaseTried(ended=why).model_dump_json().encode()


def _new_case(loaded: _Loaded, sample: bytes, key: bytes) -> bytes:
    if loaded.channel is None:
        return _with_errors(loaded)
    if key:
        try:
            sample = Deidentifier(key, compile_path(PATIENT), (), ()).message(Message.parse(sample))
        except UnreadableMessage as error:
            return _ended(f"what cannot be read cannot be de-identified: {error.reason}")
    random.seed(0)
    files = {"in.hl7": to_file([sample])}
    outcome = check_case(loaded.channel, files)
    files |= outcome.files
    if any(len(content) > MOST_BODY for content in files.values()) or sum(map(len, files.values())) > MOST_SAID:
        return _ended("what comes of it is too large for a case")
    try:
        texts = {name: content.decode("utf-8") for name, content in files.items()}
    except UnicodeDecodeError:
        return _ended("it is no UTF-8: save the message as a file, and make the case with segmill test")
    return bench.CaseTried(states=outcome.states[:MOST_ROWS], files=texts).model_dump_json().encode()


def _time(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)


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


def _tried(loaded: _Loaded, sample: bytes, now: datetime) -> bytes:
    channel = loaded.channel
    trial = None
    if channel is not None and sample:
        trial = try_message(
            channel, sample, now, lambda channel, message, at: channel.trace(message, at, clock=time.perf_counter)
        )

    def told(teller: Teller) -> bench.Tried:
        problems = loaded.said(teller)
        message = teller.message(trial) if trial is not None else None
        return bench.Tried(problems=problems, stood_in=loaded.stood_in, message=message)

    return said(told)


def _stepped(loaded: _Loaded, raw: bytes, received_at: datetime) -> bytes:
    trace, ended = None, ""
    if loaded.channel is not None:
        try:
            message = Message.parse(raw, fallback=loaded.channel.fallback_charset)
            trace = loaded.channel.trace(message, received_at)
        except UnreadableMessage as error:
            ended = error.reason
        except Exception as error:  # noqa: BLE001 - a step's defect: in the engine, too, it holds one message only
            ended = f"the channel failed ({type(error).__name__})"

    def told(teller: Teller) -> bench.Stepped:
        about = bench.Stepped(problems=loaded.said(teller), stood_in=loaded.stood_in, ended=ended)
        return about if trace is None else teller.stepped(trace, about)

    return said(told)
