"""How a command ends when it does not end well: one sentence, what to do, and a code that scripts can rely on.

Codes 64 to 78 have the meanings of BSD's sysexits.h (ux.md section 2.2).
"""

from typing import Final

import click

GOOD: Final = 0
FINDINGS: Final = 1
MISUSE: Final = 2
UNREACHABLE: Final = 69
DEFECT: Final = 70
CANNOT_WRITE: Final = 73
STORE_FAILED: Final = 74
TRY_AGAIN: Final = 75
NOT_ALLOWED: Final = 77
CONFIGURATION: Final = 78

MEANINGS: Final = {
    GOOD: "good",
    FINDINGS: "findings, failed cases, or messages that were refused",
    MISUSE: "the command was used wrongly",
    UNREACHABLE: "no engine or receiver answers there, or a port cannot be opened",
    DEFECT: "a defect in segmill itself",
    CANNOT_WRITE: "a file cannot be written",
    STORE_FAILED: "the store failed",
    TRY_AGAIN: "not now; the same may work later",
    NOT_ALLOWED: "not allowed",
    CONFIGURATION: "the site's files have errors",
}


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
