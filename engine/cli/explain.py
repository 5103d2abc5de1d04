"""`segmill explain`: the long story of a code."""

import difflib

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import columns, emit, styled


@subcommand("explain", "segmill explain E102", "segmill explain")
@click.argument("code", required=False)
@json_option("the story, or every code,")
def command(code: str | None, as_json: bool) -> int:
    """Tell the long story of a code.

    Errors, findings and warnings each have a code that never changes: E1xx about a site's files, E2xx about
    messages, W3xx about what was let pass in a message. Without a code, lists them all.
    """
    from engine.config.codes import CODES

    if code is None:
        if as_json:
            emit({"codes": {name: story.title for name, story in sorted(CODES.items())}})
        else:
            click.echo(columns(("code", "what"), [(name, story.title) for name, story in sorted(CODES.items())]))
        return 0
    name = code.upper()
    if name not in CODES:
        near = difflib.get_close_matches(name, CODES, 1)
        raise misuse(
            f"there is no code {code}" + (f"; did you mean {near[0]}?" if near else "; 'segmill explain' lists them")
        )
    story = CODES[name]
    if as_json:
        emit(
            {
                "code": name,
                "title": story.title,
                "explanation": story.explanation,
                "what_to_do": story.what_to_do,
                "example": story.example,
            }
        )
        return 0
    click.echo(f"{styled(name, bold=True)}  {story.title}\n")
    click.echo(click.wrap_text(story.explanation, 100, preserve_paragraphs=True))
    if story.example:
        click.echo("\nFor example:\n")
        click.echo("\n".join(f"    {line}" for line in story.example.splitlines()))
    click.echo("\n" + click.wrap_text(story.what_to_do, 100, "What to do: ", preserve_paragraphs=True))
    return 0
