"""`segmill send`: send messages over MLLP, a handful to try something or thousands to load it."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count as numbers
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS, UNREACHABLE
from engine.cli.message_files import FileMessage, read_messages
from engine.cli.output import columns, count, duration, emit, printable, say, styled

if TYPE_CHECKING:
    from engine.adapters.mllp_connection import Target
    from engine.adapters.sender import SendReport, Sent
    from engine.hl7.path import Path as Hl7Path

LISTED: Final = 20
"""So many messages are listed one by one; of more, only those that were not accepted."""

POSITIVE: Final = ("AA", "CA")


@subcommand(
    "send",
    "segmill send samples/adt/adt_a01_2.5.1.hl7 --to 127.0.0.1:2575",
    "segmill send samples/adt --to 127.0.0.1:2575 --connections 4 --count 200 --set MSH-10=LOAD{n}",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", "target", required=True, metavar="HOST:PORT", help="The receiver.")
@click.option("--connections", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Side by side.")
@click.option("--rate", metavar="RATE", help="At most so many: 50/s, 10/m. Without it as fast as answers come.")
@click.option(
    "--count", "total", type=click.IntRange(1), help="So many messages in all, from the start again if need be."
)
@click.option(
    "--set",
    "edits",
    multiple=True,
    metavar="PATH=TEXT",
    help="Set a field in every message; {n} is its number, {uuid} and {now} are what they say. May be repeated.",
)
@click.option("--raw", is_flag=True, help="Send a file's bytes as they are in one block, not message by message.")
@click.option("--timeout", default="30s", show_default=True, metavar="TIME", help="How long to wait for an answer.")
@click.option("--resend-after", metavar="TIME", help="Send a message again until it is answered, as hospitals do.")
@click.option("--tls", is_flag=True, help="Use TLS, with the system's authorities.")
@click.option("--tls-ca", type=click.Path(path_type=Path), help="Use TLS; the authority that signed the receiver.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Use TLS; our own certificate.")
@click.option(
    "--tls-key", type=click.Path(path_type=Path), help="The key of our certificate, if it is not in its file."
)
@click.option("--tls-name", help="The name in the receiver's certificate, if it is not the host.")
@click.option("--tls-no-verify", is_flag=True, help="Use TLS, and believe any certificate.")
@json_option("the outcome")
def command(
    files: tuple[str, ...],
    target: str,
    connections: int,
    rate: str | None,
    total: int | None,
    edits: tuple[str, ...],
    raw: bool,
    timeout: str,
    resend_after: str | None,
    as_json: bool,
    **tls: Any,
) -> int:
    """Send messages over MLLP.

    FILE is a file with one message or many, a folder of them, or - for standard input. Each connection waits for a
    message's own answer before it sends the next. Ends with 1 if any was not accepted.
    """
    found = read_messages(files, whole=raw, tidy=not raw)
    messages = _Messages(found, total or len(found), [_edit(text) for text in edits])
    messages.check()
    if len(found) < messages.total and not messages.sets_control_id:
        say("The same control ids go out more than once, so receivers may take them for resends: --set MSH-10=T{n}")
    where = _target(target, seconds(timeout, "--timeout"), **tls)
    watch = _Watch(messages, as_json=as_json)
    report = asyncio.run(
        _send(
            where,
            messages,
            watch,
            connections=min(connections, messages.total),
            rate=per_second(rate) if rate else 0.0,
            resend_after_s=seconds(resend_after, "--resend-after") if resend_after else None,
        )
    )
    watch.end(report)
    if not report.answered and report.failures:
        return UNREACHABLE
    return 0 if report.is_clean else FINDINGS


async def _send(where: "Target", messages: "_Messages", watch: "_Watch", **how: Any) -> "SendReport":
    from engine.adapters.sender import Sender

    sender = Sender(where, messages, on_sent=watch.sent, **how)
    # The first Ctrl-C waits for the answers that are due and still tells what was done; the second ends it.
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        sender.stop()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    return await sender.run()


# -- what is sent ---------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class _Edit:
    path: "Hl7Path"
    template: str

    def text(self, number: int) -> str:
        text = self.template.replace("{n}", str(number))
        if "{uuid}" in text:
            text = text.replace("{uuid}", uuid4().hex[:20])
        if "{now}" in text:
            text = text.replace("{now}", datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z"))
        return text


def _edit(text: str) -> _Edit:
    from engine.hl7.errors import PathError
    from engine.hl7.path import compile_path

    path, equals, template = text.partition("=")
    if not equals:
        raise misuse(f"--set {text}: write PATH=TEXT, such as MSH-10=TEST{{n}}")
    try:
        return _Edit(compile_path(path.strip()), template)
    except PathError as exc:
        raise misuse(f"--set {text}: {exc.message}\n  {path}\n  {' ' * exc.column}^") from None


class _Messages:
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
        """Try the edits on every message of the files. Raises a misuse for one that cannot carry them."""
        from engine.hl7.errors import EditError, UnreadableMessage

        try:
            for _ in islice(self._edited(), len(self._found)):
                pass
        except EditError as exc:
            raise misuse(f"--set: {exc}") from None
        except UnreadableMessage as exc:
            raise misuse(f"--set cannot be used with --raw here: {exc.reason}") from None

    def _edited(self) -> Iterator[bytes]:
        from engine.hl7.message import Message

        parsed = [Message.parse(message.raw) for message in self._found]
        for number in numbers():
            message = parsed[number % len(parsed)].copy()
            for edit in self._edits:
                edit.path.set(message, edit.text(number + 1))
            yield message.to_bytes()


# -- where to, and how fast -----------------------------------------------------------------------


def _target(text: str, timeout_s: float, **tls: Any) -> "Target":
    from engine.adapters.errors import ConfigError
    from engine.adapters.mllp_connection import Target
    from engine.adapters.tls import client_context

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


def host_and_port(text: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port`, or a port of this machine. Raises a misuse."""
    host, colon, port = text.rpartition(":")
    if not (port.isdecimal() and 0 < int(port) < 65536) or (colon and not host):
        raise misuse(f"'{text}' is no address: write HOST:PORT, such as 127.0.0.1:2575")
    return host.strip("[]") or "127.0.0.1", int(port)


