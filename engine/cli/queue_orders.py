"""What `segmill queue hold`, `skip`, `retry` and `redirect` have in common: how deliveries are named, and the plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, member
from engine.cli.queue import SUBCOMMANDS
from engine.cli.queueing import Wanted, carry_out, destination_option, order_options, scope_words, wanted_of
from engine.cli.selection import make_search, search_options, utc_now
from engine.cli.sites import Whereabouts, data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.cli.engine_access import RunningEngine
    from engine.ports.operations import Act

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
ID: Final = click.IntRange(1)
SEARCH: Final = ("where", "channel", "states", "since", "until", "control_id")


@dataclass(slots=True, frozen=True)
class Asked:
    """What was typed. `wanted`: which deliveries are meant; `scope`: the command's own words, for the record."""

    wanted: Wanted
    scope: str
    place: Whereabouts
    reason: str
    key: str | None
    is_plan: bool
    yes: bool
    as_json: bool

    @property
    def engine(self) -> "RunningEngine":
        """The engine that runs on the data folder."""
        from engine.cli.engine_access import RunningEngine

        return RunningEngine(self.place.data)

    def carry_out(self, act: "Act", *, verb: str, done: str, asks: bool, **more: Any) -> int:
        """Plan it, ask, and have it done; the exit code."""
        from engine.cli.stores import open_queries

        options = {"reason": self.reason, "key": self.key, "plan": self.is_plan, "yes": self.yes}
        with open_queries(self.place.store, self.place.keys) as queries:
            return carry_out(
                self.engine,
                queries,
                self.wanted,
                act,
                verb=verb,
                done=done,
                scope=self.scope,
                options=options,
                as_json=self.as_json,
                asks=asks,
                **more,
            )


def order_command(name: str, examples: Sequence[str], *own: Option) -> Callable[[Callable[..., int]], click.Command]:
    """A member of `segmill queue` that is given an Asked, and the values of its `own` options by name."""

    def decorate(function: Callable[..., int]) -> click.Command:
        @wraps(function)
        def command(
            words: tuple[str, ...],
            deliveries: tuple[int, ...],
            destination: str | None,
            reason: str,
            key: str | None,
            plan: bool,
            yes: bool,
            site: Path | None,
            data: Path | None,
            as_json: bool,
            **rest: Any,
        ) -> int:
            search = {option: rest.pop(option) for option in SEARCH}
            wanted = wanted_of(words, make_search(**search, now=utc_now()), destination, deliveries)
            typed = (*words, *(f"--{option} {value}" for option, value in rest.items()))
            scope = scope_words(typed, destination, deliveries, search)
            asked = Asked(wanted, scope, whereabouts(site, data), reason, key, plan, yes, as_json)
            return function(asked, **rest)

        options: tuple[Option, ...] = (
            click.argument("words", nargs=-1, metavar="[SEQ|CHANNEL/DESTINATION]..."),
            click.option("--delivery", "deliveries", type=ID, multiple=True, metavar="ID", help="This delivery."),
            search_options,
            destination_option,
            *own,
            order_options,
            site_option,
            data_option,
            json_option("the plan or the outcome"),
        )
        made: Callable[..., Any] = command
        for option in reversed(options):
            made = option(made)
        return member(SUBCOMMANDS[name], name, *examples)(made)

    return decorate
