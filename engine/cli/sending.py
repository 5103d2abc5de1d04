"""What `segmill send` does: messages with their edits, over and over, and a tally of their answers."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count as numbers
from itertools import cycle, islice
from typing import Any, Final
from uuid import uuid4

import click

from engine.adapters.errors import ConfigError
from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender, SendReport, Sent
from engine.adapters.tls import client_context
from engine.cli.command import misuse
from engine.cli.exits import FINDINGS, GOOD, UNREACHABLE
from engine.cli.message_files import FileMessage, why_not_framed
from engine.cli.output import columns, count, duration, emit, printable, say, styled
from engine.cli.progress import Progress
from engine.cli.words import host_and_port
from engine.hl7.ack import read_ack
from engine.hl7.errors import EditError, PathError, UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.path import Path as Hl7Path
from engine.hl7.path import compile_path

LISTED: Final = 20
"""So many messages are listed one by one; of more, only those that were not accepted."""

POSITIVE: Final = ("AA", "CA")


def send(where: Target, messages: "Messages", *, as_json: bool, **how: Any) -> int:
    """Send them all and tell what came of it; the command's exit code."""
    watch = _Watch(messages, as_json=as_json)
    report = asyncio.run(_send(where, messages, watch, **how))
    watch.end(report)
    if not report.answered and report.failures:
        return UNREACHABLE
    return GOOD if report.is_clean else FINDINGS


async def _send(where: Target, messages: "Messages", watch: "_Watch", **how: Any) -> SendReport:
    sender = Sender(where, messages, on_sent=watch.sent, **how)
    # The first Ctrl-C waits for the answers that are due and still tells what was done; the second ends it.
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        say("no more is sent; waiting for the answers that are due, Ctrl-C again ends at once")
        sender.stop()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    return await sender.run()


