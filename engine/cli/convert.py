"""`segmill convert`: messages of files as HL7, JSON or XML."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.message_files import ENDINGS, STDIN_NAME, FileMessage, contents, parts_of
from engine.cli.output import count, emit, printable, say
from engine.cli.progress import counted

if TYPE_CHECKING:
    from engine.hl7.convert import Form

ALL_ENDINGS: Final = (*ENDINGS, ".json", ".xml")
MOST_OF_A_FILE: Final = 5
"""What cannot be converted is named for so many messages of one file: a file that is no HL7 can have thousands."""


@dataclass(slots=True, frozen=True)
class Converted:
    """One message, and its bytes in the form that was asked for, or why there are none."""

    file: FileMessage
    body: bytes = b""
    location: str = ""
    reason: str = ""


@subcommand(
    "convert",
    "segmill convert samples/adt/adt_a01_2.5.1.hl7 --to json",
    "segmill convert samples/results --to xml -o converted",
    "segmill convert samples/adt/adt_a01_2.5.1.hl7 --to json --names",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", "form", type=click.Choice(["hl7", "json", "xml"]), required=True, help="What to write.")
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write a file a message here."
)
@click.option("--names", is_flag=True, help="JSON with the names of the standard, to look at: it is not read back.")
@json_option("one object a message")
def command(files: tuple[str, ...], form: "Form", folder: Path | None, names: bool, as_json: bool) -> int:
    """Turn messages into JSON or XML, or back into HL7.

    What a file holds shows in its first character: HL7, JSON or XML, one message or many. FILE may be a folder; - is
    standard input. Without --output, documents go to standard output, one behind the other. JSON and back gives the
    same bytes; what XML does not say is in the documentation. Ends with 1 if a message cannot be converted.
    """
    if names and form != "json":
        raise misuse("--names goes with --to json")
    done = failed = 0
    written: set[Path] = set()
    bad_of: Counter[str] = Counter()
    for one in counted(converted(files, form, names=names), "messages", prints=folder is None or as_json):
        path = None
        if one.reason:
            failed += 1
            bad_of[one.file.file] += 1
        else:
            done += 1
            path = _write(one, files, form, folder, written) if folder is not None else None
        if as_json or bad_of[one.file.file] <= MOST_OF_A_FILE or not one.reason:
            _tell(one, form, path, as_json=as_json)
    for name, bad in bad_of.items():
        if bad > MOST_OF_A_FILE and not as_json:
            click.echo(printable(f"{name}: and {bad - MOST_OF_A_FILE:,} more that cannot be converted"), err=True)
    if not done and not failed:
        raise misuse(f"there is no message in {', '.join(files)}: of a folder, {', '.join(ALL_ENDINGS)} files are read")
    if folder is not None and done:
        say(f"wrote {count(done, 'file')} into {folder}")
    return FINDINGS if failed else 0


def converted(files: tuple[str, ...], form: "Form", *, names: bool) -> Iterator[Converted]:
    """The messages of files, of all files in folders, and of standard input, one at a time."""
    from engine.hl7.convert import ConversionError, convert, hl7_of
    from engine.hl7.convert.named import to_named_json
    from engine.hl7.errors import UnencodableText, UnreadableMessage
    from engine.hl7.message import Message

    for name, content in contents(files, ALL_ENDINGS):
        parts = parts_of(name, content)
        for number, part in enumerate(parts, 1):
            file = FileMessage(name, number, len(parts), part)
            try:
                message = Message.parse(hl7_of(part))
                yield Converted(file, to_named_json(message) if names else convert(message, form))
            except (ConversionError, UnencodableText) as exc:
                yield Converted(file, location=exc.location, reason=exc.reason)
            except UnreadableMessage as exc:
                yield Converted(file, reason=exc.reason)


def _write(one: Converted, files: tuple[str, ...], form: "Form", folder: Path, written: set[Path]) -> Path:
    """Into the folder, as deep as the file stood below the one that was named; never over another of this run."""
    source = Path("message" if one.file.file == STDIN_NAME else one.file.file)
    inside = (source.relative_to(name) for name in files if Path(name).is_dir() and source.is_relative_to(name))
    stem = folder / next(inside, Path(source.name))
    stem = stem.with_name(stem.stem if one.file.of == 1 else f"{stem.stem}-{one.file.number}")
    path = stem.with_name(f"{stem.name}.{form}")
    again = 1
    while path in written:
        again += 1
        path = stem.with_name(f"{stem.name}-{again}.{form}")
    written.add(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(one.body)
    return path


def _tell(one: Converted, form: "Form", path: Path | None, *, as_json: bool) -> None:
    if as_json:
        record: dict[str, Any] = {"file": one.file.file, "message": one.file.number, "to": form}
        if one.reason:
            record |= {"error": one.reason, "location": one.location}
        elif path is not None:
            record["output"] = str(path)
        else:
            record["body"] = one.body.decode("utf-8", "backslashreplace")
        emit(record)
    elif one.reason:
        where = f"{one.location}: " if one.location else ""
        click.echo(printable(f"{one.file.name}: {where}{one.reason}"), err=True)
    elif path is None:
        # For a person at a terminal, segments end as lines do; a pipe gets the bytes.
        shown = one.body.replace(b"\r", b"\n") if form == "hl7" and sys.stdout.isatty() else one.body
        click.echo(shown, nl=False)
