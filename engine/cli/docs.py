"""`segmill docs`: the documentation in the terminal, for sites without internet."""

import difflib
import io
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, is_coloured, say

if TYPE_CHECKING:
    from engine.docs.topics import Section, Topic

WIDEST = 100


def _topic_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from engine.docs.topics import topics

    return [topic.name for topic in topics() if topic.name.startswith(incomplete)]


@subcommand(
    "docs",
    "segmill docs",
    "segmill docs code-tables",
    "segmill docs lanes after",
    "segmill docs --search 'order_by lanes'",
)
@click.argument("topic", required=False, shell_complete=_topic_names)
@click.argument("section", required=False)
@click.option("--search", "words", metavar="WORDS", help="Where all of these words stand.")
@json_option("topics, a topic with its text, or what was found,")
def command(topic: str | None, section: str | None, words: str | None, as_json: bool) -> int:
    """Read the documentation.

    Without a TOPIC, lists them. TOPIC may be the beginning of a name, or a heading, such as the name of a step.
    SECTION is a part of a heading in it. A terminal gets it laid out and page by page, as $PAGER does it; a pipe gets
    the Markdown as it is.
    """
    from engine.docs.topics import topics

    every = topics()
    if words is not None:
        if topic is not None:
            raise misuse("--search looks through all topics: leave out TOPIC")
        return _search(every, words, as_json=as_json)
    if topic is None:
        _list(every, as_json=as_json)
        return 0
    found, part = _found(every, topic, section)
    text = found.part(part) if part is not None else found.text
    if as_json:
        emit({**_about(found), "section": part.title if part is not None else None, "text": text})
    else:
        _show(text)
    return 0


def _found(every: "list[Topic]", name: str, section: str | None) -> "tuple[Topic, Section | None]":
    """The page of that name, and the part of it that is meant. Raises a misuse that says what there is."""
    wanted = name.casefold().removesuffix(".md")
    named = [topic for topic in every if topic.name.casefold() == wanted]
    named = named or [topic for topic in every if topic.name.rpartition("/")[2].casefold().startswith(wanted)]
    if len(named) > 1 and sum(not topic.is_decision for topic in named) == 1:
        named = [topic for topic in named if not topic.is_decision]
    if len(named) > 1:
        raise misuse(f"'{name}' is the beginning of {', '.join(topic.name for topic in named)}")
    if named:
        return named[0], _section(named[0], section) if section is not None else None
    headed = [(topic, one) for topic in every for one in topic.sections if one.title.casefold() == wanted]
    if headed and section is None:
        return headed[0]
    raise misuse(f"no topic '{name}'{_meant(every, wanted)}")


def _section(topic: "Topic", words: str) -> "Section":
    wanted = words.casefold()
    titles = [section.title.casefold() for section in topic.sections]
    for is_it in (lambda title: title == wanted, lambda title: title.startswith(wanted), lambda title: wanted in title):
        for title, section in zip(titles, topic.sections, strict=True):
            if is_it(title):
                return section
    there = "; ".join(section.title for section in topic.sections[1:])
    raise misuse(f"no section '{words}' in {topic.name}; there is: {there or 'none'}")


def _meant(every: "list[Topic]", wanted: str) -> str:
    names = {topic.name: topic.name for topic in every}
    for topic in every:
        names.setdefault(topic.title.casefold(), topic.name)
        for section in topic.sections:
            names.setdefault(section.title.casefold(), f"{topic.name} '{section.title.casefold()}'")
    close = [names[one] for one in difflib.get_close_matches(wanted, names, 3, 0.6)]
    close = close or [topic.name for topic in every if wanted in topic.name or wanted in topic.title.casefold()][:3]
    if close:
        return f"; did you mean {' or '.join(dict.fromkeys(close))}?"
    return f"; see 'segmill docs', or 'segmill docs --search {wanted}'"


def _list(every: "list[Topic]", *, as_json: bool) -> None:
    if as_json:
        for topic in every:
            emit(_about(topic))
        return
    rows = [(topic.name, topic.title) for topic in every if not topic.is_decision]
    click.echo(columns(("topic", "title"), rows))
    decisions = [topic for topic in every if topic.is_decision]
    say(f"and {count(len(decisions), 'decision')}, such as {decisions[0].name}: segmill docs TOPIC reads one")


def _about(topic: "Topic") -> dict[str, Any]:
    return {
        "topic": topic.name,
        "title": topic.title,
        "sections": [section.title for section in topic.sections[1:]],
    }


def _search(every: "list[Topic]", words: str, *, as_json: bool) -> int:
    from engine.docs.topics import search

    wanted = words.split()
    if not wanted:
        raise misuse("--search needs a word")
    hits = search(every, wanted)
    if as_json:
        for hit in hits:
            emit({"topic": hit.topic.name, "section": hit.section.title, "line": hit.section.line, "text": hit.excerpt})
    elif hits:
        rows = [(hit.topic.name, hit.section.title, hit.excerpt) for hit in hits[:25]]
        click.echo(columns(("topic", "section", ""), rows))
        more = f", the first {len(rows)} shown" if len(hits) > len(rows) else ""
        say(f"{count(len(hits), 'section')}{more}: segmill docs TOPIC SECTION reads one")
    if not hits:
        say(f"nothing has all of: {', '.join(wanted)}")
        return FINDINGS
    return 0


def _show(text: str) -> None:
    if not sys.stdout.isatty():
        click.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    width = min(shutil.get_terminal_size().columns, WIDEST)
    page = io.StringIO()
    coloured = is_coloured()
    console = Console(
        file=page,
        width=width,
        force_terminal=coloured,
        no_color=not coloured,
        legacy_windows=False,
        theme=Theme({"markdown.code": "cyan"}),  # legible on a light ground, too
    )
    console.print(Markdown(text, hyperlinks=False, code_theme="ansi_light"))
    click.echo_via_pager(page.getvalue(), color=coloured)
