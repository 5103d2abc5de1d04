"""The site's own code as a step: what it may do, and what is said when it goes wrong."""

import pytest

from engine.pipeline.compile import ChannelError, compile_channel
from engine.pipeline.registry import load_steps

STEP = "- python: steps.py:work"


def code(*lines: str) -> dict[str, str]:
    body = "\n".join(f"    {line}" for line in lines)
    head = "from engine.pipeline.step import Filter, Hold, Reject\nP = 'PID-5.1'\n\ndef work(message, context):\n"
    return {"steps.py": f"{head}{body}\n"}


def test_a_function_edits_the_message(channel, adt):
    made = channel(STEP, files=code('message.set("PID-5.2", message.get("PID-5.1"))'))
    assert "|Testperson^Testperson|" in made.lines(adt())[2]


def test_a_function_knows_the_time_given_the_channel_and_its_tables(channel, adt):
    made = channel(
        STEP,
        files={
            **code(
                'message.set("ZZZ-1", context.now.isoformat())',
                'message.set("ZZZ-2", context.channel)',
                'message.set("ZZZ-3", context.tables["t.csv"].lookup("a").value)',
            ),
            "t.csv": "from,to\na,b\n",
        },
    )
    assert made.lines(adt())[-1] == "ZZZ|2026-01-02T03:04:05+00:00|test|b"


@pytest.mark.parametrize(
    ("statement", "state", "finding"),
    [
        ('raise Hold("no weight", "OBX-5")', "held", ("E216", "no weight", "OBX-5", "")),
        ('raise Reject("no patient", "PID-3", hl7_code="101")', "rejected", ("E217", "no patient", "PID-3", "101")),
        ('raise Filter("not for us")', "filtered", ("W203", "not for us", "", "")),
        ('raise Hold("two\\nlines" + " x" * 500, "no path", hl7_code="drop")', "held", None),
        ('raise Hold(f"no {message.get(\'PID-5.1\')} here", "PID-5")', "held", ("E216", "no *** here", "PID-5", "")),
        ('raise Hold(message.get("PID-5.1").upper(), "OBX[2]-5")', "held", ("E216", "***", "OBX[2]-5", "")),
        (
            """raise Hold("x", f'PID-3[1 == "{message.get("PID-5.1")}"]')""".replace('get("PID-5.1")', "get(P)"),
            "held",
            ("E216", "x", "", ""),
        ),
        (
            """raise Hold("x", 'PID-3[5 == "MR"].1')""",
            "held",
            ("E216", "x", 'PID-3[5 == "MR"].1', ""),
        ),
    ],
)
def test_a_function_ends_the_way_of_a_message_with_a_reason(channel, adt, statement, state, finding):
    result = channel(STEP, files=code(statement)).run(adt())
    assert (result.state, result.deliveries) == (state, [])
    (told,) = result.findings
    if finding is not None:
        assert (told.code, told.text, told.location, told.hl7_code) == finding
    else:
        assert told.text.startswith("two?lines x x") and len(told.text) == 200
        assert (told.location, told.hl7_code) == ("", "")


def test_an_exception_holds_the_message_and_is_told_by_kind_and_line_only(channel, adt):
    made = channel(STEP, files=code("name = message.get('PID-5.1')", "raise ValueError(name)"))
    result = made.run(adt(family="SECRETNAME"))
    assert result.state == "held"
    assert [(f.code, f.text) for f in result.findings] == [
        ("E201", "the step failed with ValueError at steps.py:6"),
    ]
    assert "SECRETNAME" not in repr(result)


def test_a_function_that_returns_something_was_meant_otherwise(channel, adt):
    assert channel(STEP, files=code("return message")).findings(adt()) == [("E218", "")]


def test_a_file_may_import_another_of_the_folder(channel, adt):
    files = {
        "steps.py": "import wards\nfrom wards import W\n\ndef work(m, c):\n    m.set('PV1-3.1', W + wards.more())\n",
        "wards.py": "W = 'W'\n\ndef more():\n    return '7'\n",
    }
    assert "|W7^12^" in channel(STEP, files=files).lines(adt())[3]


def test_dataclasses_work_in_own_code(channel, adt):
    files = {
        "steps.py": "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass\nclass Ward:\n    name: str\n\n\ndef work(m, c):\n    m.set('PV1-3.1', Ward('W9').name)\n"
    }
    assert "|W9^12^" in channel(STEP, files=files).lines(adt())[3]


def test_a_file_that_does_not_load_is_told_by_kind_and_line(channel):
    with pytest.raises(ChannelError) as caught:
        channel(STEP, files={"steps.py": "def work(m, c): pass\n\nNOTHING['a']\n"})
    finding = caught.value.finding
    assert (finding.line, finding.message) == (3, "steps.py does not load: NameError at steps.py:3")


def test_own_code_never_runs_in_the_engines_process(channel, adt):
    """Compiled as the engine does it: not even the file's own lines run."""
    made = channel(STEP, files=code("pass"))
    files = dict(made.loaded.files) | {"steps.py": b"raise SystemExit\n"}
    loaded = type(made.loaded)(**{**{f: getattr(made.loaded, f) for f in made.loaded.__slots__}, "files": files})
    compiled = compile_channel(loaded, load_steps())
    assert compiled.isolated
    with pytest.raises(RuntimeError, match="worker"):
        compiled.run(made.parse(adt()), made.now)


def test_a_channel_without_own_code_is_not_isolated(channel):
    assert not channel("- set: {MSH-5: X}").compiled.isolated
