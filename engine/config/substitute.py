"""`${NAME}`, `${NAME:-default}` and `${file:path}` in values, with their origin, and secrets kept out of sight."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.config.base import nearest
from engine.config.finding import ConfigFinding, Position, at
from engine.config.node import Piece, Scalar, SourceText
from engine.config.value_file import MAX_FILE_CHARACTERS, NotAFile

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)\}|\$\{")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a variable of the environment is taken for a secret, by its name."""
    return _SECRET.search(name) is not None


def is_secret_reference(reference: str) -> bool:
    """The same of a whole `${...}`; what a file gives always is one."""
    inside = reference.removeprefix("${").removesuffix("}")
    return inside.startswith("file:") or is_secret_name(inside.partition(":-")[0])


@dataclass(slots=True, frozen=True)
class Origin:
    """Where a part of a value came from: `reference` as it is written, `source` in words. `value` None: secret."""

    position: Position
    reference: str
    source: str
    value: str | None


@dataclass(slots=True)
class Substitution:
    """Replaces references in the values of one file.

    `env` is the environment. `read` gives a file's text, relative to the site, and raises OSError, NotAFile or
    UnicodeDecodeError. `recorded`, where given, stands in for both: values by reference, as a version of
    the file recorded them. `used` gathers what was taken, by reference, for the channel's version.
    """

    env: Mapping[str, str]
    read: Callable[[str], str]
    recorded: Mapping[str, str] | None = None
    findings: list[ConfigFinding] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)

    def __call__(self, scalar: Scalar) -> SourceText:
        """The value of a scalar. `$${` stands for `${` itself."""
        if "${" not in scalar.text:
            return SourceText(scalar.text, scalar)
        parts: list[str] = []
        pieces: list[Piece] = []
        length = done = 0
        is_secret = is_broken = False
        for found in _REFERENCE.finditer(scalar.text):
            before = scalar.text[done : found.start()]
            if found.group() == "$${":
                value: str | None = "${"
            else:
                value, secret = self._resolve(scalar, found)
                is_secret = is_secret or secret
                is_broken = is_broken or value is None
            value = value or ""
            start = length + len(before)
            pieces.append(Piece(start, start + len(value), found.start(), found.end()))
            parts += [before, value]
            length = start + len(value)
            done = found.end()
        parts.append(scalar.text[done:])
        return SourceText("".join(parts), scalar, tuple(pieces), is_secret=is_secret, is_broken=is_broken)

    def _resolve(self, scalar: Scalar, found: re.Match[str]) -> tuple[str | None, bool]:
        """The value and whether it is secret; None after a finding."""
        reference, inside = found.group(), found["inside"]
        place = SourceText(scalar.text, scalar).position(found.start(), len(reference)) or scalar.position
        if inside is None:
            return self._fail(place, "E122", "${ without a closing }", "to write ${ itself: $${"), False
        if self.recorded is not None and reference in self.recorded:
            value = self.recorded[reference]
            is_secret = inside.startswith("file:") or _SECRET.search(inside.partition(":-")[0]) is not None
            self._took(place, reference, "the recorded version", value, is_secret)
            return value, is_secret
        if inside.startswith("file:"):
            return self._from_file(place, reference, inside.removeprefix("file:").strip()), True
        parsed = _NAME.fullmatch(inside)
        if parsed is None:
            hint = "write ${NAME}, ${NAME:-default} or ${file:path}; to write ${ itself: $${"
            return self._fail(place, "E122", f"{reference[:60]} is not a reference", hint), False
        name, default = parsed["name"], parsed["default"]
        is_secret = _SECRET.search(name) is not None
        value = self.env.get(name) or default
        if value is None:
            return self._fail(place, "E120", f"the environment has no {name}", self._unset_hint(name)), is_secret
        source = f"environment variable {name}" if self.env.get(name) else f"the default of {name}"
        self._took(place, reference, source, value, is_secret)
        return value, is_secret

    def _unset_hint(self, name: str) -> str:
        close = nearest(name, self.env)
        guess = f"did you mean {close}? " if close and len(name) > 3 else ""
        return f"{guess}set it before the start, or give a default: ${{{name}:-...}}"

    def _from_file(self, place: Position, reference: str, path: str) -> str | None:
        try:
            text = self.read(path)
        except OSError as exc:
            return self._fail(place, "E121", f"cannot read {path}: {exc.strerror or 'no such file'}", "")
        except UnicodeDecodeError:
            return self._fail(place, "E121", f"{path} is not UTF-8", "")
        except NotAFile as exc:
            hint = "name a regular file, or take the value from the environment: ${NAME}"
            return self._fail(place, "E121", f"{path} is {exc}, which is not read", hint)
        if len(text) > MAX_FILE_CHARACTERS:
            return self._fail(place, "E121", f"{path} is too large for a value", "a value has 64 kB at most")
        value = text.removesuffix("\n").removesuffix("\r")
        self._took(place, reference, f"file {path}", value, is_secret=True)
        return value

    def _took(self, place: Position, reference: str, source: str, value: str, is_secret: bool) -> None:
        self.used[reference] = value
        self.origins.append(Origin(place, reference, source, None if is_secret else value))

    def _fail(self, place: Position, code: str, message: str, hint: str) -> str | None:
        self.findings.append(at(place, code, message, hint))
        return None
