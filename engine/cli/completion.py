"""`segmill completion`: what makes a shell complete commands, options and names."""

from typing import Any

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import emit, say

PLACES = {
    "bash": "segmill completion bash > ~/.local/share/bash-completion/completions/segmill",
    "zsh": "segmill completion zsh > ~/.zfunc/_segmill    (a folder of $fpath, before compinit)",
    "fish": "segmill completion fish > ~/.config/fish/completions/segmill.fish",
}


@subcommand("completion", "segmill completion bash")
@click.argument("shell", type=click.Choice(tuple(PLACES)))
@json_option("the script")
def command(shell: str, as_json: bool) -> int:
    """Print the script that makes a shell complete commands and options.

    Write it to where the shell looks for such scripts; it asks segmill itself at each press of Tab, so it need not be
    made again after an upgrade.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise misuse(f"{shell} is not known here")
    script = made(_root(), {}, "segmill", "_SEGMILL_COMPLETE").source()
    if as_json:
        emit({"shell": shell, "script": script})
    else:
        click.echo(script)
        say(f"For example: {PLACES[shell]}")
    return 0


def _root() -> Any:
    context = click.get_current_context()
    return context.find_root().command
