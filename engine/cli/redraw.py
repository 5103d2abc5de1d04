"""`--watch`: do it again whenever one of the files changes, in the time that it takes to look up from the editor.

The files are looked at ten times a second by their times and sizes, not by the system's notices: these are of folders,
editors replace files under them, and some file systems have none.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Final

import click

from engine.cli.exits import Failure
from engine.cli.output import say, styled

LOOK_S: Final = 0.1
CLEAR: Final = "\x1b[2J\x1b[3J\x1b[H"

_PAUSE: Final = Event()
"""Never set: what is waited for is the time."""

Seen = dict[Path, tuple[int, int, int]]


def redraw(what: Callable[[], object], paths: Callable[[], Iterable[Path]]) -> None:
    """Do `what` now and after each change of a file in `paths`, until the person ends it with Ctrl-C.

    A mistake in the files is shown in the place of the result, and the next change is waited for.
    """
    seen = _look(paths())
    try:
        while True:
            _draw(what)
            seen = _next(paths, seen)
    except KeyboardInterrupt:
        say("")


def _draw(what: Callable[[], object]) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(CLEAR)  # not by click, which takes it for a colour and drops it under NO_COLOR
    try:
        what()
    except Failure as failure:
        click.echo(f"{styled('cannot be tried', fg='red')}: {failure.sentence}", err=True)
    except click.UsageError as error:
        click.echo(f"{styled('cannot be tried', fg='red')}: {error.format_message()}", err=True)
    sys.stdout.flush()
    waits = f"-- {datetime.now().astimezone():%H:%M:%S}, waiting for a change; Ctrl-C ends --"
    click.echo(styled(waits, dim=True), err=True)


def _next(paths: Callable[[], Iterable[Path]], seen: Seen) -> Seen:
    """Wait for a change; a file that an editor is still writing is waited for until it stands still."""
    while (now := _look(paths())) == seen:
        _PAUSE.wait(LOOK_S)
    while (after := _look(paths())) != now:
        now = after
        _PAUSE.wait(LOOK_S / 4)
    return now


def _look(paths: Iterable[Path]) -> Seen:
    seen: Seen = {}
    for path in _files(paths):
        try:
            found = path.stat()
        except OSError:
            continue  # it goes while we look: a change, seen by its absence
        seen[path] = (found.st_mtime_ns, found.st_size, found.st_ino)
    return seen


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (inside for inside in path.rglob("*") if inside.is_file() and not _is_of_a_case(inside, path))
        else:
            yield path


def _is_of_a_case(file: Path, root: Path) -> bool:
    """Only below the folder that is watched: it may be one of cases itself, or stand below one."""
    return "cases" in file.relative_to(root).parts
