"""What the commands about users and tokens share: roles as they are typed, and how the engine is asked."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, misuse
from engine.cli.output import emit
from engine.cli.sites import data_option, site_option, whereabouts
from engine.model.access import SITE, Grants, parse_grants

roles_argument = click.argument("roles", nargs=-1, metavar="[ROLE|CHANNEL=ROLE]...")


def grants_of(words: Sequence[str]) -> Grants:
    """`operator` for the site, `adt=operator` for a channel. Raises a misuse."""
    found: dict[str, str] = {}
    for word in words:
        channel, sign, role = word.rpartition("=")
        channel = channel if sign else SITE
        if channel in found:
            raise misuse(f"two roles are given for {'the site' if channel == SITE else channel}")
        found[channel] = role
    try:
        return parse_grants(found)
    except ValueError as error:
        raise misuse(str(error)) from None


def grants_text(grants: Grants) -> str:
    """As it is typed."""
    words = [role if channel == SITE else f"{channel}={role}" for channel, role in sorted(grants.items())]
    return " ".join(words) or "(nothing)"


def asking_options(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Of a command that has the engine do something to a user or token."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        reason = click.option("--reason", metavar="TEXT", default="", help="Why; it is put on record.")
        return reason(site_option(data_option(json_option(what)(function))))

    return decorate


def asked(site: Path | None, data: Path | None, path: str, **body: Any) -> dict[str, Any]:
    """What the engine answers. Raises Failure."""
    from engine.cli.engine_access import RunningEngine

    return RunningEngine(whereabouts(site, data, needs_store=False).data).do(path, **body)


def show_secret(secret: str, words: str, name: str, key: str, *, as_json: bool) -> None:
    """The secret alone on standard output, so that it can be piped."""
    from engine.cli.output import say

    if as_json:
        emit({"name": name, key: secret})
        return
    say(words)
    click.echo(secret)
