"""What can never happen is told where it is certain, and nowhere else."""

from pathlib import Path

import pytest

from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

CHANNEL = """\
listen: {{mllp: {{port: 0}}}}
accept: {accept}
from: {source}
steps: [{steps}]
routes:
  - to: a
    when: {when}
destinations: {{a: {{file: {{folder: out}}}}}}
"""


def codes(
    tmp_path: Path, *, accept: str = '["*"]', source: str = "MSH exists", steps: str = "", when: str
) -> list[str]:
    text = CHANNEL.format(accept=accept, source=source, steps=steps, when=when)
    files = {"channel.yaml": text, "tables/t.csv": "from,to\nI,O\n", "steps.py": "def f(message, context):\n    pass\n"}
    site = load_site(make_site(tmp_path, {"c": files}), load_kinds(), {})
    assert not [f for f in site.findings if f.is_error], site.findings
    return [finding.code for finding in site.findings]


@pytest.mark.parametrize(
    ("given", "when"),
    [
        ({"accept": "[ADT^A01]"}, 'MSH-9.1 == "ORU"'),
        ({"accept": "[ADT^A01]"}, 'MSH-9 == "ORU"'),
        ({"accept": "[ADT^A01, ADT^A08]"}, 'MSH-9.2 in ["A03", "A04"]'),
        ({"source": 'MSH-3 == "HIS"'}, 'MSH-3.1 == "LIS"'),
        ({"source": 'MSH-3 != "LIS"'}, 'MSH-3.1 == "LIS"'),
        ({"source": 'MSH-3 == "A" or MSH-3 == "B"'}, 'MSH-3 == "C"'),
        ({"steps": "filter: PID-8 is empty"}, 'PID-8 == "F"'),
        ({"steps": "{filter: 'not PID-8 == \"F\"'}"}, 'PID-8 == "F"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {set: {PID-19: x}}, {delete: [PID-9]}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {each: OBX, do: [{set: {OBX-8: x}}]}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {validate: {required: [PID-3]}}"}, 'PID-8 == "M"'),
        ({}, 'PID-8 == "F" and PID-8 == "M"'),
        ({}, 'PID-8 == "F" and PID-8 is empty'),
    ],
)
def test_a_route_that_nothing_takes_is_told(tmp_path: Path, given: dict[str, str], when: str):
    assert codes(tmp_path, **given, when=when) == ["W184"]


@pytest.mark.parametrize(
    ("given", "when"),
    [
        ({"accept": "[ADT^A01, ORU^R01]"}, 'MSH-9.1 == "ORU"'),
        ({"accept": "[ADT^*]"}, 'MSH-9.2 == "A03"'),
        ({"source": 'MSH-3 == "HIS"'}, 'MSH-4 == "LIS"'),
        ({"source": 'MSH-3 == "A" or MSH-4 == "B"'}, 'MSH-3 == "C"'),
        ({"source": 'MSH-3 == "A" or MSH-3 != "B"'}, 'MSH-3 == "C"'),
        ({"source": 'lower(MSH-3) == "his"'}, 'MSH-3 == "HIS"'),
        ({"source": 'MSH-3 starts with "H"'}, 'MSH-3 == "LIS"'),
        ({"source": 'any OBX-8 == "H"'}, 'any OBX-8 == "L"'),
        ({"source": 'PID-3[1].1 == "1"'}, 'PID-3[2].1 == "2"'),
        ({"source": 'PID-8.1 == "F"'}, 'PID-8.2 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"', when: PID exists}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {set: {PID-8: M}}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {set: {PID-8.1: M}}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {copy: {PID-8: PID-9}}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PV1-2 == \"I\"'}, {map: {PV1-2: tables/t.csv}}"}, 'PV1-2 == "O"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {delete: [PID]}"}, "PID-8 is empty"),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {each: PID, do: [{set: {PID-8: M}}]}"}, 'PID-8 == "M"'),
        ({"steps": "{filter: 'PID-8 == \"F\"'}, {python: 'steps.py:f'}"}, 'PID-8 == "M"'),
        ({"source": "length(PID-8) == 1"}, 'PID-8 == "MM"'),
        ({"source": "PID-1 == 1"}, "PID-1 == 2"),
    ],
)
def test_what_may_happen_is_not_complained_about(tmp_path: Path, given: dict[str, str], when: str):
    assert codes(tmp_path, **given, when=when) == []


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ("PID-5.1: A, PID-5: B", ["W186"]),
        ("'PID-3[2]': A, PID-3: B", ["W186"]),
        ("PID-3.4.2: A, PID-3.4: B", ["W186"]),
        ("PID-5: A, PID-5.1: B", []),
        ("PID-5.1: A, PID-5: =PID-5.1", []),
        ("PID-1: A, PID-19: B", []),
    ],
)
def test_a_place_that_a_later_line_writes_over_is_told(tmp_path: Path, entries: str, found: list[str]):
    assert codes(tmp_path, steps=f"{{set: {{{entries}}}}}", when="MSH exists") == found


def chained(*targets: tuple[str, int, int]) -> dict[str, str]:
    text = "listen: {{mllp: {{port: {0}}}}}\nroutes: [{{to: a}}]\n"
    text += "destinations: {{a: {{mllp: {{host: {2}, port: {1}}}}}}}\n"
    return {name: text.format(here, there, "127.0.0.1") for name, here, there in targets}


def test_a_circle_over_several_channels_is_told_once(tmp_path: Path):
    channels = {name: {"channel.yaml": text} for name, text in chained(("a", 1, 2), ("b", 2, 3), ("c", 3, 1)).items()}
    site = load_site(make_site(tmp_path, channels), load_kinds(), {})
    assert [(f.code, f.file) for f in site.findings] == [("W185", "channels/c/channel.yaml")]
    assert "a -> b -> c -> a" in site.findings[0].message


def test_a_chain_of_channels_is_no_circle(tmp_path: Path):
    channels = {name: {"channel.yaml": text} for name, text in chained(("a", 1, 2), ("b", 2, 3), ("c", 3, 4)).items()}
    assert load_site(make_site(tmp_path, channels), load_kinds(), {}).findings == []


def test_a_port_of_another_machine_is_no_circle(tmp_path: Path):
    text = chained(("a", 1, 1))["a"].replace("127.0.0.1", "other.example")
    assert load_site(make_site(tmp_path, {"a": {"channel.yaml": text}}), load_kinds(), {}).findings == []
