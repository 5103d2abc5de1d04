"""The interface specification as one HTML page: no script, nothing loaded from anywhere, for screens and for paper.

Whatever comes from files is escaped, and a Content-Security-Policy in the page forbids the rest. Headings in order,
tables with headers and captions, text that stands out enough from its ground in light and in dark (WCAG 2.2 AA).
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from engine import __version__
from engine.cli.output import count, printable
from engine.cli.spec_content import Content, DestinationPart, Example, PlaceRow, ProfilePart, RuleTable, TablePart
from engine.pipeline.in_words import Code, Sentence, Words

STYLE: Final = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1d2530; --soft: #556070; --line: #d3d9e1; --band: #f3f5f8; --link: #0b57a4;
  --accent: #0b57a4; --warning: #7a4f00; --warning-band: #fff4dd; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e4e8ee; --soft: #a3afbd; --line: #38414c; --band: #1d232b; --link: #8ab8f0;
  --accent: #8ab8f0; --warning: #f2c465; --warning-band: #33270f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header { border-bottom: 3px solid var(--accent); padding-bottom: 1.25rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .15rem 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .75rem; padding-top: .25rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1.25rem 0 .35rem; color: var(--soft); overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; }
a { color: var(--link); }
code, pre { font: .875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
code { background: var(--band); padding: .1em .3em; border-radius: .25em; overflow-wrap: anywhere; }
pre { background: var(--band); padding: .75rem 1rem; border-radius: .4rem; margin: 0; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.kind { color: var(--soft); text-transform: uppercase; letter-spacing: .06em; font-size: .8125rem; font-weight: 600; }
.soft { color: var(--soft); }
.note { background: var(--warning-band); color: var(--warning); padding: .6rem 1rem; border-radius: .4rem; }
nav ol { columns: 2; max-width: 36rem; padding-left: 1.5rem; margin: .5rem 0; }
nav h2 { font-size: 1rem; margin: 1.5rem 0 0; }
.table { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
caption { text-align: left; color: var(--soft); padding: 0 0 .35rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem 1rem .45rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 600; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 600; } .code { white-space: nowrap; }
td:last-child, th:last-child { padding-right: 0; }
table.facts tbody th { width: 19rem; color: var(--soft); font-weight: 600; }
td p { margin: 0 0 .15rem; }
table.codes { width: auto; min-width: 24rem; }
ol.steps { padding-left: 1.75rem; max-width: 46rem; }
ol.steps > li { margin: .75rem 0; }
ol.steps ul, ol.steps ol { margin: .25rem 0; padding-left: 1.25rem; }
.name { font-weight: 600; display: block; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .6rem 0; }
summary { cursor: pointer; padding: .6rem 1rem; font-weight: 600; }
details > div { padding: 0 1rem 1rem; }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .875rem; }
@media (max-width: 40rem) { body { padding: 1.5rem .9rem 3rem; } nav ol { columns: 1; }
  table.facts tbody th { width: 9rem; } }
@page { margin: 18mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font: 9pt sans-serif; } }
@media print {
  :root { --paper: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --band: #f3f3f3; --link: #000000;
    --accent: #000000; --warning: #000000; --warning-band: #f3f3f3; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  h2 { break-after: avoid; } h3, h4, summary, caption { break-after: avoid; } tr, li, pre { break-inside: avoid; }
  details { border: 0; } details > div { padding: 0; }
  summary { list-style: none; padding-left: 0; font-size: 12pt; }
  .table { overflow: visible; } nav { break-after: page; }
}
"""

_SECTIONS: Final = (
    ("from", "Where messages come from"),
    ("types", "Messages that are taken"),
    ("asked", "What is asked of them"),
    ("steps", "What is done to them"),
    ("answers", "What senders are answered"),
    ("to", "Where messages go"),
    ("tables", "Code tables"),
    ("examples", "Examples"),
)


