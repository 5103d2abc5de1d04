"""`segmill completion`: the scripts, and what a shell is told at a press of Tab."""

import os
import shutil
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from engine.cli.command import COMMANDS, Group
from engine.cli.completing import OFFERS, Offered
from engine.cli.main import segmill as group


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_for_segmill(segmill, shell):
    said = segmill("completion", shell)
    assert said.code == 0
    assert "_SEGMILL_COMPLETE" in said.out and "segmill" in said.out


def test_bash_takes_the_script(segmill, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = tmp_path / "segmill.bash"
    script.write_text(segmill("completion", "bash").out)
    check = f"source {script} && complete -p segmill"
    made = subprocess.run(["bash", "-c", check], capture_output=True, text=True, check=True)
    assert made.stdout.startswith("complete ")


@pytest.mark.parametrize(
    ("words", "number", "told"),
    [
        ("segmill re", 1, {"reload", "release", "replay", "restore", "retention"}),
        ("segmill queue pa", 2, {"pause"}),
        ("segmill test --cov", 2, {"--coverage"}),
    ],
)
def test_what_a_press_of_tab_offers(words, number, told):
    environment = {
        **os.environ,
        "_SEGMILL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'segmill'; from engine.cli.main import main; main()"]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert {line.partition(",")[2] for line in made.stdout.splitlines()} == told, made.stderr


FREE = {
    "HOST:PORT", "HOST", "RATE", "TIME", "TLS_NAME", "ROW", "EXPR", "ID", "KEY", "NAME=VALUE", "TEXT", "PATH=TEXT",
    "PATH", "REASON", "NUMBER:HASH", "AE", "WORD", "WORDS", "FIELD", "AS_OF", "STUDY", "STEP", "NAME", "SECTION",
    "THING...", "[SEQ]...", "[SEQ | SEARCH]...", "KEY VALUE [OTHERS]...", "[KEYWORD=VALUE]...", "[KEY[=VALUE]]...",
}  # fmt: skip
"""Values that nobody can know before they are typed: addresses, times, numbers of messages, texts, names of people."""


def every_place():
    """Each command of the table with each of its places for a value."""
    ctx = click.Context(group, resilient_parsing=True)

    def below(command, words):
        if isinstance(command, Group):
            for name in command.list_commands(ctx):
                yield from below(command.get_command(ctx, name), [*words, name])
            return
        inner = click.Context(command, resilient_parsing=True)
        for parameter in command.get_params(inner):
            if not (isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count)):
                yield " ".join(words), parameter

    for name in COMMANDS:
        yield from below(group.get_command(ctx, name), [name])


def test_every_value_of_every_command_is_completed_or_cannot_be_known():
    used, bare = set(), []
    for command, parameter in every_place():
        name = parameter.opts[0] if isinstance(parameter, click.Option) else ""
        called = parameter.metavar or parameter.name.upper()
        if isinstance(parameter.type, Offered):
            used.add((name, called))
        is_number = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
        known = isinstance(parameter.type, Offered | click.Choice | click.Path | click.File)
        own = parameter._custom_shell_complete is not None
        special = (command, name) in {("import-mirth", "--channel"), ("generate", "--charset")}
        if not (known or own or is_number or called in FREE or special):
            bare.append((command, name, called))
    assert bare == []
    assert used == set(OFFERS), "nothing is offered for a place that no command has"


def tab(*words, incomplete=""):
    told = ShellComplete(group, {}, "segmill", "_SEGMILL_COMPLETE").get_completions(list(words), incomplete)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in told]


def test_names_of_the_site_are_offered_where_they_belong(site, monkeypatch):
    monkeypatch.chdir(site)
    channels = ["adt", "orders", "results", "scanners"]
    assert tab("try") == tab("queue", "list") == tab("messages", "--channel") == channels
    assert tab("test", incomplete="ad") == ["adt", "<dir>"]
    assert tab("try", "adt", "x.hl7", "--why") == ["ris", "archive"]
    assert "archive" in tab("replay", "--channel", "adt", "--to")
    assert tab("queue", "pause", incomplete="adt/") == ["adt/ris", "adt/archive"]
    assert tab("release", incomplete="ad") == ["adt/"]
    assert tab("tables", "add", incomplete="adt") == ["adt/tables/sex.csv", "adt/tables/wards.csv"]
    assert tab("explain", incomplete="e21") and tab("explain", incomplete="E214") == ["E214"]
    assert tab("users", "add", "ann", incomplete="adt=") == [f"adt={role}" for role in tab("users", "add", "ann")[:4]]
    assert "late" in tab("listen", "--ack")
    assert tab("stats") == tab("compare") == tab("deidentify") == ["<file>"]


def test_where_there_is_no_site_or_a_broken_channel_tab_is_quiet(tmp_path, site, monkeypatch):
    monkeypatch.chdir(tmp_path / "..")
    monkeypatch.delenv("SEGMILL_SITE", raising=False)
    assert tab("try") == []
    (site / "channels" / "adt" / "channel.yaml").write_text("destinations: [\n")
    monkeypatch.chdir(site)
    assert tab("queue", "pause", incomplete="adt/") == []
