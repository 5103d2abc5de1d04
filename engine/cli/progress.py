"""A line on the terminal that says how far long work is (ux.md 2.2).

On standard error, only where that is a terminal, only once the work takes longer than a second, and never with --quiet:
scripts, pipes and log files see nothing of it.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self, TypeVar

import click

from engine.cli.output import QUIET

AFTER_S: Final = 1.0
EVERY_S: Final = 0.2
CLEAR: Final = "\r\x1b[K"

Item = TypeVar("Item")


class Progress:
    """Counts along while it is entered. `total` None: nobody knows how many there will be.

    `prints`: the work writes to standard output meanwhile; then nothing is shown where that is the same terminal.
    """

    def __init__(
        self,
        noun: str,
        total: int | None = None,
        *,
        prints: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._noun = noun
        self.total = total
        self._clock = clock
        self._is_on = sys.stderr.isatty() and not _is_quiet() and not (prints and sys.stdout.isatty())
        self._next = clock() + AFTER_S
        self._done = 0
        self._is_shown = False

    def step(self, number: int = 1) -> None:
        """So many more are done."""
        self._done += number
        if self._is_on and (now := self._clock()) >= self._next:
            self._next = now + EVERY_S
            self._is_shown = True
            click.echo(f"\r{self._line()} ", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away, before something else is said."""
        if self._is_shown:
            self._is_shown = False
            click.echo(CLEAR, nl=False, err=True)

    def _line(self) -> str:
        if not self.total:
            return f"{self._done:,} {self._noun}"
        return f"{self._done:,} of {self.total:,} {self._noun}, {100 * self._done // self.total} %"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()


class Copied:
    """The same for a copy, which tells of its bytes: how many are done, and of how many."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = Progress("MB", clock=clock)
        self._done = 0

    def tell(self, done: int, whole: int) -> None:
        self._progress.total = max(whole // 1_000_000, 1)
        self._progress.step(done // 1_000_000 - self._done)
        self._done = done // 1_000_000

    def clear(self) -> None:
        self._progress.clear()


def counted(items: Iterable[Item], noun: str, total: int | None = None, *, prints: bool = False) -> Iterator[Item]:
    """The same items, one by one, with a line that says how many have been through."""
    with Progress(noun, total, prints=prints) as progress:
        for item in items:
            yield item
            progress.step()


def _is_quiet() -> bool:
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.find_root().meta.get(QUIET))
