"""Looking at values of messages is put on record, where an engine runs that can do so."""

import sys
from collections.abc import Sequence
from typing import Final

import click

from engine.cli.exits import UNREACHABLE, Failure
from engine.cli.sites import Whereabouts

MOST: Final = 1_000_000


def note_reading(place: Whereabouts, seqs: Sequence[int], words: str) -> None:
    """Have it recorded that somebody looks at values of these messages; what cannot be recorded is not shown.

    Where no engine runs there is nobody to record it, and that is said: whoever may read the store's file can read it
    with any other tool as well. Raises Failure where the engine cannot record it.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.queueing import spans

    try:
        RunningEngine(place.data).order("read", messages=spans(sorted(seqs)), scope=words)
    except Failure as failure:
        if failure.exit_code != UNREACHABLE:
            raise Failure(
                failure.exit_code,
                f"that you look cannot be put on record, so nothing is shown: {failure.sentence}",
                failure.hint,
            ) from None
        if sys.stderr.isatty():
            click.echo("No engine runs here: that you looked is not on record.", err=True)
