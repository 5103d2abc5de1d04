"""`segmill explain`: the long story of a code."""

import difflib

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import columns, emit, styled


@subcommand("explain", "segmill explain E102", "segmill explain table.0001", "segmill explain")
@click.argument("code", required=False)
@json_option("the story, or every code,")
def command(code: str | None, as_json: bool) -> int:
    """Tell the long story of a code.

    Errors, findings and warnings each have a code that never changes: E1xx about a site's files, E2xx about
    messages, W3xx about what was let pass in a message. Rules of the standard, as segmill validate names them, have
    their name: table.0001. Without a code, lists all codes.
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
        if (rule := _rule(code)) is not None:
            if as_json:
                emit(rule)
            else:
                click.echo(_shown(rule))
            return 0
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


def _rule(name: str) -> dict[str, str] | None:
    """A rule of the standard, as a report of segmill validate names it; None where there is none of that name."""
    from engine.hl7.dictionary import VERSIONS, load
    from engine.hl7.validate import STANDARD_RULES

    kind, _, number = name.partition(".")
    table = next((found for v in reversed(VERSIONS) if (found := load(v).table(number))), None) if number else None
    rule = STANDARD_RULES.get(kind if kind == "table" and table is not None else name)
    if rule is None:
        return None
    told = {"rule": name, "says": rule.text, "severity": rule.severity, "hl7_code": rule.hl7_code}
    return told | ({"table": table.name} if table is not None else {})


def _shown(rule: dict[str, str]) -> str:
    table = f": table {rule['rule'].partition('.')[2]}, {rule['table']}" if "table" in rule else ""
    weight = rule["severity"] + (" (information where HL7 only suggests the codes)" if table else "")
    return (
        f"{styled(rule['rule'], bold=True)}  a place {rule['says']}{table}\n\n"
        f"A rule of the standard: {weight}, HL7 code {rule['hl7_code']}.\n\n"
        f"What to do: show it to the sender's people. If it asks too much of them here, a profile turns it down:\n\n"
        f"    standard: {{default: warn, except: {{{rule['rule']}: observe}}}}"
    )
