"""`segmill deidentify`: captured traffic without its patients."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import count, emit, say
from engine.cli.profile_files import traffic, traffic_options
from engine.cli.reading import note_reading
from engine.cli.sites import whereabouts

if TYPE_CHECKING:
    from engine.hl7.path import Path as Hl7Path


@subcommand(
    "deidentify",
    "segmill deidentify samples/adt --key secret.key --to cases-raw",
    "segmill deidentify --channel adt --since 1d --key secret.key --keep OBX-3 --drop NTE --to captured",
)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@traffic_options
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file with the secret; the same makes the same pseudonyms.",
)
@click.option(
    "--to", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder that gets the messages."
)
@click.option("--keep", multiple=True, metavar="FIELD", help="A field, or a segment, that stays as it is; repeatable.")
@click.option("--drop", multiple=True, metavar="FIELD", help="A field, or a segment, that goes; repeatable.")
@click.option(
    "--patient", default="PID-3.1", show_default=True, metavar="PATH", help="What a patient is known by, for the dates."
)
@json_option("what was written")
def command(
    files: tuple[str, ...],
    channel: str | None,
    since: str | None,
    site: Path | None,
    data: Path | None,
    key: Path,
    to: Path,
    keep: tuple[str, ...],
    drop: tuple[str, ...],
    patient: str,
    as_json: bool,
) -> int:
    """Write messages with pseudonyms in the place of what says who the patient is.

    Names, identifiers, addresses, telephone numbers and free text are replaced, the same by the same in all messages;
    all dates of a patient are off by the same weeks. What is not known to be harmless is masked, as all of a Z-segment.
    Without the secret nobody finds the way back: keep it from those who get the messages, or delete it. Look through
    what was written before you pass it on. Of stored messages it is put on record.
    """
    from engine.hl7.deidentify import Deidentifier

    kept, dropped = [_field("--keep", text) for text in keep], [_field("--drop", text) for text in drop]
    maker = Deidentifier(_secret(key), _path("--patient", patient), kept, dropped)
    if to.exists() and any(to.iterdir()):
        raise misuse(f"{to} is not empty; name a folder that is, or that is not there yet")
    if channel is not None:
        note_reading(whereabouts(site, data), [], f"deidentify --channel {channel}")
    to.mkdir(parents=True, exist_ok=True)
    written = 0
    for message in traffic(files, channel, since, site, data):
        made = maker.message(message)
        written += 1
        (to / f"{written:06}.hl7").write_bytes(made)
    if as_json:
        emit({"messages": written, "folder": str(to)})
    else:
        say(f"wrote {count(written, 'message')} to {to}; look through them before you pass them on")
    return 0


def _secret(path: Path) -> bytes:
    from engine.hl7.deidentify import SHORTEST_KEY

    try:
        key = path.read_bytes().strip()
    except OSError as exc:
        raise misuse(f"{path} cannot be read: {exc.strerror}; make one: openssl rand -hex 32 > {path}") from None
    if len(key) < SHORTEST_KEY:
        raise misuse(
            f"the secret in {path} has fewer than {SHORTEST_KEY} bytes; make one: openssl rand -hex 32 > {path}"
        )
    return key


def _path(option: str, text: str) -> "Hl7Path":
    from engine.hl7.errors import PathError
    from engine.hl7.path import compile_path

    try:
        return compile_path(text)
    except PathError as error:
        raise misuse(f"{option} {text}: {error}") from None


def _field(option: str, text: str) -> "Hl7Path":
    """A segment or a whole field: a part of one would say less than somebody may think."""
    path = _path(option, text)
    spec = path.spec
    if path.component is not None or spec.segment_selector is not None or spec.field_selector is not None:
        raise misuse(f"{option} {text}: name a whole field, such as OBX-3, or a segment")
    return path
