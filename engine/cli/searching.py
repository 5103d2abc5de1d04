"""`segmill messages SEARCH`: the search language on the command line, with progress, and a cursor for the next page."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.command import misuse
from engine.cli.output import count, printable, say
from engine.cli.selection import utc_now
from engine.cli.sites import Whereabouts, find_site, read_site
from engine.model.ids import MessageSeq

if TYPE_CHECKING:
    from engine.adapters.search import Page, Progress
    from engine.config.search import Search
    from engine.ports.store import StoreQueries


@dataclass(slots=True, frozen=True)
class Asked:
    """A search, and the names of the keys that count where it is asked."""

    search: "Search"
    names: tuple[str, ...]


def asked_of(words: tuple[str, ...], keys: tuple[str, ...], site: Path | None, place: Whereabouts) -> Asked:
    """What the words of a command line, and its --key, look for. Raises a misuse that points at what is wrong."""
    from engine.config.search import SearchError, parse_search

    for key in keys:
        if "=" not in key.strip("="):
            raise misuse(f"--key {printable(key)}: write NAME=VALUE, such as mrn=4711")
    names = place.searched_by if place.searched_by is not None else _names(site)
    # A shell takes quotes off: what came as one word with blanks in it was quoted there.
    text = " ".join([*map(_quoted, words), *map(_quoted, keys)])
    try:
        return Asked(parse_search(text, names, utc_now()), names)
    except SearchError as exc:
        hint = f"\n{exc.hint}" if exc.hint else ""
        raise misuse(f"{exc.message}\n  {printable(text)}\n  {' ' * exc.column}^{hint}") from None


def _names(site: Path | None) -> tuple[str, ...]:
    """Where the data folder was named: of the site that was named as well."""
    from engine.config.search_keys import DeclaredKeys

    if site is None:
        return DeclaredKeys({}, {}).names
    return read_site(find_site(site)).keys.names


def _quoted(word: str) -> str:
    """`text:two words` as `text:"two words"`; a path with blanks in brackets stays as it is."""
    if not any(c.isspace() for c in word) or '"' in word:
        return word
    for sign in (":", "=", "~"):
        name, found, value = word.partition(sign)
        if found and not any(c.isspace() for c in name):
            return f'{name}{sign}"{value}"'
    return word


def search_stored(queries: "StoreQueries", asked: Asked, before: int | None, limit: int) -> "Page":
    """One page; how far it is shows on a terminal. Ctrl-C ends it between two pieces, or within one."""
    from engine.adapters.search import search_page

    shown = _Shown()
    try:
        return search_page(
            queries,
            asked.search,
            asked.names,
            before=None if before is None else MessageSeq(before),
            limit=limit,
            on_progress=shown.tell,
        )
    finally:
        shown.clear()


class _Shown:
    """One line on a terminal that is written over."""

    def __init__(self) -> None:
        self._is_shown = False

    def tell(self, progress: "Progress") -> None:
        if progress.left and sys.stderr.isatty():
            whole = progress.looked_at + progress.left
            share = 100 * progress.looked_at // whole
            click.echo(
                f"\r\x1b[Klooked at {progress.looked_at:,} of {whole:,} messages ({share} %)", err=True, nl=False
            )
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def say_page(page: "Page", *, as_json: bool) -> None:
    """What there is beyond the page."""
    if page.unread:
        say(
            f"{count(page.unread, 'message')} from before keys were kept are not found by keys yet; "
            "a running engine reads them, the newest first"
        )
    if as_json:
        return
    more = f"; the next page: --before {page.before}" if page.before is not None else ""
    say(f"{count(len(page.messages), 'message')}{more}")
