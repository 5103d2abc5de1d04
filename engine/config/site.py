"""A site's folder, read as a whole: segmill.yaml and every channel under channels/, with all findings at once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final, Generic

from engine.config.answer_checks import check_answers
from engine.config.audit import check_audit_options
from engine.config.base import Reading, nearest
from engine.config.channel import ChannelFile
from engine.config.checks import Texts, check_options, check_paths, check_routes, check_texts, read_tables
from engine.config.circles import check_circles, check_site_ports
from engine.config.console import check_console
from engine.config.encryption import check_encryption, say_what_is_lost
from engine.config.entries import check_name
from engine.config.files import CHANNEL_FILE, SUBSTITUTED_FILE, ChannelFiles, FolderFiles, ReadFiles, RecordedFiles
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.forms import check_forms
from engine.config.hand_offs import check_hand_offs
from engine.config.kinds import Kinds
from engine.config.lint import Neighbour, check_neighbours
from engine.config.never import check_never, check_overwritten
from engine.config.node import SourceDict, SourceList, position_of
from engine.config.profile_load import LoadedProfile, load_profile
from engine.config.reading import Model, to_data, validate
from engine.config.redirects import check_redirects
from engine.config.search_keys import DeclaredKeys
from engine.config.settings import SiteSettings
from engine.config.source import decode, load_yaml
from engine.config.status_back import check_status, without_needless
from engine.config.substitute import Origin, Substitution
from engine.config.table import Table
from engine.config.table_checks import check_times, check_ways_back
from engine.config.traces import check_traces
from engine.config.types import ProfileText
from engine.config.value_file import read_value
from engine.config.worklist import WorklistOptions, check_shortenings, check_stations
from engine.model.ids import ChannelName

SITE_FILE: Final = "segmill.yaml"
CHANNELS: Final = "channels"


@dataclass(slots=True, frozen=True)
class LoadedChannel:
    """A channel without errors.

    `files`: everything that makes its version, by path in its folder; secrets are in it as hashes only.
    `tables`: code tables by the path an expression or a step writes; `profiles` likewise. `positions`: where each
    value stands, by its keys and indexes (`("listen", "mllp", "port")`). `substituted`: what each `${...}` was
    replaced by, secrets too: never shown, never stored. `origins`: the same for people. `texts`: those with a meaning,
    each with the segment in focus there.
    """

    name: ChannelName
    file: ChannelFile
    folder: Path
    files: Mapping[str, bytes]
    tables: Mapping[str, Table]
    positions: Mapping[tuple[str | int, ...], Position]
    substituted: Mapping[str, str] = field(repr=False)
    origins: tuple[Origin, ...] = ()
    profiles: Mapping[str, LoadedProfile] = field(default_factory=dict)
    texts: Texts = ()

    @property
    def shown(self) -> str:
        """How people call its file."""
        return f"{CHANNELS}/{self.name}/{CHANNEL_FILE}"


@dataclass(slots=True, frozen=True)
class LoadedSite:
    """A site as its files say. `site` is None where segmill.yaml has errors; `channels` holds those without any.

    Channels are in order of name: the order in which channels that share a port are asked for a message.
    """

    folder: Path
    site: SiteSettings | None
    channels: list[LoadedChannel]
    findings: list[ConfigFinding]
    origins: tuple[Origin, ...] = ()

    @property
    def keys(self) -> DeclaredKeys:
        """What messages are looked up by; by the defaults where segmill.yaml has errors."""
        said = self.site.search_keys if self.site is not None else {}
        return DeclaredKeys(
            said, {one.name: (one.file.search_keys, one.file.charset.fallback) for one in self.channels}
        )

    @property
    def is_valid(self) -> bool:
        """Whether the engine can run it: no errors, and at least one channel."""
        return self.site is not None and not any(finding.is_error for finding in self.findings)


def load_site(folder: Path, kinds: Kinds, env: Mapping[str, str]) -> LoadedSite:
    """Read and check everything in a site's folder; segmill.yaml may be missing. Never raises for its content."""
    folder = Path(folder).resolve()
    findings: list[ConfigFinding] = []
    origins: list[Origin] = []
    places: dict[tuple[str | int, ...], Position] = {}
    settings = _load_settings(folder, kinds, env, findings, origins, places)
    channels: list[LoadedChannel] = []
    for place in _channel_folders(folder, findings):
        channel, found = load_channel(place.name, FolderFiles(folder, place), kinds, env, site=folder)
        findings += found
        if channel is not None:
            channels.append(channel)
            origins += channel.origins
    # A channel that cannot be read may feed what nobody else does.
    fed = None if any(finding.is_error for finding in findings) else _worklists(channels)
    if settings is not None and settings.hand_offs:
        findings += check_hand_offs(settings.hand_offs, fed, places, folder)
    if settings is not None and settings.dicom is not None and fed is not None:
        findings += _unfed(settings.dicom.worklist, fed, places)
    if settings is not None and settings.time_zone is None:
        findings += [finding for channel in channels for finding in _hours_without_zone(channel)]
    neighbours = [Neighbour(c.name, c.file, c.positions, c.shown) for c in channels]
    findings += check_neighbours(neighbours)
    findings += check_circles(neighbours)
    if settings is not None:
        findings += check_site_ports(settings, neighbours, places)
    if settings is not None and settings.dicom is not None and (status := settings.dicom.status) is not None:
        named = [place.name for place in _channel_folders(folder, [])]
        findings += check_status(status, settings.dicom.worklist, {c.name: c.file for c in channels}, named)
        findings = without_needless(findings, status, f"{CHANNELS}/{status.to.channel}/{CHANNEL_FILE}")
    return LoadedSite(folder, settings, channels, sorted(findings, key=lambda f: f.sort_key), tuple(origins))


