"""A channel file of ten different mistakes: ten findings, each with its line and column and a useful sentence.

With the steps and sinks that the engine has, through the same call as `segmill check`.
"""

from pathlib import Path

import pytest

from engine.config.finding import ConfigFinding
from engine.config.render import render_all
from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

CHANNEL = """\
description: Radiology orders, by somebody in a hurry
listen:
  mllp: {port: 2576O, max_message: 20MB}
acept: [ORM^O01, OMG^O19]
from: MSH-3.1 = "HIS"
ack: {when: proccessed}
duplicates: {window: 7}
steps:
  - filtr: PV1-2 in ["I", "O"]
  - set:
      MSH-5: @RIS
      PID-5..1: =upper(PID-5.1)
  - map: {PV1-3.1: tables/ward.csv, otherwise: hold}
routes:
  - to: riss
  - to: archive
destinations:
  ris:
    mllp: {host: ris.local, port: 6661}
  archive:
    file: {folder: out}
"""
MISTAKES = [
    # line, column, what is marked, code, a part of the message, a part of the hint
    (3, 16, "2576O", "E106", "'port' is not a whole number", "digits only"),
    (4, 1, "acept", "E101", "unknown key 'acept'", "did you mean 'accept'?"),
    (5, 15, "=", "E130", "'=' means nothing here", "did you mean ==?"),
    (6, 13, "proccessed", "E105", "'when' cannot be 'proccessed'", "did you mean 'processed'?"),
    (7, 22, "7", "E106", "'7' lacks a unit", "did you mean 7s?"),
    (9, 5, "filtr", "E102", "unknown step 'filtr'", "did you mean 'filter'?"),
    (11, 14, "@", "E113", "a value that begins with @ must be in quotes", "single quotes"),
    (12, 13, ".", "E131", "component", ""),
    (13, 20, "tables/ward.csv", "E132", "there is no such file", "did you mean tables/wards.csv?"),
    (15, 9, "riss", "E140", "no destination is named 'riss'", "did you mean 'ris'?"),
]


@pytest.fixture
def findings(tmp_path: Path) -> list[ConfigFinding]:
    files = {"channel.yaml": CHANNEL, "tables/wards.csv": "from,to\nW1,1100\n"}
    return load_site(make_site(tmp_path, {"orders": files}), load_kinds(), {}).findings


def test_each_mistake_has_a_finding_with_its_line_and_column(findings: list[ConfigFinding]) -> None:
    assert [(f.line, f.column, f.code) for f in findings] == [
        (line, column, code) for line, column, _, code, _, _ in MISTAKES
    ]
    assert {f.file for f in findings} == {"channels/orders/channel.yaml"}


def test_each_finding_marks_what_is_wrong(findings: list[ConfigFinding]) -> None:
    lines = CHANNEL.split("\n")
    marked = [lines[f.line - 1][f.column - 1 : f.column - 1 + f.length] for f in findings]
    assert marked == [text for _, _, text, _, _, _ in MISTAKES]


def test_each_finding_says_what_is_wrong_and_what_to_do(findings: list[ConfigFinding]) -> None:
    for finding, (*_, message, hint) in zip(findings, MISTAKES, strict=True):
        assert message in finding.message
        assert hint in finding.hint


def test_all_of_them_are_shown_with_their_line(findings: list[ConfigFinding]) -> None:
    shown = render_all(findings, lambda name: CHANNEL)
    for line, column, text, code, *_ in MISTAKES:
        assert f"channels/orders/channel.yaml:{line}:{column} {code} " in shown
        assert f"      | {' ' * (column - 1)}{'^' * len(text)}" in shown


def test_without_the_mistakes_there_is_no_finding(tmp_path: Path) -> None:
    text = CHANNEL
    for wrong, right in [
        ("2576O", "2576"),
        ("acept", "accept"),
        ('= "HIS"', '== "HIS"'),
        ("proccessed", "processed"),
        ("window: 7", "window: 7d"),
        ("filtr", "filter"),
        ("@RIS", "RIS"),
        ("PID-5..1", "PID-5.1"),
        ("ward.csv", "wards.csv"),
        ("riss", "ris"),
    ]:
        assert wrong in text
        text = text.replace(wrong, right)
    files = {"channel.yaml": text, "tables/wards.csv": "from,to\nW1,1100\n"}
    assert load_site(make_site(tmp_path, {"orders": files}), load_kinds(), {}).findings == []


@pytest.mark.parametrize(
    ("step", "line", "column", "code", "hint"),
    [
        (
            '- validate:\n      required: PID-3[5 == "MR"].1',
            4,
            17,
            "E104",
            "write it in brackets: ['PID-3[5 == \"MR\"].1']",
        ),
        ("- validate:\n      required: PID-3.1", 4, 17, "E104", "write it in brackets: [PID-3.1]"),
        ("- if: PV1 exists\n    set: {PID-8: F}", 3, 5, "E101", "did you mean 'when'?"),
    ],
)
def test_advice_can_be_typed_as_it_is_given(tmp_path, step, line, column, code, hint):
    text = f"listen: {{mllp: {{port: 1}}}}\nsteps:\n  {step}\nroutes: [{{to: a}}]\n"
    text += "destinations: {a: {file: {folder: out}}}\n"
    (found,) = load_site(make_site(tmp_path, {"a": text}), load_kinds(), {}).findings
    assert (found.line, found.column, found.code, found.hint) == (line, column, code, hint)
