"""Mistakes seeded into a site that is right, one at a time: each found by `segmill check` where it stands, with advice.

Through the same call as the command, cases included. A mistake that is not found, is found elsewhere, or comes with
another finding beside it, fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.cli.case_findings import case_findings
from engine.config.finding import ConfigFinding
from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

ORDERS = """\
description: Radiology orders, to the RIS and the archive
listen:
  mllp: {port: 2576}
accept: [ORM^O01, ADT^A08]
from: MSH-3.1 == "HIS"
validate: {profile: profiles/orders.yaml}
ack: {when: processed}
steps:
  - filter: PV1-2 in ["I", "O"]
  - set:
      MSH-5: RIS
      PID-5.1: =upper(PID-5.1)
  - map: {PV1-3.1: tables/wards.csv, otherwise: hold}
  - each: OBX
    do:
      - delete: [OBX-17]
routes:
  - to: ris
  - to: archive
    when: MSH-9.1 == "ORM"
destinations:
  ris:
    mllp: {host: ris.local, port: 6661, ack_timeout: 30s}
    retry: {first: 1s, most: 1m}
  archive:
    file: {folder: out}
"""
FILES = {
    "channel.yaml": ORDERS,
    "tables/wards.csv": "from,to\nW1,1100\nW2,1200\n",
    "steps.py": "def split(message, context):\n    pass\n",
    "profiles/orders.yaml": "extends: base.yaml\nmode: warn\n",
    "profiles/base.yaml": "description: what all have\nmode: warn\n",
    "cases/one/in.hl7": "MSH|^~\\&|HIS\n",
    "cases/one/out.ris.hl7": "MSH|^~\\&|HIS\n",
}
LATER = "listen:\n  mllp: {port: 2576}\naccept: [ORM^O01]\nroutes: [{to: b}]\ndestinations: {b: {file: {folder: b}}}\n"
SETTINGS = "environment: test\nadmin: {port: 9464}\n"
CHANNEL = "channel.yaml"


@dataclass(frozen=True)
class Mistake:
    """One edit of a file, and what must be told. `line` says where, and the column is that of `marked` in it."""

    name: str
    old: str
    new: str
    line: int
    marked: str
    code: str
    message: str
    advice: str
    file: str = CHANNEL
    found_in: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Files that are there, too: of this channel, or `zz/channel.yaml` of another."""
    without: tuple[str, ...] = ()
    settings: str = SETTINGS


