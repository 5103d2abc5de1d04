"""The child's end of a worker: runs one channel that has code of the site among its steps.

It loads the channel from the bytes that the engine hands over, so it runs exactly the version that the
engine loaded, and then answers one message at a time. Limits are set before any of the site's code runs.
Frames both ways: two big-endian 32-bit lengths, a JSON text, then bytes that the JSON describes.
"""

import _thread
import json
import os
import resource
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from pydantic import ConfigDict

from engine.config.base import ConfigModel
from engine.config.kinds import Kinds
from engine.config.site import load_version
from engine.config.worklist import WORKLIST, WorklistOptions
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.registry import load_steps
from engine.pipeline.run import Result
from engine.runtime.confine import confine
from engine.runtime.deadline import write_whereabouts

LENGTHS: Final = struct.Struct(">II")
MOST_TEXT_BYTES: Final = 1 << 20
"""Of what is said about a message: findings above all, and those are bounded in number."""
CPU_SLACK_S: Final = 2
"""Whole seconds of processor time beyond the deadline, after which the kernel ends us if the engine has not."""


def main() -> None:
    """Until the engine closes the pipe. Anything that goes wrong ends this process, and the engine sees that."""
    source, target = take_pipes()
    start = read_frame(source)
    if start is None:
        return
    about, content = start
    _set_limits(about["memory_bytes"])
    channel, problem = _load(about, content)
    write_frame(target, {"problem": problem}, ())
    if channel is None:
        return
    while (job := read_frame(source)) is not None:
        allow_cpu(about["deadline_s"])
        about_job, raw = job
        result = _run(channel, raw, about_job["now_us"], about["output_bytes"])
        described, bodies = describe(result)
        # What ran out of memory may have kept some of it, and a thread that was left behind goes on taking processor
        # time, which the next message would be blamed for: answer, and let a new process go on.
        is_spent = _thread._count() > 0 or any("MemoryError" in finding.text for finding in result.findings)
        write_frame(target, {**described, "last": is_spent}, bodies)
        if is_spent:
            return


def frame(about: Mapping[str, Any], contents: Sequence[bytes]) -> bytes:
    """One frame; its bytes are `contents` one after the other."""
    return b"".join((head(about, contents), *contents))


def head(about: Mapping[str, Any], contents: Sequence[bytes]) -> bytes:
    """A frame without its contents, which are to follow: joined, a large message would be there once more."""
    text = json.dumps(about, separators=(",", ":")).encode()
    return LENGTHS.pack(len(text), sum(map(len, contents))) + text


def write_frame(target: BinaryIO, about: Mapping[str, Any], contents: Sequence[bytes]) -> None:
    target.write(head(about, contents))
    for content in contents:
        target.write(content)
    target.flush()


def read_frame(source: BinaryIO) -> tuple[Any, bytes] | None:
    """The next frame, None at the end."""
    lengths = source.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    text_bytes, content_bytes = LENGTHS.unpack(lengths)
    text, content = source.read(text_bytes), source.read(content_bytes)
    if len(content) < content_bytes or len(text) < text_bytes:
        return None
    return json.loads(text), content


def describe(result: Result) -> tuple[dict[str, Any], list[bytes]]:
    """A result as JSON and the bytes of its bodies, each once."""
    bodies: list[bytes] = []
    places: dict[int, int] = {}
    deliveries: list[tuple[str, int, str | None, bool]] = []
    for delivery in result.deliveries:
        if delivery.body is None:
            deliveries.append((delivery.destination, -1, delivery.key, delivery.urgent))
            continue
        if id(delivery.body) not in places:
            places[id(delivery.body)] = len(bodies)
            bodies.append(delivery.body)
        deliveries.append((delivery.destination, places[id(delivery.body)], delivery.key, delivery.urgent))
    return {
        "state": result.state,
        "deliveries": deliveries,
        "bodies": [len(body) for body in bodies],
        "findings": [asdict(finding) for finding in result.findings],
    }, bodies


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the engine, moved away from where the site's code prints to and reads from."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return source, target


def _set_limits(memory_bytes: int) -> None:
    """No core file, since it would hold a patient's data; no children; so much memory more than there is now."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine()
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - not a file of anybody's
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))


def allow_cpu(deadline_s: float) -> None:
    """Processor time for one more message: what stays if the engine cannot end us, because it died."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + deadline_s) + CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


class _AnyOptions(ConfigModel):
    """Of a sink: its options do not matter here, and its secrets are not handed over."""

    model_config = ConfigDict(extra="allow", frozen=True)


class _AnySink:
    """A sink as far as the pipeline knows it: of a worklist it reads the options, as it makes what that gets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model: type[ConfigModel] = WorklistOptions if name == WORKLIST else _AnyOptions


def _load(about: Any, content: bytes) -> tuple[CompiledChannel | None, str]:
    """The channel, or a sentence that says why there is none."""
    files: dict[str, bytes] = {}
    at = 0
    for name, length in about["files"]:
        files[name] = content[at : at + length]
        at += length
    steps = load_steps()
    kinds = Kinds(steps=steps, sinks={name: _AnySink(name) for name in about["sinks"]})
    allow_cpu(about["start_s"])
    loaded, findings = load_version(about["channel"], files, kinds, about["substituted"])
    if loaded is None:
        first = next(finding for finding in findings if finding.is_error)
        return None, f"{first.file}:{first.line} {first.code} {first.message}"
    try:
        place = about["whereabouts"]
        return compile_channel(loaded, steps, runs_own_code=True, at_step=lambda n: write_whereabouts(place, n)), ""
    except ChannelError as error:
        return None, error.finding.message


def _run(channel: CompiledChannel, raw: bytes, now_us: int, most_bytes: int) -> Result:
    try:
        message = Message.parse(raw, fallback=channel.fallback_charset)
    except UnreadableMessage as error:
        return Result("held", [], (Finding("E233", "error", error.reason, hl7_code=error.hl7_code),))
    result = channel.run(message, datetime.fromtimestamp(now_us / 1_000_000, UTC))
    made = {id(d.body): len(d.body) for d in result.deliveries if d.body is not None}
    if sum(made.values()) > most_bytes:
        text = f"the steps made {sum(made.values())} bytes of the message, and {most_bytes} are allowed"
        return Result("held", [], (Finding("E223", "error", text),))
    return result
