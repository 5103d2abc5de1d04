"""What is wrong in a configuration file, and where: always a value, never an exception on its way to people."""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Position:
    """A place in a file as an editor shows it: line and column count characters from 1."""

    file: str
    line: int
    column: int
    length: int = 1


@dataclass(slots=True, frozen=True)
class ConfigFinding:
    """One mistake or doubt in a configuration file.

    `code` is stable (`segmill explain E101`); E stops the file from being used, W is a warning.
    `file` is as people call it, relative to the site. `line` and `column` count from 1; 0 where a
    finding concerns a whole file or folder. `length` is how many characters the caret marks.
    `message` says what is wrong, `hint` what to do; neither holds a secret.
    """

    code: str
    file: str
    line: int
    column: int
    length: int
    message: str
    hint: str = ""

    @property
    def is_error(self) -> bool:
        """Whether the file cannot be used as it is."""
        return self.code.startswith("E")

    @property
    def sort_key(self) -> tuple[str, int, int, str]:
        """Order for people: by file, then by place."""
        return (self.file, self.line, self.column, self.code)


def at(position: Position, code: str, message: str, hint: str = "") -> ConfigFinding:
    """A finding at a position."""
    return ConfigFinding(code, position.file, position.line, position.column, position.length, message, hint)


class BadValue(ValueError):
    """A value that a model cannot accept, said so that an analyst understands it.

    Validators of any config model raise it. `code` is from the catalogue; `offset` and `length` narrow
    the caret to a part of the value's text, counted from 0; `length` 0 marks the value to its end.
    """

    def __init__(self, message: str, hint: str = "", *, code: str = "E107", offset: int = 0, length: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.offset = offset
        self.length = length
