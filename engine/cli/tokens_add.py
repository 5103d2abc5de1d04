"""`segmill tokens add`: an API token."""

from pathlib import Path

import click

from engine.cli.command import member, misuse
from engine.cli.granting import asked, asking_options, grants_of, grants_text, roles_argument, show_secret
from engine.cli.tokens import ADD, SUBCOMMANDS


@member(SUBCOMMANDS["add"], "add", *ADD)
@click.argument("name")
@roles_argument
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="So long it is good.")
@asking_options("the token")
def command(
    name: str, roles: tuple[str, ...], days: int, reason: str, site: Path | None, data: Path | None, as_json: bool
) -> int:
    """Add an API token; it is shown once.

    A program sends it with each request: Authorization: Bearer TOKEN. Names are not given twice, also not those of
    revoked tokens.
    """
    grants = grants_of(roles)
    if not grants:
        raise misuse("say what the token may: a role, such as viewer, or CHANNEL=ROLE")
    token = asked(site, data, "/v1/tokens", name=name, grants=dict(grants), days=days, reason=reason)["token"]
    words = f"token {name} may for {days} days: {grants_text(grants)}"
    show_secret(token, words, name, "token", as_json=as_json)
    return 0
