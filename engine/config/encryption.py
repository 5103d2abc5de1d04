"""Encryption at rest: where the site keeps the key of its store (ADR 54)."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import Field

from engine.config.base import ConfigModel
from engine.config.finding import ConfigFinding, Position, at
from engine.config.substitute import Origin
from engine.model.store_key import NO_KEYS, StoreKey, StoreKeys

OTHERS: Final = 0o077
"""Permissions that a key's file gives to nobody but its owner."""
_FILE: Final = re.compile(r"\$\{file:(?P<path>[^{}]*)\}")


Places = Mapping[tuple[str | int, ...], Position]
"""Where values stand in segmill.yaml."""


class EncryptionOptions(ConfigModel):
    """The key that the store is encrypted with. Without it the store is lost: keep it, and apart from the backups."""

    key: str = Field(
        repr=False, min_length=1, description="The key: ${file:...} or ${NAME}; segmill store key makes one"
    )
    previous: str | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="The key before it, for the start that changes the key",
    )

    @property
    def keys(self) -> StoreKeys:
        """Both. ValueError, with a sentence that quotes nothing, for what is no key."""
        previous = None if self.previous is None else StoreKey.parse(self.previous)
        return StoreKeys(StoreKey.parse(self.key), previous)


def store_keys(options: EncryptionOptions | None) -> StoreKeys:
    """What the store is opened with."""
    return NO_KEYS if options is None else options.keys


def key_files(origins: Sequence[Origin], places: Places) -> list[tuple[Position, str]]:
    """Where under `encryption` a file is named, and which, as it is written."""
    both = _origins_of(origins, places, "key") + _origins_of(origins, places, "previous")
    named = [(origin.position, _FILE.fullmatch(origin.reference)) for origin in both]
    return [(position, file["path"].strip()) for position, file in named if file is not None]


def files_with_keys(options: EncryptionOptions, origins: Sequence[Origin], site: Path) -> list[Path]:
    """The files that segmill.yaml takes the keys from: no backup is to have them beside the store."""
    keys = {text.strip() for text in (options.key, options.previous) if text is not None}
    found = []
    for origin in origins:
        named = _FILE.fullmatch(origin.reference)
        file = site / named["path"].strip() if named is not None else None
        if file is not None and file.is_file() and file.read_text("utf-8", errors="replace").strip() in keys:
            found.append(file)
    return found


def _origins_of(origins: Sequence[Origin], places: Places, key: str) -> list[Origin]:
    place = places.get(("encryption", key))
    if place is None:
        return []
    end = place.column + place.length
    return [
        one
        for one in origins
        if (one.position.file, one.position.line) == (place.file, place.line)
        and place.column <= one.position.column < max(end, place.column + 1)
    ]


def check_encryption(
    options: EncryptionOptions,
    places: Places,
    origins: Sequence[Origin],
    site: Path,
    *,
    in_memory: bool,
) -> Iterator[ConfigFinding]:
    """Whether what is named are keys, that nobody else can read, and the package is there."""
    top = places.get(("encryption",)) or Position("segmill.yaml", 1, 1)
    for name, text in (("key", options.key), ("previous", options.previous)):
        if text is None:
            continue
        place = places.get(("encryption", name), top)
        try:
            StoreKey.parse(text)
        except ValueError as error:
            yield at(place, "E580", f"encryption.{name}: {error}", "a key is made by: segmill store key FILE")
        if not _origins_of(origins, places, name):
            hint = "put it into a file of its own: key: ${file:/etc/segmill/store.key}"
            yield at(place, "E581", f"encryption.{name}: the key itself stands in this file", hint)
    for place, path in key_files(origins, places):
        yield from _check_file(site / path, path, place, site)
    if find_spec("cryptography") is None:
        message = "encryption at rest needs the package cryptography, which is not installed here"
        yield at(top, "E583", message, "pip install 'segmill[encrypt]'")
    if in_memory:
        yield at(top, "W581", "the store is in memory: nothing of it is encrypted", "leave encryption away, or store")


def say_what_is_lost(findings: Sequence[ConfigFinding], places: Places, site: Path) -> list[ConfigFinding]:
    """These; of a key whose file cannot be read, what that means, where it was looked for, and what to do (E585)."""
    keys = [(name, places[place]) for name in ("key", "previous") if (place := ("encryption", name)) in places]
    return [_lost(finding, keys, site) for finding in findings]


def _lost(finding: ConfigFinding, keys: Sequence[tuple[str, Position]], site: Path) -> ConfigFinding:
    if finding.code != "E121":
        return finding
    for name, place in keys:
        is_in = place.column <= finding.column < max(place.column + place.length, place.column + 1)
        if (finding.file, finding.line) == (place.file, place.line) and is_in:
            hint = (
                f"a relative path begins at {site.absolute()}; a store that is encrypted cannot be read without this "
                "very key: put back the copy that is kept apart from the backups. See: segmill explain E585"
            )
            return replace(finding, code="E585", message=f"encryption.{name}: {finding.message}", hint=hint)
    return finding


def _check_file(file: Path, path: str, place: Position, site: Path) -> Iterator[ConfigFinding]:
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # that it cannot be read is said where it is
    if os.name == "posix" and mode & OTHERS:
        message = f"{path} can be read or changed by others (mode {mode & 0o777:04o})"
        yield at(place, "E582", message, f"chmod 600 {path}")
    if file.resolve().is_relative_to(site.resolve()):
        message = f"{path} is in the site's folder, beside what it is to protect"
        yield at(place, "W580", message, "keep it elsewhere, such as key: ${file:/etc/segmill/store.key}")