def html_of(content: Content) -> Iterator[str]:
    """The lines of the page."""
    title = f"Interface specification: {content.channel}"
    bodies = {
        "from": list(_from(content)),
        "types": list(_types(content)),
        "asked": list(_asked(content)),
        "steps": list(_steps(content)),
        "answers": list(_answers(content)),
        "to": [line for one in content.destinations for line in _destination(one)],
        "tables": [line for table in content.tables for line in _table(table)],
        "examples": list(_examples(content)),
    }
    sections = [(id, heading) for id, heading in _SECTIONS if bodies[id]]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield f'<header>\n<p class="kind">Interface specification</p>\n<h1>{_text(content.channel)}</h1>'
    if content.description:
        yield f"<p>{_text(content.description)}</p>"
    environment = f" · {_text(content.environment)}" if content.environment else ""
    yield f'<p class="soft">Version of the channel\'s files: <code>{_text(content.version)}</code>{environment}</p>'
    yield '</header>\n<nav aria-labelledby="contents">\n<h2 id="contents">Contents</h2>\n<ol>'
    for id, heading in sections:
        yield f'<li><a href="#{id}">{heading}</a></li>'
    yield "</ol>\n</nav>\n<main>"
    for id, heading in sections:
        yield f'<section aria-labelledby="{id}">\n<h2 id="{id}">{heading}</h2>'
        yield from bodies[id]
        yield "</section>"
    yield f"</main>\n<footer>Written by segmill {_text(__version__)} from the channel's files.</footer>"
    yield "</body>\n</html>"


def _from(content: Content) -> Iterator[str]:
    yield from _facts("How messages reach the channel", content.source)


def _facts(caption: str, rows: Sequence[tuple[str, Words]]) -> Iterator[str]:
    yield f'<div class="table"><table class="facts"><caption>{_text(caption)}</caption>\n<tbody>'
    for name, words in rows:
        yield f'<tr><th scope="row">{_text(name)}</th><td>{_words(words)}</td></tr>'
    yield "</tbody></table></div>"


def _types(content: Content) -> Iterator[str]:
    heads = ("Type and event", "Structure", "Segments")
    yield from _head("Message types, with [ ] for what may be missing and { } for what may repeat", heads)
    for one in content.types:
        shown = "every type" if one.type == "*" else one.type
        segments = f"<code>{_text(one.segments)}</code>" if one.segments else '<span class="soft">any</span>'
        yield f'<tr><th scope="row">{_text(shown)}</th><td>{_text(one.structure)}</td><td>{segments}</td></tr>'
    yield _END


def _asked(content: Content) -> Iterator[str]:
    if content.most:
        yield "<p>Messages are held against a profile before anything else is done with them. "
        yield f"What a broken rule comes to stands beside it, and is at most: {content.most}.</p>"
    for profile in content.profiles:
        yield from _profile(profile)


def _profile(profile: ProfilePart) -> Iterator[str]:
    yield f"<h3>Profile <code>{_text(profile.name)}</code></h3>"
    if profile.description:
        yield f"<p>{_text(profile.description)}</p>"
    whose = f"For senders with {profile.whose}. " if profile.whose else ""
    yield f'<p class="soft">{_text(whose + profile.standard)}</p>'
    for table in profile.tables:
        yield from _rules(table)


def _rules(table: RuleTable) -> Iterator[str]:
    yield f"<h4>{_text(table.title)}</h4>"
    if table.places:
        yield from _head("Rules for places", ("Place", "Name", "Asked", "A breach is", "Ask whom"))
        yield from map(_place, table.places)
        yield _END
    if table.cross:
        yield from _head("Rules between places", ("Place", "Rule", "Asked", "A breach is", "Ask whom"))
        yield from map(_place, table.cross)
        yield _END


def _place(row: PlaceRow) -> str:
    asks = "".join(f"<p>{_text(ask)}</p>" for ask in row.asks)
    cells = (f"<td>{_text(row.name)}</td>", f"<td>{asks}</td>", f"<td>{_text(row.comes_to)}</td>")
    return f'<tr><th scope="row">{_text(row.path)}</th>{"".join(cells)}<td>{_text(row.owner)}</td></tr>'