def seconds(text: str, option: str) -> float:
    """A duration such as 30s, above zero. Raises a misuse."""
    from engine.config.finding import BadValue
    from engine.config.units import parse_duration

    try:
        found = parse_duration(text)
    except BadValue as exc:
        raise misuse(f"{option}: {exc.message}; {exc.hint}") from None
    if found <= 0:
        raise misuse(f"{option} must be above zero")
    return found


def per_second(text: str) -> float:
    """`50/s`, `10/m` or `50` as messages a second. Raises a misuse."""
    number, _, unit = text.partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate < 1e9:
        raise misuse(f"'{text}' is no rate: write 50/s or 10/m")
    return rate


# -- what is said ---------------------------------------------------------------------------------


class _Watch:
    """Sees every message's end: lists them if they are few, and moves a counter on a terminal if they take long."""

    def __init__(self, messages: _Messages, *, as_json: bool) -> None:
        self._messages = messages
        self._as_json = as_json
        self._rows: list[tuple[str, str, str, str]] = []
        self._refused: list[dict[str, Any]] = []
        self._more = 0
        self._done = 0
        self._next_note = time.monotonic() + 1.0
        self._noted = False

    def sent(self, sent: "Sent") -> None:
        self._done += 1
        is_accepted = sent.ack_code in POSITIVE or not (sent.ack_code or sent.failure)
        if not is_accepted or self._messages.total <= LISTED:
            self._list(sent, is_accepted)
        now = time.monotonic()
        if now >= self._next_note and sys.stderr.isatty():
            self._next_note = now + 0.2
            self._noted = True
            click.echo(f"\r{self._done:,} of {self._messages.total:,} ", nl=False, err=True)

    def _list(self, sent: "Sent", is_accepted: bool) -> None:
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

    def end(self, report: "SendReport") -> None:
        """The summary, after the last message."""
        if self._noted:
            click.echo("\r\x1b[K", nl=False, err=True)
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
    from engine.hl7.ack import read_ack

    read = read_ack(answer) if answer else None
    return read.text if read is not None else ""
