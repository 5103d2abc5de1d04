"""`segmill listen`: a receiver to try senders against, which answers well or as badly as it is told."""

import asyncio
import signal
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import UNREACHABLE, Failure
from engine.cli.output import count, emit, printable, say
from engine.cli.send import seconds

if TYPE_CHECKING:
    from engine.testing.peers import Behaviour, ReceivingPeer


@subcommand(
    "listen",
    "segmill listen --port 6661",
    "segmill listen --port 6661 --ack AE --ack late:2s --ack AA --count 3",
    "segmill listen --port 6661 --out received --count 10",
)
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="TCP port; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--ack",
    "answers",
    multiple=True,
    metavar="HOW",
    help="How to answer (--ack help lists all): AA, AE, none, late:30s ... Repeated, the first goes to the first "
    "message, and the last to all that follow.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Keep each message as a file in here.")
@click.option("--count", "most", type=click.IntRange(1), help="End after so many messages.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Use TLS, with this certificate.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="The certificate's key, if it is not in its file.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="Ask senders for a certificate signed by it.")
@json_option("one object a message")
def command(
    port: int,
    host: str,
    answers: tuple[str, ...],
    out: Path | None,
    most: int | None,
    as_json: bool,
    **tls: Any,
) -> int:
    """Receive messages over MLLP, and answer well or badly.

    Prints a line for each message: its number, type, control id and size, and how it was answered; never what
    stands in its fields. Runs until Ctrl-C or --count.
    """
    from engine.testing.peers import KINDS, ReceivingPeer

    if "help" in answers:
        for name, meaning in KINDS.items():
            click.echo(f"  {name:<12} {meaning}")
        return 0
    script = [_behaviour(text) for text in answers or ("AA",)]
    watch = _Watch(out, as_json=as_json)
    peer = ReceivingPeer(*script, tls=_context(**tls), keep=False, on_message=watch.received)
    asyncio.run(_listen(peer, host, port, most, script))
    say(f"{count(peer.messages, 'message')} on {count(peer.connections_seen, 'connection')}")
    return 0


async def _listen(peer: "ReceivingPeer", host: str, port: int, most: int | None, script: list["Behaviour"]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        await peer.start(host, port)
    except OSError as exc:
        raise Failure(
            UNREACHABLE, f"cannot listen on {host}:{port}: {exc.strerror}", "Is something else listening there?"
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


async def _until(peer: "ReceivingPeer", most: int | None, script: list["Behaviour"], ended: asyncio.Event) -> None:
    if most is not None:
        await peer.until(lambda: peer.messages >= most, within_s=float("inf"))
        # An answer that is to come late is still given.
        await asyncio.sleep(script[min(most, len(script)) - 1].delay_s + 0.05)
        ended.set()


def _behaviour(text: str) -> "Behaviour":
    from engine.testing.peers import parse_behaviour

    try:
        return parse_behaviour(text, lambda delay: seconds(delay, "--ack"))
    except ValueError as exc:
        raise misuse(f"--ack: {exc}") from None


def _context(*, tls_cert: Path | None, tls_key: Path | None, tls_client_ca: Path | None) -> Any:
    from engine.adapters.errors import ConfigError
    from engine.adapters.tls import server_context

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

    def received(self, payload: bytes, behaviour: "Behaviour") -> None:
        from engine.testing.peers import read_header

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