def _steps(content: Content) -> Iterator[str]:
    if content.steps:
        yield '<ol class="steps">'
        for step in content.steps:
            yield from _sentence(step)
        yield "</ol>"


def _sentence(sentence: Sentence) -> Iterator[str]:
    name = f'<span class="name">{_text(sentence.name)}</span>' if sentence.name else ""
    when = f"Only if <code>{_text(sentence.when)}</code> holds: " if sentence.when else ""
    yield f"<li>{name}{when}{_words(sentence.words)}"
    if sentence.inside:
        yield "<ul>"
        for inner in sentence.inside:
            yield from _sentence(inner)
        yield "</ul>"
    yield "</li>"


def _answers(content: Content) -> Iterator[str]:
    yield "<p>The first code is of the original mode, the second of the enhanced mode (MSH-15, MSH-16).</p>"
    yield from _head("Acknowledgements (MSA-1)", ("Answer", "When"))
    for code, words in content.answers:
        yield f'<tr><th scope="row" class="code">{_text(code)}</th><td>{_words(words)}</td></tr>'
    yield _END


def _destination(one: DestinationPart) -> Iterator[str]:
    at = f" at <code>{_text(one.address)}</code>" if one.address else ""
    yield f"<h3>{_text(one.name)}</h3>\n<p>{_text(one.sink.upper())}{at}</p>"
    routes: list[tuple[str, Words]] = [("What goes there", words) for words in one.routes]
    yield from _facts(f"What goes to {one.name}, and what becomes of what does not arrive", [*routes, *one.rules])


def _table(table: TablePart) -> Iterator[str]:
    yield f"<h3><code>{_text(table.name)}</code></h3>"
    yield f'<div class="table"><table class="codes"><caption>{count(len(table.rows), "row")}</caption>'
    yield "<thead><tr>" + "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns) + "</tr></thead>"
    yield "<tbody>"
    for key, *cells in table.rows:
        rest = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        yield f'<tr><th scope="row">{_text(key)}</th>{rest}</tr>'
    yield _END
    if table.left_out:
        yield f'<p class="soft">And {count(table.left_out, "more row")}, in the file.</p>'


def _examples(content: Content) -> Iterator[str]:
    if not content.examples:
        return
    yield '<p class="note">These are the channel\'s own cases, as their authors wrote them.</p>'
    for example in content.examples:
        yield from _example(example)
    if content.more_examples:
        yield f'<p class="soft">And {count(content.more_examples, "more case")}, in the channel\'s folder.</p>'


def _example(example: Example) -> Iterator[str]:
    # Open, all of them: what is closed is not printed.
    yield f"<details open><summary>{_text(example.name.replace('-', ' '))}</summary>\n<div>"
    for name, text in example.files:
        lines = "\n".join(_text(line) for line in text.split("\n"))
        yield f"<h3>{_text(_titled(name))}</h3>\n<pre>{lines}</pre>" if lines else f"<h3>{_text(_titled(name))}</h3>"
    yield "</div></details>"


def _titled(name: str) -> str:
    """What a file of a case is, in words."""
    start, _, rest = name.partition(".")
    if start == "in":
        return f"Sent to us{' (' + rest.partition('.')[0] + ')' if rest[:1].isdigit() else ''}"
    if start == "out":
        return f"Sent to {rest.rpartition('.')[0]}"
    return {"ack.hl7": "Answered", "findings.txt": "Found"}.get(name, name)


_END: Final = "</tbody></table></div>"


def _head(caption: str, heads: Sequence[str]) -> Iterator[str]:
    columns = "".join(f'<th scope="col">{_text(head)}</th>' for head in heads)
    yield f'<div class="table"><table><caption>{_text(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>'


def _words(words: Words) -> str:
    return "".join(f"<code>{_text(one.text)}</code>" if isinstance(one, Code) else _text(one) for one in words)


def _text(text: str) -> str:
    """Text of anybody's as text of a page."""
    return escape(printable(text), quote=True)
