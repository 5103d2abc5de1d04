"""`segmill import-mirth`: channels of Mirth Connect and the Open Integration Engine as channel folders."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import CANNOT_WRITE, FINDINGS, Failure
from engine.cli.output import count, emit, printable, say, styled
from engine.cli.sites import CHANNEL_FILE, CHANNELS, SITE_FILE, find_site, is_site, read_site

if TYPE_CHECKING:
    from engine.config.finding import ConfigFinding
    from engine.config.mirth.channel import Imported, Written
    from engine.config.mirth.export import Export
    from engine.config.mirth.report import Item
    from engine.config.site import LoadedSite

CASE: Final = "sample"
_SAMPLES: Final = ("adt", "orders", "results", "scheduling")
_MARKS: Final = {"carried": "carried over", "differs": "differs", "todo": "to do", "fill-in": "fill in"}
_COLOURS: Final = {"carried": "green", "differs": "cyan", "todo": "yellow", "fill-in": "red"}


@subcommand(
    "import-mirth",
    "segmill import-mirth samples/mirth/adt_feed.xml --into imported",
    "segmill import-mirth samples/mirth/server_backup.xml --into imported --dry-run",
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--into",
    "site",
    metavar="SITE",
    type=click.Path(path_type=Path, file_okay=False),
    help="The site that gets the channels, which is made where there is none; else the current one.",
)
@click.option("--channel", "wanted", multiple=True, metavar="CHANNEL", help="Only this channel, by its name in Mirth.")
@click.option("--dry-run", is_flag=True, help="Tell what would become of it, and write nothing.")
@json_option("the channels, and what became of each thing in the export")
def command(file: Path, site: Path | None, wanted: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Turn channels of a Mirth Connect export into channel folders, and say what is left to do.

    FILE is what Mirth Connect 3.x and 4.x and the Open Integration Engine export: a channel, a group with its
    channels, or the backup of a whole server. Sources, destinations, filters, transformers, response and queue
    settings become channel.yaml; what no step can say, such as most JavaScript, stands there as a comment that begins
    with "to do:". Each channel gets a sample case. Nothing is overwritten, and no password is copied.
    """
    from engine.config.mirth.channel import imported

    folder = site if site is not None else find_site(None)
    loaded = read_site(folder) if is_site(folder) else None
    export = _read(file, wanted)
    made = imported(export, ports=_ports(loaded))
    checked: list[Checked] = []
    if not dry_run and made.channels:
        _refuse_to_overwrite(folder, made)
        _write(folder, made, has_site=loaded is not None)
        checked = _checked(folder, made)
    if as_json:
        emit(_as_json(folder, made, checked, written=not dry_run))
    else:
        _print(made.items)
        _tell(folder, made, checked, dry_run=dry_run)
    return 0 if made.channels else FINDINGS


@dataclass(slots=True, frozen=True)
class Checked:
    """What `segmill check` says of one written channel, and the state its sample case comes to; '' if it cannot run."""

    name: str
    findings: "tuple[ConfigFinding, ...]"
    state: str

    @property
    def errors(self) -> int:
        return sum(finding.is_error for finding in self.findings)


def _read(file: Path, wanted: Sequence[str]) -> "Export":
    """The export, or of it the channels that are wanted. Raises Failure 1 for a file that is none."""
    from dataclasses import replace

    from engine.config.mirth.export import MAX_BYTES, ExportError, read_export

    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            raise ExportError(f"the file has {size:,} bytes; {MAX_BYTES:,} are read at most")
        export = read_export(file.read_bytes())
    except ExportError as error:
        hint = "Export the channel again in Mirth: Channels, Export Channel. Nothing was written."
        raise Failure(FINDINGS, f"{file}: {error}", hint) from None
    if not wanted:
        return export
    there = {channel.name for channel in export.channels}
    for name in wanted:
        if name not in there:
            raise misuse(f"no channel '{name}' in {file}; there is {', '.join(sorted(map(printable, there)))}")
    return replace(export, channels=tuple(one for one in export.channels if one.name in wanted))


def _ports(loaded: "LoadedSite | None") -> set[int]:
    ports = set()
    for channel in loaded.channels if loaded is not None else ():
        port = getattr(channel.file.listen.options, "port", 0)
        if isinstance(port, int):
            ports.add(port)
    return ports


def _refuse_to_overwrite(folder: Path, made: "Imported") -> None:
    there = [one.name for one in made.channels if (folder / CHANNELS / one.name).exists()]
    if there:
        places = ", ".join(str(folder / CHANNELS / name) for name in there)
        hint = "Import into another site, move these folders away, or name the channels that you want: --channel NAME"
        raise Failure(CANNOT_WRITE, f"{places}: there already, and nothing is overwritten", hint)