def _worklists(channels: Sequence[LoadedChannel]) -> list[str]:
    """The names of those that channels feed."""
    options = (one.options for channel in channels for one in channel.file.destinations.values())
    return sorted({one.name for one in options if isinstance(one, WorklistOptions)})


def _unfed(asked: str, fed: Sequence[str], places: Mapping[tuple[str | int, ...], Position]) -> Iterator[ConfigFinding]:
    """Where scanners ask for one worklist, and channels feed others alone: every list would be empty."""
    if fed and asked not in fed:
        place = places.get(("dicom", "worklist")) or places.get(("dicom",)) or Position(SITE_FILE, 1, 1)
        message = f"no channel feeds the worklist '{asked}' that scanners ask for"
        yield at(place, "W443", message, f"fed are: {', '.join(fed)}")


def _hours_without_zone(channel: LoadedChannel) -> list[ConfigFinding]:
    """Hours that are read in UTC because nobody says otherwise, which few people mean."""
    findings = []
    for name, destination in channel.file.destinations.items():
        hours = destination.policy.open
        if hours is not None and hours.zone is None:
            place = hours.hours[0].position() or Position(channel.shown, 1, 1)
            hint = "write time_zone: Europe/Berlin, or whichever is yours, in segmill.yaml; UTC where that is meant"
            findings.append(at(place, "W183", f"the hours of '{name}' are in UTC: no time zone is given", hint))
    return findings


def load_channel(
    name: str,
    origin: ChannelFiles,
    kinds: Kinds,
    env: Mapping[str, str],
    *,
    site: Path,
    recorded: Mapping[str, str] | None = None,
) -> tuple[LoadedChannel | None, list[ConfigFinding]]:
    """One channel and everything that is wrong in it; None where there is an error.

    `recorded` replaces environment and files for `${...}`: what a recorded version was made with.
    """
    files = ReadFiles(origin)
    folder_shown = f"{CHANNELS}/{name}"
    shown = f"{folder_shown}/{CHANNEL_FILE}"
    try:
        raw = files.read(CHANNEL_FILE)
    except OSError as exc:
        return None, [ConfigFinding("E100", shown, 0, 0, 0, f"cannot be read: {exc.strerror}")]
    substitution = Substitution(env, lambda path: read_value(site / path), recorded=recorded)
    read = _read_model(raw, shown, ChannelFile, kinds, substitution)
    findings = read.findings + _check_channel_name(name, folder_shown)
    tables, found = read_tables(read.texts, files, folder_shown)
    findings += found + check_texts(read.texts, tables, files, folder_shown)
    profiles, found = _read_profiles(read.texts, files, folder_shown)
    findings += [finding for finding in found if finding not in findings]
    if isinstance(read.data, SourceDict):
        findings += check_routes(read.data, read.texts)
    places = positions(read.data)
    if read.model is not None:
        findings += check_options(read.model, places)
        for destination in read.model.destinations.values():
            if isinstance(destination.options, WorklistOptions):
                findings += check_stations(destination.options, tables, folder_shown)
                findings += check_shortenings(destination.options, tables, folder_shown)
        findings += check_ways_back(read.model, read.texts, tables, folder_shown)
        findings += check_times(read.texts, tables, places)
        findings += check_forms(read.model, kinds)
        findings += check_redirects(read.model, kinds)
        findings += check_answers(read.model, places, shown)
        findings += check_never(read.model, tables, shown)
        findings += check_overwritten(read.model)
    if read.model is None or any(finding.is_error for finding in findings):
        return None, findings
    for path in files.paths():
        if path.endswith(".py"):
            files.read(path)
    channel = LoadedChannel(
        ChannelName(name),
        read.model,
        site / CHANNELS / name,
        _version_files(files.seen, substitution),
        tables,
        places,
        dict(substitution.used),
        tuple(substitution.origins),
        profiles,
        tuple(read.texts),
    )
    return channel, findings


