"""A validation's report as one HTML page: no script, nothing loaded from anywhere, readable on paper and in the dark.

Everything that comes from files is escaped, and a Content-Security-Policy in the page forbids the rest.
"""

from collections.abc import Iterator
from html import escape
from typing import Final

from engine import __version__
from engine.cli.output import count, printable
from engine.cli.validation_report import PLURALS, Example, Level, Report, RuleFindings, Sentence

WORST_FILES: Final = 50

STYLE: Final = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1d2530; --soft: #5a6675; --line: #d9dee5; --band: #f4f6f9; --link: #0b57a4;
  --error: #b3261e; --error-band: #fdeceb; --warning: #8a5a00; --warning-band: #fff4dd;
  --information: #0a6170; --information-band: #e3f4f7; --good: #22692b; --good-band: #e6f4e8; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e4e8ee; --soft: #9aa6b4; --line: #333b45; --band: #1c2229; --link: #8ab8f0;
  --error: #ff9d94; --error-band: #3a1d1b; --warning: #f2c465; --warning-band: #33270f;
  --information: #7fd3e2; --information-band: #10292e; --good: #8fd49a; --good-band: #16291a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0; }
p { margin: .25rem 0; }
a { color: var(--link); }
code { font: .9em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
td.id code { overflow-wrap: normal; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tile { padding: .75rem 1rem; border-radius: .5rem; background: var(--band); }
.tile strong { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.error { color: var(--error); } .warning { color: var(--warning); }
.information { color: var(--information); } .good { color: var(--good); }
.tile.error { background: var(--error-band); } .tile.warning { background: var(--warning-band); }
.tile.information { background: var(--information-band); } .tile.good { background: var(--good-band); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); font-size: .875rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.mark { display: inline-block; padding: 0 .5rem; border-radius: 1rem; font-size: .8125rem; font-weight: 600; }
.mark.error { background: var(--error-band); } .mark.warning { background: var(--warning-band); }
.mark.information { background: var(--information-band); }
section.rule { margin: 1rem 0; padding: 1rem 1.25rem; border: 1px solid var(--line); border-left-width: .3rem;
  border-radius: .5rem; break-inside: avoid-page; }
section.rule.error { border-left-color: var(--error); } section.rule.warning { border-left-color: var(--warning); }
section.rule.information { border-left-color: var(--information); }
section.rule > * { color: var(--ink); }
section.rule > .soft { color: var(--soft); }
.head { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: baseline; }
.head .end { margin-left: auto; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
details:first-of-type { margin-top: .75rem; }
summary { cursor: pointer; display: flex; gap: .75rem; align-items: baseline; }
summary::before { content: "+"; color: var(--soft); width: .75rem; flex: none; font-weight: 600; }
details[open] > summary::before { content: "\\2212"; }
summary::-webkit-details-marker { display: none; }
summary .end { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
details ul { margin: .35rem 0 .25rem 1.5rem; padding: 0; list-style: none; }
details li { padding: .1rem 0; font-size: .9375rem; }
.value { background: var(--band); padding: 0 .3rem; border-radius: .2rem; }
footer { margin-top: 3rem; color: var(--soft); font-size: .875rem; }
@media (min-width: 40rem) { td.id { white-space: nowrap; } }
@media (max-width: 40rem) { .wide { display: none; } body { padding: 1.25rem .75rem 3rem; } }
@media print { body { max-width: none; padding: 0; } }
"""


def html_report(report: Report, *, shows_values: bool) -> Iterator[str]:
    """The lines of the page."""
    title = f"Validation of {count(report.messages, 'message')}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield from _head(report, title, shows_values=shows_values)
    rules = report.ordered()
    if rules:
        yield from _contents(report, rules)
        for rule, anchor in zip(rules, _anchors(rules), strict=True):
            yield from _rule(rule, anchor)
    yield from _files(report)
    yield f"<footer>Written by segmill {_text(__version__)}. Bytes count from the start of each message.</footer>"
    yield "</body>\n</html>"


def _head(report: Report, title: str, *, shows_values: bool) -> Iterator[str]:
    versions = ", ".join(f"{v} ({n:,})" for v, n in sorted(report.versions.items())) or "none"
    against = "the standard alone" if report.profile == "standard" else f"profile {report.profile}, and the standard"
    yield f"<header>\n<h1>{_text(title)}</h1>"
    yield f'<p class="soft">In {count(report.files, "file")}. Held against {_text(against)}.</p>'
    yield f'<p class="soft">Versions of HL7: {_text(versions)}.</p>'
    if shows_values:
        yield '<p class="warning"><strong>This page shows values of messages. Keep it as you keep those.</strong></p>'
    yield '</header>\n<div class="tiles">'
    labels: list[tuple[Level, str]] = [
        ("error", "messages with errors"),
        ("warning", "with warnings only"),
        ("information", "with remarks only"),
    ]
    for level, label in labels:
        yield _tile(level, report.levels.get(level, 0), label)
    yield _tile("good", report.levels.get("good", 0), "without a finding")
    yield "</div>"


def _tile(kind: str, number: int, label: str) -> str:
    shown = kind if number else ""
    return f'<div class="tile {shown}"><strong>{number:,}</strong>{label}</div>'


def _anchors(rules: list[RuleFindings]) -> list[str]:
    """Ids of sections: numbers, as a rule's name may hold anything."""
    return [f"rule-{number}" for number in range(1, len(rules) + 1)]


def _contents(report: Report, rules: list[RuleFindings]) -> Iterator[str]:
    totals = [f"{number:,} {PLURALS[level]}" for level, number in report.counts().items() if number]
    yield f'<h2>Rules</h2>\n<p class="soft">{", ".join(totals)}, the most frequent first.</p>'
    yield '<table>\n<thead><tr><th>Level</th><th>Rule</th><th class="wide">Says</th>'
    yield '<th class="number">Findings</th><th class="number">Messages</th></tr></thead>\n<tbody>'
    for rule, anchor in zip(rules, _anchors(rules), strict=True):
        link = f'<a href="#{anchor}"><code>{_breakable(rule.rule)}</code></a>'
        yield (
            f'<tr><td>{_mark(rule.level)}</td><td class="id">{link}</td>'
            f'<td class="wide">{_text(rule.title)}</td>'
            f'<td class="number">{rule.count:,}</td><td class="number">{rule.messages:,}</td></tr>'
        )
    yield "</tbody>\n</table>\n<h2>Findings</h2>"


def _mark(level: Level) -> str:
    return f'<span class="mark {level}">{level}</span>'


def _rule(rule: RuleFindings, anchor: str) -> Iterator[str]:
    yield f'<section class="rule {rule.level}" id="{anchor}">\n<div class="head">{_mark(rule.level)}'
    yield f"<h3><code>{_text(rule.rule)}</code></h3>"
    numbers = f"{rule.count:,} in {count(rule.messages, 'message')} of {count(rule.files, 'file')}"
    yield f'<span class="end soft">{numbers}</span></div>'
    code = f" HL7 code {_text(rule.hl7_code)} of table 0357." if rule.hl7_code else ""
    yield f'<p class="soft">{_text(_sentence_case(rule.title))}.{code}</p>'
    for number, sentence in enumerate(rule.by_count):
        yield from _sentence(sentence, is_open=number == 0)
    if rule.left_out:
        yield f'<p class="soft">And {count(rule.left_out, "finding")} that are only counted.</p>'
    yield "</section>"


def _sentence(sentence: Sentence, *, is_open: bool) -> Iterator[str]:
    owner = f' <span class="soft">ask {_text(sentence.owner)}</span>' if sentence.owner else ""
    yield f"<details{' open' if is_open else ''}><summary><span>{_text(sentence.text)}{owner}</span>"
    yield f'<span class="end">{sentence.count:,}</span></summary>\n<ul>'
    for example in sentence.examples:
        yield f"<li>{_example(example)}</li>"
    more = sentence.count - len(sentence.examples)
    if more > 0:
        yield f'<li class="soft">and {more:,} more</li>'
    yield "</ul></details>"


def _example(example: Example) -> str:
    parts = [f"<code>{_text(example.name)}</code>"]
    if example.location:
        parts.append(f"<code><strong>{_text(example.location)}</strong></code>")
    if example.end > example.start:
        parts.append(f'<span class="soft">bytes {example.start}–{example.end}</span>')
    if example.value is not None:
        parts.append(f'<code class="value">{_text(example.value)}</code>')
    return " ".join(parts)


def _files(report: Report) -> Iterator[str]:
    worst = report.worst_files(WORST_FILES)
    if not worst or report.files < 2:
        return
    yield "<h2>Files</h2>\n<table>\n<thead><tr><th>File</th>"
    yield '<th class="number">Messages</th><th class="number">With errors</th>'
    yield '<th class="number">With warnings only</th></tr></thead>\n<tbody>'
    for name, counts in worst:
        numbers = "".join(f'<td class="number">{n:,}</td>' for n in (counts.messages, counts.errors, counts.warnings))
        yield f"<tr><td><code>{_text(name)}</code></td>{numbers}</tr>"
    yield "</tbody>\n</table>"
    more = len(report.worst_files(len(report.by_file))) - len(worst)
    if more > 0:
        yield f'<p class="soft">And {count(more, "more file")} with findings.</p>'


def _breakable(rule: str) -> str:
    """A rule's name that a narrow column may break behind its dots."""
    return _text(rule).replace(".", ".<wbr>")


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(text: str) -> str:
    """Text of anybody's as text of a page."""
    return escape(printable(text), quote=True)