MISTAKES = [
    Mistake(
        "unknown step", "- filter:", "- filtr:", 9, "filtr", "E102", "unknown step 'filtr'", "did you mean 'filter'"
    ),
    Mistake("wrong path", "PID-5.1: =", "PID-5..1: =", 12, ".1: =", "E131", "component", ""),
    Mistake(
        "field that no version has",
        "PID-5.1: =",
        "PID-50: =",
        12,
        "PID-50",
        "W131",
        "PID has no field 50",
        "both sides",
    ),
    Mistake(
        "component that no version has",
        "PV1-3.1:",
        "PV1-3.21:",
        13,
        "PV1-3.21",
        "W131",
        "PV1-3 has no component 21",
        "both sides",
    ),
    Mistake(
        "segment that no version has", "PV1-2 in", "PVI-2 in", 9, "PVI", "W131", "no version of HL7", "did you mean PV"
    ),
    Mistake(
        "port clash between two kinds of source",
        "",
        "",
        2,
        "2576",
        "E142",
        "channel 'orders' has the same port 2576 for mllp",
        "take another port",
        found_in="channels/zz/channel.yaml",
        beside={"zz/channel.yaml": LATER.replace("mllp", "http"), "zz/cases/one/in.hl7": "MSH|^~\\&|HIS\n"},
    ),
    Mistake(
        "port clash with the site's own",
        "",
        "",
        2,
        "2576",
        "E142",
        "port 2576 is taken: channel 'orders' listens on it",
        "take another port",
        found_in="segmill.yaml",
        settings=SETTINGS.replace("9464", "2576"),
    ),
    Mistake(
        "table without the column",
        "from,to\nW1,1100\nW2,1200\n",
        "from\nW1\nW2\n",
        1,
        "from",
        "E151",
        "one column where two are needed",
        "",
        file="tables/wards.csv",
    ),
    Mistake(
        "row without a cell",
        "W2,1200",
        "W2",
        3,
        "W2",
        "E152",
        "1 cell where the header names 2",
        "",
        file="tables/wards.csv",
    ),
    Mistake(
        "key of a table twice",
        "W2,1200",
        "W1,1200",
        3,
        "W1",
        "E153",
        "stands in line 2 already",
        "",
        file="tables/wards.csv",
    ),
    Mistake(
        "table that is not there", "wards.csv", "ward.csv", 13, "tables/ward.csv", "E132", "no such file", "wards.csv"
    ),
    Mistake(
        "route that accept rules out",
        '== "ORM"',
        '== "ORU"',
        20,
        'MSH-9.1 == "ORU"',
        "W184",
        "no message takes this route: accept in line 4 leaves nothing of MSH-9.1",
        "correct the one or the other",
    ),
    Mistake(
        "route that a filter rules out",
        'MSH-9.1 == "ORM"',
        'PV1-2 == "E" or PV1-2 == "R"',
        20,
        "PV1-2",
        "W184",
        "the filter in line 9 leaves nothing of PV1-2",
        "correct",
    ),
    Mistake(
        "route that asks for two values of one place",
        'MSH-9.1 == "ORM"',
        'PV1-2 == "I" and PV1-2 == "O"',
        20,
        "PV1-2",
        "W184",
        "PV1-2 cannot be all of what it asks for",
        "correct",
    ),
    Mistake(
        "second route to one destination",
        '  - to: archive\n    when: MSH-9.1 == "ORM"',
        '  - to: archive\n  - to: ris\n    when: MSH-9.1 == "ORM"',
        20,
        "ris",
        "W184",
        "every message goes to 'ris' by that in line 18",
        "remove this route",
    ),
    Mistake(
        "filter that nothing passes",
        "  - set:",
        '  - filter: not PV1-2 in ["I", "O", "E"]\n  - set:',
        10,
        "not PV1-2",
        "W184",
        "no message passes this filter: the filter in line 9",
        "correct",
    ),
    Mistake(
        "shadowed key of YAML",
        "  - set:\n",
        "  - set:\n      MSH-5: PACS\n",
        12,
        "MSH-5",
        "E111",
        "second time",
        "keep one",
    ),
    Mistake(
        "shadowed place of a set",
        "PID-5.1: =upper(PID-5.1)",
        "PID-5.1: A\n      PID-5: B",
        12,
        "PID-5.1",
        "W186",
        "PID-5.1 is written over: line 13",
        "put PID-5 before it",
    ),
    Mistake(
        "shadowed channel",
        "",
        "",
        3,
        "[ORM^O01]",
        "W143",
        "no message reaches this channel: 'orders'",
        "give it a 'from' condition",
        found_in="channels/zz/channel.yaml",
        beside={
            "zz/channel.yaml": LATER,
            "zz/cases/one/in.hl7": "MSH|^~\\&|HIS\n",
            CHANNEL: ORDERS.replace('from: MSH-3.1 == "HIS"\n', ""),
        },
    ),
    Mistake(
        "pattern that explodes",
        'PV1-2 in ["I", "O"]',
        'PV1-2 matches "((a{500}){500}){10}"',
        9,
        "((a",
        "E130",
        "does not compile",
        "",
    ),
    Mistake("duration without a unit", "30s", "30", 23, "30}", "E106", "'30' lacks a unit", "did you mean 30s?"),
    Mistake(
        "waits in the wrong order", "first: 1s", "first: 2m", 24, "1m", "E106", "shorter than the first wait", "5m"
    ),
    Mistake(
        "profile that extends itself",
        "description: what all have",
        "extends: orders.yaml",
        1,
        "orders.yaml",
        "E171",
        "a profile that extends itself",
        "break the circle",
        file="profiles/base.yaml",
    ),
    Mistake(
        "profile that is not there",
        "profiles/orders.yaml",
        "profiles/order.yaml",
        6,
        "profiles/order.yaml",
        "E132",
        "no such file",
        "profiles/orders.yaml",
    ),
    Mistake(
        "case that is missing",
        "",
        "",
        1,
        "description",
        "W180",
        "channel 'orders' has no case",
        "segmill test --update",
        beside={"zz/channel.yaml": LATER.replace("2576", "2577"), "zz/cases/one/in.hl7": "MSH|^~\\&|HIS\n"},
        without=("cases/one/in.hl7", "cases/one/out.ris.hl7"),
    ),
    Mistake(
        "case without its message",
        "",
        "",
        1,
        "",
        "W181",
        "a case without a message",
        "in.hl7",
        found_in="channels/orders/cases/one",
        without=("cases/one/in.hl7",),
    ),
    Mistake(
        "case for a destination that is not there",
        "",
        "",
        1,
        "",
        "W182",
        "no destination is named 'riss'",
        "did you mean 'ris'?",
        found_in="channels/orders/cases/one/out.riss.hl7",
        beside={"cases/one/out.riss.hl7": "MSH|^~\\&|HIS\n"},
    ),
    Mistake(
        "expectation that cannot be read",
        "",
        "",
        2,
        "",
        "W181",
        "'helt' is no state",
        "test-a-channel.md",
        found_in="channels/orders/cases/one/expect.yaml",
        beside={"cases/one/expect.yaml": "ack: {MSA-1: AA}\nstate: helt\n"},
    ),
    Mistake(
        "destination that is not there",
        "- to: archive",
        "- to: archiv",
        19,
        "archiv",
        "E140",
        "no destination",
        "did you mean 'archive'?",
    ),
    Mistake(
        "destination without a route",
        '  - to: archive\n    when: MSH-9.1 == "ORM"\n',
        "",
        23,
        "archive:",
        "W141",
        "no route goes to 'archive'",
        "add a route",
    ),
    Mistake(
        "redirect to itself",
        "file: {folder: out}",
        "file: {folder: out}\n    on_unsendable: redirect(archive)",
        27,
        "archive",
        "E180",
        "cannot take over from itself",
        "another destination",
    ),
    Mistake(
        "answer of a destination that is not there",
        "when: processed",
        "when: delivered(riss)",
        7,
        "riss",
        "E140",
        "no destination",
        "did you mean 'ris'?",
    ),
    Mistake(
        "channel that sends to itself",
        "host: ris.local, port: 6661",
        "host: localhost, port: 2576",
        23,
        "2576",
        "W185",
        "messages come back: orders -> orders",
        "send them elsewhere",
    ),
    Mistake(
        "folder that the channel reads itself",
        "mllp: {port: 2576}",
        "file: {folder: ./out}",
        26,
        "out",
        "W185",
        "messages come back: orders -> orders",
        "send them elsewhere",
    ),
    Mistake(
        "function that is not there",
        "  - each: OBX",
        "  - python: steps.py:splitt\n  - each: OBX",
        14,
        "splitt",
        "E134",
        "no function splitt",
        "did you mean 'split'?",
    ),
    Mistake(
        "unknown function of an expression", "=upper(", "=uper(", 12, "uper", "E130", "there is no function", "upper"
    ),
    Mistake(
        "lanes without a key",
        "retry: {first: 1s, most: 1m}",
        "lanes: 4",
        24,
        "4",
        "E148",
        "break the order",
        "order_by",
    ),
    Mistake("tab in the indentation", "  - to: ris", "\t- to: ris", 18, "\t", "E118", "tab", "spaces"),
]


