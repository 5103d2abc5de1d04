"""`segmill completion`: the scripts, and what a shell is told at a press of Tab."""

import os
import shutil
import subprocess
import sys

import pytest


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
