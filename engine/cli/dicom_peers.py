"""What `segmill dicom echo` and `find` share: the server, how it is called, and how a failure ends the command."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import misuse
from engine.cli.exits import FINDINGS, NOT_ALLOWED, TRY_AGAIN, UNREACHABLE, Failure
from engine.cli.words import host_and_port, seconds

if TYPE_CHECKING:
    from engine.adapters.dicom.scu import DicomFailure, Peer

EXITS: Final[Mapping[str, int]] = {
    "unreachable": UNREACHABLE,
    "aborted": UNREACHABLE,
    "not_allowed": NOT_ALLOWED,
    "busy": TRY_AGAIN,
}
"""By kind of failure; else 1."""
HINTS: Final[Mapping[str, str]] = {
    "not_allowed": "Say how we are called, and how it is: --calling AE --called AE. Servers list those they know.",
    "busy": "Try again in a while.",
    "no_service": "It speaks DICOM, but this it does not do: is it the right port, and the right --called AE?",
}


def peer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The server, the AE titles, the time that it has, and TLS."""
    for option in reversed(
        (
            click.argument("server", metavar="HOST:PORT"),
            click.option("--called", default="SEGMILL", show_default=True, metavar="AE", help="Its AE title."),
            click.option("--calling", default="SEGMILL", show_default=True, metavar="AE", help="Our AE title."),
            click.option(
                "--timeout",
                default="10s",
                show_default=True,
                metavar="TIME",
                help="How long the connection, the association and each answer may take.",
            ),
            click.option("--tls", is_flag=True, help="Use TLS, with the system's authorities."),
            click.option(
                "--tls-ca", type=click.Path(path_type=Path), help="Use TLS; the authority that signed the server."
            ),
            click.option("--tls-cert", type=click.Path(path_type=Path), help="Use TLS; our own certificate."),
            click.option(
                "--tls-key", type=click.Path(path_type=Path), help="The key of our certificate, if not in its file."
            ),
            click.option("--tls-name", help="The name in the server's certificate, if it is not the host."),
            click.option("--tls-no-verify", is_flag=True, help="Use TLS, and believe any certificate."),
        )
    ):
        function = option(function)
    return function


def peer_of(server: str, called: str, calling: str, timeout: str, tls: Mapping[str, Any]) -> "Peer":
    """The server that the options name. Raises a misuse."""
    from engine.adapters.dicom.scu import Peer
    from engine.adapters.errors import ConfigError
    from engine.adapters.tls import client_context
    from engine.worklist.stations import is_ae_title

    for title in (called, calling):
        if not is_ae_title(title) or title != title.strip(" "):
            raise misuse(f"'{title[:40]}' is no AE title: up to 16 ASCII characters, no backslash")
    host, port = host_and_port(server)
    context = None
    if any(tls.values()):
        try:
            context = client_context(
                ca=tls["tls_ca"], certificate=tls["tls_cert"], key=tls["tls_key"], verify=not tls["tls_no_verify"]
            )
        except ConfigError as error:
            raise misuse(str(error)) from None
    return Peer(host, port, called, calling, seconds(timeout, "--timeout"), context, tls["tls_name"] or "")


def failure_of(error: "DicomFailure") -> Failure:
    """How the command ends."""
    return Failure(EXITS.get(error.kind, FINDINGS), error.sentence, HINTS.get(error.kind, ""))