def site_with(tmp_path: Path, mistake: Mistake | None) -> list[ConfigFinding]:
    """Everything that `segmill check` says of the site with that mistake in it."""
    files = dict(FILES)
    channels: dict[str, dict[str, str]] = {"orders": files}
    if mistake is not None:
        for path, text in mistake.beside.items():
            if path.startswith("zz/"):
                channels.setdefault("zz", {})[path.removeprefix("zz/")] = text
            else:
                files[path] = text
        for path in mistake.without:
            del files[path]
        if mistake.old or mistake.new:
            assert files[mistake.file].count(mistake.old) >= 1
            files[mistake.file] = files[mistake.file].replace(mistake.old, mistake.new, 1)
    settings = mistake.settings if mistake is not None else SETTINGS
    loaded = load_site(make_site(tmp_path, channels, settings=settings), load_kinds(), {})
    return [*loaded.findings, *case_findings(loaded)]


def test_the_site_without_a_mistake_has_no_finding(tmp_path: Path):
    assert site_with(tmp_path, None) == []


def test_there_are_more_than_twenty_of_as_many_kinds():
    assert len(MISTAKES) >= 20
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_seeded_mistake_is_found_where_it_stands_with_advice(tmp_path: Path, mistake: Mistake):
    findings = site_with(tmp_path, mistake)
    assert [finding.code for finding in findings] == [mistake.code], findings
    (finding,) = findings
    assert finding.file == (mistake.found_in or f"channels/orders/{mistake.file}")
    assert finding.line == mistake.line
    if mistake.marked:
        line = (tmp_path / finding.file).read_text().split("\n")[finding.line - 1]
        assert line[finding.column - 1 :].startswith(mistake.marked), (line, finding.column)
    assert mistake.message in finding.message
    assert mistake.advice in finding.hint