# -- what is sent ---------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class _Edit:
    path: Hl7Path
    template: str

    def text(self, number: int) -> str:
        text = self.template.replace("{n}", str(number))
        if "{uuid}" in text:
            text = text.replace("{uuid}", uuid4().hex[:20])
        if "{now}" in text:
            text = text.replace("{now}", datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z"))
        return text


def parse_edit(text: str) -> _Edit:
    path, equals, template = text.partition("=")
    if not equals:
        raise misuse(f"--set {text}: write PATH=TEXT, such as MSH-10=TEST{{n}}")
    try:
        return _Edit(compile_path(path.strip()), template)
    except PathError as exc:
        raise misuse(f"--set {text}: {exc.message}\n  {path}\n  {' ' * exc.column}^") from None


class Messages:
    """The messages of a run, over and over up to `total`, each with its edits. Iterated once."""

    def __init__(self, found: Sequence[FileMessage], total: int, edits: Sequence[_Edit]) -> None:
        self.total = total
        self.sets_control_id = any(str(edit.path) == "MSH-10" for edit in edits)
        self._found = found
        self._edits = edits

    def name(self, number: int) -> str:
        """Where message `number` (from 0) came from."""
        return self._found[number % len(self._found)].name

    def __iter__(self) -> Iterator[bytes]:
        if not self._edits:
            return islice(cycle([message.raw for message in self._found]), self.total)
        return islice(self._edited(), self.total)

    def check(self) -> None:
        """Try every message of the files with its edits. Raises a misuse for one that cannot be sent so."""
        try:
            for number, raw in enumerate(islice(iter(self), len(self._found))):
                if why := why_not_framed(raw):
                    raise misuse(f"{self.name(number)} cannot go over MLLP: {why}")
        except EditError as exc:
            raise misuse(f"--set: {exc}") from None
        except UnreadableMessage as exc:
            raise misuse(f"--set cannot be used with --raw here: {exc.reason}") from None

    def _edited(self) -> Iterator[bytes]:
        parsed = [Message.parse(message.raw) for message in self._found]
        for number in numbers():
            message = parsed[number % len(parsed)].copy()
            for edit in self._edits:
                edit.path.set(message, edit.text(number + 1))
            yield message.to_bytes()


# -- where to, and how fast -----------------------------------------------------------------------


def target_of(text: str, timeout_s: float, **tls: Any) -> Target:
    host, port = host_and_port(text)
    context = None
    if any(tls.values()):
        try:
            context = client_context(
                ca=tls["tls_ca"],
                certificate=tls["tls_cert"],
                key=tls["tls_key"],
                verify=not tls["tls_no_verify"],
            )
        except ConfigError as exc:
            raise misuse(str(exc)) from None
    return Target(host, port, tls=context, server_name=tls["tls_name"], ack_timeout_s=timeout_s)


# -- what is said ---------------------------------------------------------------------------------


class _Watch:
    """Sees every message's end: lists them if they are few, and moves a counter on a terminal if they take long."""

    def __init__(self, messages: Messages, *, as_json: bool) -> None:
        self._messages = messages
        self._as_json = as_json
        self._rows: list[tuple[str, str, str, str]] = []
        self._refused: list[dict[str, Any]] = []
        self._more = 0
        self._progress = Progress("messages", messages.total)

    def sent(self, sent: Sent) -> None:
        is_accepted = sent.ack_code in POSITIVE or not (sent.ack_code or sent.failure)
        if not is_accepted or self._messages.total <= LISTED:
            self._list(sent, is_accepted)
        self._progress.step()

    def _list(self, sent: Sent, is_accepted: bool) -> None:
        if max(len(self._rows), len(self._refused)) >= LISTED:
            self._more += 1
            return
        name = self._messages.name(sent.number)
        control_id = sent.control_id.decode("utf-8", "backslashreplace")
        said = " ".join(part for part in (sent.hl7_code, _text_of(sent.answer)) if part)
        if self._as_json:
            if not is_accepted:
                self._refused.append(
                    {"file": name, "control_id": control_id, "ack_code": sent.ack_code, "reason": sent.failure or said}
                )
            return
        code = sent.ack_code or ("no answer" if sent.failure else "no answer due")
        self._rows.append(
            (
                printable(name),
                printable(control_id),
                styled(code, fg="green" if is_accepted else "red"),
                printable(sent.failure or f"{duration(sent.seconds)}  {said}".rstrip()),
            )
        )

    def end(self, report: SendReport) -> None:
        """The summary, after the last message."""
        self._progress.clear()
        latency = {"p50": report.percentile(0.5), "p95": report.percentile(0.95), "p99": report.percentile(0.99)}
        latency["max"] = max(report.latencies_s, default=0.0)
        rate = report.answered / report.elapsed_s if report.elapsed_s else 0.0
        if self._as_json:
            emit(
                {
                    "sent": report.sent,
                    "accepted": report.accepted,
                    "codes": dict(report.codes),
                    "failures": dict(report.failures),
                    "resent": report.resent,
                    "elapsed_s": round(report.elapsed_s, 6),
                    "answers_per_s": round(rate, 3),
                    "latency_s": {name: round(value, 6) for name, value in latency.items()},
                    "not_accepted": self._refused,
                }
            )
            return
        if self._rows:
            click.echo(columns(("file", "control id", "answer", ""), self._rows))
        if self._more:
            click.echo(f"... and {count(self._more, 'message')} more that were not accepted")
        told = [f"{number:,} {code}" for code, number in sorted(report.codes.items())]
        told += [f"{number:,} without an answer ({why})" for why, number in report.failures.items()]
        resent = f", {report.resent:,} sent again" if report.resent else ""
        if report.sent or told:
            click.echo(
                f"{count(report.sent, 'message')} sent in {duration(report.elapsed_s)}: "
                f"{', '.join(told) or 'no answer was due'}{resent}"
            )
        if report.answered > 1:
            spread = ", ".join(f"{name} {duration(value)}" for name, value in latency.items())
            click.echo(f"{rate:,.0f} answers/s; time to the answer: {spread}")


def _text_of(answer: bytes) -> str:
    """What the receiver said in its answer, for people."""

    read = read_ack(answer) if answer else None
    return read.text if read is not None else ""
