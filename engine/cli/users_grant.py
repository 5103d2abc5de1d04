"""`segmill users grant`: what a user may do."""

from pathlib import Path

import click

from engine.cli.command import member, misuse
from engine.cli.granting import asked, asking_options, grants_of, grants_text, roles_argument
from engine.cli.output import emit, say
from engine.cli.users import GRANT, SUBCOMMANDS


@member(SUBCOMMANDS["grant"], "grant", *GRANT)
@click.argument("name")
@roles_argument
@click.option("--nothing", is_flag=True, help="The user may do nothing any more.")
@asking_options("what the user may")
def command(
    name: str,
    roles: tuple[str, ...],
    nothing: bool,
    reason: str,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Say what a user may do from now on.

    What was granted before is gone. It counts at once, also for who is signed in.
    """
    grants = grants_of(roles)
    if bool(grants) == nothing:
        raise misuse("say what the user may: a role, such as viewer, or CHANNEL=ROLE; or --nothing")
    asked(site, data, "/v1/users/grant", name=name, grants=dict(grants), reason=reason)
    if as_json:
        emit({"name": name, "grants": dict(grants)})
    else:
        say(f"user {name} may: {grants_text(grants)}")
    return 0
