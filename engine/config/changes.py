"""What a change of a site's files changes in what runs: told by `segmill plan`, and carried out by a reload.

A channel counts as changed when anything of its version differs (its file, tables, profiles, own code, what `${...}`
stood for), or what the files that its ports and destinations name outside of it hold: certificates and keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.config.base import ConfigModel
from engine.config.channel import ChannelFile
from engine.config.entries import Destination, StepEntry
from engine.config.files import CHANNEL_FILE, SUBSTITUTED_FILE
from engine.config.settings import SiteSettings
from engine.config.site import LoadedChannel, LoadedSite
from engine.config.types import FileText
from engine.config.units import as_written
from engine.model.ids import ChannelName

LISTEN: Final = "listen"
DICOM: Final = (ChannelName(""), "dicom")
"""What stands for the site's DICOM port among the parts that name files."""
HAND_OFFS: Final = ChannelName("hand_offs:")
"""What stands for the site's hand-offs among the parts that name files; no channel has a colon in its name."""
NOT_LIVE: Final = ("data", "store", "encryption", "admin", "console", "audit", "traces")
"""Settings of the site that are read once, at the start."""
SHOWN: Final = (str, int, float, bool, type(None))
MOST_SHOWN: Final = 60

ListenChange = Literal["none", "certificates", "settings", "place"]


@dataclass(slots=True, frozen=True)
class SiteState:
    """A site as it was read at one time. `outside`: digests of the files that a part of a channel names, by part."""

    site: LoadedSite
    outside: Mapping[tuple[ChannelName, str], bytes]

    @property
    def settings(self) -> SiteSettings:
        """segmill.yaml."""
        assert self.site.site is not None, "a state is of a site without errors"
        return self.site.site


@dataclass(slots=True, frozen=True)
class DestinationChange:
    """One destination that comes, goes, or is another one from now on; `what`: the settings, `key: before -> after`."""

    name: str
    kind: Literal["added", "removed", "changed"]
    what: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class ChannelChange:
    """One channel that comes, goes, or works by other files from now on. `what`: which parts differ."""

    name: ChannelName
    kind: Literal["added", "removed", "changed"]
    what: tuple[str, ...] = ()
    listen: ListenChange = "none"
    destinations: tuple[DestinationChange, ...] = ()


