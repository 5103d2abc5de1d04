"""Messages from files: one or many in each, framed or not, saved by whatever editor, as HL7, JSON or XML."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.cli.command import misuse
from engine.cli.output import say

if TYPE_CHECKING:
    from engine.hl7.batch import Batch
    from engine.model.finding import Finding

STDIN: Final = "-"
STDIN_NAME: Final = "(standard input)"
ENDINGS: Final = (".hl7", ".txt", ".msg", ".er7")
VT, FS_CR = b"\x0b", b"\x1c\r"


@dataclass(slots=True, frozen=True)
class FileMessage:
    """One message and where it came from. `number` counts in the file from 1; `of` is how many the file has."""

    file: str
    number: int
    of: int
    raw: bytes
    noted: "tuple[Finding, ...]" = ()
    """What is odd about the batch it stands in."""

    @property
    def name(self) -> str:
        """As people call it: `a.hl7`, or `a.hl7 message 2` where there are more."""
        return self.file if self.of == 1 else f"{self.file} message {self.number}"


def read_messages(
    names: Sequence[str],
    *,
    whole: bool = False,
    tidy: bool = False,
    lenient: bool = False,
    hint: str = "; --raw sends the file as it is",
) -> list[FileMessage]:
    """The messages of files, of all files in folders, and of standard input (`-`), in that order.

    A file is cut into its messages; line ends as editors write them become CR, MLLP frames and batch headers go away.
    UTF-16 and UTF-32, which only a file can hold, become UTF-8, and JSON and XML become HL7; but of a folder only
    files of HL7 are read. With `whole` it is one message, byte for byte.
    `tidy` raises a misuse, which names the file, for what is none; JSON and XML that are none do so always, unless
    `lenient` leaves them as they are. `hint` says what else could be done with it.
    """
    found = []
    for name, content in contents(names):
        of_file = list(_cut(name, content, whole, tidy, lenient, hint))
        if not of_file and name in (*names, STDIN_NAME):
            raise misuse(f"there is no message in {name}")
        found += of_file
    if not found:
        raise misuse(f"there is no message in {', '.join(names)}: of a folder, {', '.join(ENDINGS)} files are read")
    return found


def contents(names: Sequence[str], endings: Sequence[str] = ENDINGS) -> Iterator[tuple[str, bytes]]:
    """Each file's name and bytes, one at a time; of a folder those with such endings. Raises a misuse."""
    for name in names:
        if name == STDIN:
            yield STDIN_NAME, sys.stdin.buffer.read()
            continue
        for path in _files(Path(name), endings):
            try:
                yield str(path), path.read_bytes()
            except OSError as exc:
                raise misuse(f"{path} cannot be read: {exc.strerror}") from None


def _files(path: Path, endings: Sequence[str]) -> Iterable[Path]:
    if not path.is_dir():
        return (path,)
    return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in endings)


def parts_of(name: str, content: bytes) -> list[bytes]:
    """A file's messages, each in the form that it has; HL7 without the marks of editors and of MLLP."""
    return [part for part, _ in _parts(name, content)]


def _parts(name: str, content: bytes) -> "list[tuple[bytes, tuple[Finding, ...]]]":
    """The messages, and what the headers of a batch around them give rise to."""
    from engine.hl7.batch import read_batch
    from engine.hl7.convert import form_of, split_bodies
    from engine.hl7.wide import narrowed

    narrow = narrowed(content)
    if narrow is not content:
        say(f"{name} is in UTF-16 or UTF-32, which cannot go over MLLP; it is taken as UTF-8")
        content = narrow
    if form_of(content) != "hl7":
        return [(body, ()) for body in split_bodies(content)]
    if content.count(b"\n") == content.count(b"\r\n"):
        content = content.replace(b"\r\n", b"\r")
    elif b"\r" not in content:
        content = content.replace(b"\n", b"\r")
    parts: list[tuple[bytes, tuple[Finding, ...]]] = []
    for block in content.replace(FS_CR, b"").split(VT):
        if block.strip():
            batch = read_batch(block)
            parts += [(block, ())] if batch is None else _members(batch)
    return parts


def _cut(name: str, content: bytes, whole: bool, tidy: bool, lenient: bool, hint: str) -> Iterator[FileMessage]:
    from engine.hl7.convert import ConversionError, hl7_of
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message

    if whole:
        yield FileMessage(name, 1, 1, content)
        return
    parts = _parts(name, content)
    for number, (part, noted) in enumerate(parts, 1):
        try:
            raw = hl7_of(part)
            if tidy:
                raw = Message.parse(raw).to_bytes()
        except ConversionError as exc:
            if lenient:
                yield FileMessage(name, number, len(parts), part)
                continue
            raise misuse(f"{FileMessage(name, number, len(parts), part).name}: {exc}") from None
        except UnreadableMessage as exc:
            which = FileMessage(name, number, len(parts), part).name
            raise misuse(f"{which}: {exc.reason}{'' if why_not_framed(content) else hint}") from None
        yield FileMessage(name, number, len(parts), raw, noted)


def _members(batch: "Batch") -> "list[tuple[bytes, tuple[Finding, ...]]]":
    from engine.pipeline.entry import miscounted

    noted = miscounted(batch)
    return [(raw, noted.get(number, ())) for number, raw in enumerate(batch)]


def why_not_framed(raw: bytes) -> str:
    """Why bytes cannot go over MLLP as one block; '' where they can."""
    from engine.adapters.outgoing import control_id_of
    from engine.hl7.errors import UnreadableMessage
    from engine.mllp.framing import PayloadError, encode

    try:
        encode(raw)
        control_id_of(raw)
    except (PayloadError, UnreadableMessage) as exc:
        return str(exc)
    return ""