def load_version(
    name: str, files: Mapping[str, bytes], kinds: Kinds, substituted: Mapping[str, str] | None = None
) -> tuple[LoadedChannel | None, list[ConfigFinding]]:
    """A channel from the files of a recorded version, without its folder.

    `substituted` is LoadedChannel's; without it what was recorded is taken, where a secret is only a hash.
    Certificates and the like are no part of a version and are not looked for.
    """
    recorded = dict(substituted or {})
    if substituted is None and SUBSTITUTED_FILE in files:
        recorded = json.loads(files[SUBSTITUTED_FILE])
    return load_channel(name, RecordedFiles(files), kinds, {}, site=Path(), recorded=recorded)


def positions(data: object) -> dict[tuple[str | int, ...], Position]:
    """Where every value of a file stands, by keys and indexes."""
    found: dict[tuple[str | int, ...], Position] = {}

    def visit(here: object, path: tuple[str | int, ...]) -> None:
        if (place := position_of(here)) is not None:
            found[path] = place
        if isinstance(here, SourceDict):
            for key, value in here.items():
                visit(value, (*path, str(key)))
        elif isinstance(here, SourceList):
            for index, item in enumerate(here):
                visit(item, (*path, index))

    visit(data, ())
    return found


@dataclass(slots=True, frozen=True)
class _Read(Generic[Model]):
    """What came of a file. `model` is None where there is an error; `data` where nothing could be read."""

    model: Model | None
    data: object
    findings: list[ConfigFinding]
    texts: Texts = ()


def _read_model(raw: bytes, shown: str, model: type[Model], kinds: Kinds, substitution: Substitution) -> _Read[Model]:
    text, findings = decode(raw, shown)
    if findings:
        return _Read(None, None, findings)
    node, findings = load_yaml(text, shown)
    if node is None:
        return _Read(None, None, findings)
    reading = Reading(shown, kinds)
    data = to_data(node, substitution)
    made = validate(data, model, reading)
    findings = findings + substitution.findings + reading.findings
    return _Read(None if any(f.is_error for f in findings) else made, data, findings, reading.texts)


def _load_settings(
    folder: Path,
    kinds: Kinds,
    env: Mapping[str, str],
    findings: list[ConfigFinding],
    origins: list[Origin],
    places: dict[tuple[str | int, ...], Position],
) -> SiteSettings | None:
    try:
        raw = (folder / SITE_FILE).read_bytes()
    except FileNotFoundError:
        return SiteSettings()
    except OSError as exc:
        findings.append(ConfigFinding("E100", SITE_FILE, 0, 0, 0, f"cannot be read: {exc.strerror}"))
        return None
    substitution = Substitution(env, lambda path: read_value(folder / path))
    if raw.strip() and all(line.lstrip().startswith(b"#") or not line.strip() for line in raw.splitlines()):
        return SiteSettings()  # comments only: as without the file; one without a byte may have lost its settings
    read = _read_model(raw, SITE_FILE, SiteSettings, kinds, substitution)
    findings += read.findings + check_paths(read.texts)
    origins += substitution.origins
    places.update(positions(read.data))
    findings[:] = say_what_is_lost(findings, places, folder)
    if read.model is not None and read.model.admin is not None and not read.model.admin.is_loopback:
        place = places[("admin", "host")]
        hint = "they name channels and counts, no patient data; let a firewall decide who reaches them"
        findings.append(at(place, "W149", "metrics are open to other machines", hint))
    if read.model is not None and (encryption := read.model.encryption) is not None:
        in_memory = read.model.store_kind == "memory"
        findings += check_encryption(encryption, places, substitution.origins, folder, in_memory=in_memory)
    if read.model is not None and read.model.console is not None:
        findings += check_console(read.model.console, places, folder)
    if read.model is not None and read.model.audit is not None:
        findings += check_audit_options(read.model.audit, places, folder)
    if read.model is not None and read.model.traces is not None:
        findings += check_traces(read.model.traces, places, folder)
    return read.model


