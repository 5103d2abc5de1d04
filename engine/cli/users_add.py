"""`segmill users add`: a user, with a one-time password."""

from pathlib import Path

import click

from engine.cli.command import member, misuse
from engine.cli.granting import asked, asking_options, grants_of, grants_text, roles_argument, show_secret
from engine.cli.users import ADD, SUBCOMMANDS


@member(SUBCOMMANDS["add"], "add", *ADD)
@click.argument("name")
@roles_argument
@asking_options("the user and the password")
def command(name: str, roles: tuple[str, ...], reason: str, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Add a user, with a one-time password.

    The password is shown once; it lets the user set another within a day, and nothing else.
    """
    grants = grants_of(roles)
    if not grants:
        raise misuse("say what the user may: a role, such as viewer, or CHANNEL=ROLE")
    password = asked(site, data, "/v1/users", name=name, grants=dict(grants), reason=reason)["password"]
    words = f"user {name} may: {grants_text(grants)}. One-time password, for a day:"
    show_secret(password, words, name, "password", as_json=as_json)
    return 0