@dataclass(slots=True, frozen=True)
class SiteChange:
    """Everything that differs. `settings`: of segmill.yaml, taken up at once; `not_live`: only by a new start."""

    channels: tuple[ChannelChange, ...] = ()
    settings: tuple[str, ...] = ()
    not_live: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be taken up."""
        return not (self.channels or self.settings)


def read_state(site: LoadedSite) -> SiteState:
    """A site without errors, with what its channels name outside of their versions. Reads those files."""
    outside: dict[tuple[ChannelName, str], bytes] = {}
    for channel in site.channels:
        outside[channel.name, LISTEN] = _digest(channel.file.listen.options, channel.folder)
        for name, destination in channel.file.destinations.items():
            outside[channel.name, name] = _digest(destination.options, channel.folder)
        if channel.file.ack.connect_back is not None:
            outside[channel.name, "ack"] = _digest(channel.file.ack.connect_back.options, channel.folder)
    if site.site is not None:
        for name, options in site.site.hand_offs.items():
            outside[HAND_OFFS, name] = _digest(options, site.folder)
    if site.site is not None and site.site.dicom is not None:
        outside[DICOM] = _digest(site.site.dicom, site.folder)
    return SiteState(site, outside)


def compare(before: SiteState, after: SiteState) -> SiteChange:
    """What has to be done so that what runs by `before` runs by `after`."""
    known = {channel.name: channel for channel in before.site.channels}
    wanted = {channel.name: channel for channel in after.site.channels}
    settings = differences(before.settings, after.settings)
    if before.settings.dicom == after.settings.dicom and is_other_dicom(before, after):
        settings.append("dicom.tls: certificates")
    if before.settings.hand_offs == after.settings.hand_offs and other_hand_offs(before, after):
        settings.append("hand_offs: certificates")
    workers = any(text.startswith("workers.") for text in settings)
    zone = any(text.startswith("time_zone") for text in settings)
    channels: list[ChannelChange] = []
    for name in sorted(known.keys() | wanted.keys()):
        if name not in wanted:
            channels.append(_removed(known[name]))
        elif name not in known:
            channels.append(_added(wanted[name]))
        elif (change := _changed(known[name], wanted[name], before, after, workers=workers, zone=zone)) is not None:
            channels.append(change)
    return SiteChange(
        tuple(channels),
        tuple(text for text in settings if text.partition(":")[0].partition(".")[0] not in NOT_LIVE),
        needs_restart(before.settings, after.settings),
    )


def other_hand_offs(before: SiteState, after: SiteState) -> frozenset[str]:
    """Which hand-offs come, go or are others: their settings, or what their certificates and keys hold."""
    old, new = before.settings.hand_offs, after.settings.hand_offs
    return frozenset(
        name
        for name in old.keys() | new.keys()
        if old.get(name) != new.get(name)
        or before.outside.get((HAND_OFFS, name)) != after.outside.get((HAND_OFFS, name))
    )


def is_other_dicom(before: SiteState, after: SiteState) -> bool:
    """Whether the DICOM port is to be another one: its settings, or what its certificates and keys hold."""
    return before.settings.dicom != after.settings.dicom or before.outside.get(DICOM) != after.outside.get(DICOM)


def needs_restart(before: SiteSettings, after: SiteSettings) -> tuple[str, ...]:
    """What differs and is only taken up by a new start."""
    found = differences(before, after)
    return tuple(text for text in found if text.partition(":")[0].partition(".")[0] in NOT_LIVE)


def listen_change(before: LoadedChannel, after: LoadedChannel, *, same_files: bool) -> ListenChange:
    """What a channel's way in comes to. `same_files`: whether its certificates and keys hold what they did."""
    old, new = before.file.listen, after.file.listen
    if old.source != new.source or old.options.place != new.options.place:
        return "place"
    if getattr(old.options, "host", None) != getattr(new.options, "host", None):
        return "place"
    if type(old.options) is not type(new.options) or _port_settings(old.options) != _port_settings(new.options):
        return "settings"
    return "none" if same_files else "certificates"


def is_same_destination(before: Destination, after: Destination) -> bool:
    """Whether the lane of one may go on as that of the other; where it stands in its file does not matter."""
    return (before.sink, before.options, before.policy) == (after.sink, after.options, after.policy)


def _port_settings(options: ConfigModel) -> Mapping[str, object]:
    # `unreadable` is asked for at each message.
    return {name: getattr(options, name) for name in type(options).model_fields if name != "unreadable"}


def _added(channel: LoadedChannel) -> ChannelChange:
    destinations = tuple(DestinationChange(name, "added") for name in channel.file.destinations)
    return ChannelChange(channel.name, "added", (), "place", destinations)


def _removed(channel: LoadedChannel) -> ChannelChange:
    destinations = tuple(DestinationChange(name, "removed") for name in channel.file.destinations)
    return ChannelChange(channel.name, "removed", (), "place", destinations)


def _changed(
    old: LoadedChannel, new: LoadedChannel, before: SiteState, after: SiteState, *, workers: bool, zone: bool
) -> ChannelChange | None:
    def same_files(part: str) -> bool:
        return before.outside.get((old.name, part)) == after.outside.get((new.name, part))

    listen = listen_change(old, new, same_files=same_files(LISTEN))
    secrets = _secrets(old) | _secrets(new)
    destinations: list[DestinationChange] = []
    was, now = old.file.destinations, new.file.destinations
    for name in (*was, *(name for name in now if name not in was)):
        if name not in now:
            destinations.append(DestinationChange(name, "removed"))
        elif name not in was:
            destinations.append(DestinationChange(name, "added"))
        elif not is_same_destination(was[name], now[name]) or not same_files(name):
            told = _destination_differences(was[name], now[name], secrets) or ("certificates",)
            destinations.append(DestinationChange(name, "changed", told))
        elif zone and now[name].policy.open is not None:
            destinations.append(DestinationChange(name, "changed", ("time_zone (segmill.yaml)",)))
    what = list(_parts(old, new))
    if not same_files("ack"):
        what.append("ack.connect_back: certificates")
    if workers and (new.file.isolate is not None or any(path.endswith(".py") for path in new.files)):
        what.append("workers (segmill.yaml)")
    if old.files == new.files and listen == "none" and not destinations and not what:
        return None
    return ChannelChange(new.name, "changed", tuple(what), listen, tuple(destinations))


