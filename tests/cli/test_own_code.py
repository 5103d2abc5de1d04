"""A channel's own Python in the terminal: it may fail, loop, end or print, and the command goes on."""

import json

import pytest

from engine.cli import own_code
from engine.testing import messages

CHANNEL = (
    "listen: {mllp: {port: 0}}\nsteps:\n  - python: steps.py:f\nroutes: [{to: out}]\n"
    "destinations: {out: {file: {folder: out}}}\n"
)


@pytest.fixture
def own(make_site, tmp_path, monkeypatch):
    """A site whose channel `own` has this Python, and a message for it."""

    def make(source):
        folder = make_site({"own": {"channel.yaml": CHANNEL, "steps.py": source}})
        # Both deadlines are by the clock: on a machine that stands still, only what never ends may run into one.
        deadline = "200ms" if "while True" in source else "60s"
        if not source.startswith("while True"):
            monkeypatch.setattr(own_code.guarded, "__defaults__", (60.0,))
        (folder / "segmill.yaml").write_text(f"admin: off\nworkers: {{deadline: {deadline}}}\n")
        case = folder / "channels" / "own" / "cases" / "one"
        case.mkdir(parents=True)
        (case / "in.hl7").write_bytes(messages.adt())
        return folder, case / "in.hl7"

    return make


ENDS = [
    ("while True: pass", "E220 the channel's own code took longer than 0.2 s"),
    ("raise SystemExit(3)", "E221 the channel's own code ended its process with exit code 3"),
    ("raise SystemExit", "E221 the channel's own code ended its process with exit code 0"),
    ("raise ValueError(message.get('PID-5.1'))", "E201 the step failed with ValueError at steps.py:2"),
    ("return message", "E218"),
]


@pytest.mark.parametrize(("body", "told"), ENDS)
def test_try_says_what_the_engine_would_say(segmill, own, body, told):
    site, message = own(f"def f(message, context):\n    {body}\n")
    said = segmill("try", "own", message, "--site", site)
    assert said.code == 1
    assert told in said.out
    assert "held, answer AA" in said.out
    assert "Traceback" not in said.err


@pytest.mark.parametrize(("body", "told"), ENDS)
def test_a_case_comes_to_the_same_end(segmill, own, body, told):
    site, _ = own(f"def f(message, context):\n    {body}\n")
    (case,) = segmill("test", site, "--update", "--json").lines
    assert case["states"] == ["held"]
    assert (site / "channels/own/cases/one/findings.txt").read_text().split()[0] == told[:4]


def test_what_it_prints_is_not_among_the_data(segmill, own):
    site, message = own("print('loading')\ndef f(message, context):\n    print('running')\n")
    said = segmill("try", "own", message, "--site", site, "--json")
    assert json.loads(said.out)["state"] == "processed"
    assert said.err.split() == ["loading", "running"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nowhere_to_be_found\ndef f(message, context): ...\n", "E135 steps.py does not load: ModuleNotFound"),
        ("raise SystemExit(4)\ndef f(message, context): ...\n", "E135 the channel's own code ended its process"),
        ("while True: pass\ndef f(message, context): ...\n", "E135 the channel's own code took longer than 2 s"),
        ("f = 3\n", "E134 steps.py has no function f"),
    ],
)
@pytest.mark.parametrize("command", ["try", "test"])
def test_python_that_does_not_load_is_an_error_of_the_channel(segmill, own, command, source, told):
    site, message = own(source)
    said = segmill("try", "own", message, "--site", site) if command == "try" else segmill("test", site)
    assert said.code == 78
    assert told in said.err
    assert "channel own has errors" in said.err
