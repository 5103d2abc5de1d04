"""What holds for every command: help at once, exit codes, where things are said, no tracebacks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from engine.cli.command import COMMANDS, OTHER_WORDS, Command, Group
from engine.cli.exits import MEANINGS
from engine.cli.main import segmill as group

HEAVY = ("pydantic", "yaml", "re2", "rich", "starlette", "uvicorn", "prometheus_client", "sqlite3", "asyncio", "http")

HELP = f"""
import contextlib, io, json, sys
from engine.cli.main import run
with contextlib.redirect_stdout(io.StringIO()) as said:
    code = run([*sys.argv[1:], "--help"])
print(json.dumps([code, len(sys.modules), [m for m in {HEAVY!r} if m in sys.modules], said.getvalue()]))
"""


def commands() -> list[Command]:
    ctx = click.Context(group)
    found = [group.get_command(ctx, name) for name in COMMANDS]
    assert all(isinstance(command, Command) for command in found)
    return found


def leaves() -> list[tuple[str, Command]]:
    """What can be run, by the words that run it: of a group its commands."""
    found: list[tuple[str, Command]] = []
    for command in commands():
        if isinstance(command, Group):
            ctx = click.Context(command)
            found += [(f"{command.name} {name}", command.get_command(ctx, name)) for name in command.subcommands]
        else:
            found.append((command.name, command))
    return found


def process(*words: object, code: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "engine"]
    repository = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *start, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(repository), **env},
    )


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_loads_little_and_so_comes_at_once(name):
    """Importing what a command works with takes ten times as long as click does (help within 100 ms)."""
    done = process(*([name] if name else []), code=HELP)
    code, modules, heavy, said = json.loads(done.stdout)
    assert code == 0
    assert heavy == []
    assert modules < 220
    assert "Usage: segmill" in said


def test_the_first_help_names_every_command_and_every_exit_code(segmill):
    said = segmill("--help").out
    for name, sentence in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(sentence[:40])}", said, re.MULTILINE)
    text = " ".join(said.split())
    for code, meaning in MEANINGS.items():
        assert f"{code} {meaning}" in text


def test_the_list_says_of_a_command_what_its_own_help_says():
    for command in commands():
        assert (command.help or "").partition("\n")[0].strip() == COMMANDS[command.name or ""]
        if isinstance(command, Group):
            for name, sentence in command.subcommands.items():
                below = command.get_command(click.Context(command), name)
                assert (below.help or "").partition("\n")[0].strip() == sentence == below.get_short_help_str(200)
                assert set(below.examples) <= set(command.examples), "so that they are run with all others"


def test_every_command_has_json_and_an_example_and_says_how_it_ends(segmill):
    for words, command in leaves():
        said = segmill(*words.split(), "--help").out
        assert any("--json" in parameter.opts for parameter in command.params), words
        assert any(example.startswith(f"segmill {words}") for example in command.examples)
        assert "Examples:" in said
        assert "Exit codes:" in said


def test_quiet_leaves_data_and_errors(segmill, site):
    assert segmill("check", site).err
    said = segmill("check", site, "--quiet")
    assert (said.code, said.out, said.err) == (0, "", "")
    (site / "channels" / "adt" / "channel.yaml").write_text("listen: [")
    said = segmill("check", "-q", site)
    assert said.code == 1
    assert "channels/adt/channel.yaml" in said.out
    assert "E1" in segmill("run", "-q", site).err


@pytest.mark.parametrize(("typed", "meant"), [*OTHER_WORDS.items(), ("mesages", "messages"), ("chekc", "check")])
def test_a_wrong_word_is_answered_with_the_right_one(segmill, typed, meant):
    said = segmill(typed, "x")
    assert said.code == 2
    assert f"did you mean '{meant}'?" in said.err
    assert said.out == ""


def test_nothing_at_all_is_answered_with_help(segmill):
    said = segmill()
    assert said.code == 2
    assert "Commands:" in said.err + said.out


def test_the_version_is_told(segmill):
    from engine import __version__

    assert segmill("--version").out == f"segmill {__version__}\n"


@pytest.fixture
def broken(monkeypatch):
    """`broken(error)`: makes `segmill explain` raise it."""

    def breaks(error: BaseException) -> None:
        def raising(*args: object, **kwargs: object) -> None:
            raise error

        command = group.get_command(click.Context(group), "explain")
        monkeypatch.setattr(command, "callback", raising)

    return breaks


def test_a_defect_is_one_sentence_without_what_was_worked_on(segmill, broken):
    broken(ValueError("PID-5 is DOE^JOHN"))
    said = segmill("explain")
    assert said.code == 70
    assert "ValueError at main.py:" in said.err
    assert "--debug" in said.err
    assert "DOE" not in said.err
    assert "Traceback" not in said.err


def test_debug_shows_the_traceback(segmill, broken):
    broken(ValueError("boom"))
    said = segmill("explain", "--debug")
    assert said.code == 70
    assert "Traceback" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "Permission denied", "/data/x"), 77),
        (FileNotFoundError(2, "No such file or directory", "/data/x"), 73),
        (OSError(28, "No space left on device", "/data/x"), 73),
    ],
)
def test_what_the_system_refuses_is_a_sentence_with_its_file(segmill, broken, error, code):
    broken(error)
    said = segmill("explain")
    assert said.code == code
    assert "/data/x" in said.err
    assert error.strerror in said.err


def test_ctrl_c_ends_without_a_word_of_python(segmill, broken):
    broken(KeyboardInterrupt())
    said = segmill("explain")
    assert said.code == 130
    assert "Traceback" not in said.err


def test_a_reader_that_has_enough_is_no_error():
    code = """
import subprocess, sys
listing = subprocess.Popen([sys.executable, "-m", "engine", "explain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
listing.stdout.close()
print([listing.stderr.read(), listing.wait()])
"""
    assert process(code=code).stdout == "[b'', 0]\n"


def test_colours_are_for_terminals_only_and_not_for_those_who_want_none(site):
    plain = process("explain", "E102")
    forced = process("explain", "E102", FORCE_COLOR="1")
    refused = process("explain", "E102", FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[" not in plain.stdout
    assert "\x1b[" in forced.stdout
    assert "\x1b[" not in refused.stdout


def test_a_terminal_that_knows_ascii_only_is_no_reason_to_fail(tmp_path):
    message = tmp_path / "umlaut.hl7"
    message.write_bytes("MSH|^~\\&|HIS|N|||20260102||ADT^A01|Ü1|P|2.5.1\rPID|||1||Müller\r".encode())
    site = tmp_path / "site" / "channels" / "all"
    site.mkdir(parents=True)
    (site / "channel.yaml").write_text("listen: {mllp: {port: 0}}\n")
    done = process("try", "all", message, "--site", tmp_path / "site", PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_output_that_cannot_be_written_or_is_closed_is_no_defect():
    code = """
import os, subprocess, sys
explain = [sys.executable, "-m", "engine", "explain"]
with open("/dev/full", "w") as full:
    done = subprocess.run(explain, stdout=full, stderr=subprocess.PIPE, text=True)
print(done.returncode, done.stderr.strip())
closed = subprocess.run(explain, preexec_fn=lambda: os.close(1), stderr=subprocess.PIPE, text=True)
print(closed.returncode, closed.stderr)
"""
    assert process(code=code).stdout.splitlines() == ["73 segmill: cannot write: No space left on device", "0 "]