def _parts(old: LoadedChannel, new: LoadedChannel) -> Iterator[str]:
    """Which parts of a channel's file differ, and which of its other files."""
    for key, info in ChannelFile.model_fields.items():
        if key not in ("destinations", "listen") and _differs(getattr(old.file, key), getattr(new.file, key)):
            yield info.alias or key
    for path in sorted(old.files.keys() | new.files.keys()):
        if path not in (CHANNEL_FILE, SUBSTITUTED_FILE) and old.files.get(path) != new.files.get(path):
            yield path


def _differs(old: object, new: object) -> bool:
    if isinstance(old, tuple) and isinstance(new, tuple) and any(isinstance(one, StepEntry) for one in (*old, *new)):
        return [_step(one) for one in old] != [_step(one) for one in new]
    return bool(old != new)


def _step(entry: StepEntry) -> tuple[object, ...]:
    """A step without the place where it stands."""
    return entry.kind, entry.options, entry.when, entry.name


def _destination_differences(old: Destination, new: Destination, secrets: frozenset[str]) -> tuple[str, ...]:
    if old.sink != new.sink:
        return (f"{old.sink} -> {new.sink}",)
    options = [f"{old.sink}.{text}" for text in differences(old.options, new.options, secrets)]
    return (*options, *differences(old.policy, new.policy, secrets))


def differences(old: BaseModel, new: BaseModel, secrets: frozenset[str] = frozenset()) -> list[str]:
    """`key: before -> after` for each setting that differs; where it holds one of `secrets`, or is long, the key.

    The key as well for a field that is a password whoever writes it (`repr=False`).
    """
    if type(old) is not type(new):
        return ["all of it"]
    found: list[str] = []
    for name, info in type(old).model_fields.items():
        key = info.alias or name
        a, b = getattr(old, name), getattr(new, name)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += [f"{key}.{text}" for text in _entries(a, b, secrets)]
        elif isinstance(a, BaseModel) and isinstance(b, BaseModel):
            found += [f"{key}.{text}" for text in differences(a, b, secrets)]
        elif (
            info.repr
            and isinstance(a, SHOWN)
            and isinstance(b, SHOWN)
            and _may_show(a, secrets)
            and _may_show(b, secrets)
        ):
            found.append(f"{key}: {_shown(a, info)} -> {_shown(b, info)}")
        else:
            found.append(key)
    return found


def _entries(old: Mapping[str, object], new: Mapping[str, object], secrets: frozenset[str]) -> Iterator[str]:
    """Of a mapping: the entries that came, went, or are others, such as the settings of one scanner."""
    for key in dict.fromkeys((*old, *new)):
        a, b = old.get(key), new.get(key)
        if key not in new or key not in old:
            yield f"{key}: {'added' if key not in old else 'removed'}"
        elif isinstance(a, BaseModel) and isinstance(b, BaseModel):
            yield from (f"{key}.{text}" for text in differences(a, b, secrets))
        elif a != b:
            yield key


def _may_show(value: object, secrets: frozenset[str]) -> bool:
    text = str(value)
    return len(text) <= MOST_SHOWN and "\n" not in text and not any(secret in text for secret in secrets)


def _shown(value: object, info: FieldInfo) -> str:
    return "nothing" if value is None or value == "" else as_written(value, info.annotation, info.metadata)


def _secrets(channel: LoadedChannel) -> frozenset[str]:
    hidden = (channel.substituted[origin.reference] for origin in channel.origins if origin.value is None)
    return frozenset(value for value in hidden if value)


def _digest(options: BaseModel, folder: Path) -> bytes:
    """Of what the files hold that these settings name; one that cannot be read counts as empty."""
    digest = blake2b(digest_size=16)
    for text in _file_texts(options):
        try:
            content = (folder / text).read_bytes()
        except OSError:
            content = b""
        digest.update(blake2b(content, digest_size=16).digest())
    return digest.digest()


def _file_texts(value: object) -> Iterator[FileText]:
    if isinstance(value, FileText):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _file_texts(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _file_texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _file_texts(item)
