"""A validation's report as text, for a terminal."""

from collections.abc import Iterator
from typing import Final

from engine.cli.output import count, printable, styled
from engine.cli.validation_report import LEVELS, PLURALS, Example, Report, RuleFindings

COLOURS: Final = {"error": "red", "warning": "yellow", "information": "cyan"}


def text_report(report: Report) -> Iterator[str]:
    """The lines of the report: rules with the most findings first, errors before all."""
    for rule in report.ordered():
        yield from _rule(rule)
    yield from summary(report)


def summary(report: Report) -> Iterator[str]:
    """What it comes to, in two lines."""
    versions = ", ".join(sorted(report.versions)) or "none"
    against = "the standard" if report.profile == "standard" else f"{printable(report.profile)} and the standard"
    yield f"{count(report.messages, 'message')} in {count(report.files, 'file')}, held against {against} ({versions})"
    by_worst = [(report.levels.get(level, 0), level) for level in LEVELS]
    parts = [
        styled(f"{number:,} with {PLURALS[level]}", fg=COLOURS[level]) + (" only" if level != "error" else "")
        for number, level in by_worst
        if number
    ]
    good = report.levels.get("good", 0)
    yield ", ".join([*parts, styled(f"{good:,} without a finding", fg="green")] if good else parts)


def _rule(rule: RuleFindings) -> Iterator[str]:
    level = styled(rule.level, fg=COLOURS[rule.level], bold=True)
    number = f"{rule.count:,} in {count(rule.messages, 'message')}"
    code = f" (HL7 {rule.hl7_code})" if rule.hl7_code else ""
    yield f"{level}  {styled(printable(rule.rule), bold=True)}{code}  {number}"
    for sentence in rule.by_count:
        owner = f" (ask: {printable(sentence.owner)})" if sentence.owner else ""
        yield f"  {printable(sentence.text)}{owner}: {sentence.count:,}"
        for example in sentence.examples:
            yield f"    {where(example)}"
        more = sentence.count - len(sentence.examples)
        if more > 0 and sentence.examples:
            yield styled(f"    and {more:,} more", dim=True)
    if rule.left_out:
        yield styled(f"  and {count(rule.left_out, 'finding')} that are only counted", dim=True)
    yield ""


def where(example: Example) -> str:
    """`a.hl7 message 2, OBX[3]-5, bytes 412-415`, and the value where it was asked for."""
    place = f", {printable(example.location)}" if example.location else ""
    span = f", bytes {example.start}-{example.end}" if example.end > example.start else ""
    value = f': "{example.value}"' if example.value is not None else ""
    return f"{printable(example.name)}{place}{span}{value}"
