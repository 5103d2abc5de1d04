"""How a command ends when it does not end well: one sentence, what to do, and a code that scripts can rely on.

The codes are those of `engine.exit_codes`.
"""

import click

from engine.exit_codes import (
    CANNOT_WRITE,
    CONFIGURATION,
    DEFECT,
    FINDINGS,
    GOOD,
    MEANINGS,
    MISUSE,
    NOT_ALLOWED,
    STORE_FAILED,
    TRY_AGAIN,
    UNREACHABLE,
)

__all__ = [
    "CANNOT_WRITE",
    "CONFIGURATION",
    "DEFECT",
    "FINDINGS",
    "GOOD",
    "MEANINGS",
    "MISUSE",
    "NOT_ALLOWED",
    "STORE_FAILED",
    "TRY_AGAIN",
    "UNREACHABLE",
    "Failure",
]


class Failure(Exception):
    """Ends a command with `exit_code`; `sentence` says what and where, `hint` what to do."""

    def __init__(self, exit_code: int, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.sentence = sentence
        self.hint = hint

    def show(self) -> None:
        """On standard error."""
        click.echo(f"{click.style('segmill:', fg='red', bold=True)} {self.sentence}", err=True)
        if self.hint:
            click.echo(self.hint, err=True)
