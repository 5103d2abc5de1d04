"""What `segmill listen` does: a peer that answers by a script, and a line for every message."""

import asyncio
import signal
from collections.abc import Sequence
from itertools import count as numbers
from pathlib import Path
from ssl import SSLContext
from typing import Any

import click

from engine.adapters.errors import ConfigError
from engine.adapters.tls import server_context
from engine.cli.command import misuse
from engine.cli.exits import GOOD, UNREACHABLE, Failure
from engine.cli.output import count, emit, printable, say
from engine.cli.words import seconds, why
from engine.testing.peers import KINDS, Behaviour, ReceivingPeer, parse_behaviour, read_header


def show_answers() -> None:
    """Every way to answer, with what it does."""
    for name, meaning in KINDS.items():
        click.echo(f"  {name:<12} {meaning}")


def listen(
    answers: Sequence[str], host: str, port: int, *, most: int | None, out: Path | None, as_json: bool, **tls: Any
) -> int:
    """Receive until Ctrl-C, or `most` messages; the command's exit code."""
    script = [_behaviour(text) for text in answers]
    watch = _Watch(out, as_json=as_json)
    peer = ReceivingPeer(*script, tls=_context(**tls), keep=False, on_message=watch.received)
    asyncio.run(_listen(peer, host, port, most, script))
    say(f"{count(peer.messages, 'message')} on {count(peer.connections_seen, 'connection')}")
    return GOOD


def listen_torture(host: str, port: int, *, as_json: bool, **tls: Any) -> int:
    """Put a sender through every way to answer; the command's exit code."""
    from engine.cli.torturing import SenderVerdicts
    from engine.testing.torture.senders import SENDER_ROWS, SenderWatch

    verdicts = SenderVerdicts(as_json=as_json)
    watch = SenderWatch(SENDER_ROWS, verdicts.judged)
    script = watch.script
    peer = ReceivingPeer(*script, tls=_context(**tls), keep=False, on_message=watch.received)
    asyncio.run(_listen(peer, host, port, len(script), script))
    return verdicts.end()


async def _listen(peer: ReceivingPeer, host: str, port: int, most: int | None, script: Sequence[Behaviour]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        await peer.start(host, port)
    except OSError as exc:
        raise Failure(
            UNREACHABLE, f"cannot listen on {host}:{port}: {why(exc)}", "Which process has it: ss -ltnp. Or: --port 0"
        ) from None
    say(f"listening on {peer.address[0]}:{peer.address[1]}, Ctrl-C stops")
    try:
        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(_until(peer, most, script, ended), name="count messages")
            await ended.wait()
            counting.cancel()
    finally:
        peer.disconnect()
        try:
            await peer.until(lambda: not peer.connections, within_s=1.0)
        except TimeoutError:
            pass
        await peer.stop()


async def _until(peer: ReceivingPeer, most: int | None, script: Sequence[Behaviour], ended: asyncio.Event) -> None:
    if most is not None:
        await peer.until(lambda: peer.messages >= most, within_s=float("inf"))
        # An answer that is to come late is still given.
        await asyncio.sleep(script[min(most, len(script)) - 1].delay_s + 0.05)
        ended.set()


def _behaviour(text: str) -> Behaviour:
    try:
        return parse_behaviour(text, lambda delay: seconds(delay, "--ack"))
    except ValueError as exc:
        raise misuse(f"--ack: {exc}") from None


def _context(*, tls_cert: Path | None, tls_key: Path | None, tls_client_ca: Path | None) -> SSLContext | None:
    if tls_cert is None:
        if tls_key or tls_client_ca:
            raise misuse("TLS needs --tls-cert")
        return None
    try:
        return server_context(certificate=tls_cert, key=tls_key, client_ca=tls_client_ca)
    except ConfigError as exc:
        raise misuse(str(exc)) from None


class _Watch:
    """Prints and keeps what comes in."""

    def __init__(self, out: Path | None, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._number = 0
        self._files = numbers(1)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)

    def received(self, payload: bytes, behaviour: Behaviour) -> None:
        self._number += 1
        header = read_header(payload)
        message_type, control_id = _text(header[9]), _text(header[10])
        file = self._keep(payload)
        if self._as_json:
            emit(
                {
                    "number": self._number,
                    "type": message_type,
                    "control_id": control_id,
                    "size_bytes": len(payload),
                    "answered": behaviour.kind,
                    "file": file,
                }
            )
            return
        kept = f"  -> {file}" if file else ""
        click.echo(
            f"{self._number:>6}  {printable(message_type):<16} {printable(control_id):<20} "
            f"{len(payload):>8,} bytes  {behaviour.kind}{kept}"
        )

    def _keep(self, payload: bytes) -> str | None:
        if self._out is None:
            return None
        for number in self._files:
            path = self._out / f"{number:06}.hl7"
            try:
                with path.open("xb") as file:
                    file.write(payload)
            except FileExistsError:
                continue
            return str(path)
        raise AssertionError("numbers do not end")


def _text(field: bytes) -> str:
    return field.decode("utf-8", "backslashreplace")
