"""`segmill users passwd`: a new one-time password."""

from pathlib import Path

import click

from engine.cli.command import member
from engine.cli.granting import asked, asking_options, show_secret
from engine.cli.users import PASSWD, SUBCOMMANDS


@member(SUBCOMMANDS["passwd"], "passwd", *PASSWD)
@click.argument("name")
@asking_options("the user and the password")
def command(name: str, reason: str, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Give a user a new one-time password.

    All sessions of the user end. The password is shown once; it lets the user set another within a day, and nothing
    else. Waits after failures to sign in end, too.
    """
    password = asked(site, data, "/v1/users/passwd", name=name, reason=reason)["password"]
    show_secret(password, f"one-time password of {name}, for a day:", name, "password", as_json=as_json)
    return 0