def _write(folder: Path, made: "Imported", *, has_site: bool) -> None:
    """Raises Failure 73 where the folder cannot be written."""
    from engine.cli.init import make_site

    files: dict[Path, bytes] = {}
    for one in made.channels:
        of_channel = folder / CHANNELS / one.name
        files[of_channel / CHANNEL_FILE] = one.text.encode("utf-8")
        files[of_channel / "cases" / CASE / "in.hl7"] = _sample(one)
    try:
        if not has_site:
            if (folder / SITE_FILE).exists():
                raise Failure(CANNOT_WRITE, f"{folder / SITE_FILE} is there already")
            make_site(folder, [], environment="test", admin_port=9464)
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise Failure(CANNOT_WRITE, f"{folder} cannot be written: {error.strerror}") from None


def _sample(channel: "Written") -> bytes:
    """A synthetic message that the channel's conditions are true of, as far as one can be made."""
    from engine.cli.shipped import shipped
    from engine.hl7.errors import Hl7Error
    from engine.hl7.message import Message

    wishes = {wish.path: wish.text for wish in channel.wishes if not wish.is_any}
    code, event = wishes.get("MSH-9.1", "ADT"), wishes.get("MSH-9.2", "")
    samples = [path for kind in _SAMPLES for path in sorted((shipped("samples") / kind).glob("*.hl7"))]
    of_type = [path for path in samples if path.name.startswith(f"{code}_".lower())]
    fitting = [path for path in of_type if path.name.startswith(f"{code}_{event}".lower())] or of_type or samples
    chosen = next((path for path in fitting if path.stem.endswith("2.5.1")), fitting[0])
    message = Message.parse(chosen.read_bytes())
    for wish in channel.wishes:
        try:
            if not (wish.is_any and message.get(wish.path)):
                message.set(wish.path, wish.text)
        except Hl7Error:
            continue  # a place that cannot be made; the case then shows what becomes of a message without it
    return message.to_bytes()


def _checked(folder: Path, made: "Imported") -> list[Checked]:
    """The written channels as `segmill check` and `segmill test` see them; what cases come to is written."""
    from engine.cli.case_bench import Bench
    from engine.cli.own_code import deadline_of

    loaded = read_site(folder)
    there = {str(channel.name): channel for channel in loaded.channels}
    checked = []
    for one in made.channels:
        place = f"{CHANNELS}/{one.name}/"
        findings = tuple(finding for finding in loaded.findings if finding.file.startswith(place))
        state = ""
        if (channel := there.get(one.name)) is not None:
            bench = Bench.of(channel, folder, deadline_of(loaded), with_coverage=False)
            of_case = channel.folder / "cases" / CASE
            outcome = bench.check({"in.hl7": (of_case / "in.hl7").read_bytes()})
            for name, content in outcome.files.items():
                (of_case / name).write_bytes(content)
            state = ", ".join(outcome.states)
        checked.append(Checked(one.name, findings, state))
    return checked


# -- what is told


def _print(items: "Sequence[Item]") -> None:
    channel: str | None = None
    for item in items:
        if item.channel != channel:
            channel = item.channel
            click.echo(styled(printable(channel) if channel else "beside the channels", bold=True))
        mark = styled(f"{_MARKS[item.fate]:<12}", fg=_COLOURS[item.fate])
        click.echo(f"  {mark} line {item.line:<6} {printable(item.what)}: {printable(item.text)}")


def _tell(folder: Path, made: "Imported", checked: list[Checked], *, dry_run: bool) -> None:
    from engine.cli.findings import show

    numbers = ", ".join(f"{sum(item.fate == fate for item in made.items)} {mark}" for fate, mark in _MARKS.items())
    say(numbers)
    if not made.channels:
        say("no channel could be written")
        return
    if dry_run:
        names = ", ".join(f"{CHANNELS}/{one.name}" for one in made.channels)
        say(f"would write {names} into {folder}; nothing was written")
        return
    for one in checked:
        if one.errors:
            show([finding for finding in one.findings if finding.is_error], folder)
    for one in checked:
        state = (
            f"can run; its sample is {one.state}" if one.state else f"{count(one.errors, 'error')} before it can run"
        )
        say(f"wrote {folder / CHANNELS / one.name}: {state}")
    say(f'next: grep -rn "to do:" {folder / CHANNELS}; segmill check {folder}; segmill test {folder}')


def _as_json(folder: Path, made: "Imported", checked: list[Checked], *, written: bool) -> dict[str, object]:
    from engine.config.render import as_json as finding_as_json

    by_name = {one.name: one for one in checked}
    channels = []
    for one in made.channels:
        entry: dict[str, object] = {"name": one.name, "mirth": one.mirth}
        if (check := by_name.get(one.name)) is not None:
            entry |= {
                "errors": check.errors,
                "sample": check.state,
                "findings": [finding_as_json(finding) for finding in check.findings],
            }
        channels.append(entry)
    return {
        "schema": 1,
        "site": str(folder),
        "written": written and bool(made.channels),
        "channels": channels,
        "items": [asdict(item) for item in made.items],
    }
