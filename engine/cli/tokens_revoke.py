"""`segmill tokens revoke`: a token opens nothing any more."""

from pathlib import Path

import click

from engine.cli.command import member
from engine.cli.granting import asked, asking_options
from engine.cli.output import emit, say
from engine.cli.tokens import REVOKE, SUBCOMMANDS


@member(SUBCOMMANDS["revoke"], "revoke", *REVOKE)
@click.argument("name")
@asking_options("the token's name")
def command(name: str, reason: str, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Let a token open nothing any more.

    At once. Its name stays taken.
    """
    asked(site, data, "/v1/tokens/revoke", name=name, reason=reason)
    if as_json:
        emit({"name": name, "revoked": True})
    else:
        say(f"token {name} opens nothing any more")
    return 0