def _channel_folders(folder: Path, findings: list[ConfigFinding]) -> list[Path]:
    """Folders that hold a channel, in order of name."""
    root = folder / CHANNELS
    if not root.is_dir():
        message = "there is no folder 'channels' here" if folder.is_dir() else "there is no such folder"
        findings.append(ConfigFinding("E100", str(folder), 0, 0, 0, message, "start a site: segmill init my-site"))
        return []
    try:
        places = sorted(root.iterdir())
    except OSError as exc:
        findings.append(_unreadable(CHANNELS, exc))
        return []
    found: list[Path] = []
    for place in places:
        if place.name.startswith((".", "_")):
            continue
        if unusable := _unusable(place):
            findings.append(unusable)
        elif place.is_dir() and (place / CHANNEL_FILE).is_file():
            found.append(place)
        elif place.is_dir():
            try:
                close = nearest(CHANNEL_FILE, [path.name for path in place.iterdir() if path.is_file()])
            except OSError as exc:
                findings.append(_unreadable(f"{CHANNELS}/{place.name}", exc))
                continue
            hint = f"rename {close} to {CHANNEL_FILE}" if close else "add it, or move the folder out of channels/"
            message = f"the folder has no {CHANNEL_FILE}, so it is no channel"
            findings.append(ConfigFinding("W148", f"{CHANNELS}/{place.name}", 0, 0, 0, message, hint))
    if not found and not findings:
        findings.append(ConfigFinding("E100", CHANNELS, 0, 0, 0, "there is no channel in it", "segmill init shows one"))
    return found


def _unusable(place: Path) -> ConfigFinding | None:
    """What keeps a channel that is there from being read. Passed over, it would stop with the next reload."""
    shown = f"{CHANNELS}/{place.name}"
    if place.is_symlink() and not place.exists():
        hint = "mend the link, or remove it"
        return ConfigFinding("E100", shown, 0, 0, 0, "cannot be read: the link leads nowhere", hint)
    file = place / CHANNEL_FILE
    try:
        kind = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not file.is_symlink():
            return None
        why = "the link leads nowhere"
    except OSError as exc:
        why = exc.strerror or "the system refuses it"
    else:
        if S_ISREG(kind):
            return None
        why = "it is a folder" if S_ISDIR(kind) else "it is no file"
    return ConfigFinding("E100", f"{shown}/{CHANNEL_FILE}", 0, 0, 0, f"cannot be read: {why}")


def _unreadable(shown: str, error: OSError) -> ConfigFinding:
    why = error.strerror or "the system refuses it"
    return ConfigFinding(
        "E100", shown, 0, 0, 0, f"cannot be read: {why}", "its folder needs the rights to read and enter it"
    )


def _check_channel_name(name: str, shown: str) -> list[ConfigFinding]:
    try:
        check_name(name)
    except BadValue as exc:
        return [ConfigFinding("E146", shown, 0, 0, 0, f"'{name}' {exc.message}", exc.hint)]
    return []


def _read_profiles(
    texts: Texts, files: ChannelFiles, shown: str
) -> tuple[dict[str, LoadedProfile], list[ConfigFinding]]:
    """The profiles that a channel names, by the path it writes, and everything that is wrong in them."""
    profiles: dict[str, LoadedProfile] = {}
    findings: list[ConfigFinding] = []
    for text, _ in texts:
        if not isinstance(text, ProfileText) or text.is_standard or text in profiles:
            continue
        loaded, found = load_profile(str(text), files, shown=shown, named=text.position())
        findings += [finding for finding in found if finding not in findings]
        if loaded is not None:
            profiles[str(text)] = loaded
    return profiles, findings


def _version_files(seen: Mapping[str, bytes], substitution: Substitution) -> dict[str, bytes]:
    """The files that were read, and what `${...}` stood for, so that another environment is another version."""
    files = dict(seen)
    if substitution.used:
        shown = {
            origin.reference: substitution.used[origin.reference]
            if origin.value is not None
            else "secret:" + blake2b(substitution.used[origin.reference].encode(), digest_size=16).hexdigest()
            for origin in substitution.origins
        }
        files[SUBSTITUTED_FILE] = json.dumps(shown, indent=1, sort_keys=True).encode()
    return files
